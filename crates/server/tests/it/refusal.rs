//! What the gate refuses is in the audit log, if anybody's token was named.

use std::time::Duration;

use countersign_store::RecordedEvent;
use serde_json::{Value, json};

use crate::world::{Issued, World, on_both};

/// What was recorded of what the gate has refused since `before`: action, reason and number.
async fn recorded(world: &World, before: i64) -> Vec<(RecordedEvent, String, u64)> {
    world.record_refusals().await;
    let events = world.audit(before).await;
    let details = events.into_iter().map(|event| {
        let detail: Value = serde_json::from_str(&event.detail).unwrap();
        (event, detail["reason"].as_str().unwrap().to_owned(), detail["count"].as_u64().unwrap())
    });
    details.collect()
}

#[test]
fn a_wrong_secret_is_recorded_and_a_foreign_id_is_not() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let before = world.audit_end().await;
        let first_at = world.now();
        for _ in 0..3 {
            world.assert_refused(&token, "wrong", "invalid").await;
            world.advance(Duration::from_secs(1));
        }
        let nobody = Issued { client_id: format!("{}.access", "0".repeat(32)), ..token.clone() };
        world.assert_refused(&nobody, "wrong", "invalid").await;
        world.assert_admitted(&token).await;
        let events = recorded(world, before).await;
        assert_eq!(events.len(), 1, "{events:?}");
        let (event, reason, count) = &events[0];
        assert_eq!((reason.as_str(), *count, event.action.as_str()), ("invalid", 3, "service_token.refused"));
        assert_eq!((event.subject_kind.as_str(), event.subject_id.as_str()), ("service_token", token.id.as_str()));
        assert_eq!((event.actor_kind.as_str(), event.actor_id.as_str()), ("unknown", ""));
        assert_eq!((event.account, event.at), (Some(world.account), world.now()));
        assert_eq!(event.address.as_deref(), Some("192.0.2.7"));
        let detail: Value = serde_json::from_str(&event.detail).unwrap();
        assert_eq!(detail["first_at"], json!(first_at.to_string()));
        // Others of the same kind wait for an hour.
        world.assert_refused(&token, "other", "invalid").await;
        assert!(recorded(world, event.seq).await.is_empty());
        world.advance(Duration::from_secs(3600));
        world.assert_refused(&token, "other", "invalid").await;
        let events = recorded(world, event.seq).await;
        assert_eq!(events.iter().map(|(_, _, count)| *count).collect::<Vec<_>>(), [2]);
    });
}

#[test]
fn the_right_secret_of_a_token_that_is_not_good_is_recorded() {
    on_both(async |world| {
        let tokens = world.tokens();
        let token = world.issue(&tokens, json!({"name": "x", "duration": "1h"})).await;
        let id = token.id.clone();
        let check = async |before: i64, expected: &str| {
            let events = recorded(world, before).await;
            assert_eq!(events.len(), 1, "{expected}: {events:?}");
            let (event, reason, _) = &events[0];
            assert_eq!((event.action.as_str(), reason.as_str()), ("service_token.refused", expected));
            assert_eq!((event.actor_kind.as_str(), &event.actor_id), ("service_token", &id), "it has shown its secret");
            assert_eq!(event.subject_id, id);
        };
        let before = world.audit_end().await;
        let headers = [("cf-access-client-id", token.client_id.as_str()), ("cf-access-client-secret", &token.secret)];
        let foreign = world.foreign_tokens();
        let elsewhere = format!("account_id={}", foreign.split('/').nth(2).unwrap());
        assert_eq!(world.ask(&elsewhere, &headers).await.reason, "not_permitted");
        check(before, "not_permitted").await;
        world.writer().put(&token.path, &json!({"enabled": false})).await.ok();
        let before = world.audit_end().await;
        world.assert_refused(&token, &token.secret, "disabled").await;
        check(before, "disabled").await;
        world.writer().put(&token.path, &json!({"enabled": true})).await.ok();
        world.advance(Duration::from_secs(3601));
        let before = world.audit_end().await;
        world.assert_refused(&token, &token.secret, "expired").await;
        check(before, "expired").await;
        // A deleted one is nobody's any more.
        world.writer().delete(&token.path).await.ok();
        let before = world.audit_end().await;
        world.assert_refused(&token, &token.secret, "invalid").await;
        assert!(recorded(world, before).await.is_empty());
    });
}

#[test]
fn a_refused_api_token_is_recorded() {
    on_both(async |world| {
        let token = world.token().await;
        world.prefactor().do_to(&token, "suspend").await.ok();
        let before = world.audit_end().await;
        world.assert_bad(&token, "disabled").await;
        let events = recorded(world, before).await;
        assert_eq!(events.len(), 1, "{events:?}");
        let (event, reason, count) = &events[0];
        assert_eq!((event.action.as_str(), reason.as_str(), *count), ("api_token.refused", "disabled", 1));
        assert_eq!((event.subject_id.as_str(), event.account), (token.id.as_str(), Some(world.account)));
        // A string that nobody has been given names no token.
        assert_eq!(world.ask_bearer(&format!("account_id={}", world.account), "a.b.c").await.reason, "invalid");
        assert!(recorded(world, event.seq).await.is_empty());
    });
}

#[test]
fn a_proxy_of_ours_says_where_a_refused_attempt_came_from() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let account = format!("account_id={}", world.account);
        let attempt = async |world: &World, said: &str| {
            let before = world.audit_end().await;
            let headers = [
                ("x-forwarded-for", said),
                ("cf-access-client-id", &token.client_id),
                ("cf-access-client-secret", "no"),
            ];
            assert_eq!(world.ask(&account, &headers).await.reason, "invalid");
            recorded(world, before).await.into_iter().map(|(event, ..)| event.address.unwrap()).collect::<Vec<_>>()
        };
        // Nobody is believed who is not named.
        assert_eq!(attempt(world, "198.51.100.1").await, ["192.0.2.7"]);
        world.proxies = "192.0.2.0/24, 10.0.0.0/8".parse().unwrap();
        world.restart().await;
        assert_eq!(attempt(world, "203.0.113.1, 198.51.100.2, 10.0.0.9").await, ["198.51.100.2"]);
        assert_eq!(attempt(world, "2001:db8::1").await, ["2001:db8::1"]);
    });
}
