//! The installation keys that a process holds, while one takes the place of another.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::{InstallationKey, KeyId};

/// Which keys an installation lives under. At most two are needed at a time: `before` and `next` are never both there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveKeys {
    /// The key that some rows may still stand under, until the change to `current` is finished.
    pub before: Option<KeyId>,
    /// The key that new rows stand under.
    pub current: KeyId,
    /// The key that is handed out to the servers and will be current. Nothing stands under it yet.
    pub next: Option<KeyId>,
}

impl LiveKeys {
    /// Those of an installation whose key was never changed.
    pub const FIRST: Self = Self { before: None, current: KeyId::FIRST, next: None };

    /// The keys without which secrets can't be verified.
    pub fn needed(self) -> impl Iterator<Item = KeyId> {
        [Some(self.current), self.before].into_iter().flatten()
    }

    /// All of them: the current one first.
    pub fn all(self) -> impl Iterator<Item = KeyId> {
        self.needed().chain(self.next)
    }
}

/// The installation keys that a process holds. Clones share them.
#[derive(Clone)]
pub struct Keyring(Arc<RwLock<Ring>>);

struct Ring {
    live: LiveKeys,
    /// One at least; those that are live, as far as they are known.
    keys: Vec<Arc<InstallationKey>>,
    first: Arc<InstallationKey>,
}

/// A key that is needed, and that the process does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("installation key {0} is needed and not here")]
pub struct NoKey(pub KeyId);

impl Keyring {
    /// A ring that holds the one key of an installation.
    pub fn new(key: InstallationKey) -> Self {
        let live = LiveKeys { before: None, current: key.id(), next: None };
        let first = Arc::new(key);
        Self(Arc::new(RwLock::new(Ring { live, keys: vec![Arc::clone(&first)], first })))
    }

    /// A ring that holds what is said to be the keys of an installation; [`Keyring::identify`] finds out which is which.
    /// `None` if there are none.
    pub fn of(keys: Vec<InstallationKey>) -> Option<Self> {
        let keys: Vec<_> = keys.into_iter().map(Arc::new).collect();
        let first = Arc::clone(keys.first()?);
        Some(Self(Arc::new(RwLock::new(Ring { live: LiveKeys::FIRST, keys, first }))))
    }

    /// Finds out which key is which by the check values of the installation's keys, and takes over which are live.
    ///
    /// # Errors
    /// When a key that is needed is not here. Then nothing has changed.
    pub fn identify(&self, live: LiveKeys, checks: &[(KeyId, [u8; 32])]) -> Result<(), NoKey> {
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let found: Vec<_> = identified(&ring.keys, checks).into_iter().map(Arc::new).collect();
        ring.take(live, &found)
    }

    /// Which keys the installation lives under, as far as this process knows.
    pub fn live(&self) -> LiveKeys {
        self.read(|ring| ring.live)
    }

    /// The key that new rows stand under.
    pub fn current(&self) -> Arc<InstallationKey> {
        self.read(|ring| ring.find(ring.live.current).unwrap_or_else(|| Arc::clone(&ring.first)))
    }

    /// A live key; `None` if it is not here.
    pub fn find(&self, id: KeyId) -> Option<Arc<InstallationKey>> {
        self.read(|ring| ring.find(id))
    }

    /// The same where it must be here.
    ///
    /// # Errors
    /// When it isn't.
    pub fn get(&self, id: KeyId) -> Result<Arc<InstallationKey>, NoKey> {
        self.find(id).ok_or(NoKey(id))
    }

    /// The live keys that are here: the current one first, then the one before, then the next.
    pub fn all(&self) -> Vec<Arc<InstallationKey>> {
        self.read(|ring| ring.live.all().filter_map(|id| ring.find(id)).collect())
    }

    /// Every key that is here, live or not: before [`Keyring::identify`], whatever [`Keyring::of`] was given.
    pub fn held(&self) -> Vec<Arc<InstallationKey>> {
        self.read(|ring| ring.keys.clone())
    }

    /// Whether `live` can be taken over with the keys that are here, all of them.
    pub fn holds(&self, live: LiveKeys) -> bool {
        self.read(|ring| live.all().all(|id| ring.find(id).is_some()))
    }

    /// Takes over which keys the installation lives under. `found` are keys with their ids, and count more than those that
    /// are here; what is not live is dropped.
    ///
    /// # Errors
    /// When a key that is needed is neither here nor found. Then nothing has changed.
    pub fn adopt(&self, live: LiveKeys, found: Vec<InstallationKey>) -> Result<(), NoKey> {
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut keys: Vec<_> = found.into_iter().map(Arc::new).collect();
        keys.extend(ring.keys.iter().map(Arc::clone));
        ring.take(live, &keys)
    }

