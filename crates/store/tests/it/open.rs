//! Opening a database: whose it is, whether it can be written, and what is said otherwise.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use countersign_store::{Database, Error, Options, Page, Store};
use countersign_token::digest::InstallationKey;
use tokio_util::task::TaskTracker;

use crate::migration::newest;
use crate::{World, at, event, insert, on_both, try_insert, write};

on_both! {
    many_can_open_a_new_database_at_once,
    another_key_is_refused,
    a_newer_schema_is_refused,
    an_edited_migration_is_refused,
    a_read_only_database_is_said_to_be_so,
}

async fn many_can_open_a_new_database_at_once(world: World) {
    if world.file().is_none() {
        // The template was migrated already.
        world.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    }
    let tasks = TaskTracker::new();
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let options = Options { database: world.database.clone(), readers: 1 };
            let key = InstallationKey::parse_hex(world.key.to_hex().expose()).unwrap();
            tasks.spawn(async move { Store::connect(options, &key).await.map(|_| ()) })
        })
        .collect();
    for opened in opening {
        opened.await.unwrap().unwrap();
    }
    let versions = world.sql("SELECT version FROM countersign_migration").await;
    assert_eq!(versions.len(), crate::migration::versions().len());
    insert(&*world.open().await, &world.token(world.owner(), "t", 1)).await;
}

async fn another_key_is_refused(world: World) {
    let store = world.open().await;
    let installation = world.installation();
    write!(store, [], |tx| {
        tx.insert_installation(&installation).await?;
        tx.record(event("installation.create", &installation.id));
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    store.close().await;
    let other = InstallationKey::generate(&world.entropy);
    let refused = world.try_open_at(world.database.clone(), &other).await.map(|_| ());
    let error = refused.expect_err("another key");
    assert!(matches!(error, Error::KeyMismatch), "{error:?}");
    assert!(error.to_string().contains("--installation-key-file"), "{error}");
    let store = world.open().await;
    assert_eq!(store.installation().await.unwrap(), Some(installation));
}

async fn a_newer_schema_is_refused(world: World) {
    world.open().await.close().await;
    world.sql("INSERT INTO countersign_migration (version, name, checksum) VALUES (99, 'later', 'x')").await;
    let error = world.try_open().await.map(|_| ()).expect_err("a newer schema");
    assert!(matches!(error, Error::SchemaNewer { found: 99, known } if known == newest()), "{error:?}");
    world.sql("DELETE FROM countersign_migration WHERE version = 99").await;
    world.open().await.close().await;
}

async fn an_edited_migration_is_refused(world: World) {
    world.open().await.close().await;
    world.sql("UPDATE countersign_migration SET checksum = 'another' WHERE version = 1").await;
    let error = world.try_open().await.map(|_| ()).expect_err("an edited migration");
    assert!(matches!(error, Error::SchemaChanged { version: 1 }), "{error:?}");
}

async fn a_read_only_database_is_said_to_be_so(world: World) {
    let Some(file) = world.file() else {
        let store = world.open().await;
        store.close().await;
        let name = world.sql("SELECT current_database()::text").await;
        let name: String = sqlx::Row::get(&name[0], 0);
        world.sql(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
        let error = world.try_open().await.map(|_| ()).expect_err("a read-only database");
        assert!(matches!(error, Error::ReadOnly { .. }), "{error:?}");
        return;
    };
    world.open().await.close().await;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o444)).unwrap();
    if std::fs::OpenOptions::new().append(true).open(file).is_ok() {
        // Root may write anyway; the test on a mount of its own covers this.
        return;
    }
    let error = world.try_open().await.map(|_| ()).expect_err("a read-only file");
    assert!(matches!(error, Error::ReadOnly { .. }), "{error:?}");
}

#[test]
fn a_new_file_is_its_owners_alone() {
    crate::on_sqlite(async |world| {
        let store = world.open().await;
        insert(&store, &world.token(world.owner(), "t", 1)).await;
        let mut files = 0;
        for entry in std::fs::read_dir(world.directory()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{entry:?} has {mode:o}");
            files += 1;
        }
        assert_eq!(files, 3, "the file, its log, and the log's index");
    });
}

#[test]
fn what_is_no_database_of_ours_is_left_alone() {
    crate::on_sqlite(async |world| {
        let open = async |path: PathBuf| {
            let database = Database::Sqlite(path);
            world.try_open_at(database, &world.key).await.map(|_| ()).expect_err("no database")
        };
        let text = world.directory().join("notes.txt");
        let content = "not a database, but long enough to be taken for one ".repeat(100);
        std::fs::write(&text, &content).unwrap();
        let error = open(text.clone()).await;
        assert!(matches!(&error, Error::Foreign { path, .. } if *path == text), "{error:?}");
        assert_eq!(std::fs::read_to_string(&text).unwrap(), content);

        world.sql("CREATE TABLE somebody_elses (id TEXT)").await.clear();
        let error = open(world.file().unwrap().clone()).await;
        assert!(matches!(error, Error::Foreign { .. }), "{error:?}");

        let error = open(world.directory().to_owned()).await;
        assert!(matches!(error, Error::Open { .. }), "{error:?}");
        let error = open(world.directory().join("missing/countersign.db")).await;
        assert!(matches!(error, Error::Open { .. }), "{error:?}");
    });
}

#[test]
fn any_path_will_do() {
    crate::on_sqlite(async |world| {
        for name in ["a b.db", "%41?mode=ro#x.db", "Größe.db"] {
            let path = world.directory().join(name);
            let store = world.try_open_at(Database::Sqlite(path.clone()), &world.key).await.expect(name);
            insert(&store, &world.token(world.owner(), "t", 1)).await;
            store.close().await;
            assert!(path.is_file(), "{path:?}");
        }
    });
}

/// Runs this test again in a mount namespace of its own, with a small file system at the directory that
/// `COUNTERSIGN_TEST_MOUNT` names. `None` in the process that did so.
pub(crate) fn own_mount(test: &str, size: &str) -> Option<PathBuf> {
    const VARIABLE: &str = "COUNTERSIGN_TEST_MOUNT";
    if let Some(directory) = std::env::var_os(VARIABLE) {
        return Some(PathBuf::from(directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size={size} none \"${VARIABLE}\"");
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        command.arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]);
        command.env(VARIABLE, directory.path());
        command
    };
    if !unshare(&mount).output().is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "CI must be able to mount a file system in a namespace");
        eprintln!("{test} not run: no file system can be mounted here");
        return None;
    }
    let output = unshare(&format!("{mount} && exec \"$@\"")).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
    None
}

