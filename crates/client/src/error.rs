//! What can go wrong between a call and its answer.

use std::fmt;

use countersign_token::id::IdError;

/// Why a call gave no result. No variant carries a credential.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The base address is not one of an HTTP server.
    #[error("`{given}` is not an http:// or https:// address")]
    Address {
        /// The address as given.
        given: String,
    },
    /// The credential has characters that no header can carry.
    #[error("the credential has characters that can't be sent in an HTTP header")]
    Credential,
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
    Refused(Refusal),
    /// The answer is not in the dialect's form.
    #[error("the server answered {status} with something that is not this API: {problem}")]
    Unexpected {
        /// The HTTP status.
        status: u16,
        /// What does not fit.
        problem: String,
    },
}

impl Error {
    /// The refusal, if the server gave one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Address { .. }
            | Self::Credential
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
            Self::Address { .. } | Self::Credential | Self::Id { .. } | Self::Setup(_) | Self::Encryption(_) => true,
            Self::Refused(_) | Self::Unexpected { .. } => false,
        }
    }
}

/// An error envelope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// What the envelope lists, in its order; at least one.
    pub problems: Vec<Problem>,
    /// The `x-request-id` of the answer, to look for in the server's log.
    pub request_id: Option<String>,
}

impl Refusal {
    /// Whether any problem has this code.
    pub fn has_code(&self, code: i64) -> bool {
        self.problems.iter().any(|problem| problem.code == code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.problems.iter().enumerate() {
            if position > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{problem}")?;
        }
        write!(f, " [HTTP {}]", self.status)
    }
}

/// One entry of an error envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The dialect's number for it.
    pub code: i64,
    /// What the server says.
    pub message: String,
    /// JSON pointer to the field of the request that caused it.
    pub pointer: Option<String>,
    /// Problems behind this one.
    pub chain: Vec<Problem>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {}", self.message, self.code)?;
        if let Some(pointer) = &self.pointer {
            write!(f, " at {pointer}")?;
        }
        f.write_str(")")?;
        for behind in &self.chain {
            write!(f, ": {behind}")?;
        }
        Ok(())
    }
}
