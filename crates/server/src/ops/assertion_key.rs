//! The keys that sign assertions: making them in time, rotating them, and taking them over.

use countersign_store::{AssertionKey, AuditActor, AuditEvent, Tx};
use countersign_token::digest::{InstallationKey, KeyId, Keyring};
use countersign_token::index::Detail;
use countersign_token::time::Timestamp;
use serde_json::json;

use super::commit::gives;
use super::seal::{Seal, unhex};
use super::{Error, Ops, Seat, unreadable};
use crate::assertion::key::{KeySet, NewKey, SigningKey};
use crate::assertion::schedule::{DAY_MICROS, LEAD_MICROS, Schedule, Times};
use crate::caller::{Administer, Caller, Origin, Permit, Read};

const ACTION_CREATE: &str = "assertion_key.create";

/// How the keys stand that sign assertions. They are those of the whole installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssertionKeys {
    /// After how many days another key signs.
    pub days: u64,
    /// From when on the current key signs; `None` if there is none yet.
    pub rotated_at: Option<Timestamp>,
    /// In how many days the next key signs, begun ones counted.
    pub days_left: u64,
}

fn times(key: &AssertionKey) -> Times {
    Times { published_at: key.published_at, current_at: key.current_at }
}

fn schedule(keys: &[AssertionKey]) -> Schedule {
    Schedule(keys.iter().map(times).collect())
}

fn micros(days: u64) -> i64 {
    i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(DAY_MICROS)
}

impl AssertionKeys {
    /// How many days a key may sign.
    pub const DAYS: std::ops::RangeInclusive<u32> = 21..=365;

    fn new(keys: &[AssertionKey], days: u64, now: Timestamp) -> Self {
        let schedule = schedule(keys);
        let rotated_at = schedule.signing(now).and_then(|key| keys.get(key)).map(|key| key.current_at);
        let planned = rotated_at.map(|at| at.saturating_add_micros(micros(days)));
        let next = schedule.next(now).and_then(|key| keys.get(key)).map(|key| key.current_at).or(planned);
        let left = next.map_or(0, |next| next.as_micros().saturating_sub(now.as_micros()));
        let days_left = u64::try_from(left).unwrap_or_default().div_ceil(DAY_MICROS.unsigned_abs());
        Self { days, rotated_at, days_left }
    }
}

impl Ops {
    /// Makes and removes keys as their time comes, and takes over those that there are. Every node does this all the time.
    pub async fn tend_assertion_keys(&self) -> Result<(), Error> {
        let now = self.clock.now();
        let keys = self.store.list_assertion_keys().await?;
        // When the next key signs is decided in the transaction.
        let due = schedule(&keys).due(now, 0);
        if due.new_at.is_none() && due.over == 0 {
            return self.take_over(&keys);
        }
        let new = match due.new_at {
            Some(_) => Some(make(now).await?),
            None => None,
        };
        let event = self.event(&self.keeper(), ACTION_CREATE, subject(), None, &Origin::default());
        let new = std::sync::Arc::new(new);
        self.commit(gives, move |tx| {
            let (new, event) = (std::sync::Arc::clone(&new), event.clone());
            Box::pin(async move { tend(tx, new.as_ref().as_ref(), now, &event).await })
        })
        .await?;
        self.take_over(&self.store.list_assertion_keys().await?)
    }

    /// Takes over the keys that there are. Only where there are none, one is made first: an installation has one from
    /// the first start of a server on.
    pub async fn begin_assertion_keys(&self) -> Result<(), Error> {
        let keys = self.store.list_assertion_keys().await?;
        if keys.is_empty() { self.tend_assertion_keys().await } else { self.take_over(&keys) }
    }

    /// How the keys stand.
    pub async fn assertion_keys(&self, _permit: &Permit<Read>) -> Result<AssertionKeys, Error> {
        let (keys, days) = (self.store.list_assertion_keys().await?, self.store.assertion_key_days().await?);
        Ok(AssertionKeys::new(&keys, days, self.clock.now()))
    }

