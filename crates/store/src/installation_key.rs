//! The keys that the installation has had, has, and will have. Which of them are live, the row of the counter says.

use countersign_token::digest::{KeyId, Keyring, LiveKeys};
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;

use crate::error::Error;
use crate::row::Columns;
use crate::store::Store;
use crate::tx::{Head, Tx, expect_rows};

/// What is kept of an installation key. It reveals nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Which one it is.
    pub id: KeyId,
    /// What tells it from others: `InstallationKey::check_value`.
    pub check_value: [u8; 32],
    /// When it was made known.
    pub prepared_at: Timestamp,
    /// Since when new rows stand under it; `None` if none ever did.
    pub current_at: Option<Timestamp>,
    /// Since when nothing is looked up by it any more.
    pub retired_at: Option<Timestamp>,
}

async fn list(connection: &mut AnyConnection) -> Result<Vec<KeyRecord>, Error> {
    let query =
        sqlx::query("SELECT id, check_value, prepared_at, current_at, retired_at FROM installation_key ORDER BY id");
    let rows = query.fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let mut columns = Columns::of("installation_key", row);
            Ok(KeyRecord {
                id: columns.key_id()?,
                check_value: *columns.digest()?.as_bytes(),
                prepared_at: columns.time()?,
                current_at: columns.time_if_any()?,
                retired_at: columns.time_if_any()?,
            })
        })
        .collect()
}

/// Finds out which key is which, and refuses keys that are not those of the installation, if there is one.
pub(crate) async fn identify(connection: &mut AnyConnection, keyring: &Keyring) -> Result<(), Error> {
    let records = list(connection).await?;
    if records.is_empty() {
        return Ok(());
    }
    let live = Head::read(connection).await?.keys;
    let checks: Vec<_> = records.iter().map(|record| (record.id, record.check_value)).collect();
    let is_any = keyring.held().iter().any(|key| checks.iter().any(|(_, check)| key.known_by(check).is_some()));
    match keyring.identify(live, &checks) {
        Ok(()) => Ok(()),
        Err(missing) if is_any => Err(missing.into()),
        Err(_) => Err(Error::KeyMismatch),
    }
}

/// Notes the first audit event under a key.
pub(crate) async fn begin_audit(connection: &mut AnyConnection, key: KeyId, seq: i64) -> Result<(), Error> {
    let query = sqlx::query("UPDATE installation_key SET first_audit_seq = $2 WHERE id = $1")
        .bind(i64::from(key.get()))
        .bind(seq);
    expect_rows(query.execute(connection).await?.rows_affected(), 1)
}

/// What an audit key that has been closed under another key looks like, and since which event it counts.
pub(crate) struct AuditKeyRecord {
    pub(crate) id: KeyId,
    pub(crate) first_seq: i64,
    pub(crate) closed: Option<[u8; 32]>,
}

/// The audit keys of all keys that were ever current, in their order.
pub(crate) async fn list_audit_keys(connection: &mut AnyConnection) -> Result<Vec<AuditKeyRecord>, Error> {
    let query = sqlx::query(
        "SELECT id, first_audit_seq, audit_key FROM installation_key WHERE first_audit_seq IS NOT NULL \
         ORDER BY first_audit_seq",
    );
    let rows = query.fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let mut columns = Columns::of("installation_key", row);
            Ok(AuditKeyRecord {
                id: columns.key_id()?,
                first_seq: columns.int()?,
                closed: columns.digest_if_any()?.map(|bytes| *bytes.as_bytes()),
            })
        })
        .collect()
}

/// The key that closes the audit keys of those that are not live any more: the older one, as long as there are two.
pub(crate) fn closing(live: LiveKeys) -> KeyId {
    live.before.unwrap_or(live.current)
}

impl Store {
    /// The keys that the installation has had, has, and will have, in the order of their ids; none before `init`.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_installation_keys(&self) -> Result<Vec<KeyRecord>, Error> {
        list(&mut *self.reader().await?).await
    }

    /// Which installation keys are live, as the database says.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn live_keys(&self) -> Result<LiveKeys, Error> {
        Ok(Head::read(&mut *self.reader().await?).await?.keys)
    }
}

