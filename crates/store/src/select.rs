//! Queries that are read from PostgreSQL by the driver for both databases, and from SQLite by its own library, which takes
//! a fraction of the time: one text of the query, and one function that reads its rows.

use rusqlite::Connection;
use rusqlite::types::{ToSql, ToSqlOutput};
use sqlx::AnyConnection;

use crate::Page;
use crate::embedded::at_one_moment;
use crate::error::Error;
use crate::list::Listed;
use crate::row::{Columns, Row};
use crate::store::Store;
use crate::tx::built;

/// What reads a row.
pub(crate) type Read<T> = fn(Row<'_>) -> Result<T, Error>;

/// A query and the values of its places, `$1` first.
#[derive(Clone, Debug)]
pub(crate) struct Select {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
}

/// A value for a place.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Int(i64),
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Text(text) => text.to_sql(),
            Self::Int(number) => number.to_sql(),
        }
    }
}

impl Select {
    async fn fetch<T>(self, connection: &mut AnyConnection, read: Read<T>) -> Result<Vec<T>, Error> {
        let query = self.values.into_iter().fold(built(self.sql), |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Int(number) => query.bind(number),
        });
        let rows = query.fetch_all(connection).await?;
        rows.iter().map(|row| read(row.into())).collect()
    }

    fn fetch_embedded<T>(&self, connection: &Connection, read: Read<T>) -> Result<Vec<T>, Error> {
        let mut statement = connection.prepare_cached(&self.sql)?;
        for (value, number) in self.values.iter().zip(1_usize..) {
            // To SQLite, the number of a place is its name.
            if let Some(index) = statement.parameter_index(&format!("${number}"))? {
                statement.raw_bind_parameter(index, value)?;
            }
        }
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(Row::Embedded(row))?);
        }
        Ok(found)
    }
}

fn read_total(row: Row<'_>) -> Result<u64, Error> {
    Columns::of("total", row).count()
}

/// The one row of a total.
fn only(totals: &[u64]) -> u64 {
    totals.iter().sum()
}

/// How long a list is that ends within a page of so many rows; `None` if it may go on, or ends before.
fn end(page: Option<Page>, rows: usize) -> Option<u64> {
    let Page { offset, limit } = page?;
    let rows = u64::try_from(rows).ok()?;
    let ends_here = rows < limit.into() && (rows > 0 || offset == 0);
    if ends_here { offset.checked_add(rows) } else { None }
}

impl Store {
    /// Reads all rows of a query.
    pub(crate) async fn select<T: Send + 'static>(&self, select: Select, read: Read<T>) -> Result<Vec<T>, Error> {
        match self.embedded() {
            Some(readers) => {
                self.counting(readers.run(move |connection| select.fetch_embedded(connection, read)).await)
            }
            None => select.fetch(&mut *self.reader().await?, read).await,
        }
    }

    /// Reads a number.
    pub(crate) async fn select_total(&self, total: Select) -> Result<u64, Error> {
        Ok(only(&self.select(total, read_total).await?))
    }

    /// Reads rows, and how long their list is, both of one moment. `page` says which rows of the list they are, where that
    /// is known: the last ones say by themselves how many there are. `is_short` says that no more is looked at than some
    /// rows by their keys.
    pub(crate) async fn select_listed<T: Send + 'static>(
        &self,
        rows: Select,
        read: Read<T>,
        total: Select,
        page: Option<Page>,
        is_short: bool,
    ) -> Result<Listed<T>, Error> {
        if let Some(readers) = self.embedded() {
            let job = move |connection: &Connection| {
                at_one_moment(connection, |connection| {
                    let rows = rows.fetch_embedded(connection, read)?;
                    let total = match end(page, rows.len()) {
                        Some(total) => total,
                        None => only(&total.fetch_embedded(connection, read_total)?),
                    };
                    Ok(Listed { rows, total })
                })
            };
            return self.counting(if is_short { readers.run_short(job).await } else { readers.run(job).await });
        }
        let mut snapshot = self.snapshot().await?;
        let rows = rows.fetch(&mut snapshot, read).await?;
        let total = match end(page, rows.len()) {
            Some(total) => total,
            None => only(&total.fetch(&mut snapshot, read_total).await?),
        };
        Ok(Listed { rows, total })
    }
}
