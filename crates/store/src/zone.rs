//! Zones.

use countersign_token::feed::{Change, Revision, Subject};
use countersign_token::id::{AccountId, UserId, ZoneId};
use countersign_token::time::Timestamp;
use sqlx::any::AnyRow;

use crate::Page;
use crate::error::Error;
use crate::row::{Columns, Row};
use crate::store::Store;
use crate::tx::{Group, Tx};

/// A zone: a part of an account that can have service tokens of its own. Zones are never deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its id.
    pub id: ZoneId,
    /// The account that it belongs to.
    pub account: AccountId,
    /// What people call it: a domain name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Which zones to list. The default is all.
#[derive(Clone, Debug, Default)]
pub struct ZoneFilter {
    /// Only those of this account.
    pub account: Option<AccountId>,
    /// Only those with exactly this name.
    pub name: Option<String>,
    /// Only those of accounts that this user has a membership in.
    pub member: Option<UserId>,
}

macro_rules! columns {
    () => {
        "id, account_id, name, created_at"
    };
}

macro_rules! filter {
    () => {
        " FROM zone WHERE ($1 IS NULL OR account_id = $1) AND ($2 IS NULL OR name = $2) \
         AND ($3 IS NULL OR account_id IN (SELECT account_id FROM membership WHERE user_id = $3))"
    };
}

fn read(row: &AnyRow) -> Result<Zone, Error> {
    let mut columns = Columns::of("zone", row);
    Ok(Zone {
        id: columns.parse()?,
        account: columns.parse()?,
        name: columns.text()?.to_owned(),
        created_at: columns.time()?,
    })
}

/// Every change of a zone after `from`.
pub(crate) const CHANGES: &str = "SELECT id, account_id, revision FROM zone WHERE revision > $1 ORDER BY revision, id";

/// The zones of an account.
pub(crate) const LIVING: &str =
    "SELECT id, account_id, revision FROM zone WHERE account_id = $1 AND id > $2 || $3 ORDER BY id LIMIT $4";

pub(crate) fn read_change(row: Row<'_>) -> Result<Change, Error> {
    let mut columns = Columns::of("zone", row);
    let subject = Subject::Zone { id: columns.parse()?, account: columns.parse()? };
    Ok(Change { revision: Revision::new(columns.int()?), subject })
}

impl Store {
    /// The zone with this id.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_zone(&self, id: &ZoneId) -> Result<Option<Zone>, Error> {
        let query = sqlx::query(concat!("SELECT ", columns!(), " FROM zone WHERE id = $1")).bind(id.to_string());
        let row = query.fetch_optional(&mut *self.reader().await?).await?;
        row.as_ref().map(read).transpose()
    }

    /// Zones, oldest first.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_zones(&self, filter: &ZoneFilter, page: Page) -> Result<Vec<Zone>, Error> {
        let (limit, offset) = page.bounds();
        let sql = concat!("SELECT ", columns!(), filter!(), " ORDER BY created_at, id LIMIT $4 OFFSET $5");
        let query = sqlx::query(sql)
            .bind(filter.account.map(|account| account.to_string()))
            .bind(filter.name.clone())
            .bind(filter.member.map(|user| user.to_string()))
            .bind(limit)
            .bind(offset);
        let rows = query.fetch_all(&mut *self.reader().await?).await?;
        rows.iter().map(read).collect()
    }

    /// How many zones there are.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn count_zones(&self, filter: &ZoneFilter) -> Result<u64, Error> {
        let query = sqlx::query(concat!("SELECT COUNT(*)", filter!()))
            .bind(filter.account.map(|account| account.to_string()))
            .bind(filter.name.clone())
            .bind(filter.member.map(|user| user.to_string()));
        let row = query.fetch_one(&mut *self.reader().await?).await?;
        Columns::of("zone", &row).count()
    }
}

impl Tx {
    /// Adds a zone.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if its id exists, or its account doesn't.
    pub async fn insert_zone(&mut self, zone: &Zone) -> Result<(), Error> {
        let revision = self.change(Group::Directory);
        let query = sqlx::query(concat!("INSERT INTO zone (", columns!(), ", revision) VALUES ($1, $2, $3, $4, $5)"))
            .bind(zone.id.to_string())
            .bind(zone.account.to_string())
            .bind(zone.name.clone())
            .bind(zone.created_at.as_micros())
            .bind(revision);
        self.execute(query, 1).await
    }
}
