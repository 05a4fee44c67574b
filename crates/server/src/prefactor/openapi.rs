//! The dialect's own description, as OpenAPI: the table of operations, and what each takes and gives.

mod schema;

use std::sync::LazyLock;

use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::operation::Operation;
use super::{OPERATIONS, PREFIX, envelope};

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

/// Anybody may read it.
pub(super) async fn show() -> Response {
    envelope::render(StatusCode::OK, &DOCUMENT)
}

/// What an operation takes besides the id in its path. A name is that of a schema.
#[derive(Clone, Copy)]
enum Takes {
    Nothing,
    /// Which part of a list, and in which order.
    List,
    /// The same, of one agent.
    ListOfAgent,
    /// The id of an agent.
    Agent,
    /// An idempotency key.
    Key,
    /// An idempotency key, and beside it an object in `details`.
    Details(&'static str),
    /// A whole body.
    Body(&'static str),
}

/// What an operation gives besides `status`. A name is that of a schema.
#[derive(Clone, Copy)]
enum Gives {
    /// One object.
    Details(&'static str),
    /// A part of a list.
    Summaries(&'static str),
    /// A whole body.
    Body(&'static str),
}

/// What an operation takes and gives, by its name.
fn shape(name: &str) -> Option<(Takes, Gives)> {
    Some(match name {
        "ping/show" => (Takes::Nothing, Gives::Details("Ping")),
        "api_tokens/list" => (Takes::List, Gives::Summaries("ApiToken_Summary")),
        "api_tokens/create" => (Takes::Details("ApiToken_ForCreate"), Gives::Body("ApiToken_Created")),
        "api_tokens/show" => (Takes::Nothing, Gives::Details("ApiToken_Details")),
        "api_tokens/activate" | "api_tokens/delete" | "api_tokens/revoke" | "api_tokens/suspend" => {
            (Takes::Key, Gives::Details("ApiToken_Details"))
        }
        "accounts/list" => (Takes::List, Gives::Summaries("Account")),
        "accounts/show" => (Takes::Nothing, Gives::Details("Account")),
        "accounts/update" => (Takes::Details("Account_ForUpdate"), Gives::Details("Account")),
        "environments/list" => (Takes::List, Gives::Summaries("Environment")),
        "environments/create" => (Takes::Details("Environment_ForCreate"), Gives::Details("Environment")),
        "environments/show" => (Takes::Nothing, Gives::Details("Environment")),
        "environments/update" => (Takes::Details("Environment_ForUpdate"), Gives::Details("Environment")),
        "environments/delete" => (Takes::Key, Gives::Details("Environment")),
        "agents/list" => (Takes::List, Gives::Summaries("Agent")),
        "agents/create" => (Takes::Details("Agent_ForCreate"), Gives::Details("Agent")),
        "agents/get" => (Takes::Nothing, Gives::Details("Agent")),
        "agents/show" => (Takes::Agent, Gives::Details("Agent")),
        "agents/update" => (Takes::Details("Agent_ForUpdate"), Gives::Details("Agent")),
        "agents/delete" => (Takes::Key, Gives::Details("Agent")),
        "agent_deployments/list" => (Takes::ListOfAgent, Gives::Summaries("AgentDeployment")),
        "agent_deployments/create" => (Takes::Details("AgentDeployment_ForCreate"), Gives::Details("AgentDeployment")),
        "agent_deployments/show" => (Takes::Nothing, Gives::Details("AgentDeployment")),
        "agent_deployments/delete" => (Takes::Key, Gives::Details("AgentDeployment")),
        "admin_users/list" => (Takes::List, Gives::Summaries("AdminUser")),
        "admin_users/show" => (Takes::Nothing, Gives::Details("AdminUser")),
        "admin_users/update" => (Takes::Details("AdminUser_ForUpdate"), Gives::Details("AdminUser")),
        "admin_user_invites/list" => (Takes::List, Gives::Summaries("AdminUserInvite_Summary")),
        "admin_user_invites/create" => {
            (Takes::Details("AdminUserInvite_ForCreate"), Gives::Details("AdminUserInvite_Details"))
        }
        "admin_user_invites/show" => (Takes::Nothing, Gives::Details("AdminUserInvite_Details")),
        "admin_user_invites/revoke" => (Takes::Key, Gives::Details("AdminUserInvite_Details")),
        "pfids/generate" => (Takes::Body("Pfids_ForGenerate"), Gives::Body("Pfids_Generated")),
        "bulk/execute" => (Takes::Body("Bulk"), Gives::Body("Bulk_Outputs")),
        _ => return None,
    })
}

fn document() -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(format!("{PREFIX}{}", operation.path)).or_insert_with(|| json!({}));
        if let (Some(path), Some((takes, gives))) = (path.as_object_mut(), shape(operation.name)) {
            path.insert(operation.method.as_str().to_lowercase(), describe(operation, takes, gives));
        }
    }
    let itself = json!({
        "operationId": "openapi/show",
        "security": [],
        "responses": {"200": content("This document", &json!({"type": "object"}))},
    });
    paths.insert(format!("{PREFIX}/openapi"), json!({"get": itself}));
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Countersign, the dialect of API tokens", "version": env!("CARGO_PKG_VERSION")},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": schema::all(),
        },
    })
}

