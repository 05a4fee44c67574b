//! One server a database file.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The right to serve an embedded database, held until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(super) struct ServerLock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

impl ServerLock {
    /// Takes the lock, or fails when another server has it. Commands don't take it: they may work beside a server.
    pub(super) fn take(database: &Path) -> anyhow::Result<Self> {
        let mut path = database.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let context = || format!("cannot lock {}", path.display());
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).with_context(context)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => bail!("another server is running on {}", database.display()),
            Err(TryLockError::Error(error)) => Err(error).with_context(context),
        }
    }
}