    /// Sets after how many days another key signs, from 21 to 365. It is the owner's to do: the keys are everybody's.
    pub async fn set_assertion_key_days(
        &self,
        permit: &Permit<Administer>,
        days: u32,
        origin: &Origin,
    ) -> Result<AssertionKeys, Error> {
        self.require_owner(permit)?;
        if !AssertionKeys::DAYS.contains(&days) {
            let problem = format!("must be from {} to {}", AssertionKeys::DAYS.start(), AssertionKeys::DAYS.end());
            return Err(Error::Invalid { field: "key_rotation_interval_days", problem });
        }
        let now = self.clock.now();
        let mut event = self.event_by(permit, "assertion_key.update", subject(), origin);
        event.detail = json!({ "days": days }).to_string();
        let (status, _) = self
            .commit(gives, move |tx| {
                let event = event.clone();
                Box::pin(async move {
                    let mut keys = tx.list_assertion_keys().await?;
                    if tx.assertion_key_days().await? != u64::from(days) {
                        tx.update_assertion_key_days(days).await?;
                        move_next(tx, &mut keys, now, micros(days.into())).await?;
                        tx.record(event);
                    }
                    Ok::<_, Error>(AssertionKeys::new(&keys, days.into(), now))
                })
            })
            .await?;
        self.take_over(&self.store.list_assertion_keys().await?)?;
        Ok(status)
    }

    /// Lets the next key sign as soon as it has been published for a day; if there is none, one is made. The key before
    /// stays published for a week. Within a day after another rotation nothing changes. It is the owner's to do.
    pub async fn rotate_assertion_keys(
        &self,
        permit: &Permit<Administer>,
        origin: &Origin,
    ) -> Result<AssertionKeys, Error> {
        self.require_owner(permit)?;
        let now = self.clock.now();
        let event = self.event_by(permit, "assertion_key.rotate", subject(), origin);
        let mut new = None;
        loop {
            let (event, candidate) = (event.clone(), std::sync::Arc::new(new.take()));
            let (status, _) = self
                .commit(gives, move |tx| {
                    let (event, candidate) = (event.clone(), std::sync::Arc::clone(&candidate));
                    Box::pin(async move { rotate(tx, candidate.as_ref().as_ref(), now, event).await })
                })
                .await?;
            if let Some(status) = status {
                self.take_over(&self.store.list_assertion_keys().await?)?;
                return Ok(status);
            }
            new = Some(make(now).await?);
        }
    }

    /// The keys are those of all accounts.
    fn require_owner(&self, permit: &Permit<Administer>) -> Result<(), Error> {
        let Seat::Node(node) = &self.seat else { return Ok(()) };
        let user = permit.user().and_then(|user| node.index.find_user(&user));
        match user {
            Some(Detail::User { installation_owner: true, .. }) => Ok(()),
            Some(_) | None => Err(Error::Forbidden),
        }
    }

    /// Who tends keys without being told to.
    fn keeper(&self) -> AuditActor {
        match &self.seat {
            Seat::Node(node) => AuditActor { kind: "server", id: node.follower.node().to_string() },
            Seat::Outside => Caller::Operator.actor(),
        }
    }

    /// Opens the keys for this node's assertions, unless they are those that it has.
    fn take_over(&self, keys: &[AssertionKey]) -> Result<(), Error> {
        let Seat::Node(node) = &self.seat else { return Ok(()) };
        let named: Vec<_> = keys.iter().map(|key| (key.id.as_str(), times(key))).collect();
        if node.assertions.keys().is_of(&named) {
            return Ok(());
        }
        let opened: Result<Vec<_>, Error> = keys.iter().map(|key| open(self.keys(), key)).collect();
        node.assertions.set_keys(KeySet::new(opened?));
        Ok(())
    }
}

fn subject() -> (&'static str, String) {
    ("assertion_key", String::new())
}

/// Makes a key where nobody waits for the thread.
async fn make(now: Timestamp) -> Result<NewKey, Error> {
    let made = tokio::task::spawn_blocking(move || NewKey::generate(now)).await;
    let made = made.map_err(anyhow::Error::from).and_then(|made| made);
    made.map_err(|problem| unreadable("assertion_key", "closed", "new", &format!("{problem:#}")))
}

async fn tend(tx: &mut Tx, new: Option<&NewKey>, now: Timestamp, event: &AuditEvent) -> Result<(), Error> {
    let keys = tx.list_assertion_keys().await?;
    let due = schedule(&keys).due(now, micros(tx.assertion_key_days().await?));
    for key in keys.iter().take(due.over) {
        tx.delete_assertion_key(&key.id).await?;
        tx.record(AuditEvent { action: "assertion_key.delete", subject_id: key.id.clone(), ..event.clone() });
    }
    // Another node may have made one meanwhile.
    if let (Some(current_at), Some(new)) = (due.new_at, new) {
        insert(tx, new, Times { published_at: now, current_at }, event).await?;
    }
    Ok(())
}

