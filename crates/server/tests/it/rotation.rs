//! After a rotation: who still comes with which secret, and the end of the one before.

use std::cell::Cell;
use std::time::Duration;

use countersign_store::{Node, NodeId, Sighting};
use countersign_token::feed::Revision;
use countersign_token::index::{SeenMark, SeenSubject};
use http::Method;
use serde_json::{Value, json};

use crate::world::{Actor, DAY, HOUR, Issued, World, on_both, on_postgres, on_sqlite, until};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn path(world: &World, token: &Issued) -> String {
    format!("/accounts/{}/service_tokens/{}/rotation", world.account, token.id)
}

async fn rotation(world: &World, token: &Issued) -> Value {
    let (status, _, json) = world.reader().admin(Method::GET, &path(world, token), "").await;
    assert_eq!(status, 200, "{json}");
    json
}

/// Asks the gate with a secret of the token's and some headers more.
async fn come(world: &World, token: &Issued, secret: &str, headers: &[(&str, &str)]) {
    let pair = [("cf-access-client-id", token.client_id.as_str()), ("cf-access-client-secret", secret)];
    let verdict = world.ask(&format!("account_id={}", world.account), &[&pair, headers].concat()).await;
    assert_eq!(verdict.status, 200, "{verdict:?}");
}

/// Rotates, and returns the new secret.
async fn rotate(world: &World, token: &Issued, grace: Duration) -> String {
    let body = json!({"previous_client_secret_expires_at": world.after(grace)});
    let rotated = world.writer().post(&format!("{}/rotate", token.path), &body).await.ok();
    rotated["client_secret"].as_str().unwrap().to_owned()
}

async fn wish(world: &World, token: &Issued, quiet: Value) -> Value {
    let body = json!({"finish_when_quiet": quiet}).to_string();
    let (status, _, json) = world.writer().admin(Method::PUT, &path(world, token), body).await;
    assert_eq!(status, 200, "{json}");
    json
}

/// How many secrets the server ends when it looks.
async fn finished(world: &World) -> u64 {
    world.ops().finish_quiet_rotations().await.unwrap()
}

/// Version, second, address and agent of a secret.
fn used(secret: &Value) -> (Value, Value, Value, Value) {
    assert_eq!(secret["visited_at"], secret["last_seen_at"], "{secret}");
    let member = |name: &str| secret[name].clone();
    (member("version"), member("last_seen_at"), member("address"), member("user_agent"))
}

fn seen(version: u32, at: impl Into<Value>, address: &str, agent: impl Into<Value>) -> (Value, Value, Value, Value) {
    (version.into(), at.into(), address.into(), agent.into())
}

#[test]
fn two_secrets_side_by_side_are_told_apart() {
    on_both(async |world| {
        world.proxies = "192.0.2.0/24".parse().unwrap();
        world.restart().await;
        let token = world.issue_default().await;
        let fresh = rotation(world, &token).await;
        let never =
            json!({"version": 1, "last_seen_at": null, "visited_at": null, "address": null, "user_agent": null});
        assert_eq!(
            fresh,
            json!({
                "service_token_id": token.id,
                "rotated_at": null,
                "current_secret": never,
                "previous_secret": null,
                "quiet_since": null,
                "finish_when_quiet": null,
                "verifiers": 0,
                "as_of": world.after(Duration::ZERO),
            })
        );
        let rotated_at = world.after(Duration::ZERO);
        let new = rotate(world, &token, DAY).await;
        // Both in the same second, each from where the last proxy says, whatever was said before.
        for _ in 0..3 {
            world.advance(SECOND);
            let lie = ("x-forwarded-for", "198.51.100.66, 203.0.113.1");
            come(world, &token, &token.secret, &[lie, ("user-agent", "old/1")]).await;
            come(world, &token, &new, &[("x-forwarded-for", "2001:db8::2"), ("user-agent", "new/2")]).await;
        }
        let now = world.after(Duration::ZERO);
        let told = rotation(world, &token).await;
        assert_eq!(used(&told["previous_secret"]), seen(1, now.clone(), "203.0.113.1", "old/1"));
        assert_eq!(used(&told["current_secret"]), seen(2, now.clone(), "2001:db8::2", "new/2"));
        assert_eq!((&told["rotated_at"], &told["quiet_since"]), (&json!(rotated_at), &json!(now)));
        // Show and list say the same, and outlast the server.
        world.restart().await;
        let tokens = format!("/accounts/{}/service_tokens", world.account);
        let (_, _, list) = world.reader().admin(Method::GET, &tokens, "").await;
        let (_, _, one) = world.reader().admin(Method::GET, &format!("{tokens}/{}", token.id), "").await;
        assert_eq!(list["service_tokens"], json!([one]));
        assert_eq!(one["current_secret"], told["current_secret"]);
        assert_eq!(one["previous_secret"], told["previous_secret"]);
        assert_eq!(one["last_seen_at"], now);
        // Who comes without a word of themselves.
        world.advance(SECOND);
        come(world, &token, &token.secret, &[]).await;
        let told = rotation(world, &token).await;
        let now = world.after(Duration::ZERO);
        assert_eq!(used(&told["previous_secret"]), seen(1, now, "192.0.2.7", json!(null)));
    });
}

