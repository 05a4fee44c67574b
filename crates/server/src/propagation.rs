//! Waiting until a change that takes something away is in force on every node.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_store::{Node, NodeId, Store};
use countersign_token::feed::Revision;
use countersign_token::time::{BootTime, Clock};
use http::{HeaderMap, HeaderName, HeaderValue};

/// How far two machines' clocks may drift apart, in parts per thousand of the time that passes. Crystal oscillators stay
/// well under 0.1; this leaves room for a virtual machine's worst day.
const DRIFT_PER_MILLE: u32 = 5;

/// How often a waiting revoker reads the list of nodes.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What can be promised of a change when the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// Whether no node admits a request any more that the change refuses. `false` only while a node is registered that
    /// serves stale answers on purpose.
    pub complete: bool,
    /// How many nodes were registered.
    pub nodes: usize,
    /// How long the call waited for them after the commit.
    pub waited: Duration,
}

impl Propagation {
    /// Puts the promise into an answer's headers.
    pub fn tell(self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::try_from(self.to_string()) {
            headers.insert(HeaderName::from_static("countersign-propagation"), value);
        }
    }

    /// What can be promised of two changes that were made one after the other, each of which may promise nothing.
    pub fn both(earlier: Option<Self>, later: Option<Self>) -> Option<Self> {
        let (Some(earlier), Some(later)) = (earlier, later) else { return earlier.or(later) };
        Some(Self {
            complete: earlier.complete && later.complete,
            nodes: earlier.nodes.max(later.nodes),
            waited: earlier.waited + later.waited,
        })
    }
}

impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.complete { "complete" } else { "partial" };
        write!(f, "{word}; nodes={}; waited={}ms", self.nodes, self.waited.as_millis())
    }
}

/// The longest that a revoker waits: after it, a node that has not applied the change has stopped admitting by itself.
pub fn bound(max_staleness: Duration) -> Duration {
    max_staleness + max_staleness * 2 * DRIFT_PER_MILLE / 1000
}

/// Since when each node's heartbeat counter has stood still, as this process has seen it.
#[derive(Clone, Debug, Default)]
pub struct Watched(Arc<Mutex<HashMap<NodeId, (i64, BootTime)>>>);

impl Watched {
    /// Takes note of the counters as they were read at `now`.
    pub fn note(&self, nodes: &[Node], now: BootTime) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|id, _| nodes.iter().any(|node| node.id == *id));
        for node in nodes {
            let entry = seen.entry(node.id).or_insert((node.heartbeat, now));
            if entry.0 != node.heartbeat {
                *entry = (node.heartbeat, now);
            }
        }
    }

    /// How many nodes have been heard of within `bound` before `now`.
    pub fn live(&self, now: BootTime, bound: Duration) -> usize {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.values().filter(|(_, since)| now.duration_since(*since) < bound).count()
    }

    /// How long `node` has been silent at `now`, zero if it was never noted.
    pub fn silent_for(&self, node: &Node, now: BootTime) -> Duration {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get(&node.id) {
            Some((heartbeat, since)) if *heartbeat == node.heartbeat => now.duration_since(*since),
            _ => Duration::ZERO,
        }
    }
}

/// Waits until every node but `own` has applied `revision`, or has been silent or unheard of for so long that it refuses
/// everything by itself. An outage of the store can't turn the committed change into an error: it is waited out.
pub async fn settle(
    store: &Store,
    clock: &Clock,
    own: Option<NodeId>,
    watched: &Watched,
    max_staleness: Duration,
    revision: Revision,
) -> Propagation {
    let bound = bound(max_staleness);
    let committed = clock.boot();
    let mut known = 0;
    let mut serves_stale = false;
    loop {
        let now = clock.boot();
        let waited = now.duration_since(committed);
        match store.list_nodes().await {
            Ok(nodes) => {
                known = nodes.len();
                serves_stale = nodes.iter().any(|node| node.serves_stale);
                watched.note(&nodes, now);
                let all = nodes.iter().all(|node| {
                    Some(node.id) == own || node.applied >= revision || watched.silent_for(node, now) >= bound
                });
                if all {
                    return Propagation { complete: !serves_stale, nodes: known, waited };
                }
            }
            Err(error) => tracing::warn!(error = %error, "cannot read the list of nodes while a change spreads"),
        }
        if waited >= bound {
            return Propagation { complete: !serves_stale, nodes: known, waited };
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use countersign_token::entropy::Entropy;

    use super::*;

    #[test]
    fn a_receipt_reads_like_a_header() {
        let receipt = Propagation { complete: true, nodes: 3, waited: Duration::from_micros(4_900) };
        assert_eq!(receipt.to_string(), "complete; nodes=3; waited=4ms");
    }

    #[test]
    fn the_bound_leaves_room_for_drifting_clocks() {
        assert_eq!(bound(Duration::from_secs(5)), Duration::from_millis(5050));
    }

    #[test]
    fn only_a_counter_that_was_watched_standing_still_counts_as_silence() {
        let entropy = Entropy::seeded(1);
        let at = |seconds: i64| BootTime::from_micros(seconds * 1_000_000);
        let watched = Watched::default();
        let mut node =
            Node::new(NodeId::generate(&entropy), countersign_token::time::Timestamp::from_secs(0), Revision::new(0));
        assert_eq!(watched.silent_for(&node, at(100)), Duration::ZERO);
        watched.note(std::slice::from_ref(&node), at(100));
        watched.note(std::slice::from_ref(&node), at(103));
        assert_eq!(watched.silent_for(&node, at(104)), Duration::from_secs(4));
        assert_eq!([5, 4].map(|bound| watched.live(at(104), Duration::from_secs(bound))), [1, 0]);
        node.heartbeat += 1;
        assert_eq!(watched.silent_for(&node, at(104)), Duration::ZERO);
        watched.note(std::slice::from_ref(&node), at(105));
        assert_eq!(watched.silent_for(&node, at(106)), Duration::from_secs(1));
    }
}
