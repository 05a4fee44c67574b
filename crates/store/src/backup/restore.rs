//! Putting a backup into an empty database.

use std::io::Read;

use countersign_token::digest::{InstallationKey, Keyring};
use countersign_token::feed::Revision;
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;

use super::format::{Reader, Record, Value};
use super::table::{Kind, REVISION};
use super::{Contents, Error, PROGRESS_ROWS};
use crate::audit::{self, AuditEvent};
use crate::bulk::{Binding, Bulk};
use crate::database::{self, Database};
use crate::error::Error as StoreError;
use crate::installation_key;
use crate::migrate;
use crate::row::Columns;
use crate::tx::{Head, built, expect_rows};

/// How many rows are gathered before they are written.
const ROWS_AT_ONCE: usize = 256;

/// The version of the schema from which on an installation can have more than one key.
const SCHEMA_OF_KEYS: i64 = 3;

/// What a restore has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The revision that everything has now.
    pub revision: Revision,
    /// How many servers were on the list of this database. They read everything anew.
    pub nodes: u64,
}

/// Puts everything that [`check`](super::check) has found in `from` into an empty database, in one transaction, together
/// with `event`. `from` stands at its start again. The database is left at the backup's schema version: the next
/// [`Store::connect`](crate::Store::connect) brings it up to date.
///
/// Everything gets one revision, the time `at` in microseconds: later than any that a reader has seen before, so that a
/// server which runs on reads everything anew.
///
/// # Errors
///
/// When the backup is not of one of these keys or needs another one besides, when the database is not empty, when `from` is not what it was, or when the store
/// can't be written. Then nothing is in it but, at most, empty tables.
pub async fn restore(
    database: &Database,
    keys: impl Into<Keyring>,
    contents: &Contents,
    from: &mut (dyn Read + Send),
    at: Timestamp,
    event: &AuditEvent,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Restored, Error> {
    let (found, known) = (contents.schema, migrate::known_version());
    if found > known {
        return Err(Error::SchemaNewer { found, known });
    }
    let keyring = keys.into();
    let Some(key) = keyring.held().into_iter().find(|key| contents.belongs_to(key)) else {
        return Err(Error::KeyMismatch);
    };
    if !contents.seal.is_by(&key.backup_key()) {
        return Err(Error::Forged);
    }
    // Later than whatever the backup has seen, also where the clock is wrong.
    let revision = at.as_micros().max(contents.revision.get() + 1);
    database.create_missing_file()?;
    let mut connection = Box::pin(database.connect_writer()).await?;
    let mut restoring =
        Restoring { connection: &mut connection, contents, keyring: &keyring, key: &key, revision, insert: None };
    let outcome = match restoring.begin(database).await {
        Ok(nodes) => Box::pin(restoring.finish(from, event, progress))
            .await
            .map(|()| Restored { revision: Revision::new(revision), nodes }),
        Err(error) => Err(error),
    };
    // What is not committed goes with the connection.
    database::close(connection).await;
    outcome
}

/// A restore under way.
struct Restoring<'r> {
    connection: &'r mut AnyConnection,
    contents: &'r Contents,
    keyring: &'r Keyring,
    key: &'r InstallationKey,
    /// What all rows get.
    revision: i64,
    insert: Option<Insert>,
}

/// How the rows of the current table go in.
struct Insert {
    statement: Bulk,
    kinds: Vec<Kind>,
    /// The place of the column that says when a row was last changed, if the table has one.
    revision: Option<usize>,
    rows: Vec<Vec<Value>>,
}

