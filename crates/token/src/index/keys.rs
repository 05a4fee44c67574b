//! The keys that an index's digests are made with: one, or two while one takes the place of the other.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::digest::{DigestKey, KeyId};

/// How many keys one index can have had after its first, one after the other.
const LATER_MAX: usize = 64;

const PLACE_BITS: u32 = 8;
const PLACE: u32 = (1 << PLACE_BITS) - 1;

pub(crate) struct Keys {
    first: DigestKey,
    later: Box<[OnceLock<DigestKey>]>,
    /// The place of the current key, and above it that of the one before, counted from 1; 0 if there is none.
    live: AtomicU32,
}

impl Keys {
    pub(crate) fn new(first: DigestKey) -> Self {
        Self { first, later: (0..LATER_MAX).map(|_| OnceLock::new()).collect(), live: AtomicU32::new(0) }
    }

    #[inline]
    pub(crate) fn current(&self) -> &DigestKey {
        match self.live.load(Ordering::Acquire) & PLACE {
            0 => &self.first,
            place => self.at(place),
        }
    }

    #[inline]
    pub(crate) fn before(&self) -> Option<&DigestKey> {
        match self.live.load(Ordering::Acquire) >> PLACE_BITS {
            0 => None,
            place => Some(self.at(place - 1)),
        }
    }

    /// Sets the keys; `false` if there is no room for another one, and then nothing has changed. One writer at a time.
    pub(crate) fn set(&self, current: &DigestKey, before: Option<&DigestKey>) -> bool {
        let Some(current) = self.place(current) else { return false };
        let before = match before.map(|key| self.place(key)) {
            None => 0,
            Some(Some(place)) => place + 1,
            Some(None) => return false,
        };
        self.live.store(current | before << PLACE_BITS, Ordering::Release);
        true
    }

    #[cold]
    fn at(&self, place: u32) -> &DigestKey {
        let later = usize::try_from(place).ok().and_then(|place| place.checked_sub(1));
        later.and_then(|place| self.later.get(place)?.get()).unwrap_or(&self.first)
    }

    fn place(&self, key: &DigestKey) -> Option<u32> {
        let has = |place: &OnceLock<DigestKey>, id: KeyId| place.get_or_init(|| key.clone()).id() == id;
        if self.first.id() == key.id() {
            return Some(0);
        }
        let place = self.later.iter().position(|place| has(place, key.id()))?;
        u32::try_from(place + 1).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{BearerKind, InstallationKey};
    use crate::entropy::Entropy;

    #[test]
    fn one_key_follows_another_until_there_is_no_room() {
        let key = |id: u32| {
            let key = InstallationKey::generate(&Entropy::seeded(id.into()));
            key.with_id(KeyId::new(id).unwrap()).digest_key()
        };
        let same = |one: &DigestKey, other: &DigestKey| {
            let digest = |key: &DigestKey| key.bearer(BearerKind::ApiToken, "x");
            assert!(digest(one).matches(&digest(other)));
        };
        let keys = Keys::new(key(1));
        for id in 2..=65 {
            assert!(keys.before().is_none());
            assert!(keys.set(&key(id), Some(&key(id - 1))), "{id}");
            same(keys.current(), &key(id));
            same(keys.before().unwrap(), &key(id - 1));
            assert!(keys.set(&key(id), None));
        }
        assert!(!keys.set(&key(66), Some(&key(65))));
        same(keys.current(), &key(65));
    }
}
