//! Service tokens.

use std::collections::HashSet;
use std::sync::LazyLock;

use countersign_token::allow_from::{AllowFrom, AllowFromError};
use countersign_token::digest::Digest;
use countersign_token::duration::TokenDuration;
use countersign_token::feed::{Change, Revision, Subject};
use countersign_token::id::{AccountId, ClientId, ServiceTokenId, ZoneId};
use countersign_token::service_token::{Name, Owner, ServiceToken, fold};
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;

use crate::Page;
use crate::bulk::{Binding, Bulk};
use crate::error::Error;
use crate::feed::is_news;
use crate::list::{Listed, Source};
use crate::row::{Columns, Row};
use crate::seen::{current_seen_at, last_seen_at};
use crate::select::Value;
use crate::store::Store;
use crate::tx::{Group, Tx, head_columns};

macro_rules! columns {
    () => {
        "id, account_id, zone_id, client_id, name, duration, enabled, allow_from, secret_version, digest, \
         digest_key, previous_digest, previous_digest_key, previous_version, previous_expires_at, created_at, rotated_at, \
         updated_at, expires_at"
    };
}

/// Besides, what stands elsewhere.
macro_rules! read_columns {
    () => {
        concat!(columns!(), ", ", last_seen_at!(), " AS last_seen_at")
    };
}

macro_rules! living {
    () => {
        " FROM service_token WHERE account_id = $1 AND zone_id = $2 AND deleted_at IS NULL"
    };
}

/// Which service tokens to list.
#[derive(Clone, Debug)]
pub struct ServiceTokenFilter {
    /// Where they live. Those of an account's zones are not the account's own.
    pub owner: Owner,
    /// Only those with exactly this name.
    pub name: Option<String>,
    /// Only those whose name, client id or id contains this, whatever its case.
    pub search: Option<String>,
}

impl ServiceTokenFilter {
    /// All that live in one place.
    pub fn all(owner: Owner) -> Self {
        Self { owner, name: None, search: None }
    }

    /// Whether the filter asks for what no token has; the databases refuse some of that.
    fn is_hopeless(&self) -> bool {
        // A name has up to 350 characters of 4 bytes, and folding makes none of them longer than three times that.
        const LENGTH_MAX: usize = 350 * 4 * 3;
        [&self.name, &self.search].into_iter().flatten().any(|text| text.contains('\0') || text.len() > LENGTH_MAX)
    }

    /// The conditions after `account_id = $1 AND zone_id = $2`, with places from `next` on. A condition that isn't asked
    /// for isn't there, so that the index serves the list.
    fn conditions(&self, mut next: usize) -> String {
        let mut sql = String::new();
        if self.name.is_some() {
            sql.push_str(&format!(" AND name = ${next}"));
            next += 1;
        }
        if self.search.is_some() {
            sql.push_str(&format!(
                " AND (name_folded LIKE ${next} ESCAPE '\\' OR client_id LIKE ${next} ESCAPE '\\' \
                 OR id LIKE ${next} ESCAPE '\\')"
            ));
        }
        sql
    }

    /// Whether it finds all that live there.
    fn is_whole(&self) -> bool {
        self.name.is_none() && self.search.is_none()
    }

    fn values(&self) -> Vec<Value> {
        let search = self.search.as_deref().map(like_pattern);
        let owner = [self.owner.account.to_string(), zone_text(self.owner.zone)];
        owner.into_iter().chain(self.name.clone()).chain(search).map(Value::from).collect()
    }

    /// What [`source`](Self::source) takes its rows from.
    fn living(&self) -> String {
        let mut living = String::from(living!());
        living.push_str(&self.conditions(3));
        living
    }

    fn source<'s>(&self, living: &'s str) -> Source<'s, ServiceToken> {
        const KEPT: &str =
            "SELECT COALESCE(MAX(live), 0) FROM service_token_count WHERE account_id = $1 AND zone_id = $2";
        let total = self.is_whole().then_some(KEPT);
        Source { table: "service_token", columns: read_columns!(), living, total, read }
    }
}

