//! Deployments: an agent in an environment.

use countersign_store::AgentDeployment;
use countersign_token::id::{AgentDeploymentId, AgentId};
use serde_json::{Map, Value, json};

use super::Error;
use super::call::Call;
use super::envelope::Answer;
use super::fields::pfid;
use super::object::{Object, kept, members};
use super::sorting;
use crate::ops::NewAgentDeployment;

impl Object for AgentDeployment {
    fn summary(&self) -> Map<String, Value> {
        members(json!({
            "type": "agent_deployment",
            "id": self.id.to_string(),
            "agent_id": self.agent.to_string(),
            "environment_id": self.environment.to_string(),
            // Clients ask for it. Versions come with telemetry, which is not kept here.
            "current_version_id": null,
            "inserted_at": self.inserted_at.to_string(),
            "updated_at": self.updated_at.to_string(),
        }))
    }
}

pub(super) async fn list(call: Call) -> Result<Answer, Error> {
    let mut fields = call.top();
    let agent = fields.optional("agent_id", pfid);
    let list = fields.list(sorting::OTHER);
    fields.finish()?;
    let (agent, list) = (agent?.map(AgentId::from), list?);
    let permit = call.permit(list.account).await?;
    let (order, page) = (list.sorting.order(), list.pagination.page());
    let listed = call.app.ops.list_agent_deployments(&permit, agent.as_ref(), &order, page).await?;
    Ok(call.listed(&list, &listed))
}

pub(super) async fn show(call: Call) -> Result<Answer, Error> {
    let permit = call.permit(None).await?;
    Ok(call.found(&call.app.ops.find_agent_deployment(&permit, &call.id()?).await?))
}

pub(super) async fn create(call: Call) -> Result<Answer, Error> {
    let mut fields = call.details();
    let account = fields.optional("account_id", pfid);
    let id = fields.optional("id", pfid);
    let agent = fields.required("agent_id", pfid);
    let environment = fields.required("environment_id", pfid);
    let key = fields.finish()?;
    let permit = call.permit(account?).await?;
    let new = NewAgentDeployment { id: id?.map(AgentDeploymentId::from), agent: agent?, environment: environment? };
    call.changed(call.app.ops.create_agent_deployment(&permit, new, call.intent(key, kept), &call.origin).await?)
}

pub(super) async fn delete(call: Call) -> Result<Answer, Error> {
    let key = call.top().finish()?;
    let permit = call.permit(None).await?;
    let intent = call.intent(key, kept);
    call.changed(call.app.ops.delete_agent_deployment(&permit, &call.id()?, intent, &call.origin).await?)
}
