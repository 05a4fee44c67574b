//! The operations: the only writer of credentials, shared by every dialect, the console and the commands.
//!
//! Each operation has the same shape. The right comes first, in the signature or on the first line. Then the time and
//! whatever is random are drawn, once, because a write may run twice; then one commit, which also waits until the
//! change is in force; then the answer. Nothing after the commit can turn success into an error.

mod account;
mod agent;
mod api_token;
mod assertion_key;
mod audit;
mod commit;
mod environment;
pub mod feed;
mod field;
pub(crate) mod idempotency;
mod import;
mod installation;
mod installation_key;
mod invite;
mod management_token;
mod member;
pub mod pages;
mod pfid;
mod rekey;
mod rotation;
mod seal;
mod service_token;
mod signing_key;
mod user;
mod zone;

use std::sync::Arc;

use countersign_store::{AuditActor, AuditEvent, Store};
use countersign_token::digest::{DigestKey, Keyring};
use countersign_token::entropy::Entropy;
use countersign_token::id::AccountId;
use countersign_token::index::Index;
use countersign_token::secret::SecretFormat;
use countersign_token::time::Clock;

pub use self::account::{Counts, CreatedAccount, UpdateAccount};
pub use self::agent::{NewAgent, NewAgentDeployment};
pub use self::api_token::{CreateApiToken, IssuedApiToken, NewScope};
pub use self::assertion_key::AssertionKeys;
pub use self::environment::{NewEnvironment, Purpose, UpdateEnvironment};
pub use self::idempotency::{IdempotencyKey, Intent, Outcome, Replay, Reply};
pub use self::import::{Import, ImportedSecret, ImportedServiceToken};
pub use self::installation::{Initialised, NewInstallation};
pub use self::installation_key::{Finish, KeyStatus, Remains};
pub use self::invite::Accepted;
pub use self::management_token::NewManagementToken;
pub use self::member::UpdateMember;
pub use self::rotation::{Rotation, SecretUses, Wish};
pub use self::service_token::{Changed, CreateServiceToken, Issued, ListServiceTokens, ServiceTokens};
use crate::assertion::Assertions;
use crate::caller::{Caller, Origin, Permit, Right};
use crate::flusher::Flusher;
use crate::follower;
use crate::ops::pages::Pages;

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
    /// An argument that names something of the account, but of another kind.
    #[error("{field}: names another kind of object")]
    WrongKind {
        /// The argument's name.
        field: &'static str,
    },
    /// What the operation is on does not exist where the caller looked for it.
    #[error("not found")]
    NotFound,
    /// Something that must be alone exists already; the text says what.
    #[error("{0}")]
    Conflict(String),
    /// What the operation is on is in a state that does not allow it; the text says which.
    #[error("{0}")]
    InvalidAction(String),
    /// The idempotency key was used for something else.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyUsed,
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
    /// What carries those marks to the store.
    pub flusher: Flusher,
    /// Which rows lists can be read from, forgotten by the follower where rows come or go.
    pub pages: Arc<Pages>,
    /// The node's assertions, whose keys the operations make.
    pub assertions: Assertions,
}

impl Ops {
    /// The operations of a serving node.
    pub fn of_node(store: Store, clock: Clock, entropy: Entropy, secret_format: SecretFormat, node: Node) -> Self {
        Self { store, clock, entropy, secret_format, seat: Seat::Node(node) }
    }

    /// The operations of a command that works on the store itself.
    pub fn outside(store: Store, clock: Clock, entropy: Entropy) -> Self {
        let secret_format = SecretFormat::Scannable;
        Self { store, clock, entropy, secret_format, seat: Seat::Outside }
    }

    /// The store that is worked on.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The installation keys that this process holds.
    pub fn keys(&self) -> &Keyring {
        self.store.keys()
    }

    /// The key that digests new secrets.
    fn digest_key(&self) -> DigestKey {
        self.keys().current().digest_key()
    }

    /// Tells the store of this node's last-seen marks: before it sorts by them, and before the index forgets tokens that
    /// are shown further on.
    async fn flush_marks(&self) {
        if let Seat::Node(node) = &self.seat {
            node.flusher.flush().await;
        }
    }

    /// What the audit log says of a change that is made now; the detail is the caller's to add.
    fn event(
        &self,
        by: &AuditActor,
        action: &'static str,
        subject: (&'static str, String),
        account: Option<AccountId>,
        origin: &Origin,
    ) -> AuditEvent {
        AuditEvent {
            actor: by.clone(),
            action,
            subject_kind: subject.0,
            subject_id: subject.1,
            account,
            at: self.clock.now(),
            address: origin.address.map(|address| address.to_string()),
            request_id: origin.request_id.clone(),
            detail: "{}".to_owned(),
        }
    }

    /// The same of a change that a permit allows.
    fn event_by<R: Right>(
        &self,
        permit: &Permit<R>,
        action: &'static str,
        subject: (&'static str, String),
        origin: &Origin,
    ) -> AuditEvent {
        self.event(permit.actor(), action, subject, Some(permit.account()), origin)
    }
}

impl Seat {
    /// Where the newest last-seen marks are: the store learns of them in batches, and an answer has the newest.
    fn index(&self) -> Option<&Index> {
        match self {
            Self::Node(node) => Some(&node.index),
            Self::Outside => None,
        }
    }

    fn pages(&self) -> Option<&Pages> {
        match self {
            Self::Node(node) => Some(&node.pages),
            Self::Outside => None,
        }
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

/// A row that holds what no operation ever wrote there.
fn unreadable(table: &'static str, column: &str, key: &str, problem: &dyn std::fmt::Display) -> Error {
    let (column, key, problem) = (column.to_owned(), key.to_owned(), problem.to_string());
    countersign_store::Error::Inconsistent { table, column, key, problem }.into()
}
