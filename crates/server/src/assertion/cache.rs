//! The assertions that were made, as many as there is room for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countersign_token::id::ServiceTokenId;
use countersign_token::time::Timestamp;
use tokio::sync::watch;

const SHARDS: usize = 16;

/// How many assertions are kept for certain, of those that were used last; at most twice as many. Each takes about 1 kB.
pub(super) const KEPT: usize = 16 * 1024;

/// How many audiences of one token: more than any proxy configuration names. Beyond it, the one that was ordered first goes.
const AUDIENCES: usize = 16;

/// Assertions by token and audience. Each shard has two generations: what is used moves to the young one, and when that
/// is full, what was not used since the last time is dropped as a whole.
#[derive(Debug, Default)]
pub(super) struct Cache {
    shards: [Mutex<Shard>; SHARDS],
    /// Whether there ever was anything: until then, changes of tokens cost nothing here.
    used: AtomicBool,
}

#[derive(Debug, Default)]
struct Shard {
    young: HashMap<ServiceTokenId, Vec<Entry>>,
    /// How many assertions the young generation has.
    count: usize,
    old: HashMap<ServiceTokenId, Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    audience: Box<str>,
    state: State,
}

#[derive(Debug)]
enum State {
    Made { value: Arc<str>, until: Timestamp },
    Ordered(watch::Receiver<Option<Arc<str>>>),
}

/// What there is of an assertion.
#[derive(Debug)]
pub(super) enum Found {
    /// It is there.
    Made(Arc<str>),
    /// Somebody has ordered it.
    Ordered(watch::Receiver<Option<Arc<str>>>),
    /// It is to be ordered, and to be sent to whoever else asks for it meanwhile.
    Missing(watch::Sender<Option<Arc<str>>>),
}

impl Cache {
    /// Looks an assertion up, and takes note that it is being ordered if there is none that is good at `now`.
    pub(super) fn find(&self, token: ServiceTokenId, audience: &str, now: Timestamp) -> Found {
        let mut shard = self.shard(token);
        let Shard { young, count, old } = &mut *shard;
        let entries = young.entry(token).or_insert_with(|| {
            let entries = old.remove(&token).unwrap_or_default();
            *count += entries.len();
            entries
        });
        let place = entries.iter().position(|entry| &*entry.audience == audience);
        match place.and_then(|place| entries.get(place)).map(|entry| &entry.state) {
            Some(State::Made { value, until }) if now < *until => return Found::Made(value.clone()),
            // Otherwise the order was dropped.
            Some(State::Ordered(made)) if made.has_changed().is_ok() => return Found::Ordered(made.clone()),
            Some(_) | None => {}
        }
        match place {
            Some(place) => drop(entries.remove(place)),
            None if entries.len() >= AUDIENCES => drop(entries.remove(0)),
            None => *count += 1,
        }
        let (sender, receiver) = watch::channel(None);
        entries.push(Entry { audience: audience.into(), state: State::Ordered(receiver) });
        let dropped = shard.turn();
        drop(shard);
        drop(dropped);
        self.used.store(true, Ordering::Release);
        Found::Missing(sender)
    }

    /// Keeps what was made for the order `made`, to be handed out before `until`; unless the token has changed meanwhile.
    pub(super) fn keep(
        &self,
        token: ServiceTokenId,
        audience: &str,
        made: &watch::Sender<Option<Arc<str>>>,
        value: Arc<str>,
        until: Timestamp,
    ) {
        let receiver = made.subscribe();
        let mut shard = self.shard(token);
        let Some(entries) = shard.known(token) else { return };
        let own = entries.iter_mut().find(|entry| {
            &*entry.audience == audience
                && matches!(&entry.state, State::Ordered(ordered) if ordered.same_channel(&receiver))
        });
        if let Some(entry) = own {
            entry.state = State::Made { value, until };
        }
    }

    /// Forgets everything about a token.
    pub(super) fn forget(&self, token: ServiceTokenId) {
        if self.used.load(Ordering::Acquire) {
            let mut shard = self.shard(token);
            if let Some(entries) = shard.young.remove(&token) {
                shard.count = shard.count.saturating_sub(entries.len());
            }
            shard.old.remove(&token);
        }
    }

    /// Forgets everything.
    pub(super) fn forget_all(&self) {
        for shard in &self.shards {
            let forgotten = std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
            drop(forgotten);
        }
    }

