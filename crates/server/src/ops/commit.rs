//! The write, and the wait after it. Every change goes through [`Ops::commit`].

use std::time::Duration;

use countersign_store::{BoxFuture, Installation, Tx, Written};
use countersign_token::feed::Revision;
use countersign_token::id::AccountId;

use super::{Error, Ops, Seat};
use crate::follower;
use crate::propagation::{self, Propagation, Watched};
use crate::trace;

/// The effect of a change after which nothing is refused that was admitted before.
pub(super) fn gives<T>(_: &T) -> bool {
    false
}

/// The effect of a change that must be in force everywhere before it is reported as done.
pub(super) fn takes_away<T>(_: &T) -> bool {
    true
}

impl Error {
    /// Whether this tells of a state that another call may have made a moment ago.
    fn tells_a_state(&self) -> bool {
        match self {
            Self::NotFound | Self::InvalidAction(_) => true,
            Self::Invalid { .. }
            | Self::WrongKind { .. }
            | Self::Conflict(_)
            | Self::IdempotencyKeyUsed
            | Self::Forbidden
            | Self::Store(_) => false,
        }
    }
}

impl Ops {
    /// Has the writer do a job, and returns when what it did is in force: everywhere, if `effect` says that it took
    /// something away. A job may be run twice, and must do the same.
    ///
    /// Where it did nothing, or found nothing to do it on, the answer tells of a state which another call may have made a
    /// moment ago: then it returns when that is in force.
    pub(super) async fn commit<T, F>(
        &self,
        effect: impl FnOnce(&T) -> bool,
        job: F,
    ) -> Result<(T, Option<Propagation>), Error>
    where
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T, Error>> + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.commit_asking(Vec::new(), effect, job).await
    }

    /// As [`commit`](Ops::commit), for a job that looks up the answers under these keys of accounts.
    pub(super) async fn commit_asking<T, F>(
        &self,
        keys: Vec<(AccountId, String)>,
        effect: impl FnOnce(&T) -> bool,
        job: F,
    ) -> Result<(T, Option<Propagation>), Error>
    where
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T, Error>> + Send + Sync + 'static,
        T: Send + 'static,
    {
        match trace::within("store.commit", self.store.write_asking(keys, job)).await {
            Ok(Written { value, revision: Some(revision) }) => {
                let takes_away = effect(&value);
                Ok((value, self.in_force(revision, takes_away).await))
            }
            Ok(Written { value, revision: None }) => Ok((value, self.in_force_already().await?)),
            Err(error) => {
                if error.tells_a_state() {
                    self.in_force_already().await?;
                }
                Err(error)
            }
        }
    }

    /// Waits until a committed change is in force as far as it must be before the answer leaves: on this node always, and
    /// on every node if it takes something away or if a command made it.
    async fn in_force(&self, revision: Revision, takes_away: bool) -> Option<Propagation> {
        match &self.seat {
            Seat::Node(node) => {
                trace::within("feed.reach", node.follower.reach(revision)).await;
                if !takes_away {
                    return None;
                }
                Some(trace::within("propagation", self.settle(Some(&node.follower), revision)).await)
            }
            Seat::Outside => Some(self.settle(None, revision).await),
        }
    }

    /// Waits for whatever was committed before.
    async fn in_force_already(&self) -> Result<Option<Propagation>, Error> {
        let revision = self.store.revision().await?;
        Ok(self.in_force(revision, true).await)
    }

    async fn settle(&self, follower: Option<&follower::Handle>, revision: Revision) -> Propagation {
        let fresh = Watched::default();
        let watched = follower.map_or(&fresh, follower::Handle::watched);
        let max_staleness = self.max_staleness(follower).await;
        propagation::settle(
            &self.store,
            &self.clock,
            follower.map(follower::Handle::node),
            watched,
            max_staleness,
            revision,
        )
        .await
    }

    async fn max_staleness(&self, follower: Option<&follower::Handle>) -> Duration {
        if let Some(follower) = follower {
            return follower.max_staleness();
        }
        // A guess that is too short would break the promise, and the change is committed: wait until it can be read.
        loop {
            match self.store.installation().await {
                Ok(Some(installation)) => return installation.max_staleness,
                Ok(None) => return Installation::MAX_STALENESS,
                Err(error) => {
                    tracing::warn!(error = %error, "cannot read how long a change may take to spread; trying again")
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
