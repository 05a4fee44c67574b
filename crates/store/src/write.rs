//! The one writer: jobs wait in a queue, and those that wait together are committed together.

mod count;
mod own;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use countersign_token::digest::Keyring;
use countersign_token::feed::Revision;
use sqlx::AnyConnection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::answer::AnswerKey;
use crate::database::{self, Database};
use crate::error::Error;
use crate::row::Columns;
use crate::tx::{Flushed, Head, Tx};

pub use count::{Distribution, ErrorCounts, WriterCounts};
pub(crate) use own::Own;

/// A future on the heap, as a job returns it.
pub type BoxFuture<'t, T> = Pin<Box<dyn Future<Output = T> + Send + 't>>;

/// How many jobs are committed together at most.
const BATCH_MAX: usize = 64;

/// How many jobs may wait before a caller has to wait for a place.
pub(crate) const QUEUE_MAX: usize = 1024;

/// How often, and how long apart, it is tried to find out what became of a commit.
const ASK_AGAIN: (u32, Duration) = (50, Duration::from_millis(200));

/// What a write has left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<T> {
    /// What the job returned.
    pub value: T,
    /// The revision at which the change is in the feed; `None` if the job changed nothing that the feed shows.
    pub revision: Option<Revision>,
}

/// A job in the queue. It can be run again as long as it is not settled.
pub(crate) trait Job: Send {
    /// Whether the job depends on no other process writing at the same time.
    fn is_ordered(&self) -> bool;
    /// The keys of the answers that the job will look up.
    fn answer_keys(&self) -> &[AnswerKey];
    /// Runs the job, keeps what it returned, and says whether that was a success.
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, bool>;
    /// Answers whoever waits: with what the job returned, or with the error that kept it from being committed.
    fn settle(self: Box<Self>, outcome: Result<Option<Revision>, Error>);
}

/// A job of a caller, and where its answer goes.
pub(crate) struct Queued<T, E, F> {
    answer_keys: Vec<AnswerKey>,
    job: F,
    returned: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<Written<T>, E>>,
}

impl<T, E, F> Queued<T, E, F> {
    pub(crate) fn new(answer_keys: Vec<AnswerKey>, job: F, reply: oneshot::Sender<Result<Written<T>, E>>) -> Self {
        Self { answer_keys, job, returned: None, reply }
    }
}

impl<T, E, F> Job for Queued<T, E, F>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
    F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + Sync + 'static,
{
    fn is_ordered(&self) -> bool {
        true
    }

    fn answer_keys(&self) -> &[AnswerKey] {
        &self.answer_keys
    }

    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, bool> {
        Box::pin(async move {
            let returned = (self.job)(tx).await;
            let succeeded = returned.is_ok();
            self.returned = Some(returned);
            succeeded
        })
    }

    fn settle(self: Box<Self>, outcome: Result<Option<Revision>, Error>) {
        answer(self.reply, self.returned, outcome);
    }
}

/// A job on rows that have no revision and that no other job reads: it need not wait for the counter.
pub(crate) struct Apart<T, F> {
    job: F,
    returned: Option<Result<T, Error>>,
    reply: oneshot::Sender<Result<Written<T>, Error>>,
}

impl<T, F> Apart<T, F> {
    pub(crate) fn new(job: F, reply: oneshot::Sender<Result<Written<T>, Error>>) -> Self {
        Self { job, returned: None, reply }
    }
}

impl<T, F> Job for Apart<T, F>
where
    T: Send + 'static,
    F: for<'t> Fn(&'t mut AnyConnection) -> BoxFuture<'t, Result<T, Error>> + Send + Sync + 'static,
{
    fn is_ordered(&self) -> bool {
        false
    }

    fn answer_keys(&self) -> &[AnswerKey] {
        &[]
    }

    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, bool> {
        Box::pin(async move {
            let returned = (self.job)(tx.writing_apart()).await;
            let returned = tx.noting(returned);
            let succeeded = returned.is_ok();
            self.returned = Some(returned);
            succeeded
        })
    }

    fn settle(self: Box<Self>, outcome: Result<Option<Revision>, Error>) {
        answer(self.reply, self.returned, outcome);
    }
}

fn answer<T, E: From<Error>>(
    reply: oneshot::Sender<Result<Written<T>, E>>,
    returned: Option<Result<T, E>>,
    outcome: Result<Option<Revision>, Error>,
) {
    let answer = match (outcome, returned) {
        (Ok(revision), Some(Ok(value))) => Ok(Written { value, revision }),
        (Ok(_), Some(Err(error))) => Err(error),
        (Ok(_), None) => Err(Error::Stopped.into()),
        // Also a job's own error counts only once the batch is committed: it may rest on what others wrote in it.
        (Err(error), _) => Err(error.into()),
    };
    // Whoever asked may have gone away; the change stands all the same.
    drop(reply.send(answer));
}

/// The task that writes. Exactly one runs for a store; it ends when every handle of the store is gone.
#[derive(Debug)]
pub struct Writer {
    ordered: Lane,
    apart: Option<Lane>,
}

