//! A shard: a flat table with open addressing, replaced as a whole when it must grow.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use prefetch_index::prefetch_index;

use super::entry::{Entry, Ticket, Words};
use super::hash::{Key, spread};
use super::shards::{Edition, within_shard};

/// Beyond this share of used slots, look-ups become long.
const FULL: (usize, usize) = (85, 100);
/// The share that a table grows to have. It leaves room for two fifths more before the next time.
const ROOMY: (usize, usize) = (60, 100);
/// The share that a table of announced size has, so that ten million tokens fit 80 bytes each.
const DENSE: (usize, usize) = (81, 100);
const LENGTH_MIN: usize = 16;
/// How many slots are asked for, and then compared, at once: of a table as dense as it gets, six keys of seven are there.
const NEAR: usize = 4;

/// Slots in one row, and one bit for each whose last-seen mark moved since it was last drained.
#[derive(Debug)]
pub(crate) struct Table {
    entries: Box<[Entry]>,
    marked: Box<[AtomicU64]>,
}

impl Table {
    fn new(length: usize) -> Self {
        Self {
            entries: (0..length).map(|_| Entry::default()).collect(),
            marked: (0..length.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// The slots from a hash's home on, all of them.
    #[inline]
    fn walk(&self, home: usize) -> impl Iterator<Item = (usize, &Entry)> {
        let (before, after) = self.entries.split_at_checked(home).unwrap_or((&[], &self.entries));
        (home..).zip(after).chain((0..).zip(before))
    }

    /// The used slots in which a key with this hash can be, but for the first few.
    #[inline]
    fn probe(&self, hash: u64, known: usize) -> impl Iterator<Item = (usize, &Entry)> {
        let home = self.home(hash);
        let reach = self.entries.get(home).map_or(Some(0), Entry::reach);
        let reached = self.walk(home).take(reach.unwrap_or(self.entries.len()));
        reached.skip(known).take_while(|(_, entry)| entry.is_used())
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        spread(within_shard(hash), self.entries.len())
    }

    /// Starts to bring the slots where a key most probably is into the cache, and waits for none of them.
    #[inline]
    pub(crate) fn warm(&self, hash: u64) {
        let home = self.home(hash);
        for slot in home..home + NEAR {
            prefetch_index(&self.entries, slot);
        }
    }

    /// The entry of a key.
    // As with `judge`: a call of it costs a twentieth of what may be spent.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, key: Key) -> Option<&Entry> {
        let home = self.home(hash);
        let Some(near) = self.entries.get(home..).and_then(<[Entry]>::first_chunk::<NEAR>) else {
            return self.find_beyond(0, hash, key);
        };
        // One question for all of them: nobody can predict which of them it is.
        let place = (0..).zip(near).fold(NEAR, |place, (slot, entry)| if entry.has(key) { slot } else { place });
        let found = near.get(place);
        let is_all = near.first().and_then(Entry::reach).is_some_and(|reach| reach <= NEAR);
        if is_all { found } else { found.or_else(|| self.find_beyond(NEAR, hash, key)) }
    }

    /// The same, but for the first slots.
    fn find_beyond(&self, known: usize, hash: u64, key: Key) -> Option<&Entry> {
        self.probe(hash, known).map(|(_, entry)| entry).find(|entry| entry.has(key))
    }

    /// The entry that has a handle, by the hash of its key.
    #[inline]
    pub(super) fn find_handle(&self, hash: u64, handle: u32) -> Option<(usize, &Entry)> {
        self.probe(hash, 0).find(|(_, entry)| entry.handle() == handle)
    }

    /// Fills the first unused slot for a key that is not in the table. One writer at a time; there must be room.
    fn place(&self, hash: u64, key: Key, handle: u32, (words, ticket): &(Words, Ticket)) -> Option<(usize, &Entry)> {
        let home = self.home(hash);
        let (distance, (slot, entry)) = self.walk(home).enumerate().find(|(_, (_, entry))| !entry.is_used())?;
        entry.fill(key, handle, words, *ticket);
        self.entries.get(home)?.extend_reach(distance);
        Some((slot, entry))
    }

    /// Whether the mark of the entry that has this handle would move.
    #[inline]
    pub(super) fn is_news(&self, hash: u64, handle: u32, secs: u32) -> bool {
        self.find_handle(hash, handle).is_some_and(|(_, entry)| entry.seen() < secs)
    }

    /// Moves the mark of the entry that has this handle, and sees that it is drained once more if it moves, or `anyway`.
    /// `false` if that was not to be done.
    pub(super) fn mark_seen(&self, hash: u64, handle: u32, secs: u32, anyway: bool) -> bool {
        match self.find_handle(hash, handle) {
            Some((slot, entry)) if entry.mark_seen(secs) || anyway => {
                self.set_marked(slot);
                true
            }
            _ => false,
        }
    }

    fn set_marked(&self, slot: usize) {
        if let Some(word) = self.marked.get(slot / 64) {
            let bit = 1 << (slot % 64);
            if word.load(Ordering::Relaxed) & bit == 0 {
                word.fetch_or(bit, Ordering::AcqRel);
            }
        }
    }

    fn is_marked(&self, slot: usize) -> bool {
        self.marked.get(slot / 64).is_some_and(|word| word.load(Ordering::Acquire) & 1 << (slot % 64) != 0)
    }

    /// Every slot whose mark moved, once.
    fn take_marked(&self) -> impl Iterator<Item = usize> {
        self.marked.iter().enumerate().flat_map(|(index, word)| {
            let mut bits = if word.load(Ordering::Relaxed) == 0 { 0 } else { word.swap(0, Ordering::AcqRel) };
            std::iter::from_fn(move || {
                let bit = usize::try_from(bits.trailing_zeros()).unwrap_or_default();
                (bits != 0).then(|| {
                    bits &= bits - 1;
                    index * 64 + bit
                })
            })
        })
    }
}

pub(crate) struct Shard {
    /// Read where a thread has no table yet, or an old one; for the rest see [`super::shards`].
    table: RwLock<Arc<Table>>,
    /// The number of used slots, deleted entries included. Whoever writes to the table holds the lock.
    used: Mutex<usize>,
}

impl Shard {
    /// A shard with room for an announced number of entries.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let table = Table::new(length_for(capacity, DENSE));
        Self { table: RwLock::new(Arc::new(table)), used: Mutex::new(0) }
    }

    pub(crate) fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn write(&self) -> Writer<'_> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        Writer { shard: self, table: self.table(), used }
    }

