//! Places that are handed out by number, and taken back.

use std::sync::{Mutex, PoisonError};

use super::segments::Segments;

/// Places of one kind. What is taken back is handed out again before there is more.
pub(crate) struct Slab<T, const LENGTH: usize> {
    places: Segments<T, LENGTH>,
    numbers: Mutex<Numbers>,
}

#[derive(Default)]
struct Numbers {
    /// The number of places that there have been at one time.
    length: u32,
    free: Vec<u32>,
}

impl<T: Default, const LENGTH: usize> Slab<T, LENGTH> {
    pub(crate) fn new() -> Self {
        Self { places: Segments::new(), numbers: Mutex::default() }
    }

    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.places.get(number)
    }

    /// A place that is nobody else's, as who had it last has left it; `None` if there are too many.
    pub(crate) fn take(&self) -> Option<u32> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbers.free.pop() {
            return Some(number);
        }
        let number = numbers.length;
        self.places.make_room(number)?;
        numbers.length = number.checked_add(1)?;
        Some(number)
    }

    /// Takes a place back.
    pub(crate) fn give_back(&self, number: u32) {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).free.push(number);
    }

    /// The number of places that there have been at one time.
    #[cfg(test)]
    pub(crate) fn len(&self) -> u32 {
        self.numbers.lock().unwrap().length
    }

    /// The bytes of its segments.
    pub(crate) fn size(&self) -> usize {
        self.places.size()
    }
}