/// What `LIKE` finds the folded text with, anywhere.
fn like_pattern(search: &str) -> String {
    let mut pattern = String::from("%");
    for character in fold(search).chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

pub(crate) fn zone_text(zone: Option<ZoneId>) -> String {
    zone.map(|zone| zone.to_string()).unwrap_or_default()
}

pub(crate) fn read_owner(columns: &mut Columns<'_>) -> Result<Owner, Error> {
    Ok(Owner { account: columns.parse::<AccountId>()?, zone: columns.parse_unless_empty()? })
}

fn read_duration(columns: &mut Columns<'_>) -> Result<TokenDuration, Error> {
    let text = columns.text()?;
    TokenDuration::parse(text).map_err(|error| columns.problem(error))
}

pub(crate) fn read_version(columns: &mut Columns<'_>) -> Result<u32, Error> {
    let version = columns.int()?;
    u32::try_from(version).map_err(|error| columns.problem(error))
}

fn read_version_if_any(columns: &mut Columns<'_>) -> Result<Option<u32>, Error> {
    let version = columns.int_if_any()?;
    version.map(u32::try_from).transpose().map_err(|error| columns.problem(error))
}

fn read_allow_from(columns: &mut Columns<'_>) -> Result<Option<AllowFrom>, Error> {
    let text = columns.text_if_any()?;
    text.map(str::parse).transpose().map_err(|error: AllowFromError| columns.problem(error))
}

fn read(row: Row<'_>) -> Result<ServiceToken, Error> {
    let mut columns = Columns::of("service_token", row);
    Ok(ServiceToken {
        id: columns.parse()?,
        owner: read_owner(&mut columns)?,
        client_id: columns.parse()?,
        name: {
            let text = columns.text()?;
            Name::parse(text).map_err(|error| columns.problem(error))?
        },
        duration: read_duration(&mut columns)?,
        enabled: columns.flag()?,
        allow_from: read_allow_from(&mut columns)?,
        secret_version: read_version(&mut columns)?,
        digest: columns.keyed_digest()?,
        previous_digest: columns.keyed_digest_if_any()?,
        previous_version: read_version_if_any(&mut columns)?,
        previous_expires_at: columns.time_if_any()?,
        created_at: columns.time()?,
        rotated_at: columns.time_if_any()?,
        updated_at: columns.time()?,
        expires_at: columns.time()?,
        last_seen_at: columns.time_if_any()?,
    })
}

async fn find(
    connection: &mut AnyConnection,
    owner: &Owner,
    id: &ServiceTokenId,
) -> Result<Option<ServiceToken>, Error> {
    let query = sqlx::query(concat!("SELECT ", read_columns!(), living!(), " AND id = $3"))
        .bind(owner.account.to_string())
        .bind(zone_text(owner.zone))
        .bind(id.to_string());
    let row = query.fetch_optional(connection).await?;
    row.as_ref().map(|row| read(row.into())).transpose()
}

async fn find_client_ids(connection: &mut AnyConnection, wanted: &HashSet<ClientId>) -> Result<Vec<ClientId>, Error> {
    let mut found = Vec::new();
    let mut last = String::new();
    loop {
        let query =
            sqlx::query("SELECT id, client_id FROM service_token WHERE id > $1 ORDER BY id LIMIT 10000").bind(last);
        let rows = query.fetch_all(&mut *connection).await?;
        let Some(end) = rows.last() else { return Ok(found) };
        last = Columns::of("service_token", end).text()?.to_owned();
        for row in &rows {
            let mut columns = Columns::of("service_token", row);
            columns.text()?;
            let client_id = columns.parse()?;
            if wanted.contains(&client_id) {
                found.push(client_id);
            }
        }
    }
}

async fn read_count(connection: &mut AnyConnection, owner: &Owner) -> Result<u64, Error> {
    let query = sqlx::query("SELECT live FROM service_token_count WHERE account_id = $1 AND zone_id = $2")
        .bind(owner.account.to_string())
        .bind(zone_text(owner.zone));
    match query.fetch_optional(connection).await? {
        Some(row) => Columns::of("service_token_count", &row).count(),
        None => Ok(0),
    }
}

/// Adds differences to the kept counts.
pub(crate) static COUNT: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT INTO service_token_count (account_id, zone_id, live) VALUES",
        3,
        "ON CONFLICT (account_id, zone_id) DO UPDATE SET live = service_token_count.live + excluded.live",
    )
});

