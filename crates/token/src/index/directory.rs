//! What credentials belong to: accounts, zones, environments, users. Few beside the credentials, and looked up by name.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::row::secs;
use super::{Detail, Handle};
use crate::digest::Digest;
use crate::feed::{Change, Revision, Subject};
use crate::id::{AccountId, AccountPfid, EnvironmentId, UserId, ZoneId};
use crate::time::Timestamp;

/// The number of an account that nobody has.
pub(crate) const NOBODY: u32 = u32::MAX;

struct Account {
    /// Stands for the account in the entries of its credentials.
    number: u32,
    /// `None` until the feed names the account: credentials may come first.
    named: Option<(AccountPfid, Revision)>,
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
    detail: Arc<Detail>,
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
pub(crate) struct Directory(RwLock<Maps>);

impl Directory {
    fn read(&self) -> RwLockReadGuard<'_, Maps> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Maps> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of an account, from now on if it has none.
    pub(crate) fn intern(&self, id: &AccountId) -> u32 {
        match self.account_number(id) {
            Some(number) => number,
            None => self.write().intern(id).number,
        }
    }

    pub(crate) fn account_number(&self, id: &AccountId) -> Option<u32> {
        self.read().accounts.get(id).map(|account| account.number)
    }

    pub(crate) fn account_exists(&self, id: &AccountId) -> bool {
        self.read().accounts.get(id).is_some_and(|account| account.named.is_some())
    }

    pub(crate) fn account_pfid(&self, id: &AccountId) -> Option<AccountPfid> {
        self.read().accounts.get(id)?.named.map(|(pfid, _)| pfid)
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

    pub(crate) fn user(&self, id: &UserId) -> Option<Arc<Detail>> {
        self.read().users.get(id).map(|user| Arc::clone(&user.detail))
    }

    /// The user of a folded address, if one of the digests is that of the user's global key, and whether it is the old one.
    /// The user is active then.
    pub(crate) fn authenticate(
        &self,
        email: &str,
        digest: &Digest,
        old: Option<&Digest>,
        now: Timestamp,
    ) -> Option<(Arc<Detail>, bool)> {
        let maps = self.read();
        let user = maps.users.get(maps.users_by_email.get(email)?)?;
        let is_old = old.is_some_and(|old| user.key_digest.matches(old));
        if !is_old && !user.key_digest.matches(digest) {
            return None;
        }
        user.active.last.fetch_max(secs(Some(now)), Ordering::Relaxed);
        Some((Arc::clone(&user.detail), is_old))
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
        let mut maps = self.write();
        let account = maps.intern(&id);
        if account.named.is_some_and(|(_, known)| revision <= known) {
            return;
        }
        let before = account.named.replace((pfid, revision));
        if let Some((before, _)) = before {
            maps.accounts_by_pfid.remove(&before);
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
        maps.users.insert(id, User { key_digest, detail: Arc::new(detail), revision, active });
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
        for (_, account) in maps.accounts.iter_mut().filter(|(id, _)| !accounts.contains(id)) {
            account.named = None;
        }
        maps.accounts_by_pfid.retain(|_, id| accounts.contains(id));
        maps.zones.retain(|id, _| zones.contains(id));
        maps.environments.retain(|id, _| environments.contains(id));
        maps.users.retain(|id, _| users.contains(id));
        maps.users_by_email.retain(|_, id| users.contains(id));
    }
}

impl Maps {
    fn intern(&mut self, id: &AccountId) -> &mut Account {
        let next = u32::try_from(self.accounts.len()).unwrap_or(NOBODY);
        self.accounts.entry(*id).or_insert(Account { number: next, named: None })
    }

    fn forget_user(&mut self, id: &UserId) -> Option<Active> {
        let user = self.users.remove(id)?;
        if let Detail::User { email, .. } = user.detail.as_ref()
            && self.users_by_email.get(email) == Some(id)
        {
            self.users_by_email.remove(email);
        }
        Some(user.active)
    }
}
