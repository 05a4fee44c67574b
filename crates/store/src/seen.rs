//! Last-seen marks: when a credential was last used. They take no revision and no audit event. Those of tokens have tables
//! of their own, since all of them may be written every few seconds.

use std::sync::{Arc, LazyLock};

use countersign_token::index::{SeenMark, SeenSubject};

use crate::bulk::{Binding, Bulk};
use crate::error::Error;
use crate::store::Store;
use crate::tx::Tx;

/// When a row of `service_token` was last seen, in a statement that reads these.
macro_rules! last_seen_at {
    () => {
        "(SELECT last_seen_at FROM service_token_seen WHERE service_token_id = id)"
    };
}
pub(crate) use last_seen_at;

/// When a row of `api_token` was last used, in a statement that reads these.
macro_rules! last_used_at {
    () => {
        "(SELECT last_used_at FROM api_token_seen WHERE api_token_id = id)"
    };
}
pub(crate) use last_used_at;

/// Keeps some marks in a table of their own. A mark never goes back. That the token still exists isn't looked at: the sweep
/// of its tombstone takes the mark along.
macro_rules! keep {
    ($table:literal, $key:literal, $column:literal) => {
        LazyLock::new(|| {
            Bulk::new(
                concat!("INSERT INTO ", $table, " (", $key, ", ", $column, ") VALUES"),
                2,
                concat!(
                    "ON CONFLICT (",
                    $key,
                    ") DO UPDATE SET ",
                    $column,
                    " = excluded.",
                    $column,
                    " WHERE ",
                    $table,
                    ".",
                    $column,
                    " < excluded.",
                    $column
                ),
            )
        })
    };
}

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

static SERVICE_TOKENS: LazyLock<Bulk> = keep!("service_token_seen", "service_token_id", "last_seen_at");
static API_TOKENS: LazyLock<Bulk> = keep!("api_token_seen", "api_token_id", "last_used_at");
static MANAGEMENT_TOKENS: LazyLock<Bulk> = update!("management_token", "last_used_at");
static USERS: LazyLock<Bulk> = update!("app_user", "last_active_at");

impl Store {
    /// Writes down when credentials were last used, each of them once, all in one commit. In the order of their subjects it
    /// costs least: that is the order of the rows.
    ///
    /// # Errors
    ///
    /// When the database can't be written. Then no mark was.
    pub async fn record_seen(&self, marks: &[SeenMark]) -> Result<(), Error> {
        if marks.is_empty() {
            return Ok(());
        }
        let marks: Arc<[SeenMark]> = marks.into();
        let write = self.write(move |tx| {
            let marks = Arc::clone(&marks);
            Box::pin(async move { record(tx, &marks).await })
        });
        write.await.map(|_| ())
    }
}

async fn record(tx: &mut Tx, marks: &[SeenMark]) -> Result<(), Error> {
    let bind = |query: Binding, mark: &SeenMark| query.bind(id(&mark.subject)).bind(mark.at.as_micros());
    for alike in marks.chunk_by(|one, next| std::ptr::eq(place(&one.subject), place(&next.subject))) {
        let Some(first) = alike.first() else { continue };
        let outcome = place(&first.subject).execute(tx.writing_apart(), alike, bind).await;
        tx.noting(outcome)?;
    }
    Ok(())
}

/// What writes the marks of this kind.
fn place(subject: &SeenSubject) -> &'static Bulk {
    match subject {
        SeenSubject::ServiceToken(_) => &SERVICE_TOKENS,
        SeenSubject::ApiToken(_) => &API_TOKENS,
        SeenSubject::ManagementToken(_) => &MANAGEMENT_TOKENS,
        SeenSubject::User(_) => &USERS,
    }
}

fn id(subject: &SeenSubject) -> String {
    match subject {
        SeenSubject::ServiceToken(id) => id.to_string(),
        SeenSubject::ApiToken(id) => id.to_string(),
        SeenSubject::ManagementToken(id) => id.to_string(),
        SeenSubject::User(id) => id.to_string(),
    }
}
