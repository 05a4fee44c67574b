//! Whole answers to the letter. The clock stands still and randomness repeats itself, so nothing has to be left out.

use serde_json::json;

use crate::world::prefactor::{Actor, Answer};
use crate::world::{HOUR, World, on_both};

/// An answer as a client sees it: the status, the headers in their order, the body.
fn shown(answer: &Answer) -> String {
    let mut headers: Vec<String> =
        answer.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    headers.sort();
    format!("{}\n{}\n\n{}", answer.status.as_u16(), headers.join("\n"), answer.text)
}

/// On both databases the same.
fn alike(test: impl AsyncFn(&mut World)) {
    insta::allow_duplicates! { on_both(test) }
}

fn caller(world: &World) -> Actor<'_> {
    world.prefactor().with("x-request-id", "request-1")
}

#[test]
fn a_created_token() {
    alike(async |world| {
        let body = json!({"details": {"token_scope": "account"}, "idempotency_key": "K"});
        let answer = caller(world).post("/api_token", &body).await;
        insta::assert_snapshot!(shown(&answer), @r#"
        200
        cache-control: no-store
        cf-ray: request-1
        content-length: 905
        content-type: application/json; charset=utf-8
        x-request-id: request-1

        {"details":{"account_id":"01kjmma2g067cn7c7v9b0r8yjzd9szm7","agent_deployment_id":null,"agent_id":null,"available_actions":{"activate":false,"delete":false,"revoke":true,"suspend":true},"created_by_admin_user_id":null,"environment_id":null,"expires_at":"2027-03-01T12:00:00Z","id":"01kjmma2g067cn7c55vzdqt1r1wbkrqv","inserted_at":"2026-03-01T12:00:00Z","last_used_at":null,"status":"active","token_scope":"account","type":"api_token","updated_at":"2026-03-01T12:00:00Z"},"status":"success","token":"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJjb3VudGVyc2lnbjo1MzJkZWFiZjg4NzI5Y2I0Mzk5NWFiNWE5Y2Q0OWJmOSIsInN1YiI6IjAxa2ptbWEyZzA2N2NuN2M1NXZ6ZHF0MXIxd2JrcnF2IiwianRpIjoiMDFram1tYTJnMDY3Y243YzU1dnpkcXQxcjF3YmtycXYiLCJpYXQiOjE3NzIzNjY0MDAsImV4cCI6MTgwMzkwMjQwMCwiYWNjb3VudF9pZCI6IjAxa2ptbWEyZzA2N2NuN2M3djliMHI4eWp6ZDlzem03IiwidG9rZW5fc2NvcGUiOiJhY2NvdW50In0.bEyAPbxOXMroScxq7zL0Wf5KGtzjCaeb-6B1Z4LFKRY"}
        "#);
        insta::assert_snapshot!(shown(&caller(world).post("/api_token", &body).await), @r#"
        200
        cache-control: no-store
        cf-ray: request-1
        content-length: 905
        content-type: application/json; charset=utf-8
        countersign-propagation: complete; nodes=1; waited=0ms
        idempotency-replayed: true
        x-request-id: request-1

        {"details":{"account_id":"01kjmma2g067cn7c7v9b0r8yjzd9szm7","agent_deployment_id":null,"agent_id":null,"available_actions":{"activate":false,"delete":false,"revoke":true,"suspend":true},"created_by_admin_user_id":null,"environment_id":null,"expires_at":"2027-03-01T12:00:00Z","id":"01kjmma2g067cn7c55vzdqt1r1wbkrqv","inserted_at":"2026-03-01T12:00:00Z","last_used_at":null,"status":"active","token_scope":"account","type":"api_token","updated_at":"2026-03-01T12:00:00Z"},"status":"success","token":"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJjb3VudGVyc2lnbjo1MzJkZWFiZjg4NzI5Y2I0Mzk5NWFiNWE5Y2Q0OWJmOSIsInN1YiI6IjAxa2ptbWEyZzA2N2NuN2M1NXZ6ZHF0MXIxd2JrcnF2IiwianRpIjoiMDFram1tYTJnMDY3Y243YzU1dnpkcXQxcjF3YmtycXYiLCJpYXQiOjE3NzIzNjY0MDAsImV4cCI6MTgwMzkwMjQwMCwiYWNjb3VudF9pZCI6IjAxa2ptbWEyZzA2N2NuN2M3djliMHI4eWp6ZDlzem03IiwidG9rZW5fc2NvcGUiOiJhY2NvdW50In0.bEyAPbxOXMroScxq7zL0Wf5KGtzjCaeb-6B1Z4LFKRY"}
        "#);
    });
}

#[test]
fn a_suspended_token() {
    alike(async |world| {
        let token = world.token().await;
        world.advance(HOUR);
        insta::assert_snapshot!(shown(&caller(world).do_to(&token, "suspend").await), @r#"
        200
        cache-control: no-store
        cf-ray: request-1
        content-length: 493
        content-type: application/json; charset=utf-8
        countersign-propagation: complete; nodes=1; waited=0ms
        x-request-id: request-1

        {"details":{"account_id":"01kjmma2g067cn7c7v9b0r8yjzd9szm7","agent_deployment_id":null,"agent_id":null,"available_actions":{"activate":true,"delete":false,"revoke":true,"suspend":false},"created_by_admin_user_id":null,"environment_id":null,"expires_at":"2027-03-01T12:00:00Z","id":"01kjmma2g067cn7c55vzdqt1r1wbkrqv","inserted_at":"2026-03-01T12:00:00Z","last_used_at":null,"status":"suspended","token_scope":"account","type":"api_token","updated_at":"2026-03-01T13:00:00Z"},"status":"success"}
        "#);
        insta::assert_snapshot!(shown(&caller(world).do_to(&token, "suspend").await), @r#"
        409
        cache-control: no-store
        cf-ray: request-1
        content-length: 97
        content-type: application/json; charset=utf-8
        x-request-id: request-1

        {"code":"invalid_action","message":"Token is suspended and cannot be suspended","status":"error"}
        "#);
    });
}

#[test]
fn a_list() {
    alike(async |world| {
        let answer = caller(world).get("/api_token?sorting=-created_at&pagination[page_size]=10").await;
        insta::assert_snapshot!(shown(&answer), @r#"
        200
        cache-control: no-store
        cf-ray: request-1
        content-length: 682
        content-type: application/json; charset=utf-8
        x-request-id: request-1

        {"pagination":{"item_count":1,"item_end":1,"item_start":1,"next_page_offset":null,"page_count":1,"page_index":1,"page_offset":0,"page_size":10,"previous_page_offset":null},"sorting":{"direction":"desc","field":"created_at"},"status":"success","summaries":[{"account_id":"01kjmma2g067cn7c7v9b0r8yjzd9szm7","agent_deployment_id":null,"agent_id":null,"created_by_admin_user_id":"01kjmma2g067cn7c17s6nhmsehya5w9w","environment_id":null,"expires_at":"2027-03-01T12:00:00Z","id":"01kjmma2g067cn7ckqvp9a9cgxmb05hy","inserted_at":"2026-03-01T12:00:00Z","last_used_at":"2026-03-01T12:00:00Z","status":"active","token_scope":"account","type":"api_token","updated_at":"2026-03-01T12:00:00Z"}]}
        "#);
    });
}

#[test]
fn nobody_in_particular() {
    alike(async |world| {
        let nobody = world.nobody().with("x-request-id", "request-1");
        insta::assert_snapshot!(shown(&nobody.get("/ping").await), @r#"
        401
        cache-control: no-store
        cf-ray: request-1
        content-length: 82
        content-type: application/json; charset=utf-8
        www-authenticate: Bearer
        x-request-id: request-1

        {"code":"not_authenticated","message":"No bearer token was sent","status":"error"}
        "#);
        insta::assert_snapshot!(shown(&nobody.with_token("garbage").get("/ping").await), @r#"
        401
        cache-control: no-store
        cf-ray: request-1
        content-length: 76
        content-type: application/json; charset=utf-8
        www-authenticate: Bearer
        x-request-id: request-1

        {"code":"bad_authtoken","message":"The token is not valid","status":"error"}
        "#);
    });
}

#[test]
fn an_invalid_request() {
    alike(async |world| {
        let body = json!({"details": {"token_scope": "agent_deployment", "agent_id": "x"}, "idempotency_key": ""});
        insta::assert_snapshot!(shown(&caller(world).post("/api_token", &body).await), @r#"
        422
        cache-control: no-store
        cf-ray: request-1
        content-length: 569
        content-type: application/json; charset=utf-8
        x-request-id: request-1

        {"code":"validation_errors","errors":{"details":{"code":"validation_errors","errors":{"agent_id":{"code":"invalid_value","message":"agent_id must be a PFID: 32 characters of 0-9 and a-z without i, l, o, u, the first one 0 to 7","status":"error"},"environment_id":{"code":"required_value","message":"environment_id is required","status":"error"}},"message":"Validation failed","status":"error"},"idempotency_key":{"code":"invalid_value","message":"idempotency_key must be a string of 1 to 64 characters","status":"error"}},"message":"Validation failed","status":"error"}
        "#);
    });
}

/// Every message about a field, in one table.
#[test]
fn what_is_said_of_a_field() {
    alike(async |world| {
        let agent = world.agent().await;
        let mut messages = Vec::new();
        for details in [
            json!({}),
            json!({"token_scope": 5}),
            json!({"token_scope": "galaxy"}),
            json!({"token_scope": "environment"}),
            json!({"token_scope": "environment", "environment_id": "x"}),
            json!({"token_scope": "environment", "environment_id": 5}),
            json!({"token_scope": "environment", "environment_id": agent}),
            json!({"token_scope": "account", "environment_id": agent}),
            json!({"token_scope": "account", "account_id": world.environment}),
            json!({"token_scope": "account", "expires_at": 5}),
            json!({"token_scope": "account", "expires_at": "tomorrow"}),
            json!({"token_scope": "account", "expires_at": "2026-02-30T00:00:00Z"}),
            json!({"token_scope": "account", "expires_at": "2026-01-01T00:00:00Z"}),
        ] {
            let answer = world.prefactor().post("/api_token", &json!({ "details": details })).await;
            answer.refused(422, "validation_errors");
            let fields = answer.json["errors"]["details"]["errors"].as_object().unwrap();
            for error in fields.values() {
                messages.push(format!("{}: {}", error["code"].as_str().unwrap(), error["message"].as_str().unwrap()));
            }
        }
        insta::assert_snapshot!(messages.join("\n"), @r#"
        required_value: token_scope is required
        invalid_value: token_scope must be account, environment or agent_deployment
        invalid_value: token_scope must be account, environment or agent_deployment
        required_value: environment_id is required
        invalid_value: environment_id must be a PFID: 32 characters of 0-9 and a-z without i, l, o, u, the first one 0 to 7
        invalid_value: environment_id must be a string
        unexpected_ref_type: environment_id names an object of another kind
        invalid_value: environment_id must be null for this token_scope
        unexpected_ref_type: account_id names an object of another kind
        invalid_value: expires_at must be a string
        invalid_value: expires_at must be an RFC 3339 date-time with an offset, such as 2026-01-31T12:00:00Z
        invalid_value: expires_at names a date or time that does not exist
        invalid_value: expires_at must lie in the future
        "#);
    });
}
