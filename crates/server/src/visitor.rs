//! Who came last with each secret: noted by the gate, carried to the store by the flusher.
//!
//! The gate never waits for it, and notes nothing where there is no room: a mark is kept in the index whatever happens, and
//! only who came is forgotten.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
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

type Shelf = HashMap<SecretVersion, Visitor>;

/// The visitors that the store was not told of yet, at most one of each secret. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Visitors(Arc<[Mutex<Shelf>; SHELVES]>);

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
        let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = shelf.len() >= EACH;
        // Made only where there is a place for it: with very many tokens in use, nearly all come to a shelf that is full.
        let visitor = || Visitor { at, address, user_agent: agent.map(|agent| readable(agent, presented)) };
        match shelf.entry(secret) {
            Entry::Occupied(mut known) if known.get().at < at => *known.get_mut() = visitor(),
            Entry::Vacant(place) if !is_full => {
                place.insert(visitor());
            }
            Entry::Occupied(_) | Entry::Vacant(_) => {}
        }
    }

    /// Hands out all of them.
    pub(crate) fn take(&self) -> impl Iterator<Item = (SecretVersion, Visitor)> {
        self.0.iter().flat_map(|shelf| std::mem::take(&mut *shelf.lock().unwrap_or_else(PoisonError::into_inner)))
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
        // Those that have a place keep it, and the newest stands there.
        note(&visitors, 3, 9);
        note(&visitors, 3, 5);
        let taken: HashMap<_, _> = visitors.take().collect();
        assert_eq!(taken.len(), SHELVES * EACH);
        assert_eq!(taken.get(&secret(3)).map(|visitor| visitor.at), Some(Timestamp::from_secs(9)));
        assert_eq!(visitors.take().count(), 0);
        note(&visitors, 99_999, 1);
        assert_eq!(visitors.take().count(), 1, "there is room again");
    }
}
