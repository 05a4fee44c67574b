//! Agents, and the environments that they are deployed in.

use countersign_store::{Agent, AgentDeployment, ListColumn, Listed, Order, Page};
use countersign_token::id::{AgentDeploymentId, AgentId, Pfid};
use serde_json::json;

use super::audit::updated;
use super::commit::{gives, takes_away};
use super::field::{invalid, parse_name};
use super::idempotency::{Intent, Reply};
use super::pfid::{require_agent, require_environment, require_unused};
use super::{Error, Ops};
use crate::caller::{Administer, Origin, Permit};

/// What a new agent is made of.
#[derive(Clone, Debug)]
pub struct NewAgent {
    /// Its id, if the caller has chosen one: of the account's partition, and unused.
    pub id: Option<AgentId>,
    /// What to call it.
    pub name: String,
}

/// What a new deployment is made of.
#[derive(Clone, Debug)]
pub struct NewAgentDeployment {
    /// Its id, if the caller has chosen one: of the account's partition, and unused.
    pub id: Option<AgentDeploymentId>,
    /// The agent.
    pub agent: Pfid,
    /// The environment, in which the agent is not deployed yet.
    pub environment: Pfid,
}

/// What people can see of an agent, for the audit log.
fn shown(agent: &Agent) -> serde_json::Value {
    json!({ "name": agent.name })
}

/// The same of a deployment.
pub(super) fn shown_deployment(deployment: &AgentDeployment) -> serde_json::Value {
    json!({
        "agent_id": deployment.agent.to_string(),
        "environment_id": deployment.environment.to_string(),
    })
}

impl Ops {
    /// Makes an agent.
    pub async fn create_agent(
        &self,
        permit: &Permit<Administer>,
        new: NewAgent,
        intent: Option<Intent<Agent>>,
        origin: &Origin,
    ) -> Result<Reply<Agent>, Error> {
        let now = self.clock.now();
        let agent = Agent {
            id: self.new_pfid(permit, new.id.as_ref().map(AgentId::as_pfid), now)?.into(),
            account: permit.account(),
            name: parse_name("name", &new.name)?,
            inserted_at: now,
            updated_at: now,
        };
        let mut event = self.event_by(permit, "agent.create", ("agent", agent.id.to_string()), origin);
        event.detail = shown(&agent).to_string();
        self.commit_once(permit.account(), agent.id.to_string(), intent, gives, move |tx| {
            let (agent, event) = (agent.clone(), event.clone());
            Box::pin(async move {
                require_unused(tx, &agent.account, agent.id.as_pfid()).await?;
                tx.insert_agent(&agent).await?;
                tx.record(event);
                Ok(agent)
            })
        })
        .await
    }

    /// One agent; [`Error::NotFound`] if the account has none of that id.
    pub async fn find_agent(&self, permit: &Permit<Administer>, id: &AgentId) -> Result<Agent, Error> {
        self.store.find_agent(&permit.account(), id).await?.ok_or(Error::NotFound)
    }

    /// The account's agents.
    pub async fn list_agents(
        &self,
        permit: &Permit<Administer>,
        order: &Order<ListColumn>,
        page: Page,
    ) -> Result<Listed<Agent>, Error> {
        Ok(self.store.list_agents(&permit.account(), order, page).await?)
    }

    /// Gives an agent another name, if one is given.
    pub async fn update_agent(
        &self,
        permit: &Permit<Administer>,
        id: &AgentId,
        name: Option<String>,
        intent: Option<Intent<Agent>>,
        origin: &Origin,
    ) -> Result<Reply<Agent>, Error> {
        let name = name.map(|name| parse_name("name", &name)).transpose()?;
        let now = self.clock.now();
        let event = self.event_by(permit, "agent.update", ("agent", id.to_string()), origin);
        let (account, id) = (permit.account(), *id);
        self.commit_once(account, id.to_string(), intent, gives, move |tx| {
            let (name, event) = (name.clone(), event.clone());
            Box::pin(async move {
                let before = tx.find_agent(&account, &id).await?.ok_or(Error::NotFound)?;
                let name = name.unwrap_or_else(|| before.name.clone());
                let after = Agent { name, updated_at: now, ..before.clone() };
                let Some(event) = updated(event, &shown(&before), &shown(&after)) else { return Ok(before) };
                tx.update_agent(&after).await?;
                tx.record(event);
                Ok(after)
            })
        })
        .await
    }

