//! The order of the checks: caller, body, parameters, right, key, what is referred to, state.

use http::Method;
use serde_json::{Value, json};

use super::NOBODY;
use crate::world::on_both;
use crate::world::prefactor::Actor;

#[test]
fn what_is_wrong_first_is_said() {
    on_both(async |world| {
        let environment_token = world.environment_token(&world.environment).await;
        let revoked = world.token().await;
        world.prefactor().do_to(&revoked, "revoke").await.ok();
        let agent = world.agent().await;
        let used = json!({"details": {"token_scope": "account"}, "idempotency_key": "used"});
        world.prefactor().post("/api_token", &used).await.ok();

        let account = || world.prefactor();
        let scoped = || world.nobody().with_token(&environment_token.secret);
        let bad = || world.nobody().with_token("garbage");
        let post = |path: &str, body: Value| (Method::POST, path.to_owned(), body.to_string());
        let create = |details: Value| post("/api_token", json!({ "details": details }));
        let no_json = || (Method::POST, "/api_token".to_owned(), "{".to_owned());
        let get = |path: String| (Method::GET, path, String::new());
        let suspend = format!("{}/suspend", revoked.path);
        let foreign = &world.foreign_account_pfid;
        type Check<'w> = (Actor<'w>, (Method, String, String), (u16, &'static str));
        let checks: Vec<Check<'_>> = vec![
            // Where to, before everything.
            (world.nobody(), (Method::PATCH, "/api_token".to_owned(), "{".to_owned()), (405, "bad_request")),
            (bad(), post("/nope", json!([])), (404, "not_found")),
            // Who, before what.
            (world.nobody(), no_json(), (401, "not_authenticated")),
            (bad(), no_json(), (401, "bad_authtoken")),
            (bad(), create(json!({})), (401, "bad_authtoken")),
            (bad(), get("/api_token?pagination[offset]=x".to_owned()), (401, "bad_authtoken")),
            (world.nobody(), get("/api_token/x".to_owned()), (401, "not_authenticated")),
            // A body that can be read, before what is in it and whether one may.
            (scoped(), no_json(), (400, "bad_request")),
            (scoped(), (Method::POST, "/api_token".to_owned(), "[]".to_owned()), (400, "bad_request")),
            // What is in it, before whether one may.
            (scoped(), create(json!({})), (422, "validation_errors")),
            (scoped(), create(json!({"token_scope": "galaxy"})), (422, "validation_errors")),
            (scoped(), create(json!({"token_scope": "environment"})), (422, "validation_errors")),
            (scoped(), get("/api_token?pagination[offset]=x".to_owned()), (422, "validation_errors")),
            (scoped(), get("/api_token?sorting=bogus".to_owned()), (422, "validation_errors")),
            (scoped(), get("/api_token?account_id=x".to_owned()), (422, "validation_errors")),
            (scoped(), post(&suspend, json!({"idempotency_key": 5})), (422, "validation_errors")),
            (account(), create(json!({"token_scope": "galaxy", "account_id": foreign})), (422, "validation_errors")),
            (
                account(),
                (Method::PUT, format!("/environment/{NOBODY}"), r#"{"details":{"name":""}}"#.to_owned()),
                (422, "validation_errors"),
            ),
            // Whether one may, before the key and before what is there.
            (scoped(), post("/api_token", used.clone()), (403, "not_permitted")),
            (scoped(), get(format!("/api_token/{NOBODY}")), (403, "not_permitted")),
            (scoped(), post(&format!("/api_token/{NOBODY}/suspend"), json!({})), (403, "not_permitted")),
            (scoped(), post(&suspend, json!({})), (403, "not_permitted")),
            (scoped(), create(json!({"token_scope": "environment", "environment_id": NOBODY})), (403, "not_permitted")),
            (
                account(),
                create(json!({"token_scope": "environment", "environment_id": NOBODY, "account_id": foreign})),
                (403, "not_permitted"),
            ),
            (
                account(),
                post(
                    "/api_token",
                    json!({
                        "details": {"token_scope": "account", "account_id": foreign}, "idempotency_key": "used",
                    }),
                ),
                (403, "not_permitted"),
            ),
            // The key, before what is there.
            (
                account(),
                post(
                    "/api_token",
                    json!({
                        "details": {"token_scope": "environment", "environment_id": NOBODY}, "idempotency_key": "used",
                    }),
                ),
                (409, "idempotency_key_already_used"),
            ),
            (
                account(),
                post(
                    "/api_token",
                    json!({
                        "details": {"token_scope": "environment", "environment_id": agent}, "idempotency_key": "used",
                    }),
                ),
                (409, "idempotency_key_already_used"),
            ),
            (
                account(),
                post(&format!("/api_token/{NOBODY}/suspend"), json!({"idempotency_key": "used"})),
                (409, "idempotency_key_already_used"),
            ),
            (account(), post(&suspend, json!({"idempotency_key": "used"})), (409, "idempotency_key_already_used")),
            (
                account(),
                (Method::DELETE, format!("/api_token/{NOBODY}?idempotency_key=used"), String::new()),
                (409, "idempotency_key_already_used"),
            ),
            // What is there, before its state.
            (account(), post(&format!("/api_token/{NOBODY}/suspend"), json!({})), (404, "not_found")),
            (account(), post(&suspend, json!({})), (409, "invalid_action")),
        ];
        for (caller, (method, path, body), (status, code)) in checks {
            caller.call(method, &path, body).await.refused(status, code);
        }
    });
}

/// The key is looked up before what the call is about: a delete that is tried again is the same delete.
#[test]
fn a_delete_that_is_tried_again() {
    on_both(async |world| {
        let caller = world.prefactor();
        let token = world.token().await;
        caller.do_to(&token, "revoke").await.ok();
        let environment = world.new_environment().await;
        let agent = world.agent().await;
        for path in [token.path.clone(), format!("/environment/{environment}"), format!("/agent/{agent}")] {
            let body = json!({ "idempotency_key": path }).to_string();
            let first = caller.call(Method::DELETE, &path, body.clone()).await.ok();
            caller.get(&path).await.refused(404, "not_found");
            assert_eq!(caller.call(Method::DELETE, &path, body).await.replayed(), first);
        }
    });
}
