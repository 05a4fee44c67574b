//! Environments.

use countersign_store::Environment;
use countersign_token::id::EnvironmentId;
use serde_json::{Map, Value, json};

use super::Error;
use super::call::Call;
use super::envelope::Answer;
use super::error::Problem;
use super::fields::{name, pfid, string};
use super::object::{Object, kept, members};
use super::sorting;
use crate::ops::{NewEnvironment, Purpose, UpdateEnvironment};

impl Object for Environment {
    fn summary(&self) -> Map<String, Value> {
        members(json!({
            "type": "environment",
            "id": self.id.to_string(),
            "name": self.name,
            "description": self.description,
            "purpose": self.purpose,
            "external_identifier": self.external_identifier,
        }))
    }
}

pub(super) async fn list(call: Call) -> Result<Answer, Error> {
    let list = call.list(sorting::OTHER)?;
    let permit = call.permit(list.account).await?;
    let listed = call.app.ops.list_environments(&permit, &list.sorting.order(), list.pagination.page()).await?;
    Ok(call.listed(&list, &listed))
}

pub(super) async fn show(call: Call) -> Result<Answer, Error> {
    let permit = call.permit(None).await?;
    Ok(call.found(&call.app.ops.find_environment(&permit, &call.id()?).await?))
}

pub(super) async fn create(call: Call) -> Result<Answer, Error> {
    let mut fields = call.details();
    let account = fields.optional("account_id", pfid);
    let id = fields.optional("id", pfid);
    let name = fields.required("name", name);
    let description = fields.optional("description", string);
    let purpose = fields.optional("purpose", purpose);
    let external_identifier = fields.optional("external_identifier", string);
    let key = fields.finish()?;
    let permit = call.permit(account?).await?;
    let new = NewEnvironment {
        id: id?.map(EnvironmentId::from),
        name: name?,
        description: description?,
        purpose: purpose?.unwrap_or_default(),
        external_identifier: external_identifier?,
    };
    call.changed(call.app.ops.create_environment(&permit, new, call.intent(key, kept), &call.origin).await?)
}

pub(super) async fn update(call: Call) -> Result<Answer, Error> {
    let mut fields = call.details();
    let name = fields.optional("name", name);
    let description = fields.patch("description", string);
    let purpose = fields.optional("purpose", purpose);
    let external_identifier = fields.patch("external_identifier", string);
    let key = fields.finish()?;
    let permit = call.permit(None).await?;
    let update = UpdateEnvironment {
        name: name?,
        description: description?,
        purpose: purpose?,
        external_identifier: external_identifier?,
    };
    let intent = call.intent(key, kept);
    call.changed(call.app.ops.update_environment(&permit, &call.id()?, update, intent, &call.origin).await?)
}

pub(super) async fn delete(call: Call) -> Result<Answer, Error> {
    let key = call.top().finish()?;
    let permit = call.permit(None).await?;
    let intent = call.intent(key, kept);
    call.changed(call.app.ops.delete_environment(&permit, &call.id()?, intent, &call.origin).await?)
}

fn purpose(value: &Value) -> Result<Purpose, Problem> {
    let purpose = value.as_str().and_then(Purpose::parse);
    purpose.ok_or_else(|| "must be development, staging, testing or production".into())
}
