//! The feed: what has changed since a revision, and everything there is.

mod living;

use std::pin::Pin;

use countersign_token::digest::LiveKeys;
use countersign_token::feed::{Change, Revision};
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::database::Database;
use crate::embedded;
use crate::error::Error;
use crate::row::{Columns, Row};
use crate::store::Store;
use crate::tx::{Head, Tx};
use crate::{account, api_token, environment, management_token, service_token, user, zone};

pub use living::{LivingKind, LivingPlace};

/// What a poll has read, all of one moment.
#[derive(Clone, Debug)]
pub struct Feed {
    /// Up to where the reader has come with this.
    pub revision: Revision,
    /// What has changed: first accounts, zones, environments and users, then tokens; each in the order of revisions.
    pub changes: Vec<Change>,
    /// Deletions that the reader has not seen are gone for good. `changes` is all that there is, and what it doesn't name
    /// must be forgotten.
    pub reload: bool,
    /// Which installation keys are live: to be taken over before the changes.
    pub keys: LiveKeys,
}

/// Stands before every revision, for reading all that lives. (From revision 0 on, deletions are news.)
const NOTHING: i64 = -1;

impl Store {
    /// What has changed after `from`. Every change at or before the revision that it returns is in it.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn poll(&self, from: Revision) -> Result<Feed, Error> {
        if let Some(readers) = self.embedded() {
            return self.counting(readers.run(move |connection| embedded::poll(connection, from)).await);
        }
        // Nearly always it is service tokens that have changed, if anything has: then one statement is the snapshot.
        match self.poll_service_tokens(from).await? {
            Some(feed) => Ok(feed),
            None => self.poll_all(from).await,
        }
    }

    /// A poll that is right if nothing but service tokens has changed; `None` if something else has.
    async fn poll_service_tokens(&self, from: Revision) -> Result<Option<Feed>, Error> {
        let mut reader = self.reader().await?;
        let mut newest = None;
        let mut changes = Vec::new();
        each(&mut reader, sqlx::query(service_token::HEAD_AND_CHANGES).bind(from.get()), &mut |row| {
            let mut columns = Columns::of("revision", row);
            let head = Head::read_columns(&mut columns)?;
            let is_change = columns.text_if_any()?.is_some();
            columns.back();
            if head.horizon.max(head.directory).max(head.api_token) <= from.get() {
                newest = Some((Revision::new(head.value), head.keys));
                if is_change {
                    changes.push(service_token::read_change_columns(columns)?);
                }
            }
            Ok(())
        })
        .await?;
        Ok(newest.map(|(revision, keys)| Feed { revision, changes, reload: false, keys }))
    }

    async fn poll_all(&self, from: Revision) -> Result<Feed, Error> {
        let mut snapshot = self.snapshot().await?;
        let head = Head::read(&mut snapshot).await?;
        let (parts, reload) = news(&head, from);
        let mut changes = Vec::new();
        for part in parts {
            read(&mut snapshot, part, &mut |change| changes.push(change)).await?;
        }
        Ok(Feed { revision: Revision::new(head.value), changes, reload, keys: head.keys })
    }

    /// Passes everything that lives to `take`, row by row, and returns the revision that this is the state of.
    ///
    /// # Errors
    ///
    /// When the database can't be read. What was passed until then is not the whole.
    pub async fn load(&self, take: &mut (dyn FnMut(Change) + Send)) -> Result<Revision, Error> {
        if let Database::Sqlite(path) = self.database() {
            return embedded::load(path, take).await;
        }
        let mut snapshot = self.snapshot().await?;
        let head = Head::read(&mut snapshot).await?;
        for part in EVERYTHING {
            read(&mut snapshot, part, take).await?;
        }
        Ok(Revision::new(head.value))
    }

    /// About how many credentials [`load`](Self::load) passes on, without counting them. It is no less unless some come
    /// meanwhile, and more by those that ended before they were deleted.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn count_credentials(&self) -> Result<u64, Error> {
        let query = sqlx::query(
            "SELECT CAST((SELECT COALESCE(SUM(live), 0) FROM service_token_count) \
             + (SELECT COALESCE(SUM(live), 0) FROM api_token_count) \
             + (SELECT COUNT(*) FROM management_token) AS BIGINT)",
        );
        let row = query.fetch_one(&mut *self.reader().await?).await?;
        Columns::of("service_token_count", &row).count()
    }

    /// Removes the tombstones of what was deleted before `older_than`, and returns how many. A reader that has not come as
    /// far as their deletion reloads everything.
    ///
    /// # Errors
    ///
    /// When the database can't be written. What was swept until then stays swept.
    pub async fn sweep_tombstones(&self, older_than: Timestamp) -> Result<u64, Error> {
        let mut swept = 0;
        for tombstones in Tombstones::ALL {
            loop {
                let written = self.write(move |tx| Box::pin(tombstones.sweep(tx, older_than))).await?;
                if written.value == 0 {
                    break;
                }
                swept += written.value;
            }
        }
        Ok(swept)
    }
}

