//! A backup is of one moment, nothing damaged is restored, and either database restores from it.

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign_store::backup::{self, Restored};
use countersign_store::{Answer, Database, Error, Node, NodeId, Options, ServiceTokenFilter, Store};
use countersign_token::api_token::ApiTokenScope;
use countersign_token::credential::Credential;
use countersign_token::demand::Demand;
use countersign_token::digest::InstallationKey;
use countersign_token::feed::Revision;
use countersign_token::index::Index;
use countersign_token::service_token::ServiceToken;
use countersign_token::time::Timestamp;
use countersign_token::verify::{Decision, verify};
use sqlx::Row as _;
use tokio_util::task::TaskTracker;

use self::file::Parsed;
use crate::migration::{self, first, newest};
use crate::open::{own_mount, remount};
use crate::schema::columns_there;
use crate::{Open, World, change, event, insert, on_both, write};

on_both! {
    every_table_and_column_is_in_a_backup,
    both_databases_restore_everything,
    a_backup_of_before_restores,
    a_backup_under_load_is_of_one_moment,
    whoever_knew_a_later_past_reads_everything_anew,
    what_is_damaged_or_foreign_is_refused,
    what_is_not_empty_is_left_alone,
    a_store_of_before_is_not_brought_up_to_date_for_a_refusal,
    a_store_without_installation_has_nothing_to_back_up,
    a_killed_restore_leaves_nothing,
    an_older_schema_is_brought_up_to_date_afterwards,
}

/// Later than all that the stores of these tests hold.
const NOW: Timestamp = Timestamp::from_micros(1_795_400_000_000_000);

/// Tables that say what runs at the moment, or how the database was made.
const LEFT_OUT: [&str; 2] = ["countersign_migration", "node"];

async fn try_back_up(store: &Store, with_key: bool) -> Result<Vec<u8>, backup::Error> {
    let mut bytes = Vec::new();
    backup::create(store, with_key, NOW, &mut bytes, &mut |_| ()).await.map(|_| bytes)
}

async fn back_up(store: &Store) -> Vec<u8> {
    try_back_up(store, false).await.expect("a backup")
}

async fn restore(world: &World, key: &InstallationKey, bytes: &[u8]) -> Result<Restored, backup::Error> {
    let contents = backup::check(&mut &*bytes, &mut |_| ())?;
    let event = event("installation.restore", &contents.installation);
    backup::restore(&world.database, key, &contents, &mut &*bytes, NOW, &event, &mut |_| ()).await
}

/// Worlds to restore into: an empty file, an empty database, and one that has its tables already.
fn targets() -> Vec<World> {
    let mut worlds = vec![World::new(|directory| Database::Sqlite(directory.join("restored.db")))];
    worlds.extend(crate::cluster().map(|cluster| World::new(|_| Database::Postgres(cluster.database()))));
    worlds
}

/// Everything that a backup has to hold, as text: table by table, row by row.
async fn dump(world: &World) -> BTreeMap<String, BTreeSet<String>> {
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (table, column, kind) in columns_there(world).await {
        if LEFT_OUT.contains(&table.as_str()) || table == "revision" || column == "revision" {
            continue;
        }
        let value = match (kind.to_uppercase().as_str(), world.file()) {
            ("TEXT", _) => column.clone(),
            ("BIGINT", _) => format!("CAST({column} AS TEXT)"),
            (_, Some(_)) => format!("CASE WHEN {column} IS NOT NULL THEN LOWER(HEX({column})) END"),
            (_, None) => format!("encode({column}, 'hex')"),
        };
        tables.entry(table).or_default().push(format!("'{column}=' || COALESCE({value}, 'NULL')"));
    }
    let mut dump = BTreeMap::new();
    for (table, values) in tables {
        let rows = world.sql(&format!("SELECT {} FROM {table}", values.join(" || ' ' || "))).await;
        dump.insert(table, rows.iter().map(|row| row.get(0)).collect());
    }
    dump
}

