//! Lists that say how they are sorted, with the number of rows in all.

use crate::Page;
use crate::error::Error;
use crate::seen::last_used_at;
use crate::select::{Read, Select, Value};
use crate::store::Store;

/// How a list is sorted. Rows with the same value are in the order of their ids, in the same direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order<C> {
    /// By what.
    pub column: C,
    /// Whether the greatest comes first.
    pub descending: bool,
    /// Where rows without a value are, in either direction.
    pub nulls: Nulls,
}

/// Where rows without a value are in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nulls {
    /// Before all others.
    First,
    /// After all others.
    Last,
}

/// What API tokens can be sorted by. Names are sorted by their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiTokenColumn {
    /// The id, and so the creation. An index serves this order; every other sorts all tokens of the account.
    Id,
    /// When the token was made.
    InsertedAt,
    /// When its status last changed.
    UpdatedAt,
    /// When it ends.
    ExpiresAt,
    /// When it was last used, if it ever was.
    LastUsedAt,
    /// The name of its status.
    Status,
    /// The name of the kind of its scope.
    Scope,
}

/// What environments, agents, deployments, members and invites can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListColumn {
    /// The id (of members, the PFID), and so the creation. An index serves this order, but for members.
    Id,
    /// When the row was made.
    InsertedAt,
    /// When it was last changed.
    UpdatedAt,
}

/// A part of a list, and how long the whole is. Both are of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// The rows that were asked for.
    pub rows: Vec<T>,
    /// How many there are in all.
    pub total: u64,
}

impl<C> Order<C> {
    /// The words after `ORDER BY`, where ids are in the column `id` and this order's values in `column`.
    pub(crate) fn words(&self, column: &'static str, id: &'static str) -> String {
        let direction = if self.descending { "DESC" } else { "ASC" };
        if column == id {
            // As the index has it: PostgreSQL takes no other place of NULLs for the same, even where there are none.
            return format!("{id} {direction}");
        }
        let nulls = match self.nulls {
            Nulls::First => "FIRST",
            Nulls::Last => "LAST",
        };
        format!("{column} {direction} NULLS {nulls}, {id} {direction}")
    }
}

impl ApiTokenColumn {
    /// The column's name, or what stands for it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::InsertedAt => "inserted_at",
            Self::UpdatedAt => "updated_at",
            Self::ExpiresAt => "expires_at",
            Self::LastUsedAt => last_used_at!(),
            Self::Status => "status",
            Self::Scope => "scope",
        }
    }
}

impl ListColumn {
    /// The column's name in a table where `inserted_at` is called that, and the id `id`.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::InsertedAt => "inserted_at",
            Self::UpdatedAt => "updated_at",
        }
    }

    /// The column's name in a table where `inserted_at` is called `created_at`.
    pub(crate) fn text_of_created(self) -> &'static str {
        match self {
            Self::InsertedAt => "created_at",
            Self::Id | Self::UpdatedAt => self.text(),
        }
    }
}

/// How many rows by their keys are soon read, and how many passed over in the index: from a cold disk that is some dozen of
/// its pages.
const SHORT_MAX: u32 = 100;
const PASSED_OVER_MAX: u64 = 512;

/// What a list is made of.
pub(crate) struct Source<'s, T> {
    pub(crate) table: &'s str,
    pub(crate) columns: &'s str,
    /// From `FROM` to the last condition, with places for the values.
    pub(crate) living: &'s str,
    /// Reads the number of rows where it is kept, with the same values; `None` counts them.
    pub(crate) total: Option<&'s str>,
    pub(crate) read: Read<T>,
}

