//! The handle that everybody holds.

use std::fmt;
use std::sync::Arc;

use countersign_token::digest::Keyring;
use countersign_token::feed::Revision;
use countersign_token::id::AccountId;
use sqlx::pool::PoolConnection;
use sqlx::{Any, Transaction};
use sqlx::{AnyConnection, AnyPool};
use tokio::sync::{mpsc, oneshot};

use crate::database::{self, Database, Options};
use crate::embedded::Readers;
use crate::error::Error;
use crate::installation_key;
use crate::migrate;
use crate::tx::{Head, Tx};
use crate::watch::Watch;
use crate::write::{Apart, BoxFuture, Job, Lane, Own, QUEUE_MAX, Queued, Writer, WriterCounts, Written};

/// The store. Clones share everything; when the last one is gone, the [`Writer`] ends.
///
/// Reads go to the database directly. Writes go through the writer's queue.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    database: Database,
    readers: AnyPool,
    /// Beside `readers`, for what reads many rows; `None` on PostgreSQL.
    embedded: Option<Arc<Readers>>,
    ordered: mpsc::Sender<Box<dyn Job>>,
    apart: mpsc::Sender<Box<dyn Job>>,
    own: Arc<Own>,
    counts: Arc<WriterCounts>,
    keyring: Keyring,
}

impl Store {
    /// Opens the database, creates its file if need be, and brings its schema up to date.
    ///
    /// The caller runs the writer on a task of its own. Without it, writes wait for ever.
    ///
    /// # Errors
    ///
    /// [`Error::SchemaNewer`], [`Error::SchemaChanged`], [`Error::KeyMismatch`], [`Error::KeyMissing`], [`Error::Foreign`],
    /// [`Error::ReadOnly`], [`Error::Full`], or that the database can't be opened. Nothing was changed then.
    pub async fn connect(options: Options, keys: impl Into<Keyring>) -> Result<(Self, Writer), Error> {
        let keyring = keys.into();
        let Options { database, readers } = options;
        database.create_missing_file()?;
        let mut connection = Box::pin(database.connect_writer()).await?;
        migrate::migrate(&database, &mut connection).await?;
        installation_key::identify(&mut connection, &keyring).await?;
        let own = Arc::new(Own::new(Head::read(&mut connection).await?.value));

        let counts = Arc::new(WriterCounts::new());
        let (ordered, queue) = mpsc::channel(QUEUE_MAX);
        let lane = Lane::new(
            database.clone(),
            keyring.clone(),
            Arc::clone(&own),
            Arc::clone(&counts),
            queue,
            Some(connection),
        );
        let (apart, apart_lane) = if database.is_sqlite() {
            (ordered.clone(), None)
        } else {
            let (apart, queue) = mpsc::channel(QUEUE_MAX);
            let lane = Lane::new(database.clone(), keyring.clone(), Arc::clone(&own), Arc::clone(&counts), queue, None);
            (apart, Some(lane))
        };
        let embedded = database.embedded_readers(readers);
        let readers = database.readers(readers)?;
        let store = Self(Arc::new(Inner { database, readers, embedded, ordered, apart, own, counts, keyring }));
        Ok((store, Writer::new(lane, apart_lane)))
    }

    /// Opens a database that exists, only to read it: nothing in it is changed, its schema neither. Every write ends with
    /// [`Error::Stopped`].
    ///
    /// # Errors
    ///
    /// [`Error::SchemaOlder`] for a schema that is to be brought up to date first, also for none; otherwise as
    /// [`connect`](Self::connect).
    pub async fn connect_reader(options: Options, keys: impl Into<Keyring>) -> Result<Self, Error> {
        let keyring = keys.into();
        let Options { database, readers } = options;
        let mut connection = Box::pin(database.connect_existing()).await?;
        let (found, known) = (migrate::find_version(&database, &mut connection).await?, migrate::known_version());
        match found.unwrap_or(0) {
            found if found > known => return Err(Error::SchemaNewer { found, known }),
            found if found < known => return Err(Error::SchemaOlder { found, known }),
            _ => {}
        }
        installation_key::identify(&mut connection, &keyring).await?;
        let own = Arc::new(Own::new(Head::read(&mut connection).await?.value));
        database::close(connection).await;
        let embedded = database.embedded_readers(readers);
        let readers = database.readers(readers)?;
        // Nobody works off this queue.
        let (ordered, _) = mpsc::channel(1);
        let counts = Arc::new(WriterCounts::new());
        let apart = ordered.clone();
        let inner = Inner { database, readers, embedded, ordered, apart, own, counts, keyring };
        Ok(Self(Arc::new(inner)))
    }

