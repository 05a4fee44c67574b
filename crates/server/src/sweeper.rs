//! Takes away what is no longer needed: the rows of deleted credentials, once no node can still need them to learn of the
//! deletion, the answers kept under idempotency keys, and, where a retention is set, old events of the audit log.

use std::time::Duration;

use countersign_store::{AuditActor, AuditEvent, Error, NodeId, Store};
use countersign_token::time::{Clock, Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::ops::idempotency;
use crate::ticks::Ticks;

/// How often to look.
const EVERY: Duration = Duration::from_secs(3600);

/// How long a deleted row is kept. A node that slept longer finds itself behind the horizon, and reloads everything.
const KEPT_MICROS: i64 = 7 * 24 * 3600 * 1_000_000;

/// How much older than its retention an event gets. The log is pruned once in this time, so that a log of nothing but its
/// own prunings does not go on for ever.
const PRUNED_EVERY_MICROS: i64 = 24 * 3600 * 1_000_000;

/// How long the audit log is kept, and who prunes it.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// For how long an event is kept at least.
    pub kept: Duration,
    /// This node.
    pub node: NodeId,
}

/// Sweeps until `stop`. A sweep that fails is tried again the next time.
pub async fn run(store: Store, clock: Clock, retention: Option<Retention>, stop: CancellationToken) {
    let mut ticks = Ticks::every(EVERY, stop.clone());
    while ticks.next().await {
        let now = clock.now();
        match store.sweep_tombstones(now.saturating_add_micros(-KEPT_MICROS)).await {
            Ok(0) => {}
            Ok(swept) => tracing::info!(swept, "rows of credentials deleted a week ago are gone"),
            Err(error) => tracing::warn!(error = %error, "deleted rows could not be swept; the next round tries again"),
        }
        if let Err(error) = store.delete_old_answers(now.saturating_add_micros(-idempotency::KEPT_MICROS)).await {
            tracing::warn!(error = %error, "old answers could not be swept; the next round tries again");
        }
        if let Some(retention) = &retention {
            // In parts, and a stop ends it between two of them.
            let pruning = prune_audit(&store, now, retention);
            let pruned = tokio::select! {
                () = stop.cancelled() => return,
                pruned = pruning => pruned,
            };
            match pruned {
                Ok(0) => {}
                Ok(pruned) => {
                    tracing::info!(pruned, "events of the audit log that are older than audit_retention are gone")
                }
                Err(error) => {
                    tracing::warn!(error = %error, "the audit log could not be pruned; the next round tries again")
                }
            }
        }
    }
}

/// Prunes the audit log if its turn has come, and returns how many events are gone. The first part leaves an event that
/// says up to when.
pub async fn prune_audit(store: &Store, now: Timestamp, retention: &Retention) -> Result<u64, Error> {
    let kept = i64::try_from(retention.kept.as_micros()).unwrap_or(i64::MAX);
    let before = now.saturating_add_micros(kept.saturating_neg());
    let is_due = |oldest: Timestamp| oldest < before.saturating_add_micros(-PRUNED_EVERY_MICROS);
    if !store.oldest_audit().await?.is_some_and(is_due) {
        return Ok(0);
    }
    let mut event = Some(AuditEvent {
        actor: AuditActor { kind: "server", id: retention.node.to_string() },
        action: "audit.prune",
        subject_kind: "audit",
        subject_id: String::new(),
        account: None,
        at: now,
        address: None,
        request_id: None,
        detail: json!({ "before": before.to_string() }).to_string(),
    });
    let mut total = 0;
    loop {
        match store.prune_audit(before, event.take()).await? {
            0 => return Ok(total),
            pruned => total += pruned,
        }
    }
}
