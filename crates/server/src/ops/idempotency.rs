//! Requests that may be sent again: under a key, a change is made once and answered alike for a day.

use std::sync::Arc;

use countersign_store::{Answer, BoxFuture, Tx};
use countersign_token::digest::{InstallationKey, KeyId, NoKey};
use countersign_token::id::AccountId;
use countersign_token::secret::Secret;
use countersign_token::time::Timestamp;

use super::seal::Seal;
use super::{Error, Ops};
use crate::propagation::Propagation;

/// How long a key stands for the request that used it first.
pub(crate) const KEPT_MICROS: i64 = 24 * 3600 * 1_000_000;

/// A caller's name for one request: 1 to 64 characters, none of them U+0000.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    const LENGTH_MAX: usize = 64;

    /// The key with this text; `None` if it is empty, too long, or holds U+0000.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.chars().nth(Self::LENGTH_MAX).is_none() && !text.contains('\0');
        fits.then(|| Self(text.to_owned()))
    }

    /// The key as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a caller means by a key.
#[derive(Clone, Debug)]
pub struct Intent<T> {
    /// The key, one name space for each account.
    pub key: IdempotencyKey,
    /// What tells this request from others: the operation, its arguments, and who calls.
    pub fingerprint: [u8; 32],
    /// Renders what is kept for a replay. It may hold a secret only if it is sealed.
    pub answer: fn(&T) -> String,
    /// The credential that the caller showed, if the answer is to be sealed under it: then nobody can read what is kept but
    /// who shows the same key and the same credential again.
    pub sealed_by: Option<Arc<Secret>>,
}

/// What a change came to.
#[derive(Debug)]
pub enum Outcome<T> {
    /// It was made.
    Done(T),
    /// The same request had made it before.
    Replayed(Replay),
}

/// What is left of a request that was done before.
#[derive(Debug)]
pub struct Replay {
    /// What [`Intent::answer`] made of it then.
    pub answer: Secret,
    /// The id of what the request was about.
    pub subject: String,
}

/// The answer to a change that may carry a key.
#[derive(Debug)]
pub struct Reply<T> {
    /// What it came to.
    pub outcome: Outcome<T>,
    /// Where the change is in force, if that was waited for.
    pub propagation: Option<Propagation>,
}

/// A job of the writer that is done once under its key.
struct Once<T, F> {
    account: AccountId,
    subject: String,
    under: Option<Under<T>>,
    now: Timestamp,
    job: F,
}

/// An intent as the store sees it.
struct Under<T> {
    answer: fn(&T) -> String,
    /// One for each installation key that is live: the answer may have been kept under any of them.
    names: Vec<Name>,
}

/// An intent under one installation key.
struct Name {
    installation_key: KeyId,
    /// What stands for the key. The key itself is kept nowhere: it is half of what opens a sealed answer.
    name: String,
    fingerprint: [u8; 32],
    seal: Option<Seal>,
}

impl Name {
    fn keep(&self, answer: String, subject: &str) -> Result<Answer, Error> {
        let answer = match &self.seal {
            Some(seal) => seal.close(answer, &self.name)?,
            None => answer,
        };
        Ok(Answer { fingerprint: self.fingerprint, subject: subject.to_owned(), answer })
    }

    fn replay(&self, kept: Answer) -> Result<Replay, Error> {
        if kept.fingerprint != self.fingerprint {
            return Err(Error::IdempotencyKeyUsed);
        }
        let answer = match &self.seal {
            Some(seal) => seal.open(&kept.answer, &self.name)?,
            None => Secret::from(kept.answer),
        };
        Ok(Replay { answer, subject: kept.subject })
    }
}

impl<T, F> Once<T, F>
where
    F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T, Error>>,
{
    async fn run(&self, tx: &mut Tx) -> Result<Outcome<T>, Error> {
        let Self { account, subject, under, now, job } = self;
        let Some(under) = under else {
            return Ok(Outcome::Done(job(tx).await?));
        };
        let since = now.saturating_add_micros(-KEPT_MICROS);
        for name in &under.names {
            if let Some(kept) = tx.find_answer(account, &name.name, since).await? {
                return name.replay(kept).map(Outcome::Replayed);
            }
        }
        // Under the key that is current in the order of all writes: whoever comes later knows that one.
        let current = tx.live_keys().current;
        let name = under.names.iter().find(|name| name.installation_key == current);
        let name = name.ok_or(countersign_store::Error::KeyMissing(NoKey(current)))?;
        let value = job(tx).await?;
        tx.insert_answer(account, &name.name, &name.keep((under.answer)(&value), subject)?, *now).await?;
        Ok(Outcome::Done(value))
    }
}

impl Ops {
    /// [`commit`](Ops::commit) for a caller who may send the same request again. `subject` is the id of what it is about.
    ///
    /// The look-up of the key, the job and the keeping of its answer are one transaction, and transactions come one after
    /// the other, on every node: whoever sends a key at the same time finds the answer of who was first. A job that fails
    /// leaves its key free.
    pub(super) async fn commit_once<T, F>(
        &self,
        account: AccountId,
        subject: String,
        intent: Option<Intent<T>>,
        effect: impl FnOnce(&T) -> bool,
        job: F,
    ) -> Result<Reply<T>, Error>
    where
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T, Error>> + Send + Sync + 'static,
        T: Send + Sync + 'static,
    {
        let under = intent.map(|intent| self.under(&account, intent));
        let once = Arc::new(Once { account, subject, under, now: self.clock.now(), job });
        let effect = |outcome: &Outcome<T>| matches!(outcome, Outcome::Done(value) if effect(value));
        let keys = once.under.iter().flat_map(|under| &under.names).map(|name| (account, name.name.clone())).collect();
        let (outcome, propagation) = self
            .commit_asking(keys, effect, move |tx| {
                let once = Arc::clone(&once);
                Box::pin(async move { once.run(tx).await })
            })
            .await?;
        Ok(Reply { outcome, propagation })
    }

    fn under<T>(&self, account: &AccountId, intent: Intent<T>) -> Under<T> {
        let Intent { key, fingerprint, answer, sealed_by } = intent;
        let under = |installation_key: &InstallationKey| {
            let name =
                installation_key.idempotency_key().mac_hex(&[account.to_string().as_bytes(), key.as_str().as_bytes()]);
            let sealing = |credential: &Arc<Secret>| {
                Seal::new(&installation_key.answer_key(key.as_str(), credential), &self.entropy)
            };
            let seal = sealed_by.as_ref().map(sealing);
            // Another credential is another request. So the only answers to be opened are those that can be.
            let fingerprint = seal.as_ref().map_or(fingerprint, |seal| seal.bind(&fingerprint));
            Name { installation_key: installation_key.id(), name, fingerprint, seal }
        };
        Under { answer, names: self.keys().all().iter().map(|key| under(key)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::IdempotencyKey;

    #[test]
    fn keys_have_1_to_64_characters() {
        let check = |text: &str, expected| assert_eq!(IdempotencyKey::parse(text).is_some(), expected, "{text:?}");
        check("k", true);
        check(&"k".repeat(64), true);
        check(&"\u{e9}".repeat(64), true);
        check("", false);
        check(&"k".repeat(65), false);
        check("a\0b", false);
    }
}
