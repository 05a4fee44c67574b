//! Our own API: what it shows of service tokens, to whom, and how it refuses.

use std::time::Duration;

use axum::body::Body;
use http::Method;
use serde_json::{Value, json};

use crate::world::{Actor, DAY, HOUR, World, on_both, on_sqlite};

/// The path of account A's service tokens.
fn tokens(world: &World) -> String {
    format!("/accounts/{}/service_tokens", world.account)
}

async fn get(actor: &Actor<'_>, path: &str) -> Value {
    let (status, _, json) = actor.admin(Method::GET, path, "").await;
    assert_eq!(status, 200, "{path} {json}");
    json
}

/// The status and the code of a refusal.
async fn refusal(actor: &Actor<'_>, method: Method, path: &str) -> (u16, String) {
    let (status, headers, json) = actor.admin(method, path, "").await;
    assert_eq!(headers.contains_key("www-authenticate"), status == 401, "{path} {json}");
    (status, json["code"].as_str().unwrap().to_owned())
}

/// A current secret that nobody has come with.
fn unused(version: u32) -> Value {
    json!({"version": version, "last_seen_at": null, "visited_at": null, "address": null, "user_agent": null})
}

#[test]
fn a_token_is_shown_with_everything_but_its_secret() {
    on_both(async |world| {
        let token = world.issue(&world.tokens(), json!({"name": "ci", "duration": "48h"})).await;
        let path = format!("{}/{}", tokens(world), token.id);
        let expected = json!({
            "id": token.id,
            "account_id": world.account.to_string(),
            "zone_id": null,
            "client_id": token.client_id,
            "name": "ci",
            "state": "active",
            "enabled": true,
            "allow_from": null,
            "duration": "48h",
            "created_at": world.after(Duration::ZERO),
            "updated_at": world.after(Duration::ZERO),
            "expires_at": world.after(2 * DAY),
            "last_seen_at": null,
            "current_secret": unused(1),
            "previous_secret": null,
        });
        assert_eq!(get(&world.reader(), &path).await, expected);

        world.assert_admitted(&token).await;
        let end = world.after(HOUR);
        let rotate = json!({"previous_client_secret_expires_at": end});
        world.writer().post(&format!("{}/rotate", token.path), &rotate).await.ok();
        // The token's own last use is known here at once, that of a secret once it is written down.
        let shown = get(&world.owner_key(), &path).await;
        assert_eq!(shown["last_seen_at"], world.after(Duration::ZERO));
        get(&world.owner_key(), &format!("{path}/rotation")).await;
        let shown = get(&world.owner_key(), &path).await;
        assert_eq!(shown["current_secret"], unused(2));
        let previous = &shown["previous_secret"];
        assert_eq!(
            (&previous["version"], &previous["expires_at"], &previous["last_seen_at"]),
            (&json!(1), &json!(end), &world.after(Duration::ZERO).into())
        );
        world.advance(HOUR);
        assert_eq!(get(&world.reader(), &path).await["previous_secret"], json!(null));

        world.advance(2 * DAY);
        assert_eq!(get(&world.reader(), &path).await["state"], "expired");
        world.writer().put(&token.path, &json!({"enabled": false, "duration": "forever"})).await.ok();
        let shown = get(&world.reader(), &path).await;
        assert_eq!(
            (&shown["state"], &shown["enabled"], &shown["expires_at"]),
            (&json!("disabled"), &json!(false), &json!(null))
        );
    });
}

#[test]
fn an_account_and_its_zone_are_kept_apart() {
    on_both(async |world| {
        let of_account = world.issue_default().await;
        let of_zone = world.issue(&world.zone_tokens(), json!({"name": "z"})).await;
        let zone_tokens = format!("/zones/{}/service_tokens", world.zone);
        for (list, token, other) in [(tokens(world), &of_account, &of_zone), (zone_tokens, &of_zone, &of_account)] {
            let listed = get(&world.reader(), &list).await;
            let one = get(&world.reader(), &format!("{list}/{}", token.id)).await;
            assert_eq!(listed, json!({"service_tokens": [one], "page": 1, "per_page": 1000, "total_count": 1}));
            let missing = refusal(&world.reader(), Method::GET, &format!("{list}/{}", other.id)).await;
            assert_eq!(missing, (404, "not_found".to_owned()));
        }
        let shown = get(&world.reader(), &format!("/zones/{}/service_tokens/{}", world.zone, of_zone.id)).await;
        assert_eq!(
            (&shown["zone_id"], &shown["account_id"]),
            (&json!(world.zone.to_string()), &json!(world.account.to_string()))
        );
    });
}

