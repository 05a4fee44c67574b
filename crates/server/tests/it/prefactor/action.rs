//! Suspending, activating, revoking and deleting tokens: cases 54 to 66 and 95 of the contract.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::prefactor::Token;
use crate::world::{HOUR, START, World, on_both};

const ACTIONS: [&str; 4] = ["suspend", "activate", "revoke", "delete"];

/// A new token that is brought into a state.
async fn in_state(world: &World, state: &str) -> Token {
    let token = world.token().await;
    let way: &[&str] = match state {
        "active" => &[],
        "suspended" => &["suspend"],
        "revoked" => &["suspend", "activate", "revoke"],
        "deleted" => &["revoke", "delete"],
        other => panic!("{other}"),
    };
    for action in way {
        world.prefactor().do_to(&token, action).await.ok();
    }
    token
}

fn after(state: &str, action: &str) -> Option<&'static str> {
    match (state, action) {
        ("active", "suspend") => Some("suspended"),
        ("suspended", "activate") => Some("active"),
        ("active" | "suspended", "revoke") | ("revoked", "delete") => Some("revoked"),
        _ => None,
    }
}

/// Every action in every state, with an end that is ahead and one that is past.
#[test]
fn every_action_in_every_state() {
    on_both(async |world| {
        let caller = world.prefactor();
        for (state, reason) in [("active", None), ("suspended", Some("disabled")), ("revoked", Some("revoked"))] {
            for action in ACTIONS {
                let token = in_state(world, state).await;
                let before = caller.show(&token).await;
                assert_eq!(before["status"], state);
                world.advance(HOUR);
                let answer = caller.do_to(&token, action).await;
                match after(state, action) {
                    Some(status) => {
                        let details = answer.details();
                        assert_eq!((&details["status"], &details["id"]), (&json!(status), &json!(token.id)));
                        assert_eq!(details["expires_at"], token.details["expires_at"]);
                        if action == "delete" {
                            world.assert_bad(&token, "invalid").await;
                        } else {
                            assert_eq!(details["updated_at"], world.now().to_string());
                            assert_eq!(caller.show(&token).await, details);
                        }
                    }
                    None => {
                        let message = answer.refused(409, "invalid_action");
                        assert!(message.contains(state), "{message}");
                        assert_eq!(caller.show(&token).await, before, "nothing changed");
                        match reason {
                            None => world.assert_good(&token).await,
                            Some(reason) => world.assert_bad(&token, reason).await,
                        }
                    }
                }
            }
        }
        for action in ACTIONS {
            let token = in_state(world, "deleted").await;
            caller.do_to(&token, action).await.refused(404, "not_found");
        }
    });
}

/// An end is no state: what has ended can still be changed, and does not come back.
#[test]
fn an_expired_token_keeps_its_actions() {
    on_both(async |world| {
        let caller = world.prefactor();
        for (state, reason) in [("active", "expired"), ("suspended", "disabled"), ("revoked", "revoked")] {
            for action in ACTIONS {
                let token = caller.create(json!({"token_scope": "account", "expires_at": world.after(HOUR)})).await;
                for action in match state {
                    "active" => &[][..],
                    "suspended" => &["suspend"],
                    _ => &["revoke"],
                } {
                    caller.do_to(&token, action).await.ok();
                }
                world.advance(HOUR);
                world.assert_bad(&token, reason).await;
                let answer = caller.do_to(&token, action).await;
                let reason = match after(state, action) {
                    Some(status) => {
                        let details = answer.details();
                        assert_eq!(details["status"], status);
                        assert_eq!(details["expires_at"], token.details["expires_at"], "no action makes it longer");
                        match (action, status) {
                            ("delete", _) => "invalid",
                            (_, "active") => "expired",
                            (_, "suspended") => "disabled",
                            _ => "revoked",
                        }
                    }
                    None => {
                        answer.refused(409, "invalid_action");
                        reason
                    }
                };
                world.assert_bad(&token, reason).await;
            }
        }
    });
}

#[test]
fn case_54_suspending() {
    on_both(async |world| {
        let token = world.token().await;
        world.assert_good(&token).await;
        let answer = world.prefactor().post(&format!("{}/suspend", token.path), &json!({})).await;
        assert!(answer.header("countersign-propagation").is_some(), "it takes something away: {answer}");
        let details = answer.details();
        assert_eq!(details["status"], "suspended");
        let actions = json!({"activate": true, "delete": false, "revoke": true, "suspend": false});
        assert_eq!(details["available_actions"], actions);
        world.assert_bad(&token, "disabled").await;
    });
}

