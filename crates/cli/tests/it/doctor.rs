//! `doctor`, which finds what is wrong and says what to do.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;

use serde_json::Value;

use crate::world::World;

/// Ports that are free whatever else runs on this machine.
const PORTS: [&str; 4] = ["--listen", "127.0.0.1:0", "--gate-listen", "127.0.0.1:0"];

struct Diagnosis(Option<i32>, Value);

impl Diagnosis {
    fn of(world: &World, more: &[&str]) -> Self {
        let mut arguments = vec!["doctor", "--json"];
        arguments.extend(more);
        let outcome = world.run(&arguments);
        let document = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
        Self(outcome.code, document)
    }

    fn check(&self, name: &str) -> (&str, &str, Option<&str>) {
        let checks = self.1["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("{name}: {}", self.1));
        (check["status"].as_str().unwrap(), check["message"].as_str().unwrap(), check["advice"].as_str())
    }

    /// Asserts that this is the only problem, and that something is to be done about it.
    fn has_problem(&self, name: &str, words: &str) {
        let (status, message, advice) = self.check(name);
        assert_eq!((self.0, status, self.1["problems"].as_u64()), (Some(1), "problem", Some(1)), "{}", self.1);
        assert!(message.contains(words), "{message}");
        assert!(advice.is_some(), "{}", self.1);
    }
}

/// A process that ends may leave its last changes in the log beside the main file; one that closes it moves them over.
fn empty_log(world: &World) {
    let beside = world.data_dir().join("countersign.db-wal");
    while beside.metadata().is_ok_and(|file| file.len() > 0) {
        world.run(&["account", "list"]).ok();
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_installation_in_order_is_said_to_be_so() {
    let world = World::new();
    world.init();
    let files = |name: &str| std::fs::read(world.data_dir().join(name)).unwrap();
    let events = world.run(&["audit", "export"]).ok();
    empty_log(&world);
    let before = (files("countersign.db"), files("installation.key"));
    let found = Diagnosis::of(&world, &PORTS);
    assert_eq!((found.0, &found.1["problems"]), (Some(0), &Value::from(0)), "{}", found.1);
    for name in [
        "configuration",
        "data directory",
        "database file",
        "disk space",
        "installation key",
        "schema",
        "database",
        "installation",
        "database integrity",
        "audit log",
        "clock",
        "signing key",
        "servers",
        "deleted tokens",
        "expiring tokens",
        "management port",
        "gate port",
    ] {
        let (status, _, _) = found.check(name);
        assert!(status == "ok" || name == "disk space", "{name}: {}", found.1);
    }
    let page = include_str!("../../../../docs/operations.md");
    for check in found.1["checks"].as_array().unwrap() {
        let name = check["check"].as_str().unwrap();
        assert!(page.contains(&format!("`{name}`")), "docs/operations.md does not explain {name}");
    }
    assert!(found.check("audit log").1.starts_with("1 events"), "{}", found.1);
    assert!(before == (files("countersign.db"), files("installation.key")), "it changes nothing");
    assert_eq!(world.run(&["audit", "export"]).ok(), events);

    let mut arguments = vec!["doctor"];
    arguments.extend(PORTS);
    let said = world.run(&arguments).ok();
    assert!(said.contains("Problems: 0.") && said.contains("audit log"), "{said}");
}

#[test]
fn a_running_server_is_found() {
    let world = World::new();
    let first = world.init();
    let socket = world.path("gate.sock");
    let server = world.serve_with(&["--gate-unix", socket.to_str().unwrap()]);
    let arguments =
        ["service-token", "create", "--account", first.account(), "--name", "short", "--duration", "24h", "--json"];
    server.remote(&world, first.api_token(), &arguments).ok();
    let address = |url: &str| url.strip_prefix("http://").unwrap().to_owned();
    let (management, gate) = (address(&server.management), address(&server.gate));
    let arguments = ["--listen", &management, "--gate-listen", &gate, "--gate-unix", socket.to_str().unwrap()];
    let found = Diagnosis::of(&world, &arguments);
    assert_eq!(found.0, Some(0), "{}", found.1);
    for name in ["management port", "gate port", "gate socket"] {
        assert!(found.check(name).1.contains("is ready"), "{}", found.1);
    }
    assert_eq!(found.check("servers").1, "1 alive");
    let (status, message, advice) = found.check("expiring tokens");
    assert!(status == "warning" && message.contains("service tokens 1,") && advice.is_some(), "{}", found.1);

    server.process().kill();
    let found = Diagnosis::of(&world, &arguments);
    let (status, message, _) = found.check("servers");
    assert!(status == "warning" && message.contains("0 alive, and silent"), "{}", found.1);
    assert!(found.check("management port").1.contains("free"), "{}", found.1);
    assert!(found.check("gate socket").1.contains("left behind"), "{}", found.1);
}

#[test]
fn each_problem_is_named() {
    let world = World::new();
    let found = Diagnosis::of(&world, &PORTS);
    assert_eq!(found.check("data directory").0, "problem");
    assert!(found.check("data directory").2.unwrap().contains("countersign init"), "{}", found.1);
    assert!(!world.data_dir().exists(), "it makes nothing");

    world.init();
    let key = world.data_dir().join("installation.key");
    set_mode(&key, 0o644);
    Diagnosis::of(&world, &PORTS).has_problem("installation key", "readable by others");
    set_mode(&key, 0o600);
    let aside = world.path("aside");
    std::fs::rename(&key, &aside).unwrap();
    Diagnosis::of(&world, &PORTS).has_problem("installation key", "missing");
    let other = World::new();
    other.init();
    std::fs::copy(other.data_dir().join("installation.key"), &key).unwrap();
    Diagnosis::of(&world, &PORTS).has_problem("key and database", "not the one of this database");
    std::fs::rename(&aside, &key).unwrap();

    set_mode(&world.data_dir(), 0o755);
    let found = Diagnosis::of(&world, &PORTS);
    assert_eq!((found.0, found.check("data directory").0), (Some(0), "warning"));
    assert!(found.check("data directory").2.unwrap().contains("chmod 700"), "{}", found.1);
    set_mode(&world.data_dir(), 0o700);

    let nothing = format!("sqlite:{}", world.path("nothing.db").display());
    let found = Diagnosis::of(&world, &[PORTS.as_slice(), &["--database-url", &nothing]].concat());
    found.has_problem("database file", "does not exist");
    assert!(!world.path("nothing.db").exists());
    let notes = world.path("notes.db");
    std::fs::write(&notes, "these are notes, and no database at all ".repeat(200)).unwrap();
    set_mode(&notes, 0o600);
    let found = Diagnosis::of(
        &world,
        &[PORTS.as_slice(), &["--database-url", &format!("sqlite:{}", notes.display())]].concat(),
    );
    found.has_problem("database", "not an SQLite database");
    let unreachable = "postgres://u:s3cret@127.0.0.1:1/d";
    let found = Diagnosis::of(&world, &[PORTS.as_slice(), &["--database-url", unreachable]].concat());
    found.has_problem("database", "not available");
    assert!(!found.1.to_string().contains("s3cret"));

    let found = Diagnosis::of(&world, &["--gate-listen", "127.0.0.1:0", "--listen", "192.0.2.1:80"]);
    found.has_problem("management port", "can't be bound");
    let mut command = world.command(&["doctor", "--json"]);
    command.env("COUNTERSIGN_LISTEN", "nowhere");
    let outcome = crate::world::outcome(&mut command);
    assert!(outcome.code == Some(1) && outcome.stdout.contains("COUNTERSIGN_LISTEN"), "{outcome:?}");
}

#[test]
fn another_program_on_the_port_is_told() {
    let world = World::new();
    world.init();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 16];
        stream.read_exact(&mut asked).unwrap();
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap();
        // Reads what else was asked, so that the answer is not lost with the connection.
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    });
    let found = Diagnosis::of(&world, &["--gate-listen", "127.0.0.1:0", "--listen", &address]);
    found.has_problem("management port", "another program");
    answering.join().unwrap();
}

#[test]
fn a_log_that_was_touched_is_a_problem() {
    let world = World::new();
    world.init();
    world.run(&["account", "create", "--name", "victim"]).ok();
    let database = world.data_dir().join("countersign.db");
    empty_log(&world);
    let mut bytes = std::fs::read(&database).unwrap();
    for at in 0..bytes.len() - 14 {
        if bytes[at..].starts_with(b"account.create") {
            bytes[at..at + 14].copy_from_slice(b"account.delete");
        }
    }
    std::fs::write(&database, bytes).unwrap();
    Diagnosis::of(&world, &PORTS).has_problem("audit log", "broken at event 2");
}
