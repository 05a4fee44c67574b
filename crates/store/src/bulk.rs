//! Inserts of many rows by one statement. A statement costs a round trip, also to the thread of an embedded database, and
//! that is more than its rows cost.

use std::sync::Arc;

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AssertSqlSafe};

use crate::error::Error;

/// How many rows one statement takes. Few sizes, so that few statements are kept prepared.
const SIZES: [usize; 4] = [64, 16, 4, 1];

/// A statement of several rows has no more places for values than this, because SQLite looks up each of them among all.
const PLACES_MAX: usize = 320;

/// A query whose values are still being bound.
pub(crate) type Binding = Query<'static, Any, AnyArguments>;

/// One statement for each number of rows.
#[derive(Debug)]
pub(crate) struct Bulk(Vec<(usize, Arc<str>)>);

impl Bulk {
    /// The statement is `before`, then as many tuples of `columns` places as there are rows, then `after`.
    pub(crate) fn new(before: &str, columns: usize, after: &str) -> Self {
        let sizes = SIZES.into_iter().filter(|rows| *rows == 1 || rows * columns <= PLACES_MAX);
        Self(sizes.map(|rows| (rows, statement(before, columns, rows, after).into())).collect())
    }

    /// Runs the statements for all rows, in order; `bind` binds the values of one.
    pub(crate) async fn execute<T>(
        &self,
        connection: &mut AnyConnection,
        mut rows: &[T],
        mut bind: impl FnMut(Binding, &T) -> Binding,
    ) -> Result<u64, Error> {
        let mut affected = 0;
        while let Some((size, sql)) = self.0.iter().find(|(size, _)| *size <= rows.len()) {
            let (now, later) = rows.split_at(*size);
            // The text is this crate's own words and places for values, never input.
            let query = sqlx::query(AssertSqlSafe(Arc::clone(sql)));
            let query = now.iter().fold(query, &mut bind);
            affected += query.execute(&mut *connection).await?.rows_affected();
            rows = later;
        }
        Ok(affected)
    }
}

fn statement(before: &str, columns: usize, rows: usize, after: &str) -> String {
    let tuple = |row: usize| {
        let places: Vec<String> = (1..=columns).map(|place| format!("${}", row * columns + place)).collect();
        format!("({})", places.join(", "))
    };
    let tuples: Vec<String> = (0..rows).map(tuple).collect();
    format!("{before} {} {after}", tuples.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_on() {
        let check = |rows, expected: &str| assert_eq!(statement("A", 2, rows, "B"), expected);
        check(1, "A ($1, $2) B");
        check(3, "A ($1, $2), ($3, $4), ($5, $6) B");
    }

    #[test]
    fn wide_rows_go_in_smaller_statements() {
        let check = |columns, expected: &[usize]| {
            let sizes: Vec<usize> = Bulk::new("A", columns, "B").0.into_iter().map(|(rows, _)| rows).collect();
            assert_eq!(sizes, expected, "{columns}");
        };
        check(2, &[64, 16, 4, 1]);
        check(6, &[16, 4, 1]);
        check(19, &[16, 4, 1]);
        check(21, &[4, 1]);
        check(500, &[1]);
    }
}
