//! What becomes of the secret that a rotation has replaced: who still comes with it, and ending it once nobody does.

use std::time::Duration;

use countersign_store::{AuditEvent, Node, RotationWish, SecretUse, Tx};
use countersign_token::duration::TokenDuration;
use countersign_token::id::ServiceTokenId;
use countersign_token::service_token::{Patch, ServiceToken, Update};
use countersign_token::time::Timestamp;
use serde_json::json;

use super::commit::gives;
use super::{Error, Ops, Seat};
use crate::caller::{Origin, Permit, Read, Right, Write};
use crate::{flusher, propagation};

/// How much longer than was asked nobody must have come: a mark has to reach the store, and the clocks of servers differ a
/// little.
const MARGIN: Duration = flusher::WITHIN.saturating_add(Duration::from_secs(5));

/// The last use of each of a token's secrets, as far as the store has been told.
#[derive(Clone, Debug, Default)]
pub struct SecretUses(Vec<SecretUse>);

impl SecretUses {
    /// The last use of the current secret; `None` if there was none.
    pub fn current(&self, token: &ServiceToken) -> Option<&SecretUse> {
        self.of(token.secret_version)
    }

    /// The last use of the secret before; `None` if there was none.
    pub fn previous(&self, token: &ServiceToken) -> Option<&SecretUse> {
        self.of(token.previous_version?)
    }

    fn of(&self, version: u32) -> Option<&SecretUse> {
        self.0.iter().find(|seen| seen.secret.version == version)
    }

    /// Since when certainly nobody has come with the secret before: not before the rotation, whenever it was used until
    /// then. What can't be told apart counts as a use of it.
    fn quiet_since(&self, token: &ServiceToken) -> Timestamp {
        let may_be = |version: u32| version == 0 || Some(version) == token.previous_version;
        let seen = self.0.iter().filter(|seen| may_be(seen.secret.version)).map(|seen| seen.last_seen_at).max();
        // Of an older rotation it isn't known when it was: at the latest with the last change.
        let rotated_at = token.rotated_at.unwrap_or(token.updated_at);
        seen.map_or(rotated_at, |seen| seen.max(rotated_at))
    }
}

/// A token whose secret before may still be good.
#[derive(Debug)]
pub struct Rotation {
    /// The token.
    pub token: ServiceToken,
    /// Who came with which of its secrets.
    pub uses: SecretUses,
    /// Since when certainly nobody has come with the secret before; `None` if that isn't good any more.
    pub quiet_since: Option<Timestamp>,
    /// When the secret before is to end by itself, if nobody comes until then.
    pub wish: Option<Wish>,
    /// How many programs verify by themselves, and tell nobody whom they have admitted.
    pub verifiers: usize,
    /// As of when this is said.
    pub at: Timestamp,
}

/// That a secret is to end once nobody has come with it for a while.
#[derive(Debug)]
pub struct Wish {
    /// For how long.
    pub quiet: TokenDuration,
    /// When this was asked for.
    pub asked_at: Timestamp,
    /// When it comes true, if nobody comes until then.
    pub due_at: Timestamp,
}

/// What has become of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fulfilment {
    /// The secret has ended.
    Done,
    /// Somebody came not long ago.
    NotYet,
    /// It had no meaning any more, and is gone.
    Void,
}

/// When the secret before ends, if it is still good.
fn running_until(token: &ServiceToken, now: Timestamp) -> Option<Timestamp> {
    let (_, until) = token.previous()?;
    let until = token.ends_at().map_or(until, |end| end.min(until));
    (until > now).then_some(until)
}

/// Whether a wish is about the secret before that a token has now.
fn has_meaning(wish: &RotationWish, token: &ServiceToken, now: Timestamp) -> bool {
    wish.secret_version == token.secret_version && running_until(token, now).is_some()
}

fn due_at(wish: &RotationWish, quiet_since: Timestamp) -> Timestamp {
    let margin = i64::try_from(MARGIN.as_micros()).unwrap_or(i64::MAX);
    quiet_since.saturating_add_nanos(wish.quiet.nanos().unwrap_or(i64::MAX)).saturating_add_micros(margin)
}

