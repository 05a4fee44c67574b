//! SQLite without the driver that serves both databases, for what reads many rows. That driver copies each value several
//! times, and hands each row from thread to thread.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_token::feed::{Change, Revision};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::feed::{self, EVERYTHING, Feed, Part, Statement};
use crate::row::{Columns, Row};
use crate::tx::Head;

/// How many changes are handed over at once, and how often that may be done ahead: enough that neither side waits for the
/// other, little enough to stay in the processor's cache.
const CHANGES_AT_ONCE: usize = 256;
const HANDED_AHEAD: usize = 4;

/// How long a statement waits for another process's transaction, and a reader for a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many statements a connection keeps prepared.
const STATEMENTS_KEPT: usize = 64;

/// A connection that only reads.
fn open(path: &Path) -> Result<Connection, Error> {
    // Not read-only: whoever comes first after a crash has to bring the log's index up to date.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "query_only", true)?;
    // Otherwise a statement whose plan may depend on a value, as that of `LIMIT`, is prepared anew for each one.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(connection)
}

/// Up to so many connections that only read, opened when first needed.
#[derive(Debug)]
pub(crate) struct Readers {
    path: PathBuf,
    size: u32,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(path: PathBuf, size: u32) -> Arc<Self> {
        let size = size.max(1);
        // As many fit into a semaphore on every machine that has 32 bits.
        let permits = Arc::new(Semaphore::new(usize::try_from(size).unwrap_or(1)));
        Arc::new(Self { path, size, permits, idle: Mutex::default() })
    }

