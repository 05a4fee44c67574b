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

/// Marks reach the store within 5 s; one is left for the write itself.
const EVERY: Duration = Duration::from_secs(4);

/// With more marks than this at one time, writing them all each time would take a good part of a core and of the disk, to
/// say again and again of the same tokens that they are in use.
const MANY: usize = 4096;

/// Of how many parts one is written at a time when there are many, so that each mark reaches the store within [`WITHIN`].
const PARTS: usize = 12;

/// Within how much time a mark is in the store, however many there are.
pub(crate) const WITHIN: Duration = Duration::from_secs(55);

/// How many marks go into one write, so that the writer is never held for long.
const BATCH: usize = 2048;

/// One of some parts of all credentials, by its number from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    part: usize,
    parts: usize,
}

impl Share {
    const ALL: Self = Self { part: 0, parts: 1 };

    /// The next one to be written, after so many marks had moved in this one.
    fn after(self, moved: usize) -> Self {
        let parts = if moved.saturating_mul(self.parts) > MANY { PARTS } else { 1 };
        Self { part: (self.part + 1) % parts, parts }
    }
}

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
        let mut share = Share::ALL;
        while ticks.next().await {
            let moved = self.flush_share(share).await;
            share = share.after(moved);
        }
        self.flush().await;
    }

    /// Writes the marks that there are. What can't be written is kept for the next time.
    pub async fn flush(&self) {
        self.flush_share(Share::ALL).await;
    }

    /// Writes the marks of one share, and returns how many had moved there.
    async fn flush_share(&self, Share { part, parts }: Share) -> usize {
        // Whoever comes second waits for what the first one carries.
        let mut waiting = self.waiting.lock().await;
        if waiting.is_empty() {
            // Where the store takes nothing, they wait where there is a bound to them.
            waiting.extend(self.visitors.take(part, parts).map(|(secret, visitor)| Sighting {
                mark: SeenMark {
                    subject: SeenSubject::ServiceToken(secret.id),
                    version: secret.version,
                    at: visitor.at,
                },
                visitor: Some(Box::new(visitor)),
            }));
        }
        let mut moved = 0;
        self.index.drain_part_seen(part, parts, &mut |mark| {
            moved += 1;
            waiting.push(mark.into());
        });
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
        moved
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_marks_are_written_each_time() {
        assert_eq!(Share::ALL.after(0), Share::ALL);
        assert_eq!(Share::ALL.after(MANY), Share::ALL);
    }

    #[test]
    fn many_marks_are_written_in_turn_within_the_time_that_is_promised() {
        let begin = Share::ALL.after(MANY + 1);
        let shares: Vec<Share> =
            std::iter::successors(Some(begin), |share| Some(share.after(MANY))).take(PARTS).collect();
        let mut parts: Vec<usize> = shares.iter().map(|share| share.part).collect();
        parts.sort_unstable();
        assert_eq!(parts, (0..PARTS).collect::<Vec<_>>());
        assert!(shares.iter().all(|share| share.parts == PARTS));
        assert!(EVERY * u32::try_from(PARTS).unwrap() < WITHIN, "and a while for the write itself");

        let last = *shares.last().unwrap();
        assert_eq!(last.after(MANY / PARTS + 1).parts, PARTS, "still many");
        assert_eq!(last.after(MANY / PARTS), Share::ALL, "few again");
    }
}
