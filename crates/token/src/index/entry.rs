//! One credential as a cache line: words that are read without a lock and checked to belong together.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use subtle::ConstantTimeEq as _;

use super::hash::Key;
use crate::time::Timestamp;

/// The part of a digest that an entry holds. The other eight bytes are a bearer's key; of a pair's, 24 are enough.
pub(crate) type DigestWords = [u64; 3];

/// Compares in a time that doesn't depend on where the digests differ.
#[inline]
pub(crate) fn same_digest(one: DigestWords, other: DigestWords) -> bool {
    let [a0, a1, a2] = one;
    let [b0, b1, b2] = other;
    let difference = (a0 ^ b0) | (a1 ^ b1) | (a2 ^ b2);
    difference.ct_eq(&0).into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Service,
    Api,
    Management,
}

/// Flags, and the end of the credential's life in microseconds: 9 and 55 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(u64);

impl State {
    const KIND: u64 = 0b11;
    pub(crate) const DISABLED: u64 = 1 << 2;
    pub(crate) const REVOKED: u64 = 1 << 3;
    const FOREVER: u64 = 1 << 4;
    pub(crate) const HAS_PREVIOUS: u64 = 1 << 5;
    /// Confined to a zone or an environment, which its details name.
    pub(crate) const SCOPED: u64 = 1 << 6;
    pub(crate) const DELETED: u64 = 1 << 7;
    /// Admitted from some addresses only, which its record names.
    pub(crate) const LISTED: u64 = 1 << 8;
    /// What one look rules out for nearly all that is presented with the right secret.
    pub(crate) const RARE: u64 = Self::DISABLED | Self::REVOKED | Self::DELETED | Self::LISTED;
    const EXPIRY_SHIFT: u32 = 9;
    const EXPIRY_MAX: u64 = (1 << 55) - 1;

    pub(crate) fn new(kind: EntryKind, expires_at: Option<Timestamp>) -> Self {
        let kind = match kind {
            EntryKind::Service => 0,
            EntryKind::Api => 1,
            EntryKind::Management => 2,
        };
        let expiry = match expires_at {
            // The year 3111 is the last that fits; a life until then ends no earlier than anybody can notice.
            Some(at) => u64::try_from(at.as_micros()).unwrap_or(0).min(Self::EXPIRY_MAX) << Self::EXPIRY_SHIFT,
            None => Self::FOREVER,
        };
        Self(kind | expiry)
    }

    pub(crate) fn with(self, flag: u64, set: bool) -> Self {
        if set { Self(self.0 | flag) } else { self }
    }

    pub(crate) fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    pub(crate) fn kind(self) -> EntryKind {
        match self.0 & Self::KIND {
            0 => EntryKind::Service,
            1 => EntryKind::Api,
            _ => EntryKind::Management,
        }
    }

    pub(crate) fn is_expired(self, now: Timestamp) -> bool {
        let expiry = i64::try_from(self.0 >> Self::EXPIRY_SHIFT).unwrap_or(i64::MAX);
        !self.has(Self::FOREVER) && now.as_micros() >= expiry
    }
}

/// What a change sets in an entry, and a reader gets out of it, all of one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    pub(crate) digest: DigestWords,
    pub(crate) state: State,
    pub(crate) account: u32,
}

/// Exactly one cache line.
///
/// The lower 24 bits of `sequence` are 0 in a slot never used, 1 while its first content is written, then odd during a
/// change and even between changes. Key and handle stay from the first content on, for as long as the entry lives in its
/// table. The upper 8 bits are the reach: how many slots from here on can hold a key that belongs here.
/// `seen` is outside of all this: seconds since the epoch, 0 for never.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Entry {
    sequence: AtomicU32,
    seen: AtomicU32,
    key: [AtomicU64; 2],
    digest: [AtomicU64; 3],
    state: AtomicU64,
    account: AtomicU32,
    handle: AtomicU32,
}

const NUMBER: u32 = (1 << 24) - 1;
const REACH_SHIFT: u32 = 24;
const REACH_MAX: u32 = 255;

