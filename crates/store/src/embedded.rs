//! SQLite without the driver that serves both databases, for what reads many rows. That driver copies each value several
//! times, and hands each row from thread to thread.

use std::path::Path;
use std::time::Duration;

use countersign_token::feed::{Change, Revision};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::mpsc;

use crate::error::Error;
use crate::feed::{DIRECTORY, NOTHING, Statement, TOKENS};
use crate::row::{Columns, Row};
use crate::tx::Head;

/// How many changes are handed over at once, and how often that may be done ahead: enough that neither side waits for the
/// other, little enough to stay in the processor's cache.
const CHANGES_AT_ONCE: usize = 256;
const HANDED_AHEAD: usize = 4;

/// How long a statement waits for another process's transaction.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that only reads.
fn open(path: &Path) -> Result<Connection, Error> {
    // Not read-only: whoever comes first after a crash has to bring the log's index up to date.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// As [`Store::load`](crate::Store::load): one thread reads, this one takes.
pub(crate) async fn load(path: &Path, take: &mut (dyn FnMut(Change) + Send)) -> Result<Revision, Error> {
    let path = path.to_owned();
    let (sender, mut receiver) = mpsc::channel::<Vec<Change>>(HANDED_AHEAD);
    let reading = tokio::task::spawn_blocking(move || read_everything(&path, &sender));
    while let Some(changes) = receiver.recv().await {
        changes.into_iter().for_each(&mut *take);
    }
    match reading.await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The program is stopping.
            Err(_cancelled) => Err(Error::Stopped),
        },
    }
}

/// Ends early, with any outcome, when nobody takes the changes any more.
fn read_everything(path: &Path, sender: &mpsc::Sender<Vec<Change>>) -> Result<Revision, Error> {
    let mut connection = open(path)?;
    // One moment for all statements: that of the first.
    let snapshot = connection.transaction()?;
    let head = snapshot.query_row_and_then(Head::READ, [], |row| {
        Head::read_columns(&mut Columns::of("revision", Row::Embedded(row)))
    })?;
    let mut changes = Vec::with_capacity(CHANGES_AT_ONCE);
    let mut give = |change: Change| {
        changes.push(change);
        if changes.len() == CHANGES_AT_ONCE {
            let full = std::mem::replace(&mut changes, Vec::with_capacity(CHANGES_AT_ONCE));
            return sender.blocking_send(full).is_ok();
        }
        true
    };
    for (statements, from) in [(&DIRECTORY[..], Some(NOTHING)), (&TOKENS[..], None)] {
        for Statement { sql, read } in statements {
            let mut statement = snapshot.prepare(sql)?;
            let mut rows = statement.query(rusqlite::params_from_iter(from))?;
            let mut last = None;
            while let Some(row) = rows.next()? {
                if let Some(change) = read(Row::Embedded(row), &mut last)?
                    && !give(change)
                {
                    return Err(Error::Stopped);
                }
            }
            last.map(&mut give);
        }
    }
    // Nobody waits for more, if nobody takes these.
    drop(sender.blocking_send(changes));
    Ok(Revision::new(head.value))
}
