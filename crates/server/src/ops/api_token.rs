//! API tokens: create, find, list, and what can be done to one.

use std::sync::Arc;

use countersign_store::{AgentDeployment, ApiTokenColumn, AuditEvent, Listed, Order, Page, Tx};
use countersign_token::api_token::{
    self, Action, After, ApiToken, ApiTokenScope, ApiTokenStatus, Claims, LIFETIME_DEFAULT_SECS,
};
use countersign_token::digest::{BearerKind, Digest, Keyring};
use countersign_token::id::{
    AccountId, AccountPfid, AgentDeploymentId, ApiTokenId, InstallationId, Pfid, UserId, UserPfid,
};
use countersign_token::secret::Secret;
use countersign_token::time::Timestamp;
use serde_json::json;

use super::agent::shown_deployment;
use super::commit::{gives, takes_away};
use super::field::invalid;
use super::idempotency::{Intent, Outcome, Replay, Reply};
use super::pfid::{require_agent, require_environment};
use super::{Error, Ops, Seat, signing_key, unreadable};
use crate::caller::{Administer, Origin, Permit};

/// What a new API token is made of.
#[derive(Clone, Debug)]
pub struct CreateApiToken {
    /// What it reaches.
    pub scope: NewScope,
    /// When it ends, in whole seconds; `None` is 365 days from now.
    pub expires_at: Option<Timestamp>,
}

/// What a new API token reaches. Each id must be that of a living object of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewScope {
    /// The whole account.
    Account,
    /// One environment.
    Environment(Pfid),
    /// One agent in one environment, which is deployed there if it isn't yet.
    AgentDeployment {
        /// The agent.
        agent: Pfid,
        /// The environment.
        environment: Pfid,
    },
}

/// A new API token and its text. A replay has the same text again.
#[derive(Debug)]
pub struct IssuedApiToken {
    /// The token.
    pub reply: Reply<ApiToken>,
    /// Its text, which is kept nowhere.
    pub secret: Secret,
}

/// What mints the tokens of an installation.
#[derive(Clone, Debug)]
pub(super) struct Mint {
    installation: InstallationId,
    keys: Keyring,
}

/// What is drawn of a new token before the transaction: it may run twice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draft {
    id: ApiTokenId,
    account: AccountId,
    pfid: AccountPfid,
    now: Timestamp,
    expires_at: Timestamp,
}

impl Mint {
    /// Adds a token, signed with the key of the moment.
    pub(super) async fn insert(
        &self,
        tx: &mut Tx,
        draft: &Draft,
        scope: ApiTokenScope,
        created_by: Option<UserPfid>,
    ) -> Result<ApiToken, Error> {
        let Draft { id, account, pfid, now, expires_at } = *draft;
        let key_id = tx.signing_key_id().await?;
        let unsigned = ApiToken {
            id,
            account,
            scope,
            status: ApiTokenStatus::Active,
            digest: Digest::from_bytes([0; 32]),
            key_id,
            issued_at: now.floor_to_second(),
            expires_at,
            created_by,
            last_used_at: None,
            inserted_at: now,
            updated_at: now,
        };
        let secret = self.secret(pfid, &unsigned)?;
        let digest = tx.installation_key()?.digest_key().bearer(BearerKind::ApiToken, secret.expose());
        let token = ApiToken { digest, ..unsigned };
        tx.insert_api_token(&token).await?;
        Ok(token)
    }

    /// The text of a token: the same whenever it is asked for, as long as the installation key is live that the token's
    /// signing key is made of.
    pub(super) fn secret(&self, account: AccountPfid, token: &ApiToken) -> Result<Secret, Error> {
        let claims = Claims {
            installation: self.installation,
            id: token.id,
            account,
            scope: token.scope.kind(),
            issued_at: token.issued_at,
            expires_at: token.expires_at,
        };
        let key = self.keys.get(signing_key::made_of(&token.key_id)?).map_err(countersign_store::Error::from)?;
        Ok(api_token::mint(&key.jwt_key(&token.key_id), &claims))
    }
}

/// A create as a job of the writer, which may run it twice.
struct Create {
    draft: Draft,
    scope: NewScope,
    deployment: AgentDeploymentId,
    mint: Mint,
    user: Option<UserId>,
    event: AuditEvent,
    deployment_event: AuditEvent,
}