    /// Shows every entry, deleted ones included. Nobody waits for it.
    pub(super) fn look(&self, look: &mut dyn FnMut(&Entry)) {
        self.table().entries.iter().filter(|entry| entry.is_used()).for_each(look);
    }

    /// The size of the table in bytes.
    pub(super) fn size(&self) -> usize {
        let table = self.table();
        size_of_val(table.entries.as_ref()) + size_of_val(table.marked.as_ref())
    }

    /// Looks at the handle and the mark of every entry whose mark moved since the last time.
    pub(crate) fn drain_seen(&self, look: &mut dyn FnMut(u32, u32)) {
        let writer = self.write();
        let slots = writer.table.take_marked();
        for entry in slots.filter_map(|slot| writer.table.entries.get(slot)) {
            look(entry.handle(), entry.seen());
        }
    }
}

/// The right to write to a shard.
pub(crate) struct Writer<'s> {
    shard: &'s Shard,
    table: Arc<Table>,
    used: MutexGuard<'s, usize>,
}

impl Writer<'_> {
    pub(crate) fn find(&self, hash: u64, key: Key) -> Option<&Entry> {
        self.table.find(hash, key)
    }

    pub(crate) fn find_handle(&self, hash: u64, handle: u32) -> Option<&Entry> {
        self.table.find_handle(hash, handle).map(|(_, entry)| entry)
    }

    /// The entries of the shard, deleted ones included.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.table.entries.iter().filter(|entry| entry.is_used())
    }

    pub(crate) fn is_full(&self) -> bool {
        (*self.used + 1) * FULL.1 > self.table.entries.len() * FULL.0
    }

    /// Adds an entry whose key is not in the table. There must be room.
    pub(crate) fn insert(&mut self, hash: u64, key: Key, (handle, ticket): (u32, Ticket), seen: u32, words: &Words) {
        if let Some((_, entry)) = self.table.place(hash, key, handle, &(*words, ticket)) {
            entry.mark_seen(seen);
            *self.used += 1;
        }
    }

    /// Moves everything but what to forget into a roomier table, and lets readers have that one.
    /// Returns the handles of what was forgotten.
    pub(crate) fn rebuild(
        &mut self,
        edition: &Edition,
        hash: impl Fn(Key) -> u64,
        forget: impl Fn(&Entry) -> bool,
    ) -> Vec<u32> {
        let old = Arc::clone(&self.table);
        let used = old.entries.iter().enumerate().filter(|(_, entry)| entry.is_used());
        let (forgotten, kept): (Vec<_>, Vec<_>) = used.partition(|(_, entry)| forget(entry));
        let new = Arc::new(Table::new(length_for(kept.len() + 1, ROOMY)));
        let mut moved = Vec::with_capacity(kept.len());
        for (slot, from) in kept {
            let key = from.key();
            if let Some((to_slot, to)) = new.place(hash(key), key, from.handle(), &from.read()) {
                moved.push((slot, from, to_slot, to));
            }
        }
        *self.shard.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&new);
        edition.change();
        // Marks up to here went to the old table; whoever sets one from here on looks again and finds the new one.
        fence(Ordering::SeqCst);
        *self.used = moved.len();
        for (slot, from, to_slot, to) in moved {
            to.mark_seen(from.seen());
            if old.is_marked(slot) {
                new.set_marked(to_slot);
            }
        }
        self.table = new;
        forgotten.into_iter().map(|(_, entry)| entry.handle()).collect()
    }
}

fn length_for(entries: usize, share: (usize, usize)) -> usize {
    (entries.saturating_mul(share.1) / share.0 + 1).max(LENGTH_MIN)
}
