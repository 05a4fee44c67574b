//! What was answered under an idempotency key.

use std::sync::LazyLock;

use countersign_token::id::AccountId;
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;

use crate::bulk::{Binding, Bulk, Script};
use crate::error::Error;
use crate::row::Columns;
use crate::store::Store;
use crate::tx::Tx;

/// An answer that is kept, so that the same request gets it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What tells the request from others.
    pub fingerprint: [u8; 32],
    /// The id of what the request was about, or made.
    pub subject: String,
    /// The answer itself, without any secret.
    pub answer: String,
}

impl Store {
    /// Removes the answers that were given before a time, and returns how many they were.
    ///
    /// # Errors
    ///
    /// When the database can't be written. What was removed until then stays removed.
    pub async fn delete_old_answers(&self, before: Timestamp) -> Result<u64, Error> {
        let mut deleted = 0;
        loop {
            // Some at a time, so that the writer is never held for long.
            let written = self.write(move |tx| {
                Box::pin(async move {
                    let query = sqlx::query(
                        "DELETE FROM idempotent_answer WHERE (account_id, key) IN \
                         (SELECT account_id, key FROM idempotent_answer WHERE created_at < $1 \
                          ORDER BY created_at LIMIT 500)",
                    );
                    tx.execute_any(query.bind(before.as_micros())).await
                })
            });
            match written.await?.value {
                0 => return Ok(deleted),
                some => deleted += some,
            }
        }
    }
}

/// What names an answer: an account, and a text that stands for the key.
pub(crate) type AnswerKey = (AccountId, String);

/// An answer, and when it was given.
#[derive(Clone, Debug)]
pub(crate) struct KeptAnswer {
    answer: Answer,
    created_at: Timestamp,
}

impl KeptAnswer {
    fn given_after(&self, since: Timestamp) -> Option<Answer> {
        (self.created_at > since).then(|| self.answer.clone())
    }
}

/// Finds the answers under some keys. `VALUES` names its columns alike on both databases.
static FIND: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "SELECT account_id, key, fingerprint, subject, answer, created_at FROM (VALUES",
        2,
        ") AS wanted JOIN idempotent_answer ON account_id = wanted.column1 AND key = wanted.column2",
    )
});

/// Keeps answers, each in the place of an older one under the same key.
pub(crate) static INSERT: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT INTO idempotent_answer (account_id, key, fingerprint, subject, answer, created_at) VALUES",
        6,
        "ON CONFLICT (account_id, key) DO UPDATE SET fingerprint = excluded.fingerprint, subject = excluded.subject, \
         answer = excluded.answer, created_at = excluded.created_at",
    )
});

pub(crate) fn bind(query: Binding, ((account, key), kept): &(AnswerKey, KeptAnswer)) -> Binding {
    query
        .bind(account.to_string())
        .bind(key.clone())
        .bind(kept.answer.fingerprint.to_vec())
        .bind(kept.answer.subject.clone())
        .bind(kept.answer.answer.clone())
        .bind(kept.created_at.as_micros())
}

/// The answers that are kept under these keys, however old.
pub(crate) async fn find_all(
    connection: &mut AnyConnection,
    mut keys: &[AnswerKey],
) -> Result<Vec<(AnswerKey, KeptAnswer)>, Error> {
    let mut found = Vec::new();
    while !keys.is_empty() {
        let mut script = Script::new(connection);
        keys = script.add(&FIND, keys, &mut |query: Binding, (account, key): &AnswerKey| {
            query.bind(account.to_string()).bind(key.clone())
        });
        for row in &script.fetch(connection).await? {
            let mut columns = Columns::of("idempotent_answer", row);
            let key = (columns.parse()?, columns.text()?.to_owned());
            let answer = Answer {
                fingerprint: *columns.digest()?.as_bytes(),
                subject: columns.text()?.to_owned(),
                answer: columns.text()?.to_owned(),
            };
            found.push((key, KeptAnswer { answer, created_at: columns.time()? }));
        }
    }
    Ok(found)
}

impl Tx {
    /// The answer that was given under this key after `since`.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_answer(
        &mut self,
        account: &AccountId,
        key: &str,
        since: Timestamp,
    ) -> Result<Option<Answer>, Error> {
        let key = (*account, key.to_owned());
        if self.known_answer(&key).is_none() {
            let read = self.read_answers(vec![key.clone()]).await;
            self.noting(read)?;
        }
        Ok(self.known_answer(&key).flatten().and_then(|kept| kept.given_after(since)))
    }

    /// Keeps an answer, in the place of an older one under the same key. It takes no revision: it belongs to the change
    /// that it reports.
    ///
    /// # Errors
    ///
    /// None yet: the answers of a batch are written together at its end.
    pub async fn insert_answer(
        &mut self,
        account: &AccountId,
        key: &str,
        answer: &Answer,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.queue_answer((*account, key.to_owned()), KeptAnswer { answer: answer.clone(), created_at: now });
        Ok(())
    }
}