fn describe(operation: &Operation, takes: Takes, gives: Gives) -> Value {
    let mut parameters: Vec<Value> = operation.id_name().map(in_path).into_iter().collect();
    let body = match takes {
        Takes::Nothing => None,
        Takes::List => {
            parameters.extend(of_lists());
            None
        }
        Takes::ListOfAgent => {
            parameters.extend(of_lists());
            parameters.push(in_query("agent_id", &schema::pfid()));
            None
        }
        Takes::Agent => {
            let schema = schema::pfid();
            parameters.push(json!({"name": "agent_id", "in": "query", "required": true, "schema": schema}));
            None
        }
        Takes::Key => Some(schema::key_alone()),
        Takes::Details(name) => Some(schema::with_details(name)),
        Takes::Body(name) => Some(schema::named(name)),
    };
    let given = match gives {
        Gives::Details(name) => schema::success(vec![("details", schema::named(name))]),
        Gives::Summaries(name) => schema::success(vec![
            ("summaries", json!({"type": "array", "items": schema::named(name)})),
            ("pagination", schema::named("PaginationOutput")),
            ("sorting", schema::named("Sorting")),
        ]),
        Gives::Body(name) => schema::named(name),
    };
    let (tag, _) = operation.name.split_once('/').unwrap_or((operation.name, ""));
    let mut described = json!({
        "operationId": operation.name,
        "tags": [tag],
        "parameters": parameters,
        "responses": {"200": content("Success", &given), "default": content("Error", &schema::named("Error"))},
    });
    if let (Some(described), Some(body)) = (described.as_object_mut(), body) {
        let required = !matches!(takes, Takes::Key);
        let body = json!({"required": required, "content": {"application/json": {"schema": body}}});
        described.insert("requestBody".to_owned(), body);
    }
    described
}

fn content(description: &str, schema: &Value) -> Value {
    json!({"description": description, "content": {"application/json": {"schema": schema}}})
}

fn in_path(name: &'static str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": schema::pfid()})
}

fn in_query(name: &'static str, schema: &Value) -> Value {
    json!({"name": name, "in": "query", "schema": schema})
}

/// Every list has these. The order may also be asked for by its parts: `sorting[field]`, `sorting[direction]`.
fn of_lists() -> [Value; 4] {
    [
        in_query("account_id", &schema::pfid()),
        in_query("sorting", &json!({"type": "string", "description": "A field's name, after - for descending order"})),
        in_query("pagination[offset]", &json!({"type": "integer", "minimum": 0, "default": 0})),
        in_query("pagination[page_size]", &json!({"type": "integer", "minimum": 1, "maximum": 100, "default": 100})),
    ]
}

#[cfg(test)]
mod tests;
