//! A token that may be presented from some networks only.

use std::net::IpAddr;

use countersign_server::gate::forward_auth;
use http::{HeaderMap, HeaderName, Method};
use serde_json::{Value, json};

use crate::world::{Actor, Issued, Verdict, World, on_both, on_sqlite};

/// The path of a token of account A in our own API.
fn path(world: &World, token: &Issued) -> String {
    format!("/accounts/{}/service_tokens/{}/allow_from", world.account, token.id)
}

async fn put(actor: &Actor<'_>, path: &str, networks: Value) -> (u16, HeaderMap, Value) {
    actor.admin(Method::PUT, path, json!({"networks": networks}).to_string()).await
}

/// Sets the list, and says whether the change was waited for.
async fn allow(world: &World, token: &Issued, networks: Value) -> bool {
    let (status, headers, json) = put(&world.writer(), &path(world, token), networks).await;
    assert_eq!(status, 200, "{json}");
    headers.contains_key("countersign-propagation")
}

/// The pair, and the addresses that proxies have named.
fn headers<'a>(token: &'a Issued, said: &'a [&'a str]) -> Vec<(&'a str, &'a str)> {
    let pair = [("cf-access-client-id", token.client_id.as_str()), ("cf-access-client-secret", &token.secret)];
    pair.into_iter().chain(said.iter().map(|said| ("x-forwarded-for", *said))).collect()
}

fn elsewhere() -> Verdict {
    Verdict::refused(403, "address_not_allowed")
}

#[test]
fn a_list_admits_from_its_networks_alone() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let account = format!("account_id={}", world.account);
        let path = path(world, &token);
        let (status, _, json) = world.reader().admin(Method::GET, &path, "").await;
        assert_eq!((status, json), (200, json!({"networks": null})));
        world.assert_admitted(&token).await;

        // The gate's client is 192.0.2.7.
        assert!(allow(world, &token, json!(["10.0.0.0/8", "192.0.2.8"])).await, "it takes something away");
        assert_eq!(world.ask(&account, &headers(&token, &[])).await, elsewhere());
        // Nobody is believed who is not named.
        assert_eq!(world.ask(&account, &headers(&token, &["10.1.1.1"])).await, elsewhere());
        assert!(!allow(world, &token, json!(["10.0.0.0/8", "192.0.2.0/28"])).await, "it only gives");
        world.assert_admitted(&token).await;
        let (_, _, json) = world.reader().admin(Method::GET, &path, "").await;
        assert_eq!(json, json!({"networks": ["10.0.0.0/8", "192.0.2.0/28"]}));

        // What comes first: the secret, the state, the list, the demand.
        assert!(allow(world, &token, json!(["10.0.0.0/8"])).await);
        world.assert_refused(&token, "wrong", "invalid").await;
        let foreign = format!("account_id={}", world.foreign_account);
        assert_eq!(world.ask(&foreign, &headers(&token, &[])).await, elsewhere());
        world.writer().put(&token.path, &json!({"enabled": false})).await.ok();
        world.assert_refused(&token, &token.secret, "disabled").await;
        world.writer().put(&token.path, &json!({"enabled": true})).await.ok();

        // A rotation keeps the list, and so does a restart.
        let rotated = world.writer().act(&format!("{}/rotate", token.path)).await.ok();
        let rotated = Issued { secret: rotated["client_secret"].as_str().unwrap().to_owned(), ..token.clone() };
        world.restart().await;
        assert_eq!(world.ask(&account, &headers(&rotated, &[])).await, elsewhere());
        assert!(!allow(world, &rotated, json!(null)).await);
        world.assert_admitted(&rotated).await;
    });
}

#[test]
fn proxies_of_ours_say_where_a_request_came_from() {
    on_sqlite(async |world| {
        let token = world.issue_default().await;
        allow(world, &token, json!(["198.51.100.0/24", "2001:db8::/32", "192.0.2.7"])).await;
        world.proxies = "192.0.2.0/24, 10.0.0.0/8, unix".parse().unwrap();
        world.restart().await;
        let account = format!("account_id={}", world.account);
        let ask = async |said: &[&str]| world.ask(&account, &headers(&token, said)).await;
        for said in [
            &["198.51.100.1"][..],
            &["203.0.113.1, 198.51.100.1"],
            &["203.0.113.1", "198.51.100.1, 10.1.2.3"],
            &["::ffff:198.51.100.1"],
            &["2001:db8::1"],
        ] {
            assert_eq!(ask(said).await, Verdict::admitted(), "{said:?}");
        }
        // What no proxy says, nobody knows: also where the proxy's own address is on the list.
        for said in
            [&[][..], &["198.51.100.1, 203.0.113.1"], &["198.51.100.1, unknown"], &["198.51.100.1,"], &["10.1.1.1"]]
        {
            assert_eq!(ask(said).await, elsewhere(), "{said:?}");
        }
        // A token without a list comes from anywhere.
        let other = world.issue_default().await;
        assert_eq!(world.ask(&account, &headers(&other, &["unknown"])).await, Verdict::admitted());
    });
}

