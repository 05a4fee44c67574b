//! Environments: cases 84, 85 and 89 of the contract.

use serde_json::{Value, json};

use super::{MALFORMED, NOBODY};
use crate::world::{HOUR, Verdict, World, on_both};

/// A PFID of the account's partition that nobody has.
async fn new_id(world: &World) -> Value {
    world.prefactor().post("/pfid/generate", &json!({"count": 1})).await.ok()["pfids"][0].clone()
}

#[test]
fn case_84_deleting_one_with_tokens() {
    on_both(async |world| {
        let caller = world.prefactor();
        let (environment, agent) = (world.new_environment().await, world.agent().await);
        let path = format!("/environment/{environment}");
        let own = world.environment_token(&environment).await;
        let deployed = world.deployment_token(&agent, &environment).await;
        let elsewhere = world.environment_token(&world.environment).await;
        let deployed_elsewhere = world.deployment_token(&agent, &world.environment).await;
        let account = world.token().await;
        for token in [&own, &deployed, &elsewhere, &deployed_elsewhere, &account] {
            world.assert_good(token).await;
        }
        let before = caller.get(&path).await.ok();
        let answer = caller.delete(&path).await;
        assert!(answer.header("countersign-propagation").is_some(), "it takes something away: {answer}");
        assert_eq!(answer.ok(), before);
        for token in [&own, &deployed] {
            world.assert_bad(token, "invalid").await;
            let shown = caller.show(token).await;
            assert_eq!((&shown["id"], &shown["environment_id"]), (&json!(token.id), &json!(environment)));
        }
        for token in [&elsewhere, &deployed_elsewhere, &account] {
            world.assert_good(token).await;
        }
        let listed = caller.ids("/api_token").await;
        assert!(listed.contains(&own.id) && listed.contains(&deployed.id), "rows stay listed");
        // Whoever demands what has gone admits nobody.
        let demand = format!("environment_id={environment}");
        assert_eq!(world.ask_bearer(&demand, &account.secret).await, Verdict::refused(403, "not_permitted"));
        assert_eq!(world.ask_bearer(&demand, &own.secret).await, Verdict::refused(401, "invalid"));
        // The environment is gone, and its deployments with it.
        caller.get(&path).await.refused(404, "not_found");
        caller.delete(&path).await.refused(404, "not_found");
        caller.put(&path, &json!({"details": {"name": "x"}})).await.refused(404, "not_found");
        assert_eq!(caller.ids("/environment").await, std::slice::from_ref(&world.environment));
        let deployments = caller.ids(&format!("/agent_deployment?agent_id={agent}")).await;
        assert_eq!(json!(deployments), json!([deployed_elsewhere.details["agent_deployment_id"]]));
        let deployment = deployed.details["agent_deployment_id"].as_str().unwrap();
        caller.get(&format!("/agent_deployment/{deployment}")).await.refused(404, "not_found");
        world.restart().await;
        world.assert_bad(&own, "invalid").await;
        world.assert_bad(&deployed, "invalid").await;
        world.assert_good(&elsewhere).await;
    });
}

#[test]
fn case_85_ids_that_a_client_chooses() {
    on_both(async |world| {
        let caller = world.prefactor();
        let create = async |id: &Value| caller.post("/environment", &json!({"details": {"name": "x", "id": id}})).await;
        let id = new_id(world).await;
        assert_eq!(create(&id).await.details()["id"], id);
        caller.get(&format!("/environment/{}", id.as_str().unwrap())).await.ok();
        // Used: by that environment, also when it has gone, and by everything else that the account has.
        create(&id).await.invalid("details.id", "invalid_value");
        caller.delete(&format!("/environment/{}", id.as_str().unwrap())).await.ok();
        create(&id).await.invalid("details.id", "invalid_value");
        let (token, agent) = (world.token().await, world.agent().await);
        let user = caller.ids("/admin_user").await[0].clone();
        let invite = caller.make("/admin_user_invite", json!({"email": "a@example.com"})).await;
        for used in [&token.id, &agent, &user, &invite, &world.account_pfid, &world.environment] {
            create(&json!(used)).await.invalid("details.id", "invalid_value");
        }
        caller.do_to(&token, "revoke").await.ok();
        caller.do_to(&token, "delete").await.ok();
        create(&json!(token.id)).await.invalid("details.id", "invalid_value");
        // Of another partition.
        for foreign in [NOBODY, &world.foreign_account_pfid, &world.foreign_environment] {
            create(&json!(foreign)).await.invalid("details.id", "invalid_value");
        }
        for malformed in MALFORMED.map(|text| json!(text)).into_iter().chain([json!(5), json!(""), json!({})]) {
            create(&malformed).await.invalid("details.id", "invalid_value");
        }
        // The same holds for whatever else takes an id.
        let chosen = new_id(world).await;
        let agent = caller.post("/agent", &json!({"details": {"name": "x", "id": chosen}})).await.details();
        assert_eq!(agent["id"], chosen);
        let again = caller.post("/agent", &json!({"details": {"name": "x", "id": chosen}})).await;
        again.invalid("details.id", "invalid_value");
        create(&chosen).await.invalid("details.id", "invalid_value");
        let foreign = caller.post("/agent", &json!({"details": {"name": "x", "id": NOBODY}})).await;
        foreign.invalid("details.id", "invalid_value");
        // None is the same as null.
        create(&Value::Null).await.ok();
    });
}