impl Writer {
    /// On PostgreSQL, jobs apart get a connection of their own, so that a node which holds the counter and has stopped
    /// can't keep the others from counting their heartbeats. SQLite has but one writer anyway.
    pub(crate) fn new(ordered: Lane, apart: Option<Lane>) -> Self {
        Self { ordered, apart }
    }

    /// Writes until every handle of the store is gone and all that waited is done.
    pub async fn run(self) {
        let ordered = Box::pin(self.ordered.run());
        match self.apart {
            Some(apart) => {
                tokio::join!(ordered, Box::pin(apart.run()));
            }
            None => ordered.await,
        }
    }
}

/// A queue, and the connection on which it is worked off.
pub(crate) struct Lane {
    database: Database,
    keyring: Keyring,
    own: Arc<Own>,
    counts: Arc<WriterCounts>,
    queue: mpsc::Receiver<Box<dyn Job>>,
    connection: Option<AnyConnection>,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("database", &self.database).finish_non_exhaustive()
    }
}

/// Why a batch was not committed.
enum Failure {
    /// One job spoilt the transaction; alone, the others may do better.
    Spoilt,
    /// An error that no job returned.
    Failed(Error),
}

impl Lane {
    pub(crate) fn new(
        database: Database,
        keyring: Keyring,
        own: Arc<Own>,
        counts: Arc<WriterCounts>,
        queue: mpsc::Receiver<Box<dyn Job>>,
        connection: Option<AnyConnection>,
    ) -> Self {
        Self { database, keyring, own, counts, queue, connection }
    }

    async fn run(mut self) {
        let mut jobs = Vec::with_capacity(BATCH_MAX);
        while self.queue.recv_many(&mut jobs, BATCH_MAX).await > 0 {
            let batch = std::mem::replace(&mut jobs, Vec::with_capacity(BATCH_MAX));
            self.commit(batch).await;
        }
        if let Some(connection) = self.connection {
            database::close(connection).await;
        }
    }

    /// Commits a batch and answers each of its jobs.
    async fn commit(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let error = match self.attempt(&mut jobs).await {
            Ok(revisions) => {
                for (job, revision) in jobs.into_iter().zip(revisions) {
                    job.settle(Ok(revision));
                }
                return;
            }
            Err(Failure::Failed(error)) if jobs.len() == 1 || error.is_everybodys() => Some(error),
            Err(_) => None,
        };
        if let Some(error) = error {
            for job in jobs {
                job.settle(Err(error.clone()));
            }
            return;
        }
        let mut everybodys: Option<Error> = None;
        for job in jobs {
            if let Some(error) = &everybodys {
                job.settle(Err(error.clone()));
                continue;
            }
            let mut alone = [job];
            let outcome = match self.attempt(&mut alone).await {
                Ok(revisions) => Ok(revisions.first().copied().flatten()),
                Err(Failure::Failed(error)) => {
                    everybodys = error.is_everybodys().then(|| error.clone());
                    Err(error)
                }
                // Alone, a job that failed has been rolled back already and keeps its own error.
                Err(Failure::Spoilt) => Ok(None),
            };
            let [job] = alone;
            job.settle(outcome);
        }
    }

