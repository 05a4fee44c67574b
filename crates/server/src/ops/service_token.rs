//! Service tokens: create, find, list, update, rotate, refresh, delete.

use std::sync::Arc;

use countersign_store::{AuditEvent, Listed, Page, ServiceTokenFilter, Tx};
use countersign_token::allow_from::AllowFrom;
use countersign_token::duration::TokenDuration;
use countersign_token::id::{ClientId, ServiceTokenId};
use countersign_token::secret::Secret;
use countersign_token::service_token::{Name, NewServiceToken, Owner, ServiceToken, Update};
use countersign_token::time::Timestamp;
use serde_json::json;

use super::audit::difference;
use super::commit::{gives, takes_away};
use super::idempotency::{Intent, Reply};
use super::{Error, Ops, Seat};
use crate::caller::{Origin, Permit, Read, Write};

/// What a new service token is made of.
#[derive(Clone, Debug)]
pub struct CreateServiceToken {
    /// Its name; names need not be unique.
    pub name: Name,
    /// How long it lives.
    pub duration: TokenDuration,
    /// Whether it is admitted from the start.
    pub enabled: bool,
    /// The version of its first secret, at least 1.
    pub secret_version: u32,
    /// Kept and shown, without effect: there is no previous secret yet.
    pub previous_expires_at: Option<Timestamp>,
}

/// A new token and its secret, which is nowhere else.
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub token: ServiceToken,
    /// Its secret.
    pub secret: Arc<Secret>,
}

/// A token after a change.
#[derive(Debug)]
pub struct Changed {
    /// The token as it is now.
    pub token: ServiceToken,
    /// The new secret, if the change made one; it is nowhere else.
    pub secret: Option<Arc<Secret>>,
    narrows: bool,
}

/// Which tokens to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListServiceTokens {
    /// Only tokens of exactly this name.
    pub name: Option<String>,
    /// Only tokens whose name, client id or id contains this, whatever the case.
    pub search: Option<String>,
    /// The page, from 1.
    pub page: u64,
    /// Rows a page, at least 1.
    pub per_page: u32,
}

/// One page of tokens, in the order of their creation.
#[derive(Debug)]
pub struct ServiceTokens {
    /// The page's tokens; empty past the end.
    pub tokens: Vec<ServiceToken>,
    /// How many there are on all pages together.
    pub total: u64,
}

/// What a change makes of a token, given a fresh secret in case it needs one.
enum Transition {
    Update(Update),
    Rotate { previous_expires_at: Option<Timestamp> },
    Refresh,
    AllowFrom(Option<AllowFrom>),
}

impl Transition {
    fn action(&self) -> &'static str {
        match self {
            Self::Update(_) => "service_token.update",
            Self::Rotate { .. } => "service_token.rotate",
            Self::Refresh => "service_token.refresh",
            Self::AllowFrom(_) => "service_token.allow_from",
        }
    }
}

/// A change of one token as a job of the writer, which may run it twice.
struct Change {
    owner: Owner,
    id: ServiceTokenId,
    transition: Transition,
    now: Timestamp,
    secret: Arc<Secret>,
    event: AuditEvent,
    seat: Seat,
}

impl Change {
    async fn run(&self, tx: &mut Tx) -> Result<Changed, Error> {
        let before = tx.find_service_token(&self.owner, &self.id).await?.ok_or(Error::NotFound)?;
        let digest = tx.installation_key()?.digest_key().pair(&before.client_id, self.secret.expose());
        let (after, rotated) = match &self.transition {
            Transition::Update(update) => {
                (before.updated(update, Some(&digest), self.now), before.update_rotates(update))
            }
            Transition::Rotate { previous_expires_at } => {
                (before.rotated(*previous_expires_at, digest, self.now), true)
            }
            Transition::Refresh => (before.refreshed(self.now), false),
            Transition::AllowFrom(allow_from) => (before.allowed_from(allow_from.clone(), self.now), false),
        };
        if after.reads_like(&before) {
            return Ok(Changed { token: self.seat.with_last_seen(before), secret: None, narrows: false });
        }
        tx.update_service_token(&after).await?;
        tx.record(AuditEvent { detail: difference(&noted(&before), &noted(&after)), ..self.event.clone() });
        Ok(Changed {
            narrows: before.narrows(&after, self.now),
            token: self.seat.with_last_seen(after),
            secret: rotated.then(|| Arc::clone(&self.secret)),
        })
    }
}

