//! Agents: names, for what deployments and their tokens belong to.

use countersign_store::Agent;
use countersign_token::id::AgentId;
use serde_json::{Map, Value, json};

use super::Error;
use super::call::Call;
use super::envelope::Answer;
use super::fields::{name, pfid};
use super::object::{Object, kept, members};
use super::sorting;
use crate::ops::NewAgent;

impl Object for Agent {
    fn summary(&self) -> Map<String, Value> {
        members(json!({
            "type": "agent",
            "id": self.id.to_string(),
            "name": self.name,
            // Clients demand one of theirs. Agents have no life of their own here: what is there can be used.
            "status": "active",
            "inserted_at": self.inserted_at.to_string(),
            "updated_at": self.updated_at.to_string(),
        }))
    }
}

pub(super) async fn list(call: Call) -> Result<Answer, Error> {
    let list = call.list(sorting::OTHER)?;
    let permit = call.permit(list.account).await?;
    let listed = call.app.ops.list_agents(&permit, &list.sorting.order(), list.pagination.page()).await?;
    Ok(call.listed(&list, &listed))
}

pub(super) async fn show(call: Call) -> Result<Answer, Error> {
    let permit = call.permit(None).await?;
    Ok(call.found(&call.app.ops.find_agent(&permit, &call.id()?).await?))
}

/// The agent that a parameter names, as the Python client asks for it.
pub(super) async fn look_up(call: Call) -> Result<Answer, Error> {
    let mut fields = call.top();
    let id = fields.required("agent_id", pfid);
    fields.finish()?;
    let id = AgentId::from(id?);
    let permit = call.permit(None).await?;
    Ok(call.found(&call.app.ops.find_agent(&permit, &id).await?))
}

pub(super) async fn create(call: Call) -> Result<Answer, Error> {
    let mut fields = call.details();
    let account = fields.optional("account_id", pfid);
    let id = fields.optional("id", pfid);
    let name = fields.required("name", name);
    let key = fields.finish()?;
    let permit = call.permit(account?).await?;
    let new = NewAgent { id: id?.map(AgentId::from), name: name? };
    call.changed(call.app.ops.create_agent(&permit, new, call.intent(key, kept), &call.origin).await?)
}

pub(super) async fn update(call: Call) -> Result<Answer, Error> {
    let mut fields = call.details();
    let name = fields.optional("name", name);
    let key = fields.finish()?;
    let permit = call.permit(None).await?;
    let intent = call.intent(key, kept);
    call.changed(call.app.ops.update_agent(&permit, &call.id()?, name?, intent, &call.origin).await?)
}

pub(super) async fn delete(call: Call) -> Result<Answer, Error> {
    let key = call.top().finish()?;
    let permit = call.permit(None).await?;
    let intent = call.intent(key, kept);
    call.changed(call.app.ops.delete_agent(&permit, &call.id()?, intent, &call.origin).await?)
}