#[test]
fn who_comes_over_a_socket_is_nobody_that_is_known() {
    on_sqlite(async |world| {
        let token = world.issue_default().await;
        allow(world, &token, json!(["0.0.0.0/0", "::/0"])).await;
        let ask = |world: &World, peer: Option<IpAddr>, said: &[&str]| {
            let uri = format!("/verify?account_id={}", world.account).parse().unwrap();
            let fields = headers(&token, said);
            let fields =
                fields.into_iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
            let answer = forward_auth::handle(world.gate(), peer, &uri, &fields.collect()).unwrap();
            answer.status().as_u16()
        };
        let everywhere = ["192.0.2.7", "2001:db8::1", "::ffff:10.0.0.1"];
        for peer in everywhere {
            assert_eq!(ask(world, Some(peer.parse().unwrap()), &[]), 200, "{peer}");
        }
        assert_eq!(ask(world, None, &[]), 403);
        assert_eq!(ask(world, None, &["198.51.100.1"]), 403, "the socket is not named");
        world.proxies = "unix".parse().unwrap();
        world.restart().await;
        assert_eq!(ask(world, None, &["198.51.100.1"]), 200);
        assert_eq!(ask(world, None, &[]), 403);
        assert_eq!(ask(world, None, &["nonsense"]), 403);
    });
}

#[test]
fn changes_and_refusals_are_in_the_audit_log() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let before = world.audit_end().await;
        allow(world, &token, json!(["10.0.0.0/8"])).await;
        let events = world.audit(before).await;
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!((events[0].action.as_str(), &events[0].subject_id), ("service_token.allow_from", &token.id));
        let detail: Value = serde_json::from_str(&events[0].detail).unwrap();
        assert!(detail.to_string().contains("10.0.0.0/8"), "{detail}");
        // Once more is no change.
        let before = world.audit_end().await;
        assert!(allow(world, &token, json!(["10.0.0.0/8"])).await, "it waits for what another call may have made");
        assert!(world.audit(before).await.is_empty());

        world.assert_refused(&token, &token.secret, "address_not_allowed").await;
        world.record_refusals().await;
        let events = world.audit(before).await;
        assert_eq!(events.len(), 1, "{events:?}");
        let event = &events[0];
        assert_eq!((event.action.as_str(), &event.subject_id), ("service_token.refused", &token.id));
        assert_eq!((event.actor_kind.as_str(), &event.actor_id), ("service_token", &token.id), "the secret was right");
        assert_eq!(event.address.as_deref(), Some("192.0.2.7"));
        let detail: Value = serde_json::from_str(&event.detail).unwrap();
        assert_eq!(detail["reason"], "address_not_allowed");
        let metrics = world.plain("/metrics").await.1;
        let line = "countersign_gate_decisions_total{outcome=\"refuse\",reason=\"address_not_allowed\"} 1\n";
        assert!(metrics.contains(line), "{metrics}");
    });
}

#[test]
fn who_may_not_change_a_token_changes_nothing() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let path = path(world, &token);
        let list = || json!(["10.0.0.0/8"]);
        let check = async |actor: &Actor<'_>, path: &str, status: u16, code: &str| {
            let (found, _, json) = put(actor, path, list()).await;
            assert_eq!((found, &json["code"]), (status, &json!(code)), "{} {path}", actor.name);
        };
        check(&world.anonymous(), &path, 401, "not_authenticated").await;
        check(&world.reader(), &path, 403, "forbidden").await;
        for stranger in world.strangers() {
            check(&stranger, &path, 403, "forbidden").await;
        }
        let of_zone = format!("/zones/{}/service_tokens/{}/allow_from", world.zone, token.id);
        check(&world.writer(), &of_zone, 404, "not_found").await;
        check(&world.writer(), &path.replace(&token.id, "x"), 404, "not_found").await;
        for body in [
            "",
            "[]",
            "{}",
            r#"{"network":["10.0.0.0/8"]}"#,
            r#"{"networks":"10.0.0.0/8"}"#,
            r#"{"networks":[]}"#,
            r#"{"networks":[8]}"#,
            r#"{"networks":["10.0.0.0/8","x"]}"#,
            r#"{"networks":["10.1.2.3/8"]}"#,
        ] {
            let (status, _, json) = world.writer().admin(Method::PUT, &path, body).await;
            assert_eq!((status, &json["code"]), (400, &json!("invalid")), "{body}");
            assert_eq!(json.get("pointer"), body.starts_with('{').then_some(&json!("/networks")), "{body}");
        }
        let long = format!("{{\"networks\":null,\"x\":\"{}\"}}", "x".repeat(1 << 20));
        let (status, _, json) = world.writer().admin(Method::PUT, &path, long).await;
        assert_eq!((status, &json["code"]), (413, &json!("too_large")));
        world.assert_admitted(&token).await;

        // The other dialect has no word for it, and goes on as it was.
        let before = world.reader().get(&token.path).await.ok();
        allow(world, &token, list()).await;
        assert_eq!(world.reader().get(&token.path).await.ok(), before);
        let (_, _, shown) = world.reader().admin(Method::GET, &path.replace("/allow_from", ""), "").await;
        assert_eq!(shown["allow_from"], list());

        // Without a writer nothing is changed, and nobody is told so.
        world.lose_writer().await;
        let (status, headers, json) = put(&world.writer(), &path, json!(null)).await;
        assert_eq!(
            (status, &json["code"], &headers["retry-after"]),
            (503, &json!("unavailable"), &"1".parse().unwrap())
        );
        world.assert_refused(&token, &token.secret, "address_not_allowed").await;
        world.abandon().await;
        world.start().await;
        world.assert_refused(&token, &token.secret, "address_not_allowed").await;
    });
}
