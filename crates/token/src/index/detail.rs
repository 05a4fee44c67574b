//! What is known of a credential or a user, for whoever asks.

use std::sync::Arc;

use super::{SeenSubject, Text};
use crate::feed::{Grant, TokenOwner};
use crate::id::{AccountId, ApiTokenId, ClientId, EnvironmentId, ManagementTokenId, ServiceTokenId, UserId};
use crate::service_token::Owner;
use crate::time::Timestamp;

/// What is known of a credential or a user besides what decides at once. A clone allocates nothing.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is the subject's field of the same name in the feed")]
pub enum Detail {
    /// A service token.
    ServiceToken { id: ServiceTokenId, owner: Owner, client_id: ClientId, name: Text },
    /// An API token.
    ApiToken { id: ApiTokenId, account: AccountId, environment: Option<EnvironmentId> },
    /// A management API token.
    ManagementToken { id: ManagementTokenId, owner: TokenOwner, grants: Arc<[Grant]>, expires_at: Option<Timestamp> },
    /// A user.
    User { id: UserId, email: Arc<str>, installation_owner: bool, accounts: Arc<[AccountId]> },
}

impl Detail {
    /// Whose last use is noted by the credential's mark.
    pub(crate) fn seen_subject(&self) -> Option<SeenSubject> {
        match self {
            Self::ServiceToken { id, .. } => Some(SeenSubject::ServiceToken(*id)),
            Self::ApiToken { id, .. } => Some(SeenSubject::ApiToken(*id)),
            Self::ManagementToken { id, .. } => Some(SeenSubject::ManagementToken(*id)),
            Self::User { .. } => None,
        }
    }
}