impl Create {
    async fn run(&self, tx: &mut Tx) -> Result<ApiToken, Error> {
        // Not before the look-up of the key: a request that is sent again may have become too late meanwhile.
        if self.draft.expires_at <= self.draft.now {
            return Err(invalid("expires_at", "must lie in the future"));
        }
        let scope = self.scope(tx).await?;
        let created_by = match &self.user {
            Some(user) => tx.find_user_pfid(user).await?,
            None => None,
        };
        let token = self.mint.insert(tx, &self.draft, scope, created_by).await?;
        let detail = json!({
            "token_scope": scope.kind().text(),
            "environment_id": scope.environment().map(|id| id.to_string()),
            "agent_id": scope.agent().map(|id| id.to_string()),
            "agent_deployment_id": scope.deployment().map(|id| id.to_string()),
            "expires_at": token.expires_at.to_string(),
        });
        tx.record(AuditEvent { detail: detail.to_string(), ..self.event.clone() });
        Ok(token)
    }

    async fn scope(&self, tx: &mut Tx) -> Result<ApiTokenScope, Error> {
        let Draft { account, now, .. } = self.draft;
        Ok(match self.scope {
            NewScope::Account => ApiTokenScope::Account,
            NewScope::Environment(environment) => {
                ApiTokenScope::Environment(require_environment(tx, &account, environment).await?.id)
            }
            NewScope::AgentDeployment { agent, environment } => {
                let agent = require_agent(tx, &account, agent).await?.id;
                let environment = require_environment(tx, &account, environment).await?.id;
                let deployment = match tx.find_agent_deployment_of(&account, &agent, &environment).await? {
                    Some(deployment) => deployment.id,
                    None => {
                        let id = self.deployment;
                        let deployment =
                            AgentDeployment { id, account, agent, environment, inserted_at: now, updated_at: now };
                        tx.insert_agent_deployment(&deployment).await?;
                        let detail = shown_deployment(&deployment).to_string();
                        tx.record(AuditEvent { detail, ..self.deployment_event.clone() });
                        id
                    }
                };
                ApiTokenScope::AgentDeployment { deployment, agent, environment }
            }
        })
    }
}

/// The words for what was done to a token: in the audit log, and in a refusal.
fn words(action: Action) -> (&'static str, &'static str) {
    match action {
        Action::Activate => ("api_token.activate", "activated"),
        Action::Delete => ("api_token.delete", "deleted"),
        Action::Revoke => ("api_token.revoke", "revoked"),
        Action::Suspend => ("api_token.suspend", "suspended"),
    }
}

impl Ops {
    /// Makes a token. Its text is in the answer, and in the answer to the same request under the same key.
    pub async fn create_api_token(
        &self,
        permit: &Permit<Administer>,
        new: CreateApiToken,
        intent: Option<Intent<ApiToken>>,
        origin: &Origin,
    ) -> Result<IssuedApiToken, Error> {
        let mint = self.mint(self.store.installation().await?.ok_or(Error::NotFound)?.id);
        let now = self.clock.now();
        let draft = self.draft_api_token(permit.account(), permit.pfid(), new.expires_at, now);
        let partition = permit.pfid().as_pfid().partition();
        let deployment = AgentDeploymentId::generate(now, partition, &self.entropy);
        let subject = ("agent_deployment", deployment.to_string());
        let create = Arc::new(Create {
            scope: new.scope,
            deployment,
            mint: mint.clone(),
            user: permit.user(),
            event: self.event_by(permit, "api_token.create", ("api_token", draft.id.to_string()), origin),
            deployment_event: self.event_by(permit, "agent_deployment.create", subject, origin),
            draft,
        });
        let reply = self
            .commit_once(permit.account(), draft.id.to_string(), intent, gives, move |tx| {
                let create = Arc::clone(&create);
                Box::pin(async move { create.run(tx).await })
            })
            .await?;
        let secret = match &reply.outcome {
            Outcome::Done(token) => mint.secret(permit.pfid(), token)?,
            Outcome::Replayed(replay) => mint.secret(permit.pfid(), &self.replayed_api_token(permit, replay).await?)?,
        };
        Ok(IssuedApiToken { reply, secret })
    }

