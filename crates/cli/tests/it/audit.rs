//! `audit`, which tells what happened and whether the log was touched.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::world::World;

#[test]
fn events_are_listed_exported_and_verified() {
    let world = World::new();
    let first = world.init();
    for name in ["one", "two", "three"] {
        world.run(&["account", "create", "--name", name]).ok();
    }
    world.run(&["zone", "create", "--account", first.account(), "--name", "example.org"]).ok();

    let exported = world.run(&["audit", "export"]).ok();
    let events: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let actions: Vec<&str> = events.iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["installation.create", "account.create", "account.create", "account.create", "zone.create"]);
    let numbers: Vec<i64> = events.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert!(events.iter().all(|event| event["actor"]["kind"] == "operator"), "{exported}");

    assert_eq!(world.run(&["audit", "list", "--json"]).json(), Value::Array(events.clone()));
    let newest = world.run(&["audit", "list", "--json", "--limit", "2"]).json();
    assert_eq!(newest, Value::Array(events[3..].to_vec()));
    let zones = world.run(&["audit", "list", "--json", "--action", "zone.create"]).json();
    assert_eq!(zones, Value::Array(vec![events[4].clone()]));
    let later = world.run(&["audit", "export", "--after", "3"]).ok();
    assert_eq!(later.lines().count(), 2);
    assert!(world.run(&["audit", "list"]).ok().contains("zone.create"));

    let verdict = world.run(&["audit", "verify", "--json"]).json();
    assert_eq!((verdict["events"].as_u64(), verdict["intact"].as_bool()), (Some(5), Some(true)));

    for secret in first.secrets() {
        assert!(!exported.contains(&secret));
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let world = World::new();
    world.init();
    for name in 0..20 {
        world.run(&["account", "create", "--name", &name.to_string()]).ok();
    }
    let mut child = world.command(&["audit", "export"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn a_log_that_was_touched_is_told() {
    let world = World::new();
    world.init();
    world.run(&["account", "create", "--name", "victim"]).ok();
    let database = world.data_dir().join("countersign.db");
    // A process that ends may leave its last changes in the log beside the main file; one that closes it moves them over.
    let beside = world.data_dir().join("countersign.db-wal");
    while beside.metadata().is_ok_and(|file| file.len() > 0) {
        world.run(&["account", "list"]).ok();
    }
    let mut bytes = std::fs::read(&database).unwrap();
    // One action becomes another in every copy of the row, as an edit of the table would do.
    let mut touched = 0;
    for at in 0..bytes.len() - 14 {
        if bytes[at..].starts_with(b"account.create") {
            bytes[at..at + 14].copy_from_slice(b"account.delete");
            touched += 1;
        }
    }
    assert!(touched > 0, "the row is in the main file");
    std::fs::write(&database, bytes).unwrap();
    let outcome = world.run(&["audit", "verify", "--json"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let verdict: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((verdict["intact"].as_bool(), verdict["broken_at"].as_i64()), (Some(false), Some(2)));
    assert!(outcome.stderr.contains("broken at event 2"), "{}", outcome.stderr);
}
