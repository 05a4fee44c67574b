//! All of Countersign's SQL, and only that.
//!
//! A [`Store`] reads and queues writes; the one [`Writer`] commits them in groups, each with its revision and its audit
//! event. What was written comes back, on every node alike, through the feed: [`Store::load`], [`Store::poll`] and
//! [`Store::watch`]. One text of each query serves SQLite and PostgreSQL.

#![deny(missing_docs)]

mod account;
mod agent;
mod agent_deployment;
mod answer;
mod api_token;
mod assertion_key;
mod audit;
pub mod backup;
mod bulk;
mod database;
mod embedded;
mod environment;
mod error;
mod feed;
mod inspect;
mod installation;
mod installation_key;
mod invite;
mod list;
mod management_token;
mod migrate;
mod node;
mod object;
mod rekey;
mod rotation_wish;
mod row;
mod seen;
mod select;
mod service_token;
mod store;
mod tx;
mod user;
mod watch;
mod write;
mod zone;

pub use account::{Account, AccountFilter};
pub use agent::Agent;
pub use agent_deployment::AgentDeployment;
pub use answer::Answer;
pub use assertion_key::AssertionKey;
pub use audit::{
    AuditActor, AuditChain, AuditEvent, AuditFilter, AuditHead, AuditMark, AuditPages, ChainBreak, ChainMac,
    ChainMacError, ChainProblem, MarkBreak, MarkProblem, Network, NetworkError, RecordedEvent,
};
pub use database::{Database, Options};
pub use environment::Environment;
pub use error::{Error, Source};
pub use feed::{Feed, LivingKind, LivingPlace};
pub use inspect::{Expiring, Schema, Tombstones};
pub use installation::Installation;
pub use installation_key::KeyRecord;
pub use invite::{Invite, InviteStatus};
pub use list::{ApiTokenColumn, ListColumn, Listed, Nulls, Order};
pub use management_token::{ManagementToken, ManagementTokenFilter};
pub use node::{Node, NodeId};
pub use object::ObjectKind;
pub use rekey::{Holder, Standing};
pub use rotation_wish::RotationWish;
pub use seen::{SecretUse, Sighting, Visitor};
pub use service_token::ServiceTokenFilter;
pub use store::Store;
pub use tx::Tx;
pub use user::{Membership, User, UserFilter};
pub use watch::Watch;
pub use write::{BoxFuture, Distribution, ErrorCounts, Writer, WriterCounts, Written};
pub use zone::{Zone, ZoneFilter};

/// A part of a list: `limit` rows after the first `offset`.
///
/// For lists that people make by hand, and for any order. Tokens have lists of their own, which start at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many rows to pass over.
    pub offset: u64,
    /// How many rows to return at most.
    pub limit: u32,
}

impl Page {
    /// The whole list.
    pub const ALL: Self = Self { offset: 0, limit: u32::MAX };

    /// The two as the databases take them.
    pub(crate) fn bounds(self) -> (i64, i64) {
        (i64::from(self.limit), i64::try_from(self.offset).unwrap_or(i64::MAX))
    }
}
