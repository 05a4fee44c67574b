//! Keys that make a repeated call the same call: cases 68 to 79 of the contract.

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};

use super::NOBODY;
use crate::world::prefactor::{Answer, Token};
use crate::world::{DAY, HOUR, World, on_both};

fn create(key: &Value) -> Value {
    json!({"details": {"token_scope": "account"}, "idempotency_key": key})
}

async fn post(world: &World, body: &Value) -> Answer {
    world.prefactor().post("/api_token", body).await
}

#[test]
fn case_68_the_same_call_twice() {
    on_both(async |world| {
        let first = post(world, &create(&json!("K"))).await;
        assert!(!first.is_replay(), "{first}");
        world.advance(HOUR);
        let second = post(world, &create(&json!("K"))).await;
        assert_eq!(second.header("idempotency-replayed"), Some("true"));
        assert_eq!(first.text, second.text, "byte for byte");
        assert_eq!(world.prefactor().count("/api_token").await, 2);
        world.assert_good(&Token::of(second)).await;
    });
}

/// The order of fields and the space between them make no other call, nor does the way that the key comes.
#[test]
fn the_same_call_written_otherwise() {
    on_both(async |world| {
        let body = r#"{"details":{"token_scope":"account","expires_at":"2099-01-01T00:00:00Z"},"idempotency_key":"K"}"#;
        let first = world.prefactor().call(Method::POST, "/api_token", body).await.ok();
        let plain = r#"{"details":{"expires_at":"2099-01-01T00:00:00Z","token_scope":"account"}}"#;
        for (path, key, body) in [
            ("/api_token", None, body),
            (
                "/api_token",
                None,
                " { \"idempotency_key\" : \"\\u004b\", \"details\" : {\n\"expires_at\":\"2099-01-01T00:00:00Z\", \"token_scope\" : \"acc\\u006funt\" } }",
            ),
            ("/api_token", Some("K"), plain),
            ("/api_token", Some("\"K\""), plain),
            ("/api_token?idempotency_key=K", None, plain),
            ("/api_token?idempotency_key=%4B", Some("K"), body),
        ] {
            let mut caller = world.prefactor();
            if let Some(key) = key {
                caller = caller.with("idempotency-key", key);
            }
            assert_eq!(caller.call(Method::POST, path, body).await.replayed(), first, "{path} {key:?} {body}");
        }
        assert_eq!(world.prefactor().count("/api_token").await, 2);
    });
}

#[test]
fn case_69_another_call_with_the_same_key() {
    on_both(async |world| {
        post(world, &create(&json!("K"))).await.ok();
        let expires_at = world.after(DAY);
        for details in [
            json!({"token_scope": "account", "expires_at": expires_at}),
            json!({"token_scope": "environment", "environment_id": world.environment}),
            json!({"token_scope": "account", "account_id": world.account_pfid}),
        ] {
            let answer = post(world, &json!({"details": details, "idempotency_key": "K"})).await;
            answer.refused(409, "idempotency_key_already_used");
        }
        assert_eq!(world.prefactor().count("/api_token").await, 2);
        // A key is all of its characters.
        for key in ["k", "K ", " K", "KK"] {
            assert!(!post(world, &create(&json!(key))).await.is_replay(), "{key}");
        }
        assert_eq!(world.prefactor().count("/api_token").await, 6);
    });
}

