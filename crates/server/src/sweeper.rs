//! Takes away what is no longer needed: the rows of deleted credentials, once no node can still need them to learn of the
//! deletion, and the answers kept under idempotency keys.

use std::time::Duration;

use countersign_store::Store;
use countersign_token::time::Clock;
use tokio_util::sync::CancellationToken;

use crate::ops::idempotency;

/// How often to look.
const EVERY: Duration = Duration::from_secs(3600);

/// How long a deleted row is kept. A node that slept longer finds itself behind the horizon, and reloads everything.
const KEPT_MICROS: i64 = 7 * 24 * 3600 * 1_000_000;

/// Sweeps until `stop`. A sweep that fails is tried again the next time.
pub async fn run(store: Store, clock: Clock, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let now = clock.now();
        match store.sweep_tombstones(now.saturating_add_micros(-KEPT_MICROS)).await {
            Ok(0) => {}
            Ok(swept) => tracing::info!(swept, "rows of credentials deleted a week ago are gone"),
            Err(error) => tracing::warn!(error = %error, "deleted rows could not be swept; the next round tries again"),
        }
        if let Err(error) = store.delete_old_answers(now.saturating_add_micros(-idempotency::KEPT_MICROS)).await {
            tracing::warn!(error = %error, "old answers could not be swept; the next round tries again");
        }
    }
}
