//! Last-seen marks: when a credential was last used. They take no revision and no audit event.

use std::sync::{Arc, LazyLock};

use countersign_token::index::{SeenMark, SeenSubject};

use crate::bulk::{Binding, Bulk};
use crate::error::Error;
use crate::store::Store;
use crate::tx::Tx;

/// Marks some rows. A mark never goes back, and one for a row that is gone goes nowhere. `VALUES` names its columns alike
/// on both databases.
macro_rules! update {
    ($table:literal, $column:literal) => {
        LazyLock::new(|| {
            Bulk::new(
                concat!("UPDATE ", $table, " SET ", $column, " = mark.column2 FROM (VALUES"),
                2,
                concat!(
                    ") AS mark WHERE ",
                    $table,
                    ".id = mark.column1 AND (",
                    $column,
                    " IS NULL OR ",
                    $column,
                    " < mark.column2)"
                ),
            )
        })
    };
}

static SERVICE_TOKENS: LazyLock<Bulk> = update!("service_token", "last_seen_at");
static API_TOKENS: LazyLock<Bulk> = update!("api_token", "last_used_at");
static MANAGEMENT_TOKENS: LazyLock<Bulk> = update!("management_token", "last_used_at");
static USERS: LazyLock<Bulk> = update!("app_user", "last_active_at");

/// The id of a row, and its mark in microseconds.
type Mark = (String, i64);

#[derive(Debug, Default)]
struct Marks {
    service_tokens: Vec<Mark>,
    api_tokens: Vec<Mark>,
    management_tokens: Vec<Mark>,
    users: Vec<Mark>,
}

impl Store {
    /// Writes down when credentials were last used, all in one commit.
    ///
    /// # Errors
    ///
    /// When the database can't be written. Then no mark was.
    pub async fn record_seen(&self, marks: &[SeenMark]) -> Result<(), Error> {
        if marks.is_empty() {
            return Ok(());
        }
        let mut sorted = Marks::default();
        for SeenMark { subject, at } in marks {
            let at = at.as_micros();
            match subject {
                SeenSubject::ServiceToken(id) => sorted.service_tokens.push((id.to_string(), at)),
                SeenSubject::ApiToken(id) => sorted.api_tokens.push((id.to_string(), at)),
                SeenSubject::ManagementToken(id) => sorted.management_tokens.push((id.to_string(), at)),
                SeenSubject::User(id) => sorted.users.push((id.to_string(), at)),
            }
        }
        let sorted = Arc::new(sorted);
        let write = self.write(move |tx| {
            let sorted = Arc::clone(&sorted);
            Box::pin(async move { sorted.record(tx).await })
        });
        write.await.map(|_| ())
    }
}

impl Marks {
    async fn record(&self, tx: &mut Tx) -> Result<(), Error> {
        let places: [(&Bulk, &[Mark]); 4] = [
            (&SERVICE_TOKENS, &self.service_tokens),
            (&API_TOKENS, &self.api_tokens),
            (&MANAGEMENT_TOKENS, &self.management_tokens),
            (&USERS, &self.users),
        ];
        tx.settle_tokens().await?;
        for (update, marks) in places {
            let bind = |query: Binding, (id, at): &Mark| query.bind(id.clone()).bind(*at);
            let outcome = update.execute(tx.writing_apart(), marks, bind).await;
            tx.noting(outcome)?;
        }
        Ok(())
    }
}
