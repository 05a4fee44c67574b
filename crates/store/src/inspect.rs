//! What can be said of a database by looking at it. Nothing is changed.

use countersign_token::time::Timestamp;

use crate::database::{self, Database};
use crate::error::Error;
use crate::migrate;
use crate::row::Columns;
use crate::store::Store;

/// How the schema of a database stands to this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The newest version that the database has; `None` if it has no tables of ours.
    pub found: Option<i64>,
    /// The version that this program works with.
    pub known: i64,
}

impl Schema {
    /// Looks at a database, which must exist.
    ///
    /// # Errors
    ///
    /// When it can't be read.
    pub async fn find(database: &Database) -> Result<Self, Error> {
        let mut connection = Box::pin(database.connect_existing()).await?;
        let found = migrate::find_version(database, &mut connection).await;
        database::close(connection).await;
        Ok(Self { found: found?, known: migrate::known_version() })
    }
}

/// The rows of what was deleted, which every server must learn of before they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstones {
    /// How many tokens of both kinds.
    pub tokens: u64,
    /// When the first of them was deleted.
    pub oldest: Option<Timestamp>,
}

/// How many live credentials end within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiring {
    /// Service tokens that are enabled.
    pub service_tokens: u64,
    /// API tokens that are active.
    pub api_tokens: u64,
    /// Management tokens.
    pub management_tokens: u64,
}

impl Store {
    /// The database's name and version, such as `PostgreSQL 15.7`.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn version(&self) -> Result<String, Error> {
        let (name, sql) = match self.database() {
            Database::Sqlite(_) => ("SQLite", "SELECT sqlite_version()"),
            Database::Postgres(_) => ("PostgreSQL", "SELECT current_setting('server_version')"),
        };
        let row = sqlx::query(sql).fetch_one(&mut *self.reader().await?).await?;
        Ok(format!("{name} {}", Columns::of("version", &row).text()?))
    }

    /// What PostgreSQL is set to; `None` on SQLite. `name` is one of PostgreSQL's settings.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, Error> {
        if self.is_embedded() {
            return Ok(None);
        }
        let query = sqlx::query("SELECT current_setting($1)").bind(name.to_owned());
        let row = query.fetch_one(&mut *self.reader().await?).await?;
        Ok(Some(Columns::of("setting", &row).text()?.to_owned()))
    }

    /// What SQLite finds wrong with its file, in its own words. PostgreSQL looks after its files by itself.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_damage(&self) -> Result<Vec<String>, Error> {
        if !self.is_embedded() {
            return Ok(Vec::new());
        }
        let rows = sqlx::raw_sql("PRAGMA quick_check(10)").fetch_all(&mut *self.reader().await?).await?;
        let mut damage = Vec::new();
        for row in &rows {
            let words = Columns::of("quick_check", row).text()?;
            if words != "ok" {
                damage.push(words.to_owned());
            }
        }
        Ok(damage)
    }

    /// The tokens that are deleted and not swept.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn tombstones(&self) -> Result<Tombstones, Error> {
        let mut found = Tombstones { tokens: 0, oldest: None };
        let mut reader = self.reader().await?;
        for sql in [
            "SELECT COUNT(*), MIN(deleted_at) FROM service_token WHERE deleted_at IS NOT NULL",
            "SELECT COUNT(*), MIN(deleted_at) FROM api_token WHERE deleted_at IS NOT NULL",
        ] {
            let row = sqlx::query(sql).fetch_one(&mut *reader).await?;
            let mut columns = Columns::of("tombstone", &row);
            found.tokens += columns.count()?;
            let oldest = columns.time_if_any()?;
            found.oldest = found.oldest.into_iter().chain(oldest).min();
        }
        Ok(found)
    }

    /// How many credentials are good at `from` and not at `until`.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn count_expiring(&self, from: Timestamp, until: Timestamp) -> Result<Expiring, Error> {
        let mut reader = self.reader().await?;
        let mut counts = [0; 3];
        for (count, sql) in counts.iter_mut().zip([
            "SELECT COUNT(*) FROM service_token \
             WHERE deleted_at IS NULL AND enabled = 1 AND expires_at > $1 AND expires_at <= $2",
            "SELECT COUNT(*) FROM api_token \
             WHERE deleted_at IS NULL AND ended_at IS NULL AND status = 'active' AND expires_at > $1 AND expires_at <= $2",
            "SELECT COUNT(*) FROM management_token WHERE revoked_at IS NULL AND expires_at > $1 AND expires_at <= $2",
        ]) {
            let row = sqlx::query(sql).bind(from.as_micros()).bind(until.as_micros()).fetch_one(&mut *reader).await?;
            *count = Columns::of("expiring", &row).count()?;
        }
        let [service_tokens, api_tokens, management_tokens] = counts;
        Ok(Expiring { service_tokens, api_tokens, management_tokens })
    }
}