/// A store with rows in every table, made with [`migration::key`].
async fn full(world: &World) -> Open {
    migration::fill(world).await;
    let store = migration::open(world).await;
    let environment = world.environment(first());
    let agent = world.agent(first());
    let deployment = world.deployment(&agent, &environment);
    let scope =
        ApiTokenScope::AgentDeployment { deployment: deployment.id, agent: agent.id, environment: environment.id };
    let token = world.api_token(first(), scope);
    let invite = world.invite(first(), "new@example.com");
    let answer = Answer { fingerprint: [3; 32], subject: "s".to_owned(), answer: "{\"größe\":1}".to_owned() };
    let allow_from = Some("10.0.0.0/8,2001:db8::/32".parse().unwrap());
    let gone = ServiceToken { allow_from, ..world.token(world.owner(), "gone", 1) };
    change!(store, [environment], |tx| tx.insert_environment(&environment)).unwrap();
    change!(store, [agent], |tx| tx.insert_agent(&agent)).unwrap();
    change!(store, [deployment], |tx| tx.insert_agent_deployment(&deployment)).unwrap();
    change!(store, [token], |tx| tx.insert_api_token(&token)).unwrap();
    change!(store, [invite], |tx| tx.insert_invite(&invite)).unwrap();
    change!(store, [answer], |tx| tx.insert_answer(&first(), "key", &answer, NOW)).unwrap();
    let assertion_key = crate::assertion_key::key("k", 1);
    change!(store, [assertion_key], |tx| tx.insert_assertion_key(&assertion_key)).unwrap();
    insert(&store, &gone).await;
    let wish = crate::seen::wish(&gone);
    change!(store, [wish], |tx| tx.put_rotation_wish(&wish)).unwrap();
    change!(store, [gone], |tx| tx.delete_service_token(&gone.owner, &gone.id, NOW)).unwrap();
    let oldest = store.oldest_audit().await.unwrap().expect("events");
    assert!(store.prune_audit(oldest.saturating_add_micros(1), None).await.unwrap() > 0);
    store
}

/// A store of `world`'s own key with an installation.
async fn initialised(world: &World) -> Open {
    let store = world.open().await;
    let installation = world.installation();
    change!(store, [installation], |tx| tx.insert_installation(&installation)).unwrap();
    store
}

async fn every_table_and_column_is_in_a_backup(world: World) {
    let store = full(&world).await;
    let parsed = Parsed::read(&back_up(&store).await);
    let mut expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (table, column, _) in columns_there(&world).await {
        if !LEFT_OUT.contains(&table.as_str()) {
            expected.entry(table).or_default().insert(column);
        }
    }
    let found: BTreeMap<String, BTreeSet<String>> =
        parsed.tables.iter().map(|table| (table.name.clone(), table.columns.iter().cloned().collect())).collect();
    assert_eq!(found, expected, "a migration changed the schema, and crates/store/src/backup/table.rs does not know");
    for table in &parsed.tables {
        assert!(table.rows > 0, "{} is empty here, so that this test says nothing of it", table.name);
    }
}

async fn both_databases_restore_everything(world: World) {
    let store = full(&world).await;
    let key = migration::key();
    let head = store.revision().await.unwrap();
    let bytes = back_up(&store).await;
    let mut expected = dump(&world).await;
    let events = expected.remove("audit_event").unwrap();
    for target in targets() {
        let restored = restore(&target, &key, &bytes).await.unwrap();
        assert_eq!(restored, Restored { revision: Revision::new(NOW.as_micros()), nodes: 0 });
        let mut found = dump(&target).await;
        let found_events = found.remove("audit_event").unwrap();
        for (table, rows) in &expected {
            assert_eq!(found.remove(table).as_ref(), Some(rows), "{table}");
        }
        assert_eq!(found, BTreeMap::new());
        assert!(found_events.is_superset(&events), "{:?}", events.difference(&found_events));
        assert_eq!(found_events.len(), events.len() + 1);

        let again = migration::open(&target).await;
        migration::admits_what_it_admitted(&again).await;
        assert_eq!(again.installation().await.unwrap(), store.installation().await.unwrap());
        assert!(again.list_nodes().await.unwrap().is_empty());
        let chain = again.verify_audit_chain(&mut |_| ()).await.unwrap();
        assert_eq!((chain.events, chain.broken), (events.len() as u64 + 1, None));
        // It goes on like any other store.
        let token = target.token(target.owner(), "after", 5);
        let written = insert(&again, &token).await;
        assert_eq!(written.revision, Some(Revision::new(NOW.as_micros() + 1)));
        assert_eq!(again.poll(restored.revision).await.unwrap().changes.len(), 1);
        // A backup of it is as good.
        let second = back_up(&again).await;
        let contents = backup::check(&mut second.as_slice(), &mut |_| ()).unwrap();
        assert_eq!(contents.revision.get(), NOW.as_micros() + 1);
        assert_eq!(contents.rows_of("audit_event"), events.len() as u64 + 2);
    }
    assert_eq!(store.revision().await.unwrap(), head, "a backup changes nothing");
}

