//! Requests that may be sent again: under a key, a change is made once and answered alike for a day.

use std::sync::Arc;

use countersign_store::{Answer, BoxFuture, Tx};
use countersign_token::id::AccountId;
use countersign_token::time::Timestamp;

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
    /// Renders what is kept for a replay. It must hold no secret.
    pub answer: fn(&T) -> String,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// What [`Intent::answer`] made of it then.
    pub answer: String,
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
    intent: Option<Intent<T>>,
    now: Timestamp,
    job: F,
}

impl<T, F> Once<T, F>
where
    F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T, Error>>,
{
    async fn run(&self, tx: &mut Tx) -> Result<Outcome<T>, Error> {
        let Self { account, subject, intent, now, job } = self;
        let Some(Intent { key, fingerprint, answer }) = intent else {
            return Ok(Outcome::Done(job(tx).await?));
        };
        let since = now.saturating_add_micros(-KEPT_MICROS);
        if let Some(kept) = tx.find_answer(account, key.as_str(), since).await? {
            if kept.fingerprint != *fingerprint {
                return Err(Error::IdempotencyKeyUsed);
            }
            return Ok(Outcome::Replayed(Replay { answer: kept.answer, subject: kept.subject }));
        }
        let value = job(tx).await?;
        let kept = Answer { fingerprint: *fingerprint, subject: subject.clone(), answer: answer(&value) };
        tx.insert_answer(account, key.as_str(), &kept, *now).await?;
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
        let once = Arc::new(Once { account, subject, intent, now: self.clock.now(), job });
        let effect = |outcome: &Outcome<T>| matches!(outcome, Outcome::Done(value) if effect(value));
        let (outcome, propagation) = self
            .commit(effect, move |tx| {
                let once = Arc::clone(&once);
                Box::pin(async move { once.run(tx).await })
            })
            .await?;
        Ok(Reply { outcome, propagation })
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
