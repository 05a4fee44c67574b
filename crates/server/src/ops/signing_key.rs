//! The key that new API tokens are signed with. It is derived from an installation key and its own id: a number under the
//! first installation key; under a later one that one's number, a full stop, and a number.

use countersign_store::AuditEvent;
use countersign_token::digest::KeyId;

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

/// The first key under an installation key.
pub(super) fn first_under(key: KeyId) -> String {
    format!("{key}.1")
}

/// The installation key that a key is made of.
pub(super) fn made_of(key_id: &str) -> Result<KeyId, Error> {
    let Some((key, _)) = key_id.split_once('.') else { return Ok(KeyId::FIRST) };
    let problem = &"it is of no installation key";
    key.parse().ok().and_then(KeyId::new).ok_or_else(|| unreadable("api_token", "key_id", key_id, problem))
}

/// The id of the key that comes after another: they are counted.
fn following(key_id: &str) -> Result<String, Error> {
    let (before, number) = match key_id.rsplit_once('.') {
        Some((key, number)) => (format!("{key}."), number),
        None => (String::new(), key_id),
    };
    let parsed: Result<u64, _> = number.parse();
    let number = parsed.map_err(|problem| unreadable("installation", "signing_key_id", key_id, &problem))?;
    Ok(format!("{before}{}", number.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::{KeyId, first_under, following, made_of};

    #[test]
    fn keys_are_counted() {
        assert_eq!(following("1").unwrap(), "2");
        assert_eq!(following("99").unwrap(), "100");
        assert_eq!(following("2.1").unwrap(), "2.2");
        assert!(following("first").is_err());
        assert!(following("2.").is_err());
    }

    #[test]
    fn a_key_says_what_it_is_made_of() {
        let check = |key_id: &str, expected| assert_eq!(made_of(key_id).ok().map(KeyId::get), expected, "{key_id}");
        check("1", Some(1));
        check("17", Some(1));
        check("2.1", Some(2));
        check(&first_under(KeyId::new(12).unwrap()), Some(12));
        check("0.1", None);
        check("x.1", None);
    }
}
