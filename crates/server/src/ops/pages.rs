//! Turns a place in a list into a key, so that nobody pays for the rows before more than once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use countersign_store::{Listed, Page};
use countersign_token::feed::{Change, Subject};
use countersign_token::id::{AccountId, ApiTokenId, ServiceTokenId};
use countersign_token::service_token::Owner;

/// About how many rows lie between two that are remembered: passing over so many takes a fraction of what a page takes.
const STEP: u32 = 256;

/// How many rows are remembered before all are forgotten: a bound on memory, 24 bytes each. Lists of 30 million rows fit.
const REMEMBERED_MAX: usize = 1 << 17;

/// How many steps one reader takes at once, at most.
const STEPS_MAX: u64 = 1 << 16;

/// What is remembered of all lists, as long as they are whole and in the order of their ids.
#[derive(Debug, Default)]
pub struct Pages {
    /// Of the service tokens of a place.
    pub service_tokens: Ends<Owner, ServiceTokenId>,
    /// Of the API tokens of an account.
    pub api_tokens: Ends<AccountId, ApiTokenId>,
}

impl Pages {
    /// Forgets what a change makes wrong. `is_known` says whether its subject was in a list before.
    pub fn apply(&self, change: &Change, is_known: bool) {
        match &change.subject {
            Subject::ServiceToken { owner, id, deleted, .. } if *deleted || !is_known => {
                self.service_tokens.forget(*owner, *id);
            }
            Subject::ApiToken { account, id, deleted, .. } if *deleted || !is_known => {
                self.api_tokens.forget(*account, *id);
            }
            _ => {}
        }
    }

    /// Forgets everything.
    pub fn forget_all(&self) {
        self.service_tokens.forget_all();
        self.api_tokens.forget_all();
    }
}

/// How many rows end with which, in the lists of one kind.
///
/// What is remembered is only ever a short cut. A row that comes or goes shifts every later one, so what ends after it is
/// forgotten then, and the next reader counts rows again. Most rows come after all others, and there is nothing to forget;
/// but their ids are drawn before they are written, on any node, by any clock.
#[derive(Debug)]
pub struct Ends<L, K>(Mutex<State<L, K>>);

#[derive(Debug)]
struct State<L, K> {
    /// Of each list, in order.
    lists: HashMap<L, Vec<End<K>>>,
    len: usize,
    /// Who is reading which list, and the first row of it that has come or gone since.
    readers: HashMap<u64, (L, Option<K>)>,
    /// How many there have been.
    numbered: u64,
}

/// That so many rows end with this one.
#[derive(Clone, Copy, Debug)]
struct End<K> {
    rows: u64,
    id: K,
}

/// Where to start reading: after `after`, and `skip` rows further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Start<K> {
    /// A row before; `None` for the first row of all.
    after: Option<K>,
    /// How many rows end with it.
    before: u64,
    skip: u64,
}

/// Somebody who reads a list: what they find may be remembered as far as nothing of it has come or gone meanwhile.
struct Reader<'e, L, K> {
    ends: &'e Ends<L, K>,
    list: L,
    number: u64,
}

impl<L, K> Default for Ends<L, K> {
    fn default() -> Self {
        Self(Mutex::new(State { lists: HashMap::new(), len: 0, readers: HashMap::new(), numbered: 0 }))
    }
}

impl<L, K> Ends<L, K> {
    fn state(&self) -> MutexGuard<'_, State<L, K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Copy + Eq + Hash, K: Copy + Ord> Ends<L, K> {
    /// Reads a part of a list. `read` is asked for a part of what comes after a key. If the part is far from any row that is
    /// remembered, `walk` is asked before for every so many rows after a key, at most so many times.
    pub async fn read<T, E, W, R>(
        &self,
        list: L,
        page: Page,
        walk: impl FnOnce(Option<K>, u32, u32) -> W,
        read: impl FnOnce(Option<K>, Page) -> R,
        id: impl FnOnce(&T) -> K,
    ) -> Result<Listed<T>, E>
    where
        W: Future<Output = Result<Vec<K>, E>>,
        R: Future<Output = Result<Listed<T>, E>>,
    {
        let reader = self.begin(list);
        let mut start = self.start(list, page.offset);
        let steps = (start.skip / u64::from(STEP)).min(STEPS_MAX);
        if steps > 1 {
            let ids = walk(start.after, STEP, u32::try_from(steps).unwrap_or(u32::MAX)).await?;
            let mut rows = start.before;
            for id in ids {
                rows += u64::from(STEP);
                reader.remember(End { rows, id });
            }
            start = self.start(list, page.offset);
        }
        let listed = read(start.after, Page { offset: start.skip, limit: page.limit }).await?;
        if let Some(last) = listed.rows.last()
            && let Ok(found) = u64::try_from(listed.rows.len())
        {
            reader.remember(End { rows: page.offset.saturating_add(found), id: id(last) });
        }
        Ok(listed)
    }