/// What earlier versions wrote: each with its schema, its revision, and how many audit events there are once it is restored.
const SAMPLES: [(&[u8], i64, i64, u64); 3] = [
    (include_bytes!("../data/0002.backup"), 2, 19, 21),
    (include_bytes!("../data/0005.backup"), 5, 1_795_337_434_116_062, 22),
    (include_bytes!("../data/0008.backup"), 8, 20, 21),
];

/// What a version wrote, every later one restores.
async fn a_backup_of_before_restores(world: World) {
    for (bytes, schema, revision, events) in SAMPLES {
        let world = if world.file().is_some() {
            World::new(|directory| Database::Sqlite(directory.join("restored.db")))
        } else {
            let world = World::new(|_| Database::Postgres(crate::cluster().expect("it is there").database()));
            // Not even the tables are there.
            world.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
            world
        };
        let contents = backup::check(&mut &*bytes, &mut |_| ()).unwrap();
        assert_eq!((contents.schema, contents.revision.get()), (schema, revision));
        assert_eq!(contents.installation.to_string(), "a22cabb013e237de62ff7cd2a8b7c005");
        let key = InstallationKey::parse_hex(contents.key.as_ref().expect("its key").expose()).unwrap();
        assert!(contents.belongs_to(&key) && contents.belongs_to(&migration::key()));
        restore(&world, &key, bytes).await.unwrap();
        let store = migration::open(&world).await;
        migration::admits_what_it_admitted(&store).await;
        let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
        assert_eq!((chain.events, chain.broken), (events, None));
    }
}

async fn a_backup_under_load_is_of_one_moment(world: World) {
    let store = initialised(&world).await;
    let (tasks, enough) = (TaskTracker::new(), Arc::new(AtomicBool::new(false)));
    for writer in 0..4 {
        let (store, enough, owner) = (store.store.clone(), Arc::clone(&enough), world.owner());
        let tokens: Vec<_> =
            (0..5000).map(|number| world.token(owner, &format!("{writer}-{number}"), number)).collect();
        tasks.spawn(async move {
            for token in &tokens {
                if enough.load(Ordering::Relaxed) {
                    return;
                }
                insert(&store, token).await;
            }
            panic!("the writers ran out of work");
        });
    }
    let mut last = Revision::new(1);
    for _ in 0..3 {
        while store.revision().await.unwrap().get() < last.get() + 20 {
            tokio::task::yield_now().await;
        }
        let bytes = back_up(&store).await;
        let contents = backup::check(&mut bytes.as_slice(), &mut |_| ()).unwrap();
        assert!(contents.revision > last, "the writers went on");
        last = contents.revision;
        let count = u64::try_from(last.get()).unwrap();
        assert_eq!((contents.rows_of("service_token"), contents.rows_of("audit_event")), (count - 1, count));
        for target in targets() {
            restore(&target, &world.key, &bytes).await.unwrap();
            let again = target.try_open_at(target.database.clone(), &world.key).await.unwrap();
            let chain = again.verify_audit_chain(&mut |_| ()).await.unwrap();
            assert_eq!((chain.events, chain.broken), (count + 1, None));
        }
    }
    enough.store(true, Ordering::Relaxed);
    tasks.close();
    tasks.wait().await;
}

fn admits(index: &Index, token: &ServiceToken, secret: &str) -> bool {
    let demand = Demand::default().with_account(index, &token.owner.account);
    let credential = Credential::Pair { client_id: token.client_id, secret: secret.into() };
    matches!(verify(index, &credential, &demand, crate::at(60)), Decision::Allow(_))
}

