//! The users of one account, as those see them who administer it.

use countersign_store::{AuditEvent, ListColumn, Listed, Order, Page, User};
use countersign_token::id::UserPfid;
use countersign_token::service_token::Patch;
use countersign_token::time::Timestamp;
use serde_json::json;

use super::audit::updated;
use super::commit::gives;
use super::field::{parse_patch, patched};
use super::idempotency::{Intent, Reply};
use super::{Error, Ops, Seat};
use crate::caller::{Administer, Origin, Permit};

/// The fields to change; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct UpdateMember {
    /// A new name, or none.
    pub name: Patch<String>,
    /// A new job title, or none.
    pub job_title: Patch<String>,
    /// When the profile was completed, or that it wasn't.
    pub profile_completed_at: Patch<Timestamp>,
}

/// What people can see of a user, for the audit log.
fn shown(user: &User) -> serde_json::Value {
    json!({
        "name": user.name,
        "job_title": user.job_title,
        "profile_completed_at": user.profile_completed_at.map(|at| at.to_string()),
    })
}

impl Ops {
    /// One user with rights on the account; [`Error::NotFound`] if there is none of that id.
    pub async fn find_member(&self, permit: &Permit<Administer>, id: &UserPfid) -> Result<User, Error> {
        let found = self.store.find_member(&permit.account(), id).await?;
        found.map(|user| self.seat.with_last_active(user)).ok_or(Error::NotFound)
    }

    /// The users with rights on the account.
    pub async fn list_members(
        &self,
        permit: &Permit<Administer>,
        order: &Order<ListColumn>,
        page: Page,
    ) -> Result<Listed<User>, Error> {
        let Listed { rows, total } = self.store.list_members(&permit.account(), order, page).await?;
        Ok(Listed { rows: rows.into_iter().map(|user| self.seat.with_last_active(user)).collect(), total })
    }

    /// Merges `update` into a user's profile, which all accounts of the user share.
    pub async fn update_member(
        &self,
        permit: &Permit<Administer>,
        id: &UserPfid,
        update: UpdateMember,
        intent: Option<Intent<User>>,
        origin: &Origin,
    ) -> Result<Reply<User>, Error> {
        let update = UpdateMember {
            name: parse_patch("name", &update.name)?,
            job_title: parse_patch("job_title", &update.job_title)?,
            profile_completed_at: update.profile_completed_at,
        };
        let now = self.clock.now();
        let event = self.event_by(permit, "user.update", ("user", String::new()), origin);
        let (account, id, seat) = (permit.account(), *id, self.seat.clone());
        self.commit_once(account, id.to_string(), intent, gives, move |tx| {
            let (update, event, seat) = (update.clone(), event.clone(), seat.clone());
            Box::pin(async move {
                let before = tx.find_member(&account, &id).await?.ok_or(Error::NotFound)?;
                let after = User {
                    name: patched(before.name.as_ref(), &update.name),
                    job_title: patched(before.job_title.as_ref(), &update.job_title),
                    profile_completed_at: patched(before.profile_completed_at.as_ref(), &update.profile_completed_at),
                    updated_at: now,
                    ..before.clone()
                };
                let Some(event) = updated(event, &shown(&before), &shown(&after)) else {
                    return Ok(seat.with_last_active(before));
                };
                tx.update_user(&after).await?;
                tx.record(AuditEvent { subject_id: after.id.to_string(), ..event });
                Ok(seat.with_last_active(after))
            })
        })
        .await
    }
}

impl Seat {
    fn with_last_active(&self, mut user: User) -> User {
        user.last_active_at = user.last_active_at.max(self.index().and_then(|index| index.last_active(&user.id)));
        user
    }
}
