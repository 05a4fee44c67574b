//! Where the database is, and how its connections are opened.

use std::fmt;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use crate::embedded::Readers;
use crate::error::Error;

/// How long a connection waits for another process's transaction on SQLite, and for a connection on PostgreSQL.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the rows live.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// A file. It is created, readable by its owner only, if it does not exist.
    Sqlite(PathBuf),
    /// A `postgres:` URL. The database must exist.
    Postgres(String),
}

impl Database {
    /// Reads `sqlite:PATH`, `postgres:…` or `postgresql:…`.
    ///
    /// # Errors
    ///
    /// [`Error::Address`] for any other scheme, or an empty path.
    pub fn parse(address: &str) -> Result<Self, Error> {
        let problem = |problem: &str| Error::Address { address: redact(address), problem: problem.to_owned() };
        match address.split_once(':') {
            Some(("sqlite", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                if path.is_empty() {
                    return Err(problem("the path is missing"));
                }
                Ok(Self::Sqlite(PathBuf::from(path)))
            }
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(address.to_owned())),
            _ => Err(problem("it starts with neither sqlite: nor postgres:")),
        }
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    fn options(&self) -> Result<AnyConnectOptions, Error> {
        sqlx::any::install_default_drivers();
        let url = match self {
            Self::Sqlite(path) => sqlite_url(path)?,
            Self::Postgres(url) => url.clone(),
        };
        let options = url.parse::<AnyConnectOptions>().map_err(|error| self.opening_error(error))?;
        // Statements carry no values, but there are many of them; what failed is in the error.
        Ok(options.disable_statement_logging())
    }

    /// Creates the file with the rights that a file of digests should have, before the driver would with others.
    pub(crate) fn create_missing_file(&self) -> Result<(), Error> {
        let Self::Sqlite(path) = self else { return Ok(()) };
        match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(Error::from_io(path.clone(), error)),
        }
    }

    /// A connection that may write.
    pub(crate) async fn connect_writer(&self) -> Result<AnyConnection, Error> {
        let mut connection = self.connect().await?;
        match self {
            Self::Sqlite(_) => {
                set_wal(&mut connection).await.map_err(|error| self.opening_error(error))?;
                sqlx::raw_sql(
                    "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -16384; \
                     PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 67108864;",
                )
                .execute(&mut connection)
                .await?;
            }
            Self::Postgres(_) => {
                // A node that stops within a transaction holds the counter's lock, and with it everybody's writes. A
                // server-wide `synchronous_commit = off` would acknowledge what a crash can lose.
                sqlx::raw_sql(
                    "SET idle_in_transaction_session_timeout = '2s'; SET lock_timeout = '10s'; \
                     DO $$ BEGIN IF current_setting('synchronous_commit') = 'off' THEN \
                     SET synchronous_commit = 'on'; END IF; END $$;",
                )
                .execute(&mut connection)
                .await?;
            }
        }
        Ok(connection)
    }

    /// A connection that only reads.
    pub(crate) async fn connect_reader(&self) -> Result<AnyConnection, Error> {
        let mut connection = self.connect().await?;
        sqlx::raw_sql(self.reader_settings()).execute(&mut connection).await?;
        Ok(connection)
    }

    /// The same of a database that must exist.
    pub(crate) async fn connect_existing(&self) -> Result<AnyConnection, Error> {
        if let Self::Sqlite(path) = self {
            std::fs::metadata(path).map_err(|error| Error::from_io(path.clone(), error))?;
        }
        let mut connection = self.connect_reader().await?;
        if self.is_sqlite() {
            // The file is looked at with the first statement that needs it.
            let look = sqlx::raw_sql("SELECT COUNT(*) FROM sqlite_master");
            look.execute(&mut connection).await.map_err(|error| self.opening_error(error))?;
        }
        Ok(connection)
    }

    /// A pool of up to `size` connections that only read, opened when first needed.
    pub(crate) fn readers(&self, size: u32) -> Result<AnyPool, Error> {
        let settings = self.reader_settings();
        let pool = AnyPoolOptions::new()
            .max_connections(size.max(1))
            .acquire_timeout(PATIENCE)
            // A connection to a file does not go away by itself; one to a server does.
            .test_before_acquire(!self.is_sqlite())
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    sqlx::raw_sql(settings).execute(connection).await?;
                    Ok(())
                })
            });
        Ok(pool.connect_lazy_with(self.options()?))
    }

    /// The same of SQLite's own library; `None` on PostgreSQL.
    pub(crate) fn embedded_readers(&self, size: u32) -> Option<Arc<Readers>> {
        match self {
            Self::Sqlite(path) => Some(Readers::new(path.clone(), size)),
            Self::Postgres(_) => None,
        }
    }

    fn reader_settings(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "PRAGMA query_only = ON; PRAGMA busy_timeout = 10000;",
            Self::Postgres(_) => {
                "SET default_transaction_read_only = on; SET idle_in_transaction_session_timeout = '60s';"
            }
        }
    }

    async fn connect(&self) -> Result<AnyConnection, Error> {
        let options = self.options()?;
        let connecting = tokio::time::timeout(PATIENCE, options.connect());
        let mut connection = match connecting.await {
            Ok(connection) => connection.map_err(|error| self.opening_error(error))?,
            Err(_elapsed) => return Err(sqlx::Error::PoolTimedOut.into()),
        };
        if self.is_sqlite() {
            sqlx::raw_sql("PRAGMA busy_timeout = 10000")
                .execute(&mut connection)
                .await
                .map_err(|error| self.opening_error(error))?;
        }
        Ok(connection)
    }

    /// Failures that mean something else while a database is opened than later.
    fn opening_error(&self, error: sqlx::Error) -> Error {
        // The low bytes of SQLite's codes for a file that can't be opened, and for one that is no database.
        const CANT_OPEN: i32 = 14;
        const NOT_A_DATABASE: i32 = 26;
        if let sqlx::Error::Configuration(_) = error {
            return Error::Address { address: self.to_string(), problem: error.to_string() };
        }
        let (Self::Sqlite(path), sqlx::Error::Database(cause)) = (self, &error) else { return error.into() };
        let code = cause.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or_default();
        match code & 0xff {
            NOT_A_DATABASE => {
                Error::Foreign { path: path.clone(), problem: "the file is not an SQLite database".to_owned() }
            }
            CANT_OPEN if path.is_dir() => Error::from_io(path.clone(), std::io::ErrorKind::IsADirectory.into()),
            // The file is there, so it is the log beside it that can't be made.
            CANT_OPEN => Error::ReadOnly { source: crate::error::Source::Driver(error.into()) },
            _ => error.into(),
        }
    }
}

