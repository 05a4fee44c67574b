//! What the management listener serves, as one OpenAPI document. Each dialect describes its own part of it, from its
//! table of routes.

mod own;

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::{admin, cloudflare, prefactor};

/// Where the document is.
pub(super) const PATH: &str = "/openapi.json";

/// What a schema bears whose value has to obey a rule that no schema can state: the rule in words. A value that fits the
/// schema and breaks the rule is refused.
pub(crate) const RULE: &str = "x-countersign-rule";

/// What the error response bears that is also the answer to calls without credentials, where it is not 401 or 403.
pub(crate) const UNAUTHENTICATED: &str = "x-countersign-unauthenticated";

/// A part of the document: paths, and what they refer to by name.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) paths: Map<String, Value>,
    pub(crate) responses: Map<String, Value>,
    pub(crate) schemas: Map<String, Value>,
    pub(crate) security_schemes: Map<String, Value>,
}

impl Part {
    /// Adds the description of an operation.
    pub(crate) fn describe(&mut self, path: &str, method: &str, operation: Value) {
        let methods = self.paths.entry(path).or_insert_with(|| json!({}));
        if let Some(methods) = methods.as_object_mut() {
            methods.insert(method.to_lowercase(), operation);
        }
    }

    fn add(&mut self, part: Self) {
        self.paths.extend(part.paths);
        self.responses.extend(part.responses);
        self.schemas.extend(part.schemas);
        self.security_schemes.extend(part.security_schemes);
    }

    /// A document of this part alone.
    pub(crate) fn document(self, title: &str, description: &str) -> Value {
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": title,
                "description": description,
                "version": env!("CARGO_PKG_VERSION"),
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            "paths": self.paths,
            "components": {
                "securitySchemes": self.security_schemes,
                "responses": self.responses,
                "schemas": self.schemas,
            },
        })
    }
}

const DESCRIPTION: &str = "Everything that the management listener serves. \
    The paths below /client/v4 are also served without that prefix. \
    Every answer has an X-Request-Id: the one that the request had, if it had one of 1 to 128 letters, digits, dots, \
    underscores and hyphens.";

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

fn document() -> Value {
    let mut whole = own::part();
    whole.add(cloudflare::openapi::part());
    whole.add(prefactor::openapi::part());
    whole.add(admin::openapi::part());
    whole.document("Countersign", DESCRIPTION)
}

/// Anybody may read it.
pub(super) async fn show() -> Response {
    let content_type = HeaderValue::from_static("application/json");
    (StatusCode::OK, [(header::CONTENT_TYPE, content_type)], DOCUMENT.clone()).into_response()
}

/// An answer with a JSON body.
pub(crate) fn json_response(description: &str, schema: &Value) -> Value {
    response(description, "application/json", schema)
}

/// An answer with a body of another type.
pub(crate) fn response(description: &str, content_type: &str, schema: &Value) -> Value {
    json!({"description": description, "content": {content_type: {"schema": schema}}})
}

/// The same object with another member.
pub(crate) fn with(mut object: Value, name: &str, member: impl Into<Value>) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), member.into());
    }
    object
}

/// The same answer with a header that it may have.
pub(crate) fn with_header(response: Value, name: &str, description: &str, schema: &Value) -> Value {
    let headers = response.get("headers").cloned().unwrap_or_else(|| json!({}));
    let headers = with(headers, name, json!({"description": description, "schema": schema}));
    with(response, "headers", headers)
}

/// The same answer to a change, with the headers that tell where it is in force, and whether it was made before.
pub(crate) fn changed(response: Value) -> Value {
    let words = "That the answer is that of an earlier call with the same key";
    propagated(with_header(response, "Idempotency-Replayed", words, &json!({"const": "true"})))
}

/// The same answer to a change, with the header that tells where it is in force.
pub(crate) fn propagated(response: Value) -> Value {
    let schema = json!({"type": "string", "pattern": "^(complete|partial); nodes=[0-9]+; waited=[0-9]+ms$"});
    with_header(response, "Countersign-Propagation", "Where a change that takes something away is in force", &schema)
}

/// The same answer with the time after which to ask again.
pub(crate) fn with_retry_after(response: Value) -> Value {
    with_header(response, "Retry-After", "In seconds", &json!({"type": "integer", "minimum": 1}))
}

/// The header that makes it safe to send a change again.
pub(crate) fn idempotency_key(rule: &str) -> Value {
    let pattern = r#"^[\t ]*([!-~]([\t -~]{0,62}[!-~])?|"[\t -~]{1,64}")[\t ]*$"#;
    let schema = json!({"type": "string", "pattern": pattern, "examples": ["rotate-2026-11"]});
    let description = "A retry with the same key gets the same answer. It may stand in quotes.";
    json!({"name": "Idempotency-Key", "in": "header", "description": description, "schema": ruled(schema, rule)})
}

/// The same schema for a value that has to obey this rule as well.
pub(crate) fn ruled(schema: Value, rule: &str) -> Value {
    with(schema, RULE, rule)
}

/// The same schema, or `null`.
pub(crate) fn nullable(schema: &Value) -> Value {
    let nullable = json!({"anyOf": [schema, {"type": "null"}]});
    match schema.get(RULE) {
        Some(rule) => with(nullable, RULE, rule.clone()),
        None => nullable,
    }
}

/// An object that must have the members `required` and may have the others.
pub(crate) fn object(required: &[&str], members: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let members: Map<String, Value> = members.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({"type": "object", "required": required, "properties": members})
}

#[cfg(test)]
mod tests;
