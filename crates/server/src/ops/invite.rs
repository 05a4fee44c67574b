//! Invitations to an account. Whoever holds the token of one becomes a user of the account.

use countersign_store::{
    Account, AuditActor, AuditEvent, Invite, InviteStatus, ListColumn, Listed, Order, Page, Tx, User,
};
use countersign_token::digest::MacKey;
use countersign_token::id::InviteId;
use countersign_token::secret::Secret;
use countersign_token::time::Timestamp;
use serde_json::json;

use super::commit::gives;
use super::field::{invalid, parse_email};
use super::idempotency::{Intent, Reply};
use super::user::join;
use super::{Error, Ops, require_account};
use crate::caller::{Administer, Origin, Permit};

/// What came of an invitation that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The account that the user has every right on now.
    pub account: Account,
    /// The user.
    pub user: User,
    /// The user's global key, shown this once; `None` if there was a user of that address.
    pub api_key: Option<Secret>,
}

impl Ops {
    /// Invites whoever has that address to the account.
    pub async fn create_invite(
        &self,
        permit: &Permit<Administer>,
        email: &str,
        intent: Option<Intent<Invite>>,
        origin: &Origin,
    ) -> Result<Reply<Invite>, Error> {
        let email = parse_email(email)?;
        let now = self.clock.now();
        let account = permit.account();
        let id = InviteId::generate(now, permit.pfid().as_pfid().partition(), &self.entropy);
        let invite = Invite { id, account, email, status: InviteStatus::Pending, inserted_at: now, updated_at: now };
        let mut event = self.event_by(permit, "admin_user_invite.create", subject(&id), origin);
        event.detail = json!({ "email": invite.email }).to_string();
        self.commit_once(account, id.to_string(), intent, gives, move |tx| {
            let (invite, event) = (invite.clone(), event.clone());
            Box::pin(async move {
                if let Some(user) = tx.find_user_by_email(&invite.email).await?
                    && tx.find_member(&account, &user.pfid).await?.is_some()
                {
                    return Err(invalid("email", "is that of a user of the account already"));
                }
                tx.insert_invite(&invite).await?;
                tx.record(event);
                Ok(invite)
            })
        })
        .await
    }

    /// One invitation; [`Error::NotFound`] if the account has none of that id.
    pub async fn find_invite(&self, permit: &Permit<Administer>, id: &InviteId) -> Result<Invite, Error> {
        self.store.find_invite(&permit.account(), id).await?.ok_or(Error::NotFound)
    }

    /// The account's invitations, also those that were used or revoked.
    pub async fn list_invites(
        &self,
        permit: &Permit<Administer>,
        order: &Order<ListColumn>,
        page: Page,
    ) -> Result<Listed<Invite>, Error> {
        Ok(self.store.list_invites(&permit.account(), order, page).await?)
    }

    /// Takes a pending invitation back. No node keeps it in memory, so that nothing has to spread.
    pub async fn revoke_invite(
        &self,
        permit: &Permit<Administer>,
        id: &InviteId,
        intent: Option<Intent<Invite>>,
        origin: &Origin,
    ) -> Result<Reply<Invite>, Error> {
        let now = self.clock.now();
        let event = self.event_by(permit, "admin_user_invite.revoke", subject(id), origin);
        let (account, id) = (permit.account(), *id);
        self.commit_once(account, id.to_string(), intent, gives, move |tx| {
            let event = event.clone();
            Box::pin(async move {
                let before = tx.find_invite(&account, &id).await?.ok_or(Error::NotFound)?;
                if before.status != InviteStatus::Pending {
                    let status = before.status.text();
                    return Err(Error::InvalidAction(format!("Invite is {status} and cannot be revoked")));
                }
                let after = Invite { status: InviteStatus::Revoked, updated_at: now, ..before };
                tx.update_invite_status(&after).await?;
                tx.record(event);
                Ok(after)
            })
        })
        .await
    }

    /// What an invitation is accepted with, kept nowhere: the same whenever it is asked for under one installation key. While
    /// another one takes its place, those of both are good.
    pub fn invite_token(&self, id: &InviteId) -> String {
        let id = id.to_string();
        let code = self.keys().current().invite_key().mac_hex(&[id.as_bytes()]);
        format!("{id}.{code}")
    }

    /// The pending invitation that a token is good for, and the account. [`Error::NotFound`] is all that another token
    /// learns.
    pub async fn find_invite_by_token(&self, token: &str) -> Result<(Invite, Account), Error> {
        let keys = self.keys().all();
        let id = keys.iter().find_map(|key| parse_token(&key.invite_key(), token)).ok_or(Error::NotFound)?;
        let invite = self.store.find_invite_anywhere(&id).await?.ok_or(Error::NotFound)?;
        if invite.status != InviteStatus::Pending {
            return Err(Error::NotFound);
        }
        let account = require_account(&self.store, &invite.account).await?;
        Ok((invite, account))
    }