    fn begin(&self, list: L) -> Reader<'_, L, K> {
        let mut state = self.state();
        let number = state.numbered;
        state.numbered += 1;
        state.readers.insert(number, (list, None));
        Reader { ends: self, list, number }
    }

    fn start(&self, list: L, offset: u64) -> Start<K> {
        let state = self.state();
        let ends = state.lists.get(&list).map_or(&[][..], Vec::as_slice);
        let near = ends.partition_point(|end| end.rows <= offset).checked_sub(1).and_then(|last| ends.get(last));
        let before = near.map_or(0, |end| end.rows);
        Start { after: near.map(|end| end.id), before, skip: offset - before }
    }

    /// Forgets what ends with a row that has come or gone, or after it.
    fn forget(&self, list: L, id: K) {
        let mut state = self.state();
        for (_, first) in state.readers.values_mut().filter(|(read, _)| *read == list) {
            *first = Some(first.map_or(id, |first| first.min(id)));
        }
        if let Some(ends) = state.lists.get_mut(&list) {
            let right = ends.partition_point(|end| end.id < id);
            let lost = ends.len() - right;
            ends.truncate(right);
            state.len -= lost;
        }
    }

    fn forget_all(&self) {
        let mut state = self.state();
        state.lists.clear();
        state.len = 0;
        state.readers.clear();
    }
}

impl<L: Copy + Eq + Hash, K: Copy + Ord> Reader<'_, L, K> {
    fn remember(&self, end: End<K>) {
        let mut state = self.ends.state();
        match state.readers.get(&self.number) {
            Some((_, first)) if first.is_none_or(|first| end.id < first) => state.remember(self.list, end),
            // It may be wrong already; or everything was forgotten.
            Some(_) | None => {}
        }
    }
}

impl<L, K> Drop for Reader<'_, L, K> {
    fn drop(&mut self) {
        self.ends.state().readers.remove(&self.number);
    }
}

impl<L: Copy + Eq + Hash, K: Copy> State<L, K> {
    fn remember(&mut self, list: L, end: End<K>) {
        if self.len >= REMEMBERED_MAX {
            self.lists.clear();
            self.len = 0;
        }
        let ends = self.lists.entry(list).or_default();
        let place = ends.partition_point(|other| other.rows < end.rows);
        let rows = |back: usize| place.checked_sub(back).and_then(|place| ends.get(place)).map_or(0, |end| end.rows);
        // A reader of small pages leaves no more behind than others need.
        let is_needless = place > 0 && end.rows - rows(2) < u64::from(STEP);
        let is_known = ends.get(place).is_some_and(|other| other.rows == end.rows);
        let replaced = ends.splice(place - usize::from(is_needless)..place + usize::from(is_known), [end]).count();
        self.len = self.len + 1 - replaced;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::{BTreeSet, VecDeque};
    use std::convert::Infallible;
    use std::future::ready;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;

    use super::*;

    const LIST: u8 = 1;
    const OTHER: u8 = 2;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// A row is written, anywhere in the list.
        Come(u64),
        /// A row is taken away.
        Go(usize),
        /// The node learns of so many changes.
        Learn(usize),
        /// Somebody reads, while so many of the steps to come happen at each moment.
        Read { offset: u64, limit: u32, meanwhile: [usize; 4] },
    }

