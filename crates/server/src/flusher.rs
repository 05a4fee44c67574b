//! Carries last-seen marks from the index to the store, in batches, and with them who came.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign_store::{Sighting, Store};
use countersign_token::index::{Index, SeenMark, SeenSubject};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::ticks::Ticks;
use crate::visitor::Visitors;

/// Marks reach the store within 5 s; one is left for the write itself. Where every token is in use all the time, a shorter
/// time would mean more writes and nothing else.
const EVERY: Duration = Duration::from_secs(4);

/// How many marks go into one write, so that the writer is never held for long.
const BATCH: usize = 2048;

/// The way of marks from one index to the store. Clones share it.
#[derive(Clone, Debug)]
pub struct Flusher {
    store: Store,
    index: Arc<Index>,
    visitors: Visitors,
    /// Marks that the index has handed out and the store has not got, one a secret, so that what waits is bounded by
    /// their number. In the order of the ids, which is the order of the rows: a write touches few pages, and not one for
    /// each mark.
    waiting: Arc<Mutex<Vec<Sighting>>>,
    /// How many these are, for whoever must not wait.
    backlog: Arc<AtomicUsize>,
}

impl Flusher {
    /// A flusher that has carried nothing yet.
    pub fn new(store: Store, index: Arc<Index>) -> Self {
        Self { store, index, visitors: Visitors::default(), waiting: Arc::default(), backlog: Arc::default() }
    }

    /// Where the gate notes who came.
    pub fn visitors(&self) -> Visitors {
        self.visitors.clone()
    }

    /// Writes marks until `stop`, and what is left once more then.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = Ticks::every(EVERY, stop);
        while ticks.next().await {
            self.flush().await;
        }
        self.flush().await;
    }

    /// Writes the marks that there are. What can't be written is kept for the next time.
    pub async fn flush(&self) {
        // Whoever comes second waits for what the first one carries.
        let mut waiting = self.waiting.lock().await;
        if waiting.is_empty() {
            // Where the store takes nothing, they wait where there is a bound to them.
            waiting.extend(self.visitors.take().map(|(secret, visitor)| Sighting {
                mark: SeenMark {
                    subject: SeenSubject::ServiceToken(secret.id),
                    version: secret.version,
                    at: visitor.at,
                },
                visitor: Some(Box::new(visitor)),
            }));
        }
        self.index.drain_seen(&mut |mark| waiting.push(mark.into()));
        // The newest mark of a secret stands first, and stays, with the newest visitor.
        waiting.sort_unstable_by_key(|seen| (key(&seen.mark), Reverse(seen.mark.at)));
        waiting.dedup_by(|next, kept| {
            let is_same = key(&next.mark) == key(&kept.mark);
            let visited_at = |seen: &Sighting| seen.visitor.as_ref().map(|visitor| visitor.at);
            if is_same && visited_at(next) > visited_at(kept) {
                kept.visitor = next.visitor.take();
            }
            is_same
        });
        let mut written = 0;
        for batch in waiting.chunks(BATCH) {
            self.backlog.store(waiting.len() - written, Ordering::Relaxed);
            if let Err(error) = self.store.record_seen(batch).await {
                let waiting = waiting.len() - written;
                tracing::warn!(error = %error, waiting, "last-seen marks could not be written; they are kept");
                break;
            }
            written += batch.len();
        }
        waiting.drain(..written);
        self.backlog.store(waiting.len(), Ordering::Relaxed);
        if waiting.is_empty() {
            // Rarely does as much wait again as once did.
            *waiting = Vec::new();
        }
    }

    /// How many marks the store has not taken yet, of those that were to be written.
    pub fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }
}

/// What there is one mark of.
fn key(mark: &SeenMark) -> (SeenSubject, u32) {
    (mark.subject, mark.version)
}