impl Rotation {
    /// When the secret before ends at the latest; `None` if it isn't good any more.
    pub fn ends_at(&self) -> Option<Timestamp> {
        running_until(&self.token, self.at)
    }
}

impl Ops {
    /// Who came with which secret of each of these tokens, in their order, as the store knows it: whoever reads a list does
    /// not wait until everything is written that this node has seen since.
    pub async fn list_secret_uses(&self, _: &Permit<Read>, tokens: &[ServiceToken]) -> Result<Vec<SecretUses>, Error> {
        let ids: Vec<ServiceTokenId> = tokens.iter().map(|token| token.id).collect();
        let uses = self.store.list_secret_uses(&ids).await?;
        let of = |id: &ServiceTokenId| uses.iter().filter(|seen| seen.secret.id == *id).cloned().collect();
        Ok(ids.iter().map(|id| SecretUses(of(id))).collect())
    }

    /// How far the last rotation of a token has come; [`Error::NotFound`] if this account or zone has none of that id.
    pub async fn find_rotation<R: Right>(&self, permit: &Permit<R>, id: &ServiceTokenId) -> Result<Rotation, Error> {
        self.flush_marks().await;
        let found = self.store.find_service_token(&permit.owner(), id).await?.ok_or(Error::NotFound)?;
        let token = self.seat.with_last_seen(found);
        let uses = SecretUses(self.store.list_secret_uses(&[*id]).await?);
        let wish = self.store.find_rotation_wish(id).await?;
        let verifiers = self.store.list_nodes().await?.iter().filter(|node| node.is_verifier).count();
        let now = self.clock.now();
        let quiet_since = running_until(&token, now).map(|_| uses.quiet_since(&token));
        let wish = wish.filter(|wish| has_meaning(wish, &token, now)).zip(quiet_since).map(|(wish, since)| {
            let due_at = due_at(&wish, since);
            Wish { quiet: wish.quiet, asked_at: wish.asked_at, due_at }
        });
        Ok(Rotation { token, uses, quiet_since, wish, verifiers, at: now })
    }

    /// Ends the secret before as soon as nobody has come with it for `quiet`, or takes that back. It holds until the next
    /// rotation. At its own time the secret ends in any case; [`Error::InvalidAction`] if that comes first whoever comes.
    pub async fn finish_rotation_when_quiet(
        &self,
        permit: &Permit<Write>,
        id: &ServiceTokenId,
        quiet: Option<TokenDuration>,
        origin: &Origin,
    ) -> Result<Rotation, Error> {
        if quiet.as_ref().is_some_and(TokenDuration::is_forever) {
            let problem = "must not be forever: leave it out, and the secret ends at its time".to_owned();
            return Err(Error::Invalid { field: "finish_when_quiet", problem });
        }
        self.flush_marks().await;
        let (now, owner, id) = (self.clock.now(), permit.owner(), *id);
        let mut event =
            self.event_by(permit, "service_token.finish_when_quiet", ("service_token", id.to_string()), origin);
        event.detail = json!({ "quiet": quiet.as_ref().map(TokenDuration::as_str) }).to_string();
        let actor = permit.actor().clone();
        self.commit(gives, move |tx| {
            let (event, quiet, actor) = (event.clone(), quiet.clone(), actor.clone());
            Box::pin(async move {
                let token = tx.find_service_token(&owner, &id).await?.ok_or(Error::NotFound)?;
                let known = tx.find_rotation_wish(&id).await?;
                match quiet {
                    Some(quiet) => {
                        let until = running_until(&token, now).ok_or_else(|| {
                            Error::InvalidAction("there is no secret before that is still good".to_owned())
                        })?;
                        let secret_version = token.secret_version;
                        let wish = RotationWish { owner, id, secret_version, quiet, asked_at: now, actor };
                        let due_at = due_at(&wish, SecretUses(tx.list_secret_uses(&id).await?).quiet_since(&token));
                        if due_at >= until {
                            return Err(Error::InvalidAction(format!(
                                "the secret before ends at {until} in any case, and will not have been quiet for {} \
                                 before {due_at}",
                                wish.quiet
                            )));
                        }
                        tx.put_rotation_wish(&wish).await?;
                        tx.record(event);
                        Ok(())
                    }
                    None if known.is_some() => {
                        tx.delete_rotation_wish(&id).await?;
                        tx.record(event);
                        Ok(())
                    }
                    None => Ok(()),
                }
            })
        })
        .await?;
        self.find_rotation(permit, &id).await
    }

