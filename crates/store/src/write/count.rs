//! What the writer counts, for whoever watches over it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// What the writer has done since the store was opened. Everything only grows.
#[derive(Debug)]
pub struct WriterCounts {
    /// Jobs a batch.
    pub batch_jobs: Distribution<7>,
    /// Microseconds that a batch took from the begin of its transaction until it was committed.
    pub batch_micros: Distribution<12>,
    /// Microseconds of these that the last statements and the commit itself took: mostly the disk.
    pub commit_micros: Distribution<12>,
    /// Batches that were not committed. The jobs of one that a single job spoilt are then run one by one, and each of
    /// these counts as a batch.
    pub failed_batches: AtomicU64,
    /// Batches that were tried once more, on a new connection.
    pub retries: AtomicU64,
    /// Why batches failed, and why no connection could be had to read.
    pub errors: ErrorCounts,
}

/// How often there was an error of each kind.
#[derive(Debug, Default)]
pub struct ErrorCounts([AtomicU64; Error::KINDS.len()]);

impl ErrorCounts {
    pub(crate) fn count(&self, error: &Error) {
        let place = Error::KINDS.iter().position(|kind| *kind == error.kind());
        if let Some(counter) = place.and_then(|place| self.0.get(place)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each kind, by its word, and how often it was met.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Error::KINDS.into_iter().zip(&self.0).map(|(kind, counter)| (kind, counter.load(Ordering::Relaxed)))
    }
}

/// From a quarter of a millisecond to ten seconds.
const MICROS: [u64; 12] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000];

impl WriterCounts {
    pub(crate) fn new() -> Self {
        Self {
            batch_jobs: Distribution::new([1, 2, 4, 8, 16, 32, 64]),
            batch_micros: Distribution::new(MICROS),
            commit_micros: Distribution::new(MICROS),
            failed_batches: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            errors: ErrorCounts::default(),
        }
    }
}

/// How often values have lain up to each of some bounds.
#[derive(Debug)]
pub struct Distribution<const BOUNDS: usize> {
    bounds: [u64; BOUNDS],
    counts: [AtomicU64; BOUNDS],
    beyond: AtomicU64,
    sum: AtomicU64,
}

impl<const BOUNDS: usize> Distribution<BOUNDS> {
    fn new(bounds: [u64; BOUNDS]) -> Self {
        let counts = [const { AtomicU64::new(0) }; BOUNDS];
        Self { bounds, counts, beyond: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    pub(crate) fn count(&self, value: u64) {
        let place = self.bounds.iter().zip(&self.counts).find(|(bound, _)| value <= **bound);
        place.map_or(&self.beyond, |(_, count)| count).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Each bound, and how many values lay between the bound before and it, itself included.
    pub fn counts(&self) -> [(u64, u64); BOUNDS] {
        std::array::from_fn(|place| {
            let count = self.counts.get(place).map_or(0, |count| count.load(Ordering::Relaxed));
            (self.bounds.get(place).copied().unwrap_or(u64::MAX), count)
        })
    }

    /// How many values lay beyond the last bound.
    pub fn beyond(&self) -> u64 {
        self.beyond.load(Ordering::Relaxed)
    }

    /// All values together.
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_count_by_their_kind() {
        let errors = ErrorCounts::default();
        errors.count(&Error::Stopped);
        errors.count(&sqlx::Error::PoolTimedOut.into());
        errors.count(&Error::Unaudited);
        errors.count(&Error::Rows { expected: 1, actual: 0 });
        let met: Vec<_> = errors.counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(met, [("unavailable", 1), ("stopped", 1), ("bug", 2)]);
    }

    #[test]
    fn a_value_counts_up_to_its_bound() {
        let distribution = Distribution::new([1, 10]);
        [0, 1, 2, 10, 11].into_iter().for_each(|value| distribution.count(value));
        assert_eq!(distribution.counts(), [(1, 2), (10, 2)]);
        assert_eq!((distribution.beyond(), distribution.sum()), (1, 24));
    }
}
