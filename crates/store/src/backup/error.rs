//! What can go wrong with a backup.

use std::io;

/// Why a backup was not made, or not restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not do its part.
    #[error(transparent)]
    Store(#[from] crate::Error),
    /// There is nothing to back up.
    #[error("there is no installation in this database")]
    NoInstallation,
    /// The backup can't be written.
    #[error("the backup can't be written: {0}")]
    Write(#[source] io::Error),
    /// The backup can't be read.
    #[error("the backup can't be read: {0}")]
    Read(#[source] io::Error),
    /// The file begins as no backup does.
    #[error("this is no backup of Countersign")]
    Foreign,
    /// The file is of a form that this program does not know.
    #[error(
        "the backup has format {found}, and this countersign knows format {known}: use the version that made it, or a newer one"
    )]
    Format {
        /// The format that it has.
        found: u8,
        /// The newest format that this program knows.
        known: u8,
    },
    /// The file is cut off, or was changed.
    #[error("the backup is damaged at byte {at}: {problem}")]
    Damaged {
        /// How far it could be read.
        at: u64,
        /// What is wrong there.
        problem: String,
    },
    /// The file was changed by somebody who did not have the installation key.
    #[error("the backup was not made with this installation key: somebody has changed it")]
    Forged,
    /// The key is another installation's.
    #[error("the installation key is not the one that the backup depends on")]
    KeyMismatch,
    /// The rows are of a newer Countersign.
    #[error(
        "the backup has schema version {found}, and this countersign knows versions up to {known}: use the version that made it, or a newer one"
    )]
    SchemaNewer {
        /// The version that its rows have.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// The database has tables already, and other ones than the rows need.
    #[error(
        "the database has the tables of schema version {database}, and the backup those of version {backup}: restore it \
         into a new database, which is then brought up to date"
    )]
    SchemaDiffers {
        /// The version that the database has.
        database: i64,
        /// The version that the rows have.
        backup: i64,
    },
    /// The database holds something that a restore would overwrite.
    #[error("the database is not empty: its table {0} has rows. A backup is restored into a new database only")]
    NotEmpty(String),
    /// The counts of what was written differ from those of what was read. Nothing was kept.
    #[error("the table {table} has {found} rows after the restore instead of {expected}. Nothing was kept")]
    Count {
        /// The table.
        table: String,
        /// How many rows there should be.
        expected: u64,
        /// How many there are.
        found: u64,
    },
}
