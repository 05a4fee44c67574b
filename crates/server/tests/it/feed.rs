//! The feed for programs that verify by themselves, as whoever asks it sees it.

use std::time::Duration;

use countersign_server::caller::Caller;
use countersign_server::ops::NewManagementToken;
use countersign_server::sweeper;
use countersign_store::Node;
use countersign_token::feed::Revision;
use countersign_token::permission::Permission;
use countersign_token::time::Clock;
use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::world::{DAY, World, on_both, on_sqlite, until};

/// A token that may follow the feed of account A.
async fn follower(world: &World) -> String {
    let permissions = vec![Permission::FeedRead];
    let new = NewManagementToken { account: world.account, name: "service".to_owned(), permissions, user_email: None };
    let (_, secret) = world.ops().create_management_token(&Caller::Operator, new).await.unwrap();
    world.must_not_keep(secret.expose());
    secret.expose().to_owned()
}

async fn call(world: &World, token: &str, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let actor = world.anonymous().with("authorization", &format!("Bearer {token}"));
    let (status, _, json) = actor.admin(method, path, body.to_string()).await;
    (status, json)
}

/// What comes after `cursor`.
async fn follow(world: &World, token: &str, cursor: &Value) -> Value {
    let (status, json) =
        call(world, token, Method::POST, "/feed", &json!({"verifier": "edge-7", "cursor": cursor})).await;
    assert_eq!(status, 200, "{json}");
    json
}

/// Reads everything, and returns the cursor of whoever knows it.
async fn read(world: &World, token: &str) -> Value {
    let first = follow(world, token, &Value::Null).await;
    assert_eq!((&first["reset"], &first["complete"]), (&json!(true), &json!(false)));
    let second = follow(world, token, &first["cursor"]).await;
    assert_eq!((&second["reset"], &second["complete"]), (&json!(false), &json!(true)));
    second["cursor"].clone()
}

/// Until it has said that it decides by everything, it may decide by what it had before.
#[test]
fn a_verifier_has_come_as_far_as_it_says() {
    on_both(async |world| {
        let token = follower(world).await;
        let listed = async || {
            let nodes = world.ops().store().list_nodes().await.unwrap();
            let verifiers: Vec<Node> = nodes.into_iter().filter(|node| node.is_verifier).collect();
            assert_eq!(verifiers.len(), 1);
            verifiers[0]
        };
        let first = follow(world, &token, &Value::Null).await;
        assert_eq!(listed().await.applied, Revision::new(0));
        let second = follow(world, &token, &first["cursor"]).await;
        assert_eq!(listed().await.applied, Revision::new(0));
        // Where there is nothing to tell, the answer waits: whoever asks again at once keeps nobody busy.
        let begun = Clock::System.boot();
        let third = follow(world, &token, &second["cursor"]).await;
        assert!(Clock::System.boot().duration_since(begun) >= Duration::from_millis(900));
        assert_eq!(third["changes"], json!([]));
        let verifier = listed().await;
        assert_eq!((verifier.applied, verifier.heartbeat), (world.ops().store().revision().await.unwrap(), 2));
        let (status, left) = call(world, &token, Method::DELETE, "/feed/edge-7", &Value::Null).await;
        assert_eq!((status, left), (200, json!({"verifier": "edge-7"})));
        assert!(world.ops().store().list_nodes().await.unwrap().iter().all(|node| !node.is_verifier));
    });
}

#[test]
fn whoever_was_away_for_too_long_begins_anew() {
    on_both(async |world| {
        let token = follower(world).await;
        let gone = world.issue_default().await;
        let cursor = read(world, &token).await;
        // Nobody can have come further than everything.
        let text = cursor.as_str().unwrap();
        let (view, _) = text.rsplit_once('.').unwrap();
        let ahead = follow(world, &token, &json!(format!("{view}.{}", i64::MAX))).await;
        assert_eq!(ahead["reset"], json!(true));
        // What was deleted is gone for good: nothing tells of it any more.
        let store = world.ops().store().clone();
        let before = store.revision().await.unwrap();
        world.writer().delete(&gone.path).await.ok();
        world.advance(8 * DAY);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let sweeping = tasks.spawn(sweeper::run(store.clone(), world.clock(), None, stop.clone()));
        until("the deleted row is swept", async || store.poll(before).await.unwrap().reload).await;
        stop.cancel();
        sweeping.await.unwrap();
        drop(store);
        let anew = follow(world, &token, &cursor).await;
        assert_eq!((&anew["reset"], &anew["complete"]), (&json!(true), &json!(false)));
    });
}

#[test]
fn names_and_cursors_are_looked_at() {
    on_sqlite(async |world| {
        let token = follower(world).await;
        let check = async |body: Value, pointer: &str| {
            let (status, json) = call(world, &token, Method::POST, "/feed", &body).await;
            assert_eq!((status, &json["code"], &json["pointer"]), (400, &json!("invalid"), &json!(pointer)), "{body}");
        };
        let long = "x".repeat(65);
        for name in [json!(null), json!(""), json!(7), json!("a b"), json!("a/b"), json!("\u{e9}"), json!(long)] {
            check(json!({"verifier": name}), "/verifier").await;
        }
        for cursor in [json!(7), json!("x".repeat(513))] {
            check(json!({"verifier": "v", "cursor": cursor}), "/cursor").await;
        }
        for unknown in ["", "x", "1.f.12", &"x".repeat(512)] {
            assert_eq!(follow(world, &token, &json!(unknown)).await["reset"], json!(true), "{unknown}");
        }
        for name in ["a%20b", &long] {
            let (status, json) = call(world, &token, Method::DELETE, &format!("/feed/{name}"), &Value::Null).await;
            assert_eq!((status, &json["code"]), (404, &json!("not_found")), "{name}");
        }
    });
}
