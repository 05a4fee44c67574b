//! Turns a page number into a key, so that a reader in order never pays for the rows before.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use countersign_token::id::ServiceTokenId;
use countersign_token::service_token::Owner;

/// How many pages are remembered before all are forgotten: a bound on memory, about 100 bytes each.
const REMEMBERED_MAX: usize = 8192;

/// Where pages of unfiltered lists ended.
///
/// What is remembered is only ever a short cut: a deletion shifts every later page, so the pages of that account or zone
/// are forgotten then, and the next reader counts rows again.
#[derive(Debug, Default)]
pub struct Pages(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Counts the deletions seen. A list that began before one must not be remembered after it.
    forgotten: u64,
    ends: HashMap<(Owner, u32), HashMap<u64, ServiceTokenId>>,
    len: usize,
}

/// Where to start reading: after `after`, and `skip` rows further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The last row of an earlier page; `None` for the first row of all.
    pub after: Option<ServiceTokenId>,
    /// How many rows to pass over from there.
    pub skip: u64,
    generation: u64,
}

impl Start {
    /// Page `page` (from 1) of `per_page` rows, counted from the first row.
    pub fn counted(page: u64, per_page: u32) -> Self {
        Self { after: None, skip: (page - 1).saturating_mul(u64::from(per_page)), generation: 0 }
    }
}

impl Pages {
    /// The nearest known start of page `page` (from 1).
    pub fn start(&self, owner: Owner, page: u64, per_page: u32) -> Start {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = page - 1;
        let known = state.ends.get(&(owner, per_page)).and_then(|ends| match ends.get(&before) {
            Some(id) => Some((before, *id)),
            None => {
                ends.iter().filter(|(end, _)| **end < before).max_by_key(|(end, _)| **end).map(|(end, id)| (*end, *id))
            }
        });
        let (end, after) = match known {
            Some((end, id)) => (end, Some(id)),
            None => (0, None),
        };
        Start { after, skip: (before - end).saturating_mul(u64::from(per_page)), generation: state.forgotten }
    }

    /// Remembers that page `page`, read from `start`, was full and ended with `last`.
    pub fn remember(&self, owner: Owner, page: u64, per_page: u32, start: Start, last: ServiceTokenId) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.forgotten != start.generation {
            return;
        }
        if state.len >= REMEMBERED_MAX {
            state.ends.clear();
            state.len = 0;
        }
        if state.ends.entry((owner, per_page)).or_default().insert(page, last).is_none() {
            state.len += 1;
        }
    }

    /// Forgets the pages of `owner`: one of its rows is gone.
    pub fn forget(&self, owner: Owner) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.forgotten += 1;
        state.ends.retain(|(of, _), _| *of != owner);
        state.len = state.ends.values().map(HashMap::len).sum();
    }

    /// Forgets everything.
    pub fn forget_all(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State { forgotten: state.forgotten + 1, ..State::default() };
    }
}

#[cfg(test)]
mod tests {
    use countersign_token::entropy::Entropy;
    use countersign_token::id::AccountId;
    use countersign_token::time::Timestamp;

    use super::*;

    fn owner(entropy: &Entropy) -> Owner {
        Owner { account: AccountId::generate(entropy), zone: None }
    }

    fn id(entropy: &Entropy) -> ServiceTokenId {
        ServiceTokenId::generate(Timestamp::from_secs(1), entropy)
    }

    #[test]
    fn a_reader_in_order_skips_nothing() {
        let entropy = Entropy::seeded(1);
        let (pages, owner, last) = (Pages::default(), owner(&entropy), id(&entropy));
        let first = pages.start(owner, 1, 50);
        assert_eq!((first.after, first.skip), (None, 0));
        pages.remember(owner, 1, 50, first, last);
        let second = pages.start(owner, 2, 50);
        assert_eq!((second.after, second.skip), (Some(last), 0));
        let fourth = pages.start(owner, 4, 50);
        assert_eq!((fourth.after, fourth.skip), (Some(last), 100));
    }

    #[test]
    fn other_sizes_and_owners_know_nothing_of_it() {
        let entropy = Entropy::seeded(2);
        let (pages, owner) = (Pages::default(), owner(&entropy));
        pages.remember(owner, 1, 50, pages.start(owner, 1, 50), id(&entropy));
        assert_eq!(pages.start(owner, 2, 20).skip, 20);
        assert_eq!(pages.start(self::owner(&entropy), 2, 50).skip, 50);
    }

    #[test]
    fn a_deletion_forgets_what_was_read_before_it() {
        let entropy = Entropy::seeded(3);
        let (pages, owner) = (Pages::default(), owner(&entropy));
        pages.remember(owner, 1, 50, pages.start(owner, 1, 50), id(&entropy));
        let under_way = pages.start(owner, 2, 50);
        pages.forget(owner);
        pages.remember(owner, 2, 50, under_way, id(&entropy));
        let third = pages.start(owner, 3, 50);
        assert_eq!((third.after, third.skip), (None, 100));
    }

    #[test]
    fn memory_is_bounded() {
        let entropy = Entropy::seeded(4);
        let (pages, owner, last) = (Pages::default(), owner(&entropy), id(&entropy));
        for page in 1..=3 * REMEMBERED_MAX as u64 {
            pages.remember(owner, page, 1, pages.start(owner, page, 1), last);
            assert!(pages.0.lock().unwrap().len <= REMEMBERED_MAX);
        }
    }

    #[test]
    fn a_page_beyond_all_numbers_overflows_nothing() {
        let entropy = Entropy::seeded(5);
        let start = Pages::default().start(owner(&entropy), u64::MAX, 1000);
        assert_eq!(start.skip, u64::MAX);
    }
}
