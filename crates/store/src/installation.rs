//! What the installation is.

use std::time::Duration;

use countersign_token::api_token::FIRST_KEY_ID;
use countersign_token::id::InstallationId;
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;

use crate::error::Error;
use crate::row::Columns;
use crate::store::Store;
use crate::tx::Tx;

/// The one installation that a database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Its id, which never changes: every JWT names it.
    pub id: InstallationId,
    /// When it was made.
    pub created_at: Timestamp,
    /// How old a node's knowledge may be before it refuses everything, in whole microseconds.
    pub max_staleness: Duration,
}

impl Installation {
    /// The staleness that a new installation allows.
    pub const MAX_STALENESS: Duration = Duration::from_secs(5);
}

macro_rules! select {
    () => {
        "SELECT id, created_at, max_staleness FROM installation WHERE one = 1"
    };
}

async fn find(connection: &mut AnyConnection) -> Result<Option<Installation>, Error> {
    let row = sqlx::query(select!()).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let mut columns = Columns::of("installation", &row);
    let installation = Installation {
        id: columns.parse()?,
        created_at: columns.time()?,
        max_staleness: Duration::from_micros(columns.count()?),
    };
    Ok(Some(installation))
}

async fn find_signing_key_id(connection: &mut AnyConnection) -> Result<String, Error> {
    let row = sqlx::query("SELECT signing_key_id FROM installation WHERE one = 1").fetch_optional(connection).await?;
    let row = row.ok_or(Error::Rows { expected: 1, actual: 0 })?;
    Ok(Columns::of("installation", &row).text()?.to_owned())
}

impl Store {
    /// The id of the key that new API tokens are signed with.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] before `init`; or when the database can't be read.
    pub async fn signing_key_id(&self) -> Result<String, Error> {
        find_signing_key_id(&mut *self.reader().await?).await
    }

    /// The installation; `None` before `init`.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn installation(&self) -> Result<Option<Installation>, Error> {
        let mut reader = self.reader().await?;
        find(&mut reader).await
    }
}

impl Tx {
    /// The installation; `None` before `init`.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn installation(&mut self) -> Result<Option<Installation>, Error> {
        let found = find(self.reading()).await;
        self.noting(found)
    }

    /// Makes the database an installation's, and binds it to the installation key that the store was opened with.
    ///
    /// # Errors
    ///
    /// [`Error::Initialised`] if it is one already, before anything was written.
    pub async fn insert_installation(&mut self, installation: &Installation) -> Result<(), Error> {
        if self.installation().await?.is_some() {
            return Err(Error::Initialised);
        }
        let check_value = self.installation_key()?.check_value();
        let max_staleness = i64::try_from(installation.max_staleness.as_micros()).unwrap_or(i64::MAX);
        self.revision();
        let query = sqlx::query(
            "INSERT INTO installation (one, id, created_at, key_check, max_staleness, signing_key_id) \
             VALUES (1, $1, $2, $3, $4, $5)",
        )
        .bind(installation.id.to_string())
        .bind(installation.created_at.as_micros())
        .bind(check_value.to_vec())
        .bind(max_staleness)
        .bind(FIRST_KEY_ID);
        self.execute(query, 1).await?;
        self.insert_first_key(&check_value, installation.created_at).await
    }

    /// The id of the key that new API tokens are signed with.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] before `init`; or when the database can't be read.
    pub async fn signing_key_id(&mut self) -> Result<String, Error> {
        if let Some(known) = self.known_signing_key_id() {
            return Ok(known.clone());
        }
        let found = find_signing_key_id(self.reading()).await;
        let found = self.noting(found)?;
        Ok(self.known_signing_key_id().insert(found).clone())
    }

    /// Sets the key that new API tokens are signed with.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] before `init`.
    pub async fn update_signing_key_id(&mut self, key_id: &str) -> Result<(), Error> {
        self.revision();
        let query = sqlx::query("UPDATE installation SET signing_key_id = $1 WHERE one = 1").bind(key_id.to_owned());
        self.execute(query, 1).await?;
        *self.known_signing_key_id() = Some(key_id.to_owned());
        Ok(())
    }
}
