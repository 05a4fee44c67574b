//! Traces of management requests, for a collector that speaks OTLP over HTTP; off unless one is named.
//!
//! A span is left in a queue, and a task of its own sends what is there. Nobody waits for a collector: what finds no room,
//! or is not taken, is lost and counted. The gate makes no spans.

mod otlp;

use std::time::Duration;

use countersign_token::entropy::Entropy;
use countersign_token::time::{BootTime, Clock, Timestamp};
use http::{HeaderMap, Uri};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::post::Post;

/// How many spans may wait to be sent.
const WAITING_MAX: usize = 2048;

/// How many are sent at once.
const BATCH: usize = 512;

/// How long to wait for more, before a batch is sent.
const GATHER: Duration = Duration::from_secs(1);

/// How long a collector may take for a batch. At a stop there is time for one.
const PATIENCE: Duration = Duration::from_secs(4);

tokio::task_local! {
    /// The trace of the request that is being answered.
    static CURRENT: Trace;
}

/// What a span says of itself.
pub(crate) type Attributes = Vec<(&'static str, Attribute)>;

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attribute {
    Text(String),
    Number(i64),
}

/// A span that has ended.
#[derive(Debug)]
struct Span {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent_id: Option<[u8; 8]>,
    name: String,
    /// Whether it is the answering of a request, and not a part of that.
    is_request: bool,
    started_at: Timestamp,
    ended_at: Timestamp,
    attributes: Attributes,
    failed: bool,
}

/// Where spans are left. Clones share it.
#[derive(Clone, Debug)]
pub struct Tracer {
    waiting: mpsc::Sender<Span>,
    lost: Counter,
    clock: Clock,
    entropy: Entropy,
}

/// What sends spans to the collector.
#[derive(Debug)]
pub struct Exporter {
    waiting: mpsc::Receiver<Span>,
    lost: Counter,
    post: Post,
    failing: bool,
}

/// The two ends: for requests, and for the task that sends. `lost` counts spans that no collector has taken.
///
/// # Errors
///
/// When nothing can be sent to `endpoint`.
pub fn tracing_to(endpoint: &Uri, clock: Clock, entropy: Entropy, lost: Counter) -> anyhow::Result<(Tracer, Exporter)> {
    let post = Post::to(&otlp::traces_of(endpoint)?)?;
    let (sender, waiting) = mpsc::channel(WAITING_MAX);
    let tracer = Tracer { waiting: sender, lost: lost.clone(), clock, entropy };
    Ok((tracer, Exporter { waiting, lost, post, failing: false }))
}

/// The trace of one request.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    tracer: Tracer,
    trace_id: [u8; 16],
    /// Of the request's own span.
    span_id: [u8; 8],
    caller_id: Option<[u8; 8]>,
    started: (Timestamp, BootTime),
}

impl Tracer {
    /// Begins the trace of a request, or joins that of its caller. `None` if the caller says that theirs is not recorded.
    pub(crate) fn begin(&self, headers: &HeaderMap) -> Option<Trace> {
        let caller = otlp::Caller::of(headers);
        if caller.is_some_and(|caller| !caller.sampled) {
            return None;
        }
        Some(Trace {
            tracer: self.clone(),
            trace_id: caller.map_or_else(|| self.entropy.bytes(), |caller| caller.trace_id),
            span_id: self.entropy.bytes(),
            caller_id: caller.map(|caller| caller.span_id),
            started: self.now(),
        })
    }

    fn now(&self) -> (Timestamp, BootTime) {
        (self.clock.now(), self.clock.boot())
    }

    /// When something ended that began at `started`, whatever was done to the clock meanwhile.
    fn end_of(&self, (at, started): (Timestamp, BootTime)) -> Timestamp {
        at.saturating_add_micros(self.clock.boot().micros_since(started))
    }

    fn leave(&self, span: Span) {
        if self.waiting.try_send(span).is_err() {
            self.lost.inc();
        }
    }
}

impl Trace {
    /// Does `work` for the request: what it does [`within`] spans is found under the request's own.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self.clone(), work).await
    }

    /// Ends the request's span.
    pub(crate) fn end(self, name: String, attributes: Attributes, failed: bool) {
        self.tracer.leave(Span {
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_id: self.caller_id,
            name,
            is_request: true,
            started_at: self.started.0,
            ended_at: self.tracer.end_of(self.started),
            attributes,
            failed,
        });
    }
}

/// Does `work` within a span of the current request, if that is traced.
pub(crate) async fn within<T>(name: &'static str, work: impl Future<Output = T>) -> T {
    let Ok(trace) = CURRENT.try_with(Clone::clone) else { return work.await };
    let started = trace.tracer.now();
    let done = work.await;
    trace.tracer.leave(Span {
        trace_id: trace.trace_id,
        span_id: trace.tracer.entropy.bytes(),
        parent_id: Some(trace.span_id),
        name: name.to_owned(),
        is_request: false,
        started_at: started.0,
        ended_at: trace.tracer.end_of(started),
        attributes: Vec::new(),
        failed: false,
    });
    done
}

impl Exporter {
    /// Sends until `stop`, and what is left once more then.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let first = tokio::select! {
                biased;
                first = self.waiting.recv() => first,
                () = stop.cancelled() => None,
            };
            let Some(first) = first else { return };
            batch.push(first);
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(GATHER) => {}
            }
            while batch.len() < BATCH
                && let Ok(span) = self.waiting.try_recv()
            {
                batch.push(span);
            }
            self.send(&batch).await;
            batch.clear();
            if stop.is_cancelled() {
                while self.waiting.try_recv().is_ok() {
                    self.lost.inc();
                }
                return;
            }
        }
    }

    async fn send(&mut self, batch: &[Span]) {
        match self.post.send("application/json", otlp::encode(batch).into(), PATIENCE).await {
            Ok(()) if self.failing => {
                tracing::info!("the collector takes traces again");
                self.failing = false;
            }
            Ok(()) => {}
            Err(error) => {
                self.lost.inc_by(u64::try_from(batch.len()).unwrap_or(u64::MAX));
                if !self.failing {
                    tracing::warn!(error = format!("{error:#}"), "the collector does not take traces; they are lost");
                    self.failing = true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted() {
        let (sender, mut waiting) = mpsc::channel(1);
        let lost = Counter::default();
        let tracer = Tracer { waiting: sender, lost: lost.clone(), clock: Clock::System, entropy: Entropy::seeded(1) };
        for name in ["first", "second"] {
            tracer.begin(&HeaderMap::new()).unwrap().end(name.to_owned(), Vec::new(), false);
        }
        assert_eq!((waiting.try_recv().unwrap().name.as_str(), lost.get()), ("first", 1));
    }
}