pub(crate) fn bind_count(query: Binding, (owner, difference): &(Owner, i64)) -> Binding {
    query.bind(owner.account.to_string()).bind(zone_text(owner.zone)).bind(*difference)
}

/// Adds service tokens, each with its revision.
pub(crate) static INSERT: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(concat!("INSERT INTO service_token (", columns!(), ", name_folded, revision) VALUES"), 21, "")
});

/// The key that the digest of the secret before was made with; what is there without one says nothing.
fn previous_key(token: &ServiceToken) -> i64 {
    token.previous_digest.map_or(token.digest.key(), |digest| digest.key()).get().into()
}

pub(crate) fn bind(query: Binding, (token, revision): &(ServiceToken, i64)) -> Binding {
    query
        .bind(token.id.to_string())
        .bind(token.owner.account.to_string())
        .bind(zone_text(token.owner.zone))
        .bind(token.client_id.to_string())
        .bind(token.name.as_str().to_owned())
        .bind(token.duration.as_str().to_owned())
        .bind(i64::from(token.enabled))
        .bind(token.allow_from.as_ref().map(AllowFrom::to_string))
        .bind(i64::from(token.secret_version))
        .bind(token.digest.as_bytes().to_vec())
        .bind(i64::from(token.digest.key().get()))
        .bind(token.previous_digest.map(|digest| digest.as_bytes().to_vec()))
        .bind(previous_key(token))
        .bind(token.previous_version.map(i64::from))
        .bind(token.previous_expires_at.map(Timestamp::as_micros))
        .bind(token.created_at.as_micros())
        .bind(token.rotated_at.map(Timestamp::as_micros))
        .bind(token.updated_at.as_micros())
        .bind(token.expires_at.as_micros())
        .bind(token.name.folded())
        .bind(*revision)
}

macro_rules! feed_columns {
    ($last_seen_at:expr) => {
        concat!(
            "id, account_id, zone_id, client_id, name, duration, enabled, allow_from, digest, secret_version, previous_digest, \
             previous_expires_at, previous_version, expires_at, ",
            $last_seen_at,
            " AS last_seen_at, deleted_at, service_token.revision"
        )
    };
}

/// Every change of a service token after `from`, tombstones included.
pub(crate) const CHANGES: &str = concat!(
    "SELECT ",
    feed_columns!(current_seen_at!()),
    " FROM service_token WHERE ",
    is_news!("revision"),
    " ORDER BY revision, id"
);

/// The row of the counter, and beside it every change after `from`: at least one row, of which the second part is empty
/// if there is no change.
pub(crate) const HEAD_AND_CHANGES: &str = concat!(
    "SELECT ",
    head_columns!(),
    ", ",
    feed_columns!(current_seen_at!()),
    " FROM revision LEFT JOIN service_token ON ",
    is_news!("service_token.revision"),
    " WHERE one = 1 \
     ORDER BY service_token.revision, id"
);

/// Every service token that lives. The sign keeps SQLite from reading the table row by row through an index.
pub(crate) const EVERYTHING: &str = concat!(
    "SELECT ",
    feed_columns!("last_seen_at"),
    " FROM service_token LEFT JOIN service_token_use ON service_token_id = id AND version = secret_version \
     WHERE +deleted_at IS NULL"
);

/// The service tokens that live in an account and its zones.
pub(crate) const LIVING: &str = concat!(
    "SELECT ",
    feed_columns!(last_seen_at!()),
    " FROM service_token WHERE account_id = $1 AND (zone_id, id) > ($2, $3) AND deleted_at IS NULL \
     ORDER BY zone_id, id LIMIT $4"
);