/// That a revision comes after `$1`. A range with one end is a third of the table to PostgreSQL as long as it has not looked
/// at the table's values, and is then read row by row; one with two ends is little, as it is in truth.
macro_rules! is_news {
    ($revision:literal) => {
        concat!($revision, " > $1 AND ", $revision, " < 9223372036854775807")
    };
}
pub(crate) use is_news;

/// A statement that reads changes, and how.
pub(crate) struct Statement {
    pub(crate) sql: &'static str,
    /// What a row makes complete: itself, or the change before it where one is made of several rows. The last one is
    /// complete when no row comes any more.
    pub(crate) read: fn(Row<'_>, &mut Option<Change>) -> Result<Option<Change>, Error>,
}

/// What tokens belong to, and who manages them: what has changed after `$1`.
const DIRECTORY: &[Statement] = &[
    Statement { sql: account::CHANGES, read: |row, _| account::read_change(row).map(Some) },
    Statement { sql: zone::CHANGES, read: |row, _| zone::read_change(row).map(Some) },
    Statement { sql: environment::CHANGES, read: |row, _| environment::read_change(row).map(Some) },
    Statement { sql: user::CHANGES, read: user::read_change },
    Statement { sql: management_token::CHANGES, read: management_token::read_change },
];

/// The tokens that have changed after `$1`.
const SERVICE_TOKENS: &[Statement] =
    &[Statement { sql: service_token::CHANGES, read: |row, _| service_token::read_change(row).map(Some) }];
const API_TOKENS: &[Statement] =
    &[Statement { sql: api_token::CHANGES, read: |row, _| api_token::read_change(row).map(Some) }];

/// All tokens that live.
const TOKENS: &[Statement] = &[
    Statement { sql: service_token::EVERYTHING, read: |row, _| service_token::read_change(row).map(Some) },
    Statement { sql: api_token::EVERYTHING, read: |row, _| api_token::read_change(row).map(Some) },
];

/// Statements, and the value of their one place, if they have it.
pub(crate) type Part = (&'static [Statement], Option<i64>);

/// All that lives.
pub(crate) const EVERYTHING: [Part; 2] = [(DIRECTORY, Some(NOTHING)), (TOKENS, None)];

/// What has changed after `from`; with `true` if that is everything, because deletions since then are gone for good.
pub(crate) fn news(head: &Head, from: Revision) -> (Vec<Part>, bool) {
    let from = from.get();
    if from < head.horizon {
        return (EVERYTHING.to_vec(), true);
    }
    let parts = [(head.directory, DIRECTORY), (head.service_token, SERVICE_TOKENS), (head.api_token, API_TOKENS)];
    let moved = parts.into_iter().filter(|(revision, _)| *revision > from);
    (moved.map(|(_, statements)| (statements, Some(from))).collect(), false)
}

/// How the tombstones of a table are found and removed, some at a time so that the writer is never held for long.
#[derive(Clone, Copy)]
struct Tombstones {
    /// Finds the newest revision among those to remove; `None` for a table that the feed doesn't show.
    newest: Option<&'static str>,
    /// Removes what refers to them.
    before: Option<&'static str>,
    delete: &'static str,
}

macro_rules! tombstones {
    (seen $table:literal, $seen:literal, $key:literal) => {
        Tombstones { before: Some(tombstones!(delete $seen, $key, $table, "")), ..tombstones!(shown $table, "") }
    };
    (shown $table:literal, $spared:literal) => {
        Tombstones {
            newest: Some(concat!("SELECT MAX(revision) FROM ", tombstones!(some "id, revision", $table, $spared), " AS swept")),
            ..tombstones!($table, $spared)
        }
    };
    ($table:literal, $spared:literal) => {
        Tombstones { newest: None, before: None, delete: tombstones!(delete $table, "id", $table, $spared) }
    };
    (delete $from:literal, $key:literal, $table:literal, $spared:literal) => {
        concat!(
            "DELETE FROM ",
            $from,
            " WHERE ",
            $key,
            " IN (SELECT id FROM ",
            tombstones!(some "id", $table, $spared),
            " AS swept)"
        )
    };
    (some $columns:literal, $table:literal, $spared:literal) => {
        concat!("(SELECT ", $columns, " FROM ", $table, " WHERE deleted_at < $1", $spared, " ORDER BY deleted_at, id LIMIT 500)")
    };
}

impl Tombstones {
    /// What refers to others comes before them.
    const ALL: [Self; 5] = [
        tombstones!(seen "service_token", "service_token_use", "service_token_id"),
        tombstones!(seen "api_token", "api_token_seen", "api_token_id"),
        // A token that ended with its deployment goes on naming it, so that nothing else may get its id.
        tombstones!(
            "agent_deployment",
            " AND NOT EXISTS (SELECT 1 FROM api_token \
              WHERE agent_deployment_id = agent_deployment.id AND api_token.deleted_at IS NULL)"
        ),
        tombstones!("agent", " AND NOT EXISTS (SELECT 1 FROM agent_deployment WHERE agent_id = agent.id)"),
        // A token that outlives its environment must go on being refused, so the environment stays known.
        tombstones!(
            shown "environment",
            " AND NOT EXISTS (SELECT 1 FROM api_token \
              WHERE environment_id = environment.id AND api_token.deleted_at IS NULL) \
              AND NOT EXISTS (SELECT 1 FROM agent_deployment WHERE environment_id = environment.id)"
        ),
    ];

    async fn sweep(self, tx: &mut Tx, older_than: Timestamp) -> Result<u64, Error> {
        if let Some(newest) = self.newest {
            let query = sqlx::query(newest).bind(older_than.as_micros());
            let row = query.fetch_one(tx.reading()).await.map_err(Error::from);
            let row = tx.noting(row)?;
            let Some(newest) = Columns::of("revision", &row).int_if_any()? else { return Ok(0) };
            // First the horizon: other writers wait for its row, and for nothing else of this.
            let query = sqlx::query("UPDATE revision SET horizon = $1 WHERE one = 1 AND horizon < $1").bind(newest);
            tx.execute_any(query).await?;
        }
        if let Some(before) = self.before {
            tx.execute_any(sqlx::query(before).bind(older_than.as_micros())).await?;
        }
        tx.execute_any(sqlx::query(self.delete).bind(older_than.as_micros())).await
    }
}

/// Reads the statements' rows, all of one connection's moment.
async fn read(
    connection: &mut AnyConnection,
    (statements, from): Part,
    take: &mut (dyn FnMut(Change) + Send),
) -> Result<(), Error> {
    for Statement { sql, read } in statements {
        let query = from.into_iter().fold(sqlx::query(*sql), sqlx::query::Query::bind);
        let mut last = None;
        each(connection, query, &mut |row| {
            read(row.into(), &mut last)?.map(&mut *take);
            Ok(())
        })
        .await?;
        last.map(&mut *take);
    }
    Ok(())
}

/// Passes each row of a query on as it comes, so that a large table is never in memory.
async fn each(
    connection: &mut AnyConnection,
    query: sqlx::query::Query<'_, sqlx::Any, sqlx::any::AnyArguments>,
    take: &mut (dyn FnMut(&AnyRow) -> Result<(), Error> + Send),
) -> Result<(), Error> {
    let mut rows = query.fetch(connection);
    while let Some(row) = std::future::poll_fn(|context| Pin::as_mut(&mut rows).poll_next(context)).await {
        take(&row?)?;
    }
    Ok(())
}
