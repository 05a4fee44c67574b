//! Agents.

use countersign_token::id::{AccountId, AgentId};
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;

use crate::Page;
use crate::agent_deployment::Ending;
use crate::error::Error;
use crate::list::{ListColumn, Listed, Order, Source};
use crate::row::{Columns, Row};
use crate::store::Store;
use crate::tx::Tx;

/// An agent of an account: a program that is deployed in environments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// The account that it belongs to.
    pub account: AccountId,
    /// What people call it.
    pub name: String,
    /// When it was made.
    pub inserted_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

macro_rules! columns {
    () => {
        "id, account_id, name, inserted_at, updated_at"
    };
}

const SOURCE: Source<'static, Agent> = Source {
    table: "agent",
    columns: columns!(),
    living: " FROM agent WHERE account_id = $1 AND deleted_at IS NULL",
    total: None,
    read,
};

fn read(row: Row<'_>) -> Result<Agent, Error> {
    let mut columns = Columns::of("agent", row);
    Ok(Agent {
        id: columns.parse()?,
        account: columns.parse()?,
        name: columns.text()?.to_owned(),
        inserted_at: columns.time()?,
        updated_at: columns.time()?,
    })
}

async fn find(connection: &mut AnyConnection, account: &AccountId, id: &AgentId) -> Result<Option<Agent>, Error> {
    let query = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM agent WHERE id = $1 AND account_id = $2 AND deleted_at IS NULL"
    ));
    let row = query.bind(id.to_string()).bind(account.to_string()).fetch_optional(connection).await?;
    row.as_ref().map(|row| read(row.into())).transpose()
}

impl Store {
    /// The agent of this account with this id, unless it was deleted.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_agent(&self, account: &AccountId, id: &AgentId) -> Result<Option<Agent>, Error> {
        find(&mut *self.reader().await?, account, id).await
    }

    /// The agents of an account. Deleted ones are gone.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_agents(
        &self,
        account: &AccountId,
        order: &Order<ListColumn>,
        page: Page,
    ) -> Result<Listed<Agent>, Error> {
        self.list(&SOURCE, vec![account.to_string().into()], &order.words(order.column.text(), "id"), page).await
    }
}

impl Tx {
    /// The agent of this account with this id, unless it was deleted.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_agent(&mut self, account: &AccountId, id: &AgentId) -> Result<Option<Agent>, Error> {
        let found = find(self.reading(), account, id).await;
        self.noting(found)
    }

    /// Adds an agent.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if its id exists, or its account doesn't.
    pub async fn insert_agent(&mut self, agent: &Agent) -> Result<(), Error> {
        self.revision();
        let query =
            sqlx::query(concat!("INSERT INTO agent (", columns!(), ", deleted_at) VALUES ($1, $2, $3, $4, $5, NULL)"))
                .bind(agent.id.to_string())
                .bind(agent.account.to_string())
                .bind(agent.name.clone())
                .bind(agent.inserted_at.as_micros())
                .bind(agent.updated_at.as_micros());
        self.execute(query, 1).await
    }

    /// Changes an agent's name.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if it doesn't exist, or was deleted.
    pub async fn update_agent(&mut self, agent: &Agent) -> Result<(), Error> {
        self.revision();
        let query = sqlx::query(
            "UPDATE agent SET name = $3, updated_at = $4 WHERE id = $1 AND account_id = $2 AND deleted_at IS NULL",
        )
        .bind(agent.id.to_string())
        .bind(agent.account.to_string())
        .bind(agent.name.clone())
        .bind(agent.updated_at.as_micros());
        self.execute(query, 1).await
    }

    /// Deletes an agent with its deployments, and ends their tokens. A tombstone stays until it is swept.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if it doesn't exist, or was deleted before.
    pub async fn delete_agent(&mut self, account: &AccountId, id: &AgentId, at: Timestamp) -> Result<(), Error> {
        self.revision();
        let query =
            sqlx::query("UPDATE agent SET deleted_at = $3 WHERE id = $1 AND account_id = $2 AND deleted_at IS NULL")
                .bind(id.to_string())
                .bind(account.to_string())
                .bind(at.as_micros());
        self.execute(query, 1).await?;
        self.delete_agent_deployments(Ending::OF_AGENT, account, id.to_string(), at).await?;
        Ok(())
    }
}
