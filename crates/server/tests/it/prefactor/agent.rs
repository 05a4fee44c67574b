//! Agents and their deployments.

use serde_json::{Value, json};

use super::{MALFORMED, NOBODY};
use crate::world::{HOUR, on_both};

#[test]
fn an_agents_life() {
    on_both(async |world| {
        let caller = world.prefactor();
        let now = world.now().to_string();
        let agent = caller.post("/agent", &json!({"details": {"name": "N"}})).await.details();
        let expected = json!({
            "type": "agent", "id": agent["id"], "account_id": world.account_pfid, "name": "N", "status": "active",
            "inserted_at": now, "updated_at": now,
        });
        assert_eq!(agent, expected);
        let path = format!("/agent/{}", agent["id"].as_str().unwrap());
        assert_eq!(caller.get(&path).await.details(), agent);
        world.advance(HOUR);
        let renamed = caller.put(&path, &json!({"details": {"name": "M"}})).await.details();
        assert_eq!((&renamed["name"], &renamed["inserted_at"]), (&json!("M"), &json!(now)));
        assert_eq!(renamed["updated_at"], world.now().to_string());
        assert_eq!(caller.get("/agent").await.summaries(), std::slice::from_ref(&renamed));
        for details in [json!({"name": ""}), json!({"name": 5}), json!({"name": "\u{0}"})] {
            caller.put(&path, &json!({ "details": details })).await.invalid("details.name", "invalid_value");
            caller.post("/agent", &json!({ "details": details })).await.invalid("details.name", "invalid_value");
        }
        caller.post("/agent", &json!({"details": {}})).await.invalid("details.name", "required_value");
        caller.post("/agent", &json!({})).await.invalid("details", "required_value");
        let foreign = json!({"details": {"name": "x", "account_id": world.foreign_account_pfid}});
        caller.post("/agent", &foreign).await.refused(403, "not_permitted");
        assert_eq!(caller.delete(&path).await.details(), renamed);
        caller.get(&path).await.refused(404, "not_found");
        caller.delete(&path).await.refused(404, "not_found");
        caller.put(&path, &json!({"details": {"name": "x"}})).await.refused(404, "not_found");
        assert_eq!(caller.count("/agent").await, 0);
    });
}

#[test]
fn deleting_an_agent_ends_its_tokens() {
    on_both(async |world| {
        let caller = world.prefactor();
        let (agent, other) = (world.agent().await, world.agent().await);
        let environment = world.new_environment().await;
        let tokens = [
            world.deployment_token(&agent, &world.environment).await,
            world.deployment_token(&agent, &environment).await,
        ];
        let neighbours = [
            world.deployment_token(&other, &environment).await,
            world.environment_token(&environment).await,
            world.token().await,
        ];
        for token in tokens.iter().chain(&neighbours) {
            world.assert_good(token).await;
        }
        let answer = caller.delete(&format!("/agent/{agent}")).await;
        assert!(answer.header("countersign-propagation").is_some(), "it takes something away: {answer}");
        answer.ok();
        for token in &tokens {
            world.assert_bad(token, "invalid").await;
            // The row is still there, and says what it was of.
            let shown = caller.show(token).await;
            assert_eq!((&shown["agent_id"], &shown["status"]), (&json!(agent), &json!("active")));
            assert!(caller.ids("/api_token").await.contains(&token.id));
        }
        for token in &neighbours {
            world.assert_good(token).await;
        }
        assert_eq!(caller.ids("/agent_deployment").await.len(), 1);
        world.restart().await;
        for token in &tokens {
            world.assert_bad(token, "invalid").await;
        }
        for token in &neighbours {
            world.assert_good(token).await;
        }
        // What can still be done with such a row does not bring it back.
        let caller = world.prefactor();
        caller.do_to(&tokens[0], "suspend").await.ok();
        caller.do_to(&tokens[0], "activate").await.ok();
        world.assert_bad(&tokens[0], "invalid").await;
        caller.do_to(&tokens[0], "revoke").await.ok();
        caller.do_to(&tokens[0], "delete").await.ok();
        caller.get(&tokens[0].path).await.refused(404, "not_found");
        world.assert_bad(&tokens[1], "invalid").await;
    });
}

