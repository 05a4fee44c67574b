//! The task that keeps a verifier's index: it asks for the feed, and applies what it is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use countersign_token::digest::DigestKey;
use countersign_token::entropy::Entropy;
use countersign_token::index::Index;
use countersign_token::time::BootTime;
use tokio_util::sync::CancellationToken;

use super::source::Source;
use super::wire::News;
use super::{Error, Shared};

/// How long a verifier waits at least between two answers and the next question, so that a server that has much to tell
/// tells more at once.
const PACE: Duration = Duration::from_millis(5);

/// How long it waits after a failure, and after many. What is missed meanwhile is missed for no longer than this.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(1);

/// What follows the feed.
#[derive(Debug)]
pub(super) struct Follower {
    source: Source,
    shared: Arc<Shared>,
    entropy: Entropy,
    cursor: Option<String>,
    /// The index that is being filled anew, beside the one that decides.
    loading: Option<Arc<Index>>,
    retry: Duration,
    failing: bool,
}

impl Follower {
    pub(super) fn new(source: Source, shared: Arc<Shared>, entropy: Entropy) -> Self {
        Self { source, shared, entropy, cursor: None, loading: None, retry: RETRY_FIRST, failing: false }
    }

    /// Reads everything. The verifier is fresh when this returns.
    pub(super) async fn load(&mut self) -> Result<(), Error> {
        while !self.step().await? {}
        Ok(())
    }

    /// Follows until it is stopped, or nobody has the verifier any more. Then it admits nobody, and the server is told.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let wait = tokio::select! {
                () = stop.cancelled() => break,
                outcome = self.step() => self.judge(outcome.map(|_complete| ())),
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.shared.close();
        self.source.leave().await;
    }

    /// Says once that the feed can't be followed, and once that it can again; returns how long to wait.
    fn judge(&mut self, outcome: Result<(), Error>) -> Duration {
        let error = match outcome {
            Ok(()) => {
                if self.failing {
                    tracing::info!("the feed can be followed again");
                    self.failing = false;
                    self.shared.note(None);
                }
                self.retry = RETRY_FIRST;
                return PACE;
            }
            Err(error) => error,
        };
        let words = in_full(&error);
        if !self.failing {
            tracing::error!(error = words, "the feed cannot be followed; nobody is admitted unless that ends soon");
            self.failing = true;
        }
        self.shared.note(Some(words));
        let wait = self.retry;
        self.retry = RETRY_LAST.min(self.retry * 2);
        // Not all verifiers of a server that was away ask again at the same moment.
        wait + wait.mul_f64(f64::from(u16::from_ne_bytes(self.entropy.bytes())) / f64::from(u16::MAX) / 2.0)
    }

    /// Asks once. `true` if the index knows everything after it.
    async fn step(&mut self) -> Result<bool, Error> {
        // Before the question: what changes from here on may be missing in the answer.
        let asked = self.shared.clock.boot();
        let news = self.source.ask(self.cursor.as_deref()).await?;
        self.apply(news, asked)
    }

    fn apply(&mut self, news: News, asked: BootTime) -> Result<bool, Error> {
        if news.reset {
            self.loading = Some(Arc::new(Index::new(news.current.clone(), &self.entropy)));
        }
        let live = self.shared.live.load_full();
        let index = match (&self.loading, &live) {
            (Some(loading), _) => Arc::clone(loading),
            (None, Some(live)) if news.complete => Arc::clone(live),
            (None, _) => return Err(self.begin_anew("the answer goes on where nothing was begun")),
        };
        if !takes_keys(&index, &news.current, news.before.as_ref()) {
            return Err(self.begin_anew("the installation key has changed too often for one index"));
        }
        for change in &news.changes {
            index.apply(change);
        }
        self.cursor = Some(news.cursor);
        if !news.complete {
            return Ok(false);
        }
        if let Some(loaded) = self.loading.take() {
            tracing::info!(credentials = loaded.len(), "the feed is loaded");
            self.shared.live.store(Some(loaded));
        }
        self.shared.max_staleness_micros.store(news.max_staleness_micros, Ordering::Release);
        self.shared.freshness.renew(BootTime::from_micros(asked.as_micros().saturating_sub(news.age_micros)));
        Ok(true)
    }

    fn begin_anew(&mut self, problem: &str) -> Error {
        (self.cursor, self.loading) = (None, None);
        Error::Unexpected { status: 200, problem: problem.to_owned() }
    }
}

/// Before the changes that stand under them.
fn takes_keys(index: &Index, current: &DigestKey, before: Option<&DigestKey>) -> bool {
    let same =
        index.digest_key().id() == current.id() && index.key_before().map(DigestKey::id) == before.map(DigestKey::id);
    same || index.set_keys(current, before)
}

/// An error with everything that led to it, on one line.
fn in_full(error: &Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}