#[test]
fn a_client_that_lies_about_where_it_comes_from_is_not_believed() {
    on_both(async |world| {
        let token = world.issue_default().await;
        come(world, &token, &token.secret, &[("x-forwarded-for", "127.0.0.1"), ("user-agent", "x")]).await;
        let told = rotation(world, &token).await;
        let now = world.after(Duration::ZERO);
        assert_eq!(used(&told["current_secret"]), seen(1, now, "192.0.2.7", "x"));
    });
}

#[test]
fn a_use_before_a_rotation_stays_a_use_of_the_old_secret() {
    on_both(async |world| {
        let token = world.issue_default().await;
        come(world, &token, &token.secret, &[("user-agent", "a")]).await;
        let used_at = world.after(Duration::ZERO);
        // Nothing was written down yet.
        world.advance(SECOND);
        let b = rotate(world, &token, DAY).await;
        let told = rotation(world, &token).await;
        assert_eq!(told["current_secret"]["last_seen_at"], json!(null));
        assert_eq!(used(&told["previous_secret"]), seen(1, used_at.clone(), "192.0.2.7", "a"));
        // What another server has drained before comes after.
        let id = token.id.parse().unwrap();
        let late = |version, second: i64| -> Sighting {
            let at = world.now().saturating_add_micros(second * 1_000_000);
            SeenMark { subject: SeenSubject::ServiceToken(id), version, at }.into()
        };
        world.ops().store().record_seen(&[late(1, 5)]).await.unwrap();
        let told = rotation(world, &token).await;
        assert_eq!(told["current_secret"]["last_seen_at"], json!(null));
        assert_eq!(told["previous_secret"]["last_seen_at"], world.after(5 * SECOND));
        assert_eq!(told["previous_secret"]["visited_at"], used_at, "of the later use it is not known who it was");
        // Again: the first secret is gone, and whatever is written of it later concerns nobody.
        world.advance(MINUTE);
        come(world, &token, &b, &[("user-agent", "b")]).await;
        let c = rotate(world, &token, DAY).await;
        world.ops().store().record_seen(&[late(1, 7)]).await.unwrap();
        let told = rotation(world, &token).await;
        assert_eq!(used(&told["previous_secret"]), seen(2, world.after(Duration::ZERO), "192.0.2.7", "b"));
        assert_eq!(told["current_secret"]["version"], 3);
        assert_eq!(told["current_secret"]["last_seen_at"], json!(null));
        world.advance(SECOND);
        come(world, &token, &c, &[]).await;
        let told = rotation(world, &token).await;
        assert_eq!(told["current_secret"]["last_seen_at"], world.after(Duration::ZERO));
        // A version that leaves some out, and no grace: nothing is before it.
        let update = json!({"client_secret_version": 9});
        world.writer().put(&token.path, &update).await.ok();
        let told = rotation(world, &token).await;
        assert_eq!((&told["previous_secret"], &told["quiet_since"]), (&json!(null), &json!(null)));
        assert_eq!(told["current_secret"]["version"], 9);
        assert_eq!(told["current_secret"]["last_seen_at"], json!(null));
    });
}

