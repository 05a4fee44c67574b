//! Many operations in one call.

use serde_json::{Value, json};

use super::NOBODY;
use crate::world::on_both;
use crate::world::prefactor::Actor;

async fn run(caller: &Actor<'_>, items: &Value) -> Value {
    caller.post("/bulk", &json!({ "items": items })).await.ok()["outputs"].clone()
}

fn item(kind: &str, key: &str, parameters: Value) -> Value {
    let mut item = parameters;
    item["_type"] = json!(kind);
    item["idempotency_key"] = json!(key);
    item
}

#[test]
fn one_after_the_other() {
    on_both(async |world| {
        let caller = world.prefactor();
        let items = json!([
            item("agents/create", "create-agent-1", json!({"details": {"name": "a"}})),
            item("agents/list", "list-agents-1", json!({})),
            item("api_tokens/create", "create-token-1", json!({"details": {"token_scope": "account"}})),
            item("api_tokens/list", "list-tokens-1", json!({"pagination": {"page_size": 1}, "sorting": "-id"})),
            item("environments/list", "list-envs-1", json!({"account_id": world.account_pfid})),
        ]);
        let outputs = run(&caller, &items).await;
        let keys: Vec<&String> = outputs.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 5, "{keys:?}");
        let agent = &outputs["create-agent-1"]["details"];
        assert_eq!((&agent["type"], &agent["name"]), (&json!("agent"), &json!("a")));
        assert_eq!(outputs["list-agents-1"]["summaries"], json!([agent]));
        let token = &outputs["create-token-1"];
        let id = token["details"]["id"].as_str().unwrap();
        assert_eq!(caller.get(&format!("/api_token/{id}")).await.details(), token["details"]);
        world.nobody().with_token(token["token"].as_str().unwrap()).get("/ping").await.ok();
        let list = &outputs["list-tokens-1"];
        assert_eq!(
            (list["pagination"]["item_count"].clone(), list["pagination"]["page_size"].clone()),
            (json!(2), json!(1))
        );
        assert_eq!(list["sorting"], json!({"field": "id", "direction": "desc"}));
        assert_eq!(outputs["list-envs-1"]["summaries"][0]["id"], world.environment);
        assert!(outputs.as_object().unwrap().values().all(|output| output["status"] == "success"));
    });
}

#[test]
fn a_tokens_life_in_one_call() {
    on_both(async |world| {
        let caller = world.prefactor();
        let token = world.token().await;
        let id = json!({"api_token_id": token.id});
        let items = json!([
            item("api_tokens/show", "key-show", id.clone()),
            item("api_tokens/suspend", "key-suspend", id.clone()),
            item("api_tokens/activate", "key-activate", id.clone()),
            item("api_tokens/revoke", "key-revoke", id.clone()),
            item("api_tokens/delete", "key-delete", id.clone()),
        ]);
        let first = run(&caller, &items).await;
        for (key, status) in [
            ("key-show", "active"),
            ("key-suspend", "suspended"),
            ("key-activate", "active"),
            ("key-revoke", "revoked"),
            ("key-delete", "revoked"),
        ] {
            assert_eq!(first[key]["details"]["status"], status, "{key}: {first}");
        }
        world.assert_bad(&token, "invalid").await;
        // Each item is a call with a key: again, and what wrote is replayed. What reads, reads.
        let again = run(&caller, &json!([items[1], items[2], items[3], items[4]])).await;
        for key in ["key-suspend", "key-activate", "key-revoke", "key-delete"] {
            assert_eq!(again[key], first[key], "{key}");
        }
        // And its key is a key of the account.
        let used = json!({"details": {"token_scope": "account"}, "idempotency_key": "key-revoke"});
        caller.post("/api_token", &used).await.refused(409, "idempotency_key_already_used");
    });
}

#[test]
fn a_create_is_replayed_with_its_token() {
    on_both(async |world| {
        let caller = world.prefactor();
        let items = json!([item("api_tokens/create", "12345678", json!({"details": {"token_scope": "account"}}))]);
        let first = run(&caller, &items).await;
        assert_eq!(run(&caller, &items).await, first);
        assert_eq!(caller.count("/api_token").await, 2);
    });
}

