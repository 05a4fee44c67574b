//! The dialect's part of the description of what is served: the table of operations, and what each takes and gives.

mod schema;

use std::sync::LazyLock;

use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::error::{Problem, Problems};
use super::operation::Operation;
use super::{Error, OPERATIONS, PREFIX, envelope, sorting};
use crate::management::openapi::{
    Part, changed, idempotency_key, json_response, nullable, with, with_header, with_retry_after,
};

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| part().document("Countersign, the dialect of API tokens", DESCRIPTION));

const DESCRIPTION: &str = "In a query, the text null is as good as no parameter. \
    The key of a change, which makes it safe to send it again, is taken from the body, the query or the header.";

/// Anybody may read it.
pub(super) async fn show() -> Response {
    envelope::render(StatusCode::OK, &DOCUMENT)
}

/// What an operation takes besides the id in its path. A name is that of a schema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    /// Which part of a list, and in which order.
    List,
    /// The same, by more fields.
    ListOfApiTokens,
    /// A list, of one agent.
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
        "api_tokens/list" => (Takes::ListOfApiTokens, Gives::Summaries("ApiToken_Summary")),
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

/// The dialect's part of the document.
pub(crate) fn part() -> Part {
    let mut part = Part { schemas: schema::all(), ..Part::default() };
    for operation in OPERATIONS {
        if let Some((takes, gives)) = shape(operation.name) {
            let path = format!("{PREFIX}{}", operation.path);
            part.describe(&path, operation.method.as_str(), describe(operation, takes, gives));
        }
    }
    let itself = json!({
        "operationId": "openapi/show",
        "tags": ["openapi"],
        "summary": "This dialect alone",
        "security": [],
        "responses": {
            "200": json_response("The document", &json!({"type": "object"})),
            "500": error(500),
        },
    });
    part.describe(&format!("{PREFIX}/openapi"), "get", itself);
    for (status, description, errors) in errors() {
        let examples: Map<String, Value> = errors
            .iter()
            .map(Error::body)
            .map(|body| {
                (body.get("code").and_then(Value::as_str).unwrap_or_default().to_owned(), json!({"value": body}))
            })
            .collect();
        let content = json!({"application/json": {"schema": schema::named("Error"), "examples": examples}});
        let response = json!({"description": description, "content": content});
        let response = match status {
            401 => with_header(response, "WWW-Authenticate", "What is asked for", &json!({"const": "Bearer"})),
            429 | 503 => with_retry_after(response),
            _ => response,
        };
        part.responses.insert(format!("Error_{status}"), response);
    }
    part.security_schemes
        .insert("apiToken".to_owned(), json!({"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}));
    part
}

/// Errors by their statuses: what each status means, and all that is answered with it.
fn errors() -> Vec<(u16, &'static str, Vec<Error>)> {
    let invalid = Problems::of("details", Problem::Within(Problems::of("token_scope", Problem::Required)));
    vec![
        (400, "Not a request that anybody could serve", vec![Error::BadRequest("The body is not JSON")]),
        (401, "There is no token, or it is not valid", vec![Error::NotAuthenticated, Error::BadAuthtoken]),
        (403, "The token does not reach that far", vec![Error::NotPermitted]),
        (404, "What is named does not exist", vec![Error::NotFound]),
        (408, "The body did not arrive in time", vec![Error::TooSlow]),
        (
            409,
            "It is not possible in the present state, or its idempotency key was used for something else",
            vec![Error::InvalidAction("Token is revoked".to_owned()), Error::IdempotencyKeyUsed],
        ),
        (413, "The body is longer than 1 MiB", vec![Error::TooLarge]),
        (422, "Something is wrong with the parameters", vec![Error::Invalid(invalid)]),
        (429, crate::limit::MEANING, vec![Error::Exceeded(crate::limit::EXAMPLE)]),
        (500, "A bug", vec![Error::Internal]),
        (503, "The store can't be reached, or this node has fallen behind", vec![Error::Unavailable]),
    ]
}

fn error(status: u16) -> Value {
    json!({"$ref": format!("#/components/responses/Error_{status}")})
}

/// The statuses of the errors that an operation can end with.
fn statuses(operation: &Operation, takes: Takes) -> Vec<u16> {
    let mut statuses = vec![400, 401, 429, 500, 503];
    // Whoever has a token may ask whether it is good, and what they may not do in a bulk call, its outputs say.
    let is_for_all = matches!(operation.name, "ping/show" | "bulk/execute");
    if !is_for_all {
        statuses.push(403);
    }
    let refers = matches!(operation.name, "api_tokens/create" | "agent_deployments/create");
    if operation.id_name().is_some() || takes == Takes::Agent || refers {
        statuses.push(404);
    }
    if takes != Takes::Nothing {
        statuses.push(422);
    }
    if !operation.reads() {
        statuses.extend([408, 413]);
        if !is_for_all {
            statuses.push(409);
        }
    }
    statuses
}

fn describe(operation: &Operation, takes: Takes, gives: Gives) -> Value {
    let mut parameters: Vec<Value> = operation.id_name().map(in_path).into_iter().collect();
    let body = match takes {
        Takes::Nothing => None,
        Takes::List => {
            parameters.extend(of_lists(sorting::OTHER));
            None
        }
        Takes::ListOfApiTokens => {
            parameters.extend(of_lists(sorting::API_TOKEN));
            None
        }
        Takes::ListOfAgent => {
            parameters.extend(of_lists(sorting::OTHER));
            parameters.push(in_query("agent_id", &nullable(&schema::pfid())));
            None
        }
        Takes::Agent => {
            parameters.push(with(in_query("agent_id", &schema::pfid()), "required", true));
            None
        }
        Takes::Key => Some(schema::key_alone()),
        Takes::Details(name) => Some(schema::with_details(name)),
        Takes::Body(name) => Some(schema::named(name)),
    };
    if !operation.reads() {
        parameters.push(idempotency_key("is the same as the one in the body, if there is one"));
    }
    let given = match gives {
        Gives::Details(name) => schema::success(vec![("details", schema::named(name))]),
        Gives::Summaries(name) => schema::success(vec![
            ("summaries", json!({"type": "array", "items": schema::named(name)})),
            ("pagination", schema::named("PaginationOutput")),
            ("sorting", schema::named("Sorting")),
        ]),
        Gives::Body(name) => schema::named(name),
    };
    let mut success = json_response("Success", &given);
    if !operation.reads() {
        success = changed(success);
    }
    let mut responses = Map::from_iter([("200".to_owned(), with_links(operation, success))]);
    responses.extend(statuses(operation, takes).into_iter().map(|status| (status.to_string(), error(status))));
    let (tag, _) = operation.name.split_once('/').unwrap_or((operation.name, ""));
    let described = json!({
        "operationId": operation.name,
        "tags": [tag],
        "security": [{"apiToken": []}],
        "parameters": parameters,
        "responses": responses,
    });
    let Some(body) = body else { return described };
    let content = json!({"application/json": {"schema": body}});
    with(described, "requestBody", json!({"required": takes != Takes::Key, "content": content}))
}

/// What can be done with an object that has just been made: the operations on it, with its id.
fn with_links(operation: &Operation, success: Value) -> Value {
    if !operation.name.ends_with("/create") {
        return success;
    }
    let mut links = Map::new();
    for other in OPERATIONS {
        let is_on_it = other.path.strip_prefix(operation.path).is_some_and(|rest| rest.starts_with("/{"));
        if let (true, Some(id)) = (is_on_it, other.id_name()) {
            let (_, action) = other.name.split_once('/').unwrap_or_default();
            let parameters = json!({id: "$response.body#/details/id"});
            links.insert(action.to_owned(), json!({"operationId": other.name, "parameters": parameters}));
        }
    }
    with(success, "links", links)
}

fn in_path(name: &'static str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": schema::pfid()})
}

fn in_query(name: &'static str, schema: &Value) -> Value {
    json!({"name": name, "in": "query", "schema": schema})
}

/// Every list has these.
fn of_lists<C: Copy>(columns: sorting::Columns<C>) -> [Value; 4] {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let sorting = json!({
        "type": "string",
        "pattern": format!("^(null|-?({}))$", names.join("|")),
        "maxLength": 20,
        "default": "id",
        "description": "A field's name, after - for descending order. Or a JSON object, or its members as parameters of \
            their own: sorting[field], sorting[direction] (asc, desc), sorting[nulls] (first, last, auto).",
    });
    let offset = json!({"type": ["integer", "null"], "minimum": 0, "maximum": i64::MAX, "default": 0});
    let page_size = json!({"type": ["integer", "null"], "minimum": 1, "maximum": 100, "default": 100});
    [
        in_query("account_id", &nullable(&schema::pfid())),
        in_query("sorting", &sorting),
        in_query("pagination[offset]", &offset),
        in_query("pagination[page_size]", &page_size),
    ]
}

#[cfg(test)]
mod tests;
