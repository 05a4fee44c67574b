//! What the gate makes of API tokens.

use crate::world::prefactor::Token;
use crate::world::{HOUR, Verdict, World, on_both};
use http::HeaderMap;
use serde_json::json;

async fn headers(world: &World, query: &str, token: &Token) -> HeaderMap {
    let bearer = format!("Bearer {}", token.secret);
    let (verdict, headers) = world.ask_whole(query, &[("authorization", &bearer)]).await;
    assert_eq!(verdict, Verdict::admitted(), "{query}");
    headers
}

/// The demand decides where a token is good.
#[test]
fn a_token_is_good_where_it_is_demanded() {
    on_both(async |world| {
        let agent = world.agent().await;
        let second = world.new_environment().await;
        let tokens = [
            world.token().await,
            world.environment_token(&world.environment).await,
            world.environment_token(&second).await,
            world.deployment_token(&agent, &world.environment).await,
            world.deployment_token(&agent, &second).await,
            world.foreign_prefactor().create(json!({"token_scope": "account"})).await,
        ];
        let admitted = async |query: String| {
            let mut admitted = Vec::new();
            for token in &tokens {
                let verdict = world.ask_bearer(&query, &token.secret).await;
                match verdict.status {
                    200 => admitted.push(1),
                    _ => {
                        assert_eq!(verdict, Verdict::refused(403, "not_permitted"), "{query}");
                        admitted.push(0);
                    }
                }
            }
            admitted
        };
        for account in [world.account.to_string(), world.account_pfid.clone()] {
            assert_eq!(admitted(format!("account_id={account}")).await, [1, 1, 1, 1, 1, 0]);
            let both = format!("account_id={account}&environment_id={second}");
            assert_eq!(admitted(both).await, [1, 0, 1, 0, 1, 0]);
        }
        for account in [world.foreign_account.to_string(), world.foreign_account_pfid.clone()] {
            assert_eq!(admitted(format!("account_id={account}")).await, [0, 0, 0, 0, 0, 1]);
            let contradiction = format!("account_id={account}&environment_id={second}");
            assert_eq!(admitted(contradiction).await, [0, 0, 0, 0, 0, 0]);
        }
        assert_eq!(admitted(format!("environment_id={}", world.environment)).await, [1, 1, 0, 1, 0, 0]);
        assert_eq!(admitted(format!("environment_id={second}")).await, [1, 0, 1, 0, 1, 0]);
        assert_eq!(admitted(format!("environment_id={}", world.foreign_environment)).await, [0, 0, 0, 0, 0, 1]);
        assert_eq!(admitted(format!("environment_id={}", super::NOBODY)).await, [0; 6]);
        // A zone's is no API token, and a list of service tokens names none.
        assert_eq!(admitted(format!("zone_id={}", world.zone)).await, [0; 6]);
        let service_token = world.issue_default().await;
        let named = format!("account_id={}&service_token_id={}", world.account, service_token.id);
        assert_eq!(admitted(named).await, [0; 6]);
        // Nothing and nonsense are no demand.
        for query in ["", "environment_id=x", "account_id=x", &format!("environment_id={}", second.to_uppercase())] {
            let verdict = world.ask_bearer(query, &tokens[0].secret).await;
            assert_eq!(verdict, Verdict::refused(403, "no_demand"), "{query}");
        }
        // Service tokens are of no environment.
        let pair = [
            ("cf-access-client-id", service_token.client_id.as_str()),
            ("cf-access-client-secret", &service_token.secret),
        ];
        let verdict = world.ask(&format!("environment_id={}", world.environment), &pair).await;
        assert_eq!(verdict, Verdict::refused(403, "not_permitted"));
    });
}

#[test]
fn what_the_gate_says_of_a_token() {
    on_both(async |world| {
        let agent = world.agent().await;
        let account = format!("account_id={}", world.account_pfid);
        let (plain, scoped, deployed) = (
            world.token().await,
            world.environment_token(&world.environment).await,
            world.deployment_token(&agent, &world.environment).await,
        );
        for (token, environment) in
            [(&plain, None), (&scoped, Some(&world.environment)), (&deployed, Some(&world.environment))]
        {
            let headers = headers(world, &account, token).await;
            let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!(header("countersign-kind"), Some("api_token"));
            assert_eq!(header("countersign-token-id"), Some(token.id.as_str()));
            assert_eq!(header("countersign-account-id"), Some(world.account_pfid.as_str()));
            assert_eq!(header("countersign-environment-id"), environment.map(String::as_str));
            assert_eq!(header("cache-control"), Some("no-store"));
            for absent in
                ["countersign-token-name", "countersign-client-id", "countersign-zone-id", "countersign-reason"]
            {
                assert_eq!(header(absent), None);
            }
        }
    });
}

