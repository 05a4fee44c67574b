//! Reads a row column by column, in the order in which its query names them.

use std::fmt::Display;
use std::str::FromStr;

use countersign_token::digest::{Digest, KeyId};
use countersign_token::time::Timestamp;
use rusqlite::types::ValueRef;
use sqlx::any::AnyRow;
use sqlx::{Column as _, Row as _};

use crate::audit::ChainMac;
use crate::error::Error;

/// A row as one of the drivers hands it out.
#[derive(Clone, Copy)]
pub(crate) enum Row<'r> {
    /// From the driver for both databases.
    Any(&'r AnyRow),
    /// From SQLite itself.
    Embedded(&'r rusqlite::Row<'r>),
}

impl<'r> From<&'r AnyRow> for Row<'r> {
    fn from(row: &'r AnyRow) -> Self {
        Self::Any(row)
    }
}

impl<'r> Row<'r> {
    fn get<T>(self, index: usize) -> Result<T, String>
    where
        T: sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any> + Embedded<'r>,
    {
        match self {
            Self::Any(row) => row.try_get(index).map_err(|error| error.to_string()),
            Self::Embedded(row) => match row.get_ref(index) {
                Ok(value) => T::of(value).ok_or_else(|| format!("it is of type {}", value.data_type())),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    fn column_name(self, index: usize) -> Option<String> {
        match self {
            Self::Any(row) => row.columns().get(index).map(|column| column.name().to_owned()),
            Self::Embedded(row) => row.as_ref().column_name(index).ok().map(str::to_owned),
        }
    }
}

/// What a value of SQLite's is read as; `None` if it is of another type.
pub(crate) trait Embedded<'r>: Sized {
    fn of(value: ValueRef<'r>) -> Option<Self>;
}

impl<'r> Embedded<'r> for &'r str {
    fn of(value: ValueRef<'r>) -> Option<Self> {
        value.as_str().ok()
    }
}

impl Embedded<'_> for i64 {
    fn of(value: ValueRef<'_>) -> Option<Self> {
        value.as_i64().ok()
    }
}

impl<'r> Embedded<'r> for &'r [u8] {
    fn of(value: ValueRef<'r>) -> Option<Self> {
        value.as_blob().ok()
    }
}

impl<'r, T: Embedded<'r>> Embedded<'r> for Option<T> {
    fn of(value: ValueRef<'r>) -> Option<Self> {
        match value {
            ValueRef::Null => Some(None),
            value => T::of(value).map(Some),
        }
    }
}

/// A row of `table`, read from left to right. What can't be read is [`Error::Inconsistent`], which names the place.
pub(crate) struct Columns<'r> {
    table: &'static str,
    row: Row<'r>,
    /// The column that is the row's key.
    first: usize,
    next: usize,
}

impl<'r> Columns<'r> {
    pub(crate) fn of(table: &'static str, row: impl Into<Row<'r>>) -> Self {
        Self { table, row: row.into(), first: 0, next: 0 }
    }

    /// Goes back by one column.
    pub(crate) fn back(&mut self) {
        self.next = self.next.saturating_sub(1);
    }

    /// From here on, the columns are those of another table.
    pub(crate) fn goes_on_in(self, table: &'static str) -> Self {
        Self { table, first: self.next, ..self }
    }

    /// The error for the column that was read last.
    pub(crate) fn problem(&self, problem: impl Display) -> Error {
        let index = self.next.saturating_sub(1);
        let column = self.row.column_name(index).unwrap_or_else(|| index.to_string());
        let key = match self.row.get::<&str>(self.first) {
            Ok(key) => key.to_owned(),
            Err(_not_text) => self.row.get::<i64>(self.first).map(|key| key.to_string()).unwrap_or_default(),
        };
        Error::Inconsistent { table: self.table, column, key, problem: problem.to_string() }
    }

