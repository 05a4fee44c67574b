//! Sees that there is always a key that signs, and one that will, and that this node knows what the others have made.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::ops::Ops;
use crate::ticks::Ticks;

/// How often to look. A key is published for a day before it signs, so that there is time.
const EVERY: Duration = Duration::from_secs(5);

/// Looks until `stop`. What fails is tried again the next time: until then this node signs with the keys that it has.
pub async fn run(ops: Ops, stop: CancellationToken) {
    let mut ticks = Ticks::every(EVERY, stop);
    let mut failing = false;
    while ticks.next().await {
        match ops.tend_assertion_keys().await {
            Ok(()) => failing = false,
            Err(error) if failing => {
                tracing::debug!(error = %error, "the keys of assertions still can't be looked after")
            }
            Err(error) => {
                tracing::warn!(error = %error, "the keys of assertions can't be looked after; trying again");
                failing = true;
            }
        }
    }
}
