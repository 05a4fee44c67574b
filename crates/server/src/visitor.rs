//! Who came last with each secret: noted by the gate, carried to the store by the flusher.
//!
//! The gate never waits for it, and notes nothing where there is no room: a mark is kept in the index whatever happens, and
//! only who came is forgotten.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use countersign_store::Visitor;
use countersign_token::index::SecretVersion;
use countersign_token::time::Timestamp;

/// Each has a lock of its own, so that the gate's threads rarely meet.
const SHELVES: usize = 16;

/// How many secrets may wait on one shelf.
const EACH: usize = 1024;

/// How much is kept of what a client says that it is.
const AGENT_MAX: usize = 256;

/// What stands for an agent that has its secret in it.
const WITHHELD: &str = "(not shown: it holds the secret)";

#[derive(Debug, Default)]
struct Shelf {
    /// Whether there is no room. Then nobody looks what is there: with very many tokens in use, nearly all would look in vain.
    is_full: AtomicBool,
    visitors: Mutex<HashMap<SecretVersion, Visitor>>,
}

/// The visitors that the store was not told of yet, at most one of each secret. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Visitors(Arc<[Shelf; SHELVES]>);

impl Visitors {
    /// Notes who came with `secret`, if there is room. `agent` is what the client says of itself; `presented` is cut out.
    pub(crate) fn note(
        &self,
        secret: SecretVersion,
        address: Option<IpAddr>,
        agent: Option<&[u8]>,
        presented: &str,
        at: Timestamp,
    ) {
        let [.., last] = secret.id.as_bytes();
        let Some(shelf) = self.0.get(usize::from(*last) % SHELVES) else { return };
        if shelf.is_full.load(Ordering::Relaxed) {
            return;
        }
        let visitor = || Visitor { at, address, user_agent: agent.map(|agent| readable(agent, presented)) };
        let mut visitors = shelf.visitors.lock().unwrap_or_else(PoisonError::into_inner);
        match visitors.entry(secret) {
            Entry::Occupied(mut known) if known.get().at < at => *known.get_mut() = visitor(),
            Entry::Occupied(_) => {}
            Entry::Vacant(place) => drop(place.insert(visitor())),
        }
        shelf.is_full.store(visitors.len() >= EACH, Ordering::Relaxed);
    }

    /// Hands out those of one of `parts` parts of the shelves, by its number from 0.
    pub(crate) fn take(&self, part: usize, parts: usize) -> impl Iterator<Item = (SecretVersion, Visitor)> {
        self.0.iter().skip(part).step_by(parts.max(1)).flat_map(|shelf| {
            let mut visitors = shelf.visitors.lock().unwrap_or_else(PoisonError::into_inner);
            shelf.is_full.store(false, Ordering::Relaxed);
            std::mem::take(&mut *visitors)
        })
    }
}

/// What a client says of itself, as text that does nothing to whoever reads it: only what is visible in ASCII stands as it
/// came.
fn readable(agent: &[u8], presented: &str) -> Box<str> {
    let holds_secret = !presented.is_empty() && agent.windows(presented.len()).any(|part| part == presented.as_bytes());
    if holds_secret {
        return WITHHELD.into();
    }
    let mut text = String::with_capacity(agent.len().min(AGENT_MAX));
    for byte in agent {
        let escaped = byte.escape_ascii();
        if text.len() + escaped.len() > AGENT_MAX {
            break;
        }
        text.extend(escaped.map(char::from));
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use countersign_token::id::ServiceTokenId;

    use super::*;

    #[test]
    fn agents_are_harmless() {
        let check = |agent: &[u8], expected: &str| assert_eq!(&*readable(agent, "csec_secret"), expected, "{agent:?}");
        check(b"curl/8.14.1", "curl/8.14.1");
        check(b"Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (X11; Linux x86_64)");
        check(b"", "");
        check(b"a\tb\x1b[31m\x00", "a\\tb\\x1b[31m\\x00");
        check("\u{202e}gro".as_bytes(), "\\xe2\\x80\\xaegro");
        check(b"\"\\", "\\\"\\\\");
        check(b"x csec_secret y", WITHHELD);
        check(b"x csec_secre", "x csec_secre");
        check(&[b'a'; 1000], &"a".repeat(256));
        // An escape is whole or not there.
        check(&[b"a".repeat(254).as_slice(), b"\x01b"].concat(), &"a".repeat(254));
        assert_eq!(&*readable(b"x", ""), "x");
    }

    fn secret(number: u128) -> SecretVersion {
        SecretVersion { id: ServiceTokenId::from_bytes(number.to_be_bytes()), version: 1 }
    }

    fn note(visitors: &Visitors, number: u128, second: i64) {
        visitors.note(secret(number), None, None, "x", Timestamp::from_secs(second));
    }

    #[test]
    fn what_waits_is_bounded() {
        let visitors = Visitors::default();
        for number in 0..100_000 {
            note(&visitors, number, 1);
        }
        let taken: HashMap<_, _> = visitors.take(0, 1).collect();
        assert_eq!(taken.len(), SHELVES * EACH);
        assert_eq!(visitors.take(0, 1).count(), 0);
        note(&visitors, 99_999, 1);
        assert_eq!(visitors.take(0, 1).count(), 1, "there is room again");
    }

    #[test]
    fn the_newest_stands() {
        let visitors = Visitors::default();
        for second in [1, 9, 5] {
            note(&visitors, 3, second);
        }
        let taken: Vec<_> = visitors.take(0, 1).map(|(_, visitor)| visitor.at).collect();
        assert_eq!(taken, [Timestamp::from_secs(9)]);
    }

    #[test]
    fn every_part_is_another() {
        let visitors = Visitors::default();
        for number in 0..256 {
            note(&visitors, number, 1);
        }
        let parts: Vec<usize> = (0..12).map(|part| visitors.take(part, 12).count()).collect();
        assert_eq!(parts.iter().sum::<usize>(), 256, "{parts:?}");
        assert_eq!(parts.iter().max(), Some(&32), "of sixteen shelves at most two at a time");
    }
}
