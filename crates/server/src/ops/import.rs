//! Service tokens that another system has issued: their holders go on with the pairs they have.

use std::collections::HashSet;
use std::sync::Arc;

use countersign_store::{AuditEvent, Tx};
use countersign_token::duration::TokenDuration;
use countersign_token::id::{ClientId, ServiceTokenId};
use countersign_token::secret::Secret;
use countersign_token::service_token::{Name, NewServiceToken, ServiceToken};
use countersign_token::time::Timestamp;
use serde_json::json;

use super::commit::gives;
use super::field::invalid;
use super::{Error, Ops};
use crate::caller::{Origin, Permit, Write};

/// A service token as another system had it.
#[derive(Debug)]
pub struct ImportedServiceToken {
    /// Its name; names need not be unique.
    pub name: Name,
    /// The public half of the pair.
    pub client_id: ClientId,
    /// The other half.
    pub secret: ImportedSecret,
    /// The lifetime that it is said to have.
    pub duration: TokenDuration,
    /// When it ends; `None` counts `duration` from now.
    pub expires_at: Option<Timestamp>,
    /// Whether it is admitted.
    pub enabled: bool,
}

/// The secret of a service token, or as much of it as another system tells.
#[derive(Debug)]
pub enum ImportedSecret {
    /// The secret itself.
    Plain(Secret),
    /// Its SHA-256.
    Sha256([u8; 32]),
}

/// What an import came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Import {
    /// All tokens are there. Of a trial: all could be.
    Done,
    /// Nothing was done, because these client ids are taken.
    Taken(Vec<ClientId>),
}

impl Ops {
    /// How many tokens one import takes at most: it holds up all other writers while it lasts.
    pub const IMPORT_MAX: usize = 100_000;

    /// Adds tokens, all of them or none. A `trial` does everything but to add them.
    ///
    /// A client id is taken also for a week after its token was deleted: until then the store remembers that.
    pub async fn import_service_tokens(
        &self,
        permit: &Permit<Write>,
        tokens: Vec<ImportedServiceToken>,
        trial: bool,
        origin: &Origin,
    ) -> Result<Import, Error> {
        if tokens.len() > Self::IMPORT_MAX {
            let problem = format!("must not be more than {} at once", Self::IMPORT_MAX);
            return Err(invalid("tokens", &problem));
        }
        let now = self.clock.now();
        let mut wanted = HashSet::with_capacity(tokens.len());
        let mut rows = Vec::with_capacity(tokens.len());
        for token in tokens {
            if !wanted.insert(token.client_id) {
                return Err(invalid("client_id", "must not be given twice"));
            }
            let row = self.imported(permit, token, now);
            let mut event =
                self.event_by(permit, "service_token.import", ("service_token", row.id.to_string()), origin);
            event.detail = json!({
                "name": row.name.as_str(),
                "client_id": row.client_id.to_string(),
                "zone_id": row.owner.zone.map(|zone| zone.to_string()),
                "duration": row.duration.as_str(),
                "expires_at": row.expires_at.to_string(),
                "enabled": row.enabled,
            })
            .to_string();
            rows.push((row, event));
        }
        let job = Arc::new((wanted, rows));
        let (taken, _) = self
            .commit(gives, move |tx| {
                let job = Arc::clone(&job);
                Box::pin(async move { insert(tx, &job.0, &job.1, trial).await })
            })
            .await?;
        Ok(if taken.is_empty() { Import::Done } else { Import::Taken(taken) })
    }

    fn imported(&self, permit: &Permit<Write>, token: ImportedServiceToken, now: Timestamp) -> ServiceToken {
        let ImportedServiceToken { name, client_id, secret, duration, expires_at, enabled } = token;
        let digest = match &secret {
            ImportedSecret::Plain(secret) => self.digest_key().pair(&client_id, secret.expose()),
            ImportedSecret::Sha256(sha256) => self.digest_key().pair_from_sha256(&client_id, sha256),
        };
        let new = NewServiceToken {
            id: ServiceTokenId::generate(now, &self.entropy),
            owner: permit.owner(),
            client_id,
            name,
            duration,
            enabled,
            secret_version: 1,
            digest,
            previous_expires_at: None,
        };
        let token = ServiceToken::create(new, now);
        ServiceToken { expires_at: expires_at.unwrap_or(token.expires_at), ..token }
    }
}

async fn insert(
    tx: &mut Tx,
    wanted: &HashSet<ClientId>,
    rows: &[(ServiceToken, AuditEvent)],
    trial: bool,
) -> Result<Vec<ClientId>, Error> {
    let taken = tx.find_client_ids(wanted).await?;
    if taken.is_empty() && !trial {
        for (token, event) in rows {
            tx.insert_service_token(token).await?;
            tx.record(event.clone());
        }
    }
    Ok(taken)
}
