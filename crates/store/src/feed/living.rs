//! All that lives in an account, some rows at a time: for those who follow the feed from outside, and must not hold a
//! moment of the database open until they have taken everything.
//!
//! The pages are not of one moment. Whoever reads them notes the newest revision before the first one, and takes in what has
//! changed since then after the last one: changes hold whole subjects, so that what was read too early is mended.

use countersign_token::feed::{Change, Subject};
use countersign_token::id::AccountId;

use crate::error::Error;
use crate::select::{Read, Select, Value};
use crate::store::Store;
use crate::{account, api_token, environment, service_token, zone};

/// The kinds of things that belong to an account and that decisions depend on, in the order in which they are read: what
/// tokens belong to comes before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LivingKind {
    /// The account itself.
    Account,
    /// Its zones.
    Zone,
    /// Its environments, deleted ones as well: the tokens there are refused.
    Environment,
    /// Its service tokens and those of its zones.
    ServiceToken,
    /// Its API tokens.
    ApiToken,
}

/// A place in the reading of one account: after the row with this id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivingPlace {
    /// What is read there.
    pub kind: LivingKind,
    /// The zone of the service token that was read last, empty for none.
    pub zone: String,
    /// The id of what was read last, empty for nothing.
    pub id: String,
}

impl LivingPlace {
    /// Where reading begins.
    pub const START: Self = Self::before(LivingKind::Account);

    const fn before(kind: LivingKind) -> Self {
        Self { kind, zone: String::new(), id: String::new() }
    }

    fn after(&self, last: &Change) -> Self {
        let (zone, id) = match &last.subject {
            Subject::Account { id, .. } => (None, id.to_string()),
            Subject::Zone { id, .. } => (None, id.to_string()),
            Subject::Environment { id, .. } => (None, id.to_string()),
            Subject::ServiceToken { id, owner, .. } => (owner.zone, id.to_string()),
            Subject::ApiToken { id, .. } => (None, id.to_string()),
            // Neither belongs to an account, and none of the statements reads them.
            Subject::User { id, .. } => (None, id.to_string()),
            Subject::ManagementToken { id, .. } => (None, id.to_string()),
        };
        Self { kind: self.kind, zone: zone.map(|zone| zone.to_string()).unwrap_or_default(), id }
    }
}

impl LivingKind {
    fn next(self) -> Option<Self> {
        match self {
            Self::Account => Some(Self::Zone),
            Self::Zone => Some(Self::Environment),
            Self::Environment => Some(Self::ServiceToken),
            Self::ServiceToken => Some(Self::ApiToken),
            Self::ApiToken => None,
        }
    }

    fn statement(self) -> (&'static str, Read<Change>) {
        match self {
            Self::Account => (account::LIVING, account::read_change),
            Self::Zone => (zone::LIVING, zone::read_change),
            Self::Environment => (environment::LIVING, environment::read_change),
            Self::ServiceToken => (service_token::LIVING, service_token::read_change),
            Self::ApiToken => (api_token::LIVING, api_token::read_change),
        }
    }
}

impl Store {
    /// Up to `limit` of the things that live in an account, from a place on, and the place after them; `None` if nothing
    /// comes after them.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn list_living(
        &self,
        account: &AccountId,
        from: &LivingPlace,
        limit: u32,
    ) -> Result<(Vec<Change>, Option<LivingPlace>), Error> {
        let (sql, read) = from.kind.statement();
        let values = [account.to_string(), from.zone.clone(), from.id.clone()].map(Value::from);
        let values = values.into_iter().chain([Value::from(i64::from(limit))]).collect();
        let changes = self.select(Select { sql: sql.to_owned(), values }, read).await?;
        let is_full = u32::try_from(changes.len()).is_ok_and(|rows| rows >= limit);
        let next = match changes.last() {
            Some(last) if is_full => Some(from.after(last)),
            Some(_) | None => from.kind.next().map(LivingPlace::before),
        };
        Ok((changes, next))
    }
}