#[test]
fn a_deployments_life() {
    on_both(async |world| {
        let caller = world.prefactor();
        let agent = world.agent().await;
        let now = world.now().to_string();
        let body = json!({"details": {"agent_id": agent, "environment_id": world.environment}});
        let deployment = caller.post("/agent_deployment", &body).await.details();
        let id = deployment["id"].as_str().unwrap().to_owned();
        let expected = json!({
            "type": "agent_deployment", "id": id, "account_id": world.account_pfid, "agent_id": agent,
            "environment_id": world.environment, "current_version_id": null, "inserted_at": now, "updated_at": now,
        });
        assert_eq!(deployment, expected);
        let path = format!("/agent_deployment/{id}");
        assert_eq!(caller.get(&path).await.details(), deployment);
        // There is one of each agent in each environment.
        caller.post("/agent_deployment", &body).await.invalid("details.agent_id", "invalid_value");
        let token = world.deployment_token(&agent, &world.environment).await;
        assert_eq!(token.details["agent_deployment_id"], id);
        world.assert_good(&token).await;
        let environment = world.environment_token(&world.environment).await;
        assert_eq!(caller.delete(&path).await.details(), deployment);
        world.assert_bad(&token, "invalid").await;
        world.assert_good(&environment).await;
        caller.get(&path).await.refused(404, "not_found");
        caller.delete(&path).await.refused(404, "not_found");
        assert_eq!(caller.show(&token).await["agent_deployment_id"], id);
        // Deployed again it is another deployment, and the old token stays what it is.
        let again = world.deployment_token(&agent, &world.environment).await;
        assert_ne!(again.details["agent_deployment_id"], json!(id));
        world.assert_good(&again).await;
        world.assert_bad(&token, "invalid").await;
    });
}

/// The Python client names the agent in the query.
#[test]
fn an_agent_by_a_parameter() {
    on_both(async |world| {
        let caller = world.prefactor();
        let agent = world.agent().await;
        let shown = caller.get(&format!("/agent/{agent}")).await.details();
        assert_eq!(caller.get(&format!("/agent/show?agent_id={agent}")).await.details(), shown);
        caller.get("/agent/show").await.invalid("agent_id", "required_value");
        caller.get("/agent/show?agent_id=x").await.invalid("agent_id", "invalid_value");
        caller.get(&format!("/agent/show?agent_id={NOBODY}")).await.refused(404, "not_found");
        let foreign = world.foreign_prefactor().get(&format!("/agent/show?agent_id={agent}")).await;
        foreign.refused(404, "not_found");
        world.nobody().get("/agent/show").await.refused(401, "not_authenticated");
        let scoped = world.environment_token(&world.environment).await;
        let holder = world.nobody().with_token(&scoped.secret);
        holder.get(&format!("/agent/show?agent_id={agent}")).await.refused(403, "not_permitted");
        let item = json!({"_type": "agents/show", "idempotency_key": "12345678", "agent_id": agent});
        let outputs = caller.post("/bulk", &json!({"items": [item]})).await.ok()["outputs"].clone();
        assert_eq!(outputs["12345678"]["details"], shown);
    });
}

