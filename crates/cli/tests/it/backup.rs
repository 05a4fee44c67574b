//! `backup` and `restore`: what was handed out is good again, and what is not whole is refused.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use crate::postgres::Cluster;
use crate::world::{Installation, Server, World, gate_says_to_bearer, request};

/// A service token, as it was handed out.
struct Pair {
    id: String,
    client_id: String,
    secret: String,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

fn create(world: &World, server: &Server, first: &Installation, name: &str) -> Pair {
    let arguments = ["service-token", "create", "--account", first.account(), "--name", name, "--json"];
    let made = server.remote(world, first.api_token(), &arguments).json();
    Pair { id: text(&made["id"]), client_id: text(&made["client_id"]), secret: text(&made["client_secret"]) }
}

fn delete(world: &World, server: &Server, first: &Installation, pair: &Pair) {
    let arguments = ["service-token", "delete", &pair.id, "--account", first.account(), "--yes"];
    server.remote(world, first.api_token(), &arguments).ok();
}

fn admits(server: &Server, first: &Installation, pair: &Pair) -> bool {
    server.gate_says(first.account(), &pair.client_id, &pair.secret).0 == 200
}

fn admits_account(server: &Server, first: &Installation) -> bool {
    let demand = format!("account_id={}", first.account());
    gate_says_to_bearer(&server.gate, &demand, first.account_token()).status == 200
}

fn back_up(world: &World, more: &[&str]) -> std::path::PathBuf {
    let path = world.path("it.backup");
    let mut arguments = vec!["backup", path.to_str().unwrap()];
    arguments.extend(more);
    world.run(&arguments).ok();
    path
}

fn restore(world: &World, path: &Path) -> crate::world::Outcome {
    world.run(&["restore", path.to_str().unwrap()])
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn everything_is_good_again_after_a_backup_under_load() {
    let world = World::new();
    let first = world.init();
    let server = world.serve();
    let before = create(&world, &server, &first, "before");
    let gone = create(&world, &server, &first, "gone");
    delete(&world, &server, &first, &gone);

    let (enough, path) = (AtomicBool::new(false), world.path("it.backup"));
    let document = thread::scope(|scope| {
        for writer in 0..2 {
            let (management, first, enough) = (server.management.as_str(), &first, &enough);
            scope.spawn(move || {
                let path = format!("/client/v4/accounts/{}/access/service_tokens", first.account());
                let bearer = format!("Bearer {}", first.api_token());
                let mut number = 0;
                while !enough.load(Ordering::Acquire) {
                    let body = format!(r#"{{"name":"busy {writer} {number}"}}"#);
                    let headers = [("Authorization", bearer.as_str())];
                    assert_eq!(request(management, "POST", &path, &headers, Some(&body)).unwrap().status, 201);
                    number += 1;
                }
            });
        }
        let made = world.run(&["backup", path.to_str().unwrap(), "--with-key", "--json"]);
        enough.store(true, Ordering::Release);
        made.json()
    });
    assert_eq!((document["installation_key"].as_bool(), mode(&path)), (Some(true), 0o600));
    let after = create(&world, &server, &first, "after");
    delete(&world, &server, &first, &before);
    assert!(!admits(&server, &first, &before) && admits(&server, &first, &after));
    drop(server);

    let other = World::new();
    let restored = other.run(&["restore", path.to_str().unwrap(), "--json"]).json();
    assert_eq!(restored["rows"], document["rows"]);
    assert_eq!(restored["revision"], document["revision"]);
    assert_eq!(
        (restored["installation_key_written"].as_bool(), restored["audit_intact"].as_bool()),
        (Some(true), Some(true))
    );
    assert!(restored["restored_at_revision"].as_i64() > restored["revision"].as_i64());
    let key = |world: &World| world.data_dir().join("installation.key");
    assert_eq!(std::fs::read(key(&other)).unwrap(), std::fs::read(key(&world)).unwrap());
    assert_eq!((mode(&key(&other)), mode(&other.data_dir())), (0o600, 0o700));

    let verdict = other.run(&["audit", "verify", "--json"]).json();
    assert_eq!(verdict["events"].as_u64().unwrap(), document["rows"]["audit_event"].as_u64().unwrap() + 1);
    let server = other.serve();
    assert!(admits(&server, &first, &before), "what was revoked after the backup is good again");
    assert!(!admits(&server, &first, &gone), "what was revoked before is not");
    assert!(!admits(&server, &first, &after), "what was made after it is void");
    assert!(admits_account(&server, &first));
    let new = create(&other, &server, &first, "new");
    assert!(admits(&server, &first, &new), "it goes on");
    let tokens = server
        .remote(&other, first.api_token(), &["service-token", "list", "--account", first.account(), "--json"])
        .json();
    assert_eq!(
        tokens.as_array().unwrap().len() as u64,
        document["rows"]["service_token"].as_u64().unwrap(),
        "the one that was deleted still has its row, and there is a new one"
    );
    let last = other.run(&["audit", "list", "--json", "--action", "installation.restore"]).json();
    assert_eq!(last.as_array().unwrap().len(), 1, "{last}");
}

#[test]
fn people_are_told_where_the_key_is_and_what_is_lost() {
    let world = World::new();
    world.init();
    let path = world.path("it.backup");
    let said = world.run(&["backup", path.to_str().unwrap()]).ok();
    assert!(said.contains("NOT INSIDE") && said.contains("installation.key") && said.contains("void"), "{said}");
    let with = world.path("with.backup");
    let said = world.run(&["backup", with.to_str().unwrap(), "--with-key"]).ok();
    assert!(said.contains("THE INSTALLATION KEY IS INSIDE"), "{said}");
    let key = std::fs::read_to_string(world.data_dir().join("installation.key")).unwrap();
    let holds = |path: &Path| std::fs::read(path).unwrap().windows(64).any(|window| window == key.trim().as_bytes());
    assert!(holds(&with) && !holds(&path));
    let said = restore(&World::new(), &with).ok();
    assert!(said.contains("WHAT CHANGED SINCE IS LOST") && said.contains("docs/operations.md"), "{said}");
    let said = world.run(&["backup", path.to_str().unwrap()]).failed(1);
    assert!(said.contains("not replaced"), "{said}");
    let files: Vec<_> = std::fs::read_dir(world.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files.len(), 3, "the data directory and two backups: {files:?}");
}

#[test]
fn without_the_key_it_is_void() {
    let world = World::new();
    let first = world.init();
    let path = back_up(&world, &[]);
    let other = World::new();
    let said = restore(&other, &path).failed(1);
    assert!(said.contains("installation key") && said.contains("void"), "{said}");
    assert!(!other.data_dir().exists(), "nothing was made");

    let stranger = World::new();
    stranger.init();
    let key = |world: &World| world.data_dir().join("installation.key");
    std::fs::create_dir(other.data_dir()).unwrap();
    std::fs::copy(key(&stranger), key(&other)).unwrap();
    let said = restore(&other, &path).failed(1);
    assert!(said.contains("another installation's"), "{said}");
    assert_eq!(std::fs::read(key(&other)).unwrap(), std::fs::read(key(&stranger)).unwrap(), "no key is replaced");

    std::fs::copy(key(&world), key(&other)).unwrap();
    restore(&other, &path).ok();
    let server = other.serve();
    assert!(admits_account(&server, &first));
}

#[test]
fn what_is_not_whole_or_not_empty_is_refused() {
    let world = World::new();
    world.init();
    let path = back_up(&world, &["--with-key"]);
    let whole = std::fs::read(&path).unwrap();
    let other = World::new();
    let refused = |bytes: &[u8], words: &str| {
        let broken = other.path("broken.backup");
        std::fs::write(&broken, bytes).unwrap();
        let said = restore(&other, &broken).failed(1);
        assert!(said.contains(words), "{said}");
        assert!(!other.data_dir().exists(), "nothing was made");
    };
    refused(&whole[..whole.len() / 2], "cut off");
    refused(&whole[..whole.len() - 1], "cut off");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    refused(&flipped, "damaged");
    let mut newer = whole.clone();
    newer[19] = 9;
    refused(&newer, "format 9");
    refused(b"PGDMP and so on", "no backup");

    let server = world.serve();
    let before = world.run(&["audit", "export"]).ok();
    let said = restore(&world, &path).failed(1);
    assert!(said.contains("another server"), "{said}");
    drop(server);
    let said = restore(&world, &path).failed(1);
    assert!(said.contains("not empty"), "{said}");
    assert_eq!(world.run(&["audit", "export"]).ok(), before);
    // A key that came out of a backup does not stay where its store did not come to be.
    std::fs::remove_file(world.data_dir().join("installation.key")).unwrap();
    restore(&world, &path).failed(1);
    assert!(!world.data_dir().join("installation.key").exists());
}

#[test]
fn a_killed_backup_leaves_no_backup() {
    let world = World::new();
    world.init();
    for round in 0..8 {
        let path = world.path(&format!("{round}.backup"));
        let mut child = world.command(&["backup", path.to_str().unwrap(), "--with-key"]).spawn().unwrap();
        let draft = world.path(&format!("{round}.backup.{}.new", child.id()));
        while !draft.exists() && !path.exists() && child.try_wait().unwrap().is_none() {
            thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if path.exists() {
            // It came to its end.
            restore(&World::new(), &path).ok();
        }
    }
}

#[test]
fn one_database_moves_to_the_other() {
    let Some(cluster) = Cluster::start(|_| ()) else { return };
    let world = World::new();
    let first = world.init();
    let server = world.serve();
    let pair = create(&world, &server, &first, "deploy");
    drop(server);
    let path = back_up(&world, &[]);

    // The key stays where it is; only the database is another one.
    let url = cluster.database();
    let on_postgres = |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["--database-url", url.as_str()]);
        world.run(&all)
    };
    let said = on_postgres(&["restore", path.to_str().unwrap()]).ok();
    assert!(said.contains("postgres://"), "{said}");
    let server = world.serve_with(&["--database-url", &url]);
    assert!(admits(&server, &first, &pair) && admits_account(&server, &first));
    let later = create(&world, &server, &first, "later");

    let listen = server.management.strip_prefix("http://").unwrap();
    let gate = server.gate.strip_prefix("http://").unwrap();
    let outcome = on_postgres(&["doctor", "--json", "--listen", listen, "--gate-listen", gate]);
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let check = |name: &str| {
        let checks = document["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["check"] == name);
        found.unwrap_or_else(|| panic!("{name}: {document}")).clone()
    };
    assert!(text(&check("database")["message"]).starts_with("PostgreSQL"), "{document}");
    // The private cluster of the tests is set up to be fast, not to be safe.
    assert_eq!((check("durability")["status"].as_str(), outcome.code), (Some("problem"), Some(1)), "{document}");
    assert_eq!(document["problems"], 1, "{document}");
    assert_eq!(check("servers")["message"], "1 alive");

    let back = world.path("back.backup");
    on_postgres(&["backup", back.to_str().unwrap(), "--with-key"]).ok();
    drop(server);
    let other = World::new();
    restore(&other, &back).ok();
    let server = other.serve();
    assert!(admits(&server, &first, &pair) && admits(&server, &first, &later));
}