async fn whoever_knew_a_later_past_reads_everything_anew(world: World) {
    let store = initialised(&world).await;
    let owner = world.owner();
    let [rotated, deleted, later] = ["rotated", "deleted", "later"].map(|name| world.token(owner, name, 1));
    insert(&store, &rotated).await;
    insert(&store, &deleted).await;
    let bytes = back_up(&store).await;

    // The past that a restore takes back.
    let digest = world.key.digest_key().pair(&rotated.client_id, "new");
    let new = ServiceToken { digest, secret_version: 2, ..rotated.clone() };
    change!(store, [new], |tx| tx.update_service_token(&new)).unwrap();
    let gone = deleted.clone();
    change!(store, [gone], |tx| tx.delete_service_token(&gone.owner, &gone.id, NOW)).unwrap();
    insert(&store, &later).await;
    let seen = |index: &Index| {
        [(&rotated, "rotated"), (&rotated, "new"), (&deleted, "deleted"), (&later, "later")]
            .map(|(token, secret)| admits(index, token, secret))
    };
    for target in targets() {
        let index = Index::new(world.key.digest_key(), &world.entropy);
        let applied = store.load(&mut |change| index.apply(&change)).await.unwrap();
        assert_eq!(seen(&index), [false, true, false, true]);
        restore(&target, &world.key, &bytes).await.unwrap();
        let again = target.try_open_at(target.database.clone(), &world.key).await.unwrap();
        let feed = again.poll(applied).await.unwrap();
        assert!(feed.reload && feed.revision > applied);
        index.retain(&feed.changes);
        feed.changes.iter().for_each(|change| index.apply(change));
        assert_eq!(seen(&index), [true, false, true, false]);
    }
}

async fn is_empty(world: &World) -> bool {
    match world.file() {
        Some(file) => !file.exists(),
        None => {
            let rows = world.sql("SELECT COUNT(*) FROM account").await;
            rows[0].get::<i64, _>(0) == 0 && world.sql("SELECT 1 FROM revision WHERE value <> 0").await.is_empty()
        }
    }
}

async fn what_is_damaged_or_foreign_is_refused(world: World) {
    let store = initialised(&world).await;
    insert(&store, &world.token(world.owner(), "t", 1)).await;
    let whole = back_up(&store).await;
    let target = match world.file() {
        Some(_) => World::new(|directory| Database::Sqlite(directory.join("restored.db"))),
        None => World::new(|_| Database::Postgres(crate::cluster().unwrap().database())),
    };
    let refused = async |bytes: &[u8], key: &InstallationKey| {
        let error = restore(&target, key, bytes).await.expect_err("refused");
        assert!(is_empty(&target).await, "{error}");
        error
    };
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        refused(&bytes, &world.key).await;
        refused(&whole[..at], &world.key).await;
    }
    let other = InstallationKey::generate(&world.entropy);
    assert!(matches!(refused(&whole, &other).await, backup::Error::KeyMismatch));
    // Whoever changes rows can make the digest anew, but not the seal.
    let forged = file::with_new_digest(file::replaced(&whole, b"service_token.create", b"service_token.delete"));
    assert!(matches!(refused(&forged, &world.key).await, backup::Error::Forged));
    let newer = file::with_new_digest(file::of_schema(&whole, 99));
    let error = refused(&newer, &world.key).await;
    assert!(matches!(error, backup::Error::SchemaNewer { found: 99, known } if known == newest()), "{error:?}");
    let mut format = whole.clone();
    format[19] = 2;
    assert!(matches!(refused(&format, &world.key).await, backup::Error::Format { found: 2, known: 1 }));
    assert!(matches!(refused(b"something else", &world.key).await, backup::Error::Foreign));

    // A file that changes after it was looked at.
    let contents = backup::check(&mut whole.as_slice(), &mut |_| ()).unwrap();
    let event = event("installation.restore", "it");
    let outcome =
        backup::restore(&target.database, &world.key, &contents, &mut forged.as_slice(), NOW, &event, &mut |_| ())
            .await;
    assert!(matches!(outcome, Err(backup::Error::Forged)), "{outcome:?}");
    let again = target.try_open_at(target.database.clone(), &world.key).await.unwrap();
    assert_eq!(again.installation().await.unwrap(), None);
    restore(&target, &world.key, &whole).await.expect("as whole, it is restored");
}