#[test]
fn case_89_the_list_of_environments() {
    on_both(async |world| {
        let path = format!("/environment?account_id={}", world.account_pfid);
        let rows = world.prefactor().get(&path).await.summaries();
        let first = json!({
            "type": "environment",
            "id": world.environment,
            "account_id": world.account_pfid,
            "name": "development",
            "description": null,
            "purpose": "development",
            "external_identifier": null,
        });
        assert_eq!(rows.len(), 1);
        for (key, value) in first.as_object().unwrap() {
            assert_eq!(rows[0][key], *value, "{key}");
        }
    });
}

#[test]
fn creating_showing_updating() {
    on_both(async |world| {
        let caller = world.prefactor();
        let plain = caller.post("/environment", &json!({"details": {"name": "N"}})).await.details();
        assert_eq!((&plain["name"], &plain["purpose"]), (&json!("N"), &json!("development")));
        assert_eq!((&plain["description"], &plain["external_identifier"]), (&Value::Null, &Value::Null));
        let body = json!({"details": {
            "name": "Ünïcödé \u{10ffff}", "account_id": world.account_pfid, "description": "what it is for",
            "purpose": "production", "external_identifier": "ext-1",
        }});
        let whole = caller.post("/environment", &body).await.details();
        for (key, value) in body["details"].as_object().unwrap() {
            assert_eq!(whole[key], *value, "{key}");
        }
        let path = format!("/environment/{}", whole["id"].as_str().unwrap());
        assert_eq!(caller.get(&path).await.details(), whole);
        world.advance(HOUR);
        let update = async |details: Value| caller.put(&path, &json!({ "details": details })).await;
        // Nothing, and then one thing after another.
        let same = update(json!({})).await.details();
        assert_eq!(same, whole, "what is left out stays");
        let mut expected = whole.clone();
        for (key, value) in [
            ("name", json!("M")),
            ("description", json!("another")),
            ("description", Value::Null),
            ("external_identifier", json!("ext-2")),
            ("external_identifier", Value::Null),
            ("purpose", json!("staging")),
            ("purpose", json!("testing")),
            ("purpose", json!("development")),
        ] {
            let details = update(json!({ (key): value })).await.details();
            expected[key] = value;
            if expected.get("updated_at").is_some() {
                expected["updated_at"] = json!(world.now().to_string());
            }
            assert_eq!(details, expected);
            assert_eq!(caller.get(&path).await.details(), expected);
        }
        assert_eq!(update(json!({"name": null, "purpose": null})).await.details(), expected, "neither can be cleared");
        for details in [json!({"name": ""}), json!({"name": 5}), json!({"name": "\u{0}"})] {
            update(details).await.invalid_parameter("details");
        }
        for purpose in [json!("galaxy"), json!(""), json!(5), json!("Production")] {
            update(json!({ "purpose": purpose })).await.invalid("details.purpose", "invalid_value");
            let answer = caller.post("/environment", &json!({"details": {"name": "x", "purpose": purpose}})).await;
            answer.invalid("details.purpose", "invalid_value");
        }
        assert_eq!(caller.get(&path).await.details(), expected);
        caller.put(&path, &json!({})).await.invalid("details", "required_value");
    });
}

#[test]
fn what_is_refused() {
    on_both(async |world| {
        let caller = world.prefactor();
        let create = async |details: Value| caller.post("/environment", &json!({ "details": details })).await;
        create(json!({})).await.invalid("details.name", "required_value");
        create(json!({"name": null})).await.invalid("details.name", "required_value");
        for name in [json!(""), json!(5), json!({}), json!("a\u{0}b"), json!("x".repeat(10_000))] {
            create(json!({ "name": name })).await.invalid("details.name", "invalid_value");
        }
        for (field, value) in [
            ("description", json!(5)),
            ("description", json!("a\u{0}b")),
            ("external_identifier", json!([])),
            ("external_identifier", json!("\u{0}")),
        ] {
            create(json!({"name": "x", (field): value})).await.invalid(&format!("details.{field}"), "invalid_value");
        }
        for account in [&world.foreign_account_pfid, NOBODY] {
            create(json!({"name": "x", "account_id": account})).await.refused(403, "not_permitted");
        }
        create(json!({"name": "x", "account_id": "x"})).await.invalid("details.account_id", "invalid_value");
        caller.post("/environment", &json!({})).await.invalid("details", "required_value");
        let foreign = format!("/environment/{}", world.foreign_environment);
        caller.get(&foreign).await.refused(404, "not_found");
        caller.put(&foreign, &json!({"details": {"name": "x"}})).await.refused(404, "not_found");
        caller.delete(&foreign).await.refused(404, "not_found");
        assert_eq!(caller.count("/environment").await, 1);
        assert_eq!(world.foreign_prefactor().count("/environment").await, 1);
    });
}
