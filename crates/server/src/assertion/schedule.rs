//! When which key signs, and how long it is told of. Whoever has the same keys and the same time comes to the same end:
//! no node has to tell another that a key's time has come.

use countersign_token::time::Timestamp;

/// How long a key is told of before it signs: those who check assertions may keep what they were told for so long.
pub(crate) const LEAD_MICROS: i64 = DAY_MICROS;

/// How long a key is told of after another one signs. No assertion is good for so long.
pub(crate) const OVERLAP_MICROS: i64 = 7 * DAY_MICROS;

pub(crate) const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

/// When a key was made known, and from when on it signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) published_at: Timestamp,
    pub(crate) current_at: Timestamp,
}

/// What is to be done about the keys at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// From when on a new key is to sign; `None` if none is needed.
    pub(crate) new_at: Option<Timestamp>,
    /// How many of the oldest keys nobody needs any more.
    pub(crate) over: usize,
}

/// The times of all keys, in the order in which they sign.
#[derive(Clone, Debug)]
pub(crate) struct Schedule(pub(crate) Vec<Times>);

impl Schedule {
    /// Which key signs at `now`; `None` if there is none at all.
    pub(crate) fn signing(&self, now: Timestamp) -> Option<usize> {
        let begun = self.0.iter().rposition(|key| key.current_at <= now);
        // A clock that goes slow must not leave a node without its first key.
        begun.or((!self.0.is_empty()).then_some(0))
    }

    /// The key that signs after the one that does at `now`.
    pub(crate) fn next(&self, now: Timestamp) -> Option<usize> {
        let next = self.signing(now)?.checked_add(1)?;
        self.0.get(next).map(|_| next)
    }

    /// Whether anybody may still need a key at `now`.
    pub(crate) fn is_published(&self, key: usize, now: Timestamp) -> bool {
        let next = key.checked_add(1).and_then(|next| self.0.get(next));
        next.is_none_or(|next| now < next.current_at.saturating_add_micros(OVERLAP_MICROS))
    }

    /// What is to be done at `now`, if a key signs for `interval_micros`. Nearly always there are two keys: the one that
    /// signs, and before it the one that did, or after it the one that will.
    pub(crate) fn due(&self, now: Timestamp, interval_micros: i64) -> Due {
        let over = (0..self.0.len()).filter(|key| !self.is_published(*key, now)).count();
        let new_at = match self.0.last() {
            None => Some(now),
            Some(newest) if self.0.len() - over == 1 => Some(begin(newest, now, now, interval_micros)),
            Some(_) => None,
        };
        Due { new_at, over }
    }

    /// From when on the next key signs if the others should sign for `interval_micros`.
    pub(crate) fn begin_next(&self, now: Timestamp, interval_micros: i64) -> Option<Timestamp> {
        let (signing, next) = (self.0.get(self.signing(now)?)?, self.0.get(self.next(now)?)?);
        Some(begin(signing, next.published_at, now, interval_micros))
    }
}

/// From when on a key signs that was made known at `published_at`, after `before` has signed for `interval_micros`: not
/// before everybody knows it.
fn begin(before: &Times, published_at: Timestamp, now: Timestamp, interval_micros: i64) -> Timestamp {
    let regular = before.current_at.saturating_add_micros(interval_micros);
    regular.max(published_at.saturating_add_micros(LEAD_MICROS)).max(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: i64 = 42 * DAY_MICROS;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_micros(1_000 * DAY_MICROS + day * DAY_MICROS)
    }

    fn key(published: i64, current: i64) -> Times {
        Times { published_at: day(published), current_at: day(current) }
    }

    /// A year, looked at every hour.
    #[test]
    fn it_goes_on_by_itself() {
        let mut schedule = Schedule(Vec::new());
        let mut changes = Vec::new();
        let mut signs = None;
        for hour in 0..24 * 365 {
            let now = day(0).saturating_add_micros(hour * DAY_MICROS / 24);
            let due = schedule.due(now, INTERVAL);
            schedule.0.drain(..due.over);
            schedule.0.extend(due.new_at.map(|current_at| Times { published_at: now, current_at }));
            let signing = schedule.0[schedule.signing(now).unwrap()];
            if signs.replace(signing) != Some(signing) {
                changes.push(hour / 24);
                let known_for = now.as_micros() - signing.published_at.as_micros();
                assert!(known_for >= LEAD_MICROS || hour == 0, "day {}: {known_for}", hour / 24);
            }
            assert!(schedule.0.len() <= 2);
            assert!((0..schedule.0.len()).all(|key| schedule.is_published(key, now)));
            // But for the moment of the first key there are always two.
            assert!(hour == 0 || schedule.0.len() == 2, "{hour}");
        }
        assert_eq!(changes, [0, 42, 84, 126, 168, 210, 252, 294, 336]);
    }

    #[test]
    fn a_key_is_told_of_for_a_week_after_it_signed() {
        let schedule = Schedule(vec![key(0, 0), key(7, 42)]);
        let second = |day: Timestamp, by: i64| day.saturating_add_micros(by * 1_000_000);
        let check = |now: Timestamp, signing: usize, published: [bool; 2]| {
            assert_eq!(schedule.signing(now), Some(signing));
            assert_eq!([0, 1].map(|key| schedule.is_published(key, now)), published);
        };
        check(day(-1), 0, [true, true]);
        check(second(day(42), -1), 0, [true, true]);
        check(day(42), 1, [true, true]);
        check(second(day(49), -1), 1, [true, true]);
        check(day(49), 1, [false, true]);
        assert_eq!(schedule.due(day(48), INTERVAL), Due { new_at: None, over: 0 });
        assert_eq!(schedule.due(day(49), INTERVAL), Due { new_at: Some(day(84)), over: 1 });
    }

    /// After a long time without a server, the new key is told of for a day all the same.
    #[test]
    fn whoever_comes_late_waits_a_day() {
        let schedule = Schedule(vec![key(0, 0)]);
        assert_eq!(schedule.due(day(300), INTERVAL), Due { new_at: Some(day(301)), over: 0 });
        let schedule = Schedule(vec![key(0, 0), key(7, 42)]);
        assert_eq!(schedule.due(day(300), INTERVAL), Due { new_at: Some(day(301)), over: 1 });
    }

    #[test]
    fn the_next_key_can_be_moved() {
        let schedule = Schedule(vec![key(0, 0), key(7, 42)]);
        assert_eq!(schedule.begin_next(day(10), 0), Some(day(10)), "at once");
        let hour = DAY_MICROS / 24;
        let early = day(7).saturating_add_micros(hour);
        assert_eq!(schedule.begin_next(early, 0), Some(day(8)), "once everybody knows it");
        assert_eq!(schedule.begin_next(day(10), 21 * DAY_MICROS), Some(day(21)));
        assert_eq!(schedule.begin_next(day(30), 21 * DAY_MICROS), Some(day(30)));
        assert_eq!(schedule.begin_next(day(42), INTERVAL), None, "it signs already");
    }
}