#[test]
fn case_55_suspending_again() {
    on_both(async |world| {
        let token = in_state(world, "suspended").await;
        world.advance(HOUR);
        let answer = world.prefactor().do_to(&token, "suspend").await;
        answer.refused(409, "invalid_action");
        assert_eq!(world.prefactor().show(&token).await["updated_at"], START);
    });
}

#[test]
fn case_56_activating() {
    on_both(async |world| {
        let token = in_state(world, "suspended").await;
        let details = world.prefactor().do_to(&token, "activate").await.details();
        assert_eq!(details["status"], "active");
        world.assert_good(&token).await;
        for _ in 0..20 {
            world.prefactor().do_to(&token, "suspend").await.ok();
            world.assert_bad(&token, "disabled").await;
            world.prefactor().do_to(&token, "activate").await.ok();
            world.assert_good(&token).await;
        }
    });
}

#[test]
fn case_57_activating_what_is_active() {
    on_both(async |world| {
        let token = world.token().await;
        world.prefactor().do_to(&token, "activate").await.refused(409, "invalid_action");
        world.assert_good(&token).await;
    });
}

#[test]
fn case_58_deleting_what_is_not_revoked() {
    on_both(async |world| {
        let token = world.token().await;
        world.prefactor().do_to(&token, "delete").await.refused(409, "invalid_action");
        world.assert_good(&token).await;
        world.prefactor().do_to(&token, "suspend").await.ok();
        world.prefactor().do_to(&token, "delete").await.refused(409, "invalid_action");
        world.assert_bad(&token, "disabled").await;
    });
}

#[test]
fn case_59_revoking_what_is_suspended() {
    on_both(async |world| {
        let token = in_state(world, "suspended").await;
        let details = world.prefactor().do_to(&token, "revoke").await.details();
        assert_eq!(details["status"], "revoked");
        let actions = json!({"activate": false, "delete": true, "revoke": false, "suspend": false});
        assert_eq!(details["available_actions"], actions);
        world.assert_bad(&token, "revoked").await;
    });
}

#[test]
fn case_60_revoking_what_is_active() {
    on_both(async |world| {
        let token = world.token().await;
        let answer = world.prefactor().do_to(&token, "revoke").await;
        assert!(answer.header("countersign-propagation").is_some(), "it takes something away: {answer}");
        assert_eq!(answer.details()["status"], "revoked");
        world.assert_bad(&token, "revoked").await;
    });
}

#[test]
fn case_61_there_is_no_way_back() {
    on_both(async |world| {
        let token = in_state(world, "revoked").await;
        for action in ["suspend", "activate", "revoke"] {
            world.prefactor().do_to(&token, action).await.refused(409, "invalid_action");
            world.assert_bad(&token, "revoked").await;
        }
    });
}

#[test]
fn case_62_deleting() {
    on_both(async |world| {
        let token = in_state(world, "revoked").await;
        let mut before = world.prefactor().show(&token).await;
        world.advance(HOUR);
        let answer = world.prefactor().delete(&token.path).await;
        assert!(answer.header("countersign-propagation").is_some(), "it takes something away: {answer}");
        let body = answer.ok();
        before["available_actions"] = json!({"activate": false, "delete": false, "revoke": false, "suspend": false});
        assert_eq!(body, json!({"status": "success", "details": before}));
        world.assert_bad(&token, "invalid").await;
    });
}

#[test]
fn case_63_what_is_deleted_is_not_there() {
    on_both(async |world| {
        let token = in_state(world, "deleted").await;
        let caller = world.prefactor();
        caller.get(&token.path).await.refused(404, "not_found");
        for action in ACTIONS {
            caller.do_to(&token, action).await.refused(404, "not_found");
        }
        assert!(!caller.ids("/api_token").await.contains(&token.id));
        assert_eq!(caller.count("/api_token").await, 1);
    });
}

