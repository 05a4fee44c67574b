//! The dialect's part of the description of what is served: the table of routes, and what each takes and gives.

mod schema;

use serde_json::{Map, Value, json};

use super::{Error, PREFIX, ROUTES};
use crate::invalid::Invalid;
use crate::limit;
use crate::management::openapi::{
    Part, UNAUTHENTICATED, changed, idempotency_key, json_response, nullable, object, with, with_retry_after,
};
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
    /// The same, or none at all.
    OptionalBody(&'static str),
}

/// What an operation gives as `result`. A name is that of a schema.
#[derive(Clone, Copy)]
enum Gives {
    One(&'static str),
    Created(&'static str),
    Changed(&'static str),
    List(&'static str),
    /// One, and a message about it.
    Verified(&'static str),
}

/// What an operation takes and gives, by its name, and what it does.
fn shape(name: &str) -> Option<(&'static str, Takes, Gives)> {
    const TOKEN: &str = "Cloudflare_ServiceToken";
    const TOKEN_WITH_SECRET: &str = "Cloudflare_ServiceTokenWithSecret";
    let (_, action) = name.split_once('/')?;
    Some(match (name, action) {
        (_, "service_tokens/list") => {
            ("The service tokens, newest first", Takes::Page(&["name", "search"]), Gives::List(TOKEN))
        }
        (_, "service_tokens/create") => (
            "Makes a service token, and shows its secret this once",
            Takes::Body("Cloudflare_ServiceToken_ForCreate"),
            Gives::Created(TOKEN_WITH_SECRET),
        ),
        (_, "service_tokens/get") => ("One service token", Takes::Nothing, Gives::One(TOKEN)),
        (_, "service_tokens/update") => (
            "Changes a service token; with the next client_secret_version, its secret too",
            Takes::Body("Cloudflare_ServiceToken_ForUpdate"),
            Gives::Changed("Cloudflare_ServiceTokenUpdated"),
        ),
        (_, "service_tokens/delete") => {
            ("Deletes a service token: no request is admitted with it any more", Takes::Nothing, Gives::Changed(TOKEN))
        }
        (_, "service_tokens/refresh") => {
            ("Makes a service token good for a year from now", Takes::Nothing, Gives::Changed(TOKEN))
        }
        (_, "service_tokens/rotate") => (
            "Gives a service token a new secret, and shows it this once",
            Takes::OptionalBody("Cloudflare_ServiceToken_ForRotate"),
            Gives::Changed(TOKEN_WITH_SECRET),
        ),
        (_, "keys/get") => ("How the keys stand that sign assertions", Takes::Nothing, Gives::One("Cloudflare_Keys")),
        (_, "keys/update") => (
            "Sets after how many days another key signs; the installation's owner may",
            Takes::Body("Cloudflare_Keys_ForUpdate"),
            Gives::One("Cloudflare_Keys"),
        ),
        (_, "keys/rotate") => (
            "Lets the next key sign, once it has been published for a day; the installation's owner may",
            Takes::Nothing,
            Gives::One("Cloudflare_Keys"),
        ),
        (_, "tokens/verify") => {
            ("Whether the caller's management token is good", Takes::Nothing, Gives::Verified("Cloudflare_Token"))
        }
        ("accounts/list", _) => {
            ("The accounts that the caller may see", Takes::Page(&["name"]), Gives::List("Cloudflare_Account"))
        }
        ("accounts/get", _) => ("One account", Takes::Nothing, Gives::One("Cloudflare_Account")),
        ("zones/list", _) => {
            ("The zones that the caller may see", Takes::Page(&["name", "account.id"]), Gives::List("Cloudflare_Zone"))
        }
        ("zones/get", _) => ("One zone", Takes::Nothing, Gives::One("Cloudflare_Zone")),
        ("user/get", _) => ("The caller, who must be a user", Takes::Nothing, Gives::One("Cloudflare_User")),
        _ => return None,
    })
}

/// The dialect's part of the document.
pub(crate) fn part() -> Part {
    let mut part = Part { schemas: schema::all(), ..Part::default() };
    for route in ROUTES {
        if let Some((summary, takes, gives)) = shape(route.name) {
            part.describe(&format!("{PREFIX}{}", route.path), route.method, describe(route, summary, takes, gives));
        }
    }
    for (status, description, errors) in errors() {
        let response = with_examples(json_response(description, &schema::named("Cloudflare_Failure")), errors);
        let response = match status {
            400 => with(response, UNAUTHENTICATED, true),
            429 | 503 => with_retry_after(response),
            _ => response,
        };
        part.responses.insert(format!("Cloudflare_{status}"), response);
    }
    let bearer = "A management token. An API token of account scope is taken here, too, but for the verify calls.";
    let header = |name: &str| json!({"type": "apiKey", "in": "header", "name": name});
    for (name, scheme) in [
        ("managementToken", json!({"type": "http", "scheme": "bearer", "description": bearer})),
        ("email", header("X-Auth-Email")),
        ("key", header("X-Auth-Key")),
    ] {
        part.security_schemes.insert(name.to_owned(), scheme);
    }
    part
}

/// Errors by their statuses: what each status means, and all that is answered with it.
fn errors() -> Vec<(u16, &'static str, Vec<Error>)> {
    let invalid = Invalid { detail: "name: must not be empty".to_owned(), pointer: Some("/name") };
    vec![
        (
            400,
            "The body or the query is wrong, or there are no credentials that could be anybody's",
            vec![
                invalid.into(),
                Error::NoCredentials,
                Error::MalformedAuthorization,
                Error::MalformedKey,
                Error::MalformedEmail,
                Error::NoAuthorization,
            ],
        ),
        (401, "The bearer token is unknown, revoked or expired", vec![Error::UnknownBearer, Error::InvalidToken]),
        (
            403,
            "The caller may not do this, or has shown a key that is none",
            vec![Error::Forbidden, Error::UnknownKey, Error::NotAUser],
        ),
        (
            404,
            "There is no such service token, or an id in the path is malformed",
            vec![Error::NotFound, Error::NoRoute { path: format!("{PREFIX}/accounts/x") }],
        ),
        (408, "The body did not arrive in time", vec![Error::TooSlow]),
        (413, "The body is longer than 1 MiB", vec![Error::TooLarge]),
        (429, limit::MEANING, vec![Error::Exceeded(limit::EXAMPLE)]),
        (500, "A bug", vec![Error::Internal]),
        (503, "The store can't be reached, or this node has fallen behind", vec![Error::Unavailable]),
    ]
}

fn with_examples(mut response: Value, errors: Vec<Error>) -> Value {
    let examples: Map<String, Value> = errors
        .into_iter()
        .map(|error| {
            let words = format!("{error:?}");
            let name = words.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_owned();
            (name, json!({"value": error.body()}))
        })
        .collect();
    if let Some(content) = response.pointer_mut("/content/application~1json").and_then(Value::as_object_mut) {
        content.insert("examples".to_owned(), Value::Object(examples));
    }
    response
}

/// The answer with this status, for who answers in the dialect's words.
pub(crate) fn error(status: u16) -> Value {
    json!({"$ref": format!("#/components/responses/Cloudflare_{status}")})
}

/// The other dialect has accounts, too.
fn operation_id(route: &Route) -> String {
    format!("cloudflare/{}", route.name)
}

fn describe(route: &Route, summary: &str, takes: Takes, gives: Gives) -> Value {
    let names = route.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = names.clone().map(in_path).collect();
    if let Takes::Page(filters) = takes {
        parameters.extend(filters.iter().map(|name| in_query(name, &filter(name))));
        let number = |default: u32| json!({"type": "integer", "minimum": 1, "default": default});
        let more = format!("More than {PER_PAGE_MAX} is taken for {PER_PAGE_MAX}");
        let per_page = with(in_query("per_page", &number(PER_PAGE_MAX)), "description", more);
        parameters.extend([in_query("page", &number(1)), per_page]);
    }
    if matches!(gives, Gives::Created(_) | Gives::Changed(_)) {
        parameters.push(idempotency_key("was not used for another change within the last 24 hours"));
    }
    let (status, success) = success(gives);
    let mut responses = Map::from_iter([(status.to_owned(), with_links(route, success))]);
    let mut statuses = vec![400, 401, 403, 429, 500, 503];
    if names.count() > 0 {
        statuses.push(404);
    }
    if matches!(takes, Takes::Body(_) | Takes::OptionalBody(_)) {
        statuses.extend([408, 413]);
    }
    responses.extend(statuses.into_iter().map(|status| (status.to_string(), error(status))));
    let security = match gives {
        Gives::Verified(_) => json!([{"managementToken": []}]),
        _ => json!([{"managementToken": []}, {"email": [], "key": []}]),
    };
    let (tag, _) = route.name.rsplit_once('/').unwrap_or((route.name, ""));
    let tag = format!("cloudflare/{tag}");
    let described = json!({
        "operationId": operation_id(route),
        "tags": [tag],
        "summary": summary,
        "security": security,
        "parameters": parameters,
        "responses": responses,
    });
    let (Takes::Body(name) | Takes::OptionalBody(name)) = takes else { return described };
    let content = json!({"application/json": {"schema": schema::named(name)}});
    let body = json!({"required": matches!(takes, Takes::Body(_)), "content": content});
    with(described, "requestBody", body)
}

/// What can be done with a token that has just been made: the other operations on it, with its id.
fn with_links(route: &Route, success: Value) -> Value {
    if !route.name.ends_with("/create") {
        return success;
    }
    let mut links = Map::new();
    for other in ROUTES.iter().filter(|other| other.path.starts_with(&format!("{}/{{id}}", route.path))) {
        let (place, _) = other.path.trim_start_matches('/').split_once('/').unwrap_or_default();
        let place = if place == "accounts" { "account_id" } else { "zone_id" };
        let parameters = json!({place: format!("$request.path.{place}"), "id": "$response.body#/result/id"});
        let (_, action) = other.name.rsplit_once('/').unwrap_or_default();
        links.insert(action.to_owned(), json!({"operationId": operation_id(other), "parameters": parameters}));
    }
    with(success, "links", links)
}

fn success(gives: Gives) -> (&'static str, Value) {
    let none = || json!({"type": "array", "maxItems": 0});
    let envelope = |messages: Value, result: Value, info: Option<Value>| {
        let mut members =
            vec![("success", json!({"const": true})), ("errors", none()), ("messages", messages), ("result", result)];
        members.extend(info.map(|info| ("result_info", info)));
        let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
        object(&names, members)
    };
    let one = |name| envelope(none(), schema::named(name), None);
    match gives {
        Gives::One(name) => ("200", json_response("Success", &one(name))),
        Gives::Created(name) => ("201", changed(json_response("Created", &one(name)))),
        Gives::Changed(name) => ("200", changed(json_response("Success", &one(name)))),
        Gives::List(name) => {
            let items = json!({"type": "array", "items": schema::named(name), "maxItems": PER_PAGE_MAX});
            let whole = envelope(none(), items, Some(schema::named("Cloudflare_ResultInfo")));
            ("200", json_response("Success", &whole))
        }
        Gives::Verified(name) => {
            let message = object(
                &["code", "message", "type"],
                [
                    ("code", json!({"const": 10000})),
                    ("message", json!({"type": "string"})),
                    ("type", nullable(&json!({"type": "string"}))),
                ],
            );
            let messages = json!({"type": "array", "items": message, "minItems": 1, "maxItems": 1});
            ("200", json_response("Success", &envelope(messages, schema::named(name), None)))
        }
    }
}

fn in_path(name: &str) -> Value {
    let schema = match name {
        "id" => schema::token_id(),
        _ => schema::hex_id(),
    };
    json!({"name": name, "in": "path", "required": true, "schema": schema})
}

fn in_query(name: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "query", "schema": schema})
}

/// What narrows a list. Empty, it does not.
fn filter(name: &str) -> Value {
    match name {
        "account.id" => json!({"anyOf": [schema::hex_id(), {"const": ""}]}),
        _ => schema::text(),
    }
}

#[cfg(test)]
mod tests;
