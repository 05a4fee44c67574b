//! API tokens.

use countersign_token::api_token::{Action, ApiToken, ScopeKind};
use countersign_token::id::Pfid;
use serde_json::{Map, Value, json};

use super::Error;
use super::call::Call;
use super::envelope::Answer;
use super::error::Problem;
use super::fields::{Fields, Read, pfid, timestamp};
use super::object::{Object, kept, members};
use super::sorting;
use crate::ops::{CreateApiToken, NewScope, Outcome, Reply};

impl Object for ApiToken {
    fn summary(&self) -> Map<String, Value> {
        members(json!({
            "type": "api_token",
            "id": self.id.to_string(),
            "token_scope": self.scope.kind().text(),
            "environment_id": self.scope.environment().map(|id| id.to_string()),
            "agent_deployment_id": self.scope.deployment().map(|id| id.to_string()),
            "agent_id": self.scope.agent().map(|id| id.to_string()),
            "created_by_admin_user_id": self.created_by.map(|id| id.to_string()),
            "status": self.status.text(),
            "expires_at": self.expires_at.to_string(),
            "last_used_at": self.last_used_at.map(|at| at.to_string()),
            "inserted_at": self.inserted_at.to_string(),
            "updated_at": self.updated_at.to_string(),
        }))
    }

    fn details(&self) -> Map<String, Value> {
        with_actions(self.summary(), |action| self.status.allows(action))
    }
}

/// A token that is there no more: its last state, in which nothing is possible.
struct Deleted(ApiToken);

impl Object for Deleted {
    fn summary(&self) -> Map<String, Value> {
        self.0.summary()
    }

    fn details(&self) -> Map<String, Value> {
        with_actions(self.0.summary(), |_| false)
    }
}

fn with_actions(mut token: Map<String, Value>, allows: impl Fn(Action) -> bool) -> Map<String, Value> {
    let actions = [Action::Activate, Action::Delete, Action::Revoke, Action::Suspend];
    let available = actions.map(|action| (action.text().to_owned(), Value::Bool(allows(action))));
    token.insert("available_actions".to_owned(), Value::Object(available.into_iter().collect()));
    token
}

pub(super) async fn list(call: Call) -> Result<Answer, Error> {
    let list = call.list(sorting::API_TOKEN)?;
    let permit = call.permit(list.account).await?;
    let listed = call.app.ops.list_api_tokens(&permit, &list.sorting.order(), list.pagination.page()).await?;
    Ok(call.listed(&list, &listed))
}

pub(super) async fn show(call: Call) -> Result<Answer, Error> {
    let permit = call.permit(None).await?;
    Ok(call.found(&call.app.ops.find_api_token(&permit, &call.id()?).await?))
}

pub(super) async fn create(call: Call) -> Result<Answer, Error> {
    let mut fields = call.details();
    let account = fields.optional("account_id", pfid);
    let expires_at = fields.optional("expires_at", timestamp);
    let scope = scope(&mut fields);
    let key = fields.finish()?;
    let permit = call.permit(account?).await?;
    let new = CreateApiToken { scope: scope?, expires_at: expires_at? };
    let issued = call.app.ops.create_api_token(&permit, new, call.intent(key, kept), &call.origin).await?;
    let mut answer = call.changed(issued.reply)?;
    answer.body.insert("token".to_owned(), Value::from(issued.secret.expose()));
    Ok(answer)
}

/// The scope, with the ids that it needs and no others.
fn scope(fields: &mut Fields<'_>) -> Read<NewScope> {
    let environment = fields.optional("environment_id", pfid);
    let agent = fields.optional("agent_id", pfid);
    let kind = fields.required("token_scope", |value| {
        let kind = value.as_str().and_then(ScopeKind::parse);
        kind.ok_or_else(|| Problem::from("must be account, environment or agent_deployment"))
    })?;
    let required = |fields: &mut Fields<'_>, name, id: Read<Option<Pfid>>| {
        id?.ok_or_else(|| fields.refuse(name, Problem::Required))
    };
    let foreign = |fields: &mut Fields<'_>, name, id: Read<Option<Pfid>>| match id? {
        None => Ok(()),
        Some(_) => Err(fields.refuse(name, "must be null for this token_scope".into())),
    };
    match kind {
        ScopeKind::Account => {
            let foreign = (foreign(fields, "environment_id", environment), foreign(fields, "agent_id", agent));
            foreign.0.and(foreign.1).map(|()| NewScope::Account)
        }
        ScopeKind::Environment => {
            let environment = required(fields, "environment_id", environment);
            foreign(fields, "agent_id", agent).and(environment).map(NewScope::Environment)
        }
        ScopeKind::AgentDeployment => {
            let environment = required(fields, "environment_id", environment);
            let agent = required(fields, "agent_id", agent);
            Ok(NewScope::AgentDeployment { agent: agent?, environment: environment? })
        }
    }
}

pub(super) async fn suspend(call: Call) -> Result<Answer, Error> {
    act(call, Action::Suspend).await
}

pub(super) async fn activate(call: Call) -> Result<Answer, Error> {
    act(call, Action::Activate).await
}

pub(super) async fn revoke(call: Call) -> Result<Answer, Error> {
    act(call, Action::Revoke).await
}

async fn act(call: Call, action: Action) -> Result<Answer, Error> {
    let key = call.top().finish()?;
    let permit = call.permit(None).await?;
    let intent = call.intent(key, kept);
    call.changed(call.app.ops.act_on_api_token(&permit, &call.id()?, action, intent, &call.origin).await?)
}

pub(super) async fn delete(call: Call) -> Result<Answer, Error> {
    let key = call.top().finish()?;
    let permit = call.permit(None).await?;
    let intent = call.intent(key, |token: &ApiToken| kept(&Deleted(token.clone())));
    let reply = call.app.ops.act_on_api_token(&permit, &call.id()?, Action::Delete, intent, &call.origin).await?;
    let outcome = match reply.outcome {
        Outcome::Done(token) => Outcome::Done(Deleted(token)),
        Outcome::Replayed(replay) => Outcome::Replayed(replay),
    };
    call.changed(Reply { outcome, propagation: reply.propagation })
}
