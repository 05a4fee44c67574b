//! A Unix socket's file: made, guarded, and removed.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tokio::net::{UnixListener, UnixStream};

/// The owner and their group may connect: put the proxy's user into that group.
const MODE: u32 = 0o660;

/// The file of a bound socket. It is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), error = %error, "cannot remove the socket");
        }
    }
}

/// Binds a socket at `path`. A socket that nobody answers on any more is replaced; one that lives, and a file that is no
/// socket, is an error.
pub(crate) async fn bind(path: &Path) -> anyhow::Result<(SocketFile, UnixListener)> {
    remove_stale(path).await?;
    let context = || format!("cannot bind the Unix socket {}", path.display());
    let listener = UnixListener::bind(path).with_context(context)?;
    let file = SocketFile(path.to_owned());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE)).with_context(context)?;
    Ok((file, listener))
}

async fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot look at {}", path.display())),
    };
    if !metadata.file_type().is_socket() {
        bail!("{} exists and is no socket", path.display());
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Whatever else happened, somebody holds the other end: a full queue says "try again".
        Ok(_) | Err(_) => bail!("another server is listening on the Unix socket {}", path.display()),
    }
    std::fs::remove_file(path).with_context(|| format!("cannot replace the stale socket {}", path.display()))
}