/// `None` if a key is needed for it and none is at hand.
async fn rotate(
    tx: &mut Tx,
    new: Option<&NewKey>,
    now: Timestamp,
    event: AuditEvent,
) -> Result<Option<AssertionKeys>, Error> {
    let days = tx.assertion_key_days().await?;
    let mut keys = tx.list_assertion_keys().await?;
    let schedule = schedule(&keys);
    let signing = schedule.signing(now).and_then(|key| keys.get(key));
    let is_done = signing.is_some_and(|key| now < key.current_at.saturating_add_micros(LEAD_MICROS));
    if schedule.next(now).is_some() {
        if let Some(id) = move_next(tx, &mut keys, now, 0).await? {
            tx.record(AuditEvent { subject_id: id, ..event });
        }
    } else if !is_done {
        let Some(new) = new else { return Ok(None) };
        let current_at = if keys.is_empty() { now } else { now.saturating_add_micros(LEAD_MICROS) };
        insert(
            tx,
            new,
            Times { published_at: now, current_at },
            &AuditEvent { action: ACTION_CREATE, ..event.clone() },
        )
        .await?;
        tx.record(AuditEvent { subject_id: new.id.clone(), ..event });
        keys = tx.list_assertion_keys().await?;
    }
    Ok(Some(AssertionKeys::new(&keys, days, now)))
}

/// Moves the time from which on the next key signs, and returns its id if that has changed.
async fn move_next(
    tx: &mut Tx,
    keys: &mut [AssertionKey],
    now: Timestamp,
    interval_micros: i64,
) -> Result<Option<String>, Error> {
    let schedule = schedule(keys);
    let (Some(next), Some(at)) = (schedule.next(now), schedule.begin_next(now, interval_micros)) else {
        return Ok(None);
    };
    match keys.get_mut(next) {
        Some(key) if key.current_at != at => {
            key.current_at = at;
            tx.update_assertion_key(key).await?;
            Ok(Some(key.id.clone()))
        }
        Some(_) | None => Ok(None),
    }
}

async fn insert(tx: &mut Tx, new: &NewKey, times: Times, event: &AuditEvent) -> Result<(), Error> {
    let under = tx.installation_key()?;
    let private: String = new.private.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = AssertionKey {
        id: new.id.clone(),
        published_at: times.published_at,
        current_at: times.current_at,
        closed: seal(&under, &new.id).close(private, &new.id)?,
        closed_under: under.id(),
        certificate: new.certificate.clone(),
    };
    tx.insert_assertion_key(&key).await?;
    let detail = json!({ "signs_from": key.current_at.to_string() }).to_string();
    tx.record(AuditEvent { subject_id: key.id, detail, ..event.clone() });
    Ok(())
}

/// Closes every key under another installation key. Both must be in `keyring`.
pub(super) async fn close_under(tx: &mut Tx, keyring: &Keyring, next: KeyId) -> Result<(), Error> {
    let under = keyring.get(next).map_err(countersign_store::Error::from)?;
    for key in tx.list_assertion_keys().await? {
        let private = private(keyring, &key)?;
        let closed = seal(&under, &key.id).close(private, &key.id)?;
        tx.update_assertion_key(&AssertionKey { closed, closed_under: next, ..key }).await?;
    }
    Ok(())
}

fn seal(under: &InstallationKey, id: &str) -> Seal {
    Seal::of_assertion_key(&under.assertion_key(), id)
}

/// A private key in hexadecimal digits.
fn private(keyring: &Keyring, key: &AssertionKey) -> Result<String, Error> {
    let under = keyring.get(key.closed_under).map_err(countersign_store::Error::from)?;
    Ok(seal(&under, &key.id).open(&key.closed, &key.id)?.expose().to_owned())
}

fn open(keyring: &Keyring, key: &AssertionKey) -> Result<SigningKey, Error> {
    let broken = |problem: &dyn std::fmt::Display| unreadable("assertion_key", "closed", &key.id, problem);
    let private = unhex(&private(keyring, key)?).ok_or_else(|| broken(&"is not hexadecimal"))?;
    SigningKey::open(key.id.clone(), times(key), &private, key.certificate.clone())
        .map_err(|problem| broken(&format!("{problem:#}")))
}
