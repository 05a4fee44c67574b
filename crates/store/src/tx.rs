//! What a job sees of the batch's transaction.

use std::collections::HashMap;
use std::sync::Arc;

use countersign_token::digest::{Digest, InstallationKey, KeyId, Keyring, LiveKeys, NoKey};
use countersign_token::feed::Revision;
use countersign_token::id::AccountId;
use countersign_token::service_token::{Owner, ServiceToken};
use sqlx::AnyConnection;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe};

use crate::audit::{self, AuditEvent};
use crate::database::Database;
use crate::error::Error;
use crate::row::Columns;
use crate::{api_token, installation_key, service_token};

/// A group of tables that the feed reads, or skips when nothing in it has moved.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Group {
    Directory,
    ServiceToken,
    ApiToken,
}

/// The one row of `revision`.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) value: i64,
    pub(crate) directory: i64,
    pub(crate) service_token: i64,
    pub(crate) api_token: i64,
    pub(crate) audit_seq: i64,
    pub(crate) audit_mac: Vec<u8>,
    pub(crate) horizon: i64,
    pub(crate) keys: LiveKeys,
}

/// The columns of `revision`, as [`Head`] reads them.
macro_rules! head_columns {
    () => {
        "value, directory_revision, service_token_revision, api_token_revision, audit_seq, audit_mac, horizon, \
         key_before, key_current, key_next"
    };
}

pub(crate) use head_columns;

impl Head {
    /// Reads the row as it stands.
    pub(crate) const READ: &str = concat!("SELECT ", head_columns!(), " FROM revision WHERE one = 1");

    /// Reads the row as it stands.
    pub(crate) async fn read(connection: &mut AnyConnection) -> Result<Self, Error> {
        let query = sqlx::query(Self::READ);
        let row = query.fetch_optional(connection).await?;
        Self::read_row(row.as_ref())
    }

    /// That of a store that is at this revision, with nothing else in it.
    pub(crate) fn at(value: i64) -> Self {
        Self {
            value,
            directory: 0,
            service_token: 0,
            api_token: 0,
            audit_seq: 0,
            audit_mac: Vec::new(),
            horizon: 0,
            keys: LiveKeys::FIRST,
        }
    }

    /// Begins the writer's transaction, and holds the row until it ends, whatever the version of the schema.
    pub(crate) async fn lock(database: &Database, connection: &mut AnyConnection) -> Result<(), Error> {
        let begin = if database.is_sqlite() { "BEGIN IMMEDIATE" } else { "BEGIN ISOLATION LEVEL READ COMMITTED" };
        sqlx::raw_sql(begin).execute(&mut *connection).await?;
        sqlx::query("UPDATE revision SET value = value WHERE one = 1").execute(connection).await?;
        Ok(())
    }

    /// Begins the writer's transaction, reads the row, and holds it until the transaction ends. An update that changes
    /// nothing does this on both databases alike, and returns the newest value. All in one trip.
    pub(crate) async fn begin(database: &Database, connection: &mut AnyConnection) -> Result<Self, Error> {
        macro_rules! lock {
            ($begin:literal) => {
                concat!($begin, "; UPDATE revision SET value = value WHERE one = 1 RETURNING ", head_columns!())
            };
        }
        let sql = match database {
            Database::Sqlite(_) => lock!("BEGIN IMMEDIATE"),
            Database::Postgres(_) => lock!("BEGIN ISOLATION LEVEL READ COMMITTED"),
        };
        let rows = sqlx::raw_sql(sql).fetch_all(connection).await?;
        Self::read_row(rows.first())
    }

    fn read_row(row: Option<&AnyRow>) -> Result<Self, Error> {
        let row = row.ok_or(Error::Rows { expected: 1, actual: 0 })?;
        let mut columns = Columns::of("revision", row);
        Self::read_columns(&mut columns)
    }

    /// Reads the columns that [`head_columns`] names.
    pub(crate) fn read_columns(columns: &mut Columns<'_>) -> Result<Self, Error> {
        Ok(Self {
            value: columns.int()?,
            directory: columns.int()?,
            service_token: columns.int()?,
            api_token: columns.int()?,
            audit_seq: columns.int()?,
            audit_mac: columns.bytes()?.to_vec(),
            horizon: columns.int()?,
            keys: LiveKeys {
                before: columns.key_id_if_any()?,
                current: columns.key_id()?,
                next: columns.key_id_if_any()?,
            },
        })
    }

    async fn write(&self, connection: &mut AnyConnection) -> Result<(), Error> {
        let query = sqlx::query(
            "UPDATE revision SET value = $1, directory_revision = $2, service_token_revision = $3, \
             api_token_revision = $4, audit_seq = $5, audit_mac = $6, key_before = $7, key_current = $8, key_next = $9 \
             WHERE one = 1",
        )
        .bind(self.value)
        .bind(self.directory)
        .bind(self.service_token)
        .bind(self.api_token)
        .bind(self.audit_seq)
        .bind(self.audit_mac.as_slice())
        .bind(number_of(self.keys.before))
        .bind(number_of(Some(self.keys.current)))
        .bind(number_of(self.keys.next));
        expect_rows(query.execute(connection).await?.rows_affected(), 1)
    }
}

