//! What is said of a database that is only looked at.

use countersign_store::{Error, Expiring, Options, Schema, Store, Tombstones};

use crate::migration::newest;
use crate::{World, at, change, event, insert, on_both, try_insert, write};

on_both! {
    a_reader_changes_nothing,
    versions_and_settings,
    tombstones_are_counted_until_they_are_swept,
    what_ends_soon_is_counted,
}

fn options(world: &World) -> Options {
    Options { database: world.database.clone(), readers: 2 }
}

async fn a_reader_changes_nothing(world: World) {
    if world.file().is_none() {
        world.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
        assert_eq!(Schema::find(&world.database).await.unwrap().found, None);
        let error = Store::connect_reader(options(&world), &world.key).await.expect_err("no tables");
        assert!(matches!(error, Error::SchemaOlder { found: 0, .. }), "{error:?}");
    } else {
        let error = Store::connect_reader(options(&world), &world.key).await.expect_err("no file");
        assert!(matches!(error, Error::Open { .. }), "{error:?}");
        assert!(!world.file().unwrap().exists());
    }
    world.open().await.close().await;
    assert_eq!(Schema::find(&world.database).await.unwrap(), Schema { found: Some(newest()), known: newest() });
    let store = Store::connect_reader(options(&world), &world.key).await.unwrap();
    let outcome = try_insert(&store, &world.token(world.owner(), "t", 1)).await;
    assert!(matches!(outcome, Err(Error::Stopped)), "{outcome:?}");
    assert_eq!(store.revision().await.unwrap().get(), 0);
    world.sql("DELETE FROM countersign_migration WHERE version > 1").await;
    let error = Store::connect_reader(options(&world), &world.key).await.expect_err("an old schema");
    assert!(matches!(error, Error::SchemaOlder { found: 1, known } if known == newest()), "{error:?}");
    world.sql("INSERT INTO countersign_migration VALUES (99, 'later', 'x')").await;
    let error = Store::connect_reader(options(&world), &world.key).await.expect_err("a new schema");
    assert!(matches!(error, Error::SchemaNewer { found: 99, known } if known == newest()), "{error:?}");
}

async fn versions_and_settings(world: World) {
    let store = world.open().await;
    let version = store.version().await.unwrap();
    let setting = store.setting("synchronous_commit").await.unwrap();
    assert!(store.find_damage().await.unwrap().is_empty());
    if world.file().is_some() {
        assert!(version.starts_with("SQLite 3."), "{version}");
        assert_eq!(setting, None);
    } else {
        assert!(version.starts_with("PostgreSQL 1"), "{version}");
        assert_eq!(setting.as_deref(), Some("on"));
    }
}

#[test]
fn a_damaged_file_is_noticed() {
    crate::on_sqlite(async |world| {
        let store = world.open().await;
        let owner = world.owner();
        for second in 0..200 {
            insert(&store, &world.token(owner, &"n".repeat(200), second)).await;
        }
        store.close().await;
        world.sql("PRAGMA wal_checkpoint(TRUNCATE)").await;
        let file = world.file().unwrap();
        let mut bytes = std::fs::read(file).unwrap();
        // At three quarters of the file is some leaf of the largest trees: before them stand the empty ones.
        let leaf = bytes.len() / 4 * 3 / 4096 * 4096;
        bytes[leaf..leaf + 4096].fill(0xa5);
        std::fs::write(file, bytes).unwrap();
        let store = Store::connect_reader(options(&world), &world.key).await.unwrap();
        let damage = store.find_damage().await;
        assert!(damage.as_ref().map_or(true, |damage| !damage.is_empty()), "{damage:?}");
    });
}

async fn tombstones_are_counted_until_they_are_swept(world: World) {
    let store = world.open().await;
    assert_eq!(store.tombstones().await.unwrap(), Tombstones { tokens: 0, oldest: None });
    let owner = world.owner();
    for second in [20, 10] {
        let token = world.token(owner, "t", second);
        insert(&store, &token).await;
        change!(store, [token], |tx| tx.delete_service_token(&token.owner, &token.id, at(second))).unwrap();
    }
    assert_eq!(store.tombstones().await.unwrap(), Tombstones { tokens: 2, oldest: Some(at(10)) });
    store.sweep_tombstones(at(15)).await.unwrap();
    assert_eq!(store.tombstones().await.unwrap(), Tombstones { tokens: 1, oldest: Some(at(20)) });
}

async fn what_ends_soon_is_counted(world: World) {
    let store = world.open().await;
    let owner = world.owner();
    let account = world.account("one");
    let id = account.id;
    change!(store, [account], |tx| tx.insert_account(&account)).unwrap();
    for (name, expires, enabled) in [("a", 50, true), ("b", 150, true), ("c", 50, false), ("d", 250, true)] {
        let token = world.token(owner, name, 1);
        let token = countersign_token::service_token::ServiceToken { expires_at: at(expires), enabled, ..token };
        insert(&store, &token).await;
    }
    let scope = countersign_token::api_token::ApiTokenScope::Account;
    for expires in [120, 130, 300] {
        let token = world.api_token(id, scope);
        let token = countersign_token::api_token::ApiToken { expires_at: at(expires), ..token };
        write!(store, [token], |tx| {
            tx.insert_api_token(&token).await?;
            tx.record(event("api_token.create", &token.id));
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
    }
    let counted = store.count_expiring(at(100), at(200)).await.unwrap();
    assert_eq!(counted, Expiring { service_tokens: 1, api_tokens: 2, management_tokens: 0 });
    let counted = store.count_expiring(at(0), at(100)).await.unwrap();
    assert_eq!(counted, Expiring { service_tokens: 1, api_tokens: 0, management_tokens: 0 });
}