    fn get<T>(&mut self) -> Result<T, Error>
    where
        T: sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any> + Embedded<'r>,
    {
        let index = self.next;
        self.next += 1;
        self.row.get(index).map_err(|error| self.problem(error))
    }

    pub(crate) fn text(&mut self) -> Result<&'r str, Error> {
        self.get()
    }

    pub(crate) fn text_if_any(&mut self) -> Result<Option<&'r str>, Error> {
        self.get()
    }

    pub(crate) fn int(&mut self) -> Result<i64, Error> {
        self.get()
    }

    pub(crate) fn int_if_any(&mut self) -> Result<Option<i64>, Error> {
        self.get()
    }

    /// A count or size: not negative.
    pub(crate) fn count(&mut self) -> Result<u64, Error> {
        let value = self.int()?;
        u64::try_from(value).map_err(|error| self.problem(error))
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Error> {
        match self.int()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.problem(format_args!("{other} is neither 0 nor 1"))),
        }
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, Error> {
        self.int().map(Timestamp::from_micros)
    }

    pub(crate) fn time_if_any(&mut self) -> Result<Option<Timestamp>, Error> {
        Ok(self.int_if_any()?.map(Timestamp::from_micros))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'r [u8], Error> {
        self.get()
    }

    pub(crate) fn bytes_if_any(&mut self) -> Result<Option<&'r [u8]>, Error> {
        self.get()
    }

    pub(crate) fn digest(&mut self) -> Result<Digest, Error> {
        let bytes = self.bytes()?;
        self.to_digest(bytes)
    }

    pub(crate) fn digest_if_any(&mut self) -> Result<Option<Digest>, Error> {
        match self.get::<Option<&'r [u8]>>()? {
            Some(bytes) => self.to_digest(bytes).map(Some),
            None => Ok(None),
        }
    }

    /// A digest, and the key that it was made with, which is the next column.
    pub(crate) fn keyed_digest(&mut self) -> Result<Digest, Error> {
        let digest = self.digest()?;
        Ok(digest.under(self.key_id()?))
    }

    pub(crate) fn keyed_digest_if_any(&mut self) -> Result<Option<Digest>, Error> {
        let digest = self.digest_if_any()?;
        let key = self.key_id()?;
        Ok(digest.map(|digest| digest.under(key)))
    }

    pub(crate) fn key_id(&mut self) -> Result<KeyId, Error> {
        self.key_id_if_any()?.ok_or_else(|| self.problem("0 is no key"))
    }

    /// 0 is none.
    pub(crate) fn key_id_if_any(&mut self) -> Result<Option<KeyId>, Error> {
        let number = self.int()?;
        u32::try_from(number).map(KeyId::new).map_err(|error| self.problem(error))
    }

    fn to_digest(&self, bytes: &[u8]) -> Result<Digest, Error> {
        match <[u8; 32]>::try_from(bytes) {
            Ok(bytes) => Ok(Digest::from_bytes(bytes)),
            Err(error) => Err(self.problem(error)),
        }
    }

    pub(crate) fn chain_mac(&mut self) -> Result<ChainMac, Error> {
        self.digest().map(|bytes| ChainMac::from_bytes(*bytes.as_bytes()))
    }

    /// A text that is a value of `T`.
    pub(crate) fn parse<T>(&mut self) -> Result<T, Error>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.text()?;
        text.parse().map_err(|error| self.problem(error))
    }

    pub(crate) fn parse_if_any<T>(&mut self) -> Result<Option<T>, Error>
    where
        T: FromStr<Err: Display>,
    {
        match self.text_if_any()? {
            Some(text) => text.parse().map(Some).map_err(|error| self.problem(error)),
            None => Ok(None),
        }
    }

    /// A text that is a value of `T`, or empty for none.
    pub(crate) fn parse_unless_empty<T>(&mut self) -> Result<Option<T>, Error>
    where
        T: FromStr<Err: Display>,
    {
        match self.text()? {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|error| self.problem(error)),
        }
    }
}
