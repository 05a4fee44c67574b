//! Backups: everything of an installation in one file, which either database restores from.
//!
//! `docs/operations.md` describes the file. A backup is one snapshot. A restore is one transaction, and one change of
//! everything: each row gets a revision that no reader can have seen, so that a server which knew a later past reads
//! everything anew.

mod error;
mod format;
mod restore;
mod table;

use std::io::{Read, Write};
use std::pin::Pin;

use countersign_token::digest::InstallationKey;
use countersign_token::feed::Revision;
use countersign_token::id::InstallationId;
use countersign_token::secret::Secret;
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use self::format::{Reader, Record, Seal, Value, Writer};
use self::table::{Kind, TABLES, Table};
use crate::error::Error as StoreError;
use crate::migrate;
use crate::row::Columns;
use crate::store::Store;
use crate::tx::{Head, built};

pub use self::error::Error;
pub use self::restore::{Restored, restore};

/// What is told after so many rows.
const PROGRESS_ROWS: u64 = 1000;

/// What a backup says of itself.
#[derive(Debug)]
pub struct Contents {
    /// The version of the schema that its rows have.
    pub schema: i64,
    /// The installation that it is of.
    pub installation: InstallationId,
    /// When it was made.
    pub taken_at: Timestamp,
    /// The newest revision that is in it.
    pub revision: Revision,
    /// How many rows of each table are in it.
    pub rows: Vec<(String, u64)>,
    /// The installation keys that are live, if they are in it, with a space between two: the content of a key file.
    pub key: Option<Secret>,
    key_check: Vec<u8>,
    seal: Seal,
}

impl Contents {
    /// Whether this is the key that was current in the installation that the backup is of.
    pub fn belongs_to(&self, key: &InstallationKey) -> bool {
        self.key_check.as_slice().try_into().is_ok_and(|check| key.known_by(check).is_some())
    }

    /// How many rows of a table are in it.
    pub fn rows_of(&self, table: &str) -> u64 {
        self.rows.iter().find(|(name, _)| name == table).map_or(0, |(_, rows)| *rows)
    }

    /// How many rows are in it altogether.
    pub fn rows(&self) -> u64 {
        self.rows.iter().map(|(_, rows)| rows).sum()
    }
}

/// Writes everything that the store holds at one moment to `to`, and tells `progress` now and then how many rows that were.
/// With `with_key`, whoever reads the file can forge secrets; without, the file is void without the key.
///
/// # Errors
///
/// When the store can't be read, holds no installation, or `to` can't be written. What was written until then is no backup.
pub async fn create(
    store: &Store,
    with_key: bool,
    taken_at: Timestamp,
    to: &mut (dyn Write + Send),
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Contents, Error> {
    let installation = store.installation().await?.ok_or(Error::NoInstallation)?;
    let mut snapshot = store.snapshot().await?;
    let head = Head::read(&mut snapshot).await?;
    let key = store.keys().get(head.keys.current).map_err(StoreError::from)?;
    let keys = || {
        let keys: Vec<_> = store.keys().all().iter().map(|key| key.to_hex()).collect();
        Secret::from(keys.iter().map(Secret::expose).collect::<Vec<_>>().join(" "))
    };
    let mut contents = Contents {
        schema: migrate::known_version(),
        installation: installation.id,
        taken_at,
        revision: Revision::new(head.value),
        rows: Vec::new(),
        key: with_key.then(keys),
        key_check: key.check_value().to_vec(),
        seal: Seal::default(),
    };
    let mut writer = Writer::new(to);
    writer.write(&Record::Head {
        schema: contents.schema,
        installation: contents.installation.to_string(),
        taken_at: taken_at.as_micros(),
        revision: head.value,
        key_check: contents.key_check.clone(),
    })?;
    if with_key {
        writer.write(&Record::Key(keys()))?;
    }
    let mut total = 0;
    for table in TABLES {
        writer.write(&Record::table(table))?;
        let before = total;
        each(&mut snapshot, table, &mut |values| {
            writer.write(&Record::Row(values))?;
            total += 1;
            if total % PROGRESS_ROWS == 0 {
                progress(total);
            }
            Ok(())
        })
        .await?;
        contents.rows.push((table.name.to_owned(), total - before));
    }
    contents.seal = writer.end(total, &key.backup_key())?;
    Ok(contents)
}

/// Reads a whole backup, and says what is in it. Whoever has not made it may have changed it: see [`Contents::belongs_to`]
/// and [`restore()`], which asks for the key.
///
/// # Errors
///
/// [`Error::Foreign`], [`Error::Format`], [`Error::Damaged`], or that it can't be read.
pub fn check(from: &mut (dyn Read + Send), progress: &mut (dyn FnMut(u64) + Send)) -> Result<Contents, Error> {
    let mut reader = Reader::new(from)?;
    let mut contents = match reader.next()? {
        Record::Head { schema, installation, taken_at, revision, key_check } => Contents {
            schema,
            installation: installation.parse().map_err(|error| reader.damaged(error))?,
            taken_at: Timestamp::from_micros(taken_at),
            revision: Revision::new(revision),
            rows: Vec::new(),
            key: None,
            key_check,
            seal: Seal::default(),
        },
        _ => return Err(reader.damaged("it does not begin with what it is of")),
    };
    let mut total = 0;
    loop {
        match reader.next()? {
            Record::Head { .. } => return Err(reader.damaged("it begins twice")),
            Record::Key(key) => contents.key = Some(key),
            Record::Table { name, .. } => contents.rows.push((name, 0)),
            Record::Row(_) => {
                let Some((_, rows)) = contents.rows.last_mut() else {
                    return Err(reader.damaged("a row comes before its table"));
                };
                *rows += 1;
                total += 1;
                if total % PROGRESS_ROWS == 0 {
                    progress(total);
                }
            }
            Record::End(rows) if rows == total => break,
            Record::End(_) => return Err(reader.damaged("rows are missing")),
        }
    }
    contents.seal = reader.end()?;
    Ok(contents)
}

/// Passes each row of a table on as it comes, in the order of its key, so that a large table is never in memory.
async fn each(
    connection: &mut AnyConnection,
    table: &'static Table,
    take: &mut (dyn FnMut(Vec<Value>) -> Result<(), Error> + Send),
) -> Result<(), Error> {
    let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
    let sql = format!("SELECT {} FROM {} ORDER BY {}", names.join(", "), table.name, table.key);
    let query = built(sql);
    let mut rows = query.fetch(connection);
    while let Some(row) = std::future::poll_fn(|context| Pin::as_mut(&mut rows).poll_next(context)).await {
        take(read(table, &row.map_err(StoreError::from)?)?)?;
    }
    Ok(())
}

fn read(table: &'static Table, row: &AnyRow) -> Result<Vec<Value>, Error> {
    let mut columns = Columns::of(table.name, row);
    let mut values = Vec::with_capacity(table.columns.len());
    for (_, kind) in table.columns {
        let value = match kind {
            Kind::Text => columns.text_if_any()?.map(|text| Value::Text(text.to_owned())),
            Kind::Int => columns.int_if_any()?.map(Value::Int),
            Kind::Bytes => columns.bytes_if_any()?.map(|bytes| Value::Bytes(bytes.to_vec())),
        };
        values.push(value.unwrap_or(Value::Null));
    }
    Ok(values)
}
