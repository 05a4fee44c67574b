//! Notices that another process has written.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
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
    File { log: Log, connection: AnyConnection, data_version: i64, tick: Interval },
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
                Some(Source::File { log, connection, data_version, tick }) => {
                    tick.tick().await;
                    let stamp = Stamp::of(&log.path);
                    if !log.is_news(stamp) {
                        log.note(stamp);
                        continue;
                    }
                    let now = read_data_version(connection).await?;
                    if now == *data_version {
                        log.note(stamp);
                        continue;
                    }
                    let value = Head::read(connection).await?.value;
                    // Only now, so that a call that was dropped in between is made up for by the next.
                    log.note(stamp);
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
        Database::Sqlite(path) => {
            // SQLite puts it beside the file itself, and not beside a link to it.
            let log = Log::beside(&std::fs::canonicalize(path).unwrap_or_else(|_| path.clone()));
            let mut connection = Box::pin(database.connect_reader()).await?;
            let data_version = read_data_version(&mut connection).await?;
            let mut tick = tokio::time::interval(LOOK_EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            Ok(Source::File { log, connection, data_version, tick })
        }
        Database::Postgres(url) => {
            let mut listener = Box::pin(PgListener::connect(url)).await?;
            listener.listen(CHANNEL).await?;
            Ok(Source::Server(listener))
        }
    }
}

/// The file that SQLite writes commits to. To look at it costs far less than to ask SQLite.
struct Log {
    path: PathBuf,
    last: Option<Stamp>,
    moved: bool,
}

/// What a file says of itself. It moves with every write, but in steps of some milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified_at: (i64, i64),
}

impl Stamp {
    /// `None` if there is no such file.
    fn of(path: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        Some(Self { inode: file.ino(), size: file.size(), modified_at: (file.mtime(), file.mtime_nsec()) })
    }
}

impl Log {
    fn beside(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        Self { path: path.into(), last: None, moved: true }
    }

    /// Whether something may have been written since the look before the last: what came in the same step as what was
    /// seen in the last one shows no more.
    fn is_news(&self, stamp: Option<Stamp>) -> bool {
        self.moved || stamp.is_none() || stamp != self.last
    }

    /// Remembers a look, once it has been made use of.
    fn note(&mut self, stamp: Option<Stamp>) {
        self.moved = stamp.is_none() || stamp != self.last;
        self.last = stamp;
    }
}

/// A number that moves when any other connection commits.
async fn read_data_version(connection: &mut AnyConnection) -> Result<i64, Error> {
    let row = sqlx::query("PRAGMA data_version").fetch_one(connection).await?;
    Columns::of("data_version", &row).int()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_is_looked_at_twice() {
        let mut log = Log::beside(Path::new("/data/countersign.db"));
        assert_eq!(log.path, Path::new("/data/countersign.db-wal"));
        let stamp = |size, nanos| Some(Stamp { inode: 1, size, modified_at: (1, nanos) });
        let mut look = |stamp| {
            let is_news = log.is_news(stamp);
            log.note(stamp);
            is_news
        };
        let looks = [
            (stamp(0, 0), true),
            (stamp(0, 0), true),
            (stamp(0, 0), false),
            (stamp(0, 4), true),
            (stamp(0, 4), true),
            (stamp(0, 4), false),
            (stamp(9, 4), true),
            (stamp(9, 4), true),
            (stamp(9, 4), false),
            (None, true),
            (None, true),
        ];
        for (number, (stamp, expected)) in looks.into_iter().enumerate() {
            assert_eq!(look(stamp), expected, "look {number}");
        }
    }
}
