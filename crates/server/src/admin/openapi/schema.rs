//! The schemas of what is sent and answered.

use countersign_token::allow_from::AllowFrom;
use serde_json::{Map, Value, json};

use crate::management::openapi::{nullable, object, ruled};

/// A member of an object: its name and its schema.
type Member = (&'static str, Value);

/// The schema of this name among [`all`].
pub(super) fn named(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The id of an account or a zone.
pub(super) fn hex_id() -> Value {
    let example = "2f0c5b1be6f84e7f8a2d3c4b5a697887";
    json!({"type": "string", "pattern": "^[0-9a-f]{32}$", "maxLength": 32, "examples": [example]})
}

pub(super) fn token_id() -> Value {
    json!({"type": "string", "format": "uuid", "examples": ["0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"]})
}

/// The name of a program that verifies by itself.
pub(super) fn verifier() -> Value {
    json!({"type": "string", "pattern": "^[0-9A-Za-z._-]{1,64}$", "maxLength": 64, "examples": ["edge-7"]})
}

/// Any text. No database keeps U+0000.
pub(super) fn text() -> Value {
    json!({"type": "string", "pattern": "^[^\\u0000]*$"})
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time", "examples": ["2099-01-01T00:00:00Z"]})
}

fn number(minimum: u32) -> Value {
    json!({"type": "integer", "minimum": minimum})
}

/// An object that has all of these members.
fn complete(members: Vec<Member>) -> Value {
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    object(&required, members)
}

/// The networks of a list, or `null` for anywhere.
fn networks() -> Value {
    let network = json!({
        "type": "string",
        "maxLength": 50,
        "pattern": "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$",
        "examples": ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"],
    });
    let network = ruled(network, "is an address, or a network without bits beyond its prefix");
    nullable(&json!({"type": "array", "items": network, "minItems": 1, "maxItems": AllowFrom::COUNT_MAX}))
}

/// The schemas that have a name.
pub(super) fn all() -> Map<String, Value> {
    let problem = object(
        &["type", "title", "status", "code", "detail"],
        [
            ("type", json!({"const": "about:blank"})),
            ("title", json!({"type": "string"})),
            ("status", json!({"type": "integer", "minimum": 400, "maximum": 599})),
            ("code", json!({"type": "string", "pattern": "^[a-z_]+$"})),
            ("detail", json!({"type": "string", "minLength": 1})),
            ("pointer", json!({"type": "string"})),
        ],
    );
    let token = complete(vec![
        ("id", token_id()),
        ("account_id", hex_id()),
        ("zone_id", nullable(&hex_id())),
        ("client_id", json!({"type": "string", "pattern": "^[0-9a-f]{32}\\.access$"})),
        ("name", json!({"type": "string", "minLength": 1, "maxLength": 350})),
        ("state", json!({"enum": ["active", "disabled", "expired"]})),
        ("enabled", json!({"type": "boolean"})),
        ("allow_from", networks()),
        ("duration", json!({"type": "string"})),
        ("created_at", time()),
        ("updated_at", time()),
        ("expires_at", nullable(&time())),
        ("last_seen_at", nullable(&time())),
        ("current_secret", named("Admin_CurrentSecret")),
        ("previous_secret", nullable(&named("Admin_PreviousSecret"))),
    ]);
    let page = complete(vec![
        ("service_tokens", json!({"type": "array", "items": named("Admin_ServiceToken"), "maxItems": 1000})),
        ("page", number(1)),
        ("per_page", number(1)),
        ("total_count", number(0)),
    ]);
    let last_use = || {
        [
            ("last_seen_at", nullable(&time())),
            ("visited_at", nullable(&time())),
            ("address", nullable(&json!({"type": "string", "examples": ["192.0.2.7"]}))),
            ("user_agent", nullable(&json!({"type": "string", "maxLength": 256}))),
        ]
    };
    let current = complete([("version", number(1))].into_iter().chain(last_use()).collect());
    let previous = [("version", nullable(&number(1))), ("expires_at", time())];
    let previous = complete(previous.into_iter().chain(last_use()).collect());
    let wish = complete(vec![("quiet", json!({"type": "string"})), ("asked_at", time()), ("due_at", time())]);
    let rotation = complete(vec![
        ("service_token_id", token_id()),
        ("rotated_at", nullable(&time())),
        ("current_secret", named("Admin_CurrentSecret")),
        ("previous_secret", nullable(&named("Admin_PreviousSecret"))),
        ("quiet_since", nullable(&time())),
        ("finish_when_quiet", nullable(&wish)),
        ("verifiers", number(0)),
        ("as_of", time()),
    ]);
    let quiet = json!({"type": "string", "maxLength": 100, "examples": ["24h"]});
    let quiet = nullable(&ruled(quiet, "is a duration such as 90m or 24h, more than zero, and not forever"));
    let update = object(&["finish_when_quiet"], [("finish_when_quiet", quiet)]);
    let cursor = json!({"type": ["string", "null"], "maxLength": 512});
    let follow = object(&["verifier"], [("verifier", verifier()), ("cursor", cursor)]);
    // docs/in-process.md has the kinds and their members: whoever reads them must stop at one that it does not know.
    let change = object(
        &["revision", "kind"],
        [
            ("revision", number(0)),
            ("kind", json!({"enum": ["account", "zone", "environment", "service_token", "api_token"]})),
        ],
    );
    let key = complete(vec![("id", number(1)), ("key", json!({"type": "string", "pattern": "^[0-9a-f]{64}$"}))]);
    let feed = complete(vec![
        ("format", json!({"const": 1})),
        ("installation_id", hex_id()),
        ("reset", json!({"type": "boolean"})),
        ("complete", json!({"type": "boolean"})),
        ("age_us", number(0)),
        ("max_staleness_us", number(0)),
        ("keys", json!({"type": "array", "items": key, "minItems": 1, "maxItems": 2})),
        ("changes", json!({"type": "array", "items": change})),
        ("cursor", json!({"type": "string", "minLength": 1, "maxLength": 512})),
    ]);
    let schemas = [
        ("Admin_Follow", follow),
        ("Admin_Feed", feed),
        ("Admin_Left", complete(vec![("verifier", verifier())])),
        ("Admin_AllowFrom", complete(vec![("networks", networks())])),
        ("Admin_CurrentSecret", current),
        ("Admin_PreviousSecret", previous),
        ("Admin_Rotation", rotation),
        ("Admin_UpdateRotation", update),
        ("Admin_Problem", problem),
        ("Admin_ServiceToken", token),
        ("Admin_ServiceTokens", page),
    ];
    schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}
