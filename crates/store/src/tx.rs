//! What a job sees of the batch's transaction.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use countersign_token::api_token::ApiToken;
use countersign_token::digest::{Digest, InstallationKey, KeyId, Keyring, LiveKeys, NoKey};
use countersign_token::feed::Revision;
use countersign_token::id::{AccountId, UserId, UserPfid};
use countersign_token::service_token::{Owner, ServiceToken};
use sqlx::AnyConnection;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe};

use crate::answer::{self, AnswerKey, KeptAnswer};
use crate::audit::{self, AuditEvent};
use crate::bulk::{Binding, Bulk, Script};
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
        let rows = match database {
            // Kept prepared, which PostgreSQL does with single statements only.
            Database::Sqlite(_) => sqlx::query(sql).fetch_all(connection).await?,
            Database::Postgres(_) => sqlx::raw_sql(sql).fetch_all(connection).await?,
        };
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

    fn bind(query: Binding, head: &Self) -> Binding {
        query
            .bind(head.value)
            .bind(head.directory)
            .bind(head.service_token)
            .bind(head.api_token)
            .bind(head.audit_seq)
            .bind(head.audit_mac.clone())
            .bind(number_of(head.keys.before))
            .bind(number_of(Some(head.keys.current)))
            .bind(number_of(head.keys.next))
    }
}

/// Writes the row of `revision`, which whoever writes has locked.
static WRITE_HEAD: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "UPDATE revision SET (value, directory_revision, service_token_revision, api_token_revision, audit_seq, \
         audit_mac, key_before, key_current, key_next) =",
        9,
        "WHERE one = 1",
    )
});

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
    /// API tokens, likewise.
    api_tokens: Vec<(ApiToken, i64)>,
    counts: HashMap<Owner, i64>,
    api_token_counts: HashMap<AccountId, i64>,
    /// Answers that are still to be kept.
    answers: Vec<(AnswerKey, KeptAnswer)>,
    /// What is known of the answers under some keys.
    known_answers: HashMap<AnswerKey, Option<KeptAnswer>>,
    /// What jobs have asked for, and the next will ask for again.
    signing_key_id: Option<String>,
    user_pfids: HashMap<UserId, UserPfid>,
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
pub(crate) struct Flushed {
    /// The first and the last revision that the batch took, if it took any.
    pub(crate) revisions: Option<(i64, i64)>,
    /// The number and mac of its last audit event, if it recorded any. A mac is unlike any other, so it tells later
    /// whether the batch was committed.
    pub(crate) marker: Option<(i64, Vec<u8>)>,
    /// What is to be written with the commit.
    pub(crate) rest: Script,
}

