//! The keys of the chain. Each installation key has one, for the events from its first on; it outlives the installation
//! key, closed under the one that is current.

use countersign_token::digest::{MacKey, NoKey};
use sqlx::AnyConnection;

use crate::error::Error;
use crate::installation_key::{closing, list_audit_keys};
use crate::store::Store;
use crate::tx::Head;

/// The keys under which events were chained.
pub(crate) struct AuditKeys {
    newest: MacKey,
    /// Each with its first event, in their order.
    keys: Vec<(i64, MacKey)>,
}

impl AuditKeys {
    /// The key of what is chained and sealed from now on.
    pub(crate) fn newest(&self) -> &MacKey {
        &self.newest
    }

    /// The key of the event at this place; `None` if none is known for it.
    pub(crate) fn of(&self, seq: i64) -> Option<&MacKey> {
        self.keys.iter().rev().find(|(first, _)| *first <= seq).map(|(_, key)| key)
    }

    /// Every key, the newest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &MacKey> {
        self.keys.iter().rev().map(|(_, key)| key)
    }
}

impl Store {
    pub(crate) async fn audit_keys(&self, connection: &mut AnyConnection) -> Result<AuditKeys, Error> {
        let live = Head::read(connection).await?.keys;
        let current = self.keys().find(live.current).ok_or(NoKey(live.current))?;
        let closing = self.keys().find(closing(live)).ok_or(NoKey(closing(live)))?;
        let mut keys = Vec::new();
        for record in list_audit_keys(connection).await? {
            let key = match record.closed {
                Some(closed) => MacKey::from_bytes(*closing.pad_audit_key(record.id, &closed)),
                None => self.keys().find(record.id).ok_or(NoKey(record.id))?.audit_key(),
            };
            keys.push((record.first_seq, key));
        }
        if keys.is_empty() {
            // Before `init` there is one key, whichever it is.
            keys.push((1, current.audit_key()));
        }
        Ok(AuditKeys { newest: current.audit_key(), keys })
    }
}
