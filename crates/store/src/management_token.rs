//! Management API tokens and what they may do.

use countersign_token::digest::Digest;
use countersign_token::feed::{Change, Grant, Revision, Subject, TokenOwner};
use countersign_token::id::{AccountId, ManagementTokenId, UserId};
use countersign_token::permission::Permission;
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::Page;
use crate::error::Error;
use crate::row::{Columns, Row};
use crate::store::Store;
use crate::tx::{Group, Tx};

/// A management API token. Only its digest is kept.
#[derive(Clone, Debug)]
pub struct ManagementToken {
    /// Its id.
    pub id: ManagementTokenId,
    /// Whose it is.
    pub owner: TokenOwner,
    /// What people call it.
    pub name: String,
    /// The digest of the token.
    pub digest: Digest,
    /// What it may do, in order of account and permission.
    pub grants: Vec<Grant>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// When it was taken away.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
}

/// Which management tokens to list. The default is all, revoked ones included.
#[derive(Clone, Copy, Debug, Default)]
pub struct ManagementTokenFilter {
    /// Only those that this account owns, or that have a grant on it.
    pub account: Option<AccountId>,
    /// Only those that this user owns.
    pub user: Option<UserId>,
}

macro_rules! columns {
    () => {
        "id, user_id, account_id, name, digest, digest_key, created_at, expires_at, revoked_at, last_used_at"
    };
}

macro_rules! filter {
    () => {
        " FROM management_token WHERE ($1 IS NULL OR account_id = $1 OR id IN \
         (SELECT management_token_id FROM management_grant WHERE account_id = $1)) AND ($2 IS NULL OR user_id = $2)"
    };
}

fn read(row: &AnyRow) -> Result<ManagementToken, Error> {
    let mut columns = Columns::of("management_token", row);
    Ok(ManagementToken {
        id: columns.parse()?,
        owner: read_owner(&mut columns)?,
        name: columns.text()?.to_owned(),
        digest: columns.keyed_digest()?,
        grants: Vec::new(),
        created_at: columns.time()?,
        expires_at: columns.time_if_any()?,
        revoked_at: columns.time_if_any()?,
        last_used_at: columns.time_if_any()?,
    })
}

fn read_owner(columns: &mut Columns<'_>) -> Result<TokenOwner, Error> {
    let (user, account) = (columns.parse_if_any()?, columns.parse_if_any()?);
    match (user, account) {
        (Some(user), None) => Ok(TokenOwner::User(user)),
        (None, Some(account)) => Ok(TokenOwner::Account(account)),
        _ => Err(columns.problem("the token has no owner, or two")),
    }
}

fn read_permission(columns: &mut Columns<'_>) -> Result<Permission, Error> {
    let text = columns.text()?;
    Permission::parse(text).map_err(|error| columns.problem(error))
}

async fn find(connection: &mut AnyConnection, id: &ManagementTokenId) -> Result<Option<ManagementToken>, Error> {
    let query = sqlx::query(concat!("SELECT ", columns!(), " FROM management_token WHERE id = $1"));
    let row = query.bind(id.to_string()).fetch_optional(&mut *connection).await?;
    let Some(mut token) = row.as_ref().map(read).transpose()? else { return Ok(None) };
    token.grants = list_grants(connection, id).await?;
    Ok(Some(token))
}

async fn list_grants(connection: &mut AnyConnection, id: &ManagementTokenId) -> Result<Vec<Grant>, Error> {
    let query = sqlx::query(
        "SELECT account_id, permission FROM management_grant WHERE management_token_id = $1 \
         ORDER BY account_id, permission",
    );
    let rows = query.bind(id.to_string()).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let mut columns = Columns::of("management_grant", row);
            Ok(Grant { account: columns.parse()?, permission: read_permission(&mut columns)? })
        })
        .collect()
}

/// Every change of a token or of its grants after `from`: one row a grant, those of a token together. Before the first
/// revision, revoked tokens are nothing new.
pub(crate) const CHANGES: &str = "SELECT id, user_id, management_token.account_id, digest, replaced_digest, expires_at, \
     revoked_at, revision, management_grant.account_id, permission \
     FROM management_token LEFT JOIN management_grant ON management_token_id = id \
     WHERE revision > $1 AND ($1 >= 0 OR revoked_at IS NULL) \
     ORDER BY revision, id, management_grant.account_id, permission";

