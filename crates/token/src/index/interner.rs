//! Ids that many credentials have in common, each with a number that stands for it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{OnceLock, PoisonError, RwLock};

use super::segments::Segments;

/// The number that no id has.
pub(crate) const NOBODY: u32 = u32::MAX;

/// Numbers for ids, from 0 on. They stay.
pub(crate) struct Interner<T> {
    numbers: RwLock<HashMap<T, u32>>,
    ids: Segments<OnceLock<T>, 256>,
}

impl<T: Copy + Eq + Hash> Default for Interner<T> {
    fn default() -> Self {
        Self { numbers: RwLock::default(), ids: Segments::new() }
    }
}

impl<T: Copy + Eq + Hash> Interner<T> {
    /// The number of an id, from now on if it has none; [`NOBODY`] where there are too many.
    pub(crate) fn intern(&self, id: &T) -> u32 {
        if let Some(number) = self.number(id) {
            return number;
        }
        let mut numbers = self.numbers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbers.get(id) {
            return *number;
        }
        let number = u32::try_from(numbers.len()).unwrap_or(NOBODY);
        if self.ids.make_room(number).is_none() {
            return NOBODY;
        }
        if let Some(place) = self.ids.get(number) {
            place.get_or_init(|| *id);
        }
        numbers.insert(*id, number);
        number
    }

    /// The number of an id; `None` if it has none.
    pub(crate) fn number(&self, id: &T) -> Option<u32> {
        self.numbers.read().unwrap_or_else(PoisonError::into_inner).get(id).copied()
    }

    /// The id that has a number.
    #[inline]
    pub(crate) fn id(&self, number: u32) -> Option<T> {
        self.ids.get(number)?.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_number() {
        let interner = Interner::default();
        for round in 0..2 {
            for id in 0..1_000_u64 {
                assert_eq!(interner.number(&id).is_some(), round == 1);
                let number = interner.intern(&id);
                assert_eq!((interner.number(&id), interner.id(number)), (Some(number), Some(id)));
            }
        }
        assert_eq!((interner.number(&1_000), interner.id(1_000), interner.id(NOBODY)), (None, None, None));
    }
}
