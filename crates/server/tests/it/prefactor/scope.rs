//! What each kind of token may do: the table of section 6 of the contract.

use http::Method;
use serde_json::{Value, json};

use super::NOBODY;
use crate::world::{World, on_both};

/// Every operation that is for the whole account, as it is asked for with things that are there.
async fn of_the_account(world: &World) -> Vec<(Method, String, Value)> {
    let caller = world.prefactor();
    let token = world.token().await;
    let agent = world.agent().await;
    let deployment = world.deployment_token(&agent, &world.environment).await;
    let deployment = deployment.details["agent_deployment_id"].as_str().unwrap().to_owned();
    let user = caller.ids("/admin_user").await[0].clone();
    let invite = caller.make("/admin_user_invite", json!({"email": "a@example.com"})).await;
    let environment = &world.environment;
    let name = json!({"details": {"name": "x"}});
    let none = Value::Null;
    let mut operations: Vec<(Method, String, Value)> = Vec::new();
    let mut add = |method: Method, path: String, body: &Value| operations.push((method, path, body.clone()));
    for collection in
        ["/api_token", "/account", "/environment", "/agent", "/agent_deployment", "/admin_user", "/admin_user_invite"]
    {
        add(Method::GET, collection.to_owned(), &none);
    }
    for path in [
        token.path.clone(),
        format!("/account/{}", world.account_pfid),
        format!("/environment/{environment}"),
        format!("/agent/{agent}"),
        format!("/agent_deployment/{deployment}"),
        format!("/admin_user/{user}"),
        format!("/admin_user_invite/{invite}"),
    ] {
        add(Method::GET, path, &none);
    }
    add(Method::POST, "/api_token".to_owned(), &json!({"details": {"token_scope": "account"}}));
    for action in ["suspend", "activate", "revoke"] {
        add(Method::POST, format!("{}/{action}", token.path), &json!({}));
    }
    add(Method::DELETE, token.path.clone(), &none);
    add(Method::PUT, format!("/account/{}", world.account_pfid), &name);
    add(Method::POST, "/environment".to_owned(), &name);
    add(Method::PUT, format!("/environment/{environment}"), &name);
    add(Method::DELETE, format!("/environment/{environment}"), &none);
    add(Method::POST, "/agent".to_owned(), &name);
    add(Method::PUT, format!("/agent/{agent}"), &name);
    add(Method::DELETE, format!("/agent/{agent}"), &none);
    let details = json!({"details": {"agent_id": agent, "environment_id": environment}});
    add(Method::POST, "/agent_deployment".to_owned(), &details);
    add(Method::DELETE, format!("/agent_deployment/{deployment}"), &none);
    add(Method::PUT, format!("/admin_user/{user}"), &name);
    add(Method::POST, "/admin_user_invite".to_owned(), &json!({"details": {"email": "b@example.com"}}));
    add(Method::POST, format!("/admin_user_invite/{invite}/revoke"), &json!({}));
    operations
}

fn body(value: &Value) -> String {
    if value.is_null() { String::new() } else { value.to_string() }
}

#[test]
fn scoped_tokens_reach_nothing_of_the_account() {
    on_both(async |world| {
        let agent = world.agent().await;
        let tokens = [
            world.environment_token(&world.environment).await,
            world.deployment_token(&agent, &world.environment).await,
        ];
        let operations = of_the_account(world).await;
        let collections = [
            "/api_token",
            "/account",
            "/environment",
            "/agent",
            "/agent_deployment",
            "/admin_user",
            "/admin_user_invite",
        ];
        let before: Vec<_> = {
            let mut before = Vec::new();
            for collection in collections {
                before.push(world.prefactor().get(collection).await.ok());
            }
            before
        };
        for token in &tokens {
            let holder = world.nobody().with_token(&token.secret);
            holder.get("/ping").await.ok();
            for (method, path, json) in &operations {
                let answer = holder.call(method.clone(), path, body(json)).await;
                answer.refused(403, "not_permitted");
                // Also without knowing whether there is such a thing.
                let last = path.rsplit('/').next().unwrap();
                if last.len() == 32 {
                    let unknown = path.replace(last, NOBODY);
                    holder.call(method.clone(), &unknown, body(json)).await.refused(403, "not_permitted");
                }
            }
            // Not even on itself.
            holder.do_to(token, "suspend").await.refused(403, "not_permitted");
            holder.get(&token.path).await.refused(403, "not_permitted");
        }
        for (collection, mut before) in collections.into_iter().zip(before) {
            let mut after = world.prefactor().get(collection).await.ok();
            // They have been used, and that is all.
            for body in [&mut before, &mut after] {
                for row in body["summaries"].as_array_mut().unwrap() {
                    row.as_object_mut().unwrap().remove("last_used_at");
                }
            }
            assert_eq!(after, before, "{collection}");
        }
    });
}

