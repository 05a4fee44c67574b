//! PFIDs: new ones, chosen ones, and what they name.

use countersign_store::{Agent, Environment, ObjectKind, Tx};
use countersign_token::id::{AccountId, AccountPfid, Pfid};
use countersign_token::time::Timestamp;

use super::commit::gives;
use super::field::invalid;
use super::idempotency::{Intent, Reply};
use super::{Error, Ops};
use crate::caller::{Administer, Permit};

/// How many PFIDs are generated at once.
const COUNT_MAX: u32 = 1000;

impl Ops {
    /// New PFIDs of an account, at most 1000, for objects that the caller will make. Nothing reserves them, and nothing
    /// needs to.
    pub async fn generate_pfids(
        &self,
        account: &AccountId,
        pfid: &AccountPfid,
        count: u32,
        intent: Option<Intent<Vec<Pfid>>>,
    ) -> Result<Reply<Vec<Pfid>>, Error> {
        if !(1..=COUNT_MAX).contains(&count) {
            return Err(invalid("count", format!("must be a number from 1 to {COUNT_MAX}")));
        }
        let now = self.clock.now();
        let partition = pfid.as_pfid().partition();
        let pfids: Vec<Pfid> = (0..count).map(|_| Pfid::generate_related(now, partition, &self.entropy)).collect();
        self.commit_once(*account, pfid.to_string(), intent, gives, move |_| {
            let pfids = pfids.clone();
            Box::pin(async move { Ok(pfids) })
        })
        .await
    }

    /// What kind of object of an account has this PFID, or had it; `None` if none does.
    pub async fn find_object(&self, account: &AccountId, id: &Pfid) -> Result<Option<ObjectKind>, Error> {
        Ok(self.store.find_object(account, id).await?)
    }

    /// The id of a new object: the one that the caller chose, or one that is drawn.
    pub(super) fn new_pfid(
        &self,
        permit: &Permit<Administer>,
        chosen: Option<&Pfid>,
        now: Timestamp,
    ) -> Result<Pfid, Error> {
        let partition = permit.pfid().as_pfid().partition();
        match chosen {
            None => Ok(Pfid::generate_related(now, partition, &self.entropy)),
            Some(chosen) if chosen.partition() == partition => Ok(*chosen),
            Some(_) => Err(invalid("id", "must have the partition of the account")),
        }
    }
}

/// Refuses the id of a new object that anything of the account has, or had.
pub(super) async fn require_unused(tx: &mut Tx, account: &AccountId, id: &Pfid) -> Result<(), Error> {
    match tx.find_object(account, id).await? {
        None => Ok(()),
        Some(_) => Err(invalid("id", "is used already")),
    }
}

/// The environment that a field names.
pub(super) async fn require_environment(tx: &mut Tx, account: &AccountId, id: Pfid) -> Result<Environment, Error> {
    match tx.find_environment(account, &id.into()).await? {
        Some(environment) => Ok(environment),
        None => Err(absent(tx, account, "environment_id", &id, ObjectKind::Environment).await?),
    }
}

/// The agent that a field names.
pub(super) async fn require_agent(tx: &mut Tx, account: &AccountId, id: Pfid) -> Result<Agent, Error> {
    match tx.find_agent(account, &id.into()).await? {
        Some(agent) => Ok(agent),
        None => Err(absent(tx, account, "agent_id", &id, ObjectKind::Agent).await?),
    }
}

/// Why a field doesn't name what it should.
async fn absent(
    tx: &mut Tx,
    account: &AccountId,
    field: &'static str,
    id: &Pfid,
    expected: ObjectKind,
) -> Result<Error, Error> {
    Ok(match tx.find_object(account, id).await? {
        Some(kind) if kind != expected => Error::WrongKind { field },
        Some(_) | None => Error::NotFound,
    })
}