    /// A list, and a node that learns of its changes later.
    struct World {
        ends: Ends<u8, u64>,
        rows: RefCell<BTreeSet<u64>>,
        changed: RefCell<Vec<u64>>,
        learnt: Cell<usize>,
        to_come: RefCell<VecDeque<Step>>,
        walks: Cell<usize>,
        passed_over: Cell<u64>,
    }

    impl World {
        fn new(rows: impl IntoIterator<Item = u64>) -> Self {
            Self {
                ends: Ends::default(),
                rows: RefCell::new(rows.into_iter().collect()),
                changed: RefCell::default(),
                learnt: Cell::default(),
                to_come: RefCell::default(),
                walks: Cell::default(),
                passed_over: Cell::default(),
            }
        }

        fn step(&self, step: Step) {
            match step {
                Step::Come(id) => {
                    if self.rows.borrow_mut().insert(id) {
                        self.changed.borrow_mut().push(id);
                    }
                }
                Step::Go(number) => {
                    let id = self.rows.borrow().iter().nth(number).copied();
                    if let Some(id) = id {
                        self.rows.borrow_mut().remove(&id);
                        self.changed.borrow_mut().push(id);
                    }
                }
                Step::Learn(count) => {
                    let changed = self.changed.borrow();
                    for id in changed.iter().skip(self.learnt.get()).take(count) {
                        self.ends.forget(LIST, *id);
                    }
                    self.learnt.set(changed.len().min(self.learnt.get().saturating_add(count)));
                }
                Step::Read { offset, limit, meanwhile } => {
                    self.read(offset, limit, meanwhile);
                }
            }
            if self.learnt.get() == self.changed.borrow().len() {
                self.check();
            }
        }

        /// Whoever knows all that has happened remembers nothing wrong.
        fn check(&self) {
            let (state, rows) = (self.ends.state(), self.after(None));
            let ends = state.lists.get(&LIST).map_or(&[][..], Vec::as_slice);
            for end in ends {
                assert_eq!(rows.partition_point(|id| *id <= end.id) as u64, end.rows, "{end:?}");
            }
            assert!(ends.is_sorted_by_key(|end| end.rows));
            assert_eq!(state.len, ends.len());
        }

        fn go_on(&self, count: usize) {
            for _ in 0..count {
                let next = self.to_come.borrow_mut().pop_front();
                next.into_iter().for_each(|step| self.step(step));
            }
        }

        fn after(&self, after: Option<u64>) -> Vec<u64> {
            self.rows.borrow().range(after.map_or(0, |after| after + 1)..).copied().collect()
        }