pub(crate) fn read_change(row: Row<'_>) -> Result<Change, Error> {
    read_change_columns(Columns::of("service_token", row))
}

/// Reads a change from the columns that come next.
pub(crate) fn read_change_columns(columns: Columns<'_>) -> Result<Change, Error> {
    let mut columns = columns.goes_on_in("service_token");
    let id = columns.parse()?;
    let owner = read_owner(&mut columns)?;
    let client_id = columns.parse()?;
    let name = columns.text()?.to_owned();
    let forever = read_duration(&mut columns)?.is_forever();
    let enabled = columns.flag()?;
    let allow_from = read_allow_from(&mut columns)?;
    let digest = columns.digest_if_any()?;
    let secret_version = read_version(&mut columns)?;
    let previous = columns.digest_if_any()?.zip(columns.time_if_any()?);
    let previous_version = read_version_if_any(&mut columns)?;
    let expires_at = Some(columns.time()?).filter(|_| !forever);
    let last_seen_at = columns.time_if_any()?;
    let deleted = columns.time_if_any()?.is_some();
    let revision = Revision::new(columns.int()?);
    let digest = match digest {
        Some(digest) => digest,
        // A tombstone has no digest any more, and nothing looks at this one.
        None if deleted => Digest::from_bytes([0; 32]),
        None => return Err(columns.problem("the token lives and has no digest")),
    };
    let subject = Subject::ServiceToken {
        id,
        owner,
        client_id,
        name,
        allow_from,
        digest,
        secret_version,
        previous,
        previous_version,
        enabled,
        expires_at,
        last_seen_at,
        deleted,
    };
    Ok(Change { revision, subject })
}

impl Store {
    /// The service token with this id in this place.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_service_token(&self, owner: &Owner, id: &ServiceTokenId) -> Result<Option<ServiceToken>, Error> {
        find(&mut *self.reader().await?, owner, id).await
    }

    /// Service tokens in the order of their ids, which is that of their creation: those after the id `after`, without the
    /// first rows of these. Passing over costs time by the row; starting after an id doesn't. The total is what the filter
    /// finds in all; without name and search it is a kept number, and takes no time.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_service_tokens(
        &self,
        filter: &ServiceTokenFilter,
        after: Option<&ServiceTokenId>,
        page: Page,
    ) -> Result<Listed<ServiceToken>, Error> {
        if filter.is_hopeless() {
            return Ok(Listed { rows: Vec::new(), total: 0 });
        }
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        self.list_after(&filter.source(&filter.living()), filter.values(), after, page).await
    }

    /// How many service tokens the filter finds.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn count_service_tokens(&self, filter: &ServiceTokenFilter) -> Result<u64, Error> {
        if filter.is_hopeless() {
            return Ok(0);
        }
        self.select_total(filter.source(&filter.living()).total(&filter.values())).await
    }

    /// Up to `count` ids of the service tokens that live in a place, in their order: those of every `step`-th row after the
    /// id `after`. It reads as many rows as it passes over.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn mark_service_tokens(
        &self,
        owner: &Owner,
        after: Option<&ServiceTokenId>,
        step: u32,
        count: u32,
    ) -> Result<Vec<ServiceTokenId>, Error> {
        let filter = ServiceTokenFilter::all(*owner);
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let marks = filter.source(&filter.living()).marks(filter.values(), after, step, count);
        self.select(marks, |row| Columns::of("service_token", row).parse()).await
    }
}

