//! Creating a token: cases 9 to 27, 30 and 31 of the contract.

use std::time::Duration;

use countersign_token::id::Pfid;
use serde_json::{Value, json};

use super::NOBODY;
use crate::world::prefactor::Token;
use crate::world::{HOUR, START, YEAR, on_both};

const SECOND: Duration = Duration::from_secs(1);

/// Asks for a token that can't be made.
pub(super) async fn refused(world: &crate::world::World, details: Value) -> crate::world::prefactor::Answer {
    world.prefactor().post("/api_token", &json!({ "details": details })).await
}

#[test]
fn case_09_a_token_of_the_account() {
    on_both(async |world| {
        let token = world.token().await;
        let expected = json!({
            "type": "api_token",
            "id": token.id,
            "account_id": world.account_pfid,
            "token_scope": "account",
            "environment_id": null,
            "agent_deployment_id": null,
            "agent_id": null,
            "created_by_admin_user_id": null,
            "status": "active",
            "expires_at": world.after(YEAR),
            "last_used_at": null,
            "inserted_at": START,
            "updated_at": START,
            "available_actions": {"activate": false, "delete": false, "revoke": true, "suspend": true},
        });
        assert_eq!(token.details, expected);
        let parts: Vec<&str> = token.secret.split('.').collect();
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[0], "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9");
        world.assert_good(&token).await;
    });
}

#[test]
fn case_10_using_it_marks_it() {
    on_both(async |world| {
        let token = world.token().await;
        assert_eq!(world.prefactor().show(&token).await, token.details);
        world.advance(HOUR);
        world.nobody().with_token(&token.secret).get("/ping").await.ok();
        let used = world.now().to_string();
        world.advance(HOUR);
        let shown = world.prefactor().show(&token).await;
        assert_eq!(shown["last_used_at"], used);
        assert_eq!(shown["updated_at"], START, "use is no change");
        let listed = world.prefactor().get("/api_token").await.summaries();
        let listed = listed.iter().find(|row| row["id"] == *token.id).unwrap();
        assert_eq!(listed["last_used_at"], used);
        // The gate and the other dialect are uses too.
        world.assert_good(&token).await;
        assert_eq!(world.prefactor().show(&token).await["last_used_at"], world.now().to_string());
    });
}

#[test]
fn case_11_an_id_of_the_account() {
    on_both(async |world| {
        let account: Pfid = world.account_pfid.parse().unwrap();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..20 {
            let token = world.token().await;
            let id: Pfid = token.id.parse().unwrap();
            assert_eq!(id.partition(), account.partition());
            assert_eq!(i64::try_from(id.timestamp_ms()).unwrap(), world.now().as_micros() / 1000);
            assert_eq!(token.id, token.id.to_lowercase());
            assert!(seen.insert(token.id));
        }
        let foreign = world.foreign_prefactor().create(json!({"token_scope": "account"})).await;
        let partition = world.foreign_account_pfid.parse::<Pfid>().unwrap().partition();
        assert_eq!(foreign.id.parse::<Pfid>().unwrap().partition(), partition);
        assert_ne!(partition, account.partition());
    });
}

#[test]
fn case_12_a_token_of_an_environment() {
    on_both(async |world| {
        let token = world.environment_token(&world.environment).await;
        assert_eq!(token.details["token_scope"], "environment");
        assert_eq!(token.details["environment_id"], world.environment);
        assert_eq!((&token.details["agent_id"], &token.details["agent_deployment_id"]), (&Value::Null, &Value::Null));
        assert_eq!(world.prefactor().show(&token).await, token.details);
        world.assert_good(&token).await;
        let details = json!({"token_scope": "environment", "environment_id": world.environment, "agent_id": null});
        world.prefactor().create(details).await;
    });
}

#[test]
fn case_13_an_environment_is_required() {
    on_both(async |world| {
        for details in
            [json!({"token_scope": "environment"}), json!({"token_scope": "environment", "environment_id": null})]
        {
            refused(world, details).await.invalid("details.environment_id", "required_value");
        }
    });
}

#[test]
fn case_14_a_token_of_a_deployment_that_is_not_there_yet() {
    on_both(async |world| {
        let agent = world.agent().await;
        let deployments = format!("/agent_deployment?agent_id={agent}");
        assert_eq!(world.prefactor().ids(&deployments).await.len(), 0);
        let token = world.deployment_token(&agent, &world.environment).await;
        assert_eq!(token.details["token_scope"], "agent_deployment");
        assert_eq!(
            (&token.details["agent_id"], &token.details["environment_id"]),
            (&json!(agent), &json!(world.environment))
        );
        let listed = world.prefactor().get(&deployments).await.summaries();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0]["id"], token.details["agent_deployment_id"]);
        assert_eq!((&listed[0]["agent_id"], &listed[0]["environment_id"]), (&json!(agent), &json!(world.environment)));
        assert_eq!(world.prefactor().show(&token).await, token.details);
        world.assert_good(&token).await;
    });
}