impl Tx {
    /// The keys that the installation has had, has, and will have, in the order of their ids.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_installation_keys(&mut self) -> Result<Vec<KeyRecord>, Error> {
        let found = list(self.reading()).await;
        self.noting(found)
    }

    pub(crate) async fn insert_first_key(&mut self, check_value: &[u8; 32], at: Timestamp) -> Result<(), Error> {
        let query = sqlx::query(
            "INSERT INTO installation_key (id, check_value, prepared_at, current_at, first_audit_seq) \
             VALUES (1, $1, $2, $2, 1)",
        );
        self.execute(query.bind(check_value.to_vec()).bind(at.as_micros()), 1).await
    }

    /// Makes the next key known; one that was next before is dropped. Returns its id.
    ///
    /// # Errors
    ///
    /// When the database can't be written.
    pub async fn insert_next_key(&mut self, check_value: &[u8; 32], at: Timestamp) -> Result<KeyId, Error> {
        let live = self.live_keys();
        let newest = self.list_installation_keys().await?.last().map_or(KeyId::FIRST, |record| record.id);
        let id = KeyId::new(newest.get().saturating_add(1)).unwrap_or(newest);
        if let Some(dropped) = live.next {
            self.end_key(dropped, at).await?;
        }
        let query = sqlx::query("INSERT INTO installation_key (id, check_value, prepared_at) VALUES ($1, $2, $3)")
            .bind(i64::from(id.get()))
            .bind(check_value.to_vec())
            .bind(at.as_micros());
        self.execute(query, 1).await?;
        self.set_live_keys(LiveKeys { next: Some(id), ..live });
        Ok(id)
    }

    /// Makes the next key the current one, and the current one the one before.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if `next` is not the next key, or there is a key before already.
    pub async fn begin_next_key(&mut self, next: KeyId, at: Timestamp) -> Result<(), Error> {
        let live = self.live_keys();
        if live.next != Some(next) || live.before.is_some() {
            return Err(Error::Rows { expected: 1, actual: 0 });
        }
        let query = sqlx::query("UPDATE installation_key SET current_at = $2 WHERE id = $1")
            .bind(i64::from(next.get()))
            .bind(at.as_micros());
        self.execute(query, 1).await?;
        self.set_live_keys(LiveKeys { before: Some(live.current), current: next, next: None });
        Ok(())
    }

    /// Ends the key before. The audit keys that are needed for ever are closed under the current one.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if `before` is not the key before; [`Error::KeyMissing`] if one of the two is not here.
    pub async fn end_key_before(&mut self, before: KeyId, at: Timestamp) -> Result<(), Error> {
        let live = self.live_keys();
        if live.before != Some(before) {
            return Err(Error::Rows { expected: 1, actual: 0 });
        }
        let (old, new) = (self.keyring().get(before)?, self.keyring().get(live.current)?);
        let found = list_audit_keys(self.reading()).await;
        for record in self.noting(found)? {
            let closed = match record.closed {
                Some(closed) => new.pad_audit_key(record.id, &old.pad_audit_key(record.id, &closed)),
                None if record.id == before => new.pad_audit_key(before, old.audit_key().as_bytes()),
                None => continue,
            };
            let query = sqlx::query("UPDATE installation_key SET audit_key = $2 WHERE id = $1")
                .bind(i64::from(record.id.get()))
                .bind(closed.to_vec());
            self.execute(query, 1).await?;
        }
        self.end_key(before, at).await?;
        self.set_live_keys(LiveKeys { before: None, ..live });
        Ok(())
    }

    async fn end_key(&mut self, id: KeyId, at: Timestamp) -> Result<(), Error> {
        let query = sqlx::query("UPDATE installation_key SET retired_at = $2 WHERE id = $1")
            .bind(i64::from(id.get()))
            .bind(at.as_micros());
        self.execute(query, 1).await
    }
}
