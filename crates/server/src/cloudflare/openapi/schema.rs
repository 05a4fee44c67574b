//! The schemas of what is sent and answered.

use serde_json::{Map, Value, json};

use crate::management::openapi::{nullable, object, ruled};

/// A member of an object: its name and its schema.
type Member = (&'static str, Value);

/// The schema of this name among [`all`].
pub(super) fn named(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The id of an account, a zone, a user, or a management token.
pub(super) fn hex_id() -> Value {
    json!({
        "type": "string",
        "pattern": "^[0-9a-f]{32}$",
        "maxLength": 32,
        "examples": ["2f0c5b1be6f84e7f8a2d3c4b5a697887"],
    })
}

pub(super) fn token_id() -> Value {
    json!({"type": "string", "format": "uuid", "examples": ["0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"]})
}

/// Any text. No database keeps U+0000.
pub(super) fn text() -> Value {
    json!({"type": "string", "pattern": "^[^\\u0000]*$"})
}

fn name() -> Value {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": 350,
        "pattern": "^[^\\u0000]*$",
        "examples": ["CI/CD token"],
    })
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time", "examples": ["2099-01-01T00:00:00Z"]})
}

fn duration() -> Value {
    json!({
        "type": "string",
        "maxLength": 100,
        "pattern": "^(forever|\\+?(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|\u{b5}s|\u{3bc}s|ms|s|m|h))+)$",
        "examples": ["8760h", "1h30m", "forever"],
        "default": "8760h",
    })
}

fn duration_to_keep() -> Value {
    ruled(duration(), "is more than zero, and no more than 2^63 - 1 nanoseconds and 100 bytes")
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn number(minimum: u32) -> Value {
    json!({"type": "integer", "minimum": minimum})
}

fn version(minimum: u32) -> Value {
    json!({"type": "integer", "minimum": minimum, "maximum": u32::MAX})
}

/// An object that has all of these members.
fn complete(members: Vec<Member>) -> Value {
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    object(&required, members)
}

/// What is shown of a service token: always, and where there is a value.
fn token(secret: &[&'static str], optional_secret: &[&'static str]) -> Value {
    let client_id = json!({"type": "string", "pattern": "^[0-9a-f]{32}\\.access$"});
    let mut members = vec![
        ("id", token_id()),
        ("client_id", client_id),
        ("name", name()),
        ("duration", json!({"type": "string"})),
        ("client_secret_version", version(1)),
        ("enabled", flag()),
        ("created_at", time()),
        ("updated_at", time()),
        ("expires_at", time()),
    ];
    let secret_schema = || json!({"type": "string", "pattern": "^csec_[0-9A-Za-z]{46}$"});
    members.extend(secret.iter().map(|name| (*name, secret_schema())));
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    members.extend([("last_seen_at", time()), ("previous_client_secret_expires_at", time())]);
    members.extend(optional_secret.iter().map(|name| (*name, secret_schema())));
    object(&required, members)
}

/// The schemas that have a name.
pub(super) fn all() -> Map<String, Value> {
    let schemas = of_answers().into_iter().chain(of_calls());
    schemas.map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn of_answers() -> Vec<Member> {
    let code = || json!({"type": "integer", "minimum": 1000});
    let message = || json!({"type": "string", "minLength": 1});
    let cause = complete(vec![("code", code()), ("message", message())]);
    let error = object(
        &["code", "message"],
        [
            ("code", code()),
            ("message", message()),
            ("source", complete(vec![("pointer", json!({"type": "string"}))])),
            ("error_chain", json!({"type": "array", "items": cause})),
        ],
    );
    let failure = complete(vec![
        ("success", json!({"const": false})),
        ("errors", json!({"type": "array", "items": error, "minItems": 1})),
        ("messages", json!({"type": "array", "maxItems": 0})),
        ("result", json!({"type": "null"})),
    ]);
    let result_info = complete(vec![
        ("page", number(1)),
        ("per_page", number(1)),
        ("count", number(0)),
        ("total_count", number(0)),
        ("total_pages", number(1)),
    ]);
    let account = complete(vec![
        ("id", hex_id()),
        ("name", name()),
        ("type", json!({"const": "standard"})),
        ("created_on", time()),
    ]);
    let zone = complete(vec![
        ("id", hex_id()),
        ("name", json!({"type": "string"})),
        ("status", json!({"const": "active"})),
        ("account", complete(vec![("id", hex_id()), ("name", name())])),
    ]);
    let user = complete(vec![("id", hex_id()), ("email", json!({"type": "string"}))]);
    let verified =
        object(&["id", "status"], [("id", hex_id()), ("status", json!({"const": "active"})), ("expires_on", time())]);
    let keys = object(
        &["key_rotation_interval_days", "days_until_next_rotation"],
        [
            ("key_rotation_interval_days", number(21)),
            ("days_until_next_rotation", number(0)),
            ("last_key_rotation_at", time()),
        ],
    );
    vec![
        ("Cloudflare_Failure", failure),
        ("Cloudflare_Keys", keys),
        ("Cloudflare_ResultInfo", result_info),
        ("Cloudflare_Account", account),
        ("Cloudflare_Zone", zone),
        ("Cloudflare_User", user),
        ("Cloudflare_Token", verified),
        ("Cloudflare_ServiceToken", token(&[], &[])),
        ("Cloudflare_ServiceTokenWithSecret", token(&["client_secret"], &[])),
        ("Cloudflare_ServiceTokenUpdated", token(&[], &["client_secret"])),
    ]
}

fn of_calls() -> Vec<Member> {
    let previous = || ("previous_client_secret_expires_at", nullable(&time()));
    let members = |name: Value| {
        [
            ("name", name),
            ("duration", nullable(&duration_to_keep())),
            ("enabled", nullable(&flag())),
            ("client_secret_version", nullable(&version(0))),
            previous(),
        ]
    };
    let days = json!({"type": "integer", "minimum": 21, "maximum": 365, "default": 42});
    vec![
        ("Cloudflare_ServiceToken_ForCreate", object(&["name"], members(name()))),
        ("Cloudflare_ServiceToken_ForUpdate", object(&[], members(nullable(&name())))),
        ("Cloudflare_ServiceToken_ForRotate", object(&[], [previous()])),
        ("Cloudflare_Keys_ForUpdate", complete(vec![("key_rotation_interval_days", days)])),
    ]
}
