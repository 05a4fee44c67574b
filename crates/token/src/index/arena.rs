//! Short rows of words behind one another, for what has no fixed length.
//!
//! Rows are written once, and read without a lock: whoever reads one must find out afterwards whether it was still theirs.

use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::sync::{Mutex, PoisonError};

use super::segments::Segments;

/// The longest row, in words.
pub(crate) const ROW_MAX: usize = 22;

/// Words of a segment.
const SEGMENT_LENGTH: u32 = 8_192;
type Words = Segments<AtomicU32, 8_192>;

/// Stands for no row.
pub(crate) const NOWHERE: u32 = 0;

/// Rows of 1 to 22 words. What is taken back is handed out again for rows of the same length.
pub(crate) struct Arena {
    words: Words,
    room: Mutex<Room>,
}

struct Room {
    /// Where nothing has been yet.
    next: u32,
    /// The row of each length that was taken back last; its first word leads to the one before.
    free: [u32; ROW_MAX + 1],
}

impl Arena {
    pub(crate) fn new() -> Self {
        let words = Segments::new();
        Self { words, room: Mutex::new(Room { next: NOWHERE + 1, free: [NOWHERE; ROW_MAX + 1] }) }
    }

    /// The words of a row and of what is behind it. They may be another row's at any time.
    #[inline]
    pub(crate) fn read(&self, place: u32) -> &[AtomicU32] {
        self.words.from(place).unwrap_or_default()
    }

    /// Writes a row, and says where; `None` if it is too long, or there is no room for it.
    pub(crate) fn put(&self, row: &[u32]) -> Option<u32> {
        let place = self.room.lock().unwrap_or_else(PoisonError::into_inner).take(&self.words, row.len())?;
        // Whoever still reads the row that was here, and sees one of these words, sees that it was taken away.
        fence(Ordering::Release);
        for (word, value) in self.read(place).iter().zip(row) {
            word.store(*value, Ordering::Relaxed);
        }
        Some(place)
    }

    /// Takes a row back. Nothing may lead to it any more.
    pub(crate) fn give_back(&self, place: u32, length: usize) {
        self.room.lock().unwrap_or_else(PoisonError::into_inner).give_back(&self.words, place, length);
    }

    /// The bytes of its segments.
    pub(crate) fn size(&self) -> usize {
        self.words.size()
    }
}

impl Room {
    fn take(&mut self, words: &Words, length: usize) -> Option<u32> {
        let last = self.free.get_mut(length).filter(|_| length > 0)?;
        if *last != NOWHERE {
            let place = *last;
            *last = words.get(place)?.load(Ordering::Relaxed);
            return Some(place);
        }
        let needed = u32::try_from(length).ok()?;
        let left = SEGMENT_LENGTH - self.next % SEGMENT_LENGTH;
        if left < needed {
            // A row lies within one segment. What remains of this one does for a shorter row.
            let (rest, after) = (self.next, self.next.checked_add(left)?);
            self.next = after;
            self.give_back(words, rest, usize::try_from(left).ok()?);
        }
        let place = self.next;
        words.make_room(place)?;
        self.next = place.checked_add(needed)?;
        Some(place)
    }

    fn give_back(&mut self, words: &Words, place: u32, length: usize) {
        if let (Some(last), Some(word)) = (self.free.get_mut(length), words.get(place)) {
            fence(Ordering::Release);
            word.store(*last, Ordering::Relaxed);
            *last = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn row(arena: &Arena, place: u32, length: usize) -> Vec<u32> {
        arena.read(place).iter().take(length).map(|word| word.load(Ordering::Relaxed)).collect()
    }

    proptest! {
        /// Rows that come, change and go, beside a map of them.
        #[test]
        fn rows_do_not_get_into_one_another(
            steps in prop::collection::vec((0_u32..40, 0..=ROW_MAX), 1..600),
            start in 0..2 * SEGMENT_LENGTH,
        ) {
            let arena = Arena::new();
            arena.words.make_room(start).unwrap();
            arena.room.lock().unwrap().next = start.max(1);
            let mut known: HashMap<u32, (u32, Vec<u32>)> = HashMap::new();
            for (number, (key, length)) in (1..).zip(steps) {
                if let Some((place, row)) = known.remove(&key) {
                    arena.give_back(place, row.len());
                }
                if length > 0 {
                    let row: Vec<u32> = (0..length).map(|word| number << 8 | u32::try_from(word).unwrap()).collect();
                    known.insert(key, (arena.put(&row).unwrap(), row));
                }
                for (place, expected) in known.values() {
                    prop_assert_eq!(&row(&arena, *place, expected.len()), expected);
                }
            }
        }
    }

    #[test]
    fn what_is_taken_back_is_used_again() {
        let arena = Arena::new();
        let rows = |from: u32| (from..from + 1_000).map(|number| vec![number; 5 + number as usize % 18]);
        let mut places: Vec<_> = rows(0).map(|row| (arena.put(&row).unwrap(), row.len())).collect();
        let size = arena.size();
        for round in 1..50 {
            for (place, length) in places.drain(..) {
                arena.give_back(place, length);
            }
            places.extend(rows(round * 1_000).map(|row| (arena.put(&row).unwrap(), row.len())));
            assert_eq!(arena.size(), size);
        }
    }

    #[test]
    fn no_row_is_empty_or_longer_than_the_longest() {
        let arena = Arena::new();
        assert_eq!((arena.put(&[]), arena.put(&[0; ROW_MAX + 1])), (None, None));
        assert!(arena.put(&[0; ROW_MAX]).is_some_and(|place| place != NOWHERE));
    }
}
