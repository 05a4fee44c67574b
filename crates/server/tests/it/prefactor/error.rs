//! The errors of paths and methods, of outages and panics: cases 81 to 83 of the contract.

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request};
use serde_json::json;

use crate::world::{Verdict, on_both};

#[test]
fn case_81_a_method_that_is_not_there() {
    on_both(async |world| {
        let token = world.token().await;
        let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
        let environment = format!("/environment/{}", world.environment);
        let account = format!("/account/{}", world.account_pfid);
        let paths: [(&str, &[&Method]); 12] = [
            (&token.path, &[&get, &delete]),
            ("/api_token", &[&get, &post]),
            (&format!("{}/suspend", token.path), &[&post]),
            (&format!("{}/activate", token.path), &[&post]),
            (&format!("{}/revoke", token.path), &[&post]),
            ("/ping", &[&get]),
            ("/bulk", &[&post]),
            ("/pfid/generate", &[&post]),
            ("/openapi", &[&get]),
            ("/account", &[&get]),
            (&account, &[&get, &put]),
            (&environment, &[&get, &put, &delete]),
        ];
        for (path, allowed) in paths {
            for method in [&get, &post, &put, &delete, &Method::PATCH] {
                if !allowed.contains(&method) {
                    for caller in [world.prefactor(), world.nobody()] {
                        let answer = caller.call(method.clone(), path, "{}").await;
                        answer.refused(405, "bad_request");
                        for allowed in allowed {
                            assert!(answer.header("allow").unwrap().contains(allowed.as_str()), "{answer}");
                        }
                    }
                }
            }
        }
        world.assert_good(&token).await;
    });
}

#[test]
fn case_82_a_path_that_leads_nowhere() {
    on_both(async |world| {
        let token = world.token().await;
        let paths = [
            "/nope".to_owned(),
            "/api_tokens".to_owned(),
            "/api_token/".to_owned(),
            format!("{}/", token.path),
            format!("{}/rotate", token.path),
            format!("{}/suspend/", token.path),
            format!("{}/suspend/x", token.path),
            "/API_TOKEN".to_owned(),
            "/pfid".to_owned(),
            "/admin_user_invite/x/accept".to_owned(),
            "/%FF".to_owned(),
            "/api/v1/api_token".to_owned(),
            "/".to_owned(),
            "/?x=1".to_owned(),
        ];
        for path in paths {
            for caller in [world.prefactor(), world.nobody()] {
                for method in [Method::GET, Method::POST, Method::PATCH] {
                    caller.call(method, &path, "{}").await.refused(404, "not_found");
                }
            }
        }
        // Beside this dialect is the other.
        for path in ["/api", "/api/v2/ping", "/api/v10/ping", "/api/v1ping"] {
            world.anonymous().at_root().get(path).await.refused(404, 7003);
        }
    });
}

/// Every kind of error has the one shape, which every answer of these tests is held to, and repeats nothing.
#[test]
fn case_83_errors_repeat_nothing() {
    on_both(async |world| {
        let secret = world.account_token().to_owned();
        let caller = world.prefactor();
        for answer in [
            world.nobody().get(&format!("/ping?token={secret}")).await,
            world.nobody().with("authorization", &format!("Token {secret}")).get("/ping").await,
            world.nobody().with_token(&format!("{secret}x")).get("/ping").await,
            caller.get(&format!("/api_token?account_id={secret}")).await,
            caller.get(&format!("/api_token?sorting={secret}")).await,
            caller.get(&format!("/api_token?pagination[offset]={secret}")).await,
            caller.call(Method::PATCH, "/api_token", secret.clone()).await,
            caller.call(Method::POST, "/api_token", secret.clone()).await,
            caller.call(Method::POST, "/api_token", format!("{{\"{secret}")).await,
            caller.post("/api_token", &json!({"details": secret})).await,
            caller.post("/api_token", &json!({"details": {"token_scope": secret}})).await,
            caller.post("/api_token", &json!({"details": {"token_scope": {(secret.clone()): 1}}})).await,
            caller
                .post("/api_token", &json!({"details": {"token_scope": "environment", "environment_id": secret}}))
                .await,
            caller.post("/api_token", &json!({"details": {"token_scope": "account", "expires_at": secret}})).await,
            caller.post("/api_token", &json!({"details": {}, "idempotency_key": secret})).await,
            caller.post("/environment", &json!({"details": {"name": "x", "purpose": secret}})).await,
            caller.post("/admin_user_invite", &json!({"details": {"email": secret}})).await,
            caller.post("/pfid/generate", &json!({"count": secret})).await,
            caller.post("/bulk", &json!({"items": [{"_type": secret, "idempotency_key": "12345678"}]})).await,
        ] {
            assert!(answer.status.is_client_error() || answer.text.contains("outputs"), "{answer}");
        }
    });
}

