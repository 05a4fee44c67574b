//! Accounts.

use countersign_store::{Account, AccountFilter, Environment, Page};
use countersign_token::id::{AccountId, AccountPfid, EnvironmentId, Pfid};
use countersign_token::secret::Secret;
use serde_json::json;

use super::installation::ENVIRONMENT_NAME;
use super::{Error, Ops, parse_name, require_account, require_administrator};
use crate::caller::{Caller, Origin};

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

impl Ops {
    /// Makes an account with a first environment and an API token.
    pub async fn create_account(&self, by: &Caller, name: &str) -> Result<CreatedAccount, Error> {
        let actor = require_administrator(by)?;
        let name = parse_name("name", name)?;
        let installation = self.store.installation().await?.ok_or(Error::NotFound)?;
        let now = self.clock.now();
        let pfid = AccountPfid::from(Pfid::generate_root(now, &self.entropy));
        let account = Account { id: AccountId::generate(&self.entropy), pfid, name, created_at: now };
        let environment = Environment {
            id: EnvironmentId::generate(now, pfid.as_pfid().partition(), &self.entropy),
            account: account.id,
            name: ENVIRONMENT_NAME.to_owned(),
            purpose: ENVIRONMENT_NAME.to_owned(),
            created_at: now,
            deleted_at: None,
        };
        let (api_token, account_token) = self.account_token(installation.id, &account, None, now);
        let mut event = self.event(&actor, "account.create", ("account", account.id.to_string()), &Origin::default());
        event.account = Some(account.id);
        event.detail = json!({ "name": account.name }).to_string();
        let rows = (account.clone(), environment.clone(), api_token);
        let written = self
            .store
            .write(move |tx| {
                let ((account, environment, api_token), event) = (rows.clone(), event.clone());
                Box::pin(async move {
                    tx.insert_account(&account).await?;
                    tx.insert_environment(&environment).await?;
                    tx.insert_api_token(&api_token).await?;
                    tx.record(event);
                    Ok::<_, Error>(())
                })
            })
            .await?;
        self.in_force(written.revision, false).await;
        Ok(CreatedAccount { account, environment, account_token })
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
