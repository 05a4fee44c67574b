//! What a node says of itself on the list of nodes.

use std::convert::Infallible;

use countersign_store::{Error, Node, NodeId, Store};
use countersign_token::feed::Revision;
use countersign_token::time::Timestamp;
use tokio::sync::{Notify, watch};

use super::POLL;
use super::keys::newest;

/// A node's heartbeat. Clones are the same node's.
#[derive(Clone, Debug)]
pub(super) struct Heart {
    pub(super) store: Store,
    pub(super) node: NodeId,
    pub(super) started_at: Timestamp,
    pub(super) serves_stale: bool,
}

impl Heart {
    /// Puts the node on the list, as far as it has come.
    pub(super) async fn register(&self, applied: Revision) -> Result<(), Error> {
        let node = Node::new(self.node, self.started_at, applied);
        let installation_key = newest(&self.store);
        self.store.register_node(&Node { serves_stale: self.serves_stale, installation_key, ..node }).await
    }

    /// Counts a heartbeat, and reports how far the node has come. A node that was struck off the list comes back on it.
    pub(super) async fn beat(&self, applied: Revision) -> Result<(), Error> {
        match self.store.heartbeat(self.node, applied).await {
            Err(Error::Rows { .. }) => self.register(applied).await,
            other => other,
        }
    }

    /// Beats every second, and when it is asked to, until it is dropped; for an embedded store, beside the reading of the
    /// feed. A write there waits for as long as the disk stands still. Reading doesn't, and nobody concludes anything from
    /// this heartbeat that a node which reads does not keep: so verification goes on.
    pub(super) async fn beat_beside(self, applied: watch::Receiver<Revision>, asked: &Notify) -> Infallible {
        let mut tick = tokio::time::interval(POLL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = asked.notified() => {}
            }
            let now = *applied.borrow();
            match self.beat(now).await {
                Ok(()) if failing => {
                    tracing::info!("the store can be written again");
                    failing = false;
                }
                Err(error) if !failing => {
                    tracing::error!(error = %error, "the store cannot be written: changes are refused, verification goes on");
                    failing = true;
                }
                Ok(()) | Err(_) => {}
            }
        }
    }
}