        fn read(&self, offset: u64, limit: u32, meanwhile: [usize; 4]) -> Vec<u64> {
            let walk = |after, step: u32, count: u32| {
                self.walks.set(self.walks.get() + 1);
                self.go_on(meanwhile[0]);
                let step = step as usize;
                let ids = self.after(after).into_iter().skip(step - 1).step_by(step).take(count as usize).collect();
                self.go_on(meanwhile[1]);
                ready(Ok::<_, Infallible>(ids))
            };
            let read = |after, page: Page| {
                self.passed_over.set(page.offset);
                self.go_on(meanwhile[2]);
                let rows = self.after(after);
                let total = rows.len() as u64;
                let skip = usize::try_from(page.offset).unwrap_or(usize::MAX);
                let rows = rows.into_iter().skip(skip).take(page.limit as usize).collect();
                self.go_on(meanwhile[3]);
                ready(Ok(Listed { rows, total }))
            };
            let reading = pin!(self.ends.read(LIST, Page { offset, limit }, walk, read, |id| *id));
            match reading.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(listed)) => listed.rows,
                Poll::Pending => panic!("nothing waits here"),
            }
        }

        /// Reads while nothing happens: the rows must be right. Returns how many were passed over.
        fn look(&self, offset: u64, limit: u32) -> u64 {
            let found = self.read(offset, limit, [0; 4]);
            let skip = usize::try_from(offset).unwrap_or(usize::MAX);
            let expected: Vec<_> = self.rows.borrow().iter().copied().skip(skip).take(limit as usize).collect();
            assert_eq!(found, expected, "{limit} from {offset}");
            self.check();
            self.passed_over.get()
        }
    }

    fn step() -> impl Strategy<Value = Step> {
        let meanwhile = || prop_oneof![3 => Just(0_usize), 2 => 1_usize..4];
        prop_oneof![
            3 => (0_u64..2500).prop_map(Step::Come),
            1 => (2500_u64..3000).prop_map(Step::Come),
            3 => (0_usize..1200).prop_map(Step::Go),
            4 => (1_usize..4).prop_map(Step::Learn),
            6 => (0_u64..1400, prop_oneof![Just(1), Just(50), Just(300)], [meanwhile(), meanwhile(), meanwhile(), meanwhile()])
                .prop_map(|(offset, limit, meanwhile)| Step::Read { offset, limit, meanwhile }),
        ]
    }

    proptest! {
        #[test]
        fn nothing_wrong_is_remembered(steps in proptest::collection::vec(step(), 1..60)) {
            let world = World::new((0..1000).map(|number| number * 2));
            world.to_come.replace(steps.into());
            while !world.to_come.borrow().is_empty() {
                world.go_on(1);
            }
            world.step(Step::Learn(usize::MAX));
            for offset in (0..1400).step_by(77) {
                world.look(offset, 50);
            }
        }
    }

    /// Ids are drawn before they are written: one may come late, and belong where somebody has read already.
    #[test]
    fn a_row_that_comes_late_is_in_its_place() {
        let world = World::new((0..1000).filter(|id| *id != 500));
        world.look(450, 50);
        world.look(500, 50);
        world.step(Step::Come(500));
        world.step(Step::Learn(1));
        world.look(500, 50);
        world.look(550, 50);
    }

    #[test]
    fn a_reader_in_order_passes_over_nothing_and_leaves_little() {
        for limit in [1, 50, 100, 1000] {
            let world = World::new(0..5000);
            for offset in (0..5000).step_by(limit) {
                assert_eq!(world.look(offset, u32::try_from(limit).unwrap()), 0, "{offset} by {limit}");
            }
            assert_eq!(world.walks.get(), 0);
            let left = world.ends.state().len;
            assert!(left <= 5000 / limit && left <= 2 * 5000 / STEP as usize + 1, "{left} by {limit}");
        }
    }

    #[test]
    fn a_jump_walks_once() {
        let world = World::new(0..100_000);
        assert!(world.look(99_950, 50) < 2 * u64::from(STEP));
        assert_eq!(world.walks.get(), 1);
        for offset in (0..100_000).step_by(3333) {
            assert!(world.look(offset, 50) < 2 * u64::from(STEP), "{offset}");
        }
        assert_eq!(world.walks.get(), 1);
        // Past the end there is nothing to remember.
        let far = 3 * u64::from(STEP);
        assert!(world.look(100_000 + far, 50) >= far);
        assert_eq!(world.ends.start(OTHER, 1000).after, None, "another list is not known by this");
    }

    /// A change in one place costs nobody what was remembered before it, or of another list.
    #[test]
    fn only_what_comes_after_is_forgotten() {
        let world = World::new(0..10_000);
        world.look(9_000, 100);
        world.step(Step::Go(4_000));
        world.step(Step::Learn(1));
        assert!(world.look(3_999, 1) < 2 * u64::from(STEP));
        assert_eq!(world.walks.get(), 1);
        world.look(9_000, 100);
        assert_eq!(world.walks.get(), 2);
        world.ends.forget(OTHER, 0);
        world.ends.forget(LIST, 20_000);
        world.look(9_000, 100);
        assert_eq!(world.walks.get(), 2);
        world.ends.forget_all();
        world.look(9_000, 100);
        assert_eq!(world.walks.get(), 3);
        assert!(world.ends.state().readers.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let ends = Ends::default();
        let reader = ends.begin(LIST);
        for number in 1..=3 * REMEMBERED_MAX as u64 {
            reader.remember(End { rows: number * 1000, id: number });
            let state = ends.state();
            assert!(state.len <= REMEMBERED_MAX && state.len == state.lists[&LIST].len());
        }
    }

    #[test]
    fn a_place_beyond_all_numbers_overflows_nothing() {
        let world = World::new(0..1000);
        assert!(world.look(u64::MAX, 50) > u64::MAX - 1001);
    }
}
