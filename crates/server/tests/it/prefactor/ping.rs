//! Who calls: cases 1 to 8 of the contract, and 94.

use axum::body::Body;
use http::{HeaderValue, Method, Request};
use serde_json::json;

use crate::world::{HOUR, on_both};

#[test]
fn case_01_a_ping() {
    on_both(async |world| {
        for (caller, account) in
            [(world.prefactor(), &world.account_pfid), (world.foreign_prefactor(), &world.foreign_account_pfid)]
        {
            let body = caller.get("/ping").await.ok();
            let details = json!({"token_type": "api", "account_id": account});
            assert_eq!(body, json!({"status": "success", "details": details}));
        }
    });
}

#[test]
fn case_02_nobody() {
    on_both(async |world| {
        world.nobody().get("/ping").await.refused(401, "not_authenticated");
        for path in ["/api_token", "/account", "/environment", "/agent", "/agent_deployment", "/admin_user"] {
            world.nobody().get(path).await.refused(401, "not_authenticated");
        }
        for path in ["/api_token", "/pfid/generate", "/bulk", "/environment"] {
            world.nobody().post(path, &json!({})).await.refused(401, "not_authenticated");
        }
    });
}

#[test]
fn case_03_another_scheme() {
    on_both(async |world| {
        let token = world.account_token();
        let values = [
            "Basic x".to_owned(),
            "Basic dXNlcjpwYXNz".to_owned(),
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            "Bearer    ".to_owned(),
            String::new(),
            token.to_owned(),
            format!("Token {token}"),
            format!("Bearer: {token}"),
            format!("Bearer{token}"),
            format!("Bearer {token} x"),
            format!("Bearer x {token}"),
            format!("Bearer {token},{token}"),
        ];
        for value in &values[..12] {
            world.nobody().with("authorization", value).get("/ping").await.refused(401, "not_authenticated");
        }
        let list = world.nobody().with("authorization", &values[12]).get("/ping").await;
        assert_eq!(list.status, 401, "{list}");
    });
}

#[test]
fn case_04_garbage() {
    on_both(async |world| {
        let long = "a".repeat(60_000);
        let dots = ".".repeat(1000);
        let mut messages = Vec::new();
        for garbage in ["garbage", "a.b.c", "..", ".", "a.b", "eyJ", "null", "0", &long, &dots] {
            let answer = world.nobody().with_token(garbage).get("/ping").await;
            messages.push(answer.refused(401, "bad_authtoken").to_owned());
        }
        messages.dedup();
        assert_eq!(messages.len(), 1, "one message for all causes");
        // What is no text at all is no token either.
        for bytes in [&b"\xff\xfe"[..], b"Bearer \xff\xff", b"Bearer \x80"] {
            let value = HeaderValue::from_bytes(bytes).unwrap();
            let request = Request::get("/ping").header("authorization", value).body(Body::empty()).unwrap();
            let answer = world.nobody().send(request).await;
            assert_eq!(answer.status, 401, "{answer}");
        }
        // Secrets of other kinds: who holds them calls the other dialect.
        for secret in [world.writer_bearer(), world.owner_global_key()] {
            world.nobody().with_token(secret).get("/ping").await.refused(401, "bad_authtoken");
        }
        let key = world.nobody().with("x-auth-email", crate::world::OWNER_EMAIL);
        let key = key.with("x-auth-key", world.owner_global_key());
        key.get("/ping").await.refused(401, "not_authenticated");
        let pair = world.issue_default().await;
        world.nobody().with_token(&pair.secret).get("/ping").await.refused(401, "bad_authtoken");
    });
}

#[test]
fn case_07_a_scheme_has_no_case() {
    on_both(async |world| {
        for scheme in ["bearer", "BEARER", "bEaReR", "Bearer"] {
            let value = format!("{scheme} {}", world.account_token());
            world.nobody().with("authorization", &value).get("/ping").await.ok();
        }
    });
}