/// What the audit log notes when it changes: what a reviewer asks for first.
fn noted(token: &ServiceToken) -> serde_json::Value {
    json!({
        "name": token.name.as_str(),
        "duration": token.duration.as_str(),
        "enabled": token.enabled,
        "allow_from": token.allow_from.as_ref().map(AllowFrom::to_string),
        "secret_version": token.secret_version,
        "expires_at": token.expires_at.to_string(),
        "previous_expires_at": token.previous_expires_at.map(|at| at.to_string()),
    })
}

impl Ops {
    /// Makes a token. Its secret is in the answer, and in the answer to the same request under the same key.
    pub async fn create_service_token(
        &self,
        permit: &Permit<Write>,
        new: CreateServiceToken,
        intent: Option<Intent<Issued>>,
        origin: &Origin,
    ) -> Result<Reply<Issued>, Error> {
        let now = self.clock.now();
        let client_id = ClientId::generate(&self.entropy);
        let secret = Arc::new(Secret::service_token(self.secret_format, &self.entropy));
        let token = ServiceToken::create(
            NewServiceToken {
                id: ServiceTokenId::generate(now, &self.entropy),
                owner: permit.owner(),
                client_id,
                name: new.name,
                duration: new.duration,
                enabled: new.enabled,
                secret_version: new.secret_version,
                digest: self.digest_key().pair(&client_id, secret.expose()),
                previous_expires_at: new.previous_expires_at,
            },
            now,
        );
        let mut event = self.event_by(permit, "service_token.create", ("service_token", token.id.to_string()), origin);
        event.detail = json!({
            "name": token.name.as_str(),
            "client_id": token.client_id.to_string(),
            "zone_id": token.owner.zone.map(|zone| zone.to_string()),
            "duration": token.duration.as_str(),
            "enabled": token.enabled,
        })
        .to_string();
        self.commit_once(permit.account(), token.id.to_string(), intent, gives, move |tx| {
            let (token, secret, event) = (token.clone(), Arc::clone(&secret), event.clone());
            Box::pin(async move {
                tx.insert_service_token(&token).await?;
                tx.record(event);
                Ok(Issued { token, secret })
            })
        })
        .await
    }

    /// One token; [`Error::NotFound`] if this account or zone has none of that id.
    pub async fn find_service_token(&self, permit: &Permit<Read>, id: &ServiceTokenId) -> Result<ServiceToken, Error> {
        let found = self.store.find_service_token(&permit.owner(), id).await?;
        found.map(|token| self.seat.with_last_seen(token)).ok_or(Error::NotFound)
    }

    /// One page of the tokens of an account or a zone, oldest first.
    pub async fn list_service_tokens(
        &self,
        permit: &Permit<Read>,
        list: &ListServiceTokens,
    ) -> Result<ServiceTokens, Error> {
        let owner = permit.owner();
        let filter = ServiceTokenFilter { owner, name: list.name.clone(), search: list.search.clone() };
        let page = Page { offset: (list.page - 1).saturating_mul(list.per_page.into()), limit: list.per_page };
        let read = async |after: Option<_>, page| self.store.list_service_tokens(&filter, after.as_ref(), page).await;
        // A filter's pages are few, and any change may move them: only whole lists are worth remembering.
        let is_whole = list.name.is_none() && list.search.is_none();
        let Listed { rows, total } = match self.seat.pages() {
            Some(pages) if is_whole => {
                let walk = async |after: Option<_>, step, count| {
                    self.store.mark_service_tokens(&owner, after.as_ref(), step, count).await
                };
                pages.service_tokens.read(owner, page, walk, read, |token| token.id).await?
            }
            _ => read(None, page).await?,
        };
        if let Some(index) = self.seat.index() {
            index.warm(rows.iter().map(|token| &token.client_id));
        }
        Ok(ServiceTokens { tokens: rows.into_iter().map(|token| self.seat.with_last_seen(token)).collect(), total })
    }

