//! Assertions: what they say, who accepts them, how long they are handed out, and the keys that sign them.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use countersign_server::gate::grpc;
use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use hyper::body::Bytes;
use prost::Message as _;
use serde_json::{Value, json};

use crate::world::{DAY, HOUR, Issued, Verdict, World, on_both};

const AUDIENCE: &str = "4f0ac71a5c4c4f2a8d3f5b1f0e9d8c7b6a594837261504f3e2d1c0b9a8f7e6d5";
const CERTS: &str = "/cdn-cgi/access/certs";

fn unbase64url(text: &str) -> Vec<u8> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: String =
        text.chars().map(|c| format!("{:06b}", ALPHABET.find(c).expect("a character of the alphabet"))).collect();
    bits.as_bytes()
        .chunks_exact(8)
        .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
        .collect()
}

/// What the gate says to a token with this audience.
async fn ask(world: &World, token: &Issued, audience: &str) -> (Verdict, Option<String>) {
    let query = format!("account_id={}&aud={audience}", world.account);
    let pair = [("cf-access-client-id", &*token.client_id), ("cf-access-client-secret", &*token.secret)];
    let (verdict, headers) = world.ask_whole(&query, &pair).await;
    let assertion = headers.get("cf-access-jwt-assertion").map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(assertion.is_some(), verdict.status == 200, "{verdict:?}");
    (verdict, assertion)
}

async fn assertion(world: &World, token: &Issued) -> String {
    let (verdict, assertion) = ask(world, token, AUDIENCE).await;
    assert_eq!(verdict, Verdict::admitted());
    assertion.unwrap()
}

async fn certs(world: &World) -> Value {
    let (status, text) = world.plain(CERTS).await;
    assert_eq!(status, 200);
    serde_json::from_str(&text).unwrap()
}