#[test]
fn the_first_error_ends_it() {
    on_both(async |world| {
        let caller = world.prefactor();
        let revoked = world.token().await;
        caller.do_to(&revoked, "revoke").await.ok();
        for (kind, parameters, code) in [
            ("api_tokens/show", json!({"api_token_id": NOBODY}), "not_found"),
            ("api_tokens/show", json!({"api_token_id": "x"}), "not_found"),
            ("api_tokens/suspend", json!({"api_token_id": revoked.id}), "invalid_action"),
            ("api_tokens/create", json!({"details": {}}), "validation_errors"),
            ("api_tokens/create", json!({}), "validation_errors"),
            (
                "api_tokens/create",
                json!({"details": {"token_scope": "account", "account_id": world.foreign_account_pfid}}),
                "not_permitted",
            ),
            ("api_tokens/list", json!({"account_id": world.foreign_account_pfid}), "not_permitted"),
        ] {
            let before = caller.count("/agent").await;
            let items = json!([
                item("agents/create", &format!("before it {before}"), json!({"details": {"name": "a"}})),
                item(kind, "the one that fails", parameters),
                item("agents/create", &format!("after it {before}"), json!({"details": {"name": "b"}})),
            ]);
            let outputs = run(&caller, &items).await;
            assert_eq!(outputs.as_object().unwrap().len(), 2, "{outputs}");
            assert_eq!(outputs[format!("before it {before}")]["status"], "success");
            let error = &outputs["the one that fails"];
            assert_eq!((&error["status"], &error["code"]), (&json!("error"), &json!(code)), "{error}");
            assert!(error["message"].is_string());
            assert_eq!(error.get("errors").is_some(), code == "validation_errors", "{error}");
            assert_eq!(caller.count("/agent").await, before + 1, "what came before stays");
        }
    });
}

#[test]
fn scoped_tokens_may_what_they_may() {
    on_both(async |world| {
        let token = world.environment_token(&world.environment).await;
        let holder = world.nobody().with_token(&token.secret);
        let outputs = run(
            &holder,
            &json!([
                item("pfids/generate", "12345678", json!({"count": 2})),
                item("api_tokens/list", "123456789", json!({})),
                item("pfids/generate", "1234567890", json!({"count": 2})),
            ]),
        )
        .await;
        assert_eq!(outputs["12345678"]["pfids"].as_array().unwrap().len(), 2, "{outputs}");
        assert_eq!(outputs["123456789"]["code"], "not_permitted");
        assert_eq!(outputs.get("1234567890"), None);
    });
}

/// Each item is a call of its own: a token that has taken itself away makes no more of them.
#[test]
fn a_token_that_revokes_itself_on_the_way() {
    on_both(async |world| {
        let token = world.token().await;
        let holder = world.nobody().with_token(&token.secret);
        let items = json!([
            item("agents/create", "before it", json!({"details": {"name": "a"}})),
            item("api_tokens/revoke", "the revoke", json!({"api_token_id": token.id})),
            item("agents/create", "after it", json!({"details": {"name": "b"}})),
        ]);
        let outputs = run(&holder, &items).await;
        assert_eq!(outputs["the revoke"]["details"]["status"], "revoked");
        assert_eq!(outputs["after it"]["code"], "bad_authtoken", "{outputs}");
        assert_eq!(world.prefactor().count("/agent").await, 1);
        holder.post("/bulk", &json!({ "items": items })).await.refused(401, "bad_authtoken");
    });
}

/// An id that an item names is a text.
#[test]
fn an_items_id() {
    on_both(async |world| {
        for (parameters, code) in [(json!({}), "required_value"), (json!({"api_token_id": 5}), "invalid_value")] {
            let items = json!([item("api_tokens/show", "12345678", parameters)]);
            let output = run(&world.prefactor(), &items).await["12345678"].clone();
            assert_eq!(output["errors"]["api_token_id"]["code"], code, "{output}");
        }
    });
}

#[test]
fn what_is_no_bulk_call() {
    on_both(async |world| {
        let caller = world.prefactor();
        let good = || item("agents/create", "12345678", json!({"details": {"name": "a"}}));
        let long = "k".repeat(65);
        for items in [
            json!(null),
            json!([]),
            json!({}),
            json!("x"),
            json!([5]),
            json!([good(), null]),
            json!([good(), good()]),
            json!([item("agents/create", "1234567", json!({"details": {"name": "a"}}))]),
            json!([item("agents/create", &long, json!({"details": {"name": "a"}}))]),
            json!([good(), {"_type": "agents/list"}]),
            json!([good(), {"_type": "agents/list", "idempotency_key": 12_345_678}]),
            json!([good(), {"_type": "agents/list", "idempotency_key": null}]),
            json!([good(), {"idempotency_key": "123456789"}]),
            json!([good(), {"_type": 5, "idempotency_key": "123456789"}]),
            // The form of older clients.
            json!([{"method": "POST", "path": "/api/v1/agent", "body": {"details": {"name": "a"}}}]),
        ] {
            caller.post("/bulk", &json!({ "items": items })).await.invalid_parameter("items");
        }
        let many: Vec<Value> = (0..1001).map(|at| item("agents/list", &format!("key {at:04}"), json!({}))).collect();
        caller.post("/bulk", &json!({ "items": many })).await.invalid("items", "invalid_value");
        caller.post("/bulk", &json!({})).await.invalid("items", "required_value");
        assert_eq!(caller.count("/agent").await, 0, "nothing of it was done");
        // Bulk calls do not nest.
        let nested = item("bulk/execute", "12345678", json!({"items": [good()]}));
        let answer = caller.post("/bulk", &json!({"items": [nested]})).await;
        assert!(answer.status == 422 || answer.json["outputs"]["12345678"]["status"] == "error", "{answer}");
        assert_eq!(caller.count("/agent").await, 0);
    });
}