#[test]
fn what_a_client_says_of_itself_does_no_harm() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let secret = token.secret.clone();
        let with_secret = format!("curl {secret}");
        let long = "é".repeat(20_000);
        let cases = [
            ("\u{1b}[31mred\u{7}", None),
            ("<script>alert(1)</script>", Some("<script>alert(1)</script>")),
            ("a\tb", Some("a\\tb")),
            ("'; DROP TABLE service_token; --", Some("\\'; DROP TABLE service_token; --")),
            (with_secret.as_str(), Some("(not shown: it holds the secret)")),
            ("", Some("")),
        ];
        for (agent, expected) in cases {
            // Control characters but the tab don't get through HTTP.
            let Some(expected) = expected else {
                assert!(http::HeaderValue::from_bytes(agent.as_bytes()).is_err());
                continue;
            };
            world.advance(SECOND);
            come(world, &token, &secret, &[("user-agent", agent)]).await;
            assert_eq!(rotation(world, &token).await["current_secret"]["user_agent"], expected, "{agent}");
        }
        world.advance(SECOND);
        come(world, &token, &secret, &[("user-agent", &long)]).await;
        let told = rotation(world, &token).await["current_secret"]["user_agent"].as_str().unwrap().to_owned();
        assert_eq!(told, "\\xc3\\xa9".repeat(32));
        // Several are one too many, and the first one counts.
        world.advance(SECOND);
        come(world, &token, &secret, &[("user-agent", "one"), ("user-agent", "two")]).await;
        assert_eq!(rotation(world, &token).await["current_secret"]["user_agent"], "one");
    });
}

#[test]
fn an_old_secret_ends_once_it_is_quiet() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let new = rotate(world, &token, 7 * DAY).await;
        let before = world.audit_end().await;
        let told = wish(world, &token, json!("24h")).await;
        let asked = json!({
            "quiet": "24h",
            "asked_at": world.after(Duration::ZERO),
            "due_at": world.after(DAY + MINUTE),
        });
        assert_eq!(told["finish_when_quiet"], asked);
        assert_eq!(finished(world).await, 0);
        // Somebody comes with it, again and again: as long as that is so, it doesn't end.
        for _ in 0..3 {
            world.advance(DAY - HOUR);
            come(world, &token, &token.secret, &[]).await;
            assert_eq!(finished(world).await, 0);
        }
        let told = rotation(world, &token).await;
        assert_eq!(told["finish_when_quiet"]["due_at"], world.after(DAY + MINUTE));
        // It is kept where a server's end takes nothing away.
        world.restart().await;
        world.advance(DAY);
        come(world, &token, &new, &[]).await;
        assert_eq!(finished(world).await, 0, "what is used now may not be known yet");
        world.advance(MINUTE - SECOND);
        assert_eq!(finished(world).await, 0);
        world.assert_admitted_with(&token, &token.secret).await;
        world.advance(DAY + MINUTE);
        assert_eq!(finished(world).await, 1);
        world.assert_refused(&token, &token.secret, "invalid").await;
        world.assert_admitted_with(&token, &new).await;
        let told = rotation(world, &token).await;
        assert_eq!((&told["previous_secret"], &told["finish_when_quiet"]), (&json!(null), &json!(null)));
        assert_eq!(finished(world).await, 0, "once");
        let shown = world.reader().get(&token.path).await.ok();
        assert_eq!(shown.get("previous_client_secret_expires_at"), None);
        // Who asked for it did it.
        let events = world.audit(before).await;
        let said: Vec<_> = events.iter().map(|event| (event.action.as_str(), event.actor_kind.as_str())).collect();
        let actor = ("service_token.finish_when_quiet", "management_token");
        assert_eq!(said, [actor, ("service_token.finish_rotation", "management_token")]);
        assert_eq!(events[0].actor_id, events[1].actor_id);
        assert_eq!((events[1].subject_id.as_str(), events[1].account), (token.id.as_str(), Some(world.account)));
        let detail: Value = serde_json::from_str(&events[1].detail).unwrap();
        assert_eq!((&detail["quiet"], &detail["previous_expires_at"]), (&json!("24h"), &json!(null)));
    });
}

