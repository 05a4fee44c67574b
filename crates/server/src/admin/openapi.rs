//! The API's part of the description of what is served: the table of routes, and what each takes and gives.

mod schema;

use serde_json::{Map, Value, json};

use super::answer::PROBLEM;
use super::{Error, PREFIX, ROUTES};
use crate::invalid::Invalid;
use crate::limit;
use crate::management::openapi::{Part, json_response, propagated, response, with, with_header, with_retry_after};
use crate::query::PER_PAGE_MAX;
use crate::route::Route;

/// What an operation takes besides the ids in its path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    /// A page of a list, and which of its items; the parameters have these names.
    Page(&'static [&'static str]),
    /// A body with this schema.
    Body(&'static str),
}

/// What an operation takes and gives, by its name, and what it does. It gives what has this schema.
fn shape(name: &str) -> Option<(&'static str, Takes, &'static str)> {
    let (_, action) = name.split_once('/')?;
    Some(match action {
        "service_tokens/list" => (
            "The service tokens, in the order of their creation",
            Takes::Page(&["name", "search"]),
            "Admin_ServiceTokens",
        ),
        "service_tokens/get" => ("One service token", Takes::Nothing, "Admin_ServiceToken"),
        "service_tokens/rotation/get" => ("Who still comes with the secret before", Takes::Nothing, "Admin_Rotation"),
        "service_tokens/rotation/update" => {
            ("Ends the secret before once nobody comes with it", Takes::Body("Admin_UpdateRotation"), "Admin_Rotation")
        }
        "follow" => {
            ("What a program that verifies by itself does not know yet", Takes::Body("Admin_Follow"), "Admin_Feed")
        }
        "leave" => ("Takes such a program off the list of nodes", Takes::Nothing, "Admin_Left"),
        "service_tokens/allow_from/get" => {
            ("The networks that a service token may be presented from", Takes::Nothing, "Admin_AllowFrom")
        }
        "service_tokens/allow_from/update" => (
            "Sets the networks that a service token may be presented from",
            Takes::Body("Admin_AllowFrom"),
            "Admin_AllowFrom",
        ),
        _ => return None,
    })
}

/// The API's part of the document.
pub(crate) fn part() -> Part {
    let mut part = Part { schemas: schema::all(), ..Part::default() };
    for route in ROUTES {
        if let Some((summary, takes, gives)) = shape(route.name) {
            part.describe(&format!("{PREFIX}{}", route.path), route.method, describe(route, summary, takes, gives));
        }
    }
    for (status, description, errors) in errors() {
        let answer = with_examples(response(description, PROBLEM, &schema::named("Admin_Problem")), &errors);
        let answer = match status {
            401 => with_header(answer, "WWW-Authenticate", "What is asked for", &json!({"const": "Bearer"})),
            429 | 503 => with_retry_after(answer),
            _ => answer,
        };
        part.responses.insert(format!("Admin_{status}"), answer);
    }
    part
}

/// Errors by their statuses: what each status means, and all that is answered with it.
fn errors() -> Vec<(u16, &'static str, Vec<Error>)> {
    let invalid = Invalid::new("page: must be a whole number from 1");
    vec![
        (400, "The body or the query is wrong", vec![invalid.into()]),
        (
            401,
            "There are no credentials, or they are not good",
            vec![Error::NotAuthenticated("no credentials were sent"), Error::UnknownCredential],
        ),
        (403, "The caller may not do this", vec![Error::Forbidden]),
        (404, "There is no such thing here, or an id in the path is malformed", vec![Error::NotFound, Error::NoRoute]),
        (408, "The body did not arrive in time", vec![Error::TooSlow]),
        (409, "It is not possible in the present state", vec![Error::Conflict("the state".to_owned())]),
        (413, "The body is longer than 1 MiB", vec![Error::TooLarge]),
        (429, limit::MEANING, vec![Error::Exceeded(limit::EXAMPLE)]),
        (500, "A bug", vec![Error::Internal]),
        (503, "The store can't be reached, or this node has fallen behind", vec![Error::Unavailable]),
    ]
}

fn with_examples(mut answer: Value, errors: &[Error]) -> Value {
    let examples: Map<String, Value> = errors
        .iter()
        .filter_map(|error| {
            let value = serde_json::to_value(error.problem()).ok()?;
            Some((value.get("code")?.as_str()?.to_owned(), json!({"value": value})))
        })
        .collect();
    if let Some(content) = answer.pointer_mut("/content/application~1problem+json").and_then(Value::as_object_mut) {
        content.insert("examples".to_owned(), Value::Object(examples));
    }
    answer
}

fn describe(route: &Route, summary: &str, takes: Takes, gives: &str) -> Value {
    let names = route.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = names.map(in_path).collect();
    if let Takes::Page(filters) = takes {
        parameters.extend(filters.iter().map(|name| in_query(name, &schema::text())));
        let number = json!({"type": "integer", "minimum": 1});
        parameters.push(in_query("page", &number));
        parameters.push(in_query("per_page", &json!({"type": "integer", "minimum": 1, "default": PER_PAGE_MAX})));
    }
    let mut success = json_response("Success", &schema::named(gives));
    let mut statuses = vec![400, 401, 403, 404, 429, 500, 503];
    if let Takes::Body(_) = takes {
        success = propagated(success);
        statuses.extend([408, 409, 413]);
    }
    let mut responses = Map::from_iter([("200".to_owned(), success)]);
    let error = |status: u16| json!({"$ref": format!("#/components/responses/Admin_{status}")});
    responses.extend(statuses.into_iter().map(|status| (status.to_string(), error(status))));
    let (tag, _) = route.name.rsplit_once('/').unwrap_or((route.name, ""));
    let described = json!({
        "operationId": format!("admin/{}", route.name),
        "tags": [format!("admin/{tag}")],
        "summary": summary,
        "security": [{"managementToken": []}, {"email": [], "key": []}],
        "parameters": parameters,
        "responses": responses,
    });
    let Takes::Body(name) = takes else { return described };
    let content = json!({"application/json": {"schema": schema::named(name)}});
    with(described, "requestBody", json!({"required": true, "content": content}))
}

fn in_path(name: &str) -> Value {
    let schema = match name {
        "id" => schema::token_id(),
        "verifier" => schema::verifier(),
        _ => schema::hex_id(),
    };
    json!({"name": name, "in": "path", "required": true, "schema": schema})
}

fn in_query(name: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "query", "schema": schema})
}

#[cfg(test)]
mod tests;