/// A deployment may be given an id, as an agent and an environment may.
#[test]
fn a_deployment_with_a_chosen_id() {
    on_both(async |world| {
        let caller = world.prefactor();
        let (agent, other) = (world.agent().await, world.agent().await);
        let id = caller.post("/pfid/generate", &json!({"count": 1})).await.ok()["pfids"][0].clone();
        let details =
            |agent: &str, id: &Value| json!({"agent_id": agent, "environment_id": world.environment, "id": id});
        let create = async |agent: &str, id: &Value| {
            caller.post("/agent_deployment", &json!({"details": details(agent, id)})).await
        };
        create(&agent, &json!(NOBODY)).await.invalid("details.id", "invalid_value");
        create(&agent, &json!(world.environment)).await.invalid("details.id", "invalid_value");
        create(&agent, &json!("x")).await.invalid("details.id", "invalid_value");
        assert_eq!(create(&agent, &id).await.details()["id"], id);
        create(&other, &id).await.invalid("details.id", "invalid_value");
        let token = world.deployment_token(&agent, &world.environment).await;
        assert_eq!(token.details["agent_deployment_id"], id);
        caller.delete(&format!("/agent_deployment/{}", id.as_str().unwrap())).await.ok();
        create(&other, &id).await.invalid("details.id", "invalid_value");
    });
}

#[test]
fn deployments_of_one_agent() {
    on_both(async |world| {
        let caller = world.prefactor();
        let (one, other, idle) = (world.agent().await, world.agent().await, world.agent().await);
        let environment = world.new_environment().await;
        let mut made = Vec::new();
        for (agent, environment) in [(&one, &world.environment), (&one, &environment), (&other, &environment)] {
            world.advance(HOUR);
            let details = json!({"agent_id": agent, "environment_id": environment});
            made.push(caller.make("/agent_deployment", details).await);
        }
        assert_eq!(caller.ids("/agent_deployment").await, made);
        assert_eq!(caller.ids(&format!("/agent_deployment?agent_id={one}")).await, made[..2]);
        assert_eq!(caller.ids(&format!("/agent_deployment?agent_id={other}&pagination[page_size]=1")).await, made[2..]);
        assert!(caller.ids(&format!("/agent_deployment?agent_id={idle}")).await.is_empty());
        let second =
            format!("/agent_deployment?agent_id={one}&sorting=-id&pagination[page_size]=1&pagination[offset]=1");
        assert_eq!(caller.ids(&second).await, made[..1]);
        for malformed in MALFORMED.iter().filter(|malformed| **malformed != "null") {
            let answer = caller.get(&format!("/agent_deployment?agent_id={malformed}")).await;
            answer.invalid("agent_id", "invalid_value");
        }
    });
}

#[test]
fn references_of_a_deployment() {
    on_both(async |world| {
        let caller = world.prefactor();
        let agent = world.agent().await;
        let environment = world.environment.clone();
        let create = async |agent: Value, environment: Value| {
            let details = json!({"agent_id": agent, "environment_id": environment});
            caller.post("/agent_deployment", &json!({ "details": details })).await
        };
        create(Value::Null, json!(environment)).await.invalid("details.agent_id", "required_value");
        create(json!(agent), Value::Null).await.invalid("details.environment_id", "required_value");
        for malformed in MALFORMED.map(|text| json!(text)).into_iter().chain([json!(5), json!([])]) {
            create(malformed.clone(), json!(environment)).await.invalid("details.agent_id", "invalid_value");
            create(json!(agent), malformed).await.invalid("details.environment_id", "invalid_value");
        }
        create(json!(environment), json!(environment)).await.invalid("details.agent_id", "unexpected_ref_type");
        create(json!(agent), json!(agent)).await.invalid("details.environment_id", "unexpected_ref_type");
        create(json!(NOBODY), json!(environment)).await.refused(404, "not_found");
        create(json!(agent), json!(world.foreign_environment)).await.refused(404, "not_found");
        assert_eq!(caller.count("/agent_deployment").await, 0);
        let foreign = world.foreign_prefactor();
        let foreign_agent = foreign.make("/agent", json!({"name": "x"})).await;
        create(json!(foreign_agent), json!(environment)).await.refused(404, "not_found");
        let path = format!("/agent/{foreign_agent}");
        caller.get(&path).await.refused(404, "not_found");
        caller.put(&path, &json!({"details": {"name": "x"}})).await.refused(404, "not_found");
        caller.delete(&path).await.refused(404, "not_found");
        assert_eq!(foreign.count("/agent").await, 1);
    });
}