impl Tx {
    /// The service token with this id in this place.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_service_token(
        &mut self,
        owner: &Owner,
        id: &ServiceTokenId,
    ) -> Result<Option<ServiceToken>, Error> {
        self.settle_tokens().await?;
        let found = find(self.reading(), owner, id).await;
        self.noting(found)
    }

    /// How many service tokens live in this place.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn count_service_tokens(&mut self, owner: &Owner) -> Result<u64, Error> {
        let kept = read_count(self.reading(), owner).await;
        let kept = self.noting(kept)?;
        Ok(kept.saturating_add_signed(self.counted_service_tokens(owner)))
    }

    /// Which of these client ids a service token has, wherever it lives, or had until it was deleted and is not swept yet.
    /// It reads them all: for what is done once in a while.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_client_ids(&mut self, wanted: &HashSet<ClientId>) -> Result<Vec<ClientId>, Error> {
        self.settle_tokens().await?;
        let found = find_client_ids(self.reading(), wanted).await;
        self.noting(found)
    }

    /// Adds a service token. That its account and zone exist is the caller's to know. When it was last seen is kept by
    /// [`Store::record_seen`] alone.
    ///
    /// The tokens of a batch are inserted together, so that an id that exists shows only later: the job then fails as a
    /// whole, with [`Error::Conflict`].
    ///
    /// # Errors
    ///
    /// [`Error::KeyMissing`] if its digest was made with a key that is not live any more.
    pub async fn insert_service_token(&mut self, token: &ServiceToken) -> Result<(), Error> {
        self.require_live_key(&token.digest)?;
        self.queue_service_token(token.clone());
        Ok(())
    }

    /// Puts a service token in the place of the one with the same id and owner. Its client id, its creation and when it
    /// was last seen stay as they are.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if it doesn't exist there.
    pub async fn update_service_token(&mut self, token: &ServiceToken) -> Result<(), Error> {
        self.settle_tokens().await?;
        let revision = self.change(Group::ServiceToken);
        let query = sqlx::query(
            "UPDATE service_token SET name = $4, name_folded = $5, duration = $6, enabled = $7, secret_version = $8, \
             digest = $9, previous_digest = $10, previous_expires_at = $11, updated_at = $12, expires_at = $13, \
             revision = $14, digest_key = $15, previous_digest_key = $16, previous_version = $17, rotated_at = $18, \
             allow_from = $19 \
             WHERE id = $1 AND account_id = $2 AND zone_id = $3 AND deleted_at IS NULL",
        )
        .bind(token.id.to_string())
        .bind(token.owner.account.to_string())
        .bind(zone_text(token.owner.zone))
        .bind(token.name.as_str())
        .bind(token.name.folded())
        .bind(token.duration.as_str())
        .bind(i64::from(token.enabled))
        .bind(i64::from(token.secret_version))
        .bind(token.digest.as_bytes().as_slice())
        .bind(token.previous_digest.map(|digest| digest.as_bytes().to_vec()))
        .bind(token.previous_expires_at.map(Timestamp::as_micros))
        .bind(token.updated_at.as_micros())
        .bind(token.expires_at.as_micros())
        .bind(revision)
        .bind(i64::from(token.digest.key().get()))
        .bind(previous_key(token))
        .bind(token.previous_version.map(i64::from))
        .bind(token.rotated_at.map(Timestamp::as_micros))
        .bind(token.allow_from.as_ref().map(AllowFrom::to_string));
        self.execute(query, 1).await
    }

    /// Deletes a service token. A tombstone without digests stays until it is swept.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if it doesn't exist there, or was deleted before.
    pub async fn delete_service_token(
        &mut self,
        owner: &Owner,
        id: &ServiceTokenId,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.settle_tokens().await?;
        let revision = self.change(Group::ServiceToken);
        let query = sqlx::query(
            "UPDATE service_token SET deleted_at = $4, digest = NULL, previous_digest = NULL, revision = $5 \
             WHERE id = $1 AND account_id = $2 AND zone_id = $3 AND deleted_at IS NULL",
        )
        .bind(id.to_string())
        .bind(owner.account.to_string())
        .bind(zone_text(owner.zone))
        .bind(at.as_micros())
        .bind(revision);
        self.execute(query, 1).await?;
        self.count_service_tokens_by(*owner, -1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_themselves_only() {
        let check = |search: &str, pattern: &str| assert_eq!(like_pattern(search), pattern);
        check("ci", "%ci%");
        check("CI/CD", "%ci/cd%");
        check("100%_\\", "%100\\%\\_\\\\%");
        check("ÄÖ", "%äö%");
        check("", "%%");
    }
}
