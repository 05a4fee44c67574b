//! Ends the secrets that were wished to end once nobody uses them.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::ops::Ops;
use crate::ticks::Ticks;

/// How often to look.
const EVERY: Duration = Duration::from_secs(10);

/// Looks until `stop`. What fails is tried again the next time: until then a secret is good for longer than was wished.
pub async fn run(ops: Ops, stop: CancellationToken) {
    let mut ticks = Ticks::every(EVERY, stop);
    while ticks.next().await {
        match ops.finish_quiet_rotations().await {
            Ok(0) => {}
            Ok(finished) => tracing::info!(finished, "secrets that nobody uses any more have ended, as was wished"),
            Err(error) => tracing::warn!(error = %error, "unused secrets could not be ended; trying again"),
        }
    }
}
