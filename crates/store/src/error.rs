//! What can go wrong in the store.

use std::path::PathBuf;
use std::sync::Arc;

use countersign_token::digest::NoKey;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

/// Why the store could not do what was asked. Absence is never an error: look-ups return `Option`.
///
/// It clones, because one failed commit answers every job of its batch; the driver's error stays its source.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A row with this key exists already, or a row that is referred to doesn't. Nothing was changed.
    #[error("the row conflicts with another one: {source}")]
    Conflict {
        /// What the driver said.
        source: Arc<sqlx::Error>,
    },
    /// The database can't be reached, or is too busy to answer in time. Nothing was changed.
    #[error("the database is not available: {source}")]
    Unavailable {
        /// What the driver said.
        source: Arc<sqlx::Error>,
    },
    /// The connection was lost while a commit was under way, and it could not be found out in time whether the commit
    /// took place. The change is there either whole or not at all.
    #[error("the connection was lost during a commit, and its outcome is not known: {source}")]
    OutcomeUnknown {
        /// The loss.
        source: Arc<sqlx::Error>,
    },
    /// The database, its file or its directory can't be written. Nothing was changed.
    #[error("the database is read-only: {source}")]
    ReadOnly {
        /// What the driver or the system said.
        source: Source,
    },
    /// The disk, or the space that the database may use, is full. Nothing was changed.
    #[error("there is no space left for the database: {source}")]
    Full {
        /// What the driver or the system said.
        source: Source,
    },
    /// The file is there and is not a database, or one of another program.
    #[error("{path} is not a Countersign database: {problem}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        problem: String,
    },
    /// The database file can't be opened.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// The database's address can't be understood.
    #[error("{address:?} is not the address of a database: {problem}")]
    Address {
        /// The address, without a password.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A newer Countersign has changed the schema. This one must not touch it.
    #[error(
        "the database has schema version {found}, and this countersign knows versions up to {known}: use the version \
         that wrote it, or a newer one"
    )]
    SchemaNewer {
        /// The newest version that the database has.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// The schema is of an older Countersign, and whoever opened the database may not change it.
    #[error(
        "the database has schema version {found}, and this countersign works with version {known}: the start of a server \
         brings it up to date. Until then, use the version that wrote it"
    )]
    SchemaOlder {
        /// The newest version that the database has.
        found: i64,
        /// The version that this program works with.
        known: i64,
    },
    /// A migration that this database has was a different text when it was applied.
    #[error("schema version {version} of the database was made by another text than this countersign's")]
    SchemaChanged {
        /// The version of that migration.
        version: i64,
    },
    /// The installation key is not the one that this database was initialised with. Every secret would be refused.
    #[error(
        "the installation key is not the one of this database: give the key that `init` made (the file \
         `installation.key` of the data directory, or what --installation-key-file names), or restore it from a backup"
    )]
    KeyMismatch,
    /// An installation key is needed that this process does not hold.
    #[error(
        "{0}. The key is being changed, or was: add this key to the key file from a server that has it (beside the one that is \
         there, separated by white space), and see docs/key-rotation.md"
    )]
    KeyMissing(NoKey),
    /// The installation exists already.
    #[error("this database holds an installation already")]
    Initialised,
    /// A row holds what this program never writes there.
    #[error("{table}.{column} of row {key:?} can't be read: {problem}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: String,
        /// The first column's value.
        key: String,
        /// What is wrong with the value.
        problem: String,
    },
    /// A statement by key met another number of rows than it must. The transaction was rolled back.
    #[error("{expected} rows should have changed, and {actual} did")]
    Rows {
        /// How many rows the statement had to change.
        expected: u64,
        /// How many it changed.
        actual: u64,
    },
    /// A job changed rows and recorded no audit event. It was rolled back.
    #[error("a change without an audit event was rolled back")]
    Unaudited,
    /// The writer has ended; the program is stopping.
    #[error("the writer of the store has ended")]
    Stopped,
    /// Anything else that the driver says: a bug of ours, or a damaged database.
    #[error("the database refused a statement: {source}")]
    Database {
        /// What the driver said.
        source: Arc<sqlx::Error>,
    },
}