fn number_of(key: Option<KeyId>) -> i64 {
    key.map_or(0, |key| key.get().into())
}

/// The transaction of a batch, lent to one job after the other.
///
/// Look-ups see what earlier jobs of the batch have done. Each change is stamped with the job's revision, and must be
/// accompanied by at least one [`record`](Self::record). A failed statement ends the transaction: a job that goes on as
/// if nothing had happened fails nevertheless.
#[derive(Debug)]
pub struct Tx {
    connection: AnyConnection,
    head: Option<Head>,
    keyring: Keyring,
    events: Vec<AuditEvent>,
    /// Service tokens that are still to be inserted, with their revisions: those of a whole batch by few statements.
    service_tokens: Vec<(ServiceToken, i64)>,
    counts: HashMap<Owner, i64>,
    api_token_counts: HashMap<AccountId, i64>,
    job: Job,
}

/// What the job that is running has done so far.
#[derive(Debug, Default)]
struct Job {
    revision: Option<i64>,
    has_written: bool,
    failed: Option<Error>,
    events_before: usize,
}

/// What a batch leaves to be committed.
#[derive(Debug)]
pub(crate) struct Flushed {
    /// The first and the last revision that the batch took, if it took any.
    pub(crate) revisions: Option<(i64, i64)>,
    /// The number and mac of its last audit event, if it recorded any. A mac is unlike any other, so it tells later
    /// whether the batch was committed.
    pub(crate) marker: Option<(i64, Vec<u8>)>,
}

impl Tx {
    pub(crate) fn new(connection: AnyConnection, head: Option<Head>, keyring: Keyring) -> Self {
        Self {
            connection,
            head,
            keyring,
            events: Vec::new(),
            service_tokens: Vec::new(),
            counts: HashMap::new(),
            api_token_counts: HashMap::new(),
            job: Job::default(),
        }
    }

    /// The installation keys that this process holds.
    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Which installation keys are live, at this place in the order of all writes.
    pub fn live_keys(&self) -> LiveKeys {
        self.head.as_ref().map_or_else(|| self.keyring.live(), |head| head.keys)
    }

    /// The installation key that new rows stand under, at this place in the order of all writes.
    ///
    /// # Errors
    ///
    /// [`Error::KeyMissing`] if this process does not hold it.
    pub fn installation_key(&self) -> Result<Arc<InstallationKey>, Error> {
        Ok(self.keyring.get(self.live_keys().current)?)
    }

    /// Refuses a digest under a key that nobody looks up by any more: it was made before a change of the key was finished.
    pub(crate) fn require_live_key(&self, digest: &Digest) -> Result<(), Error> {
        let is_live = self.live_keys().needed().any(|key| key == digest.key());
        if is_live { Ok(()) } else { Err(Error::KeyMissing(NoKey(digest.key()))) }
    }

    /// Changes which installation keys are live.
    pub(crate) fn set_live_keys(&mut self, keys: LiveKeys) {
        self.job.has_written = true;
        self.take_revision();
        if let Some(head) = &mut self.head {
            head.keys = keys;
        }
    }

    pub(crate) fn into_connection(self) -> AnyConnection {
        self.connection
    }

    /// The revision that this job's changes have: taken when first asked for, which changes do by themselves.
    pub fn revision(&mut self) -> Revision {
        Revision::new(self.take_revision())
    }

    fn take_revision(&mut self) -> i64 {
        let next = self.head.as_ref().map_or(0, |head| head.value) + 1;
        *self.job.revision.get_or_insert(next)
    }

    /// Takes note of an event, which commits together with the job's changes.
    pub fn record(&mut self, event: AuditEvent) {
        self.events.push(event);
    }

    /// For statements that read.
    pub(crate) fn reading(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }

    /// For rows that nobody follows: heartbeats, last-seen marks, sweeps.
    pub(crate) fn writing_apart(&mut self) -> &mut AnyConnection {
        self.job.has_written = true;
        &mut self.connection
    }