async fn assert_not_good(world: &World, token: &Token, reason: &str) {
    for query in [
        format!("account_id={}", world.account),
        format!("environment_id={}", world.environment),
        format!("account_id={}", world.foreign_account),
        format!("zone_id={}", world.zone),
    ] {
        let bearer = format!("Bearer {}", token.secret);
        let (verdict, headers) = world.ask_whole(&query, &[("authorization", &bearer)]).await;
        assert_eq!(verdict, Verdict::refused(401, reason), "{query}");
        assert!(headers.contains_key("www-authenticate"));
    }
}

/// State comes before demand, and once the secret was right the word says why.
#[test]
fn what_the_gate_says_of_one_that_is_not_good() {
    on_both(async |world| {
        let caller = world.prefactor();
        let make = async || caller.create(json!({"token_scope": "account", "expires_at": world.after(HOUR)})).await;
        let (expired, suspended, revoked, deleted) = (make().await, make().await, make().await, make().await);
        caller.do_to(&suspended, "suspend").await.ok();
        caller.do_to(&revoked, "revoke").await.ok();
        caller.do_to(&deleted, "revoke").await.ok();
        caller.do_to(&deleted, "delete").await.ok();
        for _ in 0..2 {
            assert_not_good(world, &suspended, "disabled").await;
            assert_not_good(world, &revoked, "revoked").await;
            assert_not_good(world, &deleted, "invalid").await;
            world.restart().await;
        }
        world.assert_good(&expired).await;
        world.advance(HOUR);
        assert_not_good(world, &expired, "expired").await;
        // What was taken away stays taken away when its time is up.
        assert_not_good(world, &suspended, "disabled").await;
        assert_not_good(world, &revoked, "revoked").await;
        assert_not_good(world, &deleted, "invalid").await;
    });
}

#[test]
fn only_a_bearer_is_looked_at() {
    on_both(async |world| {
        let token = world.token().await;
        let account = format!("account_id={}", world.account);
        for scheme in ["bearer", "BEARER", "Bearer"] {
            let value = format!("{scheme} {}", token.secret);
            assert_eq!(world.ask(&account, &[("authorization", &value)]).await, Verdict::admitted(), "{scheme}");
        }
        let basic = format!("Basic {}", token.secret);
        assert_eq!(world.ask(&account, &[("authorization", &basic)]).await, Verdict::refused(401, "missing"));
        let bearer = format!("Bearer {}", token.secret);
        let twice = [("authorization", bearer.as_str()), ("authorization", &bearer)];
        assert_eq!(world.ask(&account, &twice).await, Verdict::refused(401, "malformed"));
        // A pair decides where there is one.
        let pair = world.issue_default().await;
        let wrong = [
            ("authorization", bearer.as_str()),
            ("cf-access-client-id", &pair.client_id),
            ("cf-access-client-secret", "wrong"),
        ];
        assert_eq!(world.ask(&account, &wrong).await, Verdict::refused(401, "invalid"));
        // A token is no secret of a pair.
        let as_pair = [("cf-access-client-id", token.id.as_str()), ("cf-access-client-secret", &token.secret)];
        assert_eq!(world.ask(&account, &as_pair).await.status, 401);
        assert_eq!(world.prefactor().show(&token).await["last_used_at"], world.now().to_string());
    });
}

/// A look at the gate is a use, a refusal is none.
#[test]
fn the_gate_marks_what_it_admits() {
    on_both(async |world| {
        let (used, refused) = (world.token().await, world.token().await);
        world.prefactor().do_to(&refused, "suspend").await.ok();
        world.advance(HOUR);
        let at = world.now().to_string();
        assert_eq!(world.gate_says(&used).await, Verdict::admitted());
        assert_eq!(world.gate_says(&refused).await, Verdict::refused(401, "disabled"));
        world.nobody().with_token(&refused.secret).get("/ping").await.refused(401, "bad_authtoken");
        world.advance(HOUR);
        for _ in 0..2 {
            let shown = world.prefactor().show(&used).await;
            assert_eq!((&shown["last_used_at"], &shown["updated_at"]), (&json!(at), &used.details["updated_at"]));
            assert_eq!(world.prefactor().show(&refused).await["last_used_at"], json!(null));
            // And the mark is kept.
            world.restart().await;
        }
    });
}

/// Another process takes an environment away: when its call returns, the running server has learned of it.
#[test]
fn what_another_process_takes_away() {
    on_both(async |world| {
        let environment = world.new_environment().await;
        let (token, account) = (world.environment_token(&environment).await, world.token().await);
        world.assert_good(&token).await;
        let outside = world.open_outside().await;
        outside.delete_environment(world, &environment).await;
        world.assert_bad(&token, "invalid").await;
        outside.suspend(world, &account).await;
        world.assert_bad(&account, "disabled").await;
        outside.close().await;
        assert_eq!(world.prefactor().show(&account).await["status"], "suspended");
        world.prefactor().get(&format!("/environment/{environment}")).await.refused(404, "not_found");
    });
}