pub(crate) fn remount(directory: &Path, options: &str) {
    let status = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(directory).status();
    assert!(status.unwrap().success(), "remount,{options}");
}

#[test]
fn a_full_disk_damages_nothing() {
    let Some(directory) = own_mount("open::a_full_disk_damages_nothing", "1m") else { return };
    crate::on_sqlite(async |world| {
        let database = Database::Sqlite(directory.join("countersign.db"));
        let store = world.try_open_at(database.clone(), &world.key).await.unwrap();
        let owner = world.owner();
        let mut acknowledged = Vec::new();
        let error = loop {
            let second = i64::try_from(acknowledged.len()).unwrap();
            let token = world.token(owner, &"n".repeat(300), second);
            match try_insert(&store, &token).await {
                Ok(_) => acknowledged.push(token.id),
                Err(error) => break error,
            }
            assert!(acknowledged.len() < 10_000, "the disk never fills");
        };
        assert!(matches!(error, Error::Full { .. }), "{error:?}");
        assert!(acknowledged.len() > 10, "{acknowledged:?}");
        let check = async |store: &Store, expected: usize| {
            let filter = countersign_store::ServiceTokenFilter::all(owner);
            let listed = store.list_service_tokens(&filter, None, Page::ALL).await.unwrap();
            assert_eq!((listed.rows.len(), listed.total), (expected, expected as u64));
            assert_eq!(store.count_service_tokens(&filter).await.unwrap(), expected as u64);
            let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
            assert_eq!((chain.events, chain.broken), (expected as u64, None));
        };
        check(&store, acknowledged.len()).await;
        // Space again, and the same writer goes on.
        remount(&directory, "size=16m");
        insert(&store, &world.token(owner, "after", 20_000)).await;
        check(&store, acknowledged.len() + 1).await;
        store.close().await;
        let store = world.try_open_at(database, &world.key).await.unwrap();
        check(&store, acknowledged.len() + 1).await;
    });
}

#[test]
fn a_full_disk_is_said_to_be_so_at_the_start() {
    let Some(directory) = own_mount("open::a_full_disk_is_said_to_be_so_at_the_start", "48k") else { return };
    crate::on_sqlite(async |world| {
        let database = Database::Sqlite(directory.join("countersign.db"));
        let error = world.try_open_at(database.clone(), &world.key).await.map(|_| ()).expect_err("a full disk");
        assert!(matches!(error, Error::Full { .. }), "{error:?}");
        remount(&directory, "size=16m");
        let store = world.try_open_at(database, &world.key).await.expect("nothing half done");
        insert(&store, &world.token(world.owner(), "t", 1)).await;
    });
}

#[test]
fn a_read_only_file_system_damages_nothing() {
    let Some(directory) = own_mount("open::a_read_only_file_system_damages_nothing", "16m") else { return };
    crate::on_sqlite(async |world| {
        let database = Database::Sqlite(directory.join("countersign.db"));
        let missing = Database::Sqlite(directory.join("missing.db"));
        let store = world.try_open_at(database.clone(), &world.key).await.unwrap();
        let token = world.token(world.owner(), "t", 1);
        insert(&store, &token).await;
        store.close().await;
        remount(&directory, "ro");
        for database in [&database, &missing] {
            let error = world.try_open_at(database.clone(), &world.key).await.map(|_| ()).expect_err("read-only");
            assert!(matches!(error, Error::ReadOnly { .. }), "{database}: {error:?}");
        }
        remount(&directory, "rw");
        let store = world.try_open_at(database, &world.key).await.unwrap();
        assert!(store.find_service_token(&token.owner, &token.id).await.unwrap().is_some());
        assert_eq!(store.sweep_tombstones(at(0)).await.unwrap(), 0);
    });
}
