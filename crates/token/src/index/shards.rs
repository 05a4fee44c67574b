//! All tables of an index, and how a thread reads them: without a lock, and without writing to anything that is shared.
//!
//! A thread keeps the tables that it has read last. A number that changes with every change of tables tells whether they
//! are still the index's, so that a look-up costs a load and a comparison where a count of readers would cost two writes.
//! A thread that asks no more keeps what it has read last until it ends.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::hash::spread;
use super::table::{Shard, Table};

const SHARD_BITS: u32 = 6;
const SHARDS: usize = 1 << SHARD_BITS;

/// Stands for the tables of one index between two changes of them; no two indexes ever have the same.
pub(crate) struct Edition(AtomicU64);

impl Edition {
    fn new() -> Self {
        Self(AtomicU64::new(Self::unused()))
    }

    fn unused() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// To be called once a table was replaced: whoever looks from here on looks into the new one.
    pub(super) fn change(&self) {
        self.0.store(Self::unused(), Ordering::Release);
    }

    #[inline]
    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

pub(crate) struct Shards {
    pub(super) edition: Edition,
    shards: Box<[Shard]>,
}

impl Shards {
    /// Shards with room for an announced number of entries.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Shard::with_capacity(capacity.div_ceil(SHARDS))).collect();
        Self { edition: Edition::new(), shards }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter()
    }

    /// The shard of the keys that have this hash.
    #[inline]
    pub(crate) fn of(&self, hash: u64) -> Option<&Shard> {
        self.shards.get(spread(hash, SHARDS))
    }

    /// The table of the keys that have this hash, to look up in.
    #[inline]
    pub(crate) fn read(&self, hash: u64) -> Held {
        // An empty one stands in for it, in case that whoever looks up here looks up something else meanwhile.
        let mut kept = KEPT.try_with(Cell::take).ok().flatten().unwrap_or_default();
        let edition = self.edition.get();
        if kept.edition != edition {
            kept.renew(edition, &self.shards);
        }
        Held { kept: Some(kept), shard: spread(hash, SHARDS) }
    }

    /// Whether the mark of the entry that has this handle would move.
    #[inline]
    pub(crate) fn is_news(&self, hash: u64, handle: u32, secs: u32) -> bool {
        self.read(hash).table().is_some_and(|table| table.is_news(hash, handle, secs))
    }

    /// Moves the mark of the entry that has this handle, if that is news. It is drained once more then, or if it is said to
    /// be news `anyway`.
    pub(crate) fn mark_seen(&self, hash: u64, handle: u32, secs: u32, anyway: bool) {
        self.mark_seen_in(self.read(hash), hash, handle, secs, anyway);
    }

    /// The same from a table on, which may have been replaced meanwhile.
    pub(super) fn mark_seen_in(&self, mut held: Held, hash: u64, handle: u32, secs: u32, anyway: bool) {
        while held.table().is_some_and(|table| table.mark_seen(hash, handle, secs, anyway)) {
            // Either this sees that tables were replaced, or whoever replaced the marked one sees the mark.
            fence(Ordering::SeqCst);
            if held.kept.as_ref().is_some_and(|kept| kept.edition == self.edition.get()) {
                return;
            }
            held = self.read(hash);
        }
    }
}

/// Where in its shard's table a key with this hash belongs, evenly over all that a word can hold.
#[inline]
pub(super) fn within_shard(hash: u64) -> u64 {
    // The upper bits chose the shard.
    hash << SHARD_BITS
}

#[derive(Default)]
struct Kept {
    edition: u64,
    tables: Vec<Arc<Table>>,
}

impl Kept {
    #[cold]
    fn renew(&mut self, edition: u64, shards: &[Shard]) {
        self.edition = edition;
        self.tables.clear();
        self.tables.extend(shards.iter().map(Shard::table));
    }
}

thread_local! {
    static KEPT: Cell<Option<Box<Kept>>> = const { Cell::new(None) };
}

/// A table for as long as it is looked up in. It may be replaced meanwhile: then it stays as it was.
pub(crate) struct Held {
    /// There until it goes back to where it came from.
    kept: Option<Box<Kept>>,
    shard: usize,
}

impl Held {
    #[inline]
    pub(crate) fn table(&self) -> Option<&Table> {
        self.kept.as_ref()?.tables.get(self.shard).map(Arc::as_ref)
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        // A thread that ends has no place for it any more.
        let _ = KEPT.try_with(|place| place.set(self.kept.take()));
    }
}
