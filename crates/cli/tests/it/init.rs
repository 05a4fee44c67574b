//! `init`, which happens once.

use serde_json::Value;

use crate::world::World;

/// The keys of an object, in the order in which they are printed.
fn keys(text: &str, object: &Value) -> Vec<String> {
    let mut keys: Vec<String> = object.as_object().unwrap().keys().cloned().collect();
    keys.sort_by_key(|key| text.find(&format!("\"{key}\":")).unwrap());
    keys
}

fn is_hex(value: &Value, len: usize) -> bool {
    let text = value.as_str().unwrap();
    text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_pfid(value: &Value) -> bool {
    let text = value.as_str().unwrap();
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b.is_ascii_lowercase() && !b"ilou".contains(&b)))
}

#[test]
fn one_object_with_everything() {
    let world = World::new();
    let text = world.run(&["init", "--email", "Ops@Example.com", "--zone", "example.org", "--json"]).ok();
    assert_eq!(text.lines().count(), 1);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(keys(&text, &document), ["account", "zone", "environment", "user", "api_token", "account_token"]);
    let (account, zone) = (&document["account"], &document["zone"]);
    let (environment, user) = (&document["environment"], &document["user"]);
    assert_eq!(account.as_object().unwrap().len(), 3);
    assert!(is_hex(&account["id"], 32) && is_pfid(&account["pfid"]), "{account}");
    assert_eq!(account["name"], "Default");
    assert_eq!(zone.as_object().unwrap().len(), 2);
    assert!(is_hex(&zone["id"], 32), "{zone}");
    assert_eq!(zone["name"], "example.org");
    assert_eq!(environment.as_object().unwrap().len(), 2);
    assert!(is_pfid(&environment["id"]), "{environment}");
    assert_eq!(environment["name"], "development");
    assert_eq!(user.as_object().unwrap().len(), 4);
    assert!(is_hex(&user["id"], 32) && is_pfid(&user["pfid"]) && is_hex(&user["api_key"], 37), "{user}");
    assert_eq!(user["email"], "ops@example.com");
    let api_token = document["api_token"].as_str().unwrap();
    assert!(api_token.starts_with("csat_") && api_token.len() == 51, "{api_token}");
    assert!(document["account_token"].as_str().unwrap().starts_with("eyJ"), "{document}");
}

#[test]
fn people_see_the_same() {
    let world = World::new();
    let text = world.run(&["init"]).ok();
    for part in ["Default", "example.com", "admin@example.com", "csat_", "eyJ", "installation.key", "this once"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "colours belong on a terminal: {text}");
}

#[test]
fn a_second_one_changes_nothing() {
    let world = World::new();
    let first = world.init();
    let key = std::fs::read(world.data_dir().join("installation.key")).unwrap();
    let before = world.run(&["audit", "export"]).ok();

    let said = world.run(&["init", "--json", "--email", "other@example.com"]).failed(1);
    assert!(said.contains("already") && said.contains("nothing was changed"), "{said}");
    assert!(said.contains("countersign serve"), "it says what to do: {said}");

    assert_eq!(std::fs::read(world.data_dir().join("installation.key")).unwrap(), key);
    assert_eq!(world.run(&["audit", "export"]).ok(), before);
    let server = world.serve();
    server.remote(&world, first.api_token(), &["service-token", "list", "--account", first.account()]).ok();
}

#[test]
fn a_lost_key_is_not_replaced() {
    let world = World::new();
    world.init();
    let key = world.data_dir().join("installation.key");
    let aside = world.path("aside.key");
    std::fs::rename(&key, &aside).unwrap();
    for arguments in [["init", "--json"].as_slice(), &["account", "list"], &["serve"], &["quickstart"]] {
        let said = world.run(arguments).failed(1);
        assert!(said.contains("key"), "{arguments:?}: {said}");
        assert!(!key.exists(), "{arguments:?} made a new key");
    }
    std::fs::rename(&aside, &key).unwrap();
    world.run(&["account", "list"]).ok();
}

#[test]
fn a_foreign_key_is_refused() {
    let (world, other) = (World::new(), World::new());
    world.init();
    other.init();
    let key = |world: &World| world.data_dir().join("installation.key");
    std::fs::copy(key(&other), key(&world)).unwrap();
    for arguments in [["init", "--json"].as_slice(), &["account", "list"], &["serve"]] {
        let said = world.run(arguments).failed(1);
        assert!(said.contains("key"), "{arguments:?}: {said}");
    }
}
