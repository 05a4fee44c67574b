//! The installation key: every stored digest depends on it, and it lives outside the database.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use countersign_token::digest::InstallationKey;
use countersign_token::secret::Secret;

/// The environment variable that may hold the key itself.
pub const VARIABLE: &str = "COUNTERSIGN_INSTALLATION_KEY";

/// A key and a line end need 66 bytes; a device or another file named by mistake must not fill the memory.
const KEY_FILE_MAX: u64 = 1024;

/// Where the installation key comes from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A file of 64 hexadecimal digits that only its owner may read.
    File(PathBuf),
    /// The value of the environment variable [`VARIABLE`].
    Environment(Arc<Secret>),
}

impl KeySource {
    pub(super) fn from_environment(hex: Secret) -> anyhow::Result<Self> {
        parse(&VARIABLE, &hex)?;
        Ok(Self::Environment(Arc::new(hex)))
    }

    /// The key, or `None` when its file does not exist. A file that others may read, or that holds something else than a
    /// key, is an error.
    pub fn find(&self) -> anyhow::Result<Option<InstallationKey>> {
        match self {
            Self::Environment(hex) => parse(&VARIABLE, hex).map(Some),
            Self::File(path) => read(path),
        }
    }

    /// The key of an installation that exists. Without its key every secret in the store is void, so that a missing file
    /// is never replaced here.
    pub fn load(&self) -> anyhow::Result<InstallationKey> {
        if let Some(key) = self.find()? {
            return Ok(key);
        }
        bail!(
            "the installation key is missing: {self} does not exist. Without it no issued secret can be verified. \
             Put the file back from a backup, or name it (--installation-key-file, {VARIABLE})"
        );
    }

    /// Puts a new installation's key where [`KeySource::load`] will find it. It is on the disk when this returns. A key
    /// that is there already is never replaced.
    pub fn create(&self, key: &InstallationKey) -> anyhow::Result<()> {
        match self {
            Self::File(path) => {
                write(path, key).with_context(|| format!("cannot write the installation key to {}", path.display()))
            }
            Self::Environment(_) => bail!("{VARIABLE} gives the installation key, and it can't be changed from here"),
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(_) => f.write_str(VARIABLE),
        }
    }
}

/// Makes a directory that only its owner may enter, with its parents. One that exists is left as it is.
pub fn create_private_dir(path: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot create the directory {}", path.display()))
}

fn read(path: &Path) -> anyhow::Result<Option<InstallationKey>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read the installation key {}", path.display()));
        }
    };
    let context = || format!("cannot read the installation key {}", path.display());
    let mode = file.metadata().with_context(context)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!(
            "the installation key {0} is readable by others (mode {mode:04o}). Whoever has read it can forge secrets for \
             a copy of the database. Run: chmod 600 {0}",
            path.display()
        );
    }
    let text = Secret::from(io::read_to_string(file.take(KEY_FILE_MAX)).with_context(context)?);
    parse(&path.display(), &text).map(Some)
}

fn parse(place: &dyn fmt::Display, hex: &Secret) -> anyhow::Result<InstallationKey> {
    InstallationKey::parse_hex(hex.expose()).with_context(|| format!("{place} does not hold an installation key"))
}

/// Writes beside the place and renames without replacing, so that after a crash there is a whole key or none.
fn write(path: &Path, key: &InstallationKey) -> anyhow::Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    create_private_dir(dir)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    // What a crash left here was never used.
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    writeln!(file, "{}", key.to_hex().expose())?;
    file.sync_all()?;
    // A link fails where a rename would replace a key that somebody else has just made.
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    linked?;
    File::open(dir)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use countersign_token::entropy::Entropy;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_key_survives_in_a_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data/installation.key");
        let source = KeySource::File(path.clone());
        assert!(source.find().unwrap().is_none());
        let message = source.load().expect_err("there is no key").to_string();
        assert!(message.contains("missing") && message.contains(path.to_str().unwrap()), "{message}");

        let key = InstallationKey::generate(&Entropy::seeded(1));
        source.create(&key).unwrap();
        assert_eq!(source.load().unwrap().to_hex().expose(), key.to_hex().expose());
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "the draft is gone");
    }

    #[test]
    fn a_key_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("installation.key");
        let source = KeySource::File(path.clone());
        std::fs::write(dir.path().join("installation.key.new"), "left by a crash").unwrap();
        let first = InstallationKey::generate(&Entropy::seeded(1));
        source.create(&first).unwrap();
        source.create(&InstallationKey::generate(&Entropy::seeded(2))).expect_err("there is a key");
        assert_eq!(source.load().unwrap().to_hex().expose(), first.to_hex().expose());
    }

    #[test]
    fn a_file_that_others_read_or_that_holds_no_key_is_refused() {
        fn check(mode: u32, content: &str, expected: Result<(), &str>) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("k");
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match (KeySource::File(path).load(), expected) {
                (Ok(_), Ok(())) => {}
                (Err(error), Err(words)) => {
                    let message = format!("{error:#}");
                    assert!(message.contains(words), "{message}");
                    assert!(content.is_empty() || !message.contains(content), "{message}");
                }
                (outcome, expected) => panic!("{mode:o} {content:?}: {outcome:?}, not {expected:?}"),
            }
        }
        let hex = "0123456789abcdef".repeat(4);
        check(0o600, &hex, Ok(()));
        check(0o400, &format!("{hex}\n"), Ok(()));
        check(0o640, &hex, Err("chmod 600"));
        check(0o604, &hex, Err("chmod 600"));
        check(0o600, "", Err("64 hex"));
        check(0o600, &hex[1..], Err("64 hex"));
        check(0o600, &format!("{hex}0"), Err("64 hex"));
        check(0o600, &hex.replace('a', "g"), Err("64 hex"));
        check(0o600, &"0".repeat(2000), Err("64 hex"));
    }
}
