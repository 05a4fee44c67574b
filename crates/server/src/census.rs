//! Counts all credentials by state, once a minute: whoever asks for metrics gets the newest count and waits for none.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_token::index::{Census, Index};
use countersign_token::time::{BootTime, Clock};
use tokio_util::sync::CancellationToken;

use crate::ticks::Ticks;

/// How often to count.
const EVERY: Duration = Duration::from_secs(60);

/// The newest count, and when it was begun. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Latest(Arc<Mutex<Option<(BootTime, Census)>>>);

impl Latest {
    /// `None` until the first count has ended.
    pub fn get(&self) -> Option<(BootTime, Census)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts until `stop`.
pub async fn run(index: Arc<Index>, clock: Clock, latest: Latest, stop: CancellationToken) {
    let mut ticks = Ticks::every(EVERY, stop);
    while ticks.next().await {
        let begun = clock.boot();
        let mut census = Census::default();
        for part in index.census(clock.now()) {
            census = census.and(part);
            // Requests come first.
            tokio::task::yield_now().await;
        }
        *latest.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((begun, census));
    }
}
