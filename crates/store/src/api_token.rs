//! API tokens.

use countersign_token::api_token::ApiTokenScope;
use countersign_token::digest::Digest;
use countersign_token::feed::{ApiTokenStatus, Change, Revision, Subject};
use countersign_token::id::{AccountId, ApiTokenId, EnvironmentId, UserPfid};
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::Page;
use crate::error::Error;
use crate::row::Columns;
use crate::store::Store;
use crate::tx::{Group, Tx};

/// An API token. Only its digest is kept, and what it takes to mint the same string again.
#[derive(Clone, Debug)]
pub struct ApiToken {
    /// Its id.
    pub id: ApiTokenId,
    /// The account that it belongs to.
    pub account: AccountId,
    /// What it reaches.
    pub scope: ApiTokenScope,
    /// The environment that it is confined to.
    pub environment: Option<EnvironmentId>,
    /// Whether it is admitted.
    pub status: ApiTokenStatus,
    /// The digest of the token.
    pub digest: Digest,
    /// The id of the key that it is signed with.
    pub key_id: String,
    /// The time that it says it was issued at.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The user who made it, if it was a user.
    pub created_by: Option<UserPfid>,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// When it was made.
    pub inserted_at: Timestamp,
    /// When its state last changed; use doesn't count.
    pub updated_at: Timestamp,
    /// When it was deleted. Look-ups and lists show none that were.
    pub deleted_at: Option<Timestamp>,
}

macro_rules! columns {
    () => {
        "id, account_id, scope, environment_id, status, digest, key_id, issued_at, expires_at, created_by, \
         last_used_at, inserted_at, updated_at, deleted_at"
    };
}

fn status_text(status: ApiTokenStatus) -> &'static str {
    match status {
        ApiTokenStatus::Active => "active",
        ApiTokenStatus::Suspended => "suspended",
        ApiTokenStatus::Revoked => "revoked",
    }
}

fn read_status(columns: &mut Columns<'_>) -> Result<ApiTokenStatus, Error> {
    match columns.text()? {
        "active" => Ok(ApiTokenStatus::Active),
        "suspended" => Ok(ApiTokenStatus::Suspended),
        "revoked" => Ok(ApiTokenStatus::Revoked),
        other => Err(columns.problem(format_args!("{other:?} is no status"))),
    }
}

fn read_scope(columns: &mut Columns<'_>) -> Result<ApiTokenScope, Error> {
    let text = columns.text()?;
    [ApiTokenScope::Account, ApiTokenScope::Environment, ApiTokenScope::AgentDeployment]
        .into_iter()
        .find(|scope| scope.text() == text)
        .ok_or_else(|| columns.problem(format_args!("{text:?} is no scope")))
}

fn read(row: &AnyRow) -> Result<ApiToken, Error> {
    let mut columns = Columns::of("api_token", row);
    Ok(ApiToken {
        id: columns.parse()?,
        account: columns.parse()?,
        scope: read_scope(&mut columns)?,
        environment: columns.parse_if_any()?,
        status: read_status(&mut columns)?,
        digest: columns.digest()?,
        key_id: columns.text()?.to_owned(),
        issued_at: columns.time()?,
        expires_at: columns.time()?,
        created_by: columns.parse_if_any()?,
        last_used_at: columns.time_if_any()?,
        inserted_at: columns.time()?,
        updated_at: columns.time()?,
        deleted_at: columns.time_if_any()?,
    })
}

