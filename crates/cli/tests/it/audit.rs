//! `audit`, which tells what happened and whether the log was touched.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
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

const PAGE: &str = include_str!("../../../../docs/audit.md");

#[test]
fn the_commands_of_the_page_work() {
    let world = World::new();
    let first = world.init();
    world.run(&["user", "create", "--email", "ops@example.com", "--account", first.account()]).ok();
    let commands: Vec<&str> = PAGE.lines().filter_map(|line| line.strip_prefix("$ countersign ")).collect();
    assert!(commands.len() >= 10, "{commands:?}");
    let exported = world.run(&["audit", "export"]).ok();
    for file in ["audit.jsonl", "audit-heads.jsonl"] {
        std::fs::write(world.path(file), &exported).unwrap();
    }
    for command in commands {
        // What is after `>` is for a shell.
        let words = command.split('>').next().unwrap().split_whitespace().map(|word| word.trim_matches('\''));
        let words: Vec<String> = words
            .map(|word| if word.ends_with(".jsonl") { path(&world.path(word)) } else { word.to_owned() })
            .collect();
        world.run(&words.iter().map(String::as_str).collect::<Vec<_>>()).ok();
    }
}

fn path(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn events_are_found_by_who_what_when_and_from_where() {
    let world = World::new();
    let first = world.init();
    world.run(&["account", "create", "--name", "one"]).ok();
    world.run(&["user", "create", "--email", "ops@example.com", "--account", first.account()]).ok();
    let all = world.run(&["audit", "list", "--json"]).json();
    let of_account = all.as_array().unwrap().iter().filter(|event| event["account_id"] == first.account()).count();
    assert!(0 < of_account && of_account < 3, "{all}");
    let count = |arguments: &[&str]| {
        let all = [&["audit", "list", "--json"], arguments].concat();
        world.run(&all).json().as_array().unwrap().len()
    };
    assert_eq!(count(&[]), 3);
    assert_eq!(count(&["--actor-kind", "operator"]), 3);
    assert_eq!(count(&["--actor-kind", "user"]), 0);
    assert_eq!(count(&["--actor", "ops@example.com"]), 0, "everything was done by commands");
    assert_eq!(count(&["--action", "account.*"]), 1);
    assert_eq!(count(&["--since", "1h"]), 3);
    assert_eq!(count(&["--until", "1h"]), 0);
    assert_eq!(count(&["--since", "2020-01-01T00:00:00Z", "--until", "2100-01-01T00:00:00+01:00"]), 3);
    assert_eq!(count(&["--address", "0.0.0.0/0"]), 0, "commands come from no address");
    assert_eq!(count(&["--account", first.account()]), of_account);
    assert_eq!(world.run(&["audit", "export", "--limit", "1"]).ok().lines().count(), 1);
    let nobody = world.run(&["audit", "list", "--actor", "nobody@example.com"]);
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.stderr.contains("no user has the address nobody@example.com"), "{}", nobody.stderr);
    for wrong in [["--address", "10.0.0.0/40"], ["--since", "yesterday"]] {
        assert_eq!(world.run(&["audit", "list", wrong[0], wrong[1]]).code, Some(2), "{wrong:?}");
    }
}

/// An export is held against the log, and whatever was done to the file or the log since is named.
#[test]
fn an_export_is_checked_against_the_log() {
    let world = World::new();
    world.init();
    for name in ["one", "two"] {
        world.run(&["account", "create", "--name", name]).ok();
    }
    let exported = world.run(&["audit", "export"]).ok();
    let file = world.path("heads.jsonl");
    let verify = |text: &str| {
        std::fs::write(&file, text).unwrap();
        world.run(&["audit", "verify", "--json", "--head-file", &path(&file)])
    };
    let verdict = verify(&exported).json();
    assert_eq!((verdict["intact"].as_bool(), verdict["heads"]["confirmed"].as_u64()), (Some(true), Some(3)));
    assert_eq!((verdict["first"].as_u64(), verdict["heads"]["pruned"].as_u64()), (Some(1), Some(0)));
    // The last event with another number: of an event that the log does not have.
    let last = exported.lines().last().unwrap();
    let beyond = exported.replace(last, &last.replace(r#""seq":3"#, r#""seq":4"#));
    let outcome = verify(&beyond);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("heads.jsonl, line 3: the audit log ended with event 4"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("its tail was cut off, or an older database was put back"), "{}", outcome.stderr);
    let verdict: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(
        (verdict["intact"].as_bool(), verdict["heads"]["contradicted"]["line"].as_u64()),
        (Some(false), Some(3))
    );
    // A file that is none, one of which a part was changed, and none at all.
    let outcome = verify("{}\n");
    assert!(outcome.code == Some(1) && outcome.stderr.contains("line 1"), "{outcome:?}");
    let outcome = world.run(&["audit", "verify", "--head-file", "/nowhere/heads"]);
    assert!(outcome.code == Some(1) && outcome.stderr.contains("/nowhere/heads"), "{outcome:?}");
}

/// A server writes heads while it runs and when it stops, and records what the gate refuses.
#[test]
fn a_server_tells_of_heads_and_of_refused_attempts() {
    let world = World::new();
    let first = world.init();
    let heads = path(&world.path("heads.jsonl"));
    let server = world.serve_with(&["--audit-head-file", &heads, "--audit-retention", "24h"]);
    let create = ["service-token", "create", "--name", "ci", "--account", first.account(), "--json"];
    let token = server.remote(&world, first.api_token(), &create).json();
    let client_id = token["client_id"].as_str().unwrap();
    for _ in 0..3 {
        assert_eq!(server.gate_says(first.account(), client_id, "wrong").0, 401);
    }
    server.signal("TERM");
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");

    let refused = world.run(&["audit", "list", "--json", "--action", "*.refused"]).json();
    assert_eq!(refused, serde_json::json!([]), "a beginning ends with `.*`");
    let refused = world.run(&["audit", "list", "--json", "--action", "service_token.refused"]).json();
    let counts: u64 = refused.as_array().unwrap().iter().map(|event| event["detail"]["count"].as_u64().unwrap()).sum();
    assert_eq!(counts, 3, "{refused}");
    assert_eq!(refused[0]["subject"]["id"], token["id"]);
    assert_eq!(
        (refused[0]["address"].as_str(), refused[0]["actor"]["kind"].as_str()),
        (Some("127.0.0.1"), Some("unknown"))
    );
    assert!(!refused.to_string().contains("wrong"), "{refused}");

    let verify = ["audit", "verify", "--json", "--head-file", &heads];
    let verdict = world.run(&verify).json();
    assert_eq!(verdict["intact"], true, "{verdict}");
    let lines = std::fs::read_to_string(&heads).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["seq"], verdict["events"], "the last one is of the stop");
    // A line that somebody has made up.
    let forged = lines.replace(&format!(r#""revision":{}"#, last["revision"]), r#""revision":999"#);
    assert_ne!(forged, lines);
    std::fs::write(&heads, forged).unwrap();
    let outcome = world.run(&verify);
    assert!(outcome.code == Some(1) && outcome.stderr.contains("somebody has changed the file"), "{outcome:?}");
}
