//! API tokens.

use std::sync::LazyLock;

use countersign_token::api_token::{ApiToken, ApiTokenScope, ApiTokenStatus, ScopeKind};
use countersign_token::feed::{Change, Revision, Subject};
use countersign_token::id::{AccountId, ApiTokenId};
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;

use crate::Page;
use crate::bulk::{Binding, Bulk};
use crate::error::Error;
use crate::feed::is_news;
use crate::list::{ApiTokenColumn, Listed, Order, Source};
use crate::row::{Columns, Row};
use crate::seen::last_used_at;
use crate::store::Store;
use crate::tx::{Group, Tx};

macro_rules! columns {
    () => {
        "id, account_id, scope, environment_id, agent_id, agent_deployment_id, status, digest, digest_key, key_id, issued_at, \
         expires_at, created_by, inserted_at, updated_at"
    };
}

/// Besides, what stands elsewhere.
macro_rules! read_columns {
    () => {
        concat!(columns!(), ", ", last_used_at!(), " AS last_used_at")
    };
}

macro_rules! select {
    ($conditions:literal) => {
        concat!("SELECT ", read_columns!(), " FROM api_token WHERE id = $1 AND account_id = $2", $conditions)
    };
}

const SOURCE: Source<'static, ApiToken> = Source {
    table: "api_token",
    columns: read_columns!(),
    living: " FROM api_token WHERE account_id = $1 AND deleted_at IS NULL",
    total: Some("SELECT COALESCE(MAX(live), 0) FROM api_token_count WHERE account_id = $1"),
    read,
};

fn read_status(columns: &mut Columns<'_>) -> Result<ApiTokenStatus, Error> {
    let text = columns.text()?;
    ApiTokenStatus::parse(text).ok_or_else(|| columns.problem(format_args!("{text:?} is no status")))
}

fn read_scope(columns: &mut Columns<'_>) -> Result<ApiTokenScope, Error> {
    let text = columns.text()?;
    let kind = ScopeKind::parse(text).ok_or_else(|| columns.problem(format_args!("{text:?} is no scope")))?;
    let environment = columns.parse_if_any()?;
    let agent = columns.parse_if_any()?;
    let deployment = columns.parse_if_any()?;
    match (kind, environment, agent, deployment) {
        (ScopeKind::Account, None, None, None) => Ok(ApiTokenScope::Account),
        (ScopeKind::Environment, Some(environment), None, None) => Ok(ApiTokenScope::Environment(environment)),
        (ScopeKind::AgentDeployment, Some(environment), Some(agent), Some(deployment)) => {
            Ok(ApiTokenScope::AgentDeployment { deployment, agent, environment })
        }
        _ => Err(columns.problem(format_args!("what the token reaches does not fit its scope {text:?}"))),
    }
}

pub(crate) fn read(row: Row<'_>) -> Result<ApiToken, Error> {
    let mut columns = Columns::of("api_token", row);
    Ok(ApiToken {
        id: columns.parse()?,
        account: columns.parse()?,
        scope: read_scope(&mut columns)?,
        status: read_status(&mut columns)?,
        digest: columns.keyed_digest()?,
        key_id: columns.text()?.to_owned(),
        issued_at: columns.time()?,
        expires_at: columns.time()?,
        created_by: columns.parse_if_any()?,
        inserted_at: columns.time()?,
        updated_at: columns.time()?,
        last_used_at: columns.time_if_any()?,
    })
}

/// Those under an installation key, also deleted ones.
pub(crate) const UNDER_KEY: &str =
    concat!("SELECT ", read_columns!(), " FROM api_token WHERE digest_key = $1 AND id > $2 ORDER BY id LIMIT $3");

async fn find(
    connection: &mut AnyConnection,
    sql: &'static str,
    account: &AccountId,
    id: &ApiTokenId,
) -> Result<Option<ApiToken>, Error> {
    let query = sqlx::query(sql).bind(id.to_string()).bind(account.to_string());
    let row = query.fetch_optional(connection).await?;
    row.as_ref().map(|row| read(row.into())).transpose()
}

