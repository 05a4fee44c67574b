//! Carries last-seen marks from the index to the store, in batches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_store::Store;
use countersign_token::index::{Index, SeenMark, SeenSubject};
use countersign_token::time::Timestamp;
use tokio_util::sync::CancellationToken;

/// Marks reach the store within 5 s; two leave room for a slow write.
const EVERY: Duration = Duration::from_secs(2);

/// How many marks go into one write, so that the writer is never held for long.
const BATCH: usize = 512;

/// Writes marks until `stop`, and what is left once more then. A failed write keeps its marks for the next round: a newer
/// mark of the same token replaces them, so what waits is bounded by the number of tokens.
pub async fn run(store: Store, index: Arc<Index>, stop: CancellationToken) {
    let mut waiting = HashMap::new();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = tick.tick() => flush(&store, &index, &mut waiting).await,
        }
    }
    flush(&store, &index, &mut waiting).await;
}

async fn flush(store: &Store, index: &Index, waiting: &mut HashMap<SeenSubject, Timestamp>) {
    index.drain_seen(&mut |mark| {
        waiting.insert(mark.subject, mark.at);
    });
    while !waiting.is_empty() {
        let batch: Vec<SeenMark> = waiting.iter().take(BATCH).map(|(&subject, &at)| SeenMark { subject, at }).collect();
        if let Err(error) = store.record_seen(&batch).await {
            tracing::warn!(error = %error, waiting = waiting.len(), "last-seen marks could not be written; they are kept");
            return;
        }
        for mark in &batch {
            waiting.remove(&mark.subject);
        }
    }
}