    /// One try, and a second one if the connection turns out to have died since the last batch.
    async fn attempt(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<Vec<Option<Revision>>, Failure> {
        let is_old = self.connection.is_some();
        match self.try_counted(jobs).await {
            Err(Failure::Failed(error)) if is_old && error.is_lost() => {
                tracing::warn!(%error, "the writer's connection was lost; trying once more on a new one");
                self.counts.retries.fetch_add(1, Ordering::Relaxed);
                self.try_counted(jobs).await
            }
            outcome => outcome,
        }
    }

    async fn try_counted(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<Vec<Option<Revision>>, Failure> {
        let begun_at = Instant::now();
        let outcome = self.try_once(jobs).await;
        if outcome.is_ok() {
            self.counts.batch_jobs.count(u64::try_from(jobs.len()).unwrap_or(u64::MAX));
            self.counts.batch_micros.count(micros_since(begun_at));
        } else {
            self.counts.failed_batches.fetch_add(1, Ordering::Relaxed);
        }
        if let Err(Failure::Failed(error)) = &outcome {
            self.counts.errors.count(error);
        }
        outcome
    }

    async fn try_once(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<Vec<Option<Revision>>, Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Box::pin(self.database.connect_writer()).await.map_err(Failure::Failed)?,
        };
        let locks = jobs.iter().any(|job| job.is_ordered());
        let head = match begin(&self.database, &mut connection, locks).await {
            Ok(head) => head,
            Err(error) => {
                self.roll_back(connection).await;
                return Err(Failure::Failed(error));
            }
        };
        let before = head.as_ref().map_or(0, |head| head.value);
        // Another node may have made another key current: what is written from here on stands under that one.
        let key = match head.as_ref().map(|head| self.keyring.get(head.keys.current)).transpose() {
            Ok(key) => key,
            Err(missing) => {
                self.roll_back(connection).await;
                return Err(Failure::Failed(missing.into()));
            }
        };
        let mut tx = Tx::new(connection, head, self.keyring.clone());
        let keys: Vec<_> = jobs.iter().flat_map(|job| job.answer_keys().to_vec()).collect();
        let ran = match tx.read_answers(keys).await {
            Ok(()) => run_all(&mut tx, jobs).await,
            Err(error) => Err(Failure::Failed(error)),
        };
        let outcome = match ran {
            Ok(revisions) => match tx.flush(key.as_deref(), before).await {
                Ok(flushed) => Ok((revisions, flushed)),
                Err(error) => Err(Failure::Failed(error)),
            },
            Err(failure) => Err(failure),
        };
        let connection = tx.into_connection();
        match outcome {
            Ok((revisions, flushed)) => match self.finish(connection, flushed).await {
                Ok(()) => Ok(revisions),
                Err(error) => Err(Failure::Failed(error)),
            },
            Err(failure) => {
                self.roll_back(connection).await;
                match failure {
                    // Alone, the job's own error is the answer.
                    Failure::Spoilt if jobs.len() == 1 => Ok(vec![None]),
                    failure => Err(failure),
                }
            }
        }
    }

    /// Writes the rest and commits. If the answer to that is lost, finds out what became of it.
    async fn finish(&mut self, mut connection: AnyConnection, flushed: Flushed) -> Result<(), Error> {
        let Flushed { revisions, marker, rest } = flushed;
        self.own.add(revisions);
        let begun_at = Instant::now();
        let Err(error) = rest.commit(&mut connection).await else {
            self.counts.commit_micros.count(micros_since(begun_at));
            self.connection = Some(connection);
            return Ok(());
        };
        self.own.remove(revisions);
        let (Error::Unavailable { source }, true, Some((seq, mac))) = (&error, error.is_lost(), &marker) else {
            self.roll_back(connection).await;
            return Err(error);
        };
        drop(connection);
        tracing::warn!(%error, "the connection was lost during a commit; finding out whether it took place");
        match self.was_committed(*seq, mac).await {
            Some(true) => {
                self.own.add(revisions);
                Ok(())
            }
            Some(false) => Err(error),
            None => Err(Error::OutcomeUnknown { source: Arc::clone(source) }),
        }
    }

    /// Whether the batch that ends with this audit event is in the database; `None` if that can't be found out in time.
    async fn was_committed(&mut self, seq: i64, mac: &[u8]) -> Option<bool> {
        let (times, pause) = ASK_AGAIN;
        for _ in 0..times {
            match self.look_up(seq, mac).await {
                Ok(found) => return Some(found),
                Err(error) => tracing::warn!(%error, "cannot find out yet what became of a commit"),
            }
            tokio::time::sleep(pause).await;
        }
        None
    }

    async fn look_up(&mut self, seq: i64, mac: &[u8]) -> Result<bool, Error> {
        let mut connection = Box::pin(self.database.connect_writer()).await?;
        // The old session may still be at its commit. It holds the counter, so this waits until it has ended.
        let found = match begin(&self.database, &mut connection, true).await {
            Ok(_) => find_mac(&mut connection, seq).await,
            Err(error) => Err(error),
        };
        self.roll_back(connection).await;
        Ok(found?.as_deref() == Some(mac))
    }

    /// Rolls back and keeps the connection, unless even that fails.
    async fn roll_back(&mut self, mut connection: AnyConnection) {
        match sqlx::raw_sql("ROLLBACK").execute(&mut connection).await {
            Ok(_) => self.connection = Some(connection),
            Err(error) => tracing::debug!(%error, "a rollback failed; its connection is given up"),
        }
    }
}

async fn begin(database: &Database, connection: &mut AnyConnection, locks: bool) -> Result<Option<Head>, Error> {
    if locks {
        return Head::begin(database, connection).await.map(Some);
    }
    let sql = if database.is_sqlite() { "BEGIN IMMEDIATE" } else { "BEGIN" };
    sqlx::raw_sql(sql).execute(connection).await?;
    Ok(None)
}

async fn run_all(tx: &mut Tx, jobs: &mut [Box<dyn Job>]) -> Result<Vec<Option<Revision>>, Failure> {
    let mut revisions = Vec::with_capacity(jobs.len());
    for job in jobs.iter_mut() {
        tx.begin_job();
        if job.run(tx).await {
            revisions.push(tx.end_job().map_err(Failure::Failed)?);
            continue;
        }
        if let Some(error) = tx.failure().filter(|error| error.is_everybodys()) {
            return Err(Failure::Failed(error.clone()));
        }
        if !tx.abandon_job() {
            return Err(Failure::Spoilt);
        }
        revisions.push(None);
    }
    Ok(revisions)
}

fn micros_since(begun_at: Instant) -> u64 {
    u64::try_from(begun_at.elapsed().as_micros()).unwrap_or(u64::MAX)
}

async fn find_mac(connection: &mut AnyConnection, seq: i64) -> Result<Option<Vec<u8>>, Error> {
    let row =
        sqlx::query("SELECT seq, mac FROM audit_event WHERE seq = $1").bind(seq).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let mut columns = Columns::of("audit_event", &row);
    columns.int()?;
    Ok(Some(columns.bytes()?.to_vec()))
}