    /// Merges `update` into a token. A higher secret version makes a new secret.
    pub async fn update_service_token(
        &self,
        permit: &Permit<Write>,
        id: &ServiceTokenId,
        update: Update,
        intent: Option<Intent<Changed>>,
        origin: &Origin,
    ) -> Result<Reply<Changed>, Error> {
        self.change_service_token(permit, id, Transition::Update(update), intent, origin).await
    }

    /// Makes a new secret. The one before it is admitted until `previous_expires_at`, `None` meaning not at all.
    pub async fn rotate_service_token(
        &self,
        permit: &Permit<Write>,
        id: &ServiceTokenId,
        previous_expires_at: Option<Timestamp>,
        intent: Option<Intent<Changed>>,
        origin: &Origin,
    ) -> Result<Reply<Changed>, Error> {
        self.change_service_token(permit, id, Transition::Rotate { previous_expires_at }, intent, origin).await
    }

    /// Lets a token live at least a year from now.
    pub async fn refresh_service_token(
        &self,
        permit: &Permit<Write>,
        id: &ServiceTokenId,
        intent: Option<Intent<Changed>>,
        origin: &Origin,
    ) -> Result<Reply<Changed>, Error> {
        self.change_service_token(permit, id, Transition::Refresh, intent, origin).await
    }

    /// Sets from where a token may be presented; `None` is anywhere.
    pub async fn allow_service_token_from(
        &self,
        permit: &Permit<Write>,
        id: &ServiceTokenId,
        allow_from: Option<AllowFrom>,
        origin: &Origin,
    ) -> Result<Reply<Changed>, Error> {
        self.change_service_token(permit, id, Transition::AllowFrom(allow_from), None, origin).await
    }

    /// Ends a token. A second call finds nothing, and waits for what the first one made.
    pub async fn delete_service_token(
        &self,
        permit: &Permit<Write>,
        id: &ServiceTokenId,
        intent: Option<Intent<Changed>>,
        origin: &Origin,
    ) -> Result<Reply<Changed>, Error> {
        let owner = permit.owner();
        let now = self.clock.now();
        let id = *id;
        let event = self.event_by(permit, "service_token.delete", ("service_token", id.to_string()), origin);
        let seat = self.seat.clone();
        self.commit_once(permit.account(), id.to_string(), intent, takes_away, move |tx| {
            let (event, seat) = (event.clone(), seat.clone());
            Box::pin(async move {
                let token = tx.find_service_token(&owner, &id).await?.ok_or(Error::NotFound)?;
                tx.delete_service_token(&owner, &id, now).await?;
                tx.record(event);
                Ok(Changed { token: seat.with_last_seen(token), secret: None, narrows: true })
            })
        })
        .await
    }

    async fn change_service_token(
        &self,
        permit: &Permit<Write>,
        id: &ServiceTokenId,
        transition: Transition,
        intent: Option<Intent<Changed>>,
        origin: &Origin,
    ) -> Result<Reply<Changed>, Error> {
        let event = self.event_by(permit, transition.action(), ("service_token", id.to_string()), origin);
        let change = Arc::new(Change {
            owner: permit.owner(),
            id: *id,
            transition,
            now: self.clock.now(),
            secret: Arc::new(Secret::service_token(self.secret_format, &self.entropy)),
            event,
            seat: self.seat.clone(),
        });
        let narrows = |changed: &Changed| changed.narrows;
        self.commit_once(permit.account(), id.to_string(), intent, narrows, move |tx| {
            let change = Arc::clone(&change);
            Box::pin(async move { change.run(tx).await })
        })
        .await
    }
}

impl Seat {
    pub(super) fn with_last_seen(&self, mut token: ServiceToken) -> ServiceToken {
        token.last_seen_at = token.last_seen_at.max(self.index().and_then(|index| index.last_seen(&token.client_id)));
        token
    }
}