impl Restoring<'_> {
    /// Makes the tables and begins the transaction, which holds the counter. Says how many servers are on the list.
    async fn begin(&mut self, database: &Database) -> Result<u64, Error> {
        let backup = self.contents.schema;
        match migrate::find_version(database, self.connection).await? {
            // Whatever is in it, it is not brought up to date for a backup that it then can't take.
            Some(found) if found != backup => return Err(Error::SchemaDiffers { database: found, backup }),
            _ => migrate::migrate_to(database, self.connection, backup).await?,
        }
        Head::lock(database, self.connection).await?;
        let head = self.read_head().await?;
        if !database.is_sqlite() {
            // A slow disk under the backup is no node that has stopped.
            let patience = sqlx::raw_sql("SET LOCAL idle_in_transaction_session_timeout = '600s'");
            patience.execute(&mut *self.connection).await.map_err(StoreError::from)?;
        }
        if head.value != 0 || head.audit_seq != 0 {
            return Err(Error::NotEmpty(REVISION.to_owned()));
        }
        for (table, _) in self.contents.rows.iter().filter(|(table, _)| table != REVISION) {
            if !is_name(table) {
                return Err(Error::Damaged { at: 0, problem: format!("{table:?} is no name of a table") });
            }
            if self.count(table).await? > 0 {
                return Err(Error::NotEmpty(table.clone()));
            }
        }
        let nodes = self.count("node").await?;
        sqlx::query("DELETE FROM node").execute(&mut *self.connection).await.map_err(StoreError::from)?;
        Ok(nodes)
    }

    /// What there is of the counter's row in every version of the schema.
    async fn read_head(&mut self) -> Result<Head, Error> {
        let query = sqlx::query("SELECT value, audit_seq, audit_mac FROM revision WHERE one = 1");
        let row = query.fetch_one(&mut *self.connection).await.map_err(StoreError::from)?;
        let mut columns = Columns::of(REVISION, &row);
        let value = columns.int()?;
        Ok(Head { audit_seq: columns.int()?, audit_mac: columns.bytes()?.to_vec(), ..Head::at(value) })
    }

    async fn count(&mut self, table: &str) -> Result<u64, Error> {
        let query = built(format!("SELECT COUNT(*) FROM {table}"));
        let row = query.fetch_one(&mut *self.connection).await.map_err(StoreError::from)?;
        Ok(Columns::of("backup", &row).count()?)
    }

    /// Writes everything, looks at it again, and commits.
    async fn finish(
        &mut self,
        from: &mut (dyn Read + Send),
        event: &AuditEvent,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), Error> {
        let mut reader = Reader::new(from)?;
        let mut total = 0;
        loop {
            match reader.next()? {
                Record::Head { .. } | Record::Key(_) => {}
                Record::Table { name, columns } => {
                    self.settle().await?;
                    self.insert = Some(Insert::new(&name, &columns).map_err(|problem| reader.damaged(problem))?);
                }
                Record::Row(values) => {
                    let insert = self.insert.as_mut().filter(|insert| insert.kinds.len() == values.len());
                    let insert = insert.ok_or_else(|| reader.damaged("a row does not fit its table"))?;
                    insert.push(values, self.revision);
                    if insert.rows.len() == ROWS_AT_ONCE {
                        self.settle().await?;
                    }
                    total += 1;
                    if total % PROGRESS_ROWS == 0 {
                        progress(total);
                    }
                }
                Record::End(_) => break,
            }
        }
        self.settle().await?;
        // The file has been read twice, and may be another one by now.
        if reader.end()? != self.contents.seal {
            return Err(Error::Forged);
        }
        for (table, expected) in &self.contents.rows {
            let found = self.count(table).await?;
            if found != *expected {
                return Err(Error::Count { table: table.clone(), expected: *expected, found });
            }
        }
        if self.contents.schema >= SCHEMA_OF_KEYS {
            installation_key::identify(self.connection, self.keyring).await?;
        }
        self.write_head(event).await?;
        sqlx::raw_sql("COMMIT").execute(&mut *self.connection).await.map_err(StoreError::from)?;
        Ok(())
    }

    /// Writes the rows that were gathered.
    async fn settle(&mut self) -> Result<(), Error> {
        let Some(insert) = &mut self.insert else { return Ok(()) };
        let (rows, kinds) = (std::mem::take(&mut insert.rows), &insert.kinds);
        insert.statement.execute(self.connection, &rows, |query, row: &Vec<Value>| bind(query, row, kinds)).await?;
        Ok(())
    }

    /// Adds the event to the log, and makes the counter, and the horizon of those who read, the revision of everything.
    async fn write_head(&mut self, event: &AuditEvent) -> Result<(), Error> {
        let mut head = self.read_head().await?;
        let bind = |query: Binding, event: &AuditEvent| audit::bind(query, event, &self.key.audit_key(), &mut head);
        audit::INSERT.execute(self.connection, std::slice::from_ref(event), bind).await?;
        let query = sqlx::query(
            "UPDATE revision SET value = $1, directory_revision = $1, service_token_revision = $1, \
             api_token_revision = $1, horizon = $1, audit_seq = $2, audit_mac = $3 WHERE one = 1",
        )
        .bind(self.revision)
        .bind(head.audit_seq)
        .bind(head.audit_mac);
        let done = query.execute(&mut *self.connection).await.map_err(StoreError::from)?;
        Ok(expect_rows(done.rows_affected(), 1)?)
    }
}

impl Insert {
    fn new(table: &str, columns: &[(String, Kind)]) -> Result<Self, String> {
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        if let Some(name) = names.iter().chain(&[table]).find(|name| !is_name(name)) {
            return Err(format!("{name:?} is no name of a table or a column"));
        }
        let after = if table == REVISION {
            // Its row is there from the start.
            let set: Vec<String> = names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
            format!("ON CONFLICT (one) DO UPDATE SET {}", set.join(", "))
        } else {
            String::new()
        };
        let before = format!("INSERT INTO {table} ({}) VALUES", names.join(", "));
        Ok(Self {
            statement: Bulk::new(&before, names.len(), &after),
            kinds: columns.iter().map(|(_, kind)| *kind).collect(),
            revision: names.iter().position(|name| *name == "revision"),
            rows: Vec::new(),
        })
    }

    fn push(&mut self, mut values: Vec<Value>, revision: i64) {
        if let Some(value) = self.revision.and_then(|place| values.get_mut(place)) {
            *value = Value::Int(revision);
        }
        self.rows.push(values);
    }
}

/// Names go into statements, and are ours only if they look like it.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn bind(query: Binding, row: &[Value], kinds: &[Kind]) -> Binding {
    row.iter().zip(kinds).fold(query, |query, (value, kind)| match (value, kind) {
        (Value::Int(int), _) => query.bind(*int),
        (Value::Text(text), _) => query.bind(text.clone()),
        (Value::Bytes(bytes), _) => query.bind(bytes.clone()),
        (Value::Null, Kind::Int) => query.bind(None::<i64>),
        (Value::Null, Kind::Text) => query.bind(None::<String>),
        (Value::Null, Kind::Bytes) => query.bind(None::<Vec<u8>>),
    })
}
