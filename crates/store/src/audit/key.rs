//! The keys of the chain.

use countersign_token::digest::MacKey;
use sqlx::AnyConnection;

use crate::error::Error;
use crate::store::Store;

/// The keys under which events were chained.
pub(crate) struct AuditKeys {
    newest: MacKey,
}

impl AuditKeys {
    /// The key of what is chained and sealed from now on.
    pub(crate) fn newest(&self) -> &MacKey {
        &self.newest
    }

    /// The key of the event at this place; `None` if none is known for it.
    pub(crate) fn of(&self, _seq: i64) -> Option<&MacKey> {
        Some(&self.newest)
    }

    /// Every key, the newest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &MacKey> {
        [&self.newest].into_iter()
    }
}

impl Store {
    pub(crate) async fn audit_keys(&self, _connection: &mut AnyConnection) -> Result<AuditKeys, Error> {
        Ok(AuditKeys { newest: self.audit_key().clone() })
    }
}
