//! Every error of the dialect: its code, its status and its words.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use super::envelope;
use crate::fault::Fault;
use crate::limit::Exceeded;
use crate::ops;

/// Why a request was not served. No error repeats what the caller sent.
#[derive(Debug)]
pub enum Error {
    /// Not a request that anybody could serve: the text says why.
    BadRequest(&'static str),
    /// The path is known, the method is not.
    NoMethod,
    /// The body is longer than 1 MiB.
    TooLarge,
    /// The body did not arrive in time.
    TooSlow,
    /// Nobody said who they are.
    NotAuthenticated,
    /// A bearer that is no usable API token, for whatever reason.
    BadAuthtoken,
    /// The token does not reach that far, or what is named is not its account's to know of.
    NotPermitted,
    /// What the path or a parameter names does not exist where the caller may look.
    NotFound,
    /// What is asked for is not possible in the present state: the text says why.
    InvalidAction(String),
    /// The idempotency key was used with another intent.
    IdempotencyKeyUsed,
    /// Something is wrong with the parameters.
    Invalid(Problems),
    /// The caller has sent too many requests, or too many wrong credentials have come from the address.
    Exceeded(Exceeded),
    /// A bug.
    Internal,
    /// The store can't be reached or written, or this node has fallen behind.
    Unavailable,
}

/// What is wrong with some parameters, by their names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Problems(BTreeMap<Cow<'static, str>, Problem>);

/// What is wrong with a parameter: itself, or something within it.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is required, and absent or `null`.
    Required,
    /// It has no value that it may have; the text continues a sentence that begins with its name.
    Value(Cow<'static, str>),
    /// It names an object of another kind.
    RefType,
    /// It has parts, and some of them are wrong.
    Within(Problems),
}

impl Problems {
    /// The problem of one parameter alone.
    pub fn of(name: impl Into<Cow<'static, str>>, problem: Problem) -> Self {
        Self(BTreeMap::from([(name.into(), problem)]))
    }

    /// Notes a problem. The first one of a parameter counts.
    pub fn note(&mut self, name: impl Into<Cow<'static, str>>, problem: Problem) {
        self.0.entry(name.into()).or_insert(problem);
    }

    /// Notes a problem of a part of `whole`, unless `whole` itself is wrong.
    pub fn note_within(&mut self, whole: &'static str, name: impl Into<Cow<'static, str>>, problem: Problem) {
        let within = self.0.entry(whole.into()).or_insert_with(|| Problem::Within(Self::default()));
        if let Problem::Within(problems) = within {
            problems.note(name, problem);
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn render(&self) -> Value {
        let problems = self.0.iter().map(|(name, problem)| (name.to_string(), problem.render(name)));
        envelope::error("validation_errors", "Validation failed", Some(problems.collect()))
    }
}

impl Problem {
    /// A problem that code found out at run time.
    pub fn value(problem: &impl ToString) -> Self {
        Self::Value(Cow::Owned(problem.to_string()))
    }

    fn render(&self, name: &str) -> Value {
        match self {
            Self::Required => envelope::error("required_value", &format!("{name} is required"), None),
            Self::Value(problem) => envelope::error("invalid_value", &format!("{name} {problem}"), None),
            Self::RefType => {
                envelope::error("unexpected_ref_type", &format!("{name} names an object of another kind"), None)
            }
            Self::Within(problems) => problems.render(),
        }
    }
}

impl From<&'static str> for Problem {
    fn from(problem: &'static str) -> Self {
        Self::Value(Cow::Borrowed(problem))
    }
}

/// The operations know fields of `details`; what stands beside them is judged before.
impl From<ops::Error> for Error {
    fn from(error: ops::Error) -> Self {
        let in_details =
            |field, problem| Self::Invalid(Problems::of("details", Problem::Within(Problems::of(field, problem))));
        match error {
            ops::Error::Invalid { field, problem } => in_details(field, Problem::Value(Cow::Owned(problem))),
            ops::Error::WrongKind { field } => in_details(field, Problem::RefType),
            ops::Error::NotFound => Self::NotFound,
            ops::Error::Conflict(why) | ops::Error::InvalidAction(why) => Self::InvalidAction(why),
            ops::Error::IdempotencyKeyUsed => Self::IdempotencyKeyUsed,
            ops::Error::Forbidden => Self::NotPermitted,
            ops::Error::Store(error) => Self::from(error),
        }
    }
}

impl From<Exceeded> for Error {
    fn from(exceeded: Exceeded) -> Self {
        Self::Exceeded(exceeded)
    }
}

impl From<countersign_store::Error> for Error {
    fn from(error: countersign_store::Error) -> Self {
        match Fault::from(error) {
            Fault::Bug => Self::Internal,
            Fault::Outage => Self::Unavailable,
        }
    }
}

impl Error {
    /// The whole table: status, code, words.
    fn table(&self) -> (StatusCode, &'static str, &str) {
        match self {
            Self::BadRequest(why) => (StatusCode::BAD_REQUEST, "bad_request", why),
            Self::NoMethod => (StatusCode::METHOD_NOT_ALLOWED, "bad_request", "This path does not know that method"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "bad_request", "The body is longer than 1 MiB"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "bad_request", "The body did not arrive in time"),
            Self::NotAuthenticated => (StatusCode::UNAUTHORIZED, "not_authenticated", "No bearer token was sent"),
            Self::BadAuthtoken => (StatusCode::UNAUTHORIZED, "bad_authtoken", "The token is not valid"),
            Self::NotPermitted => (StatusCode::FORBIDDEN, "not_permitted", "The token does not permit this"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "Not found"),
            Self::InvalidAction(why) => (StatusCode::CONFLICT, "invalid_action", why),
            Self::IdempotencyKeyUsed => (
                StatusCode::CONFLICT,
                "idempotency_key_already_used",
                "The idempotency key was used with another request",
            ),
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "validation_errors", "Validation failed"),
            Self::Exceeded(Exceeded::Requests(..)) => {
                (StatusCode::TOO_MANY_REQUESTS, "unknown", "Too many requests in a short time")
            }
            Self::Exceeded(Exceeded::Failures(_)) => (
                StatusCode::TOO_MANY_REQUESTS,
                "unknown",
                "Too many tokens that are not valid have come from this address",
            ),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "unexpected", "An unexpected error occurred"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unexpected", "Temporarily unavailable"),
        }
    }