    /// Queues a job for the writer, and returns when it is committed.
    ///
    /// The job may be run more than once before that, and must do the same each time: what it needs (times, ids, secrets)
    /// comes in with it. If it returns an error, nothing of it is committed. Dropping the future does not stop the job.
    ///
    /// # Errors
    ///
    /// What the job returns; or an [`Error`] because of which it could not be committed.
    pub async fn write<T, E, F>(&self, job: F) -> Result<Written<T>, E>
    where
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + Sync + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.write_asking(Vec::new(), job).await
    }

    /// As [`write`](Self::write), for a job that looks up the answers under these keys of accounts: the answers that jobs
    /// in a row ask for are read together.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub async fn write_asking<T, E, F>(&self, keys: Vec<(AccountId, String)>, job: F) -> Result<Written<T>, E>
    where
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + Sync + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        submit(&self.0.ordered, Box::new(Queued::new(keys, job, reply)), answer).await
    }

    /// As [`write`](Self::write), for rows without revision that no other job reads.
    pub(crate) async fn write_apart<T, F>(&self, job: F) -> Result<T, Error>
    where
        F: for<'t> Fn(&'t mut AnyConnection) -> BoxFuture<'t, Result<T, Error>> + Send + Sync + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let written = submit(&self.0.apart, Box::new(Apart::new(job, reply)), answer).await?;
        Ok(written.value)
    }

    /// The newest revision that is committed.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn revision(&self) -> Result<Revision, Error> {
        let mut reader = self.reader().await?;
        Ok(Revision::new(Head::read(&mut reader).await?.value))
    }

    /// What the writer has done since the store was opened, and which errors were met.
    pub fn writer_counts(&self) -> &WriterCounts {
        &self.0.counts
    }

    /// How many jobs wait for the writer to take them up.
    pub fn queued_writes(&self) -> usize {
        self.0.ordered.max_capacity() - self.0.ordered.capacity()
    }

    /// Whether the database is a file that this machine alone uses.
    pub fn is_embedded(&self) -> bool {
        self.0.database.is_sqlite()
    }

    /// Whether revisions that another process wrote are among those up to `polled` that have not been asked about before.
    pub fn take_foreign(&self, polled: Revision) -> bool {
        self.0.own.take_foreign(polled.get())
    }

    /// Something to await until another process may have written.
    ///
    /// # Errors
    ///
    /// When the database can't be reached.
    pub async fn watch(&self) -> Result<Watch, Error> {
        Watch::connect(self.0.database.clone(), Arc::clone(&self.0.own)).await
    }

    /// Closes the connections that read. Nothing can be read afterwards.
    pub async fn close(&self) {
        self.0.readers.close().await;
        if let Some(embedded) = self.embedded() {
            embedded.close().await;
        }
    }

    /// What reads SQLite without the general driver; `None` on PostgreSQL.
    pub(crate) fn embedded(&self) -> Option<&Arc<Readers>> {
        self.0.embedded.as_ref()
    }

    pub(crate) async fn reader(&self) -> Result<PoolConnection<Any>, Error> {
        self.0.readers.acquire().await.map_err(|error| self.counted(error))
    }

    /// A transaction in which all reads see the same moment. It ends when it is dropped.
    pub(crate) async fn snapshot(&self) -> Result<Transaction<'static, Any>, Error> {
        let begin = if self.is_embedded() { "BEGIN" } else { "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" };
        self.0.readers.begin_with(begin).await.map_err(|error| self.counted(error))
    }

    fn counted(&self, error: sqlx::Error) -> Error {
        let error = error.into();
        self.0.counts.errors.count(&error);
        error
    }

    /// Counts the error, if it is one.
    pub(crate) fn counting<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        outcome.inspect_err(|error| self.0.counts.errors.count(error))
    }

    pub(crate) fn database(&self) -> &Database {
        &self.0.database
    }

    /// The installation keys that the store was opened with. Whoever adds to them, or takes over which are live, does it for
    /// the writer too.
    pub fn keys(&self) -> &Keyring {
        &self.0.keyring
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("database", &self.0.database).finish_non_exhaustive()
    }
}

async fn submit<T, E: From<Error>>(
    queue: &mpsc::Sender<Box<dyn Job>>,
    job: Box<dyn Job>,
    answer: oneshot::Receiver<Result<Written<T>, E>>,
) -> Result<Written<T>, E> {
    if queue.send(job).await.is_err() {
        return Err(Error::Stopped.into());
    }
    answer.await.unwrap_or_else(|_closed| Err(Error::Stopped.into()))
}