#[test]
fn case_15_and_of_one_that_is() {
    on_both(async |world| {
        let agent = world.agent().await;
        let first = world.deployment_token(&agent, &world.environment).await;
        let second = world.deployment_token(&agent, &world.environment).await;
        assert_ne!(first.id, second.id);
        assert_eq!(first.details["agent_deployment_id"], second.details["agent_deployment_id"]);
        let other = world.new_environment().await;
        let third = world.deployment_token(&agent, &other).await;
        assert_ne!(first.details["agent_deployment_id"], third.details["agent_deployment_id"]);
        assert_eq!(world.prefactor().ids(&format!("/agent_deployment?agent_id={agent}")).await.len(), 2);
    });
}

#[test]
fn case_16_an_agent_is_required() {
    on_both(async |world| {
        let environment = &world.environment;
        refused(world, json!({"token_scope": "agent_deployment", "environment_id": environment}))
            .await
            .invalid("details.agent_id", "required_value");
        let agent = world.agent().await;
        refused(world, json!({"token_scope": "agent_deployment", "agent_id": agent, "environment_id": null}))
            .await
            .invalid("details.environment_id", "required_value");
        // One answer names everything that is wrong.
        for (agent, code) in [(json!(null), "required_value"), (json!("x"), "invalid_value")] {
            let neither = refused(world, json!({"token_scope": "agent_deployment", "agent_id": agent})).await;
            neither.refused(422, "validation_errors");
            let errors = &neither.json["errors"]["details"]["errors"];
            assert_eq!(errors["agent_id"]["code"], code, "{neither}");
            assert_eq!(errors["environment_id"]["code"], "required_value", "{neither}");
        }
    });
}

#[test]
fn case_17_what_the_account_has_no_use_for() {
    on_both(async |world| {
        let agent = world.agent().await;
        refused(world, json!({"token_scope": "account", "environment_id": world.environment}))
            .await
            .invalid("details.environment_id", "invalid_value");
        refused(world, json!({"token_scope": "account", "agent_id": agent}))
            .await
            .invalid("details.agent_id", "invalid_value");
        let of_environment = json!({
            "token_scope": "environment", "environment_id": world.environment, "agent_id": agent,
        });
        refused(world, of_environment).await.invalid("details.agent_id", "invalid_value");
        let nulls = json!({"token_scope": "account", "environment_id": null, "agent_id": null});
        world.prefactor().create(nulls).await;
    });
}

#[test]
fn case_18_a_scope_that_there_is_not() {
    on_both(async |world| {
        for scope in ["galaxy", "", "Account", " account", "account\0", "agent-deployment", "admin"] {
            refused(world, json!({ "token_scope": scope })).await.invalid("details.token_scope", "invalid_value");
        }
    });
}

#[test]
fn case_19_a_scope_is_required() {
    on_both(async |world| {
        for details in [json!({}), json!({"token_scope": null}), json!({"expires_at": null})] {
            refused(world, details).await.invalid("details.token_scope", "required_value");
        }
    });
}

#[test]
fn case_20_details_are_required() {
    on_both(async |world| {
        for body in [json!({}), json!({"details": null}), json!({"idempotency_key": null})] {
            world.prefactor().post("/api_token", &body).await.invalid("details", "required_value");
        }
        // Without a body, as with an empty one.
        world.prefactor().act("/api_token").await.invalid("details", "required_value");
        for details in [json!(5), json!("account"), json!([]), json!(true)] {
            let answer = world.prefactor().post("/api_token", &json!({ "details": details })).await;
            answer.invalid("details", "invalid_value");
        }
    });
}

#[test]
fn case_21_fields_belong_into_details() {
    on_both(async |world| {
        let answer = world.prefactor().post("/api_token", &json!({"token_scope": "account"})).await;
        answer.invalid("details", "required_value");
    });
}

#[test]
fn case_22_no_json() {
    on_both(async |world| {
        for body in ["{", "}", "nul", "token_scope=account", "{\"details\":{}}x", "\u{feff}{}"] {
            let answer = world.prefactor().call(http::Method::POST, "/api_token", body).await;
            answer.refused(400, "bad_request");
        }
    });
}

#[test]
fn case_23_no_object() {
    on_both(async |world| {
        for body in ["[]", "5", "\"x\"", "true", "null", "[{\"details\":{\"token_scope\":\"account\"}}]"] {
            let answer = world.prefactor().call(http::Method::POST, "/api_token", body).await;
            answer.refused(400, "bad_request");
        }
    });
}