macro_rules! feed {
    ($last_used_at:expr) => {
        concat!(
            "SELECT id, account_id, environment_id, digest, replaced_digest, status, expires_at, ",
            $last_used_at,
            " AS last_used_at, COALESCE(deleted_at, ended_at), revision FROM api_token"
        )
    };
}

/// Every change of an API token after `from`, tombstones included. One that ended with its deployment is gone for good.
pub(crate) const CHANGES: &str =
    concat!(feed!(last_used_at!()), " WHERE ", is_news!("revision"), " ORDER BY revision, id");

/// Every API token that lives and has not ended with its deployment. The sign keeps SQLite from reading the table row by
/// row through an index.
pub(crate) const EVERYTHING: &str = concat!(
    feed!("last_used_at"),
    " LEFT JOIN api_token_seen ON api_token_id = id WHERE +deleted_at IS NULL AND ended_at IS NULL"
);

/// The API tokens of an account that live and have not ended with their deployment.
pub(crate) const LIVING: &str = concat!(
    feed!(last_used_at!()),
    " WHERE account_id = $1 AND id > $2 || $3 AND deleted_at IS NULL AND ended_at IS NULL ORDER BY id LIMIT $4"
);

pub(crate) fn read_change(row: Row<'_>) -> Result<Change, Error> {
    let mut columns = Columns::of("api_token", row);
    let id = columns.parse()?;
    let account = columns.parse()?;
    let environment = columns.parse_if_any()?;
    let digest = columns.digest()?;
    let replaced = columns.digest_if_any()?;
    let status = read_status(&mut columns)?;
    let expires_at = columns.time()?;
    let last_used_at = columns.time_if_any()?;
    let deleted = columns.time_if_any()?.is_some();
    let revision = Revision::new(columns.int()?);
    let subject =
        Subject::ApiToken { id, account, environment, digest, replaced, status, expires_at, last_used_at, deleted };
    Ok(Change { revision, subject })
}

/// Adds differences to the kept counts.
pub(crate) static COUNT: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT INTO api_token_count (account_id, live) VALUES",
        2,
        "ON CONFLICT (account_id) DO UPDATE SET live = api_token_count.live + excluded.live",
    )
});

pub(crate) fn bind_count(query: Binding, (account, difference): &(AccountId, i64)) -> Binding {
    query.bind(account.to_string()).bind(*difference)
}

/// Adds API tokens, each with its revision.
pub(crate) static INSERT: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::new(concat!("INSERT INTO api_token (", columns!(), ", revision) VALUES"), 16, ""));

pub(crate) fn bind(query: Binding, (token, revision): &(ApiToken, i64)) -> Binding {
    query
        .bind(token.id.to_string())
        .bind(token.account.to_string())
        .bind(token.scope.kind().text())
        .bind(token.scope.environment().map(|environment| environment.to_string()))
        .bind(token.scope.agent().map(|agent| agent.to_string()))
        .bind(token.scope.deployment().map(|deployment| deployment.to_string()))
        .bind(token.status.text())
        .bind(token.digest.as_bytes().to_vec())
        .bind(i64::from(token.digest.key().get()))
        .bind(token.key_id.clone())
        .bind(token.issued_at.as_micros())
        .bind(token.expires_at.as_micros())
        .bind(token.created_by.map(|user| user.to_string()))
        .bind(token.inserted_at.as_micros())
        .bind(token.updated_at.as_micros())
        .bind(*revision)
}