    /// Makes whoever holds the token of a pending invitation a user of the account, which then is used; the errors of
    /// [`find_invite_by_token`](Self::find_invite_by_token).
    pub async fn accept_invite(&self, token: &str, origin: &Origin) -> Result<Accepted, Error> {
        let (invite, account) = self.find_invite_by_token(token).await?;
        let id = invite.id;
        let now = self.clock.now();
        let (newcomer, api_key) = self.draw_user(invite.email, account.pfid.as_pfid().partition(), now);
        let actor = AuditActor { kind: "admin_user_invite", id: id.to_string() };
        let event = |action, subject| self.event(&actor, action, subject, Some(account.id), origin);
        let accept = Accept {
            id,
            now,
            accepted: event("admin_user_invite.accept", subject(&id)),
            granted: event("user.grant", ("user", String::new())),
            created: AuditEvent {
                detail: json!({ "email": newcomer.email }).to_string(),
                ..event("user.create", ("user", newcomer.id.to_string()))
            },
            newcomer,
        };
        let ((user, is_new), _) = self
            .commit(gives, move |tx| {
                let accept = accept.clone();
                Box::pin(async move { accept.run(tx).await })
            })
            .await?;
        Ok(Accepted { account, user, api_key: is_new.then_some(api_key) })
    }
}

/// The acceptance of an invitation as a job of the writer, which may run it twice.
#[derive(Clone)]
struct Accept {
    id: InviteId,
    now: Timestamp,
    newcomer: User,
    accepted: AuditEvent,
    granted: AuditEvent,
    created: AuditEvent,
}

impl Accept {
    /// The user, and whether there was none of that address before.
    async fn run(self, tx: &mut Tx) -> Result<(User, bool), Error> {
        let invite = tx.find_invite_anywhere(&self.id).await?.ok_or(Error::NotFound)?;
        if invite.status != InviteStatus::Pending {
            return Err(Error::NotFound);
        }
        let account = invite.account;
        tx.update_invite_status(&Invite { status: InviteStatus::Used, updated_at: self.now, ..invite }).await?;
        tx.record(self.accepted);
        let known = tx.find_user_by_email(&self.newcomer.email).await?;
        let is_new = known.is_none();
        let user = match known {
            Some(user) => user,
            None => {
                tx.insert_user(&self.newcomer).await?;
                self.newcomer
            }
        };
        if join(tx, &user, account, self.now).await? {
            let event = if is_new { self.created } else { self.granted };
            tx.record(AuditEvent { subject_id: user.id.to_string(), ..event });
        }
        Ok((user, is_new))
    }
}

fn subject(id: &InviteId) -> (&'static str, String) {
    ("admin_user_invite", id.to_string())
}

/// The invitation that a token is good for; `None` if this installation never gave it out.
fn parse_token(key: &MacKey, token: &str) -> Option<InviteId> {
    let (id, code) = token.split_once('.')?;
    let known = key.is_mac_hex(&[id.as_bytes()], code);
    id.parse().ok().filter(|_| known)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::parse_token;
    use countersign_token::digest::MacKey;

    #[test]
    fn a_token_is_an_id_and_its_code() {
        let key = MacKey::from_bytes([1; 32]);
        let id = "013xrzp12g3nqk8n7f8f9jbg8d18q7tm";
        let code = key.mac_hex(&[id.as_bytes()]);
        let check = |token: &str, expected: Option<&str>| {
            assert_eq!(parse_token(&key, token).map(|id| id.to_string()).as_deref(), expected, "{token:?}");
        };
        check(&format!("{id}.{code}"), Some(id));
        let other = "013xrzp12g3nqk8n7f8f9jbg8d18q7tn";
        let foreign = MacKey::from_bytes([2; 32]).mac_hex(&[id.as_bytes()]);
        for token in [
            String::new(),
            id.to_owned(),
            format!("{id}."),
            format!("{id}.{}", code.to_uppercase()),
            format!("{id}.{code}0"),
            format!("{other}.{code}"),
            format!("{id}.{foreign}"),
            format!("x.{}", key.mac_hex(&[b"x"])),
        ] {
            check(&token, None);
        }
    }

    proptest! {
        #[test]
        fn no_token_is_guessed_and_every_own_one_is_known(text in crate::property::text(), id in "[0-7][0-9a-hjkmnp-tv-z]{31}") {
            let key = MacKey::from_bytes([1; 32]);
            prop_assert_eq!(parse_token(&key, &text), None);
            let token = format!("{id}.{}", key.mac_hex(&[id.as_bytes()]));
            prop_assert_eq!(parse_token(&key, &token).map(|id| id.to_string()), Some(id));
        }
    }
}