#[test]
fn case_24_times_are_of_any_offset() {
    on_both(async |world| {
        for (given, shown) in [
            ("2099-01-01T02:00:00+02:00", "2099-01-01T00:00:00Z"),
            ("2099-01-01T00:00:00Z", "2099-01-01T00:00:00Z"),
            ("2098-12-31T18:30:00-05:30", "2099-01-01T00:00:00Z"),
            ("2099-01-01T00:00:00.999999999Z", "2099-01-01T00:00:00Z"),
            ("2099-01-01T00:00:00.1+00:00", "2099-01-01T00:00:00Z"),
            ("2099-01-01t00:00:00z", "2099-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ] {
            let token = world.prefactor().create(json!({"token_scope": "account", "expires_at": given})).await;
            assert_eq!(token.details["expires_at"], shown, "{given}");
            assert_eq!(world.prefactor().show(&token).await["expires_at"], shown, "{given}");
            world.assert_good(&token).await;
        }
    });
}

#[test]
fn case_25_an_end_in_the_past() {
    on_both(async |world| {
        let now = world.now().to_string();
        for expires_at in [
            json!("2026-03-01T11:59:59Z"),
            json!("2026-03-01T13:59:59+02:00"),
            json!("2000-01-01T00:00:00Z"),
            json!("1969-12-31T23:59:59Z"),
            json!("0001-01-01T00:00:00Z"),
            json!(now),
            json!("2026-03-01T12:00:00.5Z"),
            json!("tomorrow"),
            json!(""),
            json!("2099-01-01"),
            json!("2099-01-01T00:00:00"),
            json!("2099-02-30T00:00:00Z"),
            json!("2099-01-01T25:00:00Z"),
            json!("+10000-01-01T00:00:00Z"),
            json!("999999999-01-01T00:00:00Z"),
            json!("2099-01-01T00:00:00Z\u{0}"),
            json!(" 2099-01-01T00:00:00Z"),
            json!(4_070_908_800_u64),
            json!(true),
            json!({}),
            json!([]),
        ] {
            refused(world, json!({"token_scope": "account", "expires_at": expires_at}))
                .await
                .invalid("details.expires_at", "invalid_value");
        }
        let second = json!({"token_scope": "account", "expires_at": world.after(SECOND)});
        let token = world.prefactor().create(second).await;
        world.assert_good(&token).await;
        assert_eq!(world.prefactor().count("/api_token").await, 2, "none of them was made");
    });
}

#[test]
fn case_26_an_end_that_comes() {
    on_both(async |world| {
        let details = json!({"token_scope": "account", "expires_at": world.after(2 * SECOND)});
        let token = world.prefactor().create(details).await;
        world.advance(2 * SECOND - Duration::from_micros(1));
        world.assert_good(&token).await;
        world.advance(Duration::from_micros(1));
        world.assert_bad(&token, "expired").await;
        world.advance(SECOND);
        world.assert_bad(&token, "expired").await;
        let shown = world.prefactor().show(&token).await;
        assert_eq!(shown["status"], "active", "an end is no state");
        assert_eq!(shown["updated_at"], START);
    });
}

#[test]
fn case_27_an_account_that_is_null() {
    on_both(async |world| {
        for account in [json!(null), json!(world.account_pfid)] {
            let details = json!({"token_scope": "account", "account_id": account, "expires_at": null});
            let token = world.prefactor().create(details).await;
            assert_eq!(token.details["account_id"], world.account_pfid);
            assert_eq!(token.details["expires_at"], world.after(YEAR));
        }
    });
}

#[test]
fn case_30_unknown_fields_are_ignored() {
    on_both(async |world| {
        let body = json!({
            "details": {"token_scope": "account", "name": "x", "id": "x", "status": "revoked", "token": "t"},
            "more": [1, {"a": null}],
        });
        let token = Token::of(world.prefactor().post("/api_token", &body).await);
        assert_eq!(token.details["status"], "active");
        assert_ne!(token.id, "x");
        world.prefactor().get("/api_token?more=1&more=2&account=x&details=5").await.ok();
    });
}

#[test]
fn case_31_scoped_tokens_create_none() {
    on_both(async |world| {
        let agent = world.agent().await;
        for token in [
            world.environment_token(&world.environment).await,
            world.deployment_token(&agent, &world.environment).await,
        ] {
            let holder = world.nobody().with_token(&token.secret);
            for details in [
                json!({"token_scope": "account"}),
                json!({"token_scope": "environment", "environment_id": world.environment}),
                json!({"token_scope": "agent_deployment", "environment_id": world.environment, "agent_id": agent}),
                json!({"token_scope": "environment", "environment_id": NOBODY}),
            ] {
                holder.post("/api_token", &json!({ "details": details })).await.refused(403, "not_permitted");
            }
        }
        assert_eq!(world.prefactor().count("/api_token").await, 3);
    });
}

/// Who made a token: the user whose `init` it was, and nobody where another token did it.
#[test]
fn who_created_a_token() {
    on_both(async |world| {
        let first = world.prefactor().get("/api_token").await.summaries();
        let users = world.prefactor().get("/admin_user").await.summaries();
        let owner = users.iter().find(|user| user["email"] == crate::world::OWNER_EMAIL).unwrap();
        assert_eq!(first[0]["created_by_admin_user_id"], owner["id"]);
        assert_eq!(world.token().await.details["created_by_admin_user_id"], Value::Null);
    });
}
