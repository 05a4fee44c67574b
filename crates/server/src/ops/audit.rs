//! Reading the audit log.

use countersign_store::{AuditChain, AuditFilter, RecordedEvent};

use super::{Error, Ops, require_administrator};
use crate::caller::Caller;

impl Ops {
    /// Entries in the order of their numbers, at most `limit`, after the filter's cursor.
    pub async fn list_audit(&self, by: &Caller, filter: &AuditFilter, limit: u32) -> Result<Vec<RecordedEvent>, Error> {
        require_administrator(by)?;
        Ok(self.store.list_audit(filter, limit).await?)
    }

    /// The newest `limit` entries that the filter lets through, in the order of their numbers.
    pub async fn list_newest_audit(
        &self,
        by: &Caller,
        filter: &AuditFilter,
        limit: u32,
    ) -> Result<Vec<RecordedEvent>, Error> {
        require_administrator(by)?;
        Ok(self.store.list_newest_audit(filter, limit).await?)
    }

    /// Walks the whole log and recomputes its chain. `progress` is told the number of entries walked so far.
    pub async fn verify_audit(&self, by: &Caller, progress: &mut (dyn FnMut(u64) + Send)) -> Result<AuditChain, Error> {
        require_administrator(by)?;
        Ok(self.store.verify_audit_chain(progress).await?)
    }
}
