//! What was answered under an idempotency key.

use countersign_token::id::AccountId;
use countersign_token::time::Timestamp;

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
        let query = sqlx::query(
            "SELECT key, fingerprint, subject, answer FROM idempotent_answer \
             WHERE account_id = $1 AND key = $2 AND created_at > $3",
        )
        .bind(account.to_string())
        .bind(key.to_owned())
        .bind(since.as_micros());
        let row = query.fetch_optional(self.reading()).await.map_err(Error::from);
        let Some(row) = self.noting(row)? else { return Ok(None) };
        let mut columns = Columns::of("idempotent_answer", &row);
        columns.text()?;
        Ok(Some(Answer {
            fingerprint: *columns.digest()?.as_bytes(),
            subject: columns.text()?.to_owned(),
            answer: columns.text()?.to_owned(),
        }))
    }

    /// Keeps an answer, in the place of an older one under the same key. It takes no revision: it belongs to the change
    /// that it reports.
    ///
    /// # Errors
    ///
    /// When the database can't be written.
    pub async fn insert_answer(
        &mut self,
        account: &AccountId,
        key: &str,
        answer: &Answer,
        now: Timestamp,
    ) -> Result<(), Error> {
        let query = sqlx::query(
            "INSERT INTO idempotent_answer (account_id, key, fingerprint, subject, answer, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (account_id, key) DO UPDATE SET \
             fingerprint = excluded.fingerprint, subject = excluded.subject, answer = excluded.answer, \
             created_at = excluded.created_at",
        )
        .bind(account.to_string())
        .bind(key.to_owned())
        .bind(answer.fingerprint.to_vec())
        .bind(answer.subject.clone())
        .bind(answer.answer.clone())
        .bind(now.as_micros());
        self.execute(query, 1).await
    }
}
