//! What a replay shows, whatever has happened since.

use countersign_server::caller::Caller;
use http::Method;
use serde_json::{Value, json};

use crate::world::prefactor::{Answer, Token};
use crate::world::{DAY, HOUR, World, on_both};

async fn create(world: &World) -> Answer {
    let body = json!({
        "details": {"token_scope": "environment", "environment_id": world.environment},
        "idempotency_key": "K",
    });
    world.prefactor().post("/api_token", &body).await
}

/// The stored answer and the same token, whatever has become of the row.
#[test]
fn a_create_is_replayed_after_every_change() {
    on_both(async |world| {
        let first = create(world).await;
        let text = first.text.clone();
        let token = Token::of(first);
        for action in ["suspend", "activate", "revoke", "delete"] {
            world.advance(HOUR);
            world.prefactor().do_to(&token, action).await.ok();
            let again = create(world).await;
            assert_eq!(again.text, text, "after {action}");
            again.replayed();
        }
        world.assert_bad(&token, "invalid").await;
        assert_eq!(world.prefactor().count("/api_token").await, 1);
        world.restart().await;
        let again = create(world).await;
        assert_eq!(again.text, text, "after a restart");
        again.replayed();
    });
}

/// What a create referred to may be gone: the key is looked up before it is.
#[test]
fn a_create_is_replayed_without_its_environment() {
    on_both(async |world| {
        let first = create(world).await.ok();
        world.prefactor().delete(&format!("/environment/{}", world.environment)).await.ok();
        assert_eq!(create(world).await.replayed(), first);
    });
}

/// The key that signs may have been changed: a replay signs with the one of that time.
#[test]
fn a_create_is_replayed_after_the_signing_key_was_rotated() {
    on_both(async |world| {
        let first = create(world).await.ok();
        let before = Token::of(create(world).await);
        for _ in 0..2 {
            world.ops().rotate_signing_key(&Caller::Operator).await.unwrap();
            assert_eq!(create(world).await.replayed(), first);
            world.assert_good(&before).await;
            let new = world.token().await;
            world.assert_good(&new).await;
            world.prefactor().get("/ping").await.ok();
        }
        let body = json!({"details": {"token_scope": "account"}, "idempotency_key": "after"});
        let after = world.prefactor().post("/api_token", &body).await.ok();
        world.restart().await;
        assert_eq!(world.prefactor().post("/api_token", &body).await.replayed(), after);
        assert_eq!(create(world).await.replayed(), first);
        world.assert_good(&before).await;
    });
}

/// A create that comes again when its end has passed is still the create of then.
#[test]
fn a_create_is_replayed_after_its_end() {
    on_both(async |world| {
        let body = json!({
            "details": {"token_scope": "account", "expires_at": world.after(HOUR)}, "idempotency_key": "K",
        });
        let first = world.prefactor().post("/api_token", &body).await.ok();
        world.advance(2 * HOUR);
        let again = world.prefactor().post("/api_token", &body).await;
        assert_eq!(again.json, first);
        world.assert_bad(&Token::of(again), "expired").await;
        let mut other = body.clone();
        other["idempotency_key"] = json!("L");
        world.prefactor().post("/api_token", &other).await.invalid("details.expires_at", "invalid_value");
    });
}