    /// Runs a job with a connection, on a thread that may wait. It is run to its end even if nobody waits for it any more.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = self.permit().await?;
        let readers = Arc::clone(self);
        finished(tokio::task::spawn_blocking(move || readers.work(permit, job))).await
    }

    /// Runs a job that reads only some rows by their keys, on this thread: another one would have to be woken for it, and to
    /// wake this one again, which takes a good part of the time of such a job.
    pub(crate) async fn run_short<T>(&self, job: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let permit = self.permit().await?;
        self.work(permit, job)
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        match tokio::time::timeout(PATIENCE, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_closed)) => Err(sqlx::Error::PoolClosed.into()),
            Err(_elapsed) => Err(sqlx::Error::PoolTimedOut.into()),
        }
    }

    fn work<T>(
        &self,
        permit: OwnedSemaphorePermit,
        job: impl FnOnce(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let idle = self.idle().pop();
        let connection = idle.map_or_else(|| open(&self.path), Ok)?;
        // One that has failed is not used again: the next job begins with a fresh view of the file.
        let value = job(&connection)?;
        self.idle().push(connection);
        drop(permit);
        Ok(value)
    }

    /// Waits for all jobs, and closes the connections. Nothing can be run afterwards.
    pub(crate) async fn close(self: &Arc<Self>) {
        let all = self.permits.acquire_many(self.size).await;
        self.permits.close();
        drop(all);
        let readers = Arc::clone(self);
        let closing = tokio::task::spawn_blocking(move || {
            readers.idle().clear();
            Ok(())
        });
        if let Err(error) = finished(closing).await {
            tracing::debug!(%error, "the connections that read did not close in order");
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a job whose statements all see the same moment, that of the first. The connection of one that failed is of no use.
pub(crate) fn at_one_moment<T>(
    connection: &Connection,
    job: impl FnOnce(&Connection) -> Result<T, Error>,
) -> Result<T, Error> {
    connection.prepare_cached("BEGIN")?.execute([])?;
    let value = job(connection)?;
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(value)
}

/// Waits for a thread.
async fn finished<T>(running: JoinHandle<Result<T, Error>>) -> Result<T, Error> {
    match running.await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The program is stopping.
            Err(_cancelled) => Err(Error::Stopped),
        },
    }
}

/// As [`Store::poll`](crate::Store::poll).
pub(crate) fn poll(connection: &Connection, from: Revision) -> Result<Feed, Error> {
    at_one_moment(connection, |snapshot| {
        let head = read_head(snapshot)?;
        let (parts, reload) = feed::news(&head, from);
        let mut changes = Vec::new();
        for part in parts {
            read(snapshot, part, &mut |change| {
                changes.push(change);
                true
            })?;
        }
        Ok(Feed { revision: Revision::new(head.value), changes, reload, keys: head.keys })
    })
}

fn read_head(connection: &Connection) -> Result<Head, Error> {
    let mut statement = connection.prepare_cached(Head::READ)?;
    let mut rows = statement.query([])?;
    let row = rows.next()?.ok_or(Error::Rows { expected: 1, actual: 0 })?;
    Head::read_columns(&mut Columns::of("revision", Row::Embedded(row)))
}

/// Gives each change, until no more is wanted: then it returns `false`.
fn read(
    connection: &Connection,
    (statements, from): Part,
    give: &mut dyn FnMut(Change) -> bool,
) -> Result<bool, Error> {
    for Statement { sql, read } in statements {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(from))?;
        let mut last = None;
        while let Some(row) = rows.next()? {
            if let Some(change) = read(Row::Embedded(row), &mut last)?
                && !give(change)
            {
                return Ok(false);
            }
        }
        if let Some(change) = last
            && !give(change)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// As [`Store::load`](crate::Store::load): one thread reads, this one takes.
pub(crate) async fn load(path: &Path, take: &mut (dyn FnMut(Change) + Send)) -> Result<Revision, Error> {
    let path = path.to_owned();
    let (sender, mut receiver) = mpsc::channel::<Vec<Change>>(HANDED_AHEAD);
    let reading = tokio::task::spawn_blocking(move || read_everything(&path, &sender));
    while let Some(changes) = receiver.recv().await {
        changes.into_iter().for_each(&mut *take);
    }
    finished(reading).await
}

/// Ends early, with any outcome, when nobody takes the changes any more.
fn read_everything(path: &Path, sender: &mpsc::Sender<Vec<Change>>) -> Result<Revision, Error> {
    let connection = open(path)?;
    at_one_moment(&connection, |snapshot| {
        let head = read_head(snapshot)?;
        let mut changes = Vec::with_capacity(CHANGES_AT_ONCE);
        let mut give = |change: Change| {
            changes.push(change);
            if changes.len() == CHANGES_AT_ONCE {
                let full = std::mem::replace(&mut changes, Vec::with_capacity(CHANGES_AT_ONCE));
                return sender.blocking_send(full).is_ok();
            }
            true
        };
        for part in EVERYTHING {
            if !read(snapshot, part, &mut give)? {
                return Err(Error::Stopped);
            }
        }
        // Nobody waits for more, if nobody takes these.
        drop(sender.blocking_send(changes));
        Ok(Revision::new(head.value))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn one(readers: Arc<Readers>) -> Result<i64, Error> {
        readers.run(|connection| Ok(connection.query_row("SELECT 1", [], |row| row.get(0))?)).await
    }

    #[tokio::test]
    async fn as_many_read_at_once_as_may() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        drop(Connection::open(&path).unwrap());
        let readers = Readers::new(path, 2);
        let (reading, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks = tokio_util::task::TaskTracker::new();
        let jobs: Vec<_> = (0..20)
            .map(|_| {
                let (readers, reading, most) = (Arc::clone(&readers), Arc::clone(&reading), Arc::clone(&most));
                tasks.spawn(async move {
                    let job = readers.run(move |connection| {
                        most.fetch_max(reading.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        let value: i64 = connection.query_row("SELECT 7", [], |row| row.get(0))?;
                        reading.fetch_sub(1, Ordering::SeqCst);
                        Ok(value)
                    });
                    assert_eq!(job.await.unwrap(), 7);
                })
            })
            .collect();
        for job in jobs {
            job.await.unwrap();
        }
        assert!(most.load(Ordering::SeqCst) <= 2);
        assert!((1..=2).contains(&readers.idle().len()), "connections are used again");
    }

    #[tokio::test]
    async fn nothing_is_read_after_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        drop(Connection::open(&path).unwrap());
        let readers = Readers::new(path, 2);
        assert_eq!(one(Arc::clone(&readers)).await.unwrap(), 1);
        assert_eq!(readers.run_short(|_| Ok(2)).await.unwrap(), 2);
        assert_eq!(readers.idle().len(), 1, "a connection is used again, on whichever thread");
        readers.close().await;
        assert!(readers.idle().is_empty());
        let error = one(Arc::clone(&readers)).await.expect_err("it is closed");
        assert_eq!(error.kind(), "unavailable");
        let error = readers.run_short(|_| Ok(2)).await.expect_err("it is closed");
        assert_eq!(error.kind(), "unavailable");
        readers.close().await;
    }

    #[tokio::test]
    async fn failures_have_their_kinds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let readers = Readers::new(path.clone(), 2);
        let error = one(Arc::clone(&readers)).await.expect_err("there is no file");
        assert_eq!(error.kind(), "unavailable", "{error}");
        assert!(!path.exists(), "reading makes no file");
        drop(Connection::open(&path).unwrap());
        assert_eq!(one(Arc::clone(&readers)).await.unwrap(), 1, "it is there now");
        let write = readers.run(|connection| Ok(connection.execute_batch("CREATE TABLE t (a)")?)).await;
        assert_eq!(write.expect_err("it only reads").kind(), "read_only");
        assert!(readers.idle().is_empty(), "a connection that has failed is not used again");
        std::fs::write(&path, [1; 8192]).unwrap();
        let look = readers.run(|connection| {
            Ok(connection.query_row("SELECT COUNT(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0))?)
        });
        assert_eq!(look.await.expect_err("it is no database").kind(), "bug");
        readers.close().await;
    }
}
