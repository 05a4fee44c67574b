//! What stands in the audit log, and reading it.

use countersign_store::{
    AuditChain, AuditEvent, AuditFilter, AuditHead, AuditMark, AuditPages, ChainMac, RecordedEvent,
};
use serde_json::Value;

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

    /// What the filter lets through, part by part, however much that is.
    pub async fn audit_pages(&self, by: &Caller, filter: &AuditFilter) -> Result<AuditPages, Error> {
        require_administrator(by)?;
        Ok(self.store.audit_pages(filter, false).await?)
    }

    /// Walks the whole log and recomputes its chain. `progress` is told the number of entries walked so far.
    pub async fn verify_audit(&self, by: &Caller, progress: &mut (dyn FnMut(u64) + Send)) -> Result<AuditChain, Error> {
        require_administrator(by)?;
        Ok(self.store.verify_audit_chain(progress).await?)
    }

    /// The same, and holds the log against what was written down of it.
    pub async fn verify_audit_marks(
        &self,
        by: &Caller,
        marks: &mut (dyn Iterator<Item = AuditMark> + Send),
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<AuditChain, Error> {
        require_administrator(by)?;
        Ok(self.store.verify_audit_marks(marks, progress).await?)
    }

    /// Which of these heads this installation has told of, in the same order.
    pub async fn are_audit_heads_sealed(
        &self,
        by: &Caller,
        heads: &[(AuditHead, ChainMac)],
    ) -> Result<Vec<bool>, Error> {
        require_administrator(by)?;
        Ok(self.store.are_audit_heads_sealed(heads).await?)
    }
}

/// The event of an update that changes what is shown, with what it changes; `None` if it changes nothing.
pub(super) fn updated(event: AuditEvent, before: &Value, after: &Value) -> Option<AuditEvent> {
    (before != after).then(|| AuditEvent { detail: difference(before, after), ..event })
}

/// What an audit event says of a change: the fields that differ, as they are now. Both are objects with the same fields.
pub(super) fn difference(before: &Value, after: &Value) -> String {
    let fields = after.as_object().into_iter().flatten();
    let changed = fields.filter(|(field, value)| before.get(field) != Some(value));
    Value::Object(changed.map(|(field, value)| (field.clone(), value.clone())).collect()).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::difference;

    #[test]
    fn a_difference_is_what_changed() {
        let before = json!({ "name": "a", "purpose": null, "enabled": true });
        assert_eq!(difference(&before, &before), "{}");
        let after = json!({ "name": "b", "purpose": "testing", "enabled": true });
        assert_eq!(difference(&before, &after), r#"{"name":"b","purpose":"testing"}"#);
        assert_eq!(difference(&after, &before), r#"{"name":"a","purpose":null}"#);
    }
}