    /// One token; [`Error::NotFound`] if the account has none of that id.
    pub async fn find_api_token(&self, permit: &Permit<Administer>, id: &ApiTokenId) -> Result<ApiToken, Error> {
        let found = self.store.find_api_token(&permit.account(), id).await?;
        found.map(|token| self.seat.with_last_used(token)).ok_or(Error::NotFound)
    }

    /// The account's tokens.
    pub async fn list_api_tokens(
        &self,
        permit: &Permit<Administer>,
        order: &Order<ApiTokenColumn>,
        page: Page,
    ) -> Result<Listed<ApiToken>, Error> {
        if order.column == ApiTokenColumn::LastUsedAt {
            self.flush_marks().await;
        }
        let account = permit.account();
        let Listed { rows, total } = match self.seat.pages() {
            Some(pages) if order.column == ApiTokenColumn::Id && !order.descending => {
                let walk = async |after: Option<_>, step, count| {
                    self.store.mark_api_tokens(&account, after.as_ref(), step, count).await
                };
                let read = async |after: Option<_>, page| {
                    self.store.list_api_tokens_after(&account, after.as_ref(), page).await
                };
                pages.api_tokens.read(account, page, walk, read, |token| token.id).await?
            }
            _ => self.store.list_api_tokens(&account, order, page).await?,
        };
        Ok(Listed { rows: rows.into_iter().map(|token| self.seat.with_last_used(token)).collect(), total })
    }

    /// Does something to a token, if its status allows it; a deleted token is returned as it was last. What takes away is
    /// in force everywhere when this returns.
    pub async fn act_on_api_token(
        &self,
        permit: &Permit<Administer>,
        id: &ApiTokenId,
        action: Action,
        intent: Option<Intent<ApiToken>>,
        origin: &Origin,
    ) -> Result<Reply<ApiToken>, Error> {
        let (name, done) = words(action);
        let effect: fn(&ApiToken) -> bool = match action {
            Action::Activate => gives,
            Action::Delete | Action::Revoke | Action::Suspend => takes_away,
        };
        let now = self.clock.now();
        let event = self.event_by(permit, name, ("api_token", id.to_string()), origin);
        let (account, id, seat) = (permit.account(), *id, self.seat.clone());
        self.commit_once(account, id.to_string(), intent, effect, move |tx| {
            let (event, seat) = (event.clone(), seat.clone());
            Box::pin(async move {
                let before = tx.find_api_token(&account, &id).await?.ok_or(Error::NotFound)?;
                let after = match before.status.after(action) {
                    Some(After::Status(status)) => {
                        let after = before.changed(status, now);
                        tx.update_api_token(&after).await?;
                        after
                    }
                    Some(After::Deleted) => {
                        tx.delete_api_token(&account, &id, now).await?;
                        before
                    }
                    None => {
                        let status = before.status.text();
                        return Err(Error::InvalidAction(format!("Token is {status} and cannot be {done}")));
                    }
                };
                tx.record(event);
                Ok(seat.with_last_used(after))
            })
        })
        .await
    }

    pub(super) fn mint(&self, installation: InstallationId) -> Mint {
        Mint { installation, keys: self.keys().clone() }
    }

    pub(super) fn draft_api_token(
        &self,
        account: AccountId,
        pfid: AccountPfid,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Draft {
        let id = ApiTokenId::generate(now, pfid.as_pfid().partition(), &self.entropy);
        let lifetime = LIFETIME_DEFAULT_SECS * 1_000_000;
        let expires_at = expires_at.unwrap_or_else(|| now.saturating_add_micros(lifetime)).floor_to_second();
        Draft { id, account, pfid, now, expires_at }
    }

    /// The token that a replayed request has made, whatever became of it.
    async fn replayed_api_token(&self, permit: &Permit<Administer>, replay: &Replay) -> Result<ApiToken, Error> {
        let subject = &replay.subject;
        let parsed: Result<ApiTokenId, _> = subject.parse();
        let id = parsed.map_err(|problem| unreadable("idempotent_answer", "subject", subject, &problem))?;
        self.store.find_api_token_ever(&permit.account(), &id).await?.ok_or(Error::NotFound)
    }
}

impl Seat {
    fn with_last_used(&self, mut token: ApiToken) -> ApiToken {
        token.last_used_at = token.last_used_at.max(self.index().and_then(|index| index.last_used(&token.digest)));
        token
    }
}