#[test]
fn case_70_a_key_is_of_all_operations() {
    on_both(async |world| {
        let token = Token::of(post(world, &create(&json!("K"))).await);
        let key = json!({"idempotency_key": "K"});
        let body = |details: Value| json!({"details": details, "idempotency_key": "K"});
        let caller = world.prefactor();
        for action in ["suspend", "activate", "revoke"] {
            let answer = caller.post(&format!("{}/{action}", token.path), &key).await;
            answer.refused(409, "idempotency_key_already_used");
        }
        for answer in [
            caller.call(Method::DELETE, &token.path, key.to_string()).await,
            caller.post("/environment", &body(json!({"name": "x"}))).await,
            caller.post("/agent", &body(json!({"name": "x"}))).await,
            caller.post("/admin_user_invite", &body(json!({"email": "a@example.com"}))).await,
            caller.put(&format!("/environment/{}", world.environment), &body(json!({"name": "x"}))).await,
            caller.delete(&format!("/environment/{}?idempotency_key=K", world.environment)).await,
            caller.put(&format!("/account/{}", world.account_pfid), &body(json!({"name": "x"}))).await,
            caller.post("/pfid/generate", &json!({"count": 1, "idempotency_key": "K"})).await,
        ] {
            answer.refused(409, "idempotency_key_already_used");
        }
        world.assert_good(&token).await;
        assert_eq!(caller.show(&token).await["status"], "active");
    });
}

/// The same action on another token is another call.
#[test]
fn a_key_is_of_one_path() {
    on_both(async |world| {
        let (one, other) = (world.token().await, world.token().await);
        let key = json!({"idempotency_key": "S"});
        world.prefactor().post(&format!("{}/suspend", one.path), &key).await.ok();
        for path in [format!("{}/suspend", other.path), format!("{}/revoke", one.path), other.path.clone()] {
            let answer = if path == other.path {
                world.prefactor().call(Method::DELETE, &path, key.to_string()).await
            } else {
                world.prefactor().post(&path, &key).await
            };
            answer.refused(409, "idempotency_key_already_used");
        }
        world.assert_good(&other).await;
        world.assert_bad(&one, "disabled").await;
    });
}

#[test]
fn case_71_a_replay_is_for_who_called_first() {
    on_both(async |world| {
        let other = world.token().await;
        let first = Token::of(post(world, &create(&json!("K"))).await);
        let answer = world.nobody().with_token(&other.secret).post("/api_token", &create(&json!("K"))).await;
        answer.refused(409, "idempotency_key_already_used");
        assert!(!answer.text.contains(&first.id), "{answer}");
        assert_eq!(world.prefactor().count("/api_token").await, 3);
    });
}

#[test]
fn case_72_accounts_do_not_share_keys() {
    on_both(async |world| {
        let own = Token::of(post(world, &create(&json!("K"))).await);
        let answer = world.foreign_prefactor().post("/api_token", &create(&json!("K"))).await;
        assert!(!answer.is_replay(), "{answer}");
        assert_ne!(Token::of(answer).id, own.id);
        let again = world.foreign_prefactor().post("/api_token", &create(&json!("K"))).await;
        assert_eq!(again.replayed()["details"]["account_id"], world.foreign_account_pfid);
    });
}

/// Whatever was refused has used no key.
#[test]
fn case_73_a_refused_call_leaves_its_key() {
    on_both(async |world| {
        let caller = world.prefactor();
        let revoked = world.token().await;
        caller.do_to(&revoked, "revoke").await.ok();
        let body = |details: Value| json!({"details": details, "idempotency_key": "K"});
        let key = json!({"idempotency_key": "K"});
        post(world, &body(json!({"token_scope": "galaxy"}))).await.refused(422, "validation_errors");
        let unknown = body(json!({"token_scope": "environment", "environment_id": NOBODY}));
        post(world, &unknown).await.refused(404, "not_found");
        let agent = world.agent().await;
        let wrong = body(json!({"token_scope": "environment", "environment_id": agent}));
        post(world, &wrong).await.refused(422, "validation_errors");
        let foreign = body(json!({"token_scope": "account", "account_id": world.foreign_account_pfid}));
        post(world, &foreign).await.refused(403, "not_permitted");
        caller.post(&format!("{}/suspend", revoked.path), &key).await.refused(409, "invalid_action");
        caller.post(&format!("/api_token/{NOBODY}/suspend"), &key).await.refused(404, "not_found");
        caller.call(Method::DELETE, &format!("/api_token/{NOBODY}"), key.to_string()).await.refused(404, "not_found");
        caller.call(Method::POST, "/api_token", "{").await.refused(400, "bad_request");
        let scoped = world.environment_token(&world.environment).await;
        let holder = world.nobody().with_token(&scoped.secret);
        holder.post("/api_token", &create(&json!("K"))).await.refused(403, "not_permitted");
        let answer = post(world, &create(&json!("K"))).await;
        assert!(!answer.is_replay(), "{answer}");
        answer.ok();
        assert!(post(world, &create(&json!("K"))).await.is_replay());
    });
}