impl Entry {
    /// The content, and a ticket: only if nothing is written until it is shown again is the content all of one moment.
    /// Waits while a change is being written.
    #[inline]
    pub(crate) fn read(&self) -> (Words, Ticket) {
        let mut waited = 0;
        loop {
            let sequence = self.sequence.load(Ordering::Acquire);
            if sequence & 1 == 0 {
                return (self.words(), Ticket(sequence & NUMBER));
            }
            // A change is a few stores, unless its writer has lost the processor.
            waited += 1;
            if waited % 64 == 0 { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }

    /// Whether nothing was written since the ticket was given.
    #[inline]
    pub(crate) fn is_unchanged(&self, ticket: Ticket) -> bool {
        // Every read before this line happens before the sequence is read again.
        fence(Ordering::Acquire);
        self.sequence.load(Ordering::Relaxed) & NUMBER == ticket.0
    }

    /// Whether a change is being written at this moment.
    #[cfg(test)]
    pub(crate) fn is_changing(&self) -> bool {
        self.sequence.load(Ordering::Acquire) & 1 == 1
    }

    #[inline]
    fn words(&self) -> Words {
        let [d0, d1, d2] = &self.digest;
        Words {
            digest: [d0, d1, d2].map(|word| word.load(Ordering::Relaxed)),
            state: State(self.state.load(Ordering::Relaxed)),
            account: self.account.load(Ordering::Relaxed),
        }
    }

    /// Whether the slot has content that readers may see; once it has, it keeps key and handle.
    #[inline]
    pub(crate) fn is_used(&self) -> bool {
        self.sequence.load(Ordering::Acquire) & NUMBER > 1
    }

    /// The key of a used slot.
    #[inline]
    pub(crate) fn key(&self) -> Key {
        let [first, second] = &self.key;
        Key([first.load(Ordering::Relaxed), second.load(Ordering::Relaxed)])
    }

    /// Whether the slot has this key, asked without a branch.
    #[inline]
    pub(crate) fn has(&self, key: Key) -> bool {
        let is_used = self.is_used();
        let (Key([first, second]), Key([wanted_first, wanted_second])) = (self.key(), key);
        is_used & ((first ^ wanted_first) | (second ^ wanted_second) == 0)
    }

    /// The handle of a used slot.
    #[inline]
    pub(crate) fn handle(&self) -> u32 {
        self.handle.load(Ordering::Relaxed)
    }

    pub(crate) fn seen(&self) -> u32 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Whether this moved the mark forward.
    #[inline]
    pub(crate) fn mark_seen(&self, secs: u32) -> bool {
        self.seen.load(Ordering::Relaxed) < secs && self.seen.fetch_max(secs, Ordering::Relaxed) < secs
    }

    /// Gives an unused slot its content, for which the ticket will stand. One writer at a time.
    pub(crate) fn fill(&self, key: Key, handle: u32, words: &Words, ticket: Ticket) {
        self.change(ticket, || {
            for (place, word) in self.key.iter().zip(key.0) {
                place.store(word, Ordering::Relaxed);
            }
            self.handle.store(handle, Ordering::Relaxed);
            self.store(words);
        });
    }

    /// Replaces the content of a used slot, together with whatever `beside` changes elsewhere. One writer at a time.
    pub(crate) fn replace(&self, words: &Words, beside: impl FnOnce()) {
        self.change(self.next_ticket(), || {
            beside();
            self.store(words);
        });
    }

    /// Stands for the content that is written next.
    pub(crate) fn next_ticket(&self) -> Ticket {
        Ticket(self.sequence.load(Ordering::Relaxed) & NUMBER).next()
    }

    fn change(&self, after: Ticket, write: impl FnOnce()) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        let reach = sequence & !NUMBER;
        // An even number has room for one more.
        self.sequence.store(sequence + 1, Ordering::Release);
        // Nothing that follows is seen before the odd number is.
        fence(Ordering::Release);
        write();
        self.sequence.store(reach | after.0, Ordering::Release);
    }

    /// How many slots from this one on can hold a key that belongs here; `None` if there are too many to say.
    #[inline]
    pub(crate) fn reach(&self) -> Option<usize> {
        let reach = self.sequence.load(Ordering::Acquire) >> REACH_SHIFT;
        if reach == REACH_MAX { None } else { usize::try_from(reach).ok() }
    }

    /// Notes that a key that belongs here is the given number of slots further on. One writer at a time.
    pub(crate) fn extend_reach(&self, distance: usize) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        let needed = u32::try_from(distance + 1).unwrap_or(REACH_MAX).min(REACH_MAX);
        if sequence >> REACH_SHIFT < needed {
            self.sequence.store(sequence & NUMBER | needed << REACH_SHIFT, Ordering::Release);
        }
    }