fn kids(certs: &Value) -> Vec<String> {
    certs["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// Head and claims of an assertion that somebody has accepted who knows nothing but the published keys.
fn accepted(assertion: &str, certs: &Value) -> (Value, Value) {
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let (head, claims) = signed.split_once('.').unwrap();
    let [head, claims] = [head, claims].map(|part| serde_json::from_slice::<Value>(&unbase64url(part)).unwrap());
    let key = certs["keys"].as_array().unwrap().iter().find(|key| key["kid"] == head["kid"]).expect("its key");
    let [n, e] = ["n", "e"].map(|part| unbase64url(key[part].as_str().unwrap()));
    let key = RsaPublicKeyComponents { n, e };
    key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &unbase64url(signature)).expect("its signature");
    (head, claims)
}

async fn tend(world: &World) {
    world.ops().tend_assertion_keys().await.unwrap();
}

#[test]
fn case_55_an_assertion_says_who_was_admitted() {
    on_both(async |world| {
        tend(world).await;
        for path in world.scopes() {
            let token = world.issue(&path, json!({"name": "x"})).await;
            let (head, claims) = accepted(&assertion(world, &token).await, &certs(world).await);
            let kid = kids(&certs(world).await)[0].clone();
            assert_eq!(head, json!({"alg": "RS256", "kid": kid, "typ": "JWT"}));
            let now = world.now().as_secs();
            let expected = json!({
                "type": "app",
                "aud": [AUDIENCE],
                "iss": "https://team.example.com",
                "common_name": token.client_id,
                "sub": "",
                "iat": now,
                "exp": now + 24 * 3600,
            });
            assert_eq!(claims, expected);
        }
    });
}

/// Envoy may ask by gRPC, and gets the same assertion to set.
#[test]
fn an_assertion_goes_to_envoy() {
    on_both(async |world| {
        tend(world).await;
        let token = world.issue(&world.scopes()[0], json!({"name": "x"})).await;
        let header = |(key, value): (&str, &str)| HeaderValue {
            key: key.to_owned(),
            raw_value: value.as_bytes().to_vec(),
            ..HeaderValue::default()
        };
        let headers = [
            ("cf-access-client-id", &*token.client_id),
            ("cf-access-client-secret", &*token.secret),
            ("cf-access-jwt-assertion", "spoofed"),
        ];
        let header_map = Some(HeaderMap { headers: headers.map(header).into() });
        let http = HttpRequest { header_map, ..HttpRequest::default() };
        let context_extensions =
            [("account_id".to_owned(), world.account.to_string()), ("aud".to_owned(), AUDIENCE.to_owned())].into();
        let request = Some(Request { http: Some(http), ..Request::default() });
        let attributes = AttributeContext { request, context_extensions, ..AttributeContext::default() };
        let message = CheckRequest { attributes: Some(attributes) }.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let call = Bytes::from([&[0], &length[..], &message].concat());

        let gate = world.gate();
        let minting = grpc::handle(gate, None, call.clone()).expect_err("nothing was made yet");
        let made = grpc::handle_after(minting, gate, None, call.clone()).await;
        assert_eq!(made, grpc::handle(gate, None, call).expect("it is made"));
        let response = CheckResponse::decode(&made[5..]).unwrap();
        let Some(HttpResponse::OkResponse(admitted)) = response.http_response else { panic!("{response:?}") };
        let set: Vec<_> = admitted.headers.iter().filter_map(|option| option.header.as_ref()).collect();
        let set = set.iter().find(|header| header.key == "cf-access-jwt-assertion").expect("an assertion");
        assert_eq!(set.value, assertion(world, &token).await);
        assert!(!admitted.headers_to_remove.contains(&set.key));
    });
}

/// Nothing is made for whoever does not ask, and nobody is admitted without what was asked for.
#[test]
fn only_where_an_audience_is_demanded() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let nothing = Verdict::refused(503, "no_assertion");
        assert_eq!(ask(world, &token, AUDIENCE).await, (nothing, None), "there is no key yet");
        tend(world).await;
        let pair = [("cf-access-client-id", &*token.client_id), ("cf-access-client-secret", &*token.secret)];
        let (verdict, headers) = world.ask_whole(&format!("account_id={}", world.account), &pair).await;
        assert_eq!(verdict, Verdict::admitted());
        assert!(!headers.contains_key("cf-access-jwt-assertion"));
        let (_, metrics) = world.plain("/metrics").await;
        assert!(metrics.contains("countersign_assertions_minted_total 0\n"), "{metrics}");

        let of_account = format!("account_id={}&aud={AUDIENCE}", world.account);
        let bearer = world.ask_bearer(&of_account, world.account_token()).await;
        assert_eq!(bearer, Verdict::refused(403, "not_permitted"), "an API token has no assertion");
        assert_eq!(ask(world, &token, "").await.0, Verdict::refused(403, "no_demand"));
        let wrong = Issued { secret: "wrong".to_owned(), ..token.clone() };
        assert_eq!(ask(world, &wrong, AUDIENCE).await.0, Verdict::refused(401, "invalid"));
        let (_, metrics) = world.plain("/metrics").await;
        assert!(metrics.contains("countersign_assertions_minted_total 0\n"), "{metrics}");
    });
}

#[test]
fn it_is_made_once_until_it_nears_its_end() {
    on_both(async |world| {
        tend(world).await;
        let (token, other) = (world.issue_default().await, world.issue_default().await);
        let first = assertion(world, &token).await;
        let rest = Duration::from_secs(24 * 360);
        world.advance(DAY - rest - Duration::from_secs(1));
        assert_eq!(assertion(world, &token).await, first);
        let (_, of_another) = ask(world, &token, "another").await;
        assert_ne!(of_another.unwrap(), first);
        assert_ne!(assertion(world, &other).await, first);
        world.advance(Duration::from_secs(1));
        let second = assertion(world, &token).await;
        let (_, claims) = accepted(&second, &certs(world).await);
        assert_eq!(claims["iat"], world.now().as_secs());
        let (_, metrics) = world.plain("/metrics").await;
        assert!(metrics.contains("countersign_assertions_minted_total 4\n"), "{metrics}");
    });
}

