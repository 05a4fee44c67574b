//! What the store's refusal means for whoever asked.

use std::fmt;

use countersign_store::Error;

/// Whose fault it is that a request can't be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The store can't be reached, or can't be written: trying again may help.
    Outage,
    /// Ours.
    Bug,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        tracing::error!(error = %Causes(&error), "the store refused");
        match error {
            Error::Unavailable { .. }
            | Error::OutcomeUnknown { .. }
            | Error::ReadOnly { .. }
            | Error::Full { .. }
            | Error::Open { .. }
            | Error::KeyMissing(_)
            | Error::Stopped => Self::Outage,
            Error::Conflict { .. }
            | Error::Foreign { .. }
            | Error::Address { .. }
            | Error::SchemaNewer { .. }
            | Error::SchemaOlder { .. }
            | Error::SchemaChanged { .. }
            | Error::KeyMismatch
            | Error::Initialised
            | Error::Inconsistent { .. }
            | Error::Rows { .. }
            | Error::Unaudited
            | Error::Database { .. } => Self::Bug,
        }
    }
}

/// An error with everything that led to it, on one line.
struct Causes<'a>(&'a dyn std::error::Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
