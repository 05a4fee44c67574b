//! Numbered places that never move and never go away: room is added in segments, and found without a lock.

use std::sync::OnceLock;

/// How many groups there can be, and segments in each.
const GROUPS: usize = 512;
const GROUP_LENGTH: usize = 512;

type Segment<T> = OnceLock<Box<[T]>>;
type Group<T> = OnceLock<Box<[Segment<T>]>>;

/// Room for 262 144 segments of `LENGTH` places each.
pub(crate) struct Segments<T, const LENGTH: usize> {
    groups: Box<[Group<T>]>,
}

impl<T: Default, const LENGTH: usize> Segments<T, LENGTH> {
    pub(crate) fn new() -> Self {
        Self { groups: (0..GROUPS).map(|_| OnceLock::new()).collect() }
    }

    /// The place with this number; `None` if there is no room for it yet.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.from(number)?.first()
    }

    /// The places from this number on to the end of its segment; `None` if there is no room for them yet.
    #[inline]
    pub(crate) fn from(&self, number: u32) -> Option<&[T]> {
        let number = usize::try_from(number).ok()?;
        let segment = number / LENGTH;
        let group = self.groups.get(segment / GROUP_LENGTH)?.get()?;
        group.get(segment % GROUP_LENGTH)?.get()?.get(number % LENGTH..)
    }

    /// Makes room for this number; `None` if there can't be any.
    pub(crate) fn make_room(&self, number: u32) -> Option<()> {
        let segment = usize::try_from(number).ok()? / LENGTH;
        let group = self.groups.get(segment / GROUP_LENGTH)?;
        let group = group.get_or_init(|| (0..GROUP_LENGTH).map(|_| OnceLock::new()).collect());
        group.get(segment % GROUP_LENGTH)?.get_or_init(|| (0..LENGTH).map(|_| T::default()).collect());
        Some(())
    }

    /// The bytes of the segments that there are.
    pub(crate) fn size(&self) -> usize {
        let segments = self.groups.iter().filter_map(OnceLock::get).flatten().filter_map(OnceLock::get);
        segments.map(|segment| size_of_val(segment.as_ref())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn places_stay_where_they_are() {
        let segments = Segments::<AtomicU32, 4>::new();
        assert!(segments.get(0).is_none());
        for number in [0, 3, 4, 2_047, 2_048, 1_048_575] {
            assert!(segments.make_room(number).is_some());
            segments.get(number).unwrap().store(number + 1, Ordering::Relaxed);
        }
        for number in [0, 3, 4, 2_047, 2_048, 1_048_575] {
            assert_eq!(segments.get(number).unwrap().load(Ordering::Relaxed), number + 1);
        }
        assert_eq!(segments.from(1).unwrap().len(), 3);
        assert!(segments.get(8).is_none());
        assert!(segments.make_room(1_048_576).is_none(), "beyond the last group");
        assert_eq!(segments.size(), 5 * 4 * 4);
    }
}
