//! Wishes that the secret before should end once nobody has come with it for a while.

use countersign_token::duration::TokenDuration;
use countersign_token::id::ServiceTokenId;
use countersign_token::service_token::Owner;
use countersign_token::time::Timestamp;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::audit::AuditActor;
use crate::error::Error;
use crate::row::Columns;
use crate::service_token::{read_owner, read_version, zone_text};
use crate::store::Store;
use crate::tx::Tx;

/// The wish that the secret which a rotation has replaced should end as soon as nobody uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationWish {
    /// Where the token lives.
    pub owner: Owner,
    /// The token.
    pub id: ServiceTokenId,
    /// The secret that has taken the other's place. With the next one the wish has no meaning any more.
    pub secret_version: u32,
    /// For how long nobody must have come.
    pub quiet: TokenDuration,
    /// When this was asked for.
    pub asked_at: Timestamp,
    /// By whom.
    pub actor: AuditActor,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT service_token_id, account_id, zone_id, secret_version, quiet, asked_at, actor_kind, actor_id \
             FROM rotation_wish",
            $rest
        )
    };
}

fn read(row: &AnyRow) -> Result<RotationWish, Error> {
    let mut columns = Columns::of("rotation_wish", row);
    let id = columns.parse()?;
    let owner = read_owner(&mut columns)?;
    let secret_version = read_version(&mut columns)?;
    let text = columns.text()?;
    let quiet = TokenDuration::parse(text).map_err(|error| columns.problem(error))?;
    let asked_at = columns.time()?;
    let kind = match columns.text()? {
        "operator" => "operator",
        "user" => "user",
        "management_token" => "management_token",
        "api_token" => "api_token",
        "service_token" => "service_token",
        other => return Err(columns.problem(format!("{other:?} is no kind of actor"))),
    };
    let actor = AuditActor { kind, id: columns.text()?.to_owned() };
    Ok(RotationWish { owner, id, secret_version, quiet, asked_at, actor })
}

async fn find(connection: &mut AnyConnection, id: &ServiceTokenId) -> Result<Option<RotationWish>, Error> {
    let query = sqlx::query(select!(" WHERE service_token_id = $1")).bind(id.to_string());
    query.fetch_optional(connection).await?.as_ref().map(read).transpose()
}

impl Store {
    /// What was wished for a token; `None` if nothing was.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_rotation_wish(&self, id: &ServiceTokenId) -> Result<Option<RotationWish>, Error> {
        find(&mut *self.reader().await?, id).await
    }

    /// All wishes, the oldest first. There are few: each is gone once it has come true or lost its meaning.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_rotation_wishes(&self) -> Result<Vec<RotationWish>, Error> {
        let query = sqlx::query(select!(" ORDER BY asked_at, service_token_id"));
        let rows = query.fetch_all(&mut *self.reader().await?).await?;
        rows.iter().map(read).collect()
    }
}

impl Tx {
    /// What was wished for a token; `None` if nothing was.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_rotation_wish(&mut self, id: &ServiceTokenId) -> Result<Option<RotationWish>, Error> {
        let found = find(self.reading(), id).await;
        self.noting(found)
    }

    /// Keeps a wish, in the place of the one that there may have been for its token.
    ///
    /// # Errors
    ///
    /// When the database can't be written.
    pub async fn put_rotation_wish(&mut self, wish: &RotationWish) -> Result<(), Error> {
        self.revision();
        let query = sqlx::query(
            "INSERT INTO rotation_wish \
             (service_token_id, account_id, zone_id, secret_version, quiet, asked_at, actor_kind, actor_id) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
             ON CONFLICT (service_token_id) DO UPDATE SET secret_version = excluded.secret_version, \
             quiet = excluded.quiet, asked_at = excluded.asked_at, actor_kind = excluded.actor_kind, \
             actor_id = excluded.actor_id",
        )
        .bind(wish.id.to_string())
        .bind(wish.owner.account.to_string())
        .bind(zone_text(wish.owner.zone))
        .bind(i64::from(wish.secret_version))
        .bind(wish.quiet.as_str().to_owned())
        .bind(wish.asked_at.as_micros())
        .bind(wish.actor.kind)
        .bind(wish.actor.id.clone());
        self.execute(query, 1).await
    }

    /// Forgets a wish. Without an event of its own: a change of the token tells of it, or it had no meaning any more.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if there is none.
    pub async fn delete_rotation_wish(&mut self, id: &ServiceTokenId) -> Result<(), Error> {
        let query = sqlx::query("DELETE FROM rotation_wish WHERE service_token_id = $1").bind(id.to_string());
        self.execute(query, 1).await
    }
}