    /// Keeps in mind that a statement failed: PostgreSQL would ignore all that follows.
    pub(crate) fn noting<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &outcome {
            self.job.failed.get_or_insert_with(|| error.clone());
        }
        outcome
    }

    /// Takes the job's revision for a change of `group`.
    pub(crate) fn change(&mut self, group: Group) -> i64 {
        let revision = self.take_revision();
        if let Some(head) = &mut self.head {
            match group {
                Group::Directory => head.directory = revision,
                Group::ServiceToken => head.service_token = revision,
                Group::ApiToken => head.api_token = revision,
            }
        }
        revision
    }

    /// Runs a statement that must change `expected` rows.
    pub(crate) async fn execute(&mut self, query: Query<'_, Any, AnyArguments>, expected: u64) -> Result<(), Error> {
        self.job.has_written = true;
        let outcome = match query.execute(&mut self.connection).await {
            Ok(result) => expect_rows(result.rows_affected(), expected),
            Err(error) => Err(error.into()),
        };
        self.noting(outcome)
    }

    /// Runs a statement that may change any number of rows, and returns how many it did.
    pub(crate) async fn execute_any(&mut self, query: Query<'_, Any, AnyArguments>) -> Result<u64, Error> {
        self.job.has_written = true;
        let outcome = query.execute(&mut self.connection).await;
        self.noting(outcome.map(|result| result.rows_affected()).map_err(Error::from))
    }

    /// Takes a service token to be inserted. Whatever else concerns service tokens settles them first.
    pub(crate) fn queue_service_token(&mut self, token: ServiceToken) {
        let revision = self.change(Group::ServiceToken);
        self.job.has_written = true;
        self.count_service_tokens_by(token.owner, 1);
        self.service_tokens.push((token, revision));
    }

    /// Inserts the service tokens that were taken so far.
    pub(crate) async fn settle_service_tokens(&mut self) -> Result<(), Error> {
        let tokens = std::mem::take(&mut self.service_tokens);
        let outcome = service_token::insert(&mut self.connection, &tokens).await;
        self.noting(outcome)
    }

    /// Counts service tokens that came (or, negative, went) in `owner`.
    pub(crate) fn count_service_tokens_by(&mut self, owner: Owner, difference: i64) {
        *self.counts.entry(owner).or_default() += difference;
    }

    /// The difference that [`count_service_tokens_by`](Self::count_service_tokens_by) has not written yet.
    pub(crate) fn counted_service_tokens(&self, owner: &Owner) -> i64 {
        self.counts.get(owner).copied().unwrap_or_default()
    }

    /// Counts API tokens that came (or, negative, went) in `account`.
    pub(crate) fn count_api_tokens_by(&mut self, account: AccountId, difference: i64) {
        *self.api_token_counts.entry(account).or_default() += difference;
    }

    pub(crate) fn begin_job(&mut self) {
        self.job = Job { events_before: self.events.len(), ..Job::default() };
    }

    /// Ends a job that has done its work.
    pub(crate) fn end_job(&mut self) -> Result<Option<Revision>, Error> {
        if let Some(error) = self.job.failed.take() {
            return Err(error);
        }
        let Some(revision) = self.job.revision else { return Ok(None) };
        if self.events.len() == self.job.events_before {
            return Err(Error::Unaudited);
        }
        if let Some(head) = &mut self.head {
            head.value = revision;
        }
        Ok(Some(Revision::new(revision)))
    }

    /// Ends a job that has failed: `true` if nothing of it is left, so that the batch can go on.
    pub(crate) fn abandon_job(&mut self) -> bool {
        self.events.truncate(self.job.events_before);
        !self.job.has_written && self.job.failed.is_none()
    }

    /// The failed statement of the current job, if there was one.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.job.failed.as_ref()
    }

    /// Writes what the batch has gathered: counts, audit events, the counter. `key` was current as the batch began: its
    /// events stand under it, also where one of them tells that another key is current now.
    pub(crate) async fn flush(&mut self, key: Option<&InstallationKey>, before: i64) -> Result<Flushed, Error> {
        self.settle_service_tokens().await?;
        let (Some(head), Some(key)) = (&mut self.head, key) else {
            return Ok(Flushed { revisions: None, marker: None });
        };
        for (owner, difference) in std::mem::take(&mut self.counts) {
            service_token::write_count(&mut self.connection, &owner, difference).await?;
        }
        for (account, difference) in std::mem::take(&mut self.api_token_counts) {
            api_token::write_count(&mut self.connection, &account, difference).await?;
        }
        let events = std::mem::take(&mut self.events);
        let marker = if events.is_empty() {
            None
        } else {
            audit::append(&mut self.connection, &key.audit_key(), head, &events).await?;
            if head.keys.current != key.id() {
                installation_key::begin_audit(&mut self.connection, head.keys.current, head.audit_seq + 1).await?;
            }
            Some((head.audit_seq, head.audit_mac.clone()))
        };
        let revisions = (head.value > before).then_some((before + 1, head.value));
        if revisions.is_some() || marker.is_some() {
            head.write(&mut self.connection).await?;
        }
        Ok(Flushed { revisions, marker })
    }
}

/// Asserts how many rows a statement has changed.
pub(crate) fn expect_rows(actual: u64, expected: u64) -> Result<(), Error> {
    if actual == expected { Ok(()) } else { Err(Error::Rows { expected, actual }) }
}

/// A statement whose text was put together from this crate's own words, never from input.
pub(crate) fn built<'q>(sql: String) -> Query<'q, Any, AnyArguments> {
    sqlx::query(AssertSqlSafe(sql))
}
