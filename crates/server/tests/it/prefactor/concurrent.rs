//! Many at once: cases 67 and 80 of the contract.

use serde_json::json;

use crate::world::on_both;
use crate::world::prefactor::{Token, join_all};

#[test]
fn case_67_two_suspends_at_once() {
    on_both(async |world| {
        for count in [2, 10] {
            let token = world.token().await;
            let caller = world.prefactor();
            let answers = join_all((0..count).map(|_| caller.do_to(&token, "suspend"))).await;
            let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
            statuses.sort_unstable();
            assert_eq!(statuses[..2], [200, 409]);
            assert!(statuses[1..].iter().all(|status| *status == 409));
            for answer in answers.iter().filter(|answer| answer.status == 409) {
                answer.refused(409, "invalid_action");
            }
            world.assert_bad(&token, "disabled").await;
        }
    });
}

/// Whatever order they come in, one of them is the last, and the answers tell one story.
#[test]
fn different_actions_at_once() {
    on_both(async |world| {
        let caller = world.prefactor();
        for actions in [["suspend", "revoke"], ["revoke", "suspend"], ["revoke", "delete"], ["activate", "suspend"]] {
            let token = world.token().await;
            let answers = join_all(actions.map(|action| caller.do_to(&token, action))).await;
            let done = |action: &str| answers[actions.iter().position(|known| *known == action).unwrap()].status == 200;
            let shown = caller.get(&token.path).await;
            match actions {
                ["suspend", "revoke"] | ["revoke", "suspend"] => {
                    assert!(done("revoke"), "both states can be revoked");
                    assert_eq!(shown.details()["status"], "revoked");
                }
                ["revoke", "delete"] => {
                    assert!(done("revoke"));
                    assert_eq!(shown.status.as_u16(), if done("delete") { 404 } else { 200 });
                }
                _ => {
                    assert!(done("suspend"));
                    let status = if done("activate") { "active" } else { "suspended" };
                    assert_eq!(shown.details()["status"], status);
                }
            }
        }
    });
}

#[test]
fn case_80_twenty_identical_creates_at_once() {
    on_both(async |world| {
        let caller = world.prefactor();
        let body = json!({"details": {"token_scope": "account"}, "idempotency_key": "K"});
        let answers = join_all((0..20).map(|_| caller.post("/api_token", &body))).await;
        assert_eq!(answers.iter().filter(|answer| !answer.is_replay()).count(), 1, "one of them made it");
        let tokens: Vec<Token> = answers.into_iter().map(Token::of).collect();
        assert!(tokens.iter().all(|token| token.id == tokens[0].id && token.secret == tokens[0].secret));
        assert_eq!(caller.count("/api_token").await, 2);
        world.assert_good(&tokens[0]).await;
    });
}

#[test]
fn different_creates_with_one_key_at_once() {
    on_both(async |world| {
        let caller = world.prefactor();
        let bodies: Vec<_> = (1..=10)
            .map(|days| {
                let expires_at = world.after(crate::world::DAY * days);
                json!({"details": {"token_scope": "account", "expires_at": expires_at}, "idempotency_key": "K"})
            })
            .collect();
        let answers = join_all(bodies.iter().map(|body| caller.post("/api_token", body))).await;
        let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!(made.len(), 1);
        for answer in refused {
            answer.refused(409, "idempotency_key_already_used");
        }
        assert_eq!(caller.count("/api_token").await, 2);
    });
}

/// Two who want the first token of a deployment at once get one each, of the same deployment.
#[test]
fn one_deployment_for_tokens_made_at_once() {
    on_both(async |world| {
        let agent = world.agent().await;
        let tokens = join_all((0..8).map(|_| world.deployment_token(&agent, &world.environment))).await;
        let deployment = &tokens[0].details["agent_deployment_id"];
        assert!(tokens.iter().all(|token| token.details["agent_deployment_id"] == *deployment));
        assert_eq!(world.prefactor().ids(&format!("/agent_deployment?agent_id={agent}")).await.len(), 1);
        let mut ids: Vec<&str> = tokens.iter().map(|token| token.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 8);
    });
}

/// A token made while its environment is being deleted is either refused, or of no use.
#[test]
fn creating_and_deleting_at_once() {
    on_both(async |world| {
        for _ in 0..5 {
            let environment = world.new_environment().await;
            let caller = world.prefactor();
            let path = format!("/environment/{environment}");
            let body = json!({"details": {"token_scope": "environment", "environment_id": environment}});
            let (create, delete) = (caller.post("/api_token", &body), caller.delete(&path));
            let answers =
                join_all([Box::pin(create) as std::pin::Pin<Box<dyn Future<Output = _>>>, Box::pin(delete)]).await;
            let [created, deleted] = <[_; 2]>::try_from(answers).unwrap();
            deleted.ok();
            if created.status == 200 {
                world.assert_bad(&Token::of(created), "invalid").await;
            } else {
                created.refused(404, "not_found");
            }
        }
    });
}

/// An id that a client chose is given once, however many choose it at once.
#[test]
fn one_id_chosen_at_once() {
    on_both(async |world| {
        let caller = world.prefactor();
        let ids = caller.post("/pfid/generate", &json!({"count": 1})).await.ok();
        let body = json!({"details": {"name": "x", "id": ids["pfids"][0]}});
        let answers = join_all((0..6).map(|_| caller.post("/environment", &body))).await;
        let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!(made.len(), 1);
        for answer in refused {
            answer.invalid("details.id", "invalid_value");
        }
        assert_eq!(caller.count("/environment").await, 2);
    });
}
