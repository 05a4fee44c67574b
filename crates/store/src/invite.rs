//! Invitations to an account. The token that accepts one is derived from its id, and kept nowhere.

use countersign_token::id::{AccountId, InviteId};
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;

use crate::Page;
use crate::error::Error;
use crate::list::{ListColumn, Listed, Order, Source};
use crate::row::{Columns, Row};
use crate::store::Store;
use crate::tx::Tx;
use crate::user::User;

/// That somebody with an address may become a member of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// Its id.
    pub id: InviteId,
    /// The account that it belongs to.
    pub account: AccountId,
    /// The address of whom it is for, folded.
    pub email: String,
    /// What has become of it.
    pub status: InviteStatus,
    /// When it was made.
    pub inserted_at: Timestamp,
    /// When its status last changed.
    pub updated_at: Timestamp,
}

/// What has become of an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InviteStatus {
    /// It can be accepted.
    Pending,
    /// It was accepted.
    Used,
    /// It was taken back.
    Revoked,
}

impl InviteStatus {
    /// The name that the wire and the store know it by.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Used => "used",
            Self::Revoked => "revoked",
        }
    }

    /// The status with this name; `None` if there is none.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Used, Self::Revoked].into_iter().find(|status| status.text() == text)
    }
}

macro_rules! columns {
    () => {
        "id, account_id, email, status, inserted_at, updated_at"
    };
}

const SOURCE: Source<'static, Invite> = Source {
    table: "admin_user_invite",
    columns: columns!(),
    living: " FROM admin_user_invite WHERE account_id = $1",
    total: None,
    read,
};

fn read(row: Row<'_>) -> Result<Invite, Error> {
    let mut columns = Columns::of("admin_user_invite", row);
    Ok(Invite {
        id: columns.parse()?,
        account: columns.parse()?,
        email: columns.text()?.to_owned(),
        status: {
            let text = columns.text()?;
            InviteStatus::parse(text).ok_or_else(|| columns.problem(format_args!("{text:?} is no status")))?
        },
        inserted_at: columns.time()?,
        updated_at: columns.time()?,
    })
}

async fn find_anywhere(connection: &mut AnyConnection, id: &InviteId) -> Result<Option<Invite>, Error> {
    let query = sqlx::query(concat!("SELECT ", columns!(), " FROM admin_user_invite WHERE id = $1"));
    let row = query.bind(id.to_string()).fetch_optional(connection).await?;
    row.as_ref().map(|row| read(row.into())).transpose()
}

async fn find(connection: &mut AnyConnection, account: &AccountId, id: &InviteId) -> Result<Option<Invite>, Error> {
    Ok(find_anywhere(connection, id).await?.filter(|invite| invite.account == *account))
}

impl Store {
    /// The invitation of this account with this id.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_invite(&self, account: &AccountId, id: &InviteId) -> Result<Option<Invite>, Error> {
        find(&mut *self.reader().await?, account, id).await
    }

    /// The invitation with this id, whichever account it is to: for whoever accepts it.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_invite_anywhere(&self, id: &InviteId) -> Result<Option<Invite>, Error> {
        find_anywhere(&mut *self.reader().await?, id).await
    }

    /// The invitations to an account, used and revoked ones included.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_invites(
        &self,
        account: &AccountId,
        order: &Order<ListColumn>,
        page: Page,
    ) -> Result<Listed<Invite>, Error> {
        self.list(&SOURCE, vec![account.to_string().into()], &order.words(order.column.text(), "id"), page).await
    }
}

impl Tx {
    /// The invitation of this account with this id.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_invite(&mut self, account: &AccountId, id: &InviteId) -> Result<Option<Invite>, Error> {
        let found = find(self.reading(), account, id).await;
        self.noting(found)
    }

    /// The invitation with this id, whichever account it is to: for whoever accepts it.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_invite_anywhere(&mut self, id: &InviteId) -> Result<Option<Invite>, Error> {
        let found = find_anywhere(self.reading(), id).await;
        self.noting(found)
    }

    /// Adds an invitation. Its address is kept folded.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if its id exists, or its account doesn't.
    pub async fn insert_invite(&mut self, invite: &Invite) -> Result<(), Error> {
        self.revision();
        let query =
            sqlx::query(concat!("INSERT INTO admin_user_invite (", columns!(), ") VALUES ($1, $2, $3, $4, $5, $6)"))
                .bind(invite.id.to_string())
                .bind(invite.account.to_string())
                .bind(User::fold(&invite.email))
                .bind(invite.status.text())
                .bind(invite.inserted_at.as_micros())
                .bind(invite.updated_at.as_micros());
        self.execute(query, 1).await
    }

    /// Sets an invitation's status, and when it was updated.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if it doesn't exist.
    pub async fn update_invite_status(&mut self, invite: &Invite) -> Result<(), Error> {
        self.revision();
        let query =
            sqlx::query("UPDATE admin_user_invite SET status = $3, updated_at = $4 WHERE id = $1 AND account_id = $2")
                .bind(invite.id.to_string())
                .bind(invite.account.to_string())
                .bind(invite.status.text())
                .bind(invite.updated_at.as_micros());
        self.execute(query, 1).await
    }
}