/// The driver's or the system's word for a failure.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Source {
    /// From the database driver.
    #[error("{0}")]
    Driver(#[source] Arc<sqlx::Error>),
    /// From the file system.
    #[error("{0}")]
    System(#[source] Arc<std::io::Error>),
}

// Not by `#[from]`: what is missing stands in the message, and a source would say it again.
impl From<NoKey> for Error {
    fn from(missing: NoKey) -> Self {
        Self::KeyMissing(missing)
    }
}

impl Error {
    /// Every word of [`Error::kind`].
    pub const KINDS: [&'static str; 9] =
        ["conflict", "unavailable", "outcome_unknown", "read_only", "full", "stopped", "setup", "inconsistent", "bug"];

    /// A word for the kind of failure, such as `unavailable`: for counting. There are few, and they stay as they are.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "conflict",
            Self::Unavailable { .. } => "unavailable",
            Self::OutcomeUnknown { .. } => "outcome_unknown",
            Self::ReadOnly { .. } => "read_only",
            Self::Full { .. } => "full",
            Self::Stopped => "stopped",
            Self::Foreign { .. }
            | Self::Open { .. }
            | Self::Address { .. }
            | Self::SchemaNewer { .. }
            | Self::SchemaOlder { .. }
            | Self::SchemaChanged { .. }
            | Self::KeyMismatch
            | Self::KeyMissing(_)
            | Self::Initialised => "setup",
            Self::Inconsistent { .. } => "inconsistent",
            Self::Rows { .. } | Self::Unaudited | Self::Database { .. } => "bug",
        }
    }

    /// Whether the connection is gone, so that another one has to be made.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Unavailable { source } if Kind::of(source) == Kind::Lost)
    }

    /// Whether running the same job alone would meet the same failure.
    pub(crate) fn is_everybodys(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. } | Self::OutcomeUnknown { .. } | Self::ReadOnly { .. } | Self::Open { .. }
        )
    }

    /// What opening or creating the file at `path` ran into.
    pub(crate) fn from_io(path: PathBuf, error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let kind = error.kind();
        let source = Arc::new(error);
        match kind {
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
                Self::ReadOnly { source: Source::System(source) }
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { source: Source::System(source) },
            _ => Self::Open { path, source },
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::of(Kind::of(&error), error)
    }
}

impl Error {
    fn of(kind: Kind, error: sqlx::Error) -> Self {
        let source = Arc::new(error);
        match kind {
            Kind::Conflict => Self::Conflict { source },
            Kind::Lost | Kind::Busy => Self::Unavailable { source },
            Kind::ReadOnly => Self::ReadOnly { source: Source::Driver(source) },
            Kind::Full => Self::Full { source: Source::Driver(source) },
            Kind::Other => Self::Database { source },
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let kind = error.sqlite_error().map_or(Kind::Other, |error| Kind::of_sqlite(error.extended_code));
        Self::of(kind, sqlx::Error::AnyDriverError(Box::new(error)))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Conflict,
    Lost,
    Busy,
    ReadOnly,
    Full,
    Other,
}

impl Kind {
    fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default();
                if error.try_downcast_ref::<SqliteError>().is_some() {
                    Self::of_sqlite(code.parse().unwrap_or_default())
                } else if error.try_downcast_ref::<PgDatabaseError>().is_some() {
                    Self::of_postgres(&code)
                } else {
                    Self::Other
                }
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Lost,
            _ => Self::Other,
        }
    }

    /// By SQLite's extended result code, whose low byte is the primary one.
    fn of_sqlite(code: i32) -> Self {
        // SQLITE_IOERR_SHMSIZE: the shared-memory file can't grow, for which a full disk is the one ordinary cause.
        const IOERR_SHMSIZE: i32 = 4874;
        // SQLITE_CONSTRAINT_FOREIGNKEY, _PRIMARYKEY, _UNIQUE; the other constraints are bugs of ours.
        const CONSTRAINTS: [i32; 3] = [787, 1555, 2067];
        match (code & 0xff, code) {
            (5 | 6, _) => Self::Busy,
            (8, _) => Self::ReadOnly,
            (13, _) | (_, IOERR_SHMSIZE) => Self::Full,
            (10 | 14, _) => Self::Lost,
            (_, code) if CONSTRAINTS.contains(&code) => Self::Conflict,
            _ => Self::Other,
        }
    }

    /// By SQLSTATE.
    fn of_postgres(code: &str) -> Self {
        match code {
            "23505" | "23503" => Self::Conflict,
            "25006" => Self::ReadOnly,
            "53100" => Self::Full,
            // The server ends the session: shutdown, crash, a session left idle within a transaction or altogether.
            "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => Self::Lost,
            _ => match code.get(..2) {
                Some("08") => Self::Lost,
                // Resources, locks, serialisation, cancelled statements, refused log-ins.
                Some("53" | "55" | "40" | "57" | "28" | "3D") => Self::Busy,
                _ => Self::Other,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_codes_have_their_kinds() {
        let check = |code, expected| assert_eq!(Kind::of_sqlite(code), expected, "{code}");
        check(5, Kind::Busy);
        check(517, Kind::Busy);
        check(8, Kind::ReadOnly);
        check(1032, Kind::ReadOnly);
        check(13, Kind::Full);
        check(778, Kind::Lost);
        check(4874, Kind::Full);
        check(1555, Kind::Conflict);
        check(2067, Kind::Conflict);
        check(787, Kind::Conflict);
        check(275, Kind::Other);
        check(1, Kind::Other);
    }

    #[test]
    fn postgres_codes_have_their_kinds() {
        let check = |code, expected| assert_eq!(Kind::of_postgres(code), expected, "{code}");
        check("23505", Kind::Conflict);
        check("23502", Kind::Other);
        check("25006", Kind::ReadOnly);
        check("25P03", Kind::Lost);
        check("53100", Kind::Full);
        check("53300", Kind::Busy);
        check("57014", Kind::Busy);
        check("57P01", Kind::Lost);
        check("08006", Kind::Lost);
        check("42601", Kind::Other);
        check("", Kind::Other);
    }
}
