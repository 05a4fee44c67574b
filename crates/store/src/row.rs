//! Reads a row column by column, in the order in which its query names them.

use std::fmt::Display;
use std::str::FromStr;

use countersign_token::digest::{Digest, KeyId};
use countersign_token::time::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{Column as _, Row as _};

use crate::audit::ChainMac;
use crate::error::Error;

/// A row of `table`, read from left to right. What can't be read is [`Error::Inconsistent`], which names the place.
pub(crate) struct Columns<'r> {
    table: &'static str,
    row: &'r AnyRow,
    /// The column that is the row's key.
    first: usize,
    next: usize,
}

impl<'r> Columns<'r> {
    pub(crate) fn of(table: &'static str, row: &'r AnyRow) -> Self {
        Self { table, row, first: 0, next: 0 }
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
        let column = self.row.columns().get(index).map_or_else(|| index.to_string(), |column| column.name().to_owned());
        let key = match self.row.try_get::<&str, _>(self.first) {
            Ok(key) => key.to_owned(),
            Err(_not_text) => self.row.try_get::<i64, _>(self.first).map(|key| key.to_string()).unwrap_or_default(),
        };
        Error::Inconsistent { table: self.table, column, key, problem: problem.to_string() }
    }

    fn get<T>(&mut self) -> Result<T, Error>
    where
        T: sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any>,
    {
        let index = self.next;
        self.next += 1;
        self.row.try_get(index).map_err(|error| self.problem(error))
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
    pub(crate) fn chain_mac(&mut self) -> Result<ChainMac, Error> {
        self.digest().map(|bytes| ChainMac::from_bytes(*bytes.as_bytes()))
    }

        T: FromStr<Err: Display>,
    {
        match self.text()? {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|error| self.problem(error)),
        }
    }
}