/// A handler that panics: the door is a body that does.
#[test]
fn a_panic_is_an_error_of_the_dialect() {
    struct Panics;
    impl hyper::body::Body for Panics {
        type Data = axum::body::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
            panic!("a body that panics");
        }
    }
    on_both(async |world| {
        let request = Request::post("/api_token").header("x-request-id", "of-the-panic").body(Body::new(Panics));
        let answer = world.prefactor().send(request.unwrap()).await;
        answer.refused(500, "unexpected");
        assert_eq!(answer.header("x-request-id"), Some("of-the-panic"));
        assert!(!answer.text.contains("a body that panics"), "what went wrong is for the log");
        assert_eq!(world.prefactor().count("/api_token").await, 1);
        let metrics = world.plain("/metrics").await.1;
        assert!(metrics.contains("countersign_management_panics_total 1\n"), "{metrics}");
    });
}

/// The writer is lost: nothing is claimed that did not happen, and what needs no writer goes on.
#[test]
fn what_cannot_be_written_is_unavailable() {
    on_both(async |world| {
        let token = world.token().await;
        let agent = world.agent().await;
        let body = json!({"details": {"token_scope": "account"}, "idempotency_key": "K"});
        world.lose_writer().await;
        let caller = world.prefactor();
        for answer in [
            caller.post("/api_token", &body).await,
            caller.do_to(&token, "suspend").await,
            caller.do_to(&token, "revoke").await,
            caller.post("/environment", &json!({"details": {"name": "x"}})).await,
            caller.put(&format!("/agent/{agent}"), &json!({"details": {"name": "x"}})).await,
            caller.delete(&format!("/agent/{agent}")).await,
        ] {
            answer.refused(503, "unexpected");
            assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
        }
        assert_eq!(caller.show(&token).await["status"], "active");
        world.assert_good(&token).await;
        // What is wrong with a request is still said.
        caller.post("/api_token", &json!({})).await.refused(422, "validation_errors");
        world.nobody().get("/ping").await.refused(401, "not_authenticated");
        world.abandon().await;
        world.start().await;
        world.assert_good(&token).await;
        let answer = world.prefactor().post("/api_token", &body).await;
        assert!(!answer.is_replay(), "the key was not used");
        answer.ok();
    });
}

/// The store can't be read: that is no absence, and what needs no store goes on.
#[test]
fn what_cannot_be_read_is_unavailable() {
    on_both(async |world| {
        let token = world.token().await;
        world.lose_writer().await;
        world.ops().store().close().await;
        for path in ["/api_token", &token.path, "/account", "/environment", "/agent", "/admin_user"] {
            let answer = world.prefactor().get(path).await;
            answer.refused(503, "unexpected");
            assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
        }
        world.prefactor().get("/api_token?sorting=bogus").await.refused(422, "validation_errors");
        world.prefactor().get("/api_token/x").await.refused(404, "not_found");
        assert_eq!(world.gate_says(&token).await, Verdict::admitted());
        world.prefactor().get("/ping").await.ok();
        world.abandon().await;
        world.start().await;
        world.assert_good(&token).await;
    });
}

/// A server that has learned nothing for too long might know a token that was taken away.
#[test]
fn a_server_that_learns_nothing_stops_answering_for_itself() {
    on_both(async |world| {
        let token = world.token().await;
        world.restart_promising(Duration::from_secs(5)).await;
        world.lose_follower().await;
        world.assert_good(&token).await;
        world.advance(Duration::from_secs(6));
        assert_eq!(world.gate_says(&token).await, Verdict::refused(503, "stale"));
        for caller in [world.prefactor(), world.foreign_prefactor(), world.nobody().with_token("garbage")] {
            for answer in [
                caller.get("/ping").await,
                caller.get("/api_token").await,
                caller.get(&token.path).await,
                caller.post("/api_token", &json!({"details": {"token_scope": "account"}})).await,
                caller.do_to(&token, "suspend").await,
            ] {
                answer.refused(503, "unexpected");
                assert_eq!(answer.header("retry-after"), Some("1"));
            }
        }
        // What says nothing about anybody's rights is still said.
        world.nobody().get("/ping").await.refused(401, "not_authenticated");
        world.prefactor().get("/nope").await.refused(404, "not_found");
        world.abandon().await;
        world.start().await;
        world.assert_good(&token).await;
        assert_eq!(world.prefactor().count("/api_token").await, 2);
    });
}

/// A HEAD is a GET without the body.
#[test]
fn head_is_get_without_a_body() {
    on_both(async |world| {
        for (caller, path, status) in
            [(world.prefactor(), "/ping", 200), (world.nobody(), "/ping", 401), (world.prefactor(), "/nope", 404)]
        {
            let request = Request::head(path).body(Body::empty()).unwrap();
            let (got, headers, body) = caller.send_raw(request).await;
            assert_eq!((got.as_u16(), body.len()), (status, 0));
            assert_eq!(headers["content-type"], "application/json; charset=utf-8");
        }
    });
}
