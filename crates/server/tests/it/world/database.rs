//! Where a world's rows live.

use std::path::Path;
use std::sync::LazyLock;

use countersign_store::{Database, Options, Store};
use countersign_token::digest::InstallationKey;
use countersign_token::entropy::Entropy;
use tempfile::TempDir;

#[path = "../../../../store/tests/it/postgres.rs"]
#[allow(unreachable_pub, dead_code, clippy::allow_attributes, reason = "the store's own tests use the rest")]
mod postgres;

/// One cluster for all tests of this process; `None` where PostgreSQL is not installed, which has then been said.
static CLUSTER: LazyLock<Option<postgres::Cluster>> = LazyLock::new(|| postgres::Cluster::start(migrate));

fn migrate(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = Options { database: Database::parse(url).unwrap(), readers: 1 };
    let key = InstallationKey::generate(&Entropy::seeded(0));
    runtime.block_on(async {
        let (store, _) = Store::connect(options, &key).await.unwrap();
        store.close().await;
    });
}

/// An empty database.
pub(super) enum Place {
    Sqlite(TempDir),
    Postgres { url: String },
}

impl Place {
    /// One of each kind that is to be had here.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let postgres = || CLUSTER.as_ref().map(|cluster| Self::Postgres { url: cluster.database() });
        std::iter::once_with(Self::sqlite).chain(std::iter::once_with(postgres).flatten())
    }

    pub(super) fn sqlite() -> Self {
        Self::Sqlite(TempDir::new().unwrap())
    }

    pub(super) fn database(&self) -> Database {
        match self {
            Self::Sqlite(directory) => Database::Sqlite(directory.path().join("countersign.db")),
            Self::Postgres { url } => Database::parse(url).unwrap(),
        }
    }

    /// Shows every file that the database consists of, as far as they can be read.
    pub(super) fn each_file(&self, mut show: impl FnMut(&str, &[u8])) {
        let Self::Sqlite(directory) = self else { return };
        let files = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
        for path in files.collect::<Vec<_>>() {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap().to_owned();
            // A connection that is closing takes the write-ahead log with it.
            let Ok(bytes) = std::fs::read(&path) else { continue };
            show(&name, &bytes);
        }
        assert!(Path::new(directory.path()).join("countersign.db").is_file(), "there was something to see");
    }
}
