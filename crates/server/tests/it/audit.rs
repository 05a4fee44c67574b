//! Every change leaves exactly one entry that says who did what to what; nothing else leaves any.

use std::collections::BTreeSet;
use std::path::Path;

use countersign_store::RecordedEvent;
use http::Method;
use serde_json::{Value, json};

use crate::world::{HOUR, Issued, World, on_both};

/// The one entry that an action leaves.
async fn the_entry(world: &World, action: impl AsyncFnOnce() -> Value) -> (RecordedEvent, Value) {
    let before = world.audit_end().await;
    let result = action().await;
    let mut entries = world.audit(before).await;
    assert_eq!(entries.len(), 1, "{entries:?}");
    let entry = entries.remove(0);
    assert_eq!(entry.seq, before + 1);
    (entry, result)
}

#[test]
fn every_change_leaves_one_entry() {
    on_both(async |world| {
        for tokens in world.scopes() {
            for (writer, kind) in
                world.writers().into_iter().zip(["management_token", "user", "management_token", "user", "api_token"])
            {
                let writer = writer.with("x-request-id", "of-this-call");
                let check = |entry: &RecordedEvent, action: &str, id: &str| {
                    assert_eq!(entry.action, action);
                    assert_eq!((entry.subject_kind.as_str(), entry.subject_id.as_str()), ("service_token", id));
                    assert_eq!(entry.account, Some(world.account), "a zone's tokens are its account's affair");
                    assert_eq!(entry.at, world.now());
                    assert_eq!(entry.request_id.as_deref(), Some("of-this-call"));
                    assert_eq!(entry.actor_kind, kind, "{}", writer.name);
                    assert!(!entry.actor_id.is_empty());
                    let detail: Value = serde_json::from_str(&entry.detail).unwrap();
                    assert!(detail.is_object());
                };
                let (entry, token) =
                    the_entry(world, async || writer.post(&tokens, &json!({"name": "x"})).await.created()).await;
                let id = token["id"].as_str().unwrap().to_owned();
                check(&entry, "service_token.create", &id);
                let path = format!("{tokens}/{id}");
                world.advance(HOUR);
                let updates = [
                    json!({"name": "y"}),
                    json!({"duration": "24h"}),
                    json!({"enabled": false}),
                    json!({"client_secret_version": 2}),
                    json!({"previous_client_secret_expires_at": null}),
                    json!({"name": "z", "duration": "48h", "enabled": true, "client_secret_version": 5}),
                ];
                for body in updates {
                    let (entry, _) = the_entry(world, async || writer.put(&path, &body).await.ok()).await;
                    check(&entry, "service_token.update", &id);
                    // It names the fields that changed.
                    let detail: Value = serde_json::from_str(&entry.detail).unwrap();
                    for (field, value) in body.as_object().unwrap() {
                        let name = field.trim_start_matches("client_");
                        if ["name", "duration", "enabled", "secret_version"].contains(&name) {
                            assert_eq!(detail[name], *value, "{detail}");
                        }
                    }
                }
                let (entry, _) = the_entry(world, async || writer.act(&format!("{path}/rotate")).await.ok()).await;
                check(&entry, "service_token.rotate", &id);
                // What only our own API can do.
                let own = path.replace("/access/", "/");
                let grace = json!({"previous_client_secret_expires_at": world.after(2 * HOUR)});
                writer.post(&format!("{path}/rotate"), &grace).await.ok();
                for (name, body, action) in [
                    ("rotation", r#"{"finish_when_quiet":"1h"}"#, "service_token.finish_when_quiet"),
                    ("rotation", r#"{"finish_when_quiet":null}"#, "service_token.finish_when_quiet"),
                    ("allow_from", r#"{"networks":["10.0.0.0/8"]}"#, "service_token.allow_from"),
                ] {
                    let put = async || writer.admin(Method::PUT, &format!("{own}/{name}"), body).await.2;
                    let (entry, _) = the_entry(world, put).await;
                    check(&entry, action, &id);
                }
                let (entry, _) = the_entry(world, async || writer.act(&format!("{path}/refresh")).await.ok()).await;
                check(&entry, "service_token.refresh", &id);
                let (entry, _) = the_entry(world, async || writer.delete(&path).await.ok()).await;
                check(&entry, "service_token.delete", &id);
            }
        }
    });
}

#[test]
fn the_actor_is_the_one_who_called() {
    on_both(async |world| {
        let (entry, _) =
            the_entry(world, async || world.writer().post(&world.tokens(), &json!({"name": "x"})).await.created())
                .await;
        assert_eq!((entry.actor_kind.as_str(), entry.actor_id.as_str()), ("management_token", world.writer_id()));
        let user = world.owner_key().get("/user").await.ok()["id"].clone();
        let (entry, _) =
            the_entry(world, async || world.owner_key().post(&world.tokens(), &json!({"name": "x"})).await.created())
                .await;
        assert_eq!((entry.actor_kind.as_str(), json!(entry.actor_id)), ("user", user));
        // Without an id of the client's, the one that the answer shows.
        let before = world.audit_end().await;
        let answer = world.writer().post(&world.tokens(), &json!({"name": "x"})).await;
        assert_eq!(world.audit(before).await[0].request_id.as_deref(), answer.header("x-request-id"));
    });
}

#[test]
fn whatever_changes_nothing_leaves_nothing() {
    on_both(async |world| {
        let token = world.issue(&world.tokens(), json!({"name": "x", "duration": "forever"})).await;
        let Issued { path, .. } = &token;
        let before = world.audit_end().await;
        let writer = world.writer();
        writer.get(path).await.ok();
        writer.get(&world.tokens()).await.ok();
        writer.put(path, &json!({})).await.ok();
        writer.put(path, &json!({"name": "x", "duration": "forever", "client_secret_version": 1})).await.ok();
        writer.act(&format!("{path}/refresh")).await.ok();
        writer.put(path, &json!({"name": ""})).await.refused(400, 12130);
        writer.post(&world.tokens(), &json!({})).await.refused(400, 12130);
        writer.delete(&format!("{path}x")).await.refused(404, 12135);
        world.reader().delete(path).await.refused(403, 10000);
        world.stranger().delete(path).await.refused(403, 10000);
        world.anonymous().delete(path).await.refused(400, 9106);
        world.assert_admitted(&token).await;
        world.assert_refused(&token, "wrong", "invalid").await;
        assert!(world.audit(before).await.is_empty(), "{:?}", world.audit(before).await);
    });
}

/// Many at once: each leaves its own entry, in an unbroken chain.
#[test]
fn changes_at_once_leave_an_entry_each() {
    on_both(async |world| {
        let before = world.audit_end().await;
        let issued = world.issue_many(&world.tokens(), (0..150).map(|_| json!({"name": "x"}))).await;
        let entries = world.audit(before).await;
        let mut subjects: Vec<&str> = entries.iter().map(|entry| entry.subject_id.as_str()).collect();
        let mut ids: Vec<&str> = issued.iter().map(|token| token.id.as_str()).collect();
        subjects.sort_unstable();
        ids.sort_unstable();
        assert_eq!(subjects, ids);
    });
}

/// The log begins with the installation.
#[test]
fn administration_is_in_the_log_too() {
    on_both(async |world| {
        let entries = world.audit(0).await;
        let actions: Vec<&str> = entries.iter().map(|entry| entry.action.as_str()).collect();
        let expected =
            ["installation.create", "zone.create", "account.create", "zone.create", "user.create", "user.create"];
        assert_eq!(actions[..6], expected);
        assert_eq!(actions[6..], ["management_token.create"; 3]);
        assert!(entries.iter().all(|entry| entry.actor_kind == "operator"));
    });
}

/// The page names every action that the code records, and no other.
#[test]
fn the_page_lists_every_action() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut recorded = BTreeSet::new();
    for_each_source(&sources, &mut |text| {
        let literals = text.split('"').skip(1).step_by(2);
        recorded.extend(literals.filter(|literal| is_action(literal)).map(str::to_owned));
    });
    let page = include_str!("../../../../docs/audit.md");
    let table = page.split("| action | recorded when |").nth(1).unwrap().split("\n\n").next().unwrap();
    let first_cells = table.lines().filter_map(|line| line.split('|').nth(1));
    let listed: BTreeSet<String> =
        first_cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    assert!(listed.len() > 30, "{listed:?}");
    assert_eq!(listed, recorded);
}

/// Whether a text of the code looks like an action: the kind of a subject and a verb.
fn is_action(text: &str) -> bool {
    const SUBJECTS: [&str; 15] = [
        "account",
        "admin_user_invite",
        "agent",
        "agent_deployment",
        "api_token",
        "assertion_key",
        "audit",
        "environment",
        "installation",
        "installation_key",
        "management_token",
        "service_token",
        "signing_key",
        "user",
        "zone",
    ];
    let Some((subject, verb)) = text.split_once('.') else { return false };
    let is_word = !verb.is_empty() && verb.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    // A query's parameter, and the name of a file.
    is_word && SUBJECTS.contains(&subject) && !["account.id", "installation.key"].contains(&text)
}

fn for_each_source(folder: &Path, look: &mut dyn FnMut(&str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            for_each_source(&path, look);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            look(text.split("#[cfg(test)]").next().unwrap());
        }
    }
}