/// What the account's token may do it may do: each of these works.
#[test]
fn account_tokens_reach_all_of_it() {
    on_both(async |world| {
        for (method, path, json) in of_the_account(world).await {
            let answer = world.prefactor().call(method.clone(), &path, body(&json)).await;
            let already = method == Method::POST && path == "/agent_deployment";
            if path.starts_with("/agent_deployment/") && method == Method::DELETE {
                // Its environment has gone by now.
                answer.refused(404, "not_found");
            } else if already {
                answer.refused(404, "not_found");
            } else {
                answer.ok();
            }
        }
    });
}

/// A token may make tokens that reach as far as itself and last longer, and take any away.
#[test]
fn account_tokens_are_equals() {
    on_both(async |world| {
        let first = world.prefactor().ids("/api_token").await[0].clone();
        let short =
            world.prefactor().create(json!({"token_scope": "account", "expires_at": world.after(crate::world::HOUR)}));
        let short = short.await;
        let holder = world.nobody().with_token(&short.secret);
        let long = holder.create(json!({"token_scope": "account", "expires_at": "2099-01-01T00:00:00Z"})).await;
        world.assert_good(&long).await;
        assert_eq!(long.details["created_by_admin_user_id"], Value::Null);
        holder.act(&format!("/api_token/{first}/revoke")).await.ok();
        world.prefactor().get("/ping").await.refused(401, "bad_authtoken");
        world.nobody().with_token(&long.secret).do_to(&short, "suspend").await.ok();
        world.assert_bad(&short, "disabled").await;
    });
}

/// The account's token speaks the other dialect too, on its own account; a scoped one does not.
#[test]
fn the_other_dialect() {
    on_both(async |world| {
        let agent = world.agent().await;
        let account = world.token().await;
        let scoped = [
            world.environment_token(&world.environment).await,
            world.deployment_token(&agent, &world.environment).await,
        ];
        let of = |secret: &str| world.anonymous().with("authorization", &format!("Bearer {secret}"));
        let made = of(&account.secret).post(&world.tokens(), &json!({"name": "x"})).await.created();
        let path = format!("{}/{}", world.tokens(), made["id"].as_str().unwrap());
        of(&account.secret).put(&path, &json!({"name": "y"})).await.ok();
        of(&account.secret).get(&world.zone_tokens()).await.ok();
        of(&account.secret).get(&world.foreign_tokens()).await.refused(403, 10000);
        for token in &scoped {
            of(&token.secret).get(&world.tokens()).await.refused(403, 10000);
            of(&token.secret).post(&world.tokens(), &json!({"name": "x"})).await.refused(403, 10000);
            of(&token.secret).delete(&path).await.refused(403, 10000);
        }
        world.prefactor().do_to(&account, "suspend").await.ok();
        of(&account.secret).get(&world.tokens()).await.refused(401, 10000);
        world.prefactor().do_to(&account, "activate").await.ok();
        of(&account.secret).delete(&path).await.ok();
        world.prefactor().do_to(&account, "revoke").await.ok();
        of(&account.secret).get(&world.tokens()).await.refused(401, 10000);
    });
}
