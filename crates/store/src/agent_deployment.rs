//! Deployments: that an agent runs in an environment.

use countersign_token::id::{AccountId, AgentDeploymentId, AgentId, EnvironmentId};
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;

use crate::Page;
use crate::error::Error;
use crate::list::{ListColumn, Listed, Order, Source};
use crate::row::{Columns, Row};
use crate::store::Store;
use crate::tx::{Group, Tx};

/// That an agent is deployed in an environment. There is at most one for each pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentDeployment {
    /// Its id.
    pub id: AgentDeploymentId,
    /// The account that it belongs to.
    pub account: AccountId,
    /// The agent that is deployed.
    pub agent: AgentId,
    /// Where.
    pub environment: EnvironmentId,
    /// When it was made.
    pub inserted_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

macro_rules! columns {
    () => {
        "id, account_id, agent_id, environment_id, inserted_at, updated_at"
    };
}

const SOURCE: Source<'static, AgentDeployment> = Source {
    table: "agent_deployment",
    columns: columns!(),
    living: " FROM agent_deployment WHERE account_id = $1 AND deleted_at IS NULL",
    total: None,
    read,
};

const SOURCE_OF_AGENT: Source<'static, AgentDeployment> = Source {
    living: " FROM agent_deployment WHERE account_id = $1 AND agent_id = $2 AND deleted_at IS NULL",
    ..SOURCE
};

fn read(row: Row<'_>) -> Result<AgentDeployment, Error> {
    let mut columns = Columns::of("agent_deployment", row);
    Ok(AgentDeployment {
        id: columns.parse()?,
        account: columns.parse()?,
        agent: columns.parse()?,
        environment: columns.parse()?,
        inserted_at: columns.time()?,
        updated_at: columns.time()?,
    })
}

async fn find(
    connection: &mut AnyConnection,
    account: &AccountId,
    id: &AgentDeploymentId,
) -> Result<Option<AgentDeployment>, Error> {
    let query = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM agent_deployment WHERE id = $1 AND account_id = $2 AND deleted_at IS NULL"
    ));
    let row = query.bind(id.to_string()).bind(account.to_string()).fetch_optional(connection).await?;
    row.as_ref().map(|row| read(row.into())).transpose()
}

/// Deployments that end together.
#[derive(Clone, Copy)]
pub(crate) struct Ending {
    end_tokens: &'static str,
    delete: &'static str,
}

macro_rules! ending {
    ($column:literal) => {
        Ending {
            end_tokens: concat!(
                "UPDATE api_token SET ended_at = $3, revision = $4 WHERE deleted_at IS NULL AND ended_at IS NULL \
                 AND agent_deployment_id IN (SELECT id FROM agent_deployment WHERE ",
                $column,
                " = $1 AND account_id = $2 AND deleted_at IS NULL)"
            ),
            delete: concat!(
                "UPDATE agent_deployment SET deleted_at = $3 WHERE ",
                $column,
                " = $1 AND account_id = $2 AND deleted_at IS NULL"
            ),
        }
    };
}

impl Ending {
    /// The one deployment with an id.
    const ONE: Self = ending!("id");
    /// All of an agent.
    pub(crate) const OF_AGENT: Self = ending!("agent_id");
    /// All in an environment.
    pub(crate) const OF_ENVIRONMENT: Self = ending!("environment_id");
}

impl Store {
    /// The deployment of this account with this id, unless it was deleted.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_agent_deployment(
        &self,
        account: &AccountId,
        id: &AgentDeploymentId,
    ) -> Result<Option<AgentDeployment>, Error> {
        find(&mut *self.reader().await?, account, id).await
    }

    /// The deployments of an account, or of one of its agents.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_agent_deployments(
        &self,
        account: &AccountId,
        agent: Option<&AgentId>,
        order: &Order<ListColumn>,
        page: Page,
    ) -> Result<Listed<AgentDeployment>, Error> {
        let order = order.words(order.column.text(), "id");
        let account = account.to_string().into();
        match agent {
            Some(agent) => self.list(&SOURCE_OF_AGENT, vec![account, agent.to_string().into()], &order, page).await,
            None => self.list(&SOURCE, vec![account], &order, page).await,
        }
    }
}

impl Tx {
    /// The deployment of this account with this id, unless it was deleted.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_agent_deployment(
        &mut self,
        account: &AccountId,
        id: &AgentDeploymentId,
    ) -> Result<Option<AgentDeployment>, Error> {
        let found = find(self.reading(), account, id).await;
        self.noting(found)
    }

    /// The deployment of an agent in an environment.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_agent_deployment_of(
        &mut self,
        account: &AccountId,
        agent: &AgentId,
        environment: &EnvironmentId,
    ) -> Result<Option<AgentDeployment>, Error> {
        let query = sqlx::query(concat!(
            "SELECT ",
            columns!(),
            " FROM agent_deployment \
             WHERE account_id = $1 AND agent_id = $2 AND environment_id = $3 AND deleted_at IS NULL"
        ))
        .bind(account.to_string())
        .bind(agent.to_string())
        .bind(environment.to_string());
        let row = query.fetch_optional(self.reading()).await.map_err(Error::from);
        self.noting(row)?.as_ref().map(|row| read(row.into())).transpose()
    }

    /// Adds a deployment. That its agent and environment are of its account, and not deleted, is the caller's to know.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if its id exists, the agent is deployed there already, or one of the two doesn't exist.
    pub async fn insert_agent_deployment(&mut self, deployment: &AgentDeployment) -> Result<(), Error> {
        self.revision();
        let query = sqlx::query(concat!(
            "INSERT INTO agent_deployment (",
            columns!(),
            ", deleted_at) VALUES ($1, $2, $3, $4, $5, $6, NULL)"
        ))
        .bind(deployment.id.to_string())
        .bind(deployment.account.to_string())
        .bind(deployment.agent.to_string())
        .bind(deployment.environment.to_string())
        .bind(deployment.inserted_at.as_micros())
        .bind(deployment.updated_at.as_micros());
        self.execute(query, 1).await
    }

    /// Deletes a deployment, and ends its tokens: they are listed and shown, and refused for good.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if it doesn't exist, or was deleted before.
    pub async fn delete_agent_deployment(
        &mut self,
        account: &AccountId,
        id: &AgentDeploymentId,
        at: Timestamp,
    ) -> Result<(), Error> {
        match self.delete_agent_deployments(Ending::ONE, account, id.to_string(), at).await? {
            1 => Ok(()),
            actual => self.noting(Err(Error::Rows { expected: 1, actual })),
        }
    }

    /// Deletes deployments with an id in the column that `ending` names, ends their tokens, and returns how many they were.
    pub(crate) async fn delete_agent_deployments(
        &mut self,
        ending: Ending,
        account: &AccountId,
        id: String,
        at: Timestamp,
    ) -> Result<u64, Error> {
        self.settle_tokens().await?;
        let revision = self.change(Group::ApiToken);
        let account = account.to_string();
        let query =
            sqlx::query(ending.end_tokens).bind(id.clone()).bind(account.clone()).bind(at.as_micros()).bind(revision);
        self.execute_any(query).await?;
        self.execute_any(sqlx::query(ending.delete).bind(id).bind(account).bind(at.as_micros())).await
    }
}