#[test]
fn case_64_no_body() {
    on_both(async |world| {
        let token = world.token().await;
        for (action, status) in [("suspend", "suspended"), ("activate", "active"), ("revoke", "revoked")] {
            let details = world.prefactor().act(&format!("{}/{action}", token.path)).await.details();
            assert_eq!(details["status"], status);
        }
    });
}

#[test]
fn case_65_a_key_that_is_null() {
    on_both(async |world| {
        let token = world.token().await;
        let body = json!({"idempotency_key": null});
        for (action, status) in
            [("suspend", "suspended"), ("activate", "active"), ("suspend", "suspended"), ("revoke", "revoked")]
        {
            let answer = world.prefactor().post(&format!("{}/{action}", token.path), &body).await;
            assert!(!answer.is_replay(), "{answer}");
            assert_eq!(answer.details()["status"], status);
        }
        world.prefactor().call(Method::DELETE, &token.path, body.to_string()).await.ok();
    });
}

#[test]
fn case_66_a_token_revokes_itself() {
    on_both(async |world| {
        let last = world.prefactor().ids("/api_token").await[0].clone();
        for (action, reason) in [("revoke", "revoked"), ("suspend", "disabled")] {
            let token = world.token().await;
            let itself = world.nobody().with_token(&token.secret);
            let details = itself.do_to(&token, action).await.details();
            assert_eq!(details["id"], token.id);
            itself.do_to(&token, "activate").await.refused(401, "bad_authtoken");
            world.assert_bad(&token, reason).await;
        }
        // The last one of an account too: there are other ways in.
        world.prefactor().act(&format!("/api_token/{last}/revoke")).await.ok();
        world.prefactor().get("/ping").await.refused(401, "bad_authtoken");
    });
}

/// Scoped tokens have the same life, and so do those whose agent or environment has gone.
#[test]
fn scoped_tokens_have_the_same_life() {
    on_both(async |world| {
        let agent = world.agent().await;
        let environment = world.new_environment().await;
        let caller = world.prefactor();
        for token in [world.environment_token(&environment).await, world.deployment_token(&agent, &environment).await] {
            world.assert_good(&token).await;
            caller.do_to(&token, "suspend").await.ok();
            world.assert_bad(&token, "disabled").await;
            caller.do_to(&token, "activate").await.ok();
            world.assert_good(&token).await;
        }
        let tokens = [world.environment_token(&environment).await, world.deployment_token(&agent, &environment).await];
        caller.delete(&format!("/environment/{environment}")).await.ok();
        for token in &tokens {
            world.assert_bad(token, "invalid").await;
            let shown = caller.show(token).await;
            assert_eq!((&shown["status"], &shown["environment_id"]), (&json!("active"), &json!(environment)));
            for (action, status) in [("suspend", "suspended"), ("activate", "active"), ("revoke", "revoked")] {
                assert_eq!(caller.do_to(token, action).await.details()["status"], status);
                world.assert_bad(token, "invalid").await;
            }
            caller.do_to(token, "delete").await.ok();
            caller.get(&token.path).await.refused(404, "not_found");
        }
    });
}

/// As a typed client asks: the key in a JSON body of a DELETE, and it reads status and details.
#[test]
fn case_95_deleting_with_a_body() {
    on_both(async |world| {
        let token = in_state(world, "revoked").await;
        let client = world.prefactor().with("content-type", "application/json");
        let body = json!({"idempotency_key": "0b7cbd4b-6bd4-4c2b-a4c4-0d2a6ae2b1f5"}).to_string();
        let answer = client.call(Method::DELETE, &token.path, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer}");
        let keys: Vec<&String> = answer.json.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 2, "{keys:?}");
        assert_ne!(answer.json["details"], Value::Null);
    });
}

/// What an action's body may hold beside the key is not looked at.
#[test]
fn actions_take_no_fields() {
    on_both(async |world| {
        let token = world.token().await;
        let body = json!({"details": {"status": "revoked"}, "status": "revoked", "x": [1]});
        let details = world.prefactor().post(&format!("{}/suspend", token.path), &body).await.details();
        assert_eq!(details["status"], "suspended");
        for body in ["[]", "5", "{", "null", "\"x\""] {
            let answer = world.prefactor().call(Method::POST, &format!("{}/activate", token.path), body).await;
            answer.refused(400, "bad_request");
        }
        world.assert_bad(&token, "disabled").await;
    });
}
