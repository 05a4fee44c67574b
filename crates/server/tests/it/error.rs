//! The errors that every path of the listener answers with: the table of contract section 1.1 that needs no token.

use axum::body::Body;
use http::{Method, Request};
use serde_json::json;

use crate::world::{on_both, on_sqlite};

#[test]
fn a_path_that_leads_nowhere() {
    on_both(async |world| {
        let (account, tokens) = (world.account.to_string(), world.tokens());
        let upper = account.to_uppercase().replace(|byte: char| byte.is_ascii_digit(), "A");
        let paths = [
            "/".to_owned(),
            "/nowhere".to_owned(),
            "/accounts/".to_owned(),
            format!("/accounts/{account}/"),
            format!("/accounts/{account}/access"),
            format!("/accounts/{account}/access/service_tokens/"),
            format!("{tokens}//"),
            format!("{tokens}/x/refresh/"),
            format!("{tokens}/x/revoke"),
            format!("{tokens}/x/rotate/y"),
            "/accounts//access/service_tokens".to_owned(),
            "/zones//access/service_tokens".to_owned(),
            "/accounts/xyz".to_owned(),
            "/zones/xyz".to_owned(),
            format!("/accounts/{upper}/access/service_tokens"),
            format!("/accounts/{account}0/access/service_tokens"),
            format!("/accounts/{}/access/service_tokens", &account[1..]),
            format!("/accounts/%20{account}/access/service_tokens"),
            format!("/accounts/{account}%00/access/service_tokens"),
            "/accounts/%FF/access/service_tokens".to_owned(),
            format!("/accounts/%FF{account}"),
            "/accounts/xyz/tokens/verify".to_owned(),
            format!("/zones/{}/tokens/verify", world.zone),
            "/user/tokens".to_owned(),
            "/client/v4/accounts".to_owned(),
            "/Accounts".to_owned(),
            format!("/accounts/{account}/access/SERVICE_TOKENS"),
        ];
        for path in paths {
            for caller in [world.writer(), world.anonymous()] {
                for method in [Method::GET, Method::POST, Method::PATCH] {
                    let answer = caller.call(method, &path, "{}").await;
                    let expected =
                        format!("Could not route to /client/v4{path}, perhaps your object identifier is invalid?");
                    assert_eq!(answer.refused(404, 7003), expected, "{path}");
                    assert_eq!(answer.json["errors"][1], json!({"code": 7000, "message": "No route for that URI"}));
                }
            }
        }
    });
}

/// The query is no part of the path that the message names: it may hold what should not be repeated.
#[test]
fn a_message_does_not_repeat_the_query() {
    on_sqlite(async |world| {
        let answer = world.writer().get("/nowhere?password=hunter2").await;
        answer.refused(404, 7003);
        assert!(!answer.text.contains("hunter2"));
    });
}

/// A handler that panics: the door is a body that does.
#[test]
fn a_panic_is_an_internal_error() {
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
        for caller in [world.writer(), world.writer().at_root()] {
            let request = Request::post(world.tokens()).header("x-request-id", "of-the-panic").body(Body::new(Panics));
            let answer = caller.send(request.unwrap()).await;
            assert_eq!(answer.refused(500, 10001), "internal error");
            assert_eq!(answer.header("x-request-id"), Some("of-the-panic"));
            assert!(!answer.text.contains("a body that panics"), "what went wrong is for the log");
        }
        // The process lives on, nothing was made, and it was counted.
        assert_eq!(world.reader().get(&world.tokens()).await.ok(), json!([]));
        world.issue_default().await;
        let metrics = world.plain("/metrics").await.1;
        assert!(metrics.contains("countersign_management_panics_total 2\n"), "{metrics}");
    });
}

#[test]
fn a_request_id_is_kept_or_made() {
    on_both(async |world| {
        let kept = ["a", "0", "A-b_c.9", &"x".repeat(128)];
        for id in kept {
            for caller in [world.writer(), world.anonymous()] {
                let answer = caller.with("x-request-id", id).get(&world.tokens()).await;
                assert_eq!(answer.header("x-request-id"), Some(id));
            }
        }
        let mut made = std::collections::HashSet::new();
        for id in ["", "a b", "a/b", "é", "a\tb", &"x".repeat(129), "<script>", "a\"b", "{}"] {
            let answer = world.writer().with("x-request-id", id).get(&world.tokens()).await;
            let new = answer.header("x-request-id").unwrap().to_owned();
            assert_ne!(new, id);
            assert!(made.insert(new), "ids repeat");
        }
        assert!(made.insert(world.writer().get("/nowhere").await.header("x-request-id").unwrap().to_owned()));
    });
}

#[test]
fn the_health_endpoints_are_plain() {
    on_both(async |world| {
        for path in ["/livez", "/readyz"] {
            assert_eq!(world.plain(path).await.0, 200, "{path}");
        }
        let (status, metrics) = world.plain("/metrics").await;
        assert_eq!(status, 200);
        assert!(metrics.ends_with("# EOF\n"), "{metrics}");
        world.issue_default().await;
        let metrics = world.plain("/metrics").await.1;
        assert!(
            metrics.contains("route=\"/client/v4/accounts/{account_id}/access/service_tokens\",status=\"2xx\"} 1\n"),
            "{metrics}"
        );
    });
}

/// A HEAD is a GET without the body: what a client learns from it must be true.
#[test]
fn head_is_get_without_a_body() {
    on_sqlite(async |world| {
        for (caller, path, status) in [
            (world.reader(), world.tokens(), 200),
            (world.anonymous(), world.tokens(), 400),
            (world.reader(), "/nowhere".to_owned(), 404),
        ] {
            let request = Request::head(path).body(Body::empty()).unwrap();
            let (got, headers, body) = caller.send_raw(request).await;
            assert_eq!((got.as_u16(), body.len()), (status, 0));
            assert_eq!(headers["content-type"], "application/json");
        }
    });
}