/// All who ask while it is being made get the same one.
#[test]
fn it_is_made_once_for_all_who_wait() {
    on_both(async |world| {
        tend(world).await;
        let token = world.issue_default().await;
        let asked = || assertion(world, &token);
        let (one, two, three) = tokio::join!(asked(), asked(), asked());
        assert!(one == two && two == three);
    });
}

#[test]
fn it_is_forgotten_when_its_token_changes() {
    on_both(async |world| {
        tend(world).await;
        let token = world.issue_default().await;
        let writer = world.writer();
        let mut before = assertion(world, &token).await;
        let changed = async |before: &mut String, what: &str| {
            let after = assertion(world, &token).await;
            assert_ne!(after, *before, "{what}");
            *before = after;
        };
        world.advance(Duration::from_secs(1));
        writer.put(&token.path, &json!({"enabled": false})).await.ok();
        assert_eq!(ask(world, &token, AUDIENCE).await, (Verdict::refused(401, "disabled"), None));
        writer.put(&token.path, &json!({"enabled": true})).await.ok();
        changed(&mut before, "switched off and on").await;
        world.advance(Duration::from_secs(1));
        writer.put(&token.path, &json!({"duration": "48h"})).await.ok();
        changed(&mut before, "another duration").await;
        world.advance(2 * DAY);
        assert_eq!(ask(world, &token, AUDIENCE).await, (Verdict::refused(401, "expired"), None));
        writer.act(&format!("{}/refresh", token.path)).await.ok();
        changed(&mut before, "expired and refreshed").await;
        writer.delete(&token.path).await.ok();
        assert_eq!(ask(world, &token, AUDIENCE).await, (Verdict::refused(401, "invalid"), None));
    });
}

/// The form of the contract: two keys, the second of which signs, and the same keys in certificates.
#[test]
fn keys_are_published_on_both_listeners() {
    on_both(async |world| {
        let empty = json!({"keys": [], "public_cert": null, "public_certs": []});
        assert_eq!(certs(world).await, empty);
        tend(world).await;
        tend(world).await;
        let published = certs(world).await;
        let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(fields(&published), ["keys", "public_cert", "public_certs"]);
        let keys = published["keys"].as_array().unwrap();
        assert_eq!(keys.len(), 2);
        for (key, cert) in keys.iter().zip(published["public_certs"].as_array().unwrap()) {
            assert_eq!(fields(key), ["alg", "e", "kid", "kty", "n", "use"]);
            assert_eq!((&key["kty"], &key["alg"], &key["use"]), (&json!("RSA"), &json!("RS256"), &json!("sig")));
            assert_eq!(key["e"], "AQAB");
            assert_eq!(unbase64url(key["n"].as_str().unwrap()).len(), 256);
            let kid = key["kid"].as_str().unwrap();
            assert!(kid.len() == 64 && kid.bytes().all(|byte| b"0123456789abcdef".contains(&byte)));
            assert_eq!(fields(cert), ["cert", "kid"]);
            assert_eq!(cert["kid"], key["kid"]);
            let pem = cert["cert"].as_str().unwrap();
            assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n"), "{pem}");
            assert!(pem.trim_end().ends_with("\n-----END CERTIFICATE-----"), "{pem}");
        }
        assert_eq!(published["public_cert"], published["public_certs"][1]);
        let (head, _) = accepted(&assertion(world, &world.issue_default().await).await, &published);
        assert_eq!(head["kid"], published["public_cert"]["kid"]);
        assert_eq!(world.ask_path(CERTS).await, (200, published));
    });
}

