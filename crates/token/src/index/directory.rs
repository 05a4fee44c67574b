//! What credentials belong to: accounts, zones, environments, users. Few beside the credentials, and looked up by name.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::interner::Interner;
use super::row::secs;
use super::{Detail, Handle};
use crate::digest::Digest;
use crate::feed::{Change, Revision, Subject};
use crate::id::{AccountId, AccountPfid, EnvironmentId, UserId, ZoneId};
use crate::time::Timestamp;

struct Account {
    pfid: AccountPfid,
    revision: Revision,
}

struct Zone {
    account: AccountId,
    revision: Revision,
}

#[derive(Default)]
struct Environment {
    /// `None` until the feed names the environment.
    named: Option<(AccountId, Revision)>,
    deleted: bool,
    /// The credentials that end with the environment.
    tokens: HashSet<Handle>,
}

struct User {
    key_digest: Digest,
    detail: Detail,
    revision: Revision,
    active: Active,
}

/// When a user was last active, in the form of a last-seen mark.
#[derive(Default)]
struct Active {
    last: AtomicU32,
    /// What was handed out last.
    drained: AtomicU32,
}

#[derive(Default)]
struct Maps {
    accounts: HashMap<AccountId, Account>,
    accounts_by_pfid: HashMap<AccountPfid, AccountId>,
    zones: HashMap<ZoneId, Zone>,
    environments: HashMap<EnvironmentId, Environment>,
    users: HashMap<UserId, User>,
    users_by_email: HashMap<Box<str>, UserId>,
}

#[derive(Default)]
pub(crate) struct Directory {
    maps: RwLock<Maps>,
    /// What stands for ids in entries and rows: credentials may come before what they belong to is named.
    pub(crate) account_ids: Interner<AccountId>,
    pub(crate) zone_ids: Interner<ZoneId>,
    pub(crate) environment_ids: Interner<EnvironmentId>,
}

impl Directory {
    fn read(&self) -> RwLockReadGuard<'_, Maps> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Maps> {
        self.maps.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn account_exists(&self, id: &AccountId) -> bool {
        self.read().accounts.contains_key(id)
    }

    pub(crate) fn account_pfid(&self, id: &AccountId) -> Option<AccountPfid> {
        self.read().accounts.get(id).map(|account| account.pfid)
    }

    pub(crate) fn resolve_account_pfid(&self, pfid: &AccountPfid) -> Option<AccountId> {
        self.read().accounts_by_pfid.get(pfid).copied()
    }

    pub(crate) fn zone_account(&self, id: &ZoneId) -> Option<AccountId> {
        self.read().zones.get(id).map(|zone| zone.account)
    }

    /// The account of an environment that is not deleted.
    pub(crate) fn environment_account(&self, id: &EnvironmentId) -> Option<AccountId> {
        let maps = self.read();
        let environment = maps.environments.get(id).filter(|environment| !environment.deleted)?;
        environment.named.map(|(account, _)| account)
    }

    pub(crate) fn environment_is_deleted(&self, id: &EnvironmentId) -> bool {
        self.read().environments.get(id).is_some_and(|environment| environment.deleted)
    }

    /// Notes that a credential ends with an environment. `false` if that is deleted already.
    pub(crate) fn attach(&self, id: EnvironmentId, token: Handle) -> bool {
        let mut maps = self.write();
        let environment = maps.environments.entry(id).or_default();
        if !environment.deleted {
            environment.tokens.insert(token);
        }
        !environment.deleted
    }

    pub(crate) fn detach(&self, id: &EnvironmentId, token: Handle) {
        if let Some(environment) = self.write().environments.get_mut(id) {
            environment.tokens.remove(&token);
        }
    }

    pub(crate) fn user(&self, id: &UserId) -> Option<Detail> {
        self.read().users.get(id).map(|user| user.detail.clone())
    }

    /// The user of a folded address, if one of the digests is that of the user's global key, and whether it is the old one.
    /// The user is active then.
    pub(crate) fn authenticate(
        &self,
        email: &str,
        digest: &Digest,
        old: Option<&Digest>,
        now: Timestamp,
    ) -> Option<(Detail, bool)> {
        let maps = self.read();
        let user = maps.users.get(maps.users_by_email.get(email)?)?;
        let is_old = old.is_some_and(|old| user.key_digest.matches(old));
        if !is_old && !user.key_digest.matches(digest) {
            return None;
        }
        user.active.last.fetch_max(secs(Some(now)), Ordering::Relaxed);
        Some((user.detail.clone(), is_old))
    }

