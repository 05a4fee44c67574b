//! The key that new API tokens are signed with. It is derived from the installation key and its own id.

use countersign_store::AuditEvent;

use super::commit::gives;
use super::{Error, Ops, require_administrator, unreadable};
use crate::caller::{Caller, Origin};

impl Ops {
    /// Signs new tokens with another key from now on, and returns its id. Tokens that there are stay good.
    pub async fn rotate_signing_key(&self, by: &Caller) -> Result<String, Error> {
        let actor = require_administrator(by)?;
        let event = self.event(&actor, "signing_key.rotate", ("signing_key", String::new()), None, &Origin::default());
        let (key_id, _) = self
            .commit(gives, move |tx| {
                let event = event.clone();
                Box::pin(async move {
                    let key_id = following(&tx.signing_key_id().await?)?;
                    tx.update_signing_key_id(&key_id).await?;
                    tx.record(AuditEvent { subject_id: key_id.clone(), ..event });
                    Ok(key_id)
                })
            })
            .await?;
        Ok(key_id)
    }

    /// The id of the key that new tokens are signed with.
    pub async fn signing_key_id(&self, by: &Caller) -> Result<String, Error> {
        require_administrator(by)?;
        Ok(self.store.signing_key_id().await?)
    }
}

/// The id of the key that comes after another: they are counted.
fn following(key_id: &str) -> Result<String, Error> {
    let parsed: Result<u64, _> = key_id.parse();
    let number = parsed.map_err(|problem| unreadable("installation", "signing_key_id", key_id, &problem))?;
    Ok(number.saturating_add(1).to_string())
}

#[cfg(test)]
mod tests {
    use super::following;

    #[test]
    fn keys_are_counted() {
        assert_eq!(following("1").unwrap(), "2");
        assert_eq!(following("99").unwrap(), "100");
        assert!(following("first").is_err());
    }
}
