//! Who calls the management API, and what they may do.
//!
//! Callers are credentials too: they are looked up in the same index as everything else. An operation does not take a
//! caller but a [`Permit`], which only [`Caller::permit`] makes (and [`Permit::of_operator`], for commands): the right is
//! visible in the signature, and without it the code does not compile.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;

use countersign_store::{Account, AuditActor, Zone};
use countersign_token::feed::TokenOwner;
use countersign_token::id::{AccountId, AccountPfid, ManagementTokenId, UserId};
use countersign_token::index::{Detail, Index};
use countersign_token::permission::Permission;
use countersign_token::service_token::Owner;

use crate::ops;

/// An authenticated caller.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Whoever runs a command on the store itself. They could change the rows by hand, so every right is theirs.
    Operator,
    /// The holder of a credential that the index knows.
    Holder(Arc<Detail>),
}

impl From<Detail> for Caller {
    fn from(detail: Detail) -> Self {
        Self::Holder(Arc::new(detail))
    }
}

/// The right to look at an account's service tokens.
#[derive(Clone, Copy, Debug)]
pub struct Read;

/// The right to change an account's service tokens. It includes [`Read`].
#[derive(Clone, Copy, Debug)]
pub struct Write;

/// The right to everything about an account but its service tokens: its API tokens, environments, agents and users.
#[derive(Clone, Copy, Debug)]
pub struct Administer;

/// A right as a type: [`Read`], [`Write`] or [`Administer`].
pub trait Right: Send + Sync + 'static {
    /// Whether holding `permission` on an account gives this right there.
    fn given_by(permission: Permission) -> bool;
}

impl Right for Read {
    fn given_by(permission: Permission) -> bool {
        match permission {
            Permission::Everything | Permission::ServiceTokensRead | Permission::ServiceTokensWrite => true,
            Permission::FeedRead => false,
        }
    }
}

impl Right for Write {
    fn given_by(permission: Permission) -> bool {
        match permission {
            Permission::Everything | Permission::ServiceTokensWrite => true,
            Permission::ServiceTokensRead | Permission::FeedRead => false,
        }
    }
}

impl Right for Administer {
    fn given_by(permission: Permission) -> bool {
        match permission {
            Permission::Everything => true,
            Permission::ServiceTokensRead | Permission::ServiceTokensWrite | Permission::FeedRead => false,
        }
    }
}

/// The proof that a caller holds right `R` on one account or zone.
#[derive(Debug)]
pub struct Permit<R> {
    owner: Owner,
    pfid: AccountPfid,
    actor: AuditActor,
    user: Option<UserId>,
    right: PhantomData<R>,
}

impl<R: Right> Permit<R> {
    /// The permit of whoever runs a command on the store itself, on an account that they have read there.
    pub fn of_operator(account: &Account) -> Self {
        Self::of_operator_at(account, None)
    }

    /// The same on one of the account's zones, if one is named.
    pub fn of_operator_at(account: &Account, zone: Option<&Zone>) -> Self {
        let owner = Owner { account: account.id, zone: zone.map(|zone| zone.id) };
        Self { owner, pfid: account.pfid, actor: Caller::Operator.actor(), user: None, right: PhantomData }
    }

    /// The account or zone whose tokens may be read or changed.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// The account that the right is on, or on a zone of.
    pub fn account(&self) -> AccountId {
        self.owner.account
    }

    /// The account's other id.
    pub fn pfid(&self) -> AccountPfid {
        self.pfid
    }

    /// Who acts, as the audit log names them.
    pub fn actor(&self) -> &AuditActor {
        &self.actor
    }

    /// The user who acts; `None` when a token of an account does, or a command on the store.
    pub fn user(&self) -> Option<UserId> {
        self.user
    }
}

/// What an operation is done on: an account, or one of its zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An account's own tokens.
    Account(AccountId),
    /// A zone's tokens.
    Zone(countersign_token::id::ZoneId),
}

impl Place {
    /// The place that the ids in a path name, given the path's segments by their names; `None` if it names none.
    pub(crate) fn named<'s>(segment: impl Fn(&str) -> Option<&'s str>) -> Result<Option<Self>, MalformedId> {
        if let Some(account) = segment("account_id") {
            return account.parse().map(|id| Some(Self::Account(id))).map_err(|_| MalformedId);
        }
        if let Some(zone) = segment("zone_id") {
            return zone.parse().map(|id| Some(Self::Zone(id))).map_err(|_| MalformedId);
        }
        Ok(None)
    }
}

/// An id in a path that can be nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MalformedId;

/// Where a request came from, for the audit log.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The client's address, `None` for a Unix socket or a local command.
    pub address: Option<IpAddr>,
    /// The request's id, `None` for a local command.
    pub request_id: Option<String>,
}