impl Store {
    /// The API token of this account with this id, unless it was deleted.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_api_token(&self, account: &AccountId, id: &ApiTokenId) -> Result<Option<ApiToken>, Error> {
        find(&mut *self.reader().await?, select!(" AND deleted_at IS NULL"), account, id).await
    }

    /// The API token of this account with this id, also a deleted one that is not swept yet: to mint it once more.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_api_token_ever(&self, account: &AccountId, id: &ApiTokenId) -> Result<Option<ApiToken>, Error> {
        find(&mut *self.reader().await?, select!(""), account, id).await
    }

    /// The API tokens of an account that are not deleted, those included that ended with their environment or deployment.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_api_tokens(
        &self,
        account: &AccountId,
        order: &Order<ApiTokenColumn>,
        page: Page,
    ) -> Result<Listed<ApiToken>, Error> {
        self.list(&SOURCE, vec![account.to_string().into()], &order.words(order.column.text(), "id"), page).await
    }

    /// The same in the order of their ids, which is that of their creation: those after the id `after`, without the first
    /// rows of these. Passing over costs time by the row; starting after an id doesn't.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_api_tokens_after(
        &self,
        account: &AccountId,
        after: Option<&ApiTokenId>,
        page: Page,
    ) -> Result<Listed<ApiToken>, Error> {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        self.list_after(&SOURCE, vec![account.to_string().into()], after, page).await
    }

    /// Up to `count` ids from that list: those of every `step`-th row after the id `after`. It reads as many rows as it
    /// passes over.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn mark_api_tokens(
        &self,
        account: &AccountId,
        after: Option<&ApiTokenId>,
        step: u32,
        count: u32,
    ) -> Result<Vec<ApiTokenId>, Error> {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let marks = SOURCE.marks(vec![account.to_string().into()], after, step, count);
        self.select(marks, |row| Columns::of("api_token", row).parse()).await
    }
}

impl Tx {
    /// The API token of this account with this id, unless it was deleted.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_api_token(&mut self, account: &AccountId, id: &ApiTokenId) -> Result<Option<ApiToken>, Error> {
        self.settle_tokens().await?;
        let found = find(self.reading(), select!(" AND deleted_at IS NULL"), account, id).await;
        self.noting(found)
    }

    /// Adds an API token. That its account exists, and what it reaches, is the caller's to know. When it was last used is
    /// kept by [`Store::record_seen`] alone.
    ///
    /// The tokens of a batch are inserted together, as [`insert_service_token`](Self::insert_service_token) has it.
    ///
    /// # Errors
    ///
    /// None yet.
    pub async fn insert_api_token(&mut self, token: &ApiToken) -> Result<(), Error> {
        self.require_live_key(&token.digest)?;
        self.queue_api_token(token.clone());
        Ok(())
    }

    /// Sets an API token's status, and when it was updated.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if it doesn't exist, or was deleted.
    pub async fn update_api_token(&mut self, token: &ApiToken) -> Result<(), Error> {
        self.settle_tokens().await?;
        let revision = self.change(Group::ApiToken);
        let query = sqlx::query(
            "UPDATE api_token SET status = $3, updated_at = $4, revision = $5 \
             WHERE id = $1 AND account_id = $2 AND deleted_at IS NULL",
        )
        .bind(token.id.to_string())
        .bind(token.account.to_string())
        .bind(token.status.text())
        .bind(token.updated_at.as_micros())
        .bind(revision);
        self.execute(query, 1).await
    }

    /// Deletes an API token. A tombstone stays until it is swept, with the digest: an index knows the token by nothing else.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if it doesn't exist, or was deleted before.
    pub async fn delete_api_token(&mut self, account: &AccountId, id: &ApiTokenId, at: Timestamp) -> Result<(), Error> {
        self.settle_tokens().await?;
        let revision = self.change(Group::ApiToken);
        let query = sqlx::query(
            "UPDATE api_token SET deleted_at = $3, revision = $4 \
             WHERE id = $1 AND account_id = $2 AND deleted_at IS NULL",
        )
        .bind(id.to_string())
        .bind(account.to_string())
        .bind(at.as_micros())
        .bind(revision);
        self.execute(query, 1).await?;
        self.count_api_tokens_by(*account, -1);
        Ok(())
    }
}