    /// The error as a JSON object: alone, or among the outputs of several calls.
    pub(super) fn body(&self) -> Value {
        if let Self::Invalid(problems) = self {
            return problems.render();
        }
        let (_, code, message) = self.table();
        envelope::error(code, message, None)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, ..) = self.table();
        let mut response = envelope::render(status, &self.body());
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Self::Exceeded(exceeded) = self {
            exceeded.tell(headers);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn a_plain_error_has_three_members() {
        let check = |error: Error, status: u16, code: &str| {
            let body = error.body();
            assert_eq!(body["status"], "error");
            assert_eq!(body["code"], code);
            assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
            assert_eq!(body.as_object().map(Map::len), Some(3), "{body}");
            assert_eq!(error.into_response().status(), status, "{body}");
        };
        check(Error::BadRequest("The body is not JSON"), 400, "bad_request");
        check(Error::NoMethod, 405, "bad_request");
        check(Error::TooLarge, 413, "bad_request");
        check(Error::TooSlow, 408, "bad_request");
        check(Error::NotAuthenticated, 401, "not_authenticated");
        check(Error::BadAuthtoken, 401, "bad_authtoken");
        check(Error::NotPermitted, 403, "not_permitted");
        check(Error::NotFound, 404, "not_found");
        check(Error::InvalidAction("Token is revoked".to_owned()), 409, "invalid_action");
        check(Error::IdempotencyKeyUsed, 409, "idempotency_key_already_used");
        check(Error::Internal, 500, "unexpected");
        check(Error::Unavailable, 503, "unexpected");
    }

    #[test]
    fn wrong_parameters_are_a_tree() {
        let mut details = Problems::of("token_scope", Problem::Required);
        details.note("environment_id", Problem::RefType);
        details.note("environment_id", Problem::Required);
        let mut problems = Problems::of("details", Problem::Within(details));
        problems.note("idempotency_key", Problem::from("must not be empty"));
        let leaf = |code: &str, message: &str| json!({"status": "error", "code": code, "message": message});
        let tree = |errors: Value| json!({"status": "error", "code": "validation_errors", "message": "Validation failed", "errors": errors});
        let error = Error::Invalid(problems);
        assert_eq!(
            error.body(),
            tree(json!({
                "details": tree(json!({
                    "token_scope": leaf("required_value", "token_scope is required"),
                    "environment_id": leaf("unexpected_ref_type", "environment_id names an object of another kind"),
                })),
                "idempotency_key": leaf("invalid_value", "idempotency_key must not be empty"),
            }))
        );
        assert_eq!(error.into_response().status(), 422);
    }
}
