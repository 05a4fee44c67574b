//! Every change leaves entries that say who did what to what; nothing else leaves any.

use countersign_server::caller::Caller;
use countersign_store::RecordedEvent;
use http::Method;
use serde_json::{Value, json};

use super::NOBODY;
use crate::world::{World, on_both};

/// The entries that an action leaves.
async fn the_entries(world: &World, action: impl AsyncFnOnce() -> Value) -> (Vec<RecordedEvent>, Value) {
    let before = world.audit_end().await;
    let result = action().await;
    (world.audit(before).await, result)
}

#[test]
fn every_change_leaves_one_entry() {
    on_both(async |world| {
        let first = world.prefactor().ids("/api_token").await[0].clone();
        let caller = world.prefactor().with("x-request-id", "of-this-call");
        let environment = world.environment.clone();
        let user = caller.ids("/admin_user").await[0].clone();
        let change = async |method: Method, path: &str, body: Value, expected: &str| {
            let (entries, details) =
                the_entries(world, async || caller.call(method, path, body.to_string()).await.details()).await;
            assert_eq!(entries.len(), 1, "{expected}: {entries:?}");
            let entry = &entries[0];
            assert_eq!(entry.action, expected);
            assert_eq!((entry.actor_kind.as_str(), entry.actor_id.as_str()), ("api_token", first.as_str()));
            assert_eq!((entry.account, entry.at), (Some(world.account), world.now()));
            assert_eq!(entry.request_id.as_deref(), Some("of-this-call"));
            let kind = expected.split('.').next().unwrap();
            assert_eq!(entry.subject_kind, kind);
            let id = details["id"].as_str().unwrap().to_owned();
            // Accounts and users have an id of the other dialect too.
            if !["account", "user"].contains(&kind) {
                assert_eq!(entry.subject_id, id);
            }
            assert!(!entry.subject_id.is_empty());
            assert!(serde_json::from_str::<Value>(&entry.detail).unwrap().is_object());
            id
        };
        let (post, put, delete) = (Method::POST, Method::PUT, Method::DELETE);
        let name = json!({"details": {"name": "new"}});
        let body = json!({"details": {"token_scope": "environment", "environment_id": environment}});
        // The token of a create is no details, and `details` keeps the rest.
        let token = change(post.clone(), "/api_token", body, "api_token.create").await;
        for (action, expected) in
            [("suspend", "api_token.suspend"), ("activate", "api_token.activate"), ("revoke", "api_token.revoke")]
        {
            change(post.clone(), &format!("/api_token/{token}/{action}"), json!({}), expected).await;
        }
        change(delete.clone(), &format!("/api_token/{token}"), json!({}), "api_token.delete").await;
        let made = change(post.clone(), "/environment", name.clone(), "environment.create").await;
        let other = json!({"details": {"name": "other", "purpose": "testing"}});
        change(put.clone(), &format!("/environment/{made}"), other.clone(), "environment.update").await;
        let agent = change(post.clone(), "/agent", name.clone(), "agent.create").await;
        change(put.clone(), &format!("/agent/{agent}"), other, "agent.update").await;
        let details = json!({"details": {"agent_id": agent, "environment_id": made}});
        let deployment = change(post.clone(), "/agent_deployment", details.clone(), "agent_deployment.create").await;
        let path = format!("/agent_deployment/{deployment}");
        change(delete.clone(), &path, json!({}), "agent_deployment.delete").await;
        change(delete.clone(), &format!("/agent/{agent}"), json!({}), "agent.delete").await;
        change(delete.clone(), &format!("/environment/{made}"), json!({}), "environment.delete").await;
        change(put.clone(), &format!("/account/{}", world.account_pfid), name.clone(), "account.update").await;
        change(put, &format!("/admin_user/{user}"), name, "user.update").await;
        let body = json!({"details": {"email": "a@example.com"}});
        let invite = change(post.clone(), "/admin_user_invite", body, "admin_user_invite.create").await;
        let path = format!("/admin_user_invite/{invite}/revoke");
        change(post, &path, json!({}), "admin_user_invite.revoke").await;
    });
}

/// A token that brings its deployment along: both were made.
#[test]
fn a_deployment_made_on_the_way_is_in_the_log() {
    on_both(async |world| {
        let agent = world.agent().await;
        let (entries, _) =
            the_entries(world, async || world.deployment_token(&agent, &world.environment).await.details).await;
        let mut actions: Vec<&str> = entries.iter().map(|entry| entry.action.as_str()).collect();
        actions.sort_unstable();
        assert_eq!(actions, ["agent_deployment.create", "api_token.create"]);
        let (entries, _) =
            the_entries(world, async || world.deployment_token(&agent, &world.environment).await.details).await;
        assert_eq!(entries.len(), 1, "{entries:?}");
        assert_eq!(entries[0].action, "api_token.create");
    });
}

#[test]
fn a_rotated_signing_key_is_in_the_log() {
    on_both(async |world| {
        let (entries, _) = the_entries(world, async || {
            world.ops().rotate_signing_key(&Caller::Operator).await.unwrap();
            Value::Null
        })
        .await;
        assert_eq!(entries.len(), 1, "{entries:?}");
        assert_eq!((entries[0].action.as_str(), entries[0].actor_kind.as_str()), ("signing_key.rotate", "operator"));
    });
}

#[test]
fn whatever_changes_nothing_leaves_nothing() {
    on_both(async |world| {
        let token = world.token().await;
        let revoked = world.token().await;
        let caller = world.prefactor();
        caller.do_to(&revoked, "revoke").await.ok();
        let keyed = json!({"details": {"token_scope": "account"}, "idempotency_key": "K"});
        caller.post("/api_token", &keyed).await.ok();
        let before = world.audit_end().await;
        caller.get("/ping").await.ok();
        caller.get("/api_token").await.ok();
        caller.get(&token.path).await.ok();
        caller.post("/pfid/generate", &json!({"count": 3})).await.ok();
        caller.post("/api_token", &keyed).await.replayed();
        caller.post("/api_token", &json!({})).await.refused(422, "validation_errors");
        caller.do_to(&revoked, "suspend").await.refused(409, "invalid_action");
        caller.delete(&format!("/api_token/{NOBODY}")).await.refused(404, "not_found");
        caller.put(&format!("/environment/{}", world.environment), &json!({"details": {}})).await.ok();
        let same = json!({"details": {"name": "development"}});
        caller.put(&format!("/environment/{}", world.environment), &same).await.ok();
        world.nobody().delete(&token.path).await.refused(401, "not_authenticated");
        world.foreign_prefactor().delete(&token.path).await.refused(404, "not_found");
        world.assert_good(&token).await;
        assert!(world.audit(before).await.is_empty(), "{:?}", world.audit(before).await);
    });
}
