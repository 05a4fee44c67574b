//! Putting a backup where a server will find it: the database, and the installation key where the backup holds it.

use std::io::Read;

use anyhow::{Context as _, bail};
use countersign_store::backup::{self, Contents, Restored};
use countersign_store::{AuditActor, AuditChain, AuditEvent, Database};
use countersign_token::digest::{InstallationKey, Keyring};
use countersign_token::time::Clock;
use serde_json::json;

use super::lock::ServerLock;
use super::open::connect;
use crate::config::Settings;
use crate::config::key::{self, KeySource, create_private_dir};

/// What a restore has left.
#[derive(Debug)]
pub struct RestoredStore {
    /// What the store says of it.
    pub restored: Restored,
    /// Whether the installation key was in the backup and was written to its place.
    pub is_key_written: bool,
    /// The audit log, walked after the restore. Where it breaks, it was broken when the backup was made.
    pub chain: AuditChain,
}

/// Puts what `contents` tells of, which `from` holds, into the empty store of `settings`. The backup's key is used if there
/// is none yet, and never replaces another. After an error the store is empty, and no key was left.
pub async fn restore_store(
    settings: &Settings,
    contents: &Contents,
    from: &mut (dyn Read + Send),
    clock: &Clock,
    progress: &mut (dyn FnMut(u64) + Send),
) -> anyhow::Result<RestoredStore> {
    let (keys, is_new) = find_keys(settings, contents)?;
    create_private_dir(&settings.data_dir)?;
    let _lock = match &settings.database {
        Database::Sqlite(path) => Some(ServerLock::take(path)?),
        Database::Postgres(_) => None,
    };
    if is_new {
        // Before the first secret depends on it.
        settings.installation_key.create(&keys.iter().collect::<Vec<_>>())?;
    }
    let at = clock.now();
    let event = AuditEvent {
        actor: AuditActor { kind: "operator", id: String::new() },
        action: "installation.restore",
        subject_kind: "installation",
        subject_id: contents.installation.to_string(),
        account: None,
        at,
        address: None,
        request_id: None,
        detail: json!({ "taken_at": contents.taken_at.to_string(), "revision": contents.revision.get() }).to_string(),
    };
    let keys = Keyring::of(keys).context("there is no installation key")?;
    let outcome = Box::pin(backup::restore(&settings.database, &keys, contents, from, at, &event, progress)).await;
    let restored = match (outcome, &settings.installation_key) {
        (Ok(restored), _) => restored,
        (Err(error), KeySource::File(path)) if is_new => {
            // Nothing depends on it.
            std::fs::remove_file(path).with_context(|| format!("{error}; and {} stays behind", path.display()))?;
            return Err(error.into());
        }
        (Err(error), _) => return Err(error.into()),
    };
    let opened = connect(settings, keys).await?;
    let chain = opened.store.verify_audit_chain(&mut |_| ()).await?;
    Ok(RestoredStore { restored, is_key_written: is_new, chain })
}

/// The keys that the backup depends on, and whether it is the backup that holds them.
fn find_keys(settings: &Settings, contents: &Contents) -> anyhow::Result<(Vec<InstallationKey>, bool)> {
    let fits = |keys: &[InstallationKey]| keys.iter().any(|key| contents.belongs_to(key));
    let place = &settings.installation_key;
    match (place.find()?, &contents.key) {
        (Some(keys), _) if fits(&keys) => Ok((keys, false)),
        (Some(_), _) => bail!(
            "the installation key in {place} is not the one that this backup of installation {} depends on: it is another \
             installation's, or was changed since (then the key of that time is needed). Name another place with --data-dir \
             or --installation-key-file. Nothing was changed",
            contents.installation
        ),
        (None, Some(hex)) => {
            let keys = key::parse(&"the backup", hex)?;
            if !fits(&keys) {
                bail!("the key in the backup is not the one that the backup depends on. Nothing was changed");
            }
            Ok((keys, true))
        }
        (None, None) => bail!(
            "the backup does not hold the installation key, and {place} does not exist. Put the key of installation {} \
             there, with mode 0600: without it the backup is void. Nothing was changed",
            contents.installation
        ),
    }
}