/// Half a year: whoever looks for keys once a day has always known the one that signs.
#[test]
fn keys_rotate_by_themselves() {
    on_both(async |world| {
        tend(world).await;
        let mut known = BTreeMap::new();
        let mut signed = Vec::new();
        let mut last = String::new();
        for day in 0..180 {
            // A token that was not seen before has its assertion made now.
            let token = world.issue_default().await;
            let now = certs(world).await;
            let assertion = assertion(world, &token).await;
            let (head, _) = accepted(&assertion, &now);
            let kid = head["kid"].as_str().unwrap().to_owned();
            assert!(day == 0 || known.contains_key(&kid), "day {day}: nobody was told of it yesterday");
            if signed.last() != Some(&(kid.clone())) {
                signed.push(kid);
            }
            if !last.is_empty() {
                accepted(&last, &now);
            }
            last = assertion;
            known = kids(&now).into_iter().map(|kid| (kid, ())).collect();
            assert!(known.len() <= 2, "day {day}");
            tend(world).await;
            world.advance(DAY);
        }
        assert_eq!(signed.len(), 5, "0, 42, 84, 126, 168 days");
        let actions: Vec<String> = world.audit(0).await.into_iter().map(|event| event.action).collect();
        let count = |action: &str| actions.iter().filter(|known| *known == action).count();
        assert_eq!(count("assertion_key.create"), 6);
        assert_eq!(count("assertion_key.delete"), 4);
    });
}

#[test]
fn keys_of_another_process_are_taken_over() {
    on_both(async |world| {
        let outside = world.open_outside().await;
        outside.ops.tend_assertion_keys().await.unwrap();
        assert_eq!(kids(&certs(world).await).len(), 0);
        world.ops().begin_assertion_keys().await.unwrap();
        let first = kids(&certs(world).await);
        assert_eq!(first.len(), 1, "one is enough to begin with");
        // Two that look at the same time make one key.
        let (one, other) = tokio::join!(outside.ops.tend_assertion_keys(), world.ops().tend_assertion_keys());
        one.unwrap();
        other.unwrap();
        tend(world).await;
        let both = kids(&certs(world).await);
        assert_eq!((both.len(), &both[1]), (2, &first[0]));
        outside.close().await;

        // A server that starts anew has the same ones.
        let before = assertion(world, &world.issue_default().await).await;
        world.restart().await;
        world.ops().begin_assertion_keys().await.unwrap();
        assert_eq!(kids(&certs(world).await), both);
        accepted(&before, &certs(world).await);
    });
}

#[test]
fn private_keys_are_kept_closed() {
    on_both(async |world| {
        tend(world).await;
        let key = world.ops().store().list_assertion_keys().await.unwrap().remove(0);
        assert!(key.closed.len() > 2 * 1000, "a private key of 2048 bits");
        // What PKCS #8 of an RSA key begins with, and a digit of hexadecimal more.
        assert!(!key.closed.contains("0609608648") && !key.closed.contains("06092a864886f70d010101"));
    });
}

// === The management API

fn keys(world: &World) -> String {
    format!("/accounts/{}/access/keys", world.account)
}

