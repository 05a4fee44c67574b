//! Users: the people who own management tokens and global keys.

use countersign_store::{Membership, Page, Tx, User, UserFilter};
use countersign_token::digest::BearerKind;
use countersign_token::id::{AccountId, Partition, UserId, UserPfid};
use countersign_token::secret::Secret;
use countersign_token::time::Timestamp;
use serde_json::json;

use super::commit::gives;
use super::field::parse_email;
use super::{Error, Ops, require_account, require_administrator};
use crate::caller::{Caller, Origin};

impl Ops {
    /// Makes a user with every right on one account, and their global key, shown this once.
    /// [`Error::Conflict`] if a user has that address, [`Error::NotFound`] if the account does not exist.
    pub async fn create_user(&self, by: &Caller, email: &str, account: &AccountId) -> Result<(User, Secret), Error> {
        let actor = require_administrator(by)?;
        let email = parse_email(email)?;
        let account = require_account(&self.store, account).await?;
        let now = self.clock.now();
        let (user, api_key) = self.draw_user(email, account.pfid.as_pfid().partition(), now);
        let subject = ("user", user.id.to_string());
        let mut event = self.event(&actor, "user.create", subject, Some(account.id), &Origin::default());
        event.detail = json!({ "email": user.email }).to_string();
        let row = user.clone();
        let membership = Membership { user: user.id, account: account.id, created_at: now };
        self.commit(gives, move |tx| {
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
        Ok((user, api_key))
    }

    /// Gives a user every right on one more account. Giving it again changes nothing.
    pub async fn grant_account(&self, by: &Caller, email: &str, account: &AccountId) -> Result<User, Error> {
        let actor = require_administrator(by)?;
        let email = parse_email(email)?;
        let account = require_account(&self.store, account).await?.id;
        let now = self.clock.now();
        let event = self.event(&actor, "user.grant", ("user", String::new()), Some(account), &Origin::default());
        let (user, _) = self
            .commit(gives, move |tx| {
                let (email, mut event) = (email.clone(), event.clone());
                Box::pin(async move {
                    let user = tx.find_user_by_email(&email).await?.ok_or(Error::NotFound)?;
                    if join(tx, &user, account, now).await? {
                        event.subject_id = user.id.to_string();
                        tx.record(event);
                    }
                    Ok(user)
                })
            })
            .await?;
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

    /// A user who has no rights yet, and their global key.
    pub(super) fn draw_user(&self, email: String, partition: Partition, now: Timestamp) -> (User, Secret) {
        let api_key = Secret::global_key(&self.entropy);
        let user = User {
            id: UserId::generate(&self.entropy),
            pfid: UserPfid::generate(now, partition, &self.entropy),
            email,
            name: None,
            job_title: None,
            profile_completed_at: None,
            key_digest: self.digest_key().bearer(BearerKind::GlobalKey, api_key.expose()),
            installation_owner: false,
            last_active_at: None,
            created_at: now,
            updated_at: now,
        };
        (user, api_key)
    }
}

/// Gives a user every right on an account; `false` if they have it.
pub(super) async fn join(tx: &mut Tx, user: &User, account: AccountId, now: Timestamp) -> Result<bool, Error> {
    if tx.find_member(&account, &user.pfid).await?.is_some() {
        return Ok(false);
    }
    tx.insert_membership(&Membership { user: user.id, account, created_at: now }).await?;
    Ok(true)
}
