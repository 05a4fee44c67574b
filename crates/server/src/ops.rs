//! The operations: the only writer of credentials, shared by every dialect, the console and the commands.
//!
//! Each operation has the same shape. The right comes first, in the signature or on the first line. Then the time and
//! whatever is random are drawn, once, because a write may run twice; then one `store.write`; then the wait until the
//! change is in force; then the answer. Nothing after the commit can turn success into an error.

mod account;
mod audit;
mod installation;
mod management_token;
pub mod pages;
mod service_token;
mod user;
mod zone;

use std::sync::Arc;
use std::time::Duration;

use countersign_store::{AuditActor, AuditEvent, Store};
use countersign_token::api_token::{ApiTokenScope, Claims};
use countersign_token::digest::{DigestKey, InstallationKey, MacKey};
use countersign_token::entropy::Entropy;
use countersign_token::feed::{ApiTokenStatus, Revision};
use countersign_token::id::{AccountId, InstallationId};
use countersign_token::index::Index;
use countersign_token::secret::{Secret, SecretFormat};
use countersign_token::time::{Clock, Timestamp};

pub use self::account::CreatedAccount;
pub use self::installation::{Initialised, NewInstallation};
pub use self::management_token::NewManagementToken;
pub use self::service_token::{Changed, CreateServiceToken, Issued, ListServiceTokens, ServiceTokens};
use crate::caller::{Caller, Origin};
use crate::follower;
use crate::ops::pages::Pages;
use crate::propagation::{self, Propagation, Watched};

/// Why an operation was not done. Nothing has changed when one of these is returned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument that no value of its type can be made of.
    #[error("{field}: {problem}")]
    Invalid {
        /// The argument's name.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// What the operation is on does not exist where the caller looked for it.
    #[error("not found")]
    NotFound,
    /// Something that must be alone exists already; the text says what.
    #[error("{0}")]
    Conflict(String),
    /// The caller lacks the right.
    #[error("the caller may not do this")]
    Forbidden,
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] countersign_store::Error),
}

/// The operations on one installation.
#[derive(Clone, Debug)]
pub struct Ops {
    store: Store,
    key: Arc<InstallationKey>,
    digest_key: DigestKey,
    clock: Clock,
    entropy: Entropy,
    secret_format: SecretFormat,
    seat: Seat,
}

/// Where the operations are done from, which decides what they wait for.
#[derive(Clone, Debug)]
enum Seat {
    /// Inside a node that serves: it must have applied a change before the answer leaves.
    Node(Node),
    /// In another process: a change must be in force on every node before the command ends.
    Outside,
}

/// What the operations use of the node that they are part of.
#[derive(Clone, Debug)]
pub struct Node {
    /// The node's follower.
    pub follower: follower::Handle,
    /// The node's index, for last-seen marks that the store has not been told yet.
    pub index: Arc<Index>,
    /// Where pages ended, forgotten by the follower when rows go.
    pub pages: Arc<Pages>,
}

impl Ops {
    /// The operations of a serving node.
    pub fn of_node(
        store: Store,
        key: InstallationKey,
        clock: Clock,
        entropy: Entropy,
        secret_format: SecretFormat,
        node: Node,
    ) -> Self {
        let digest_key = key.digest_key();
        Self { store, key: Arc::new(key), digest_key, clock, entropy, secret_format, seat: Seat::Node(node) }
    }

    /// The operations of a command that works on the store itself.
    pub fn outside(store: Store, key: InstallationKey, clock: Clock, entropy: Entropy) -> Self {
        let digest_key = key.digest_key();
        let secret_format = SecretFormat::Scannable;
        Self { store, key: Arc::new(key), digest_key, clock, entropy, secret_format, seat: Seat::Outside }
    }

    /// The store that is worked on.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The key that marks the forms which this installation has handed out: on every node the same.
    pub fn form_key(&self) -> MacKey {
        self.key.form_key()
    }

    /// Waits until a committed change is in force as far as it must be before the answer leaves: on this node always, and
    /// on every node if it takes something away or if a command made it.
    async fn in_force(&self, revision: Option<Revision>, takes_away: bool) -> Option<Propagation> {
        let revision = revision?;
        match &self.seat {
            Seat::Node(node) => {
                node.follower.reach(revision).await;
                if !takes_away {
                    return None;
                }
                Some(self.settle(Some(&node.follower), revision).await)
            }
            Seat::Outside => Some(self.settle(None, revision).await),
        }
    }

    /// Waits for whatever was committed before: for an answer that reports a state which another call has just made.
    async fn in_force_already(&self) -> Result<Option<Propagation>, Error> {
        let revision = self.store.revision().await?;
        Ok(self.in_force(Some(revision), true).await)
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
                Ok(None) => return countersign_store::Installation::MAX_STALENESS,
                Err(error) => {
                    tracing::warn!(error = %error, "cannot read how long a change may take to spread; trying again")
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn event(
        &self,
        by: &AuditActor,
        action: &'static str,
        subject: (&'static str, String),
        origin: &Origin,
    ) -> AuditEvent {
        AuditEvent {
            actor: by.clone(),
            action,
            subject_kind: subject.0,
            subject_id: subject.1,
            account: None,
            at: self.clock.now(),
            address: origin.address.map(|address| address.to_string()),
            request_id: origin.request_id.clone(),
            detail: "{}".to_owned(),
        }
    }

    /// The account-scoped bearer that `init` and `account create` hand out, with its row.
    fn account_token(
        &self,
        installation: InstallationId,
        account: &countersign_store::Account,
        created_by: Option<countersign_token::id::UserPfid>,
        now: Timestamp,
    ) -> (countersign_store::ApiToken, Secret) {
        let id = countersign_token::id::ApiTokenId::generate(now, account.pfid.as_pfid().partition(), &self.entropy);
        let key_id = countersign_token::api_token::FIRST_KEY_ID;
        let issued_at = Timestamp::from_secs(now.as_secs());
        let expires_at = Timestamp::from_secs(now.as_secs() + countersign_token::api_token::LIFETIME_DEFAULT_SECS);
        let scope = ApiTokenScope::Account;
        let claims = Claims { installation, id, account: account.pfid, scope, issued_at, expires_at };
        let secret = countersign_token::api_token::mint(&self.key.jwt_key(key_id), &claims);
        let digest = self.digest_key.bearer(countersign_token::digest::BearerKind::ApiToken, secret.expose());
        let row = countersign_store::ApiToken {
            id,
            account: account.id,
            scope,
            environment: None,
            status: ApiTokenStatus::Active,
            digest,
            key_id: key_id.to_owned(),
            issued_at,
            expires_at,
            created_by,
            last_used_at: None,
            inserted_at: now,
            updated_at: now,
            deleted_at: None,
        };
        (row, secret)
    }
}

/// A display name of an account or a zone.
fn parse_name(field: &'static str, name: &str) -> Result<String, Error> {
    match countersign_token::service_token::Name::parse(name) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(problem) => Err(Error::Invalid { field, problem: problem.to_string() }),
    }
}

/// An account that must exist.
async fn require_account(store: &Store, id: &AccountId) -> Result<countersign_store::Account, Error> {
    store.find_account(id).await?.ok_or(Error::NotFound)
}

/// Only who runs a command on the store administers the installation.
fn require_administrator(by: &Caller) -> Result<AuditActor, Error> {
    if by.administers_installation() { Ok(by.actor()) } else { Err(Error::Forbidden) }
}
