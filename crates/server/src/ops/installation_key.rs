//! Changing the installation key while everything goes on: prepare a key, make it current, finish with the one before.

use countersign_store::{AuditEvent, Holder, KeyRecord, Node, Standing, Tx};
use countersign_token::digest::{InstallationKey, KeyId, LiveKeys};
use countersign_token::time::Timestamp;
use serde_json::json;

use super::commit::gives;
use super::idempotency::KEPT_MICROS;
use super::{Error, Ops, assertion_key, require_administrator, signing_key};
use crate::caller::{Caller, Origin};

/// An invitation that was made at most so long after the change may still have a link under the key before: another node
/// may not have heard of the change yet, and its clock may differ.
const SLACK_MICROS: i64 = 60 * 1_000_000;

/// How a change of the installation key stands.
#[derive(Debug)]
pub struct KeyStatus {
    /// Which keys are live.
    pub live: LiveKeys,
    /// Every key that there is or was, in the order of their ids.
    pub keys: Vec<KeyRecord>,
    /// Which of them this process holds.
    pub held: Vec<KeyId>,
    /// The servers, with the newest key that each holds.
    pub nodes: Vec<Node>,
    /// What depends on the key before, while there is one.
    pub remains: Option<Remains>,
    /// Some of the holders of secrets under the key before.
    pub holders: Vec<Holder>,
}

/// What would be void if the key before were gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remains {
    /// Secrets that were not seen since.
    pub standing: Standing,
    /// Pending invitations whose link may have been made under the key before.
    pub invites: u64,
    /// Until when answers under idempotency keys may be asked for again that depend on it; `None` if that is over.
    pub answers_until: Option<Timestamp>,
}

impl Remains {
    /// Whether nothing would be void.
    pub fn is_empty(&self) -> bool {
        self.standing.total() == 0 && self.invites == 0 && self.answers_until.is_none()
    }
}

/// What came of finishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The key before is gone, and with it what remained.
    Done(Remains),
    /// Nothing was done, since this would be void.
    Remains(Remains),
}

impl Ops {
    /// How a change of the installation key stands. `limit` holders of each kind are listed.
    pub async fn installation_key_status(&self, by: &Caller, limit: u32) -> Result<KeyStatus, Error> {
        require_administrator(by)?;
        let now = self.clock.now();
        let live = self.store.live_keys().await?;
        let keys = self.store.list_installation_keys().await?;
        let (remains, holders) = match live.before {
            None => (None, Vec::new()),
            Some(before) => {
                let standing = self.store.count_standing(before, now).await?;
                let since = switched_at(&keys, live);
                let invites = self.store.count_pending_invites(since.saturating_add_micros(SLACK_MICROS)).await?;
                let remains = Remains { standing, invites, answers_until: answers_until(since, now) };
                (Some(remains), self.store.list_standing(before, now, limit).await?)
            }
        };
        let held = self.keys().held().iter().map(|key| key.id()).collect();
        Ok(KeyStatus { live, keys, held, nodes: self.store.list_nodes().await?, remains, holders })
    }

    /// Makes the next installation key known. It must be where this process would find it again. One that was prepared
    /// before is dropped if `again` says so; [`Error::Conflict`] otherwise, or while another change is not finished.
    pub async fn prepare_installation_key(
        &self,
        by: &Caller,
        key: &InstallationKey,
        again: bool,
    ) -> Result<KeyId, Error> {
        let actor = require_administrator(by)?;
        let now = self.clock.now();
        let subject = ("installation_key", String::new());
        let event = self.event(&actor, "installation_key.prepare", subject, None, &Origin::default());
        let key = key.with_id(KeyId::FIRST);
        let (id, _) = self
            .commit(gives, move |tx| {
                let (event, key) = (event.clone(), key.with_id(KeyId::FIRST));
                Box::pin(async move {
                    let live = tx.live_keys();
                    if let Some(before) = live.before {
                        return Err(Error::Conflict(format!(
                            "the change from key {before} to key {} is not finished yet: `countersign installation-key \
                             finish` ends it",
                            live.current
                        )));
                    }
                    let known = tx.list_installation_keys().await?;
                    if let Some(known) = known.iter().find(|known| key.known_by(&known.check_value).is_some()) {
                        return Err(Error::Conflict(format!("this is key {} of the installation already", known.id)));
                    }
                    if let (Some(next), false) = (live.next, again) {
                        return Err(Error::Conflict(format!("key {next} is prepared already")));
                    }
                    let id = tx.insert_next_key(&key.check_value(), now).await?;
                    tx.record(AuditEvent { subject_id: id.to_string(), ..event });
                    Ok(id)
                })
            })
            .await?;
        Ok(id)
    }

