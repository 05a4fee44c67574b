//! Every error: its status, its code and its words.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::answer;
use crate::authentication::Refused;
use crate::body::Unusable;
use crate::fault::Fault;
use crate::invalid::Invalid;
use crate::limit::Exceeded;
use crate::ops;

/// Why a request was not served.
#[derive(Debug)]
pub enum Error {
    /// The path leads nowhere, or an account's or zone's id in it is malformed.
    NoRoute,
    /// The path is known, the method is not.
    NoMethod,
    /// Nobody said who they are, or not in a way that could be anybody's.
    NotAuthenticated(&'static str),
    /// A well-formed credential that is unknown, revoked or expired.
    UnknownCredential,
    /// The caller lacks the right, or what they name is not theirs to know of.
    Forbidden,
    /// Something in the body or the query is wrong.
    Invalid(Invalid),
    /// The body is longer than 1 MiB.
    TooLarge,
    /// The body did not arrive in time.
    TooSlow,
    /// There is nothing of that id here.
    NotFound,
    /// It is not possible in the present state; the text says why.
    Conflict(String),
    /// The caller has sent too many requests, or too many wrong credentials have come from the address.
    Exceeded(Exceeded),
    /// A bug.
    Internal,
    /// The store can't be reached, or can't be written, or this node has fallen behind.
    Unavailable,
}

/// A problem as RFC 9457 writes it. The type says nothing beyond the status: `code` does.
#[derive(Debug, Serialize)]
pub(super) struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'static str>,
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<Unusable> for Error {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::TooLarge => Self::TooLarge,
            Unusable::TooSlow => Self::TooSlow,
            Unusable::Invalid(invalid) => Self::Invalid(invalid),
            Unusable::Unread => Self::Internal,
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoCredentials => Self::NotAuthenticated("no credentials were sent"),
            Refused::MalformedAuthorization => {
                Self::NotAuthenticated("Authorization: must be one well-formed bearer token")
            }
            Refused::MalformedKey => Self::NotAuthenticated("X-Auth-Key: must be one well-formed key"),
            Refused::MalformedEmail => Self::NotAuthenticated("X-Auth-Email: must be one well-formed address"),
            Refused::UnknownKey | Refused::UnknownBearer => Self::UnknownCredential,
            Refused::Exceeded(exceeded) => Self::Exceeded(exceeded),
            Refused::Stale => Self::Unavailable,
        }
    }
}

impl From<ops::Error> for Error {
    fn from(error: ops::Error) -> Self {
        match error {
            ops::Error::Invalid { field, problem } => Self::Invalid(Invalid::new(format!("{field}: {problem}"))),
            ops::Error::WrongKind { .. } => Self::Invalid(Invalid::new(error.to_string())),
            ops::Error::NotFound => Self::NotFound,
            ops::Error::Conflict(_) | ops::Error::InvalidAction(_) | ops::Error::IdempotencyKeyUsed => {
                Self::Conflict(error.to_string())
            }
            ops::Error::Forbidden => Self::Forbidden,
            ops::Error::Store(error) => match Fault::from(error) {
                Fault::Outage => Self::Unavailable,
                Fault::Bug => Self::Internal,
            },
        }
    }
}

impl Error {
    /// The whole table: status, code, words.
    fn table(&self) -> (StatusCode, &'static str, Cow<'_, str>) {
        match self {
            Self::NoRoute => (StatusCode::NOT_FOUND, "no_route", "this path leads nowhere".into()),
            Self::NoMethod => {
                (StatusCode::METHOD_NOT_ALLOWED, "no_method", "this path does not know that method".into())
            }
            Self::NotAuthenticated(why) => (StatusCode::UNAUTHORIZED, "not_authenticated", (*why).into()),
            Self::UnknownCredential => {
                (StatusCode::UNAUTHORIZED, "unknown_credential", "the credential is unknown or no longer good".into())
            }
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "the caller may not do this".into()),
            Self::Invalid(Invalid { detail, .. }) => (StatusCode::BAD_REQUEST, "invalid", detail.into()),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is longer than 1 MiB".into()),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too_slow", "the body did not arrive in time".into()),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "there is nothing of that id here".into()),
            Self::Conflict(why) => (StatusCode::CONFLICT, "conflict", why.into()),
            Self::Exceeded(exceeded) => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests", exceeded.words().into()),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error".into()),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "temporarily unavailable".into()),
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        let (status, ..) = self.table();
        status
    }

    pub(super) fn problem(&self) -> Problem<'_> {
        let (status, code, detail) = self.table();
        let pointer = if let Self::Invalid(Invalid { pointer, .. }) = self { *pointer } else { None };
        let title = status.canonical_reason().unwrap_or_default();
        Problem { kind: "about:blank", title, status: status.as_u16(), code, detail, pointer }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = answer::problem(status, &self.problem());
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
