//! The people of the account.

use countersign_store::User;
use serde_json::{Map, Value, json};

use super::Error;
use super::call::Call;
use super::envelope::Answer;
use super::fields::{string, timestamp};
use super::object::{Object, kept, members};
use super::sorting;
use crate::ops::UpdateMember;

impl Object for User {
    fn summary(&self) -> Map<String, Value> {
        members(json!({
            "type": "admin_user",
            "id": self.pfid.to_string(),
            "email": self.email,
            "name": self.name,
            "job_title": self.job_title,
            "last_active_at": self.last_active_at.map(|at| at.to_string()),
            "profile_completed_at": self.profile_completed_at.map(|at| at.to_string()),
            "inserted_at": self.created_at.to_string(),
            "updated_at": self.updated_at.to_string(),
        }))
    }
}

pub(super) async fn list(call: Call) -> Result<Answer, Error> {
    let list = call.list(sorting::OTHER)?;
    let permit = call.permit(list.account).await?;
    let listed = call.app.ops.list_members(&permit, &list.sorting.order(), list.pagination.page()).await?;
    Ok(call.listed(&list, &listed))
}

pub(super) async fn show(call: Call) -> Result<Answer, Error> {
    let permit = call.permit(None).await?;
    Ok(call.found(&call.app.ops.find_member(&permit, &call.id()?).await?))
}

pub(super) async fn update(call: Call) -> Result<Answer, Error> {
    let mut fields = call.details();
    let name = fields.patch("name", string);
    let job_title = fields.patch("job_title", string);
    let profile_completed_at = fields.patch("profile_completed_at", timestamp);
    let key = fields.finish()?;
    let permit = call.permit(None).await?;
    let update = UpdateMember { name: name?, job_title: job_title?, profile_completed_at: profile_completed_at? };
    let intent = call.intent(key, kept);
    call.changed(call.app.ops.update_member(&permit, &call.id()?, update, intent, &call.origin).await?)
}
