//! Users, and the accounts that they have rights on.

use countersign_token::digest::Digest;
use countersign_token::feed::{Change, Revision, Subject};
use countersign_token::id::{AccountId, UserId, UserPfid};
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;

use crate::Page;
use crate::error::Error;
use crate::list::{ListColumn, Listed, Order, Source};
use crate::row::{Columns, Row};
use crate::store::Store;
use crate::tx::{Group, Tx};

/// A person, with an e-mail address and a global API key.
#[derive(Clone, Debug)]
pub struct User {
    /// Its id in the one dialect.
    pub id: UserId,
    /// Its id in the other.
    pub pfid: UserPfid,
    /// The address as it was given. No two users have addresses that differ in case alone.
    pub email: String,
    /// The digest of the global API key.
    pub key_digest: Digest,
    /// Whether the user has every right on every account, also on later ones.
    pub installation_owner: bool,
    /// What people call the user.
    pub name: Option<String>,
    /// What the user does for a living.
    pub job_title: Option<String>,
    /// When the user had told everything about themself.
    pub profile_completed_at: Option<Timestamp>,
    /// When the global API key was last used.
    pub last_active_at: Option<Timestamp>,
    /// When the user was made.
    pub created_at: Timestamp,
    /// When the user was last changed; use doesn't count.
    pub updated_at: Timestamp,
}

impl User {
    /// The form in which addresses are compared.
    pub fn fold(email: &str) -> String {
        email.to_lowercase()
    }
}

/// That a user has every right on an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The user.
    pub user: UserId,
    /// The account.
    pub account: AccountId,
    /// Since when.
    pub created_at: Timestamp,
}

/// Which users to list. The default is all.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserFilter {
    /// Only those with a membership in this account.
    pub account: Option<AccountId>,
}

macro_rules! columns {
    () => {
        "id, pfid, email, key_digest, digest_key, installation_owner, name, job_title, profile_completed_at, \
         last_active_at, created_at, updated_at"
    };
}

macro_rules! filter {
    () => {
        " FROM app_user WHERE ($1 IS NULL OR id IN (SELECT user_id FROM membership WHERE account_id = $1))"
    };
}

fn read(row: Row<'_>) -> Result<User, Error> {
    let mut columns = Columns::of("app_user", row);
    Ok(User {
        id: columns.parse()?,
        pfid: columns.parse()?,
        email: columns.text()?.to_owned(),
        key_digest: columns.keyed_digest()?,
        installation_owner: columns.flag()?,
        name: columns.text_if_any()?.map(str::to_owned),
        job_title: columns.text_if_any()?.map(str::to_owned),
        profile_completed_at: columns.time_if_any()?,
        last_active_at: columns.time_if_any()?,
        created_at: columns.time()?,
        updated_at: columns.time()?,
    })
}

/// The members of an account. No index serves their order: there are few.
const MEMBERS: Source<'static, User> = Source {
    table: "app_user",
    columns: columns!(),
    living: " FROM app_user WHERE id IN (SELECT user_id FROM membership WHERE account_id = $1)",
    total: None,
    read,
};

async fn find_member(
    connection: &mut AnyConnection,
    account: &AccountId,
    pfid: &UserPfid,
) -> Result<Option<User>, Error> {
    let query = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM app_user WHERE pfid = $1 AND id IN (SELECT user_id FROM membership WHERE account_id = $2)"
    ));
    let row = query.bind(pfid.to_string()).bind(account.to_string()).fetch_optional(connection).await?;
    row.as_ref().map(|row| read(row.into())).transpose()
}

async fn find(connection: &mut AnyConnection, id: &UserId) -> Result<Option<User>, Error> {
    let query = sqlx::query(concat!("SELECT ", columns!(), " FROM app_user WHERE id = $1"));
    let row = query.bind(id.to_string()).fetch_optional(connection).await?;
    row.as_ref().map(|row| read(row.into())).transpose()
}

async fn find_by_email(connection: &mut AnyConnection, email: &str) -> Result<Option<User>, Error> {
    let query = sqlx::query(concat!("SELECT ", columns!(), " FROM app_user WHERE email_folded = $1"));
    let row = query.bind(User::fold(email)).fetch_optional(connection).await?;
    row.as_ref().map(|row| read(row.into())).transpose()
}

/// Every change of a user or of its memberships after `from`: one row a membership, those of a user together.
pub(crate) const CHANGES: &str = "SELECT app_user.id, email_folded, key_digest, installation_owner, revision, account_id \
     FROM app_user LEFT JOIN membership ON user_id = app_user.id \
     WHERE revision > $1 ORDER BY revision, app_user.id, account_id";

/// Reads the next row of [`CHANGES`] into `last`, and returns the change that is complete with that: another user's.
pub(crate) fn read_change(row: Row<'_>, last: &mut Option<Change>) -> Result<Option<Change>, Error> {
    let mut columns = Columns::of("app_user", row);
    let user: UserId = columns.parse()?;
    let email = columns.text()?.to_owned();
    let key_digest = columns.digest()?;
    let installation_owner = columns.flag()?;
    let revision = Revision::new(columns.int()?);
    let account: Option<AccountId> = columns.parse_if_any()?;
    if let Some(Change { subject: Subject::User { id, accounts, .. }, .. }) = last
        && *id == user
    {
        accounts.extend(account);
        return Ok(None);
    }
    let accounts = account.into_iter().collect();
    let subject = Subject::User { id: user, email, key_digest, installation_owner, accounts };
    Ok(last.replace(Change { revision, subject }))
}

