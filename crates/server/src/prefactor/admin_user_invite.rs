//! Invites to the account.

use countersign_store::Invite;
use countersign_token::id::InviteId;
use serde_json::{Map, Value, json};

use super::Error;
use super::call::Call;
use super::envelope::Answer;
use super::fields::{pfid, string};
use super::object::{Object, kept, members};
use super::sorting;
use crate::connect;

impl Object for Invite {
    fn summary(&self) -> Map<String, Value> {
        members(json!({
            "type": "admin_user_invite",
            "id": self.id.to_string(),
            "email": self.email,
            "status": self.status.text(),
            "inserted_at": self.inserted_at.to_string(),
            "updated_at": self.updated_at.to_string(),
        }))
    }
}

/// Adds what the invited person needs. It is made of the id whenever it is asked for, and kept nowhere.
fn with_token(call: &Call, mut answer: Answer) -> Result<Answer, Error> {
    let details = answer.body.get_mut("details").and_then(Value::as_object_mut).ok_or(Error::Internal)?;
    let id = details.get("id").and_then(Value::as_str).and_then(|id| id.parse::<InviteId>().ok());
    let token = call.app.ops.invite_token(&id.ok_or(Error::Internal)?);
    let base = call.app.public_url.as_deref().unwrap_or_default();
    details.insert("invite_url".to_owned(), Value::from(format!("{base}{}", connect::invite_path(&token))));
    details.insert("token".to_owned(), Value::from(token));
    Ok(answer)
}

pub(super) async fn list(call: Call) -> Result<Answer, Error> {
    let list = call.list(sorting::OTHER)?;
    let permit = call.permit(list.account).await?;
    let listed = call.app.ops.list_invites(&permit, &list.sorting.order(), list.pagination.page()).await?;
    Ok(call.listed(&list, &listed))
}

pub(super) async fn show(call: Call) -> Result<Answer, Error> {
    let permit = call.permit(None).await?;
    with_token(&call, call.found(&call.app.ops.find_invite(&permit, &call.id()?).await?))
}

pub(super) async fn create(call: Call) -> Result<Answer, Error> {
    let mut fields = call.details();
    let account = fields.optional("account_id", pfid);
    let email = fields.required("email", string);
    let key = fields.finish()?;
    let permit = call.permit(account?).await?;
    let reply = call.app.ops.create_invite(&permit, &email?, call.intent(key, kept), &call.origin).await?;
    with_token(&call, call.changed(reply)?)
}

pub(super) async fn revoke(call: Call) -> Result<Answer, Error> {
    let key = call.top().finish()?;
    let permit = call.permit(None).await?;
    let intent = call.intent(key, kept);
    let reply = call.app.ops.revoke_invite(&permit, &call.id()?, intent, &call.origin).await?;
    with_token(&call, call.changed(reply)?)
}
