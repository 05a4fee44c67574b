//! What belongs to no dialect: health, metrics, this document, and the pages for people.

use serde_json::{Map, Value, json};

use super::{PATH, Part, json_response, nullable, object, response, ruled, with, with_retry_after};
use crate::{assertion, cloudflare};

pub(super) fn part() -> Part {
    let mut part = Part::default();
    part.describe("/livez", "get", operation("livez", "Whether the process runs", &[text(200, "It does")]));
    let stale = "The store has not been read for too long, so nothing is decided that might have changed";
    let ready = [text(200, "It serves"), text(503, stale)];
    part.describe("/readyz", "get", operation("readyz", "Whether this node may be sent requests", &ready));
    let exposition = response("Every metric", "application/openmetrics-text", &json!({"type": "string"}));
    part.describe("/metrics", "get", operation("metrics", "Metrics, for Prometheus", &[(200, exposition)]));
    let document = json_response("This document", &json!({"type": "object"}));
    part.describe(PATH, "get", operation("openapi", "What is served here", &[(200, document)]));
    let certs = json_response("A key set, and the same keys in certificates", &certs());
    let summary = "The keys that assertions can be checked with";
    part.describe(assertion::CERTS_PATH, "get", operation("certs", summary, &[(200, certs)]));
    pages(&mut part);
    part
}

fn certs() -> Value {
    let text = || json!({"type": "string"});
    let kid = || json!({"type": "string", "pattern": "^[0-9a-f]{64}$"});
    let numbers = [("n", text()), ("e", text())];
    let constants =
        [("kty", json!({"const": "RSA"})), ("alg", json!({"const": "RS256"})), ("use", json!({"const": "sig"}))];
    let key =
        object(&["kid", "kty", "alg", "use", "e", "n"], [("kid", kid())].into_iter().chain(constants).chain(numbers));
    let cert = || object(&["kid", "cert"], [("kid", kid()), ("cert", text())]);
    let list = |items: Value| json!({"type": "array", "items": items});
    object(
        &["keys", "public_cert", "public_certs"],
        [("keys", list(key)), ("public_cert", nullable(&cert())), ("public_certs", list(cert()))],
    )
}

fn pages(part: &mut Part) {
    let log_in = operation("cli_connect/show", "A form that makes an API token", &[page(200, "The form")]);
    part.describe("/cli/connect", "get", log_in);
    let answers = [
        page(200, "The API token, shown this once"),
        page(400, "What was sent is no form"),
        page(401, "The address and the key do not belong together"),
        page(403, "The form did not come from here, or the user has no such account"),
        page(408, "The form did not arrive in time"),
        page(410, "The form was open for too long, or was used already"),
        page(413, "The form is longer than 1 MiB"),
        page(422, "The user has several accounts, and has to choose one"),
        throttled(),
        unavailable(),
    ];
    let submit = operation("cli_connect/submit", "Makes an API token for a user's account", &answers);
    let field = |description: &str| json!({"type": "string", "description": description});
    let fields = object(
        &["form", "email", "key"],
        [
            ("form", mark()),
            ("email", field("The user's address")),
            ("key", field("The user's global API key")),
            ("account", field("The account's id or PFID; not needed by a user of one account")),
        ],
    );
    part.describe("/cli/connect", "post", with_form(submit, &fields));

    let no_invite = || page(404, "There is no such invite: it was used or revoked, or its token is another");
    let answers = [page(200, "The form"), no_invite(), throttled(), unavailable()];
    let show = operation("invite/show", "A form that accepts an invite to an account", &answers);
    let answers = [
        page(200, "The new user's global API key, shown this once"),
        page(400, "What was sent is no form"),
        page(403, "The form did not come from here"),
        no_invite(),
        page(408, "The form did not arrive in time"),
        page(410, "The form was open for too long"),
        page(413, "The form is longer than 1 MiB"),
        throttled(),
        unavailable(),
    ];
    let submit = operation("invite/submit", "Accepts an invite to an account", &answers);
    let submit = with_form(submit, &object(&["form"], [("form", mark())]));
    let schema = json!({"type": "string", "pattern": "^[0-9a-z]{32}\\.[0-9a-f]{64}$", "maxLength": 97});
    let token = json!({"name": "token", "in": "path", "required": true, "schema": schema});
    for (method, operation) in [("get", show), ("post", submit)] {
        part.describe("/invite/{token}", method, with(operation, "parameters", json!([token])));
    }
}

/// An operation that anybody may call.
fn operation(id: &str, summary: &str, answers: &[(u16, Value)]) -> Value {
    let mut responses = Map::new();
    responses.extend(answers.iter().map(|(status, answer)| (status.to_string(), answer.clone())));
    // Beside the dialects, who panics answers in the elder one's words.
    responses.entry("500").or_insert_with(|| cloudflare::openapi::error(500));
    json!({"operationId": id, "tags": ["own"], "summary": summary, "security": [], "responses": responses})
}

fn with_form(operation: Value, fields: &Value) -> Value {
    let content = json!({"application/x-www-form-urlencoded": {"schema": fields}});
    with(operation, "requestBody", json!({"required": true, "content": content}))
}

/// The mark of a form.
fn mark() -> Value {
    ruled(json!({"type": "string"}), "is the one of a form that was shown less than 15 minutes ago")
}

fn text(status: u16, description: &str) -> (u16, Value) {
    (status, response(description, "text/plain", &json!({"type": "string"})))
}

fn page(status: u16, description: &str) -> (u16, Value) {
    (status, response(description, "text/html", &json!({"type": "string"})))
}

fn throttled() -> (u16, Value) {
    let (status, page) = page(429, "There were too many failed attempts from this network or for this address");
    (status, with_retry_after(page))
}

fn unavailable() -> (u16, Value) {
    let (status, page) = page(503, "The store can't be reached, or this node has fallen behind");
    (status, with_retry_after(page))
}