    fn shard(&self, token: ServiceTokenId) -> MutexGuard<'_, Shard> {
        // The last bytes of an id are random.
        let [.., last] = *token.as_bytes();
        let [first, rest @ ..] = &self.shards;
        let shard = usize::from(last) % SHARDS;
        let shard = shard.checked_sub(1).and_then(|index| rest.get(index)).unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn known(&mut self, token: ServiceTokenId) -> Option<&mut Vec<Entry>> {
        match self.young.get_mut(&token) {
            Some(entries) => Some(entries),
            None => self.old.get_mut(&token),
        }
    }

    /// Makes the young generation the old one if it is full. What is left of the old one is to be dropped without the lock.
    fn turn(&mut self) -> HashMap<ServiceTokenId, Vec<Entry>> {
        if self.count <= KEPT / SHARDS {
            return HashMap::new();
        }
        self.count = 0;
        std::mem::replace(&mut self.old, std::mem::take(&mut self.young))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);
    const LATER: Timestamp = Timestamp::from_secs(2_000);

    fn token(number: usize) -> ServiceTokenId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        ServiceTokenId::from_bytes(bytes)
    }

    fn made(cache: &Cache, id: ServiceTokenId, audience: &str) -> Option<Arc<str>> {
        match cache.find(id, audience, NOW) {
            Found::Made(value) => Some(value),
            Found::Ordered(_) | Found::Missing(_) => None,
        }
    }

    fn make(cache: &Cache, id: ServiceTokenId, audience: &str, text: &'static str) {
        let Found::Missing(order) = cache.find(id, audience, NOW) else { panic!("it is there") };
        cache.keep(id, audience, &order, text.into(), LATER);
    }

    #[test]
    fn it_is_made_once_for_each_audience() {
        let cache = Cache::default();
        let Found::Missing(order) = cache.find(token(1), "a", NOW) else { panic!("nothing was made") };
        assert!(matches!(cache.find(token(1), "a", NOW), Found::Ordered(_)), "one order is enough");
        cache.keep(token(1), "a", &order, "one".into(), LATER);
        make(&cache, token(1), "b", "two");
        make(&cache, token(2), "a", "three");
        assert_eq!(made(&cache, token(1), "a"), Some("one".into()));
        assert_eq!(made(&cache, token(1), "b"), Some("two".into()));
        assert_eq!(made(&cache, token(2), "a"), Some("three".into()));
        assert!(matches!(cache.find(token(1), "a", LATER), Found::Missing(_)), "its time is over");
    }

    #[test]
    fn an_order_that_was_dropped_is_made_again() {
        let cache = Cache::default();
        drop(cache.find(token(1), "a", NOW));
        assert!(matches!(cache.find(token(1), "a", NOW), Found::Missing(_)));
    }

    #[test]
    fn what_changed_while_it_was_made_is_not_kept() {
        let cache = Cache::default();
        let Found::Missing(order) = cache.find(token(1), "a", NOW) else { panic!("nothing was made") };
        cache.forget(token(1));
        cache.keep(token(1), "a", &order, "before".into(), LATER);
        let Found::Missing(again) = cache.find(token(1), "a", NOW) else { panic!("it was kept") };
        cache.keep(token(1), "a", &order, "before".into(), LATER);
        assert_eq!(made(&cache, token(1), "a"), None, "this is another order");
        cache.keep(token(1), "a", &again, "after".into(), LATER);
        assert_eq!(made(&cache, token(1), "a"), Some("after".into()));
        cache.forget(token(1));
        assert_eq!(made(&cache, token(1), "a"), None);
        make(&cache, token(2), "a", "x");
        cache.forget_all();
        assert_eq!(made(&cache, token(2), "a"), None);
    }

    #[test]
    fn it_has_bounds() {
        let cache = Cache::default();
        make(&cache, token(0), "used", "x");
        for number in 1..2 * KEPT {
            make(&cache, token(number), "a", "y");
            make(&cache, token(number), "b", "y");
            assert!(made(&cache, token(0), "used").is_some(), "what is used stays: {number}");
        }
        let kept: usize = cache
            .shards
            .iter()
            .map(|shard| {
                let shard = shard.lock().unwrap();
                let count = |tokens: &HashMap<_, Vec<Entry>>| tokens.values().map(Vec::len).sum::<usize>();
                assert_eq!(count(&shard.young), shard.count);
                shard.count + count(&shard.old)
            })
            .sum();
        assert!((KEPT..=2 * KEPT + 2 * SHARDS).contains(&kept), "{kept}");
        for number in 0..=AUDIENCES {
            make(&cache, token(1), &format!("audience {number}"), "z");
        }
        assert_eq!(cache.shard(token(1)).known(token(1)).unwrap().len(), AUDIENCES);
        assert_eq!(made(&cache, token(1), "audience 0"), None);
    }
}