#[test]
fn lists_come_in_pages() {
    on_both(async |world| {
        let names = ["qa", "qb", "xa", "xb", "qc"];
        world.issue_many(&world.tokens(), names.map(|name| json!({"name": name}))).await;
        let check = async |query: &str, expected: &[&str], total: u64| {
            let listed = get(&world.reader(), &format!("{}?{query}", tokens(world))).await;
            let names: Vec<&str> = listed["service_tokens"]
                .as_array()
                .unwrap()
                .iter()
                .map(|token| token["name"].as_str().unwrap())
                .collect();
            assert_eq!((names.as_slice(), &listed["total_count"]), (expected, &json!(total)), "{query}");
        };
        check("", &names, 5).await;
        check("per_page=2&page=2", &["xa", "xb"], 5).await;
        check("page=9", &[], 5).await;
        check("search=Q", &["qa", "qb", "qc"], 3).await;
        check("name=xa", &["xa"], 1).await;
        for query in ["page=0", "per_page=x", "page=1&page=2", "name=%ff", "search=%00"] {
            let refused = refusal(&world.reader(), Method::GET, &format!("{}?{query}", tokens(world))).await;
            assert_eq!(refused, (400, "invalid".to_owned()), "{query}");
        }
    });
}

#[test]
fn every_refusal_is_a_problem() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let paths = [tokens(world), format!("{}/{}", tokens(world), token.id)];
        let check = async |actor: &Actor<'_>, method: Method, path: &str, status: u16, code: &str| {
            assert_eq!(refusal(actor, method, path).await, (status, code.to_owned()), "{} {path}", actor.name);
        };
        for path in &paths {
            check(&world.anonymous(), Method::GET, path, 401, "not_authenticated").await;
            for wrong in ["Basic dXNlcjpwYXNz", "Bearer short"] {
                let caller = world.anonymous().with("authorization", wrong);
                check(&caller, Method::GET, path, 401, "not_authenticated").await;
            }
            let unknown = world.anonymous().with("authorization", &format!("Bearer {}", "t".repeat(51)));
            check(&unknown, Method::GET, path, 401, "unknown_credential").await;
            for stranger in world.strangers() {
                check(&stranger, Method::GET, path, 403, "forbidden").await;
            }
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
                let (status, headers, json) = world.writer().admin(method, path, "{}").await;
                assert_eq!(
                    (status, &json["code"], &headers["allow"]),
                    (405, &json!("no_method"), &"GET,HEAD".parse().unwrap())
                );
            }
            for caller in world.writers() {
                get(&caller, path).await;
            }
        }
        // Whether a place exists is nobody's business who has no right there.
        let nowhere = "0".repeat(32);
        check(&world.writer(), Method::GET, &format!("/accounts/{nowhere}/service_tokens"), 403, "forbidden").await;
        check(&world.writer(), Method::GET, &format!("/zones/{nowhere}/service_tokens"), 403, "forbidden").await;
        check(&world.writer(), Method::GET, &format!("/zones/{}/service_tokens", world.foreign_zone), 403, "forbidden")
            .await;
        for path in [
            "",
            "/",
            "/nowhere",
            "/accounts/xyz/service_tokens",
            "/zones/%FF/service_tokens",
            "/accounts//service_tokens",
        ] {
            check(&world.writer(), Method::GET, path, 404, "no_route").await;
            check(&world.anonymous(), Method::POST, path, 404, "no_route").await;
        }
        for id in ["x", "%FF", "00000000-0000-0000-0000-000000000000"] {
            let expected = if id == "%FF" { "no_route" } else { "not_found" };
            check(&world.writer(), Method::GET, &format!("{}/{id}", tokens(world)), 404, expected).await;
        }
    });
}

/// The door is a body that panics.
#[test]
fn a_panic_is_a_problem() {
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
    on_sqlite(async |world| {
        let caller = world.writer().with("x-request-id", "of-the-panic");
        let (status, headers, json) = caller.admin(Method::GET, &tokens(world), Body::new(Panics)).await;
        assert_eq!((status, &json["code"]), (500, &json!("internal")));
        assert_eq!(headers["x-request-id"], "of-the-panic");
        let metrics = world.plain("/metrics").await.1;
        assert!(metrics.contains("countersign_management_panics_total 1\n"), "{metrics}");
        assert!(metrics.contains("countersign_management_requests_total{api=\"admin\""), "{metrics}");
    });
}

#[test]
fn a_server_that_learns_nothing_says_so() {
    on_both(async |world| {
        world.restart_promising(Duration::from_secs(5)).await;
        world.lose_follower().await;
        get(&world.reader(), &tokens(world)).await;
        world.advance(Duration::from_secs(6));
        let (status, headers, json) = world.reader().admin(Method::GET, &tokens(world), "").await;
        assert_eq!(
            (status, &json["code"], &headers["retry-after"]),
            (503, &json!("unavailable"), &"1".parse().unwrap())
        );
        assert_eq!(
            refusal(&world.anonymous(), Method::GET, &tokens(world)).await,
            (401, "not_authenticated".to_owned())
        );
        world.abandon().await;
        world.start().await;
    });
}