#[test]
fn a_wish_is_for_one_rotation_and_prolongs_nothing() {
    on_both(async |world| {
        let token = world.issue_default().await;
        // The time is up before it is quiet, since somebody comes.
        rotate(world, &token, HOUR).await;
        let until = world.after(HOUR);
        world.advance(MINUTE);
        come(world, &token, &token.secret, &[]).await;
        assert_eq!(wish(world, &token, json!("57m")).await["previous_secret"]["expires_at"], until);
        world.advance(2 * MINUTE);
        come(world, &token, &token.secret, &[]).await;
        world.advance(57 * MINUTE);
        world.assert_refused(&token, &token.secret, "invalid").await;
        assert_eq!(rotation(world, &token).await["finish_when_quiet"], json!(null));
        assert_eq!(finished(world).await, 0);
        // With the next rotation it has no meaning any more.
        let b = rotate(world, &token, 7 * DAY).await;
        wish(world, &token, json!("1h")).await;
        let c = rotate(world, &token, 7 * DAY).await;
        assert_eq!(rotation(world, &token).await["finish_when_quiet"], json!(null));
        world.advance(2 * DAY);
        assert_eq!(finished(world).await, 0);
        world.assert_admitted_with(&token, &b).await;
        world.assert_admitted_with(&token, &c).await;
        // It can be taken back, and asked for again.
        wish(world, &token, json!("1h")).await;
        assert_eq!(wish(world, &token, json!(null)).await["finish_when_quiet"], json!(null));
        assert_eq!(wish(world, &token, json!(null)).await["finish_when_quiet"], json!(null));
        world.advance(DAY);
        assert_eq!(finished(world).await, 0);
        world.assert_admitted_with(&token, &b).await;
        wish(world, &token, json!("1h")).await;
        wish(world, &token, json!("2h")).await;
        world.advance(HOUR + 2 * MINUTE);
        assert_eq!(finished(world).await, 0);
        // Two servers look at once.
        world.advance(HOUR);
        let before = world.audit_end().await;
        let ops = world.ops();
        let (one, other) = tokio::join!(ops.finish_quiet_rotations(), ops.finish_quiet_rotations());
        assert_eq!(one.unwrap() + other.unwrap(), 1);
        assert_eq!(world.audit(before).await.len(), 1);
        world.assert_refused(&token, &b, "invalid").await;
        // A token that is deleted takes its wish along.
        rotate(world, &token, DAY).await;
        wish(world, &token, json!("1h")).await;
        world.writer().delete(&token.path).await.ok();
        world.advance(3 * HOUR);
        assert_eq!(finished(world).await, 0);
        assert_eq!(world.ops().store().list_rotation_wishes().await.unwrap(), []);
    });
}

