//! Opening the store together with the key that it depends on.

use anyhow::{Context as _, bail};
use countersign_store::{Database, Error, Installation, Options, Store, Writer};
use countersign_token::digest::{InstallationKey, Keyring};
use countersign_token::entropy::Entropy;

use crate::config::Settings;
use crate::config::key::create_private_dir;

/// Connections that read from the database at once.
const READERS: u32 = 4;

/// An open store, and what goes with it.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Its writer: nothing is written until somebody runs it.
    pub writer: Writer,
}

/// Opens the store of an installation. Nothing is created: without a database, an installation in it or its key this is
/// an error that says what is missing.
pub async fn open_store(settings: &Settings) -> anyhow::Result<(Opened, Installation)> {
    refuse_missing_file(settings)?;
    let opened = connect(settings, keyring(settings.installation_key.load()?)?).await?;
    match opened.store.installation().await? {
        Some(installation) => Ok((opened, installation)),
        None => bail!("there is no installation in {} yet: `countersign init` makes one", settings.database),
    }
}

/// Opens the store of an installation only to read it. Nothing is changed, the schema neither.
pub async fn open_reader(settings: &Settings) -> anyhow::Result<Store> {
    refuse_missing_file(settings)?;
    let keys = keyring(settings.installation_key.load()?)?;
    Ok(Store::connect_reader(options(settings), keys).await?)
}

fn keyring(keys: Vec<InstallationKey>) -> anyhow::Result<Keyring> {
    Keyring::of(keys).context("there is no installation key")
}

/// Opens the store for a first installation: makes the directory, the database and the installation key where they are
/// missing. A store that has an installation is opened as it is; its key is never replaced.
pub async fn create_store(settings: &Settings, entropy: &Entropy) -> anyhow::Result<Opened> {
    create_private_dir(&settings.data_dir)?;
    if let Some(keys) = settings.installation_key.find()? {
        return connect(settings, keyring(keys)?).await;
    }
    let key = InstallationKey::generate(entropy);
    let opened = match connect(settings, Keyring::from(&key)).await {
        Ok(opened) => opened,
        Err(error) if matches!(error.downcast_ref(), Some(Error::KeyMismatch)) => return Err(lost_key(settings)),
        Err(error) => return Err(error),
    };
    if opened.store.installation().await?.is_some() {
        return Err(lost_key(settings));
    }
    // Before the first secret depends on it.
    settings.installation_key.create(&[&key])?;
    Ok(opened)
}

fn refuse_missing_file(settings: &Settings) -> anyhow::Result<()> {
    if let Database::Sqlite(path) = &settings.database
        && !path.try_exists().with_context(|| format!("cannot look for {}", path.display()))?
    {
        bail!("there is no installation in {}: `countersign init` makes one", path.display());
    }
    Ok(())
}

pub(super) async fn connect(settings: &Settings, keys: Keyring) -> anyhow::Result<Opened> {
    let (store, writer) = Store::connect(options(settings), keys).await?;
    Ok(Opened { store, writer })
}

fn options(settings: &Settings) -> Options {
    Options { database: settings.database.clone(), readers: READERS }
}

fn lost_key(settings: &Settings) -> anyhow::Error {
    let place = &settings.database;
    match settings.installation_key.load() {
        Err(error) => error.context(format!("{place} holds an installation")),
        Ok(_) => anyhow::anyhow!("{place} holds an installation, and its key appeared only now: try again"),
    }
}