async fn what_is_not_empty_is_left_alone(world: World) {
    let store = initialised(&world).await;
    insert(&store, &world.token(world.owner(), "t", 1)).await;
    let bytes = back_up(&store).await;
    let before = dump(&world).await;
    let error = restore(&world, &world.key, &bytes).await.expect_err("not empty");
    assert!(matches!(error, backup::Error::NotEmpty(_)), "{error:?}");
    assert_eq!(dump(&world).await, before);
    insert(&store, &world.token(world.owner(), "after", 2)).await;

    for target in targets() {
        let node = Node::new(NodeId::generate(&world.entropy), crate::at(1), Revision::new(0));
        let empty = target.try_open_at(target.database.clone(), &world.key).await.unwrap();
        empty.register_node(&node).await.unwrap();
        let restored = restore(&target, &world.key, &bytes).await.unwrap();
        assert_eq!(restored.nodes, 1, "a server that is on the list is told of");
        assert!(empty.list_nodes().await.unwrap().is_empty());
    }
}

async fn a_store_of_before_is_not_brought_up_to_date_for_a_refusal(world: World) {
    let store = initialised(&world).await;
    let bytes = back_up(&store).await;
    for target in targets() {
        migration::fill(&target).await;
        let error = restore(&target, &world.key, &bytes).await.expect_err("not empty");
        assert!(
            matches!(error, backup::Error::SchemaDiffers { database: 1, backup } if backup == newest()),
            "{error:?}"
        );
        assert_eq!(target.sql("SELECT version FROM countersign_migration").await.len(), 1);
    }
}

async fn a_store_without_installation_has_nothing_to_back_up(world: World) {
    let store = world.open().await;
    let outcome = try_back_up(&store, false).await;
    assert!(matches!(outcome, Err(backup::Error::NoInstallation)), "{outcome:?}");
}

async fn an_older_schema_is_brought_up_to_date_afterwards(world: World) {
    let store = initialised(&world).await;
    // A backup as the step before would have made it: fewer tables, fewer columns.
    let bytes = back_up(&store).await;
    let new = [
        "agent",
        "agent_deployment",
        "admin_user_invite",
        "idempotent_answer",
        "api_token_count",
        "service_token_use",
        "rotation_wish",
        "api_token_seen",
        "audit_anchor",
        "installation_key",
        "assertion_key",
    ];
    let columns = [
        ("installation", "signing_key_id"),
        ("installation", "assertion_key_days"),
        ("revision", "key_before"),
        ("revision", "key_current"),
        ("revision", "key_next"),
        ("service_token", "allow_from"),
        ("service_token", "previous_version"),
        ("service_token", "rotated_at"),
    ];
    let bytes = file::without(&bytes, &new, &columns);
    let bytes = file::sealed(file::of_schema(&bytes, 1), &world.key.backup_key());
    let target = match world.file() {
        Some(_) => World::new(|directory| Database::Sqlite(directory.join("restored.db"))),
        None => {
            let target = World::new(|_| Database::Postgres(crate::cluster().unwrap().database()));
            let error = restore(&target, &world.key, &bytes).await.expect_err("further already");
            assert!(
                matches!(error, backup::Error::SchemaDiffers { database, backup: 1 } if database == newest()),
                "{error:?}"
            );
            target.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
            target
        }
    };
    restore(&target, &world.key, &bytes).await.unwrap();
    let options = || Options { database: target.database.clone(), readers: 1 };
    let outcome = Store::connect_reader(options(), &world.key).await.map(|_| ());
    assert!(matches!(outcome, Err(Error::SchemaOlder { found: 1, known }) if known == newest()), "{outcome:?}");
    let again = target.try_open_at(target.database.clone(), &world.key).await.unwrap();
    assert_eq!(again.installation().await.unwrap(), store.installation().await.unwrap());
    assert_eq!(again.signing_key_id().await.unwrap(), "1");
}