/// A wish that can't come true would only be believed in.
#[test]
fn what_ends_before_it_can_be_quiet_is_not_waited_for() {
    on_both(async |world| {
        let token = world.issue_default().await;
        rotate(world, &token, DAY).await;
        let path = path(world, &token);
        let ask = async |quiet: &str| {
            let body = json!({"finish_when_quiet": quiet}).to_string();
            let (status, _, json) = world.writer().admin(Method::PUT, &path, body).await;
            (status, json["detail"].as_str().unwrap_or_default().to_owned())
        };
        let refused = |due_at: String, quiet: &str, until: &str| {
            let detail = format!(
                "the secret before ends at {until} in any case, and will not have been quiet for {quiet} before {due_at}"
            );
            (409, detail)
        };
        let until = world.after(DAY);
        assert_eq!(ask("24h").await, refused(world.after(DAY + MINUTE), "24h", &until));
        assert_eq!(ask("23h59m").await, refused(world.after(DAY), "23h59m", &until));
        assert_eq!(rotation(world, &token).await["finish_when_quiet"], json!(null));
        assert_eq!(ask("23h58m").await.0, 200);
        // It counts from the last use, also one that only the index knows of.
        world.advance(HOUR);
        come(world, &token, &token.secret, &[]).await;
        assert_eq!(ask("22h59m").await, refused(world.after(23 * HOUR), "22h59m", &until));
        assert_eq!(
            rotation(world, &token).await["finish_when_quiet"]["quiet"],
            "23h58m",
            "what was asked before holds"
        );
        // With more time it is taken.
        let later = json!({"previous_client_secret_expires_at": world.after(3 * DAY)});
        world.writer().put(&token.path, &later).await.ok();
        assert_eq!(ask("24h").await.0, 200);
        // The token itself ends before.
        world.writer().put(&token.path, &json!({"duration": "5h"})).await.ok();
        assert_eq!(ask("24h").await, refused(world.after(DAY + MINUTE), "24h", &world.after(5 * HOUR)));
        // It was quiet for long enough already.
        world.writer().put(&token.path, &json!({"duration": "forever"})).await.ok();
        world.advance(2 * DAY);
        assert_eq!(ask("24h").await.0, 200);
        assert_eq!(finished(world).await, 1);
    });
}

/// A secret that is used at one server alone doesn't end at another, and both together end it once.
#[test]
fn two_servers_carry_out_a_wish_once() {
    on_postgres(async |world| {
        let mut other = world.serve(5).await;
        let token = world.issue_default().await;
        let new = rotate(world, &token, 7 * DAY).await;
        wish(world, &token, json!("1h")).await;
        world.advance(30 * MINUTE);
        world.change_to(&mut other);
        until("the other server knows the token", async || world.admits(&token.client_id, &new).await.is_ok()).await;
        come(world, &token, &token.secret, &[("user-agent", "other")]).await;
        assert_eq!(rotation(world, &token).await["previous_secret"]["user_agent"], "other");
        world.change_to(&mut other);
        let told = rotation(world, &token).await;
        assert_eq!(told["previous_secret"]["user_agent"], "other", "each knows who came to the other");
        assert_eq!(told["finish_when_quiet"]["due_at"], world.after(HOUR + MINUTE));
        world.advance(HOUR);
        for _ in 0..2 {
            assert_eq!(finished(world).await, 0, "nobody has come here, but there");
            world.change_to(&mut other);
        }
        world.advance(MINUTE);
        let before = world.audit_end().await;
        let (here, there) = (world.ops(), &other.app.ops);
        let ended = Cell::new(0);
        until("it ends", async || {
            // Each may take the other for silent until it has heard of it again.
            let (one, two) = tokio::join!(here.finish_quiet_rotations(), there.finish_quiet_rotations());
            ended.set(ended.get() + one.unwrap() + two.unwrap());
            ended.get() > 0
        })
        .await;
        assert_eq!((ended.get(), world.audit(before).await.len()), (1, 1));
        for _ in 0..2 {
            until("it has ended", async || world.admits(&token.client_id, &token.secret).await.is_err()).await;
            world.assert_admitted_with(&token, &new).await;
            assert_eq!(finished(world).await, 0, "once");
            world.change_to(&mut other);
        }
        other.stop().await;
    });
}