    pub(crate) fn last_active(&self, id: &UserId) -> Option<Timestamp> {
        let secs = self.read().users.get(id)?.active.last.load(Ordering::Relaxed);
        (secs != 0).then(|| Timestamp::from_secs(secs.into()))
    }

    /// The users whose mark has moved since the last time.
    pub(crate) fn drain_active(&self) -> Vec<(UserId, Timestamp)> {
        let maps = self.read();
        let moved = maps.users.iter().filter_map(|(id, user)| {
            let last = user.active.last.load(Ordering::Relaxed);
            let drained = user.active.drained.swap(last, Ordering::Relaxed);
            (last != drained).then(|| (*id, Timestamp::from_secs(last.into())))
        });
        moved.collect()
    }

    pub(crate) fn apply_account(&self, id: AccountId, pfid: AccountPfid, revision: Revision) {
        // Demands name it before it has credentials.
        self.account_ids.intern(&id);
        let mut maps = self.write();
        if maps.accounts.get(&id).is_some_and(|account| revision <= account.revision) {
            return;
        }
        if let Some(before) = maps.accounts.insert(id, Account { pfid, revision }) {
            maps.accounts_by_pfid.remove(&before.pfid);
        }
        maps.accounts_by_pfid.insert(pfid, id);
    }

    pub(crate) fn apply_zone(&self, id: ZoneId, account: AccountId, revision: Revision) {
        let mut maps = self.write();
        if maps.zones.get(&id).is_none_or(|zone| revision > zone.revision) {
            maps.zones.insert(id, Zone { account, revision });
        }
    }

    /// The credentials that the change ends.
    pub(crate) fn apply_environment(
        &self,
        id: EnvironmentId,
        account: AccountId,
        deleted: bool,
        revision: Revision,
    ) -> HashSet<Handle> {
        let mut maps = self.write();
        let environment = maps.environments.entry(id).or_default();
        if environment.named.is_some_and(|(_, known)| revision <= known) {
            return HashSet::new();
        }
        environment.named = Some((account, revision));
        environment.deleted |= deleted;
        if environment.deleted { std::mem::take(&mut environment.tokens) } else { HashSet::new() }
    }

    pub(crate) fn apply_user(&self, id: UserId, email: &str, key_digest: Digest, detail: Detail, revision: Revision) {
        let mut maps = self.write();
        if maps.users.get(&id).is_some_and(|user| revision <= user.revision) {
            return;
        }
        let active = maps.forget_user(&id).unwrap_or_default();
        maps.users.insert(id, User { key_digest, detail, revision, active });
        maps.users_by_email.insert(email.into(), id);
    }

    /// Drops everything that the changes don't name.
    pub(crate) fn retain(&self, changes: &[Change]) {
        let mut accounts = HashSet::new();
        let mut zones = HashSet::new();
        let mut environments = HashSet::new();
        let mut users = HashSet::new();
        for change in changes {
            match &change.subject {
                Subject::Account { id, .. } => drop(accounts.insert(*id)),
                Subject::Zone { id, .. } => drop(zones.insert(*id)),
                Subject::Environment { id, .. } => drop(environments.insert(*id)),
                Subject::User { id, .. } => drop(users.insert(*id)),
                Subject::ManagementToken { .. } | Subject::ServiceToken { .. } | Subject::ApiToken { .. } => {}
            }
        }
        let mut maps = self.write();
        let maps = &mut *maps;
        maps.accounts.retain(|id, _| accounts.contains(id));
        maps.accounts_by_pfid.retain(|_, id| accounts.contains(id));
        maps.zones.retain(|id, _| zones.contains(id));
        maps.environments.retain(|id, _| environments.contains(id));
        maps.users.retain(|id, _| users.contains(id));
        maps.users_by_email.retain(|_, id| users.contains(id));
    }
}

impl Maps {
    fn forget_user(&mut self, id: &UserId) -> Option<Active> {
        let user = self.users.remove(id)?;
        if let Detail::User { email, .. } = &user.detail
            && self.users_by_email.get(email.as_ref()) == Some(id)
        {
            self.users_by_email.remove(email.as_ref());
        }
        Some(user.active)
    }
}