#[test]
fn case_74_suspending_twice_with_a_key() {
    on_both(async |world| {
        let token = world.token().await;
        let key = json!({"idempotency_key": "S"});
        let path = format!("{}/suspend", token.path);
        let first = world.prefactor().post(&path, &key).await;
        assert!(!first.is_replay(), "{first}");
        world.advance(HOUR);
        let second = world.prefactor().post(&path, &key).await;
        assert_eq!(first.text, second.text);
        assert_eq!(second.replayed()["details"]["status"], "suspended");
        // No body is an empty one: the key may come otherwise.
        let by_header = world.prefactor().with("idempotency-key", "S").act(&path).await;
        by_header.replayed();
        world.prefactor().with("idempotency-key", "S").post(&path, &json!({})).await.replayed();
        world.prefactor().act(&format!("{path}?idempotency_key=S")).await.replayed();
        world.prefactor().act(&path).await.refused(409, "invalid_action");
    });
}

#[test]
fn case_75_a_replay_does_nothing() {
    on_both(async |world| {
        let token = world.token().await;
        let key = json!({"idempotency_key": "S"});
        let path = format!("{}/suspend", token.path);
        let first = world.prefactor().post(&path, &key).await.ok();
        world.prefactor().do_to(&token, "activate").await.ok();
        assert_eq!(world.prefactor().post(&path, &key).await.replayed(), first);
        assert_eq!(world.prefactor().show(&token).await["status"], "active");
        world.assert_good(&token).await;
    });
}

#[test]
fn case_76_deleting_twice_with_a_key() {
    on_both(async |world| {
        for way in ["body", "query", "header"] {
            let token = world.token().await;
            world.prefactor().do_to(&token, "revoke").await.ok();
            let key = format!("D {way}");
            let delete = async || match way {
                "body" => {
                    let body = json!({ "idempotency_key": key }).to_string();
                    world.prefactor().call(Method::DELETE, &token.path, body).await
                }
                "query" => {
                    let query = key.replace(' ', "%20");
                    world.prefactor().delete(&format!("{}?idempotency_key={query}", token.path)).await
                }
                _ => world.prefactor().with("idempotency-key", &key).delete(&token.path).await,
            };
            let first = delete().await;
            assert!(!first.is_replay(), "{first}");
            let second = delete().await;
            assert_eq!(first.text, second.text);
            second.replayed();
            world.prefactor().delete(&token.path).await.refused(404, "not_found");
        }
    });
}

#[test]
fn case_77_what_is_no_key() {
    on_both(async |world| {
        let token = world.token().await;
        let long = "k".repeat(65);
        for key in [json!(long), json!(""), json!(5), json!(true), json!({}), json!(["K"]), json!("a\u{0}b")] {
            post(world, &create(&key)).await.invalid("idempotency_key", "invalid_value");
            let body = json!({ "idempotency_key": key });
            for action in ["suspend", "activate", "revoke"] {
                let answer = world.prefactor().post(&format!("{}/{action}", token.path), &body).await;
                answer.invalid("idempotency_key", "invalid_value");
            }
            let answer = world.prefactor().call(Method::DELETE, &token.path, body.to_string()).await;
            answer.invalid("idempotency_key", "invalid_value");
        }
        for query in [format!("idempotency_key={long}"), "idempotency_key=%00".to_owned()] {
            let answer = world.prefactor().act(&format!("{}/suspend?{query}", token.path)).await;
            answer.invalid("idempotency_key", "invalid_value");
        }
        let answer = world.prefactor().with("idempotency-key", &long).do_to(&token, "suspend").await;
        answer.invalid("idempotency_key", "invalid_value");
        let request = Request::post(format!("{}/suspend", token.path))
            .header("idempotency-key", http::HeaderValue::from_bytes(b"\xff").unwrap())
            .body(Body::empty());
        world.prefactor().send(request.unwrap()).await.invalid("idempotency_key", "invalid_value");
        world.assert_good(&token).await;
        // 64 characters are a key, whatever they are.
        for key in ["k".repeat(64), "ü".repeat(64), "\u{10ffff}".repeat(64), "'; --".to_owned(), " ".to_owned()] {
            assert!(!post(world, &create(&json!(key))).await.is_replay());
            assert!(post(world, &create(&json!(key))).await.is_replay());
        }
        post(world, &create(&json!("ü".repeat(65)))).await.invalid("idempotency_key", "invalid_value");
    });
}