#[test]
fn case_08_an_empty_body_with_a_type() {
    on_both(async |world| {
        let typed = world.prefactor().with("content-type", "application/json");
        typed.get("/ping").await.ok();
        typed.get("/api_token").await.ok();
        let token = world.token().await;
        typed.get(&token.path).await.ok();
        typed.act(&format!("{}/suspend", token.path)).await.ok();
        typed.act(&format!("{}/revoke", token.path)).await.ok();
        typed.delete(&token.path).await.ok();
    });
}

/// Two tokens are none, even if each is good.
#[test]
fn two_tokens() {
    on_both(async |world| {
        let token = world.account_token();
        let twice = world.prefactor().with("authorization", &format!("Bearer {token}"));
        twice.get("/ping").await.refused(401, "not_authenticated");
        let beside = world.prefactor().with("authorization", "Basic x");
        beside.get("/ping").await.refused(401, "not_authenticated");
    });
}

/// What clients say of themselves is not looked at.
#[test]
fn other_headers_do_not_matter() {
    on_both(async |world| {
        for (name, value) in [
            ("accept", "*/*"),
            ("accept", "text/html"),
            ("content-type", "text/plain"),
            ("content-type", "application/json; charset=utf-8"),
            ("x-prefactor-sdk", "@prefactor/core@0.4.3 prefactor-http@0.4.3"),
            ("x-auth-email", "no address"),
            ("x-auth-key", "no key"),
            ("x-anything", "at all"),
        ] {
            let caller = world.prefactor().with(name, value);
            caller.get("/ping").await.ok();
            caller.post("/api_token", &json!({"details": {"token_scope": "account"}})).await.ok();
        }
        // A body where none belongs is not read.
        for body in ["{", "[]", "\0", r#"{"idempotency_key":5}"#] {
            world.prefactor().call(Method::GET, "/ping", body).await.ok();
            world.prefactor().call(Method::GET, "/api_token", body).await.ok();
        }
    });
}

/// A given request id is kept, in this dialect too.
#[test]
fn a_request_id_is_kept_or_made() {
    on_both(async |world| {
        for caller in [world.prefactor(), world.nobody()] {
            let answer = caller.clone().with("x-request-id", "A-b_c.9").get("/ping").await;
            assert_eq!(answer.header("x-request-id"), Some("A-b_c.9"));
            let answer = caller.with("x-request-id", "a b").get("/ping").await;
            assert_ne!(answer.header("x-request-id"), Some("a b"));
        }
    });
}

/// Whichever way a token has ended, the client reads the same.
#[test]
fn case_94_a_token_that_has_ended() {
    on_both(async |world| {
        let short = world.prefactor().create(json!({"token_scope": "account", "expires_at": world.after(HOUR)})).await;
        let (suspended, revoked, deleted) = (world.token().await, world.token().await, world.token().await);
        let environment = world.new_environment().await;
        let orphan = world.environment_token(&environment).await;
        let caller = world.prefactor();
        caller.do_to(&suspended, "suspend").await.ok();
        caller.do_to(&revoked, "revoke").await.ok();
        caller.do_to(&deleted, "revoke").await.ok();
        caller.do_to(&deleted, "delete").await.ok();
        caller.delete(&format!("/environment/{environment}")).await.ok();
        world.advance(HOUR);
        let garbage = world.nobody().with_token("garbage").get("/ping").await;
        for (token, reason) in [
            (&short, "expired"),
            (&suspended, "disabled"),
            (&revoked, "revoked"),
            (&deleted, "invalid"),
            (&orphan, "invalid"),
        ] {
            let answer = world.nobody().with_token(&token.secret).get("/ping").await;
            assert_eq!(answer.refused(401, "bad_authtoken"), garbage.refused(401, "bad_authtoken"));
            world.assert_bad(token, reason).await;
        }
    });
}
