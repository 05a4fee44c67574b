//! Answers: a JSON object, or a problem as RFC 9457 writes one.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::propagation::Propagation;

const JSON: &str = "application/json";

/// What is said when nothing else can be.
const BROKEN: &str = r#"{"type":"about:blank","title":"Internal Server Error","status":500,"code":"internal","detail":"internal error"}"#;

pub(super) const PROBLEM: &str = "application/problem+json";

/// What was asked for.
pub(super) fn success<T: Serialize>(object: &T) -> Response {
    render(StatusCode::OK, JSON, object)
}

/// What a change has made, with the header that tells where it is in force.
pub(super) fn changed<T: Serialize>(object: &T, propagation: Option<Propagation>) -> Response {
    let mut response = success(object);
    if let Some(propagation) = propagation {
        propagation.tell(response.headers_mut());
    }
    response
}

pub(super) fn problem<T: Serialize>(status: StatusCode, object: &T) -> Response {
    render(status, PROBLEM, object)
}

fn render<T: Serialize>(status: StatusCode, content_type: &'static str, object: &T) -> Response {
    match serde_json::to_vec(object) {
        Ok(body) => respond(status, content_type, body),
        Err(error) => {
            tracing::error!(error = %error, "an answer could not be rendered");
            respond(StatusCode::INTERNAL_SERVER_ERROR, PROBLEM, BROKEN.into())
        }
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
