//! The dialect's envelope: `status`, and beside it what was asked for or what was wrong.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::propagation::Propagation;
use crate::repeat;

/// What a handler answers, whatever carries it: a response of its own, or one output among several.
#[derive(Debug)]
pub(super) struct Answer {
    /// The whole object, `status` included.
    pub(super) body: Map<String, Value>,
    /// Whether it is what an earlier call with the same idempotency key was answered.
    pub(super) replayed: bool,
    pub(super) propagation: Option<Propagation>,
}

impl Answer {
    /// A success with these members.
    pub(super) fn success(members: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let status = ("status", Value::from("success"));
        let body = std::iter::once(status).chain(members).map(|(name, value)| (name.to_owned(), value)).collect();
        Self { body, replayed: false, propagation: None }
    }

    pub(super) fn details(details: Map<String, Value>) -> Self {
        Self::success([("details", Value::Object(details))])
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = render(StatusCode::OK, &Value::Object(self.body));
        let headers = response.headers_mut();
        if self.replayed {
            repeat::tell_replayed(headers);
        }
        if let Some(propagation) = self.propagation {
            propagation.tell(headers);
        }
        response
    }
}

/// The one form of errors, with the errors within where there are any.
pub(super) fn error(code: &'static str, message: &str, within: Option<Map<String, Value>>) -> Value {
    let mut error = json!({"status": "error", "code": code, "message": message});
    if let (Some(error), Some(within)) = (error.as_object_mut(), within) {
        error.insert("errors".to_owned(), Value::Object(within));
    }
    error
}

pub(super) fn render(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
