//! Accounts.

use countersign_store::{
    Account, AccountFilter, ApiTokenColumn, Environment, ListColumn, Nulls, Order, Page, ServiceTokenFilter, Tx,
    ZoneFilter,
};
use countersign_token::api_token::{ApiToken, ApiTokenScope};
use countersign_token::id::{AccountId, AccountPfid, EnvironmentId, Pfid, UserPfid};
use countersign_token::secret::Secret;
use countersign_token::service_token::{Owner, Patch};
use countersign_token::time::Timestamp;
use serde_json::json;

use super::api_token::{Draft, Mint};
use super::audit::updated;
use super::commit::gives;
use super::environment::Purpose;
use super::field::{parse_name, parse_patch, patched};
use super::idempotency::{Intent, Reply};
use super::{Error, Ops, require_account, require_administrator};
use crate::caller::{Administer, Caller, Origin, Permit};

/// What an account is for, unless somebody says otherwise.
const PURPOSE: &str = "business";

/// A new account.
#[derive(Debug)]
pub struct CreatedAccount {
    /// The account.
    pub account: Account,
    /// Its first environment.
    pub environment: Environment,
    /// An account-scoped API token, shown this once.
    pub account_token: Secret,
}

/// The fields to change; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct UpdateAccount {
    /// A new name.
    pub name: Option<String>,
    /// A new name of the organisation behind it, or none.
    pub organisation_name: Patch<String>,
    /// A new word for what it is for.
    pub purpose: Option<String>,
}

/// How many living objects an account has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Service tokens of the account and of its zones.
    pub service_tokens: u64,
    /// API tokens.
    pub api_tokens: u64,
    /// Environments.
    pub environments: u64,
}

/// A new account with what it begins with: an environment, and an API token.
#[derive(Clone, Debug)]
pub(super) struct Founding {
    pub(super) account: Account,
    pub(super) environment: Environment,
    draft: Draft,
}

impl Founding {
    pub(super) async fn insert(
        &self,
        tx: &mut Tx,
        mint: &Mint,
        created_by: Option<UserPfid>,
    ) -> Result<ApiToken, Error> {
        tx.insert_account(&self.account).await?;
        tx.insert_environment(&self.environment).await?;
        mint.insert(tx, &self.draft, ApiTokenScope::Account, created_by).await
    }
}

/// What people can see of an account, for the audit log.
fn shown(account: &Account) -> serde_json::Value {
    json!({
        "name": account.name,
        "organisation_name": account.organisation_name,
        "purpose": account.purpose,
    })
}

impl Ops {
    /// Makes an account with a first environment and an API token.
    pub async fn create_account(&self, by: &Caller, name: &str) -> Result<CreatedAccount, Error> {
        let actor = require_administrator(by)?;
        let name = parse_name("name", name)?;
        let mint = self.mint(self.store.installation().await?.ok_or(Error::NotFound)?.id);
        let now = self.clock.now();
        loop {
            let founding = self.draw_account(name.clone(), now);
            let Founding { account, environment, .. } = founding.clone();
            let subject = ("account", account.id.to_string());
            let mut event = self.event(&actor, "account.create", subject, Some(account.id), &Origin::default());
            event.detail = json!({ "name": account.name }).to_string();
            let minting = mint.clone();
            let (token, _) = self
                .commit(gives, move |tx| {
                    let (founding, mint, event) = (founding.clone(), minting.clone(), event.clone());
                    Box::pin(async move {
                        if tx.account_has_partition(founding.account.pfid.as_pfid().partition()).await? {
                            return Ok(None);
                        }
                        let token = founding.insert(tx, &mint, None).await?;
                        tx.record(event);
                        Ok(Some(token))
                    })
                })
                .await?;
            // A partition belongs to one account: if this one was taken, another is drawn.
            if let Some(token) = token {
                let account_token = mint.secret(account.pfid, &token)?;
                return Ok(CreatedAccount { account, environment, account_token });
            }
        }
    }

    /// Draws whatever is random in a new account.
    pub(super) fn draw_account(&self, name: String, now: Timestamp) -> Founding {
        let pfid = AccountPfid::from(Pfid::generate_root(now, &self.entropy));
        let account = Account {
            id: AccountId::generate(&self.entropy),
            pfid,
            name,
            organisation_name: None,
            purpose: PURPOSE.to_owned(),
            created_at: now,
            updated_at: now,
        };
        let purpose = Purpose::default().text();
        let environment = Environment {
            id: EnvironmentId::generate(now, pfid.as_pfid().partition(), &self.entropy),
            account: account.id,
            name: purpose.to_owned(),
            description: None,
            purpose: purpose.to_owned(),
            external_identifier: None,
            inserted_at: now,
            updated_at: now,
        };
        let draft = self.draft_api_token(account.id, pfid, None, now);
        Founding { account, environment, draft }
    }