impl Store {
    /// The user with this id.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_user(&self, id: &UserId) -> Result<Option<User>, Error> {
        find(&mut *self.reader().await?, id).await
    }

    /// The user with this address, whatever its case.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_user_by_email(&self, email: &str) -> Result<Option<User>, Error> {
        find_by_email(&mut *self.reader().await?, email).await
    }

    /// Users, oldest first.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_users(&self, filter: &UserFilter, page: Page) -> Result<Vec<User>, Error> {
        let (limit, offset) = page.bounds();
        let query =
            sqlx::query(concat!("SELECT ", columns!(), filter!(), " ORDER BY created_at, id LIMIT $2 OFFSET $3"))
                .bind(filter.account.map(|account| account.to_string()))
                .bind(limit)
                .bind(offset);
        let rows = query.fetch_all(&mut *self.reader().await?).await?;
        rows.iter().map(|row| read(row.into())).collect()
    }

    /// The user with this PFID, if it is a member of this account.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_member(&self, account: &AccountId, pfid: &UserPfid) -> Result<Option<User>, Error> {
        find_member(&mut *self.reader().await?, account, pfid).await
    }

    /// The members of an account.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_members(
        &self,
        account: &AccountId,
        order: &Order<ListColumn>,
        page: Page,
    ) -> Result<Listed<User>, Error> {
        let column = match order.column {
            ListColumn::Id => "pfid",
            ListColumn::InsertedAt | ListColumn::UpdatedAt => order.column.text_of_created(),
        };
        self.list(&MEMBERS, vec![account.to_string().into()], &order.words(column, "pfid"), page).await
    }

    /// The memberships of a user, in the order of the accounts' ids.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_memberships(&self, user: &UserId) -> Result<Vec<Membership>, Error> {
        let query = sqlx::query(
            "SELECT user_id, account_id, created_at FROM membership WHERE user_id = $1 ORDER BY account_id",
        )
        .bind(user.to_string());
        let rows = query.fetch_all(&mut *self.reader().await?).await?;
        rows.iter()
            .map(|row| {
                let mut columns = Columns::of("membership", row);
                Ok(Membership { user: columns.parse()?, account: columns.parse()?, created_at: columns.time()? })
            })
            .collect()
    }
}

impl Tx {
    /// The PFID of the user with this id.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_user_pfid(&mut self, id: &UserId) -> Result<Option<UserPfid>, Error> {
        if let Some(known) = self.known_user_pfids().get(id) {
            return Ok(Some(*known));
        }
        let pfid = self.find_user(id).await?.map(|user| user.pfid);
        self.known_user_pfids().extend(pfid.map(|pfid| (*id, pfid)));
        Ok(pfid)
    }

    /// The user with this id.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_user(&mut self, id: &UserId) -> Result<Option<User>, Error> {
        let found = find(self.reading(), id).await;
        self.noting(found)
    }

    /// The user with this address, whatever its case.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_user_by_email(&mut self, email: &str) -> Result<Option<User>, Error> {
        let found = find_by_email(self.reading(), email).await;
        self.noting(found)
    }

    /// The user with this PFID, if it is a member of this account.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_member(&mut self, account: &AccountId, pfid: &UserPfid) -> Result<Option<User>, Error> {
        let found = find_member(self.reading(), account, pfid).await;
        self.noting(found)
    }

    /// Adds a user.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if one of its ids exists, or its address in any case.
    pub async fn insert_user(&mut self, user: &User) -> Result<(), Error> {
        self.require_live_key(&user.key_digest)?;
        let revision = self.change(Group::Directory);
        let query = sqlx::query(concat!(
            "INSERT INTO app_user (",
            columns!(),
            ", email_folded, revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
        ))
        .bind(user.id.to_string())
        .bind(user.pfid.to_string())
        .bind(user.email.clone())
        .bind(user.key_digest.as_bytes().to_vec())
        .bind(i64::from(user.key_digest.key().get()))
        .bind(i64::from(user.installation_owner))
        .bind(user.name.clone())
        .bind(user.job_title.clone())
        .bind(user.profile_completed_at.map(Timestamp::as_micros))
        .bind(user.last_active_at.map(Timestamp::as_micros))
        .bind(user.created_at.as_micros())
        .bind(user.updated_at.as_micros())
        .bind(User::fold(&user.email))
        .bind(revision);
        self.execute(query, 1).await
    }

    /// Changes what a user says about themself.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if there is no such user.
    pub async fn update_user(&mut self, user: &User) -> Result<(), Error> {
        let revision = self.change(Group::Directory);
        let query = sqlx::query(
            "UPDATE app_user SET name = $2, job_title = $3, profile_completed_at = $4, updated_at = $5, revision = $6 \
             WHERE id = $1",
        )
        .bind(user.id.to_string())
        .bind(user.name.clone())
        .bind(user.job_title.clone())
        .bind(user.profile_completed_at.map(Timestamp::as_micros))
        .bind(user.updated_at.as_micros())
        .bind(revision);
        self.execute(query, 1).await
    }

    /// Gives a user rights on an account.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if the user has them already, or one of the two doesn't exist.
    pub async fn insert_membership(&mut self, membership: &Membership) -> Result<(), Error> {
        let query = sqlx::query("INSERT INTO membership (user_id, account_id, created_at) VALUES ($1, $2, $3)")
            .bind(membership.user.to_string())
            .bind(membership.account.to_string())
            .bind(membership.created_at.as_micros());
        self.execute(query, 1).await?;
        self.touch_user(&membership.user).await
    }

    /// The feed shows a membership with its user.
    async fn touch_user(&mut self, user: &UserId) -> Result<(), Error> {
        let revision = self.change(Group::Directory);
        let query =
            sqlx::query("UPDATE app_user SET revision = $2 WHERE id = $1").bind(user.to_string()).bind(revision);
        self.execute(query, 1).await
    }
}
