//! Statements for many rows, and several statements in one trip. A trip to the database, even to the thread of an embedded
//! one, costs more than most of what is done there.

use sqlx::any::{AnyArguments, AnyQueryResult, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, Arguments as _, AssertSqlSafe, Execute as _};

use crate::error::Error;

/// How many rows one statement takes at most, and the power of two of which it takes one: few sizes, so that few statements
/// are kept prepared.
const ROWS_MAX: usize = 64;

/// A query whose values are still being bound.
pub(crate) type Binding = Query<'static, Any, AnyArguments>;

/// A statement for any number of rows: `before`, then a tuple of `columns` places for each row, then `after`.
#[derive(Debug)]
pub(crate) struct Bulk {
    before: String,
    columns: usize,
    after: String,
}

impl Bulk {
    pub(crate) fn new(before: &str, columns: usize, after: &str) -> Self {
        Self { before: before.to_owned(), columns, after: after.to_owned() }
    }

    /// Runs the statement for all rows, in order; `bind` binds the values of one.
    pub(crate) async fn execute<T>(
        &self,
        connection: &mut AnyConnection,
        mut rows: &[T],
        mut bind: impl FnMut(Binding, &T) -> Binding,
    ) -> Result<u64, Error> {
        let mut affected = 0;
        while !rows.is_empty() {
            let mut script = Script::new(connection);
            rows = script.add(self, rows, &mut bind);
            affected += script.execute(connection).await?.rows_affected();
        }
        Ok(affected)
    }
}

/// Statements that go to the database together: to SQLite one after the other, to PostgreSQL the earlier ones in a `WITH`
/// of the last. There none sees what another does, so that each must be about rows of its own.
pub(crate) struct Script {
    is_sqlite: bool,
    statements: Vec<String>,
    values: Binding,
    places: usize,
}

impl Script {
    pub(crate) fn new(connection: &AnyConnection) -> Self {
        let is_sqlite = connection.backend_name() == "SQLite";
        Self { is_sqlite, statements: Vec::new(), values: sqlx::query(""), places: 0 }
    }

    /// Adds a statement for as many of the first rows as one may take, and returns the others.
    pub(crate) fn add<'r, T>(
        &mut self,
        bulk: &Bulk,
        rows: &'r [T],
        bind: &mut impl FnMut(Binding, &T) -> Binding,
    ) -> &'r [T] {
        let Some(power) = rows.len().min(ROWS_MAX).checked_ilog2() else { return rows };
        let (now, later) = rows.split_at(1 << power);
        self.statements.push(self.text(bulk, now.len()));
        self.places += now.len() * bulk.columns;
        let values = std::mem::replace(&mut self.values, sqlx::query(""));
        self.values = now.iter().fold(values, bind);
        later
    }

    fn text(&self, bulk: &Bulk, rows: usize) -> String {
        let Bulk { before, columns, after } = bulk;
        let tuples = if self.is_sqlite {
            // By their order: SQLite would look for each number among all.
            let tuple = format!("({})", ["?"].repeat(*columns).join(", "));
            [tuple.as_str()].repeat(rows).join(", ")
        } else {
            let tuple = |row: usize| {
                let first = self.places + row * columns + 1;
                let places: Vec<String> = (first..first + columns).map(|place| format!("${place}")).collect();
                format!("({})", places.join(", "))
            };
            (0..rows).map(tuple).collect::<Vec<_>>().join(", ")
        };
        format!("{before} {tuples} {after}")
    }

    /// Runs the statements.
    pub(crate) async fn execute(self, connection: &mut AnyConnection) -> Result<AnyQueryResult, Error> {
        Ok(self.into_query()?.execute(connection).await?)
    }

    /// Runs the statements, and returns the rows of the last.
    pub(crate) async fn fetch(self, connection: &mut AnyConnection) -> Result<Vec<AnyRow>, Error> {
        Ok(self.into_query()?.fetch_all(connection).await?)
    }

    /// Runs the statements and ends the transaction.
    pub(crate) async fn commit(mut self, connection: &mut AnyConnection) -> Result<(), Error> {
        const COMMIT: &str = "COMMIT";
        if self.is_sqlite {
            self.statements.push(COMMIT.to_owned());
            self.execute(connection).await?;
            return Ok(());
        }
        if !self.statements.is_empty() {
            self.execute(connection).await?;
        }
        sqlx::raw_sql(COMMIT).execute(connection).await?;
        Ok(())
    }

    fn into_query(mut self) -> Result<Binding, Error> {
        let sql = if self.is_sqlite { self.statements.join("; ") } else { with(&self.statements) };
        let arguments = self.values.take_arguments().map_err(sqlx::Error::Encode)?.unwrap_or_default();
        // SQLite would take NULL for a value that is missing.
        crate::tx::expect_rows(count(arguments.len()), count(self.places))?;
        // The text is this crate's own words and places for values, never input.
        Ok(sqlx::query_with(AssertSqlSafe(sql), arguments))
    }
}

fn count(values: usize) -> u64 {
    u64::try_from(values).unwrap_or(u64::MAX)
}

fn with(statements: &[String]) -> String {
    match statements {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => {
            let named: Vec<String> =
                first.iter().enumerate().map(|(number, sql)| format!("s{number} AS ({sql})")).collect();
            format!("WITH {} {last}", named.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(is_sqlite: bool) -> Script {
        Script { is_sqlite, statements: Vec::new(), values: sqlx::query(""), places: 0 }
    }

    #[test]
    fn places_count_on() {
        let bulk = Bulk::new("A", 2, "B");
        let check = |is_sqlite, expected: [&str; 3]| {
            let mut script = script(is_sqlite);
            let mut bind = |query: Binding, row: &i64| query.bind(*row).bind(*row);
            let mut rows: &[i64] = &[1, 2, 3, 4, 5, 6, 7];
            while !rows.is_empty() {
                rows = script.add(&bulk, rows, &mut bind);
            }
            assert_eq!(script.statements, expected);
            assert!(script.into_query().is_ok());
        };
        let four = "A ($1, $2), ($3, $4), ($5, $6), ($7, $8) B";
        check(false, [four, "A ($9, $10), ($11, $12) B", "A ($13, $14) B"]);
        check(true, ["A (?, ?), (?, ?), (?, ?), (?, ?) B", "A (?, ?), (?, ?) B", "A (?, ?) B"]);
    }

    #[test]
    fn a_missing_value_is_an_error() {
        let mut script = script(true);
        script.add(&Bulk::new("A", 2, "B"), &[1_i64], &mut |query: Binding, row: &i64| query.bind(*row));
        assert!(matches!(script.into_query(), Err(Error::Rows { expected: 2, actual: 1 })));
    }

    #[test]
    fn earlier_statements_are_part_of_the_last() {
        let check = |statements: &[&str], expected: &str| {
            let statements: Vec<String> = statements.iter().map(|sql| (*sql).to_owned()).collect();
            assert_eq!(with(&statements), expected);
        };
        check(&["A"], "A");
        check(&["A", "B", "C"], "WITH s0 AS (A), s1 AS (B) C");
    }
}
