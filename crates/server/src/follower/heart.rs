//! What a node says of itself on the list of nodes.

use std::convert::Infallible;

use countersign_store::{Error, Node, NodeId, Store};
use countersign_token::feed::Revision;
use countersign_token::time::{Clock, Timestamp};
use tokio::sync::{Notify, watch};

use super::keys::newest;
use super::{FORGET_AFTER, FORGET_STALE_AFTER, POLL, Promise};
use crate::propagation::{self, Watched};

/// A node's heartbeat. Clones are the same node's.
#[derive(Clone, Debug)]
pub(super) struct Heart {
    pub(super) store: Store,
    pub(super) node: NodeId,
    pub(super) started_at: Timestamp,
    pub(super) promise: Promise,
    pub(super) clock: Clock,
    /// The heartbeats of the nodes on the list, as this one has seen them.
    pub(super) watched: Watched,
}

impl Heart {
    /// Puts the node on the list, as far as it has come.
    pub(super) async fn register(&self, applied: Revision) -> Result<(), Error> {
        let node = Node::new(self.node, self.started_at, applied);
        let installation_key = newest(&self.store);
        let serves_stale = self.promise.serves_stale;
        self.store.register_node(&Node { serves_stale, installation_key, ..node }).await
    }

    /// Counts a heartbeat, and reports how far the node has come. A node that was struck off the list comes back on it.
    pub(super) async fn beat(&self, applied: Revision) -> Result<(), Error> {
        match self.store.heartbeat(self.node, applied).await {
            Err(Error::Rows { .. }) => self.register(applied).await,
            other => other,
        }
    }

    /// Takes those off the list that have been silent for long, and says whether there is anybody else on it.
    pub(super) async fn forget_the_dead(&self) -> Result<bool, Error> {
        let nodes = self.store.list_nodes().await?;
        let now = self.clock.boot();
        self.watched.note(&nodes, now);
        let others = || nodes.iter().filter(|node| node.id != self.node);
        for node in others() {
            let patience = if node.serves_stale {
                FORGET_STALE_AFTER
            } else {
                FORGET_AFTER.max(propagation::bound(self.promise.max_staleness))
            };
            if self.watched.silent_for(node, now) >= patience {
                tracing::warn!(node.id = %node.id, "a node that has been silent for long is taken off the list");
                self.store.remove_node(node.id).await?;
            }
        }
        Ok(others().next().is_some())
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
            let beaten = match self.beat(now).await {
                // Programs that verify by themselves are on the list of a database that one server has to itself.
                Ok(()) => self.forget_the_dead().await.map(|_has_company| ()),
                failed => failed,
            };
            match beaten {
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