async fn find(connection: &mut AnyConnection, id: &ApiTokenId) -> Result<Option<ApiToken>, Error> {
    let query = sqlx::query(concat!("SELECT ", columns!(), " FROM api_token WHERE id = $1 AND deleted_at IS NULL"));
    let row = query.bind(id.to_string()).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

macro_rules! feed_columns {
    () => {
        "SELECT id, account_id, environment_id, digest, status, expires_at, last_used_at, deleted_at, revision \
         FROM api_token"
    };
}

/// Every change of an API token after `from`, tombstones included.
pub(crate) const CHANGES: &str = concat!(feed_columns!(), " WHERE revision > $1 ORDER BY revision, id");

/// Every API token that lives. The sign keeps SQLite from reading the table row by row through an index.
pub(crate) const EVERYTHING: &str = concat!(feed_columns!(), " WHERE +deleted_at IS NULL");

pub(crate) fn read_change(row: &AnyRow) -> Result<Change, Error> {
    let mut columns = Columns::of("api_token", row);
    let id = columns.parse()?;
    let account = columns.parse()?;
    let environment = columns.parse_if_any()?;
    let digest = columns.digest()?;
    let status = read_status(&mut columns)?;
    let expires_at = columns.time()?;
    let last_used_at = columns.time_if_any()?;
    let deleted = columns.time_if_any()?.is_some();
    let revision = Revision::new(columns.int()?);
    let subject = Subject::ApiToken { id, account, environment, digest, status, expires_at, last_used_at, deleted };
    Ok(Change { revision, subject })
}

impl Store {
    /// The API token with this id.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_api_token(&self, id: &ApiTokenId) -> Result<Option<ApiToken>, Error> {
        find(&mut *self.reader().await?, id).await
    }

    /// The API tokens of an account in the order of their ids, which is that of their creation.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_api_tokens(&self, account: &AccountId, page: Page) -> Result<Vec<ApiToken>, Error> {
        let (limit, offset) = page.bounds();
        let query = sqlx::query(concat!(
            "SELECT ",
            columns!(),
            " FROM api_token WHERE account_id = $1 AND deleted_at IS NULL ORDER BY id LIMIT $2 OFFSET $3"
        ))
        .bind(account.to_string())
        .bind(limit)
        .bind(offset);
        let rows = query.fetch_all(&mut *self.reader().await?).await?;
        rows.iter().map(read).collect()
    }

    /// How many API tokens an account has.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn count_api_tokens(&self, account: &AccountId) -> Result<u64, Error> {
        let query = sqlx::query("SELECT COUNT(*) FROM api_token WHERE account_id = $1 AND deleted_at IS NULL")
            .bind(account.to_string());
        let row = query.fetch_one(&mut *self.reader().await?).await?;
        Columns::of("api_token", &row).count()
    }
}

impl Tx {
    /// The API token with this id.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_api_token(&mut self, id: &ApiTokenId) -> Result<Option<ApiToken>, Error> {
        let found = find(self.reading(), id).await;
        self.noting(found)
    }

    /// Adds an API token. That its account and environment exist is the caller's to know.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if its id exists.
    pub async fn insert_api_token(&mut self, token: &ApiToken) -> Result<(), Error> {
        let revision = self.change(Group::ApiToken);
        let query = sqlx::query(concat!(
            "INSERT INTO api_token (",
            columns!(),
            ", revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
        ))
        .bind(token.id.to_string())
        .bind(token.account.to_string())
        .bind(token.scope.text())
        .bind(token.environment.map(|environment| environment.to_string()))
        .bind(status_text(token.status))
        .bind(token.digest.as_bytes().to_vec())
        .bind(token.key_id.clone())
        .bind(token.issued_at.as_micros())
        .bind(token.expires_at.as_micros())
        .bind(token.created_by.map(|user| user.to_string()))
        .bind(token.last_used_at.map(Timestamp::as_micros))
        .bind(token.inserted_at.as_micros())
        .bind(token.updated_at.as_micros())
        .bind(token.deleted_at.map(Timestamp::as_micros))
        .bind(revision);
        self.execute(query, 1).await
    }

    /// Sets an API token's status.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if it doesn't exist.
    pub async fn update_api_token_status(
        &mut self,
        id: &ApiTokenId,
        status: ApiTokenStatus,
        at: Timestamp,
    ) -> Result<(), Error> {
        let revision = self.change(Group::ApiToken);
        let query = sqlx::query(
            "UPDATE api_token SET status = $2, updated_at = $3, revision = $4 WHERE id = $1 AND deleted_at IS NULL",
        )
        .bind(id.to_string())
        .bind(status_text(status))
        .bind(at.as_micros())
        .bind(revision);
        self.execute(query, 1).await
    }

    /// Deletes an API token. A tombstone stays until it is swept, with the digest: an index knows the token by nothing else.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if it doesn't exist, or was deleted before.
    pub async fn delete_api_token(&mut self, id: &ApiTokenId, at: Timestamp) -> Result<(), Error> {
        let revision = self.change(Group::ApiToken);
        let query =
            sqlx::query("UPDATE api_token SET deleted_at = $2, revision = $3 WHERE id = $1 AND deleted_at IS NULL")
                .bind(id.to_string())
                .bind(at.as_micros())
                .bind(revision);
        self.execute(query, 1).await
    }
}
