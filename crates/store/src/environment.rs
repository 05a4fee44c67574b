//! Environments.

use countersign_token::feed::{Change, Revision, Subject};
use countersign_token::id::{AccountId, EnvironmentId};
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;

use crate::Page;
use crate::agent_deployment::Ending;
use crate::error::Error;
use crate::list::{ListColumn, Listed, Order, Source};
use crate::row::{Columns, Row};
use crate::store::Store;
use crate::tx::{Group, Tx};

/// An environment of an account, which API tokens can be confined to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Its id.
    pub id: EnvironmentId,
    /// The account that it belongs to.
    pub account: AccountId,
    /// What people call it.
    pub name: String,
    /// What people say about it.
    pub description: Option<String>,
    /// What it is for, such as `development`.
    pub purpose: String,
    /// What another system calls it.
    pub external_identifier: Option<String>,
    /// When it was made.
    pub inserted_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

macro_rules! columns {
    () => {
        "id, account_id, name, description, purpose, external_identifier, created_at, updated_at"
    };
}

const SOURCE: Source<'static, Environment> = Source {
    table: "environment",
    columns: columns!(),
    living: " FROM environment WHERE account_id = $1 AND deleted_at IS NULL",
    total: None,
    read,
};

fn read(row: Row<'_>) -> Result<Environment, Error> {
    let mut columns = Columns::of("environment", row);
    Ok(Environment {
        id: columns.parse()?,
        account: columns.parse()?,
        name: columns.text()?.to_owned(),
        description: columns.text_if_any()?.map(str::to_owned),
        purpose: columns.text()?.to_owned(),
        external_identifier: columns.text_if_any()?.map(str::to_owned),
        inserted_at: columns.time()?,
        updated_at: columns.time()?,
    })
}

async fn find(
    connection: &mut AnyConnection,
    account: &AccountId,
    id: &EnvironmentId,
) -> Result<Option<Environment>, Error> {
    let query = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM environment WHERE id = $1 AND account_id = $2 AND deleted_at IS NULL"
    ));
    let row = query.bind(id.to_string()).bind(account.to_string()).fetch_optional(connection).await?;
    row.as_ref().map(|row| read(row.into())).transpose()
}

/// Every change of an environment after `from`.
pub(crate) const CHANGES: &str =
    "SELECT id, account_id, deleted_at, revision FROM environment WHERE revision > $1 ORDER BY revision, id";

/// The environments of an account, tombstones included: tokens may outlive them, and must go on being refused.
pub(crate) const LIVING: &str = "SELECT id, account_id, deleted_at, revision FROM environment \
     WHERE account_id = $1 AND id > $2 || $3 ORDER BY id LIMIT $4";

pub(crate) fn read_change(row: Row<'_>) -> Result<Change, Error> {
    let mut columns = Columns::of("environment", row);
    let subject = Subject::Environment {
        id: columns.parse()?,
        account: columns.parse()?,
        deleted: columns.time_if_any()?.is_some(),
    };
    Ok(Change { revision: Revision::new(columns.int()?), subject })
}

impl Store {
    /// The environment of this account with this id, unless it was deleted.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_environment(
        &self,
        account: &AccountId,
        id: &EnvironmentId,
    ) -> Result<Option<Environment>, Error> {
        find(&mut *self.reader().await?, account, id).await
    }

    /// The environments of an account. Deleted ones are gone.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_environments(
        &self,
        account: &AccountId,
        order: &Order<ListColumn>,
        page: Page,
    ) -> Result<Listed<Environment>, Error> {
        let order = order.words(order.column.text_of_created(), "id");
        self.list(&SOURCE, vec![account.to_string().into()], &order, page).await
    }
}

impl Tx {
    /// The environment of this account with this id, unless it was deleted.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_environment(
        &mut self,
        account: &AccountId,
        id: &EnvironmentId,
    ) -> Result<Option<Environment>, Error> {
        let found = find(self.reading(), account, id).await;
        self.noting(found)
    }

    /// Adds an environment.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if its id exists, or its account doesn't.
    pub async fn insert_environment(&mut self, environment: &Environment) -> Result<(), Error> {
        let revision = self.change(Group::Directory);
        let query = sqlx::query(concat!(
            "INSERT INTO environment (",
            columns!(),
            ", deleted_at, revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL, $9)"
        ))
        .bind(environment.id.to_string())
        .bind(environment.account.to_string())
        .bind(environment.name.clone())
        .bind(environment.description.clone())
        .bind(environment.purpose.clone())
        .bind(environment.external_identifier.clone())
        .bind(environment.inserted_at.as_micros())
        .bind(environment.updated_at.as_micros())
        .bind(revision);
        self.execute(query, 1).await
    }

    /// Changes everything of an environment but its account and its creation.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if it doesn't exist, or was deleted.
    pub async fn update_environment(&mut self, environment: &Environment) -> Result<(), Error> {
        let revision = self.change(Group::Directory);
        let query = sqlx::query(
            "UPDATE environment SET name = $3, description = $4, purpose = $5, external_identifier = $6, \
             updated_at = $7, revision = $8 WHERE id = $1 AND account_id = $2 AND deleted_at IS NULL",
        )
        .bind(environment.id.to_string())
        .bind(environment.account.to_string())
        .bind(environment.name.clone())
        .bind(environment.description.clone())
        .bind(environment.purpose.clone())
        .bind(environment.external_identifier.clone())
        .bind(environment.updated_at.as_micros())
        .bind(revision);
        self.execute(query, 1).await
    }

    /// Deletes an environment with its deployments. A tombstone stays until it is swept, and as long as there are tokens
    /// that are confined to it.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if it doesn't exist, or was deleted before.
    pub async fn delete_environment(
        &mut self,
        account: &AccountId,
        id: &EnvironmentId,
        at: Timestamp,
    ) -> Result<(), Error> {
        let revision = self.change(Group::Directory);
        let query = sqlx::query(
            "UPDATE environment SET deleted_at = $3, revision = $4 \
             WHERE id = $1 AND account_id = $2 AND deleted_at IS NULL",
        )
        .bind(id.to_string())
        .bind(account.to_string())
        .bind(at.as_micros())
        .bind(revision);
        self.execute(query, 1).await?;
        self.delete_agent_deployments(Ending::OF_ENVIRONMENT, account, id.to_string(), at).await?;
        Ok(())
    }
}
