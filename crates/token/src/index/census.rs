//! How many credentials there are in each state.

use super::Index;
use super::entry::{Entry, EntryKind, State};
use super::table::Shard;
use crate::time::Timestamp;

const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

/// How many credentials of each kind there are, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Service tokens.
    pub service_tokens: Count,
    /// API tokens.
    pub api_tokens: Count,
    /// Management API tokens.
    pub management_tokens: Count,
}

/// How many credentials are in each state. What is in several counts where [`verify`](crate::verify::verify) would name it:
/// revoked, then disabled, then expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Good.
    pub active: u64,
    /// Disabled or suspended.
    pub disabled: u64,
    /// Revoked.
    pub revoked: u64,
    /// Beyond their end.
    pub expired: u64,
    /// How many of the active ones end within so many days: see [`Census::DAYS`].
    pub ending: [u64; Census::DAYS.len()],
}

impl Census {
    /// The spans, in days, for which it is counted what ends within them.
    pub const DAYS: [i64; 3] = [7, 14, 30];

    fn note(&mut self, state: State, now: Timestamp) {
        if state.has(State::DELETED) {
            return;
        }
        let count = match state.kind() {
            EntryKind::Service => &mut self.service_tokens,
            EntryKind::Api => &mut self.api_tokens,
            EntryKind::Management => &mut self.management_tokens,
        };
        if state.has(State::REVOKED) {
            count.revoked += 1;
        } else if state.has(State::DISABLED) {
            count.disabled += 1;
        } else if state.is_expired(now) {
            count.expired += 1;
        } else {
            count.active += 1;
            for (ending, days) in count.ending.iter_mut().zip(Self::DAYS) {
                *ending += u64::from(state.is_expired(now.saturating_add_micros(days * DAY_MICROS)));
            }
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            service_tokens: self.service_tokens.and(other.service_tokens),
            api_tokens: self.api_tokens.and(other.api_tokens),
            management_tokens: self.management_tokens.and(other.management_tokens),
        }
    }
}

impl Count {
    fn and(self, other: Self) -> Self {
        let mut ending = self.ending;
        ending.iter_mut().zip(other.ending).for_each(|(sum, more)| *sum += more);
        Self {
            active: self.active + other.active,
            disabled: self.disabled + other.disabled,
            revoked: self.revoked + other.revoked,
            expired: self.expired + other.expired,
            ending,
        }
    }
}

impl Index {
    /// Counts all credentials as of `now`, a part with each step. A step of ten million credentials in all takes some
    /// milliseconds and holds nobody up; what changes between two steps may be counted twice, or not at all.
    pub fn census(&self, now: Timestamp) -> impl Iterator<Item = Census> {
        self.shards.iter().map(move |shard| {
            let mut census = Census::default();
            shard.look(&mut |entry: &Entry| census.note(entry.read().0.state, now));
            census
        })
    }

    /// About how much memory the index takes, in bytes: its tables, and what is known of credentials besides, but for what
    /// few of them have.
    pub fn size(&self) -> usize {
        self.table_size() + self.records.size()
    }

    /// How much of it the tables take: all that a plain verification looks at.
    pub fn table_size(&self) -> usize {
        self.shards.iter().map(Shard::size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_several_states_counts_in_the_one_that_is_named() {
        let now = Timestamp::from_secs(1_767_225_600);
        let mut census = Census::default();
        let ended = |kind| State::new(kind, Some(now));
        census.note(ended(EntryKind::Api).with(State::REVOKED | State::DISABLED, true), now);
        census.note(ended(EntryKind::Api).with(State::DISABLED, true), now);
        census.note(ended(EntryKind::Api), now);
        census.note(ended(EntryKind::Api).with(State::DELETED, true), now);
        census.note(State::new(EntryKind::Management, None), now);
        let api_tokens = Count { active: 0, disabled: 1, revoked: 1, expired: 1, ending: [0; 3] };
        let management_tokens = Count { active: 1, ..Count::default() };
        assert_eq!(census, Census { api_tokens, management_tokens, ..Census::default() });
        assert_eq!(census.and(census).api_tokens.expired, 2);
    }
}