    /// Makes the prepared key the current one: from here on new rows stand under it. [`Error::Conflict`] if there is none, or
    /// if a server on the list does not hold it. Returns its id.
    pub async fn rotate_installation_key(&self, by: &Caller) -> Result<KeyId, Error> {
        let actor = require_administrator(by)?;
        let now = self.clock.now();
        let subject = ("installation_key", String::new());
        let event = self.event(&actor, "installation_key.rotate", subject, None, &Origin::default());
        let keys = self.keys().clone();
        let (id, _) = self
            .commit(gives, move |tx| {
                let (event, keys) = (event.clone(), keys.clone());
                Box::pin(async move {
                    let live = tx.live_keys();
                    let Some(next) = live.next else {
                        return Err(Error::Conflict(
                            "no key is prepared: `countersign installation-key prepare` makes one".to_owned(),
                        ));
                    };
                    if keys.find(next).is_none() {
                        return Err(Error::Conflict(format!(
                            "key {next} is prepared, and is not in the key file here: copy it from the machine where it was \
                             prepared, or prepare another one with --again"
                        )));
                    }
                    let behind: Vec<String> = tx
                        .list_nodes()
                        .await?
                        .iter()
                        // A verifier is given a key with the first digest that is made with it.
                        .filter(|node| !node.is_verifier && node.installation_key != next)
                        .map(|node| node.id.to_string())
                        .collect();
                    if !behind.is_empty() {
                        return Err(Error::Conflict(format!(
                            "these servers do not hold key {next}: {}. Copy the key file to their machines; they notice \
                             within some seconds. (One that was killed is taken off the list after a minute, with `stale = \
                             \"serve\"` after 10, with SQLite at the next start.)",
                            behind.join(", ")
                        )));
                    }
                    tx.begin_next_key(next, now).await?;
                    assertion_key::close_under(tx, &keys, next).await?;
                    let signing = signing_key::first_under(next);
                    tx.update_signing_key_id(&signing).await?;
                    let detail = json!({ "before": live.current.get(), "signing_key": signing }).to_string();
                    tx.record(AuditEvent { subject_id: next.to_string(), detail, ..event });
                    Ok(next)
                })
            })
            .await?;
        Ok(id)
    }

    /// Ends the key before. What still depends on it is told, and nothing is done, unless `void_the_rest` says that it is to
    /// be void. When this returns `Done`, no server looks anything up by the old key any more. [`Error::Conflict`] if there
    /// is no key before.
    pub async fn finish_installation_key(&self, by: &Caller, void_the_rest: bool) -> Result<Finish, Error> {
        let actor = require_administrator(by)?;
        let now = self.clock.now();
        // Those that are left can be dealt with at once.
        self.rekey_api_tokens().await?;
        let subject = ("installation_key", String::new());
        let event = self.event(&actor, "installation_key.finish", subject, None, &Origin::default());
        let (finish, _) = self
            .commit(
                |finish| matches!(finish, Finish::Done(_)),
                move |tx| {
                    let event = event.clone();
                    Box::pin(async move { finish(tx, now, void_the_rest, event).await })
                },
            )
            .await?;
        Ok(finish)
    }

    /// Forgets what is left of digests under keys that are not live any more.
    pub async fn forget_old_digests(&self, by: &Caller) -> Result<(), Error> {
        require_administrator(by)?;
        let live = self.store.live_keys().await?;
        if live.before.is_none() {
            self.store.forget_old_digests(live.current).await?;
        }
        Ok(())
    }
}

async fn finish(tx: &mut Tx, now: Timestamp, void_the_rest: bool, event: AuditEvent) -> Result<Finish, Error> {
    let live = tx.live_keys();
    let Some(before) = live.before else {
        return Err(Error::Conflict("there is no key before the current one: nothing is to be finished".to_owned()));
    };
    let since = switched_at(&tx.list_installation_keys().await?, live);
    let remains = Remains {
        standing: tx.count_standing(before, now).await?,
        invites: tx.count_pending_invites(since.saturating_add_micros(SLACK_MICROS)).await?,
        answers_until: answers_until(since, now),
    };
    if !remains.is_empty() && !void_the_rest {
        return Ok(Finish::Remains(remains));
    }
    tx.end_key_before(before, now).await?;
    let detail = json!({ "before": before.get(), "void": remains.standing.total() }).to_string();
    tx.record(AuditEvent { subject_id: live.current.to_string(), detail, ..event });
    Ok(Finish::Done(remains))
}

/// Since when the current key is the current one.
fn switched_at(keys: &[KeyRecord], live: LiveKeys) -> Timestamp {
    let current = keys.iter().find(|key| key.id == live.current);
    current.and_then(|key| key.current_at).unwrap_or(Timestamp::MAX)
}

fn answers_until(since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    Some(since.saturating_add_micros(KEPT_MICROS)).filter(|until| *until > now)
}
