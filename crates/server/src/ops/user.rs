//! Users: the people who own management tokens and global keys.

use countersign_store::{Membership, Page, User, UserFilter};
use countersign_token::digest::BearerKind;
use countersign_token::id::{AccountId, UserId, UserPfid};
use countersign_token::secret::Secret;
use serde_json::json;

use super::{Error, Ops, require_account, require_administrator};
use crate::caller::{Caller, Origin};

/// Longer addresses can't be delivered to (RFC 5321).
const EMAIL_LEN_MAX: usize = 254;

impl Ops {
    /// Makes a user with every right on one account, and their global key, shown this once.
    /// [`Error::Conflict`] if a user has that address, [`Error::NotFound`] if the account does not exist.
    pub async fn create_user(&self, by: &Caller, email: &str, account: &AccountId) -> Result<(User, Secret), Error> {
        let actor = require_administrator(by)?;
        let email = parse_email(email)?;
        let account = require_account(&self.store, account).await?;
        let now = self.clock.now();
        let api_key = Secret::global_key(&self.entropy);
        let user = User {
            id: UserId::generate(&self.entropy),
            pfid: UserPfid::generate(now, account.pfid.as_pfid().partition(), &self.entropy),
            email,
            key_digest: self.digest_key.bearer(BearerKind::GlobalKey, api_key.expose()),
            installation_owner: false,
            created_at: now,
        };
        let mut event = self.event(&actor, "user.create", ("user", user.id.to_string()), &Origin::default());
        event.account = Some(account.id);
        event.detail = json!({ "email": user.email }).to_string();
        let row = user.clone();
        let membership = Membership { user: user.id, account: account.id, created_at: now };
        let written = self
            .store
            .write(move |tx| {
                let (row, membership, event) = (row.clone(), membership, event.clone());
                Box::pin(async move {
                    if tx.find_user_by_email(&row.email).await?.is_some() {
                        return Err(Error::Conflict(format!("a user has the address {} already", row.email)));
                    }
                    tx.insert_user(&row).await?;
                    tx.insert_membership(&membership).await?;
                    tx.record(event);
                    Ok(())
                })
            })
            .await?;
        self.in_force(written.revision, false).await;
        Ok((user, api_key))
    }

    /// Gives a user every right on one more account. Giving it again changes nothing.
    pub async fn grant_account(&self, by: &Caller, email: &str, account: &AccountId) -> Result<User, Error> {
        let actor = require_administrator(by)?;
        let email = parse_email(email)?;
        let account = require_account(&self.store, account).await?.id;
        let user = self.store.find_user_by_email(&email).await?.ok_or(Error::NotFound)?;
        if self.store.list_memberships(&user.id).await?.iter().any(|membership| membership.account == account) {
            return Ok(user);
        }
        let membership = Membership { user: user.id, account, created_at: self.clock.now() };
        let mut event = self.event(&actor, "user.grant", ("user", user.id.to_string()), &Origin::default());
        event.account = Some(account);
        let written = self
            .store
            .write(move |tx| {
                let event = event.clone();
                Box::pin(async move {
                    tx.insert_membership(&membership).await?;
                    tx.record(event);
                    Ok::<_, Error>(())
                })
            })
            .await?;
        self.in_force(written.revision, false).await;
        Ok(user)
    }

    /// One user, by id; `None` if there is none.
    pub async fn find_user(&self, id: &UserId) -> Result<Option<User>, Error> {
        Ok(self.store.find_user(id).await?)
    }

    /// One user, by address; [`Error::NotFound`] if there is none.
    pub async fn find_user_by_email(&self, by: &Caller, email: &str) -> Result<User, Error> {
        require_administrator(by)?;
        self.store.find_user_by_email(&parse_email(email)?).await?.ok_or(Error::NotFound)
    }

    /// All users, oldest first, each with the accounts that they were given.
    pub async fn list_users(&self, by: &Caller) -> Result<Vec<(User, Vec<AccountId>)>, Error> {
        require_administrator(by)?;
        let mut users = Vec::new();
        for user in self.store.list_users(&UserFilter::default(), Page::ALL).await? {
            let memberships = self.store.list_memberships(&user.id).await?;
            users.push((user, memberships.into_iter().map(|membership| membership.account).collect()));
        }
        Ok(users)
    }
}

/// An address as it is kept: folded to lower case, because people don't tell cases of an address apart.
pub(super) fn parse_email(email: &str) -> Result<String, Error> {
    let invalid = |problem: &str| Error::Invalid { field: "email", problem: problem.to_owned() };
    if email.len() > EMAIL_LEN_MAX {
        return Err(invalid("must be at most 254 bytes long"));
    }
    let parts = email.split_once('@');
    let Some((local, domain)) = parts else {
        return Err(invalid("must contain an @"));
    };
    if local.is_empty() || domain.is_empty() || domain.contains('@') {
        return Err(invalid("must have one @ with something on both sides"));
    }
    if email.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(invalid("must not contain white space"));
    }
    Ok(email.to_lowercase())
}