/// Reads the next row of [`CHANGES`] into `last`, and returns the change that is complete with that: another token's.
pub(crate) fn read_change(row: Row<'_>, last: &mut Option<Change>) -> Result<Option<Change>, Error> {
    let mut columns = Columns::of("management_token", row);
    let token: ManagementTokenId = columns.parse()?;
    let owner = read_owner(&mut columns)?;
    let digest = columns.digest()?;
    let replaced = columns.digest_if_any()?;
    let expires_at = columns.time_if_any()?;
    let revoked = columns.time_if_any()?.is_some();
    let revision = Revision::new(columns.int()?);
    let grant = match columns.parse_if_any()? {
        Some(account) => Some(Grant { account, permission: read_permission(&mut columns)? }),
        None => None,
    };
    if let Some(Change { subject: Subject::ManagementToken { id, grants, .. }, .. }) = last
        && *id == token
    {
        grants.extend(grant);
        return Ok(None);
    }
    let grants = grant.into_iter().collect();
    let subject = Subject::ManagementToken { id: token, owner, digest, replaced, grants, expires_at, revoked };
    Ok(last.replace(Change { revision, subject }))
}

impl Store {
    /// The management token with this id, also a revoked one.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_management_token(&self, id: &ManagementTokenId) -> Result<Option<ManagementToken>, Error> {
        find(&mut *self.reader().await?, id).await
    }

    /// Management tokens, oldest first.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_management_tokens(
        &self,
        filter: &ManagementTokenFilter,
        page: Page,
    ) -> Result<Vec<ManagementToken>, Error> {
        let (limit, offset) = page.bounds();
        let query =
            sqlx::query(concat!("SELECT ", columns!(), filter!(), " ORDER BY created_at, id LIMIT $3 OFFSET $4"))
                .bind(filter.account.map(|account| account.to_string()))
                .bind(filter.user.map(|user| user.to_string()))
                .bind(limit)
                .bind(offset);
        let mut snapshot = self.snapshot().await?;
        let rows = query.fetch_all(&mut *snapshot).await?;
        let mut tokens: Vec<ManagementToken> = rows.iter().map(read).collect::<Result<_, _>>()?;
        for token in &mut tokens {
            token.grants = list_grants(&mut snapshot, &token.id).await?;
        }
        Ok(tokens)
    }
}

impl Tx {
    /// The management token with this id, also a revoked one.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_management_token(&mut self, id: &ManagementTokenId) -> Result<Option<ManagementToken>, Error> {
        let found = find(self.reading(), id).await;
        self.noting(found)
    }

    /// Adds a management token with its grants. A grant that is named twice counts once.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if its id exists, or its owner or the account of a grant doesn't.
    pub async fn insert_management_token(&mut self, token: &ManagementToken) -> Result<(), Error> {
        self.require_live_key(&token.digest)?;
        let (user, account) = match token.owner {
            TokenOwner::User(user) => (Some(user.to_string()), None),
            TokenOwner::Account(account) => (None, Some(account.to_string())),
        };
        let revision = self.change(Group::Directory);
        let query = sqlx::query(concat!(
            "INSERT INTO management_token (",
            columns!(),
            ", revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
        ))
        .bind(token.id.to_string())
        .bind(user)
        .bind(account)
        .bind(token.name.clone())
        .bind(token.digest.as_bytes().to_vec())
        .bind(i64::from(token.digest.key().get()))
        .bind(token.created_at.as_micros())
        .bind(token.expires_at.map(Timestamp::as_micros))
        .bind(token.revoked_at.map(Timestamp::as_micros))
        .bind(token.last_used_at.map(Timestamp::as_micros))
        .bind(revision);
        self.execute(query, 1).await?;
        for grant in &token.grants {
            let query = sqlx::query(
                "INSERT INTO management_grant (management_token_id, account_id, permission) VALUES ($1, $2, $3) \
                 ON CONFLICT DO NOTHING",
            )
            .bind(token.id.to_string())
            .bind(grant.account.to_string())
            .bind(grant.permission.text());
            self.execute_any(query).await?;
        }
        Ok(())
    }

    /// Takes a management token away for good.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if it doesn't exist, or was revoked before.
    pub async fn revoke_management_token(&mut self, id: &ManagementTokenId, at: Timestamp) -> Result<(), Error> {
        let revision = self.change(Group::Directory);
        let query = sqlx::query(
            "UPDATE management_token SET revoked_at = $2, revision = $3 WHERE id = $1 AND revoked_at IS NULL",
        )
        .bind(id.to_string())
        .bind(at.as_micros())
        .bind(revision);
        self.execute(query, 1).await
    }
}