    /// Deletes an agent with its deployments. Their API tokens are refused everywhere when this returns.
    pub async fn delete_agent(
        &self,
        permit: &Permit<Administer>,
        id: &AgentId,
        intent: Option<Intent<Agent>>,
        origin: &Origin,
    ) -> Result<Reply<Agent>, Error> {
        self.flush_marks().await;
        let now = self.clock.now();
        let event = self.event_by(permit, "agent.delete", ("agent", id.to_string()), origin);
        let (account, id) = (permit.account(), *id);
        self.commit_once(account, id.to_string(), intent, takes_away, move |tx| {
            let event = event.clone();
            Box::pin(async move {
                let agent = tx.find_agent(&account, &id).await?.ok_or(Error::NotFound)?;
                tx.delete_agent(&account, &id, now).await?;
                tx.record(event);
                Ok(agent)
            })
        })
        .await
    }

    /// Deploys an agent in an environment.
    pub async fn create_agent_deployment(
        &self,
        permit: &Permit<Administer>,
        new: NewAgentDeployment,
        intent: Option<Intent<AgentDeployment>>,
        origin: &Origin,
    ) -> Result<Reply<AgentDeployment>, Error> {
        let now = self.clock.now();
        let account = permit.account();
        let id = self.new_pfid(permit, new.id.as_ref().map(AgentDeploymentId::as_pfid), now)?;
        let event = self.event_by(permit, "agent_deployment.create", ("agent_deployment", id.to_string()), origin);
        self.commit_once(account, id.to_string(), intent, gives, move |tx| {
            let (new, mut event) = (new.clone(), event.clone());
            Box::pin(async move {
                require_unused(tx, &account, &id).await?;
                let agent = require_agent(tx, &account, new.agent).await?.id;
                let environment = require_environment(tx, &account, new.environment).await?.id;
                if tx.find_agent_deployment_of(&account, &agent, &environment).await?.is_some() {
                    return Err(invalid("agent_id", "is deployed in that environment already"));
                }
                let deployment =
                    AgentDeployment { id: id.into(), account, agent, environment, inserted_at: now, updated_at: now };
                tx.insert_agent_deployment(&deployment).await?;
                event.detail = shown_deployment(&deployment).to_string();
                tx.record(event);
                Ok(deployment)
            })
        })
        .await
    }

    /// One deployment; [`Error::NotFound`] if the account has none of that id.
    pub async fn find_agent_deployment(
        &self,
        permit: &Permit<Administer>,
        id: &AgentDeploymentId,
    ) -> Result<AgentDeployment, Error> {
        self.store.find_agent_deployment(&permit.account(), id).await?.ok_or(Error::NotFound)
    }

    /// The account's deployments, or those of one agent.
    pub async fn list_agent_deployments(
        &self,
        permit: &Permit<Administer>,
        agent: Option<&AgentId>,
        order: &Order<ListColumn>,
        page: Page,
    ) -> Result<Listed<AgentDeployment>, Error> {
        Ok(self.store.list_agent_deployments(&permit.account(), agent, order, page).await?)
    }

    /// Deletes a deployment. Its API tokens are refused everywhere when this returns.
    pub async fn delete_agent_deployment(
        &self,
        permit: &Permit<Administer>,
        id: &AgentDeploymentId,
        intent: Option<Intent<AgentDeployment>>,
        origin: &Origin,
    ) -> Result<Reply<AgentDeployment>, Error> {
        self.flush_marks().await;
        let now = self.clock.now();
        let event = self.event_by(permit, "agent_deployment.delete", ("agent_deployment", id.to_string()), origin);
        let (account, id) = (permit.account(), *id);
        self.commit_once(account, id.to_string(), intent, takes_away, move |tx| {
            let event = event.clone();
            Box::pin(async move {
                let deployment = tx.find_agent_deployment(&account, &id).await?.ok_or(Error::NotFound)?;
                tx.delete_agent_deployment(&account, &id, now).await?;
                tx.record(event);
                Ok(deployment)
            })
        })
        .await
    }
}
