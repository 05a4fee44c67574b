//! Accounts.

use countersign_token::feed::{Change, Revision, Subject};
use countersign_token::id::{AccountId, AccountPfid, Partition, UserId};
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::Page;
use crate::error::Error;
use crate::row::{Columns, Row};
use crate::store::Store;
use crate::tx::{Group, Tx};

/// An account: what everything else belongs to. Accounts are never deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id in the one dialect.
    pub id: AccountId,
    /// Its id in the other. Its partition is that of everything in the account.
    pub pfid: AccountPfid,
    /// What people call it.
    pub name: String,
    /// What the organisation behind it is called.
    pub organisation_name: Option<String>,
    /// What it is for, such as [`Account::PURPOSE`].
    pub purpose: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Account {
    /// The purpose of an account that nobody has said another of.
    pub const PURPOSE: &str = "business";
}

/// Which accounts to list. The default is all.
#[derive(Clone, Debug, Default)]
pub struct AccountFilter {
    /// Only those with exactly this name.
    pub name: Option<String>,
    /// Only those that this user has a membership in.
    pub member: Option<UserId>,
}

macro_rules! columns {
    () => {
        "id, pfid, name, organisation_name, purpose, created_at, updated_at"
    };
}

macro_rules! filter {
    () => {
        " FROM account WHERE ($1 IS NULL OR name = $1) \
         AND ($2 IS NULL OR id IN (SELECT account_id FROM membership WHERE user_id = $2))"
    };
}

fn read(row: &AnyRow) -> Result<Account, Error> {
    let mut columns = Columns::of("account", row);
    Ok(Account {
        id: columns.parse()?,
        pfid: columns.parse()?,
        name: columns.text()?.to_owned(),
        organisation_name: columns.text_if_any()?.map(str::to_owned),
        purpose: columns.text()?.to_owned(),
        created_at: columns.time()?,
        updated_at: columns.time()?,
    })
}

async fn find(connection: &mut AnyConnection, id: &AccountId) -> Result<Option<Account>, Error> {
    let query = sqlx::query(concat!("SELECT ", columns!(), " FROM account WHERE id = $1"));
    let row = query.bind(id.to_string()).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

/// Every change of an account after `from`.
pub(crate) const CHANGES: &str = "SELECT id, pfid, revision FROM account WHERE revision > $1 ORDER BY revision, id";

/// The account itself, if nothing was read before.
pub(crate) const LIVING: &str = "SELECT id, pfid, revision FROM account WHERE id = $1 AND id > $2 || $3 LIMIT $4";

pub(crate) fn read_change(row: Row<'_>) -> Result<Change, Error> {
    let mut columns = Columns::of("account", row);
    let subject = Subject::Account { id: columns.parse()?, pfid: columns.parse()? };
    Ok(Change { revision: Revision::new(columns.int()?), subject })
}

impl Store {
    /// The account with this id.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_account(&self, id: &AccountId) -> Result<Option<Account>, Error> {
        find(&mut *self.reader().await?, id).await
    }

    /// Accounts, oldest first.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_accounts(&self, filter: &AccountFilter, page: Page) -> Result<Vec<Account>, Error> {
        let (limit, offset) = page.bounds();
        let sql = concat!("SELECT ", columns!(), filter!(), " ORDER BY created_at, id LIMIT $3 OFFSET $4");
        let query = sqlx::query(sql)
            .bind(filter.name.clone())
            .bind(filter.member.map(|user| user.to_string()))
            .bind(limit)
            .bind(offset);
        let rows = query.fetch_all(&mut *self.reader().await?).await?;
        rows.iter().map(read).collect()
    }

    /// How many accounts there are.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn count_accounts(&self, filter: &AccountFilter) -> Result<u64, Error> {
        let query = sqlx::query(concat!("SELECT COUNT(*)", filter!()))
            .bind(filter.name.clone())
            .bind(filter.member.map(|user| user.to_string()));
        let row = query.fetch_one(&mut *self.reader().await?).await?;
        Columns::of("account", &row).count()
    }
}

impl Tx {
    /// The account with this id.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_account(&mut self, id: &AccountId) -> Result<Option<Account>, Error> {
        let found = find(self.reading(), id).await;
        self.noting(found)
    }

    /// Adds an account.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if one of its ids exists.
    pub async fn insert_account(&mut self, account: &Account) -> Result<(), Error> {
        let revision = self.change(Group::Directory);
        let query = sqlx::query(concat!(
            "INSERT INTO account (",
            columns!(),
            ", revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        ))
        .bind(account.id.to_string())
        .bind(account.pfid.to_string())
        .bind(account.name.clone())
        .bind(account.organisation_name.clone())
        .bind(account.purpose.clone())
        .bind(account.created_at.as_micros())
        .bind(account.updated_at.as_micros())
        .bind(revision);
        self.execute(query, 1).await
    }

    /// Changes what an account is called and what it is for.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if it doesn't exist.
    pub async fn update_account(&mut self, account: &Account) -> Result<(), Error> {
        let revision = self.change(Group::Directory);
        let query = sqlx::query(
            "UPDATE account SET name = $2, organisation_name = $3, purpose = $4, updated_at = $5, revision = $6 \
             WHERE id = $1",
        )
        .bind(account.id.to_string())
        .bind(account.name.clone())
        .bind(account.organisation_name.clone())
        .bind(account.purpose.clone())
        .bind(account.updated_at.as_micros())
        .bind(revision);
        self.execute(query, 1).await
    }

    /// Whether a partition is that of any account.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn account_has_partition(&mut self, partition: Partition) -> Result<bool, Error> {
        let query = sqlx::query("SELECT id FROM account WHERE substr(pfid, 11, 6) = $1 LIMIT 1");
        let found = query.bind(partition.to_string()).fetch_optional(self.reading()).await.map_err(Error::from);
        Ok(self.noting(found)?.is_some())
    }
}