impl Tx {
    pub(crate) fn new(connection: AnyConnection, head: Option<Head>, keyring: Keyring) -> Self {
        Self {
            connection,
            head,
            keyring,
            events: Vec::new(),
            service_tokens: Vec::new(),
            api_tokens: Vec::new(),
            counts: HashMap::new(),
            api_token_counts: HashMap::new(),
            answers: Vec::new(),
            known_answers: HashMap::new(),
            signing_key_id: None,
            user_pfids: HashMap::new(),
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

    /// Takes a service token to be inserted. Whatever else concerns tokens settles them first.
    pub(crate) fn queue_service_token(&mut self, token: ServiceToken) {
        let revision = self.change(Group::ServiceToken);
        self.job.has_written = true;
        self.count_service_tokens_by(token.owner, 1);
        self.service_tokens.push((token, revision));
    }

    /// Takes an API token to be inserted, likewise.
    pub(crate) fn queue_api_token(&mut self, token: ApiToken) {
        let revision = self.change(Group::ApiToken);
        self.job.has_written = true;
        self.count_api_tokens_by(token.account, 1);
        self.api_tokens.push((token, revision));
    }

    /// Inserts the tokens that were taken so far.
    pub(crate) async fn settle_tokens(&mut self) -> Result<(), Error> {
        let (service_tokens, api_tokens) =
            (std::mem::take(&mut self.service_tokens), std::mem::take(&mut self.api_tokens));
        let inserted = service_token::INSERT.execute(&mut self.connection, &service_tokens, service_token::bind).await;
        self.noting(inserted)?;
        let inserted = api_token::INSERT.execute(&mut self.connection, &api_tokens, api_token::bind).await;
        self.noting(inserted).map(drop)
    }

    /// Takes an answer to be kept.
    pub(crate) fn queue_answer(&mut self, key: AnswerKey, kept: KeptAnswer) {
        self.job.has_written = true;
        self.known_answers.insert(key.clone(), Some(kept.clone()));
        self.answers.push((key, kept));
    }

    /// Reads the answers under the keys that a batch will ask for.
    pub(crate) async fn read_answers(&mut self, keys: Vec<AnswerKey>) -> Result<(), Error> {
        let found = answer::find_all(&mut self.connection, &keys).await?;
        self.known_answers.extend(keys.into_iter().map(|key| (key, None)));
        self.known_answers.extend(found.into_iter().map(|(key, kept)| (key, Some(kept))));
        Ok(())
    }

    /// The answer under a key, if it is known: `Some(None)` if it is known that there is none.
    pub(crate) fn known_answer(&self, key: &AnswerKey) -> Option<Option<&KeptAnswer>> {
        self.known_answers.get(key).map(Option::as_ref)
    }

    /// The signing key's id, once a job has asked for it or changed it.
    pub(crate) fn known_signing_key_id(&mut self) -> &mut Option<String> {
        &mut self.signing_key_id
    }

    /// The PFIDs of users that jobs have asked for: a user keeps its own.
    pub(crate) fn known_user_pfids(&mut self) -> &mut HashMap<UserId, UserPfid> {
        &mut self.user_pfids
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

    /// Writes what the batch has gathered: rows, counts, audit events, the counter. What fits into one trip is left for the
    /// commit's. `key` was current as the batch began: its events stand under it, also where one of them tells that another
    /// key is current now.
    pub(crate) async fn flush(&mut self, key: Option<&InstallationKey>, before: i64) -> Result<Flushed, Error> {
        let (Some(head), Some(key)) = (&mut self.head, key) else {
            return Ok(Flushed { revisions: None, marker: None, rest: Script::new(&self.connection) });
        };
        let counts: Vec<_> = self.counts.drain().collect();
        let api_token_counts: Vec<_> = self.api_token_counts.drain().collect();
        let (mut counts, mut api_token_counts) = (counts.as_slice(), api_token_counts.as_slice());
        let (mut service_tokens, mut api_tokens) = (self.service_tokens.as_slice(), self.api_tokens.as_slice());
        let (mut answers, mut events) = (self.answers.as_slice(), self.events.as_slice());
        let audit_key = key.audit_key();
        let mut bind_event = |query: Binding, event: &AuditEvent| audit::bind(query, event, &audit_key, head);
        let mut rest = loop {
            let mut script = Script::new(&self.connection);
            service_tokens = script.add(&service_token::INSERT, service_tokens, &mut service_token::bind);
            counts = script.add(&service_token::COUNT, counts, &mut service_token::bind_count);
            api_tokens = script.add(&api_token::INSERT, api_tokens, &mut api_token::bind);
            api_token_counts = script.add(&api_token::COUNT, api_token_counts, &mut api_token::bind_count);
            answers = script.add(&answer::INSERT, answers, &mut answer::bind);
            events = script.add(&audit::INSERT, events, &mut bind_event);
            let later = service_tokens.len() + counts.len() + api_tokens.len() + api_token_counts.len();
            if later + answers.len() + events.len() == 0 {
                break script;
            }
            script.execute(&mut self.connection).await?;
        };
        let marker = (!self.events.is_empty()).then(|| (head.audit_seq, head.audit_mac.clone()));
        if marker.is_some() && head.keys.current != key.id() {
            installation_key::begin_audit(&mut self.connection, head.keys.current, head.audit_seq + 1).await?;
        }
        let revisions = (head.value > before).then_some((before + 1, head.value));
        if revisions.is_some() || marker.is_some() {
            rest.add(&WRITE_HEAD, std::slice::from_ref(head), &mut Head::bind);
        }
        Ok(Flushed { revisions, marker, rest })
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
