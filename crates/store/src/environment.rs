//! Environments.

use countersign_token::feed::{Change, Revision, Subject};
use countersign_token::id::{AccountId, EnvironmentId};
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::Page;
use crate::error::Error;
use crate::row::Columns;
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
    /// What it is for, such as `development`.
    pub purpose: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was deleted; its tokens are refused since.
    pub deleted_at: Option<Timestamp>,
}

macro_rules! columns {
    () => {
        "id, account_id, name, purpose, created_at, deleted_at"
    };
}

fn read(row: &AnyRow) -> Result<Environment, Error> {
    let mut columns = Columns::of("environment", row);
    Ok(Environment {
        id: columns.parse()?,
        account: columns.parse()?,
        name: columns.text()?.to_owned(),
        purpose: columns.text()?.to_owned(),
        created_at: columns.time()?,
        deleted_at: columns.time_if_any()?,
    })
}

async fn find(connection: &mut AnyConnection, id: &EnvironmentId) -> Result<Option<Environment>, Error> {
    let query = sqlx::query(concat!("SELECT ", columns!(), " FROM environment WHERE id = $1 AND deleted_at IS NULL"));
    let row = query.bind(id.to_string()).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

/// Every change of an environment after `from`.
pub(crate) const CHANGES: &str =
    "SELECT id, account_id, deleted_at, revision FROM environment WHERE revision > $1 ORDER BY revision, id";

pub(crate) fn read_change(row: &AnyRow) -> Result<Change, Error> {
    let mut columns = Columns::of("environment", row);
    let subject = Subject::Environment {
        id: columns.parse()?,
        account: columns.parse()?,
        deleted: columns.time_if_any()?.is_some(),
    };
    Ok(Change { revision: Revision::new(columns.int()?), subject })
}

impl Store {
    /// The environment with this id, unless it was deleted.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_environment(&self, id: &EnvironmentId) -> Result<Option<Environment>, Error> {
        find(&mut *self.reader().await?, id).await
    }

    /// The environments of an account in the order of their ids, which is that of their creation. Deleted ones are gone.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_environments(&self, account: &AccountId, page: Page) -> Result<Vec<Environment>, Error> {
        let (limit, offset) = page.bounds();
        let query = sqlx::query(concat!(
            "SELECT ",
            columns!(),
            " FROM environment WHERE account_id = $1 AND deleted_at IS NULL ORDER BY id LIMIT $2 OFFSET $3"
        ))
        .bind(account.to_string())
        .bind(limit)
        .bind(offset);
        let rows = query.fetch_all(&mut *self.reader().await?).await?;
        rows.iter().map(read).collect()
    }

    /// How many environments an account has.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn count_environments(&self, account: &AccountId) -> Result<u64, Error> {
        let query = sqlx::query("SELECT COUNT(*) FROM environment WHERE account_id = $1 AND deleted_at IS NULL")
            .bind(account.to_string());
        let row = query.fetch_one(&mut *self.reader().await?).await?;
        Columns::of("environment", &row).count()
    }
}

impl Tx {
    /// The environment with this id, unless it was deleted.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_environment(&mut self, id: &EnvironmentId) -> Result<Option<Environment>, Error> {
        let found = find(self.reading(), id).await;
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
            ", revision) VALUES ($1, $2, $3, $4, $5, $6, $7)"
        ))
        .bind(environment.id.to_string())
        .bind(environment.account.to_string())
        .bind(environment.name.clone())
        .bind(environment.purpose.clone())
        .bind(environment.created_at.as_micros())
        .bind(environment.deleted_at.map(Timestamp::as_micros))
        .bind(revision);
        self.execute(query, 1).await
    }

    /// Changes an environment's name and purpose.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if it doesn't exist, or was deleted.
    pub async fn update_environment(&mut self, environment: &Environment) -> Result<(), Error> {
        let revision = self.change(Group::Directory);
        let query = sqlx::query(
            "UPDATE environment SET name = $2, purpose = $3, revision = $4 WHERE id = $1 AND deleted_at IS NULL",
        )
        .bind(environment.id.to_string())
        .bind(environment.name.clone())
        .bind(environment.purpose.clone())
        .bind(revision);
        self.execute(query, 1).await
    }

    /// Deletes an environment. A tombstone stays until it is swept.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if it doesn't exist, or was deleted before.
    pub async fn delete_environment(&mut self, id: &EnvironmentId, at: Timestamp) -> Result<(), Error> {
        let revision = self.change(Group::Directory);
        let query =
            sqlx::query("UPDATE environment SET deleted_at = $2, revision = $3 WHERE id = $1 AND deleted_at IS NULL")
                .bind(id.to_string())
                .bind(at.as_micros())
                .bind(revision);
        self.execute(query, 1).await
    }
}
