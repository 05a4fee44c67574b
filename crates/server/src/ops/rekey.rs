//! Rows are given digests under the current installation key: those of secrets that were seen, and those of API tokens,
//! whose text can be minted again.

use std::collections::HashMap;
use std::sync::Arc;

use countersign_store::AuditActor;
use countersign_token::digest::BearerKind;
use countersign_token::id::{AccountId, AccountPfid, ApiTokenId};
use countersign_token::index::{OldDigest, SeenSubject};
use countersign_token::verify::SecretSlot;
use serde_json::json;

use super::commit::gives;
use super::{Error, Ops};
use crate::caller::Origin;

/// How many rows go into one write, so that the writer is never held for long.
const BATCH: usize = 256;

/// The same, as the database takes it.
const PAGE: u32 = 256;

impl Ops {
    /// Gives the rows of secrets that were seen under the key before their digests under the current one, and returns how
    /// many. What has changed meanwhile is left alone, and what is left out is found when it is seen again.
    pub async fn rekey(&self, digests: Vec<OldDigest>) -> Result<u64, Error> {
        let mut changed = 0;
        for batch in digests.chunks(BATCH) {
            changed += self.rekey_batch(batch.to_vec()).await?;
        }
        Ok(changed)
    }

    async fn rekey_batch(&self, batch: Vec<OldDigest>) -> Result<u64, Error> {
        let server = AuditActor { kind: "server", id: String::new() };
        let key = self.keys().live().current.to_string();
        let event = self.event(&server, "installation_key.rekey", ("installation_key", key), None, &Origin::default());
        let batch = Arc::new(batch);
        let (changed, _) = self
            .commit(gives, move |tx| {
                let (batch, mut event) = (Arc::clone(&batch), event.clone());
                Box::pin(async move {
                    let changed = tx.rekey(&batch).await?;
                    if changed > 0 {
                        event.detail = json!({ "rows": changed }).to_string();
                        tx.record(event);
                    }
                    Ok(changed)
                })
            })
            .await?;
        Ok(changed)
    }

    /// Mints every API token under the key before once more, and gives its row the digest of its text under the current key.
    /// Returns how many rows were changed. The signature stays that of the old key: it is part of the text.
    pub async fn rekey_api_tokens(&self) -> Result<u64, Error> {
        let Some(before) = self.keys().live().before else { return Ok(0) };
        let (Some(old), new) = (self.keys().find(before), self.keys().current()) else { return Ok(0) };
        let (old, new) = (old.digest_key(), new.digest_key());
        let mint = self.mint(self.store.installation().await?.ok_or(Error::NotFound)?.id);
        let mut pfids: HashMap<AccountId, AccountPfid> = HashMap::new();
        let (mut after, mut changed): (Option<ApiTokenId>, u64) = (None, 0);
        loop {
            let tokens = self.store.list_api_tokens_under(before, after.as_ref(), PAGE).await?;
            let Some(last) = tokens.last() else { return Ok(changed) };
            after = Some(last.id);
            let mut digests = Vec::new();
            for token in &tokens {
                let pfid = match pfids.get(&token.account) {
                    Some(pfid) => *pfid,
                    None => {
                        let Some(account) = self.store.find_account(&token.account).await? else { continue };
                        *pfids.entry(account.id).or_insert(account.pfid)
                    }
                };
                let secret = mint.secret(pfid, token)?;
                let minted = old.bearer(BearerKind::ApiToken, secret.expose());
                // Otherwise this is not what the token's holder has, and a new digest would void it.
                if minted.matches(&token.digest) {
                    let new = new.bearer(BearerKind::ApiToken, secret.expose());
                    let subject = SeenSubject::ApiToken(token.id);
                    digests.push(OldDigest { subject, slot: SecretSlot::Current, old: minted, new });
                }
            }
            changed += self.rekey(digests).await?;
        }
    }
}
