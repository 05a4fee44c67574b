//! The dialect's envelope: `success`, `errors`, `messages`, `result`, always all four.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::Value;

use crate::propagation::Propagation;
use crate::query::Paging;

#[derive(Serialize)]
struct Envelope<'a, T> {
    success: bool,
    errors: &'a [ErrorLine],
    messages: &'a [Message],
    result: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_info: Option<ResultInfo>,
}

/// One entry of `errors`.
#[derive(Debug, Serialize)]
pub(super) struct ErrorLine {
    code: u32,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    error_chain: Vec<ErrorLine>,
}

/// Which part of the body an error is about.
#[derive(Debug, Serialize)]
struct Source {
    pointer: &'static str,
}

impl ErrorLine {
    pub(super) fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), source: None, error_chain: Vec::new() }
    }

    /// Names the part of the body that the error is about, if it is about one.
    pub(super) fn about(mut self, pointer: Option<&'static str>) -> Self {
        self.source = pointer.map(|pointer| Source { pointer });
        self
    }

    pub(super) fn caused_by(mut self, cause: Self) -> Self {
        self.error_chain.push(cause);
        self
    }
}

/// One entry of `messages`. Older Go clients can't decode one on success, so only the verify calls send any.
#[derive(Debug, Serialize)]
pub(super) struct Message {
    pub(super) code: u32,
    pub(super) message: &'static str,
    #[serde(rename = "type")]
    pub(super) kind: Option<&'static str>,
}

/// What a list says of its page. All numbers are integers: Go clients decode them as such.
#[derive(Serialize)]
struct ResultInfo {
    page: u64,
    per_page: u32,
    count: usize,
    total_count: u64,
    total_pages: u64,
}

pub(super) fn success<T: Serialize>(status: StatusCode, result: &T) -> Response {
    render(status, &Envelope { success: true, errors: &[], messages: &[], result: Some(result), result_info: None })
}

pub(super) fn success_with_message<T: Serialize>(result: &T, message: Message) -> Response {
    let messages = [message];
    render(
        StatusCode::OK,
        &Envelope { success: true, errors: &[], messages: &messages, result: Some(result), result_info: None },
    )
}

/// The body of a success, as a text that can be kept and sent again.
pub(super) fn text<T: Serialize>(result: &T) -> String {
    let envelope = Envelope { success: true, errors: &[], messages: &[], result: Some(result), result_info: None };
    serde_json::to_string(&envelope).unwrap_or_else(|error| {
        tracing::error!(error = %error, "an answer could not be rendered");
        BROKEN.to_owned()
    })
}

/// The answer to a change that came to `text`, with the header that tells where it is in force.
pub(super) fn changed(status: StatusCode, text: String, propagation: Option<Propagation>) -> Response {
    let mut response = respond(status, text.into());
    if let Some(propagation) = propagation {
        propagation.tell(response.headers_mut());
    }
    response
}

/// One page of a list of `total` items.
pub(super) fn page<T: Serialize>(items: &[T], total: u64, paging: &Paging) -> Response {
    let info = ResultInfo {
        page: paging.page,
        per_page: paging.per_page,
        count: items.len(),
        total_count: total,
        total_pages: total.div_ceil(u64::from(paging.per_page)).max(1),
    };
    render(
        StatusCode::OK,
        &Envelope { success: true, errors: &[], messages: &[], result: Some(items), result_info: Some(info) },
    )
}

pub(super) fn failure(status: StatusCode, errors: &[ErrorLine]) -> Response {
    render(status, &failed(errors))
}

/// The body of a failure, for the description of the dialect.
pub(super) fn failure_body(errors: &[ErrorLine]) -> Value {
    serde_json::to_value(failed(errors)).unwrap_or_default()
}

fn failed(errors: &[ErrorLine]) -> Envelope<'_, ()> {
    Envelope { success: false, errors, messages: &[], result: None, result_info: None }
}

/// What is said when nothing else can be.
const BROKEN: &str =
    r#"{"success":false,"errors":[{"code":10001,"message":"internal error"}],"messages":[],"result":null}"#;

fn render<T: Serialize>(status: StatusCode, envelope: &Envelope<'_, T>) -> Response {
    match serde_json::to_vec(envelope) {
        Ok(body) => respond(status, body),
        Err(error) => {
            tracing::error!(error = %error, "an answer could not be rendered");
            respond(StatusCode::INTERNAL_SERVER_ERROR, BROKEN.into())
        }
    }
}

fn respond(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