    /// Ends every secret that was wished to end once nobody uses it, if that is so. Returns how many.
    pub async fn finish_quiet_rotations(&self) -> Result<u64, Error> {
        let wishes = self.store.list_rotation_wishes().await?;
        if wishes.is_empty() {
            return Ok(0);
        }
        self.flush_marks().await;
        let mut done = 0;
        for wish in wishes {
            if self.may_come_true(&wish).await? && self.fulfil(wish).await? == Fulfilment::Done {
                done += 1;
            }
        }
        Ok(done)
    }

    /// Whether there is something to be done for a wish. A look that nobody waits for.
    async fn may_come_true(&self, wish: &RotationWish) -> Result<bool, Error> {
        let now = self.clock.now();
        let token = self.store.find_service_token(&wish.owner, &wish.id).await?;
        let Some(token) = token.filter(|token| has_meaning(wish, token, now)) else { return Ok(true) };
        let uses = SecretUses(self.store.list_secret_uses(&[wish.id]).await?);
        Ok(due_at(wish, uses.quiet_since(&token)) <= now && !self.somebody_may_know_more().await?)
    }

    /// Whether a secret may have been used without the store having been told: by a server that can't reach it, or by a
    /// program that verifies by itself.
    async fn somebody_may_know_more(&self) -> Result<bool, Error> {
        let Seat::Node(own) = &self.seat else { return Ok(true) };
        let (watched, now) = (own.follower.watched(), self.clock.boot());
        let bound = propagation::bound(own.follower.max_staleness());
        let is_silent = |node: &Node| node.id != own.follower.node() && watched.silent_for(node, now) >= bound;
        let nodes = self.store.list_nodes().await?;
        Ok(own.flusher.backlog() > 0 || nodes.iter().any(|node| node.is_verifier || is_silent(node)))
    }

    async fn fulfil(&self, wish: RotationWish) -> Result<Fulfilment, Error> {
        let now = self.clock.now();
        let is_done = |fulfilment: &Fulfilment| *fulfilment == Fulfilment::Done;
        let (fulfilment, _) = self
            .commit(is_done, move |tx| {
                let wish = wish.clone();
                Box::pin(async move { fulfil(tx, &wish, now).await })
            })
            .await?;
        Ok(fulfilment)
    }
}

async fn fulfil(tx: &mut Tx, wish: &RotationWish, now: Timestamp) -> Result<Fulfilment, Error> {
    // Another server may have been faster, or somebody may wish something else by now.
    if tx.find_rotation_wish(&wish.id).await?.as_ref() != Some(wish) {
        return Ok(Fulfilment::NotYet);
    }
    let token = tx.find_service_token(&wish.owner, &wish.id).await?;
    let Some(token) = token.filter(|token| has_meaning(wish, token, now)) else {
        tx.delete_rotation_wish(&wish.id).await?;
        return Ok(Fulfilment::Void);
    };
    let quiet_since = SecretUses(tx.list_secret_uses(&wish.id).await?).quiet_since(&token);
    if due_at(wish, quiet_since) > now {
        return Ok(Fulfilment::NotYet);
    }
    let update = Update { previous_expires_at: Patch::Clear, ..Update::default() };
    tx.update_service_token(&token.updated(&update, None, now)).await?;
    tx.delete_rotation_wish(&wish.id).await?;
    tx.record(AuditEvent {
        actor: wish.actor.clone(),
        action: "service_token.finish_rotation",
        subject_kind: "service_token",
        subject_id: wish.id.to_string(),
        account: Some(wish.owner.account),
        at: now,
        address: None,
        request_id: None,
        detail: json!({
            "quiet": wish.quiet.as_str(),
            "asked_at": wish.asked_at.to_string(),
            "quiet_since": quiet_since.to_string(),
            "previous_expires_at": null,
        })
        .to_string(),
    });
    Ok(Fulfilment::Done)
}
