//! Where a token lives.

use std::fmt;

use countersign_token::id::{AccountId, ZoneId};

use super::Error;

/// The account or the zone whose tokens an operation is about. The two are separate namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The account's own tokens.
    Account(AccountId),
    /// The tokens of one zone.
    Zone(ZoneId),
}

impl Scope {
    /// The account with this id, 32 lower-case hex digits.
    pub fn account(id: &str) -> Result<Self, Error> {
        id.parse().map(Self::Account).map_err(|source| Error::Id { what: "account", source })
    }

    /// The zone with this id, 32 lower-case hex digits.
    pub fn zone(id: &str) -> Result<Self, Error> {
        id.parse().map(Self::Zone).map_err(|source| Error::Id { what: "zone", source })
    }
}

/// The scope as it stands in a path: `accounts/<id>` or `zones/<id>`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => write!(f, "accounts/{id}"),
            Self::Zone(id) => write!(f, "zones/{id}"),
        }
    }
}