/// A server that has said nothing for a while may have admitted somebody. Only once it is struck off the list, its marks
/// are waited for no more.
#[test]
fn a_silent_server_holds_a_wish_back() {
    on_both(async |world| {
        let token = world.issue_default().await;
        rotate(world, &token, 7 * DAY).await;
        wish(world, &token, json!("1h")).await;
        let store = world.ops().store().clone();
        let own = store.list_nodes().await.unwrap()[0];
        world.advance(HOUR + MINUTE - 10 * SECOND);
        let silent = NodeId::from_bytes([7; 16]);
        store.register_node(&Node::new(silent, world.now(), Revision::new(i64::MAX))).await.unwrap();
        // Whoever has not heard of it yet can't tell for how long it is silent.
        let heartbeat = async || {
            let nodes = store.list_nodes().await.unwrap();
            nodes.iter().find(|node| node.id == own.id).map_or(0, |node| node.heartbeat)
        };
        let begun = heartbeat().await;
        until("it is noted", async || heartbeat().await > begun + 1).await;
        world.advance(10 * SECOND);
        assert_eq!(finished(world).await, 0, "it is due, and somebody is silent");
        world.advance(MINUTE);
        until("it is forgotten", async || finished(world).await == 1).await;
        world.assert_refused(&token, &token.secret, "invalid").await;
        assert_eq!(store.list_nodes().await.unwrap().len(), 1);
    });
}

#[test]
fn nothing_ends_while_somebody_may_know_more() {
    on_both(async |world| {
        let token = world.issue_default().await;
        rotate(world, &token, 7 * DAY).await;
        wish(world, &token, json!("1h")).await;
        let store = world.ops().store().clone();
        let id = NodeId::from_bytes([7; 16]);
        let verifier = Node { is_verifier: true, ..Node::new(id, world.now(), Revision::new(i64::MAX)) };
        store.register_node(&verifier).await.unwrap();
        assert_eq!(rotation(world, &token).await["verifiers"], 1);
        world.advance(2 * HOUR);
        assert_eq!(finished(world).await, 0, "a program that verifies by itself tells nobody whom it admits");
        store.remove_node(id).await.unwrap();
        assert_eq!(finished(world).await, 1);
    });
}

#[test]
fn whoever_may_only_look_may_only_look() {
    on_sqlite(async |world| {
        let token = world.issue_default().await;
        rotate(world, &token, DAY).await;
        let path = path(world, &token);
        let check = async |actor: &Actor<'_>, path: &str, body: &str, status: u16, code: &str| {
            let (found, _, json) = actor.admin(Method::PUT, path, body.to_owned()).await;
            assert_eq!((found, json["code"].as_str()), (status, Some(code)), "{path} {body} {json}");
        };
        let good = r#"{"finish_when_quiet":"22h"}"#;
        check(&world.reader(), &path, good, 403, "forbidden").await;
        check(&world.anonymous(), &path, good, 401, "not_authenticated").await;
        for stranger in world.strangers() {
            check(&stranger, &path, good, 403, "forbidden").await;
            let (status, _, _) = stranger.admin(Method::GET, &path, "").await;
            assert_eq!(status, 403);
        }
        let nowhere = format!("/accounts/{}/service_tokens/{}/rotation", world.account, "x");
        check(&world.writer(), &nowhere, good, 404, "not_found").await;
        let missing =
            format!("/accounts/{}/service_tokens/00000000-0000-0000-0000-000000000000/rotation", world.account);
        check(&world.writer(), &missing, good, 404, "not_found").await;
        for body in [
            "",
            "{}",
            "[]",
            r#"{"finish_when_quiet":24}"#,
            r#"{"finish_when_quiet":"forever"}"#,
            r#"{"finish_when_quiet":"0s"}"#,
            r#"{"finish_when_quiet":"a day"}"#,
        ] {
            check(&world.writer(), &path, body, 400, "invalid").await;
        }
        for writer in world.writers() {
            let (status, _, json) = writer.admin(Method::PUT, &path, good).await;
            assert_eq!((status, &json["finish_when_quiet"]["quiet"]), (200, &json!("22h")));
        }
        // Nothing is there to end.
        world.advance(DAY);
        check(&world.writer(), &path, good, 409, "conflict").await;
        let other = world.issue_default().await;
        check(&world.writer(), &self::path(world, &other), good, 409, "conflict").await;
    });
}