#[test]
fn the_owner_rotates() {
    on_both(async |world| {
        tend(world).await;
        tend(world).await;
        let (path, rotate) = (keys(world), format!("{}/rotate", keys(world)));
        let made_at = world.now().to_string();
        let shown = |days: u32, left: u32, at: &str| json!({"key_rotation_interval_days": days, "days_until_next_rotation": left, "last_key_rotation_at": at});
        for actor in world.writers().into_iter().chain([world.reader()]) {
            assert_eq!(actor.get(&path).await.ok(), shown(42, 42, &made_at));
        }
        world.advance(HOUR);
        let owner = world.owner_token();
        assert_eq!(owner.get(&path).await.ok(), shown(42, 42, &made_at), "a day that has begun counts");

        // The next key was published an hour ago: it signs tomorrow.
        let end = world.audit_end().await;
        let [next, first] = <[String; 2]>::try_from(kids(&certs(world).await)).unwrap();
        assert_eq!(owner.act(&rotate).await.ok(), shown(42, 1, &made_at));
        assert_eq!(owner.act(&rotate).await.ok(), shown(42, 1, &made_at), "once is enough");
        world.advance(23 * HOUR - Duration::from_secs(1));
        let (head, _) = accepted(&assertion(world, &world.issue_default().await).await, &certs(world).await);
        assert_eq!(head["kid"], first);
        world.advance(Duration::from_secs(1));
        let rotated_at = world.now().to_string();
        assert_eq!(world.owner_key().get(&path).await.ok(), shown(42, 42, &rotated_at));
        let (head, _) = accepted(&assertion(world, &world.issue_default().await).await, &certs(world).await);
        assert_eq!(head["kid"], next);
        assert_eq!(owner.act(&rotate).await.ok(), shown(42, 42, &rotated_at), "it has just been done");

        // With the key before still published there is none that comes next.
        world.advance(2 * DAY);
        assert_eq!(kids(&certs(world).await), [first.clone(), next.clone()]);
        assert_eq!(owner.act(&rotate).await.ok(), shown(42, 1, &rotated_at));
        let three = kids(&certs(world).await);
        assert_eq!((three.len(), &three[1], &three[2]), (3, &next, &first));
        world.advance(DAY);
        let (head, _) = accepted(&assertion(world, &world.issue_default().await).await, &certs(world).await);
        assert_eq!(head["kid"], three[0]);
        let actions: Vec<String> = world.audit(end).await.into_iter().map(|event| event.action).collect();
        let of_keys: Vec<&str> =
            actions.iter().map(String::as_str).filter(|action| action.starts_with("assertion_key")).collect();
        assert_eq!(of_keys, ["assertion_key.rotate", "assertion_key.create", "assertion_key.rotate"]);
    });
}

#[test]
fn the_interval_can_be_set() {
    on_both(async |world| {
        tend(world).await;
        tend(world).await;
        let (owner, path) = (world.owner_key(), keys(world));
        let days = |days: Value| json!({"key_rotation_interval_days": days});
        for (wanted, left) in [(json!(21), 21), (json!(365), 365), (json!(30.0), 30)] {
            let shown = owner.put(&path, &days(wanted.clone())).await.ok();
            assert_eq!(shown["key_rotation_interval_days"].as_f64(), wanted.as_f64());
            assert_eq!(shown["days_until_next_rotation"], left);
            assert_eq!(owner.get(&path).await.ok(), shown);
        }
        let end = world.audit_end().await;
        owner.put(&path, &days(json!(30))).await.ok();
        for wrong in [json!(20), json!(366), json!(0), json!(-1), json!(30.5), json!("30"), json!(null), json!({})] {
            owner.put(&path, &days(wrong)).await.invalid_field("key_rotation_interval_days");
        }
        owner.put(&path, &json!({})).await.invalid_field("key_rotation_interval_days");
        assert_eq!(world.audit_end().await, end, "what changes nothing leaves nothing");
        world.advance(29 * DAY);
        let first = certs(world).await["public_cert"]["kid"].clone();
        world.advance(DAY);
        assert_ne!(certs(world).await["public_cert"]["kid"], first);
    });
}

/// The keys are those of all accounts: who has rights on one of them may look.
#[test]
fn nobody_else_rotates() {
    on_both(async |world| {
        tend(world).await;
        let (path, rotate) = (keys(world), format!("{}/rotate", keys(world)));
        let before = world.owner_key().get(&path).await.ok();
        let end = world.audit_end().await;
        let body = json!({"key_rotation_interval_days": 21});
        for actor in [world.writer(), world.member(), world.api_token(), world.reader(), world.stranger()] {
            actor.put(&path, &body).await.refused(403, 10000);
            actor.act(&rotate).await.refused(403, 10000);
        }
        world.stranger().get(&path).await.refused(403, 10000);
        assert_eq!(world.owner_key().get(&path).await.ok(), before);
        assert_eq!(world.audit_end().await, end);
    });
}
