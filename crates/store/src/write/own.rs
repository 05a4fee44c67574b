//! Which revisions are this process' own.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Which revisions this process has written itself, so that others' can be told from them.
#[derive(Debug)]
pub(crate) struct Own(Mutex<Revisions>);

#[derive(Debug)]
struct Revisions {
    /// Up to where the feed has been compared.
    polled: i64,
    /// The newest revision of this process.
    newest: i64,
    /// Ranges of own revisions after `polled`, first and last.
    ranges: VecDeque<(i64, i64)>,
}

impl Own {
    pub(crate) fn new(polled: i64) -> Self {
        Self(Mutex::new(Revisions { polled, newest: 0, ranges: VecDeque::new() }))
    }

    /// The newest revision that this process has written, 0 if none.
    pub(crate) fn newest(&self) -> i64 {
        self.lock().newest
    }

    /// Counts a range as own: before its commit, so that no reader can see it earlier.
    pub(super) fn add(&self, range: Option<(i64, i64)>) {
        let Some((first, last)) = range else { return };
        let mut own = self.lock();
        own.newest = own.newest.max(last);
        match own.ranges.back_mut() {
            Some(back) if back.1 + 1 == first => back.1 = last,
            _ => own.ranges.push_back((first, last)),
        }
    }

    /// Takes back what `add` counted last: the commit failed.
    pub(super) fn remove(&self, range: Option<(i64, i64)>) {
        let Some((first, _)) = range else { return };
        let mut own = self.lock();
        if let Some(back) = own.ranges.back_mut() {
            back.1 = first - 1;
            if back.1 < back.0 {
                own.ranges.pop_back();
            }
        }
        own.newest = own.newest.min(first - 1);
    }

    /// Whether there are others' revisions among those up to `polled` that have not been asked about before.
    pub(crate) fn take_foreign(&self, polled: i64) -> bool {
        let mut own = self.lock();
        let from = own.polled;
        if polled <= from {
            return false;
        }
        let mine: i64 =
            own.ranges.iter().map(|(first, last)| (last.min(&polled) - first.max(&(from + 1)) + 1).max(0)).sum();
        own.ranges.retain(|(_, last)| *last > polled);
        own.polled = polled;
        mine < polled - from
    }

    fn lock(&self) -> MutexGuard<'_, Revisions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_revisions_are_told_from_others() {
        let own = Own::new(10);
        assert!(!own.take_foreign(10), "nothing new");
        own.add(Some((11, 12)));
        own.add(Some((13, 13)));
        assert!(!own.take_foreign(12), "own only");
        assert!(!own.take_foreign(13), "the rest of a range");
        own.add(Some((15, 16)));
        assert!(own.take_foreign(16), "14 is another's");
        assert!(!own.take_foreign(16), "asked about already");
        assert!(own.take_foreign(17), "17 is another's");
        own.add(Some((18, 18)));
        own.add(Some((19, 20)));
        own.remove(Some((19, 20)));
        assert_eq!(own.newest(), 18);
        assert!(own.take_foreign(20), "19 and 20 were not committed by this process");
    }
}