#[test]
fn case_78_a_key_in_a_header() {
    on_both(async |world| {
        let caller = world.prefactor().with("idempotency-key", "H");
        let body = json!({"details": {"token_scope": "account"}});
        let first = caller.post("/api_token", &body).await;
        let second = caller.post("/api_token", &body).await;
        assert_eq!(first.text, second.text);
        second.replayed();
        assert_eq!(world.prefactor().count("/api_token").await, 2);
        // The form of the draft has quotes around it.
        world.prefactor().with("idempotency-key", "\"H\"").post("/api_token", &body).await.replayed();
        // One place that says nothing leaves it to the next.
        let null = json!({"details": {"token_scope": "account"}, "idempotency_key": null});
        caller.post("/api_token", &null).await.replayed();
    });
}

#[test]
fn case_79_two_keys_that_differ() {
    on_both(async |world| {
        let body = create(&json!("K1"));
        let header = world.prefactor().with("idempotency-key", "K2");
        header.post("/api_token", &body).await.invalid_parameter("idempotency_key");
        world.prefactor().post("/api_token?idempotency_key=K2", &body).await.invalid_parameter("idempotency_key");
        let plain = json!({"details": {"token_scope": "account"}});
        header.post("/api_token?idempotency_key=K1", &plain).await.invalid_parameter("idempotency_key");
        let twice = header.clone().with("idempotency-key", "K1");
        twice.post("/api_token", &plain).await.invalid_parameter("idempotency_key");
        assert_eq!(world.prefactor().count("/api_token").await, 1);
        // Neither was used; and the same one in all places is one.
        let same = world.prefactor().with("idempotency-key", "\"K1\"");
        assert!(!same.post("/api_token?idempotency_key=K1", &body).await.is_replay());
        assert!(!post(world, &create(&json!("K2"))).await.is_replay());
    });
}

/// A key is kept for a day, to the second.
#[test]
fn a_key_is_free_after_a_day() {
    on_both(async |world| {
        let token = world.token().await;
        let first = post(world, &create(&json!("K"))).await.ok();
        let suspend = async || {
            let key = json!({"idempotency_key": "S"});
            world.prefactor().post(&format!("{}/suspend", token.path), &key).await
        };
        suspend().await.ok();
        world.prefactor().do_to(&token, "activate").await.ok();
        world.advance(DAY - Duration::from_secs(1));
        assert_eq!(post(world, &create(&json!("K"))).await.replayed(), first);
        suspend().await.replayed();
        world.assert_good(&token).await;
        world.advance(Duration::from_secs(1));
        let second = post(world, &create(&json!("K"))).await;
        assert!(!second.is_replay(), "{second}");
        let second = second.ok();
        assert_ne!(second["details"]["id"], first["details"]["id"]);
        assert!(!suspend().await.is_replay());
        world.assert_bad(&token, "disabled").await;
        // From here it is another day.
        world.advance(DAY - Duration::from_secs(1));
        assert_eq!(post(world, &create(&json!("K"))).await.replayed(), second);
        world.advance(Duration::from_secs(1));
        // Another call may have it as well.
        let body = json!({"idempotency_key": "K"});
        assert!(!world.prefactor().post(&format!("{}/revoke", token.path), &body).await.is_replay());
    });
}
