//! What a management API token may do.

/// A right on an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Every right.
    Everything,
    /// Reading service tokens.
    ServiceTokensRead,
    /// Reading and changing service tokens.
    ServiceTokensWrite,
    /// Following the feed, as a service does that verifies by itself. It shows nothing but that.
    FeedRead,
}

impl Permission {
    /// Every permission, in the order in which they are listed to people.
    pub const ALL: [Self; 4] = [Self::Everything, Self::ServiceTokensRead, Self::ServiceTokensWrite, Self::FeedRead];

    /// The name that people and the store know it by.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Everything => "Everything",
            Self::ServiceTokensRead => "Access: Service Tokens Read",
            Self::ServiceTokensWrite => "Access: Service Tokens Write",
            Self::FeedRead => "Countersign: Verification Feed Read",
        }
    }

    /// The permission with this name, to the letter.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(text: &str) -> Result<Self, PermissionError> {
        Self::ALL.into_iter().find(|permission| permission.text() == text).ok_or(PermissionError)
    }
}

/// A text names no permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be one of: Everything, Access: Service Tokens Read, Access: Service Tokens Write, Countersign: Verification Feed Read"
)]
pub struct PermissionError;