    fn read<T>(&self, read: impl FnOnce(&Ring) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Those of the keys that have one of the check values, each with its id.
pub(crate) fn identified<K>(keys: &[K], checks: &[(KeyId, [u8; 32])]) -> Vec<InstallationKey>
where
    K: std::ops::Deref<Target = InstallationKey>,
{
    let of = |check: &[u8; 32]| keys.iter().find_map(|key| key.known_by(check));
    checks.iter().filter_map(|(id, check)| Some(of(check)?.with_id(*id))).collect()
}

impl Ring {
    fn take(&mut self, live: LiveKeys, keys: &[Arc<InstallationKey>]) -> Result<(), NoKey> {
        let mut kept: Vec<Arc<InstallationKey>> = Vec::new();
        for id in live.all() {
            match keys.iter().find(|key| key.id() == id) {
                Some(key) => kept.push(Arc::clone(key)),
                None if live.next == Some(id) => {}
                None => return Err(NoKey(id)),
            }
        }
        if let Some(current) = kept.first() {
            self.first = Arc::clone(current);
        }
        (self.live, self.keys) = (live, kept);
        Ok(())
    }

    fn find(&self, id: KeyId) -> Option<Arc<InstallationKey>> {
        self.keys.iter().find(|key| key.id() == id).map(Arc::clone)
    }
}

impl From<&InstallationKey> for Keyring {
    fn from(key: &InstallationKey) -> Self {
        Self::new(key.with_id(key.id()))
    }
}

impl From<InstallationKey> for Keyring {
    fn from(key: InstallationKey) -> Self {
        Self::new(key)
    }
}

impl From<&Self> for Keyring {
    fn from(keys: &Self) -> Self {
        keys.clone()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({:?})", self.live())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;

    fn key(id: u32) -> InstallationKey {
        InstallationKey::generate(&Entropy::seeded(id.into())).with_id(KeyId(id))
    }

    fn live(before: u32, current: u32, next: u32) -> LiveKeys {
        LiveKeys { before: KeyId::new(before), current: KeyId(current), next: KeyId::new(next) }
    }

    #[test]
    fn keys_are_known_by_their_check_values() {
        let check = |id: u32| (KeyId(id), key(id).check_value());
        let ring = Keyring::of(vec![key(2).with_id(KeyId::FIRST), key(9), key(1)]).unwrap();
        ring.identify(live(0, 1, 2), &[check(1), check(2)]).unwrap();
        assert_eq!(ring.current().check_value(), key(1).check_value());
        assert_eq!(ring.find(KeyId(2)).unwrap().check_value(), key(2).check_value());
        assert_eq!(ring.held().len(), 2, "what is not live is dropped");
        let foreign = Keyring::new(key(9).with_id(KeyId::FIRST));
        assert_eq!(foreign.identify(live(0, 1, 0), &[check(1)]), Err(NoKey(KeyId(1))));
        assert!(Keyring::of(vec![]).is_none());
    }

    #[test]
    fn keys_come_and_go() {
        let ring = Keyring::new(key(1));
        let check = |expected: &[u32]| {
            let held: Vec<u32> = ring.all().iter().map(|key| key.id().get()).collect();
            assert_eq!(held, expected);
            assert_eq!(ring.current().id().get(), expected[0]);
        };
        check(&[1]);
        // A next key that is not here yet is missed by nobody.
        ring.adopt(live(0, 1, 2), vec![]).unwrap();
        assert!(!ring.holds(ring.live()));
        check(&[1]);
        assert_eq!(ring.adopt(live(1, 2, 0), vec![]), Err(NoKey(KeyId(2))));
        assert_eq!(ring.live(), live(0, 1, 2), "nothing has changed");
        ring.adopt(live(0, 1, 2), vec![key(2)]).unwrap();
        assert!(ring.holds(ring.live()));
        check(&[1, 2]);
        ring.adopt(live(1, 2, 0), vec![]).unwrap();
        check(&[2, 1]);
        ring.adopt(live(0, 2, 0), vec![]).unwrap();
        check(&[2]);
        assert!(ring.find(KeyId(1)).is_none());
        assert!(format!("{ring:?}").starts_with("Keyring(LiveKeys"));
    }
}
