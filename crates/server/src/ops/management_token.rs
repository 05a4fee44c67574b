//! Management tokens: the credentials of those who manage credentials.

use countersign_store::{ManagementToken, ManagementTokenFilter, Page};
use countersign_token::digest::BearerKind;
use countersign_token::feed::{Grant, TokenOwner};
use countersign_token::id::{AccountId, ManagementTokenId};
use countersign_token::permission::Permission;
use countersign_token::secret::Secret;

use serde_json::json;

use super::commit::{gives, takes_away};
use super::field::{invalid, parse_email, parse_name};
use super::{Error, Ops, require_account, require_administrator};
use crate::caller::{Caller, Origin};
use crate::propagation::Propagation;

/// What a new management token is made of.
#[derive(Clone, Debug)]
pub struct NewManagementToken {
    /// The account on which it holds its permissions.
    pub account: AccountId,
    /// What to call it.
    pub name: String,
    /// What it may do there, at least one thing.
    pub permissions: Vec<Permission>,
    /// The user it belongs to; `None` makes it the account's own.
    pub user_email: Option<String>,
}

impl Ops {
    /// Makes a management token, shown this once. [`Error::NotFound`] if the account or the user does not exist.
    pub async fn create_management_token(
        &self,
        by: &Caller,
        new: NewManagementToken,
    ) -> Result<(ManagementToken, Secret), Error> {
        let actor = require_administrator(by)?;
        let name = parse_name("name", &new.name)?;
        if new.permissions.is_empty() {
            return Err(invalid("permission", "at least one is needed"));
        }
        let account = require_account(&self.store, &new.account).await?.id;
        let owner = match &new.user_email {
            Some(email) => {
                let user = self.store.find_user_by_email(&parse_email(email)?).await?.ok_or(Error::NotFound)?;
                TokenOwner::User(user.id)
            }
            None => TokenOwner::Account(account),
        };
        let now = self.clock.now();
        let secret = Secret::management_token(&self.entropy);
        let token = ManagementToken {
            id: ManagementTokenId::generate(&self.entropy),
            owner,
            name,
            digest: self.digest_key().bearer(BearerKind::ManagementToken, secret.expose()),
            grants: new.permissions.iter().map(|&permission| Grant { account, permission }).collect(),
            created_at: now,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        };
        let subject = ("management_token", token.id.to_string());
        let mut event = self.event(&actor, "management_token.create", subject, Some(account), &Origin::default());
        let permissions: Vec<&str> = new.permissions.iter().map(|permission| permission.text()).collect();
        event.detail = json!({ "name": token.name, "permissions": permissions, "user": new.user_email }).to_string();
        let row = token.clone();
        self.commit(gives, move |tx| {
            let (row, event) = (row.clone(), event.clone());
            Box::pin(async move {
                tx.insert_management_token(&row).await?;
                tx.record(event);
                Ok(())
            })
        })
        .await?;
        Ok((token, secret))
    }

    /// All management tokens, or those with a permission on one account, oldest first.
    pub async fn list_management_tokens(
        &self,
        by: &Caller,
        account: Option<&AccountId>,
    ) -> Result<Vec<ManagementToken>, Error> {
        require_administrator(by)?;
        let filter = ManagementTokenFilter { account: account.copied(), user: None };
        Ok(self.store.list_management_tokens(&filter, Page::ALL).await?)
    }

    /// Ends a management token. Ending it again changes nothing, and waits for what the first call made.
    pub async fn revoke_management_token(
        &self,
        by: &Caller,
        id: &ManagementTokenId,
    ) -> Result<(ManagementToken, Option<Propagation>), Error> {
        let actor = require_administrator(by)?;
        let now = self.clock.now();
        let id = *id;
        let subject = ("management_token", id.to_string());
        let event = self.event(&actor, "management_token.revoke", subject, None, &Origin::default());
        self.commit(takes_away, move |tx| {
            let event = event.clone();
            Box::pin(async move {
                let mut token = tx.find_management_token(&id).await?.ok_or(Error::NotFound)?;
                if token.revoked_at.is_none() {
                    token.revoked_at = Some(now);
                    tx.revoke_management_token(&id, now).await?;
                    tx.record(event);
                }
                Ok(token)
            })
        })
        .await
    }
}