/// A store with so many tokens that a restore takes a while.
async fn large(world: &World, count: i64) -> Open {
    let store = initialised(world).await;
    let owner = world.owner();
    let tokens: Vec<_> = (0..count).map(|number| world.token(owner, "t", number)).collect();
    let tokens = Arc::new(tokens);
    write!(store, [tokens], |tx| {
        for token in tokens.iter() {
            tx.insert_service_token(token).await?;
        }
        tx.record(event("service_token.create", "all"));
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    store
}

/// What the process to be killed is told: the database, the key, and the backup.
const VARIABLES: [&str; 3] =
    ["COUNTERSIGN_TEST_RESTORE_DATABASE", "COUNTERSIGN_TEST_RESTORE_KEY", "COUNTERSIGN_TEST_RESTORE_FILE"];

const PROGRESS: &str = "rows restored ";

async fn a_killed_restore_leaves_nothing(world: World) {
    let bytes = {
        let source = World::new(|directory| Database::Sqlite(directory.join("source.db")));
        let store = source.try_open_at(source.database.clone(), &world.key).await.unwrap();
        drop(store);
        let source = World { key: InstallationKey::parse_hex(world.key.to_hex().expose()).unwrap(), ..source };
        let store = large(&source, 4500).await;
        back_up(&store).await
    };
    let path = world.directory().join("it.backup");
    std::fs::write(&path, &bytes).unwrap();
    let database = match &world.database {
        Database::Sqlite(path) => format!("sqlite:{}", path.display()),
        Database::Postgres(url) => url.clone(),
    };
    for round in 1..=4 {
        let values = [database.clone(), world.key.to_hex().expose().to_owned(), path.to_str().unwrap().to_owned()];
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["backup::restore_to_be_killed", "--exact", "--nocapture"])
            .envs(VARIABLES.into_iter().zip(values))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            lines += i32::from(line.unwrap().contains(PROGRESS));
            if lines == round {
                child.kill().unwrap();
            }
        }
        let finished = child.wait().unwrap().success();
        let store = world.open().await;
        let tokens: i64 = world.sql("SELECT COUNT(*) FROM service_token").await[0].get(0);
        if finished {
            assert_eq!(tokens, 4500, "the kill came too late, and it is whole");
            return;
        }
        assert_eq!((store.installation().await.unwrap(), tokens), (None, 0), "round {round}");
        assert_eq!(store.revision().await.unwrap().get(), 0);
        store.close().await;
    }
    restore(&world, &world.key, &bytes).await.expect("what a kill left is empty");
    let store = world.open().await;
    assert!(store.installation().await.unwrap().is_some());
    assert_eq!(store.verify_audit_chain(&mut |_| ()).await.unwrap().broken, None);
}

/// Does nothing unless it is told what to.
#[test]
fn restore_to_be_killed() {
    let [Ok(database), Ok(key), Ok(file)] = VARIABLES.map(std::env::var) else { return };
    let database = Database::parse(&database).unwrap();
    let key = InstallationKey::parse_hex(&key).unwrap();
    let bytes = std::fs::read(Path::new(&file)).unwrap();
    crate::on_sqlite(async |_| {
        let contents = backup::check(&mut bytes.as_slice(), &mut |_| ()).unwrap();
        let event = event("installation.restore", "it");
        let mut from = bytes.as_slice();
        let mut progress = |rows| println!("{PROGRESS}{rows}");
        backup::restore(&database, &key, &contents, &mut from, NOW, &event, &mut progress).await.unwrap();
    });
}

#[test]
fn a_full_disk_keeps_nothing_of_a_restore() {
    let Some(directory) = own_mount("backup::a_full_disk_keeps_nothing_of_a_restore", "1m") else { return };
    crate::on_sqlite(async |world| {
        let store = large(&world, 5000).await;
        let bytes = back_up(&store).await;
        let target = World {
            database: Database::Sqlite(directory.join("restored.db")),
            key: InstallationKey::parse_hex(world.key.to_hex().expose()).unwrap(),
            ..World::new(|_| world.database.clone())
        };
        let error = restore(&target, &world.key, &bytes).await.expect_err("a full disk");
        assert!(matches!(error, backup::Error::Store(Error::Full { .. })), "{error:?}");
        remount(&directory, "size=64m");
        let empty = target.open().await;
        assert_eq!((empty.installation().await.unwrap(), empty.revision().await.unwrap().get()), (None, 0));
        restore(&target, &world.key, &bytes).await.expect("with room, it goes in");
        let owner = store.list_nodes().await.unwrap();
        assert!(owner.is_empty());
        // Nor is there half a backup where there is no room for a whole one.
        remount(&directory, "size=9m");
        let mut file = std::fs::File::create(directory.join("it.backup")).unwrap();
        std::io::copy(&mut std::io::repeat(0), &mut file).expect_err("the disk fills");
        let mut on_full = std::fs::File::create(directory.join("other.backup")).unwrap();
        let outcome = backup::create(&store, false, NOW, &mut on_full, &mut |_| ()).await;
        assert!(matches!(outcome, Err(backup::Error::Write(_))), "{outcome:?}");
        let filter = ServiceTokenFilter::all(world.owner());
        assert_eq!(store.count_service_tokens(&filter).await.unwrap(), 0);
    });
}
