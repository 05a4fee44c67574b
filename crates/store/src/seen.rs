//! Last-seen marks: when a credential was last used. They take no revision and no audit event.

use std::sync::Arc;

use countersign_token::index::{SeenMark, SeenSubject};

use crate::error::Error;
use crate::store::Store;
use crate::tx::{Tx, built};

/// How many rows one statement may mark. Few sizes, so that few statements are kept prepared.
const MARKED_AT_ONCE: [usize; 4] = [64, 16, 4, 1];

/// A table with marks, and its column of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    table: &'static str,
    column: &'static str,
}

impl Place {
    const ALL: [Self; 3] = [
        Self { table: "service_token", column: "last_seen_at" },
        Self { table: "api_token", column: "last_used_at" },
        Self { table: "management_token", column: "last_used_at" },
    ];

    fn of(subject: &SeenSubject) -> (Self, String) {
        let [service_token, api_token, management_token] = Self::ALL;
        match subject {
            SeenSubject::ServiceToken(id) => (service_token, id.to_string()),
            SeenSubject::ApiToken(id) => (api_token, id.to_string()),
            SeenSubject::ManagementToken(id) => (management_token, id.to_string()),
        }
    }

    /// Marks some rows. A mark never goes back, and one for a row that is gone goes nowhere. `VALUES` names its columns
    /// alike on both databases.
    fn update(self, rows: usize) -> String {
        let Self { table, column } = self;
        let places: Vec<String> = (0..rows).map(|row| format!("(${}, ${})", 2 * row + 1, 2 * row + 2)).collect();
        format!(
            "UPDATE {table} SET {column} = mark.column2 FROM (VALUES {}) AS mark WHERE {table}.id = mark.column1 \
             AND ({column} IS NULL OR {column} < mark.column2)",
            places.join(", ")
        )
    }
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
        let mut places: Vec<(Place, Vec<(String, i64)>)> = Place::ALL.map(|place| (place, Vec::new())).into();
        for mark in marks {
            let (place, id) = Place::of(&mark.subject);
            for (_, marks) in places.iter_mut().filter(|(of, _)| *of == place) {
                marks.push((id.clone(), mark.at.as_micros()));
            }
        }
        let places = Arc::new(places);
        self.write(move |tx| {
            let places = Arc::clone(&places);
            Box::pin(async move { record(tx, &places).await })
        })
        .await
        .map(|_| ())
    }
}

async fn record(tx: &mut Tx, places: &[(Place, Vec<(String, i64)>)]) -> Result<(), Error> {
    for (place, marks) in places {
        let mut marks = marks.as_slice();
        while let Some(size) = MARKED_AT_ONCE.into_iter().find(|size| *size <= marks.len()) {
            let (now, later) = marks.split_at(size);
            let query = now.iter().fold(built(place.update(size)), |query, (id, at)| query.bind(id.clone()).bind(*at));
            tx.execute_any(query).await?;
            marks = later;
        }
    }
    Ok(())
}
