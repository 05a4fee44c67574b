//! Notices that another process has written.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::AnyConnection;
use sqlx::postgres::PgListener;
use tokio::time::{Interval, MissedTickBehavior};

use crate::database::Database;
use crate::error::Error;
use crate::row::Columns;
use crate::tx::Head;
use crate::write::Own;

/// How often a file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How long a lost connection is left alone before another one is tried.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// The channel on which PostgreSQL tells of new revisions; the migrations name it too.
const CHANNEL: &str = "countersign";

/// Something to await until another process may have written.
///
/// A hint only: it may come late, or not at all while a connection is lost. The feed is the truth, and is read on a timer
/// in any case.
pub struct Watch {
    database: Database,
    own: Arc<Own>,
    reported: i64,
    source: Option<Source>,
}

enum Source {
    File { connection: AnyConnection, data_version: i64, tick: Interval },
    Server(PgListener),
}

impl Watch {
    pub(crate) async fn connect(database: Database, own: Arc<Own>) -> Result<Self, Error> {
        let source = Some(open(&database).await?);
        Ok(Self { database, own, reported: 0, source })
    }

    /// Returns when another process may have written since the last return. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// When the connection was lost. The next call makes another one, after a pause.
    pub async fn changed(&mut self) -> Result<(), Error> {
        if self.source.is_none() {
            tokio::time::sleep(RECONNECT_AFTER).await;
            self.source = Some(open(&self.database).await?);
            // Something may have been written in the meantime.
            return Ok(());
        }
        let outcome = self.wait().await;
        if outcome.is_err() {
            self.source = None;
        }
        outcome
    }

    async fn wait(&mut self) -> Result<(), Error> {
        loop {
            let value = match &mut self.source {
                Some(Source::File { connection, data_version, tick }) => {
                    tick.tick().await;
                    let now = read_data_version(connection).await?;
                    if now == *data_version {
                        continue;
                    }
                    let value = Head::read(connection).await?.value;
                    // Only now, so that a call that was dropped in between is made up for by the next.
                    *data_version = now;
                    value
                }
                Some(Source::Server(listener)) => match listener.try_recv().await? {
                    Some(notification) => notification.payload().parse().unwrap_or(i64::MAX),
                    // The connection was lost and made again; what came in between is unknown.
                    None => i64::MAX,
                },
                None => return Ok(()),
            };
            // Heartbeats and marks take no revision, and of its own writes this process knows already. Others' writes
            // that came before an own one are read together with it.
            if value > self.reported.max(self.own.newest()) {
                if value != i64::MAX {
                    self.reported = value;
                }
                return Ok(());
            }
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("database", &self.database).finish_non_exhaustive()
    }
}

async fn open(database: &Database) -> Result<Source, Error> {
    match database {
        Database::Sqlite(_) => {
            let mut connection = Box::pin(database.connect_reader()).await?;
            let data_version = read_data_version(&mut connection).await?;
            let mut tick = tokio::time::interval(LOOK_EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            Ok(Source::File { connection, data_version, tick })
        }
        Database::Postgres(url) => {
            let mut listener = Box::pin(PgListener::connect(url)).await?;
            listener.listen(CHANNEL).await?;
            Ok(Source::Server(listener))
        }
    }
}

/// A number that moves when any other connection commits.
async fn read_data_version(connection: &mut AnyConnection) -> Result<i64, Error> {
    let row = sqlx::query("PRAGMA data_version").fetch_one(connection).await?;
    Columns::of("data_version", &row).int()
}
