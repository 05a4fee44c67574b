//! The keys that sign assertions, their private halves closed.

use countersign_token::digest::KeyId;
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;

use crate::error::Error;
use crate::row::Columns;
use crate::store::Store;
use crate::tx::Tx;

/// A key that signs assertions, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionKey {
    /// The id by which a signature names it.
    pub id: String,
    /// Since when whoever asks is told of it.
    pub published_at: Timestamp,
    /// From when on it signs.
    pub current_at: Timestamp,
    /// The private key, closed.
    pub closed: String,
    /// The installation key that closes it.
    pub closed_under: KeyId,
    /// The public key in a certificate, in PEM.
    pub certificate: String,
}

async fn list(connection: &mut AnyConnection) -> Result<Vec<AssertionKey>, Error> {
    let query = sqlx::query(
        "SELECT id, published_at, current_at, closed, closed_under, certificate FROM assertion_key \
         ORDER BY current_at, id",
    );
    let rows = query.fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let mut columns = Columns::of("assertion_key", row);
            Ok(AssertionKey {
                id: columns.text()?.to_owned(),
                published_at: columns.time()?,
                current_at: columns.time()?,
                closed: columns.text()?.to_owned(),
                closed_under: columns.key_id()?,
                certificate: columns.text()?.to_owned(),
            })
        })
        .collect()
}

async fn days(connection: &mut AnyConnection) -> Result<u64, Error> {
    let query = sqlx::query("SELECT assertion_key_days FROM installation WHERE one = 1");
    let row = query.fetch_optional(connection).await?.ok_or(Error::Rows { expected: 1, actual: 0 })?;
    Columns::of("installation", &row).count()
}

impl Store {
    /// The keys that sign assertions, in the order in which they do.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_assertion_keys(&self) -> Result<Vec<AssertionKey>, Error> {
        list(&mut *self.reader().await?).await
    }

    /// After how many days another key signs assertions.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] before `init`; or when the database can't be read.
    pub async fn assertion_key_days(&self) -> Result<u64, Error> {
        days(&mut *self.reader().await?).await
    }
}

impl Tx {
    /// The keys that sign assertions, in the order in which they do.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_assertion_keys(&mut self) -> Result<Vec<AssertionKey>, Error> {
        let found = list(self.reading()).await;
        self.noting(found)
    }

    /// After how many days another key signs assertions.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] before `init`; or when the database can't be read.
    pub async fn assertion_key_days(&mut self) -> Result<u64, Error> {
        let found = days(self.reading()).await;
        self.noting(found)
    }

    /// Sets after how many days another key signs assertions.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] before `init`.
    pub async fn update_assertion_key_days(&mut self, days: u32) -> Result<(), Error> {
        self.revision();
        let query = sqlx::query("UPDATE installation SET assertion_key_days = $1 WHERE one = 1").bind(i64::from(days));
        self.execute(query, 1).await
    }

    /// Adds a key that signs assertions.
    ///
    /// # Errors
    ///
    /// When there is one with this id.
    pub async fn insert_assertion_key(&mut self, key: &AssertionKey) -> Result<(), Error> {
        self.revision();
        let query = sqlx::query(
            "INSERT INTO assertion_key (id, published_at, current_at, closed, closed_under, certificate) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(key.id.clone())
        .bind(key.published_at.as_micros())
        .bind(key.current_at.as_micros())
        .bind(key.closed.clone())
        .bind(i64::from(key.closed_under.get()))
        .bind(key.certificate.clone());
        self.execute(query, 1).await
    }

    /// Changes from when on a key signs, and what closes it.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if there is none with this id.
    pub async fn update_assertion_key(&mut self, key: &AssertionKey) -> Result<(), Error> {
        self.revision();
        let query =
            sqlx::query("UPDATE assertion_key SET current_at = $2, closed = $3, closed_under = $4 WHERE id = $1")
                .bind(key.id.clone())
                .bind(key.current_at.as_micros())
                .bind(key.closed.clone())
                .bind(i64::from(key.closed_under.get()));
        self.execute(query, 1).await
    }

    /// Removes a key that no assertion names any more.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if there is none with this id.
    pub async fn delete_assertion_key(&mut self, id: &str) -> Result<(), Error> {
        self.revision();
        self.execute(sqlx::query("DELETE FROM assertion_key WHERE id = $1").bind(id.to_owned()), 1).await
    }
}