    fn store(&self, words: &Words) {
        for (place, word) in self.digest.iter().zip(words.digest) {
            place.store(word, Ordering::Relaxed);
        }
        self.state.store(words.state.0, Ordering::Relaxed);
        self.account.store(words.account, Ordering::Relaxed);
    }
}

/// Stands for one content of one entry, wherever that has moved to. Of those who have the same number one after the other,
/// no two contents have the same ticket, until after eight million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticket(u32);

impl Ticket {
    /// That of the first content of a number that nobody had before.
    pub(crate) const FIRST: Self = Self(2);

    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// That of the next content.
    pub(crate) fn next(self) -> Self {
        // 0 would say that the slot was never used.
        if self.0 + 2 > NUMBER { Self::FIRST } else { Self(self.0 + 2) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, EntryKind, NUMBER, State, Ticket, Words};
    use crate::index::hash::Key;
    use crate::time::Timestamp;
    use std::sync::atomic::Ordering;

    fn words(number: u64) -> Words {
        Words { digest: [number; 3], state: State::new(EntryKind::Api, None), account: 3 }
    }

    #[test]
    fn a_ticket_is_void_from_the_start_of_a_change() {
        let entry = Entry::default();
        assert!(!entry.is_used());
        entry.fill(Key([1, 2]), 7, &words(1), Ticket::FIRST);
        let (before, ticket) = entry.read();
        assert_eq!((before.digest, entry.key(), entry.handle()), ([1; 3], Key([1, 2]), 7));
        assert!(entry.is_unchanged(ticket));
        entry.replace(&words(2), || assert!(!entry.is_unchanged(ticket)));
        assert!(!entry.is_unchanged(ticket));
        let (after, ticket) = entry.read();
        assert_eq!((after.digest, entry.key(), entry.handle()), ([2; 3], Key([1, 2]), 7));
        assert!(entry.is_unchanged(ticket));
    }

    #[test]
    fn a_used_slot_never_looks_unused_again() {
        let entry = Entry::default();
        entry.fill(Key([1, 2]), 7, &words(1), Ticket::FIRST);
        entry.extend_reach(300);
        entry.sequence.fetch_or(NUMBER - 1, Ordering::Relaxed);
        entry.replace(&words(2), || ());
        assert!(entry.is_used());
        assert_eq!(entry.reach(), None, "the reach outlasts the numbers");
    }

    #[test]
    fn the_reach_only_grows() {
        let entry = Entry::default();
        assert_eq!(entry.reach(), Some(0));
        for (distance, reach) in [(0, Some(1)), (5, Some(6)), (2, Some(6)), (253, Some(254)), (254, None)] {
            entry.extend_reach(distance);
            assert_eq!(entry.reach(), reach, "{distance}");
        }
    }

    #[test]
    fn states_hold_an_end_of_55_bits() {
        let check = |expires_at: i64, now: i64, expected: bool| {
            let state = State::new(EntryKind::Service, Some(Timestamp::from_micros(expires_at)))
                .with(State::DISABLED, true)
                .with(State::REVOKED, false);
            assert!(
                state.has(State::DISABLED) && !state.has(State::REVOKED) && !state.has(State::DELETED | State::LISTED)
            );
            assert_eq!(state.kind(), EntryKind::Service);
            assert_eq!(state.is_expired(Timestamp::from_micros(now)), expected, "{expires_at} at {now}");
        };
        check(5, 4, false);
        check(5, 5, true);
        check(-5, 0, true);
        check(Timestamp::MAX.as_micros(), 1 << 54, false);
        check(Timestamp::MAX.as_micros(), 1 << 55, true);
        let forever = State::new(EntryKind::Management, None);
        assert!(!forever.is_expired(Timestamp::MAX) && forever.kind() == EntryKind::Management);
    }
}
