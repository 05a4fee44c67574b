//! What can go wrong between a call and its answer.

use countersign_token::id::IdError;

/// Why a call gave no result, where `R` is how the dialect refuses. No variant carries a credential.
#[derive(Debug, thiserror::Error)]
pub enum Error<R> {
    /// The base address is not one of an HTTP server.
    #[error("`{given}` is not an http:// or https:// address")]
    Address {
        /// The address as given.
        given: String,
    },
    /// The credential has characters that no header can carry.
    #[error("the credential has characters that can't be sent in an HTTP header")]
    Credential,
    /// The idempotency key has characters that no header can carry.
    #[error("the idempotency key has characters that can't be sent in an HTTP header")]
    IdempotencyKey,
    /// An id is not written as ids are.
    #[error("that is no {what} id")]
    Id {
        /// The kind of thing that was to be named.
        what: &'static str,
        /// What is wrong with the text.
        source: IdError,
    },
    /// The HTTP client could not be made.
    #[error("cannot set up the HTTP client")]
    Setup(#[source] reqwest::Error),
    /// Encryption could not be set up, for instance because the system has no root certificates.
    #[error("cannot set up encrypted connections")]
    Encryption(#[source] rustls::Error),
    /// No answer: the server can't be reached, the connection broke, or the time was up. The server may have done what
    /// it was asked.
    #[error("no answer from {address}")]
    Transport {
        /// The base address that was tried.
        address: String,
        /// What the connection said.
        source: reqwest::Error,
    },
    /// The server refused, and said why.
    #[error(transparent)]
    Refused(R),
    /// The answer is not in the dialect's form.
    #[error("the server answered {status} with something that is not this API: {problem}")]
    Unexpected {
        /// The HTTP status.
        status: u16,
        /// What does not fit.
        problem: String,
    },
}

impl<R> Error<R> {
    /// The refusal, if the server gave one.
    pub fn refusal(&self) -> Option<&R> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Address { .. }
            | Self::Credential
            | Self::IdempotencyKey
            | Self::Id { .. }
            | Self::Setup(_)
            | Self::Encryption(_)
            | Self::Transport { .. }
            | Self::Unexpected { .. } => None,
        }
    }

    /// Whether the server certainly did not see the request: the connection was never made.
    pub fn is_unsent(&self) -> bool {
        match self {
            Self::Transport { source, .. } => source.is_connect(),
            Self::Address { .. }
            | Self::Credential
            | Self::IdempotencyKey
            | Self::Id { .. }
            | Self::Setup(_)
            | Self::Encryption(_) => true,
            Self::Refused(_) | Self::Unexpected { .. } => false,
        }
    }
}