impl<T> Source<'_, T> {
    /// What reads the number of rows.
    pub(crate) fn total(&self, values: &[Value]) -> Select {
        let sql = self.total.map_or_else(|| format!("SELECT COUNT(*){}", self.living), str::to_owned);
        Select { sql, values: values.to_vec() }
    }

    /// Up to `count` ids in their order: those of every `step`-th row after the id `after`.
    pub(crate) fn marks(&self, mut values: Vec<Value>, after: String, step: u32, count: u32) -> Select {
        let living = self.living;
        let next = values.len() + 1;
        values.extend([after.into(), (i64::from(step) - 1).into(), i64::from(count).into()]);
        let (offset, limit) = (next + 1, next + 2);
        // One walk through the index, in steps that begin with a seek. The first is written like the others, so that both
        // have the column's collation.
        let sql = format!(
            "WITH RECURSIVE mark (id) AS (\
             SELECT (SELECT id{living} AND id > ${next} ORDER BY id LIMIT 1 OFFSET ${offset}) \
             UNION ALL \
             SELECT (SELECT id{living} AND id > mark.id ORDER BY id LIMIT 1 OFFSET ${offset}) FROM mark \
             WHERE mark.id IS NOT NULL) \
             SELECT id FROM mark WHERE id IS NOT NULL LIMIT ${limit}"
        );
        Select { sql, values }
    }
}

impl Store {
    /// Reads a part of a list; `order` is what [`Order::words`] returns.
    pub(crate) async fn list<T: Send + 'static>(
        &self,
        source: &Source<'_, T>,
        mut values: Vec<Value>,
        order: &str,
        page: Page,
    ) -> Result<Listed<T>, Error> {
        let Source { table, columns, living, read, .. } = *source;
        let total = source.total(&values);
        let (limit, offset) = page.bounds();
        values.extend([limit.into(), offset.into()]);
        let (limit, offset) = (values.len() - 1, values.len());
        // What is passed over is looked at in the index alone, or sorted without the columns that nobody wants.
        let sql = format!(
            "SELECT {columns} FROM {table} WHERE id IN \
             (SELECT id{living} ORDER BY {order} LIMIT ${limit} OFFSET ${offset}) ORDER BY {order}"
        );
        self.select_listed(Select { sql, values }, read, total, Some(page), false).await
    }

    /// Reads a part of a list in the order of its ids: what comes after the id `after` (empty for all), without the first
    /// rows of these.
    pub(crate) async fn list_after<T: Send + 'static>(
        &self,
        source: &Source<'_, T>,
        mut values: Vec<Value>,
        after: String,
        page: Page,
    ) -> Result<Listed<T>, Error> {
        let Source { columns, living, read, .. } = *source;
        let total = source.total(&values);
        let is_from_start = after.is_empty();
        let mut place = |value: Value| {
            values.push(value);
            values.len()
        };
        let mut begin = if is_from_start { String::new() } else { format!(" AND id > ${}", place(after.into())) };
        let (limit, offset) = page.bounds();
        if offset > 0 {
            // What is passed over is looked at in the index alone. Past the end there is no id, and nothing is after it.
            let last = place((offset - 1).into());
            begin = format!(" AND id > (SELECT id{living}{begin} ORDER BY id LIMIT 1 OFFSET ${last})");
        }
        let sql = format!("SELECT {columns}{living}{begin} ORDER BY id LIMIT ${}", place(limit.into()));
        // Where the total is kept, no row is looked at that is not in the list.
        let is_short = source.total.is_some() && page.limit <= SHORT_MAX && page.offset <= PASSED_OVER_MAX;
        self.select_listed(Select { sql, values }, read, total, is_from_start.then_some(page), is_short).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_is_total() {
        let check = |column: ApiTokenColumn, descending: bool, nulls: Nulls, expected: &str| {
            let order = Order { column, descending, nulls };
            assert_eq!(order.words(column.text(), "id"), expected);
        };
        check(ApiTokenColumn::Id, false, Nulls::First, "id ASC");
        check(ApiTokenColumn::Id, true, Nulls::Last, "id DESC");
        check(ApiTokenColumn::Status, false, Nulls::Last, "status ASC NULLS LAST, id ASC");
        check(ApiTokenColumn::ExpiresAt, true, Nulls::First, "expires_at DESC NULLS FIRST, id DESC");
    }
}
