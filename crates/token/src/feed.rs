//! The feed of changes that an index is made from, and how fresh it is.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::allow_from::AllowFrom;
use crate::api_token::ApiTokenStatus;
use crate::digest::Digest;
use crate::id::{
    AccountId, AccountPfid, ApiTokenId, ClientId, EnvironmentId, ManagementTokenId, ServiceTokenId, UserId, ZoneId,
};
use crate::permission::Permission;
use crate::service_token::Owner;
use crate::time::{BootTime, Timestamp};

/// A place in the one order of all writes. Later writes have greater revisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(i64);

impl Revision {
    /// The revision with this number. The first write has 1.
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The revision's number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// What a subject is since a revision. It holds the whole subject, so that only the newest change of each counts.
#[derive(Clone, Debug)]
pub struct Change {
    /// The write that made it so.
    pub revision: Revision,
    /// The subject as it is now.
    pub subject: Subject,
}

/// A thing that decisions depend on, whole.
#[derive(Clone, Debug)]
pub enum Subject {
    /// An account.
    Account {
        /// Its id in the one dialect.
        id: AccountId,
        /// Its id in the other.
        pfid: AccountPfid,
    },
    /// A zone.
    Zone {
        /// Its id.
        id: ZoneId,
        /// The account that it belongs to.
        account: AccountId,
    },
    /// An environment.
    Environment {
        /// Its id.
        id: EnvironmentId,
        /// The account that it belongs to.
        account: AccountId,
        /// A deleted environment stays deleted, and so do its tokens.
        deleted: bool,
    },
    /// A user, with the global API key.
    User {
        /// Its id.
        id: UserId,
        /// The address that the key is presented with, folded to lower case.
        email: String,
        /// The digest of the global API key.
        key_digest: Digest,
        /// Whether the user has every right on every account.
        installation_owner: bool,
        /// The accounts that the user has every right on.
        accounts: Vec<AccountId>,
    },
    /// A management API token. Its digest changes only with the installation key.
    ManagementToken {
        /// Its id.
        id: ManagementTokenId,
        /// Whose it is.
        owner: TokenOwner,
        /// The digest of the token.
        digest: Digest,
        /// The digest of the same token under the installation key before, while that is live.
        replaced: Option<Digest>,
        /// What it may do.
        grants: Vec<Grant>,
        /// When it ends; `None` is never.
        expires_at: Option<Timestamp>,
        /// Whether it was taken away.
        revoked: bool,
    },
    /// A service token. Its client id never changes.
    ServiceToken {
        /// Its id.
        id: ServiceTokenId,
        /// Where it lives.
        owner: Owner,
        /// The public half of its pair.
        client_id: ClientId,
        /// Its name, for the upstream.
        name: String,
        /// Where it may be presented from; `None` is anywhere.
        allow_from: Option<AllowFrom>,
        /// The digest of its secret.
        digest: Digest,
        /// Which of its secrets this is: each has another number.
        secret_version: u32,
        /// The digest of the secret before, and when that one ends.
        previous: Option<(Digest, Timestamp)>,
        /// Which of its secrets that one is.
        previous_version: Option<u32>,
        /// Whether it is admitted at all.
        enabled: bool,
        /// When it ends; `None` is never.
        expires_at: Option<Timestamp>,
        /// When it was last admitted by its current secret, as far as the store knows.
        last_seen_at: Option<Timestamp>,
        /// Whether it is gone.
        deleted: bool,
    },
    /// An API token. Its digest changes only with the installation key.
    ApiToken {
        /// Its id.
        id: ApiTokenId,
        /// The account that it belongs to.
        account: AccountId,
        /// The environment that it is confined to; `None` is the whole account.
        environment: Option<EnvironmentId>,
        /// The digest of the token.
        digest: Digest,
        /// The digest of the same token under the installation key before, while that is live.
        replaced: Option<Digest>,
        /// Whether it is admitted.
        status: ApiTokenStatus,
        /// When it ends.
        expires_at: Timestamp,
        /// When it was last used, as far as the store knows.
        last_used_at: Option<Timestamp>,
        /// Whether it is gone.
        deleted: bool,
    },
}

/// A permission on one account, and through it on the account's zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    /// Where.
    pub account: AccountId,
    /// What.
    pub permission: Permission,
}

/// Whose a management API token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenOwner {
    /// A user's.
    User(UserId),
    /// An account's own.
    Account(AccountId),
}

/// The time at which an index was known to hold everything, on the boot clock. One for each applier; shared by reference.
#[derive(Debug)]
pub struct Freshness(AtomicI64);

impl Freshness {
    /// Fresh as of the given time.
    pub const fn new(as_of: BootTime) -> Self {
        Self(AtomicI64::new(as_of.as_micros()))
    }

    /// Fresh as of the given time, unless it was already fresh as of a later one.
    ///
    /// The time must have been read before the feed was: what was written in between may be missing.
    pub fn renew(&self, as_of: BootTime) {
        self.0.fetch_max(as_of.as_micros(), Ordering::AcqRel);
    }

    /// Microseconds since the index was last known to hold everything.
    pub fn age(&self, now: BootTime) -> i64 {
        now.micros_since(BootTime::from_micros(self.0.load(Ordering::Acquire)))
    }

    /// Whether the age is at most the given number of microseconds.
    pub fn is_fresh(&self, now: BootTime, max_staleness_micros: i64) -> bool {
        self.age(now) <= max_staleness_micros
    }
}
