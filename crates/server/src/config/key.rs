//! The installation key: every stored digest depends on it, and it lives outside the database. While it is being changed,
//! its file holds two.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use countersign_token::digest::InstallationKey;
use countersign_token::secret::Secret;

/// The environment variable that may hold the key itself.
pub const VARIABLE: &str = "COUNTERSIGN_INSTALLATION_KEY";

/// More than two are there only where an old one was left behind.
const KEYS_MAX: usize = 4;

/// A key and a line end need 66 bytes; a device or another file named by mistake must not fill the memory.
const KEY_FILE_MAX: u64 = 1024;

/// Where the installation key comes from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A file of 64 hexadecimal digits, or of several such, that only its owner may read.
    File(PathBuf),
    /// The value of the environment variable [`VARIABLE`].
    Environment(Arc<Secret>),
}

impl KeySource {
    pub(super) fn from_environment(hex: Secret) -> anyhow::Result<Self> {
        parse(&VARIABLE, &hex)?;
        Ok(Self::Environment(Arc::new(hex)))
    }

    /// The keys, or `None` when their file does not exist. Nearly always it is one; which is which, the store knows. A file
    /// that others may read, or that holds something else than keys, is an error.
    pub fn find(&self) -> anyhow::Result<Option<Vec<InstallationKey>>> {
        match self {
            Self::Environment(hex) => parse(&VARIABLE, hex).map(Some),
            Self::File(path) => read(path),
        }
    }

    /// The keys of an installation that exists. Without its key every secret in the store is void, so that a missing file
    /// is never replaced here.
    pub fn load(&self) -> anyhow::Result<Vec<InstallationKey>> {
        if let Some(keys) = self.find()? {
            return Ok(keys);
        }
        bail!(
            "the installation key is missing: {self} does not exist. Without it no issued secret can be verified. \
             Put the file back from a backup, or name it (--installation-key-file, {VARIABLE})"
        );
    }

    /// Puts a new installation's key where [`KeySource::load`] will find it. It is on the disk when this returns. A key
    /// that is there already is never replaced.
    pub fn create(&self, keys: &[&InstallationKey]) -> anyhow::Result<()> {
        match self {
            Self::File(path) => {
                write(path, keys).with_context(|| format!("cannot write the installation key to {}", path.display()))
            }
            Self::Environment(_) => bail!("{VARIABLE} gives the installation key, and it can't be changed from here"),
        }
    }

    /// Puts other keys in the place of those that are there. They are on the disk when this returns, and whoever reads
    /// meanwhile reads the old ones or the new ones. Whoever could read the old file can read the new one.
    pub fn replace(&self, keys: &[&InstallationKey]) -> anyhow::Result<()> {
        match self {
            Self::File(path) => {
                replace(path, keys).with_context(|| format!("cannot write the installation key to {}", path.display()))
            }
            Self::Environment(_) => bail!("{VARIABLE} gives the installation key, and it can't be changed from here"),
        }
    }

