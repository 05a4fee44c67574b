//! What a new token refers to: cases 28 and 29 of the contract.

use serde_json::json;

use super::create::refused;
use super::{MALFORMED, NOBODY};
use crate::world::on_both;

#[test]
fn case_28_another_account() {
    on_both(async |world| {
        for account in [&world.foreign_account_pfid, NOBODY] {
            refused(world, json!({"token_scope": "account", "account_id": account}))
                .await
                .refused(403, "not_permitted");
        }
        for malformed in MALFORMED {
            refused(world, json!({"token_scope": "account", "account_id": malformed}))
                .await
                .invalid("details.account_id", "invalid_value");
        }
        // The other dialect's id of the account is no PFID.
        refused(world, json!({"token_scope": "account", "account_id": world.account.to_string()}))
            .await
            .refused(422, "validation_errors");
        assert_eq!(world.foreign_prefactor().count("/api_token").await, 1);
    });
}

/// Every kind of object of the account in every place where another kind belongs.
#[test]
fn case_29_a_reference_to_another_kind() {
    on_both(async |world| {
        let caller = world.prefactor();
        let agent = world.agent().await;
        let token = world.deployment_token(&agent, &world.environment).await;
        let deployment = token.details["agent_deployment_id"].as_str().unwrap().to_owned();
        let user = caller.ids("/admin_user").await[0].clone();
        let invite = caller.post("/admin_user_invite", &json!({"details": {"email": "new@example.com"}})).await;
        let invite = invite.details()["id"].as_str().unwrap().to_owned();
        let environment = world.environment.clone();
        let others = [&token.id, &deployment, &user, &invite, &world.account_pfid];
        for wrong in others.into_iter().chain([&agent]) {
            let wrong_environment = json!({"token_scope": "environment", "environment_id": wrong});
            refused(world, wrong_environment).await.invalid("details.environment_id", "unexpected_ref_type");
            let wrong_environment =
                json!({"token_scope": "agent_deployment", "environment_id": wrong, "agent_id": agent});
            refused(world, wrong_environment).await.invalid("details.environment_id", "unexpected_ref_type");
        }
        for wrong in others.into_iter().chain([&environment]) {
            let wrong_agent =
                json!({"token_scope": "agent_deployment", "environment_id": environment, "agent_id": wrong});
            refused(world, wrong_agent).await.invalid("details.agent_id", "unexpected_ref_type");
        }
        for wrong in [&token.id, &deployment, &user, &invite, &agent, &environment] {
            let wrong_account = json!({"token_scope": "account", "account_id": wrong});
            refused(world, wrong_account).await.invalid("details.account_id", "unexpected_ref_type");
        }
        // What was deleted still was what it was.
        caller.delete(&format!("/agent/{agent}")).await.ok();
        refused(world, json!({"token_scope": "environment", "environment_id": agent}))
            .await
            .invalid("details.environment_id", "unexpected_ref_type");
    });
}

#[test]
fn references_that_are_malformed_or_lead_nowhere() {
    on_both(async |world| {
        let agent = world.agent().await;
        let environment = world.environment.clone();
        let foreign_agent = world.foreign_prefactor().make("/agent", json!({"name": "x"})).await;
        let (deleted, gone) = (world.new_environment().await, world.agent().await);
        world.prefactor().delete(&format!("/environment/{deleted}")).await.ok();
        world.prefactor().delete(&format!("/agent/{gone}")).await.ok();
        for malformed in MALFORMED.into_iter().chain([""]) {
            for details in [
                json!({"token_scope": "environment", "environment_id": malformed}),
                json!({"token_scope": "agent_deployment", "environment_id": malformed, "agent_id": agent}),
            ] {
                refused(world, details).await.invalid("details.environment_id", "invalid_value");
            }
            refused(
                world,
                json!({"token_scope": "agent_deployment", "environment_id": environment, "agent_id": malformed}),
            )
            .await
            .invalid("details.agent_id", "invalid_value");
        }
        for nowhere in [NOBODY, &world.foreign_environment, &deleted, &world.foreign_account_pfid] {
            for details in [
                json!({"token_scope": "environment", "environment_id": nowhere}),
                json!({"token_scope": "agent_deployment", "environment_id": nowhere, "agent_id": agent}),
            ] {
                refused(world, details).await.refused(404, "not_found");
            }
        }
        for nowhere in [NOBODY, &foreign_agent, &gone] {
            refused(
                world,
                json!({"token_scope": "agent_deployment", "environment_id": environment, "agent_id": nowhere}),
            )
            .await
            .refused(404, "not_found");
        }
        assert_eq!(world.prefactor().count("/api_token").await, 1, "none of them was made");
        assert_eq!(world.prefactor().count("/agent_deployment").await, 0, "nor a deployment for it");
    });
}
