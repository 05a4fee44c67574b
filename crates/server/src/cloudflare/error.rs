//! Every error of the dialect: its status, its code and its words.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::Value;

use super::envelope::{self, ErrorLine};
use crate::authentication::Refused;
use crate::body::Unusable;
use crate::fault::Fault;
use crate::invalid::Invalid;
use crate::limit::Exceeded;
use crate::ops;

/// Why a request was not served.
#[derive(Debug)]
pub enum Error {
    /// The path leads nowhere, or an id in it is malformed.
    NoRoute {
        /// The path as it was sent.
        path: String,
    },
    /// The path is known, the method is not.
    NoMethod {
        /// The method as it was sent.
        method: Method,
    },
    /// Nobody said who they are.
    NoCredentials,
    /// An `Authorization` header that is not one well-formed bearer token.
    MalformedAuthorization,
    /// An `X-Auth-Key` that no key looks like.
    MalformedKey,
    /// An `X-Auth-Email` that no address looks like.
    MalformedEmail,
    /// No user has this address and this key.
    UnknownKey,
    /// A well-formed bearer token that is unknown, revoked or expired.
    UnknownBearer,
    /// The caller lacks the right, or what they name is not theirs to know of.
    Forbidden,
    /// The caller is no user, and only a user has what is asked for.
    NotAUser,
    /// The token does not belong where it is verified.
    InvalidToken,
    /// A bearer token is verified, and none was sent.
    NoAuthorization,
    /// Something in the body or the query is wrong.
    Invalid(Invalid),
    /// The body is longer than 1 MiB.
    TooLarge,
    /// The body did not arrive in time.
    TooSlow,
    /// No service token of that id in this account or zone.
    NotFound,
    /// The caller has sent too many requests, or too many wrong credentials have come from the address.
    Exceeded(Exceeded),
    /// A bug.
    Internal,
    /// The store can't be reached, or can't be written.
    Unavailable,
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoCredentials => Self::NoCredentials,
            Refused::MalformedAuthorization => Self::MalformedAuthorization,
            Refused::MalformedKey => Self::MalformedKey,
            Refused::MalformedEmail => Self::MalformedEmail,
            Refused::UnknownKey => Self::UnknownKey,
            Refused::UnknownBearer => Self::UnknownBearer,
            Refused::Exceeded(exceeded) => Self::Exceeded(exceeded),
            Refused::Stale => Self::Unavailable,
        }
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

impl From<ops::Error> for Error {
    fn from(error: ops::Error) -> Self {
        match error {
            ops::Error::Invalid { field, problem } => {
                Self::Invalid(Invalid { detail: format!("{field}: {problem}"), pointer: None })
            }
            ops::Error::NotFound => Self::NotFound,
            ops::Error::WrongKind { .. }
            | ops::Error::Conflict(_)
            | ops::Error::InvalidAction(_)
            | ops::Error::IdempotencyKeyUsed => Self::Invalid(Invalid { detail: error.to_string(), pointer: None }),
            ops::Error::Forbidden => Self::Forbidden,
            ops::Error::Store(error) => Self::from(error),
        }
    }
}

impl From<countersign_store::Error> for Error {
    fn from(error: countersign_store::Error) -> Self {
        match Fault::from(error) {
            Fault::Outage => Self::Unavailable,
            Fault::Bug => Self::Internal,
        }
    }
}

impl Error {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NoRoute { .. } | Self::NotFound => StatusCode::NOT_FOUND,
            Self::NoMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoCredentials
            | Self::MalformedAuthorization
            | Self::MalformedKey
            | Self::MalformedEmail
            | Self::NoAuthorization
            | Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::UnknownBearer | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::UnknownKey | Self::Forbidden | Self::NotAUser => StatusCode::FORBIDDEN,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Exceeded(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The body of the answer, for the description of the dialect.
    pub(super) fn body(self) -> Value {
        envelope::failure_body(&self.lines())
    }

    fn lines(self) -> Vec<ErrorLine> {
        let invalid_request =
            |detail: &str| ErrorLine::new(12130, format!("access.api.error.invalid_request: {detail}"));
        let malformed_header = |code, header: &str| {
            ErrorLine::new(6003, "Invalid request headers")
                .caused_by(ErrorLine::new(code, format!("Invalid format for {header} header")))
        };
        match self {
            Self::NoRoute { path } => vec![
                ErrorLine::new(7003, format!("Could not route to {path}, perhaps your object identifier is invalid?")),
                ErrorLine::new(7000, "No route for that URI"),
            ],
            Self::NoMethod { method } => {
                vec![ErrorLine::new(7001, format!("Method {method} not available for that URI."))]
            }
            Self::NoCredentials => {
                vec![ErrorLine::new(9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers")]
            }
            Self::MalformedAuthorization => vec![malformed_header(6111, "Authorization")],
            Self::MalformedKey => vec![malformed_header(6103, "X-Auth-Key")],
            Self::MalformedEmail => vec![malformed_header(6102, "X-Auth-Email")],
            Self::UnknownKey => vec![ErrorLine::new(9103, "Unknown X-Auth-Key or X-Auth-Email")],
            Self::UnknownBearer | Self::Forbidden => vec![ErrorLine::new(10000, "Authentication error")],
            Self::NotAUser => vec![ErrorLine::new(9109, "Unauthorized to access requested resource")],
            Self::InvalidToken => vec![ErrorLine::new(1000, "Invalid API Token")],
            Self::NoAuthorization => vec![ErrorLine::new(1001, "Missing \"Authorization\" header")],
            Self::Invalid(Invalid { detail, pointer }) => {
                vec![invalid_request(&detail).about(pointer)]
            }
            Self::TooLarge => vec![invalid_request("the body is longer than 1 MiB")],
            Self::TooSlow => vec![invalid_request("the body did not arrive in time")],
            Self::NotFound => vec![ErrorLine::new(12135, "access.api.error.not_found")],
            Self::Exceeded(exceeded) => vec![ErrorLine::new(10100, exceeded.words())],
            Self::Internal => vec![ErrorLine::new(10001, "internal error")],
            Self::Unavailable => vec![ErrorLine::new(10002, "temporarily unavailable")],
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        let exceeded = if let Self::Exceeded(exceeded) = self { Some(exceeded) } else { None };
        let mut response = envelope::failure(status, &self.lines());
        if let Some(exceeded) = exceeded {
            exceeded.tell(response.headers_mut());
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