    /// Keeps others from changing the file, until what this returns is dropped. Readers don't wait.
    pub fn lock(&self) -> anyhow::Result<Option<File>> {
        let Self::File(path) = self else { return Ok(None) };
        let dir = File::open(directory_of(path)).with_context(|| format!("cannot lock {}", path.display()))?;
        dir.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(Some(dir))
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

fn read(path: &Path) -> anyhow::Result<Option<Vec<InstallationKey>>> {
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

/// The keys of a text, with white space between them.
pub fn parse(place: &dyn fmt::Display, text: &Secret) -> anyhow::Result<Vec<InstallationKey>> {
    let context = || format!("{place} does not hold an installation key");
    let mut keys: Vec<InstallationKey> = Vec::new();
    for hex in text.expose().split_ascii_whitespace() {
        let key = InstallationKey::parse_hex(hex).with_context(context)?;
        // What stands there twice is one key.
        if keys.iter().all(|known| known.check_value() != key.check_value()) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        InstallationKey::parse_hex("").with_context(context)?;
    }
    if keys.len() > KEYS_MAX {
        bail!("{place} holds {} installation keys: take out those that are not live any more", keys.len());
    }
    Ok(keys)
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Writes beside the place and renames without replacing, so that after a crash there is a whole key or none.
fn write(path: &Path, keys: &[&InstallationKey]) -> anyhow::Result<()> {
    create_private_dir(directory_of(path))?;
    let (_, draft) = write_draft(path, keys)?;
    // A link fails where a rename would replace a key that somebody else has just made.
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    linked?;
    File::open(directory_of(path))?.sync_all()?;
    Ok(())
}

/// Writes beside the place and renames, so that after a crash there are the old keys or the new ones.
fn replace(path: &Path, keys: &[&InstallationKey]) -> anyhow::Result<()> {
    let before = std::fs::metadata(path)?;
    let (file, draft) = write_draft(path, keys)?;
    let after = file.metadata()?;
    if (before.uid(), before.gid()) != (after.uid(), after.gid()) {
        // The server must go on reading it, whoever runs this command.
        fchown(&file, Some(before.uid()), Some(before.gid()))?;
        file.sync_all()?;
    }
    std::fs::rename(&draft, path)?;
    File::open(directory_of(path))?.sync_all()?;
    Ok(())
}

fn write_draft(path: &Path, keys: &[&InstallationKey]) -> anyhow::Result<(File, PathBuf)> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    // What a crash left here was never used.
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    for key in keys {
        writeln!(file, "{}", key.to_hex().expose())?;
    }
    file.sync_all()?;
    Ok((file, draft))
}

#[cfg(test)]
mod tests {
    use countersign_token::entropy::Entropy;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn one(source: &KeySource) -> InstallationKey {
        let mut keys = source.load().unwrap();
        assert_eq!(keys.len(), 1);
        keys.remove(0)
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
        source.create(&[&key]).unwrap();
        assert_eq!(one(&source).to_hex().expose(), key.to_hex().expose());
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
        source.create(&[&first]).unwrap();
        source.create(&[&InstallationKey::generate(&Entropy::seeded(2))]).expect_err("there is a key");
        assert_eq!(one(&source).to_hex().expose(), first.to_hex().expose());
    }

    #[test]
    fn two_keys_are_put_in_the_place_of_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("installation.key");
        let source = KeySource::File(path.clone());
        let (first, second) =
            (InstallationKey::generate(&Entropy::seeded(1)), InstallationKey::generate(&Entropy::seeded(2)));
        source.create(&[&first]).unwrap();
        std::fs::write(dir.path().join("installation.key.new"), "left by a crash").unwrap();
        let lock = source.lock().unwrap();
        source.replace(&[&first, &second]).unwrap();
        drop(lock);
        let checks: Vec<_> = source.load().unwrap().iter().map(InstallationKey::check_value).collect();
        assert_eq!(checks, [first.check_value(), second.check_value()]);
        assert_eq!((mode(&path), std::fs::read_dir(dir.path()).unwrap().count()), (0o600, 1));
        source.replace(&[&second]).unwrap();
        assert_eq!(one(&source).check_value(), second.check_value());
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
        check(0o600, &format!("{hex}\n{hex}\n"), Ok(()));
        check(0o600, &format!("{hex} x"), Err("64 hex"));
        let many: Vec<String> = (0..5).map(|digit| format!("{digit}").repeat(64)).collect();
        check(0o600, &many.join(" "), Err("5 installation keys"));
        check(0o600, "", Err("64 hex"));
        check(0o600, &hex[1..], Err("64 hex"));
        check(0o600, &format!("{hex}0"), Err("64 hex"));
        check(0o600, &hex.replace('a', "g"), Err("64 hex"));
        check(0o600, &"0".repeat(2000), Err("64 hex"));
    }
}
