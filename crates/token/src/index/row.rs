//! A credential of the feed in the form that the table and the slab hold.

use std::sync::atomic::AtomicU32;

use super::entry::{DigestWords, EntryKind, State};
use super::hash::Key;
use super::record::Previous;
use super::{Detail, Index};
use crate::allow_from::AllowFrom;
use crate::api_token::ApiTokenStatus;
use crate::digest::Digest;
use crate::feed::Subject;
use crate::id::{AccountId, ClientId, EnvironmentId};
use crate::time::Timestamp;

pub(crate) struct Row {
    pub(crate) key: Key,
    pub(crate) digest: DigestWords,
    pub(crate) state: State,
    /// The account that a demand is compared with; `None` for what no demand admits.
    pub(crate) account: Option<AccountId>,
    pub(crate) environment: Option<EnvironmentId>,
    /// Which of its secrets this is; 0 for what has only one.
    pub(crate) version: u32,
    /// Where it may be presented from, if not from anywhere.
    pub(crate) allow_from: Option<Box<AllowFrom>>,
    pub(crate) previous: Option<Previous>,
    /// `None` if it is deleted.
    pub(crate) detail: Option<Detail>,
    pub(crate) seen: u32,
    /// What the credential was found by before.
    pub(crate) replaced: Option<Key>,
}

impl Row {
    /// The row of a credential; `None` for any other subject.
    pub(crate) fn of(subject: &Subject) -> Option<Self> {
        let row = match subject {
            Subject::ServiceToken {
                id,
                owner,
                client_id,
                name,
                allow_from,
                digest,
                secret_version,
                previous,
                previous_version,
                enabled,
                expires_at,
                last_seen_at,
                deleted,
            } => Self {
                key: key_of_client(client_id),
                digest: compared(digest),
                state: State::new(EntryKind::Service, *expires_at)
                    .with(State::DISABLED, !enabled)
                    .with(State::HAS_PREVIOUS, previous.is_some())
                    .with(State::SCOPED, owner.zone.is_some())
                    .with(State::LISTED, allow_from.is_some())
                    .with(State::DELETED, *deleted),
                account: Some(owner.account),
                environment: None,
                version: *secret_version,
                previous: previous.map(|(digest, expires_at)| Previous {
                    digest: compared(&digest),
                    expires_at,
                    version: previous_version.unwrap_or_default(),
                    seen: AtomicU32::new(0),
                }),
                allow_from: allow_from.clone().map(Box::new),
                detail: Some(Detail::ServiceToken {
                    id: *id,
                    owner: *owner,
                    client_id: *client_id,
                    name: name.as_str().into(),
                }),
                seen: secs(*last_seen_at),
                replaced: None,
            },
            Subject::ApiToken {
                id,
                account,
                environment,
                digest,
                replaced,
                status,
                expires_at,
                last_used_at,
                deleted,
            } => Self {
                key: key_of_bearer(digest),
                digest: compared(digest),
                state: State::new(EntryKind::Api, Some(*expires_at))
                    .with(State::DISABLED, *status == ApiTokenStatus::Suspended)
                    .with(State::REVOKED, *status == ApiTokenStatus::Revoked)
                    .with(State::SCOPED, environment.is_some())
                    .with(State::DELETED, *deleted),
                account: Some(*account),
                environment: *environment,
                version: 0,
                allow_from: None,
                previous: None,
                detail: Some(Detail::ApiToken { id: *id, account: *account, environment: *environment }),
                seen: secs(*last_used_at),
                replaced: replaced.as_ref().map(key_of_bearer),
            },
            Subject::ManagementToken { id, owner, digest, replaced, grants, expires_at, revoked } => Self {
                key: key_of_bearer(digest),
                digest: compared(digest),
                state: State::new(EntryKind::Management, *expires_at).with(State::REVOKED, *revoked),
                account: None,
                environment: None,
                version: 0,
                allow_from: None,
                previous: None,
                detail: Some(Detail::ManagementToken {
                    id: *id,
                    owner: *owner,
                    grants: grants.as_slice().into(),
                    expires_at: *expires_at,
                }),
                seen: 0,
                replaced: replaced.as_ref().map(key_of_bearer),
            },
            Subject::Account { .. } | Subject::Zone { .. } | Subject::Environment { .. } | Subject::User { .. } => {
                return None;
            }
        };
        Some(row.without_deleted())
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.state.has(State::DELETED)
    }

    pub(crate) fn delete(self) -> Self {
        Self { state: self.state.with(State::DELETED, true), ..self }.without_deleted()
    }

    /// What is deleted matches nothing and says nothing.
    fn without_deleted(self) -> Self {
        if self.is_deleted() { Self { digest: [0; 3], previous: None, detail: None, ..self } } else { self }
    }
}

/// The key that a credential is found by; `None` for any other subject.
pub(crate) fn key_of(subject: &Subject) -> Option<Key> {
    match subject {
        Subject::ServiceToken { client_id, .. } => Some(key_of_client(client_id)),
        Subject::ApiToken { digest, .. } | Subject::ManagementToken { digest, .. } => Some(key_of_bearer(digest)),
        Subject::Account { .. } | Subject::Zone { .. } | Subject::Environment { .. } | Subject::User { .. } => None,
    }
}

#[inline]
pub(crate) fn key_of_client(client_id: &ClientId) -> Key {
    Key::from_bytes(client_id.as_bytes())
}

#[inline]
pub(crate) fn key_of_bearer(digest: &Digest) -> Key {
    let [first, second, ..] = digest.words();
    Key([first, second])
}

/// The part of a digest that is compared once the key is found.
#[inline]
pub(crate) fn compared(digest: &Digest) -> DigestWords {
    let [_, compared @ ..] = digest.words();
    compared
}

/// The form of a last-seen mark: whole seconds, 0 for never, until the year 2106.
pub(crate) fn secs(at: Option<Timestamp>) -> u32 {
    at.map_or(0, |at| u32::try_from(at.as_secs().max(0)).unwrap_or(u32::MAX))
}

impl Index {
    /// The number of an account for a row.
    pub(crate) fn account_of(&self, row: &Row) -> u32 {
        row.account.map_or(super::NOBODY, |account| self.directory.account_ids.intern(&account))
    }
}