/// Every write of the dialect has keys.
#[test]
fn every_write_is_replayed() {
    on_both(async |world| {
        let caller = world.prefactor();
        let agent = world.agent().await;
        let environment = world.new_environment().await;
        let user = caller.ids("/admin_user").await[0].clone();
        let deployed = world.agent().await;
        let details = json!({"agent_id": deployed, "environment_id": environment});
        let deployment = caller.make("/agent_deployment", details).await;
        let invite = caller.make("/admin_user_invite", json!({"email": "one@example.com"})).await;
        let environment_deleted = world.new_environment().await;
        let agent_deleted = world.agent().await;
        let name = json!({"details": {"name": "new"}});
        let writes = [
            (Method::POST, "/environment".to_owned(), name.clone()),
            (Method::PUT, format!("/environment/{environment}"), name.clone()),
            (Method::DELETE, format!("/environment/{environment_deleted}"), json!({})),
            (Method::POST, "/agent".to_owned(), name.clone()),
            (Method::PUT, format!("/agent/{agent}"), name.clone()),
            (Method::DELETE, format!("/agent/{agent_deleted}"), json!({})),
            (
                Method::POST,
                "/agent_deployment".to_owned(),
                json!({"details": {"agent_id": agent, "environment_id": world.environment}}),
            ),
            (Method::DELETE, format!("/agent_deployment/{deployment}"), json!({})),
            (Method::PUT, format!("/account/{}", world.account_pfid), name.clone()),
            (Method::PUT, format!("/admin_user/{user}"), name),
            (Method::POST, "/admin_user_invite".to_owned(), json!({"details": {"email": "two@example.com"}})),
            (Method::POST, format!("/admin_user_invite/{invite}/revoke"), json!({})),
            (Method::POST, "/pfid/generate".to_owned(), json!({"count": 3})),
        ];
        let collections =
            ["/account", "/environment", "/agent", "/agent_deployment", "/admin_user", "/admin_user_invite"];
        for (at, (method, path, body)) in writes.into_iter().enumerate() {
            let mut keyed = body.clone();
            keyed["idempotency_key"] = json!(format!("key {at}"));
            let first = caller.call(method.clone(), &path, keyed.to_string()).await;
            assert!(!first.is_replay(), "{first}");
            let text = first.text.clone();
            first.ok();
            world.advance(HOUR);
            let mut before = Vec::new();
            for collection in collections {
                before.push(caller.get(collection).await.ok());
            }
            let audited = world.audit_end().await;
            let second = caller.call(method.clone(), &path, keyed.to_string()).await;
            assert_eq!(second.text, text);
            second.replayed();
            let by_header = caller.clone().with("idempotency-key", &format!("key {at}"));
            by_header.call(method.clone(), &path, body.to_string()).await.replayed();
            let mut other = body.clone();
            other["more"] = json!(1);
            other["idempotency_key"] = keyed["idempotency_key"].clone();
            let answer = caller.call(method, &path, other.to_string()).await;
            answer.refused(409, "idempotency_key_already_used");
            for (collection, before) in collections.into_iter().zip(before) {
                assert_eq!(caller.get(collection).await.ok(), before, "{path}: a replay changes nothing");
            }
            assert_eq!(world.audit_end().await, audited, "{path}: and leaves no entry");
        }
    });
}

/// A stored answer holds no token: the world looks into the database's file, and here is one to look at.
#[test]
fn what_is_kept_for_a_replay_is_no_secret() {
    on_both(async |world| {
        let first = create(world).await.ok();
        let body = json!({"details": {"email": "new@example.com"}, "idempotency_key": "I"});
        let invite = world.prefactor().post("/admin_user_invite", &body).await.ok();
        world.restart().await;
        assert_eq!(create(world).await.replayed(), first);
        assert_eq!(world.prefactor().post("/admin_user_invite", &body).await.replayed(), invite);
    });
}

/// Deleting a token a day later leaves nothing that a replay could show.
#[test]
fn an_answer_is_forgotten() {
    on_both(async |world| {
        let token = Token::of(create(world).await);
        world.prefactor().do_to(&token, "revoke").await.ok();
        world.prefactor().do_to(&token, "delete").await.ok();
        world.advance(DAY);
        let again = create(world).await;
        assert!(!again.is_replay(), "{again}");
        assert_ne!(Token::of(again).id, token.id);
        let Value::Array(rows) = json!(world.prefactor().ids("/api_token").await) else { unreachable!() };
        assert!(!rows.contains(&json!(token.id)));
    });
}