/// Without the password that a URL may carry.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => f.write_str(&redact(url)),
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a store is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the rows live.
    pub database: Database,
    /// How many connections may read at once, at least 1.
    pub readers: u32,
}

/// Cuts out whatever may be a password: all between the scheme and the last `@`, and all parameters.
fn redact(address: &str) -> String {
    let address = address.split_once('?').map_or(address, |(before, _)| before);
    match (address.split_once("//"), address.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}//…@{host}"),
        _ => address.to_owned(),
    }
}

fn sqlite_url(path: &Path) -> Result<String, Error> {
    let problem =
        |problem: &str| Error::Address { address: format!("sqlite:{}", path.display()), problem: problem.to_owned() };
    let absolute = std::path::absolute(path).map_err(|error| Error::from_io(path.to_owned(), error))?;
    let text = absolute.to_str().ok_or_else(|| problem("the path is not UTF-8"))?;
    let mut url = String::from("sqlite://");
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'/' | b'-' | b'_' | b'.' | b'~' => url.push(char::from(byte)),
            // The driver decodes the path again; this keeps `?`, `#` and `%` in it.
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(url)
}

/// Switches the file to write-ahead logging, which it then keeps.
async fn set_wal(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    const ATTEMPTS: u32 = 200;
    for _ in 0..ATTEMPTS {
        let mode = sqlx::raw_sql("PRAGMA journal_mode = WAL").fetch_one(&mut *connection).await;
        match mode {
            Ok(row) if row.try_get::<&str, _>(0)? == "wal" => return Ok(()),
            Ok(row) => {
                let mode: &str = row.try_get(0)?;
                let problem = format!("its file system allows no write-ahead log (the mode stays {mode:?})");
                return Err(sqlx::Error::Configuration(problem.into()));
            }
            // The switch does not wait for other connections as statements do, so this waits for them.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("5") => {
                tokio::time::sleep(PATIENCE / ATTEMPTS).await;
            }
            Err(error) => return Err(error),
        }
    }
    Err(sqlx::Error::PoolTimedOut)
}

/// Closes a connection and forgets what it says to that: nothing depends on it.
pub(crate) async fn close(connection: AnyConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "a database connection did not close in order");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse() {
        let check = |address: &str, expected: Option<Database>| {
            assert_eq!(Database::parse(address).ok(), expected, "{address}")
        };
        let sqlite = |path: &str| Some(Database::Sqlite(PathBuf::from(path)));
        check("sqlite:data/countersign.db", sqlite("data/countersign.db"));
        check("sqlite:///var/lib/c.db", sqlite("/var/lib/c.db"));
        check("sqlite:/a?b#c%20.db", sqlite("/a?b#c%20.db"));
        check("postgres://u:p@h/d", Some(Database::Postgres("postgres://u:p@h/d".to_owned())));
        check("postgresql:///d?host=/run", Some(Database::Postgres("postgresql:///d?host=/run".to_owned())));
        check("sqlite:", None);
        check("sqlite://", None);
        check("mysql://h/d", None);
        check("/var/lib/c.db", None);
        check("", None);
    }

    #[test]
    fn passwords_are_never_shown() {
        let check = |address: &str, shown: &str| {
            assert_eq!(Database::Postgres(address.to_owned()).to_string(), shown);
        };
        check("postgres://u:p@ss@h:5432/d", "postgres://…@h:5432/d");
        check("postgres://h/d?password=p", "postgres://h/d");
        check("postgres:///d", "postgres:///d");
        let error = Database::parse("mysql://u:secret@h/d").expect_err("mysql is not known");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn paths_survive_the_url() {
        let check = |path: &str, url: &str| assert_eq!(sqlite_url(Path::new(path)).expect("a UTF-8 path"), url);
        check("/var/lib/c.db", "sqlite:///var/lib/c.db");
        check("/a b/?#%.db", "sqlite:///a%20b/%3F%23%25.db");
    }
}