    /// The account that a permit is for.
    pub async fn find_own_account(&self, permit: &Permit<Administer>) -> Result<Account, Error> {
        require_account(&self.store, &permit.account()).await
    }

    /// Merges `update` into the account that a permit is for.
    pub async fn update_account(
        &self,
        permit: &Permit<Administer>,
        update: UpdateAccount,
        intent: Option<Intent<Account>>,
        origin: &Origin,
    ) -> Result<Reply<Account>, Error> {
        let update = UpdateAccount {
            name: update.name.map(|name| parse_name("name", &name)).transpose()?,
            organisation_name: parse_patch("organisation_name", &update.organisation_name)?,
            purpose: update.purpose.map(|purpose| parse_name("purpose", &purpose)).transpose()?,
        };
        let now = self.clock.now();
        let id = permit.account();
        let event = self.event_by(permit, "account.update", ("account", id.to_string()), origin);
        self.commit_once(id, permit.pfid().to_string(), intent, gives, move |tx| {
            let (update, event) = (update.clone(), event.clone());
            Box::pin(async move {
                let before = tx.find_account(&id).await?.ok_or(Error::NotFound)?;
                let after = Account {
                    name: update.name.unwrap_or_else(|| before.name.clone()),
                    organisation_name: patched(before.organisation_name.as_ref(), &update.organisation_name),
                    purpose: update.purpose.unwrap_or_else(|| before.purpose.clone()),
                    updated_at: now,
                    ..before.clone()
                };
                let Some(event) = updated(event, &shown(&before), &shown(&after)) else { return Ok(before) };
                tx.update_account(&after).await?;
                tx.record(event);
                Ok(after)
            })
        })
        .await
    }

    /// One account; [`Error::NotFound`] if there is none of that id, [`Error::Forbidden`] if the caller has no right on it.
    pub async fn find_account(&self, by: &Caller, id: &AccountId) -> Result<Account, Error> {
        if let Some(visible) = by.visible_accounts()
            && !visible.contains(id)
        {
            return Err(Error::Forbidden);
        }
        require_account(&self.store, id).await
    }

    /// How much of each kind an account has; the errors of [`find_account`](Self::find_account).
    pub async fn count_credentials(&self, by: &Caller, id: &AccountId) -> Result<Counts, Error> {
        let account = self.find_account(by, id).await?.id;
        let filter = ZoneFilter { account: Some(account), name: None, member: None };
        let zones = self.store.list_zones(&filter, Page::ALL).await?;
        let mut service_tokens = 0;
        for zone in std::iter::once(None).chain(zones.iter().map(|zone| Some(zone.id))) {
            let filter = ServiceTokenFilter { owner: Owner { account, zone }, name: None, search: None };
            service_tokens += self.store.count_service_tokens(&filter).await?;
        }
        let none = Page { offset: 0, limit: 0 };
        let order = Order { column: ApiTokenColumn::Id, descending: false, nulls: Nulls::Last };
        let api_tokens = self.store.list_api_tokens(&account, &order, none).await?.total;
        let order = Order { column: ListColumn::Id, descending: false, nulls: Nulls::Last };
        let environments = self.store.list_environments(&account, &order, none).await?.total;
        Ok(Counts { service_tokens, api_tokens, environments })
    }

    /// The accounts on which the caller has a right, oldest first, and how many there are in all.
    /// `name` keeps those of exactly that name.
    pub async fn list_accounts(
        &self,
        by: &Caller,
        name: Option<&str>,
        page: Page,
    ) -> Result<(Vec<Account>, u64), Error> {
        match by.visible_accounts() {
            None => {
                let filter = AccountFilter { name: name.map(str::to_owned), member: None };
                let total = self.store.count_accounts(&filter).await?;
                Ok((self.store.list_accounts(&filter, page).await?, total))
            }
            Some(visible) => {
                let mut accounts = self.find_accounts(&visible).await?;
                accounts.retain(|account| name.is_none_or(|name| account.name == name));
                accounts.sort_by_key(|account| (account.created_at, account.id));
                Ok(part(accounts, page))
            }
        }
    }

    /// The accounts with these ids. A caller has a right on few, so each is looked up by itself.
    pub(super) async fn find_accounts(&self, ids: &[AccountId]) -> Result<Vec<Account>, Error> {
        let mut accounts = Vec::with_capacity(ids.len());
        for id in ids {
            accounts.extend(self.store.find_account(id).await?);
        }
        Ok(accounts)
    }
}

/// One page of a list that is in memory, and the length of the whole.
pub(super) fn part<T>(all: Vec<T>, page: Page) -> (Vec<T>, u64) {
    let total = all.len() as u64;
    let skip = usize::try_from(page.offset).unwrap_or(usize::MAX);
    (all.into_iter().skip(skip).take(page.limit as usize).collect(), total)
}