impl Caller {
    /// The right `R` at `place`, or [`ops::Error::Forbidden`] when the caller lacks it or the place does not exist:
    /// the two answers must not differ, or ids could be guessed.
    pub fn permit<R: Right>(&self, index: &Index, place: Place) -> Result<Permit<R>, ops::Error> {
        let owner = match place {
            Place::Account(account) => Owner { account, zone: None },
            Place::Zone(zone) => match index.zone_account(&zone) {
                Some(account) => Owner { account, zone: Some(zone) },
                None => return Err(ops::Error::Forbidden),
            },
        };
        match index.account_pfid(&owner.account) {
            Some(pfid) if self.holds::<R>(&owner.account) => {
                Ok(Permit { owner, pfid, actor: self.actor(), user: self.user(), right: PhantomData })
            }
            Some(_) | None => Err(ops::Error::Forbidden),
        }
    }

    /// Whether the caller may administer the installation itself: make accounts, users and management tokens.
    pub fn administers_installation(&self) -> bool {
        match self {
            Self::Operator => true,
            Self::Holder(_) => false,
        }
    }

    /// The token that follows the feed, and the accounts that the feed shows it, in their order; `None` if there are none,
    /// or the caller is no management token: whoever follows has a credential of their own for it, and is known by it.
    pub fn follower(&self) -> Option<(ManagementTokenId, Vec<AccountId>)> {
        let Self::Holder(detail) = self else { return None };
        let Detail::ManagementToken { id, grants, .. } = detail.as_ref() else { return None };
        let given = grants.iter().filter(|grant| match grant.permission {
            Permission::Everything | Permission::FeedRead => true,
            Permission::ServiceTokensRead | Permission::ServiceTokensWrite => false,
        });
        let mut accounts: Vec<_> = given.map(|grant| grant.account).collect();
        accounts.sort_unstable();
        accounts.dedup();
        if accounts.is_empty() { None } else { Some((*id, accounts)) }
    }

    /// Whether the caller can do nothing but follow the feed.
    pub fn only_follows(&self) -> bool {
        let Self::Holder(detail) = self else { return false };
        let Detail::ManagementToken { grants, .. } = detail.as_ref() else { return false };
        !grants.is_empty() && grants.iter().all(|grant| grant.permission == Permission::FeedRead)
    }

    /// The accounts on which the caller has any right but that of following; `None` means all of them.
    pub fn visible_accounts(&self) -> Option<Vec<AccountId>> {
        let mut accounts: Vec<AccountId> = match self {
            Self::Operator => return None,
            Self::Holder(detail) => match detail.as_ref() {
                Detail::User { installation_owner: true, .. } => return None,
                Detail::User { accounts, .. } => accounts.to_vec(),
                Detail::ManagementToken { grants, .. } => {
                    let seen = grants.iter().filter(|grant| grant.permission != Permission::FeedRead);
                    seen.map(|grant| grant.account).collect()
                }
                Detail::ApiToken { account, environment: None, .. } => vec![*account],
                Detail::ApiToken { .. } | Detail::ServiceToken { .. } => Vec::new(),
            },
        };
        accounts.sort_unstable();
        accounts.dedup();
        Some(accounts)
    }

    /// The user behind the caller; `None` when a token of an account calls.
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::Operator => None,
            Self::Holder(detail) => match detail.as_ref() {
                Detail::User { id, .. } => Some(*id),
                Detail::ManagementToken { owner: TokenOwner::User(id), .. } => Some(*id),
                Detail::ManagementToken { .. } | Detail::ApiToken { .. } | Detail::ServiceToken { .. } => None,
            },
        }
    }

    /// Who acts, as the audit log names them.
    pub fn actor(&self) -> AuditActor {
        let (kind, id) = match self {
            Self::Operator => ("operator", String::new()),
            Self::Holder(detail) => match detail.as_ref() {
                Detail::User { id, .. } => ("user", id.to_string()),
                Detail::ManagementToken { id, .. } => ("management_token", id.to_string()),
                Detail::ApiToken { id, .. } => ("api_token", id.to_string()),
                Detail::ServiceToken { id, .. } => ("service_token", id.to_string()),
            },
        };
        AuditActor { kind, id }
    }

    fn holds<R: Right>(&self, account: &AccountId) -> bool {
        match self {
            Self::Operator => true,
            Self::Holder(detail) => match detail.as_ref() {
                Detail::User { installation_owner, accounts, .. } => *installation_owner || accounts.contains(account),
                Detail::ManagementToken { grants, .. } => {
                    grants.iter().any(|grant| grant.account == *account && R::given_by(grant.permission))
                }
                Detail::ApiToken { account: own, environment: None, .. } => own == account,
                Detail::ApiToken { .. } | Detail::ServiceToken { .. } => false,
            },
        }
    }
}
