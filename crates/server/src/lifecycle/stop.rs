//! The request to stop, which every part of the server waits for in its own way.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio_util::sync::CancellationToken;

/// A request to stop, made once and for good. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    // Asking a token takes a lock that all its holders share: too much for something asked at every wake-up.
    flag: Arc<AtomicBool>,
}

impl Stop {
    /// Asks everybody to stop.
    pub fn request(&self) {
        self.flag.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// Whether [`Stop::request`] has been called; cheap.
    pub fn is_requested(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    /// Returns once [`Stop::request`] has been called.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// Polls `stopped`, which is [`Stop::requested`], for a task that is woken very often. Asking once leaves the task's waker
    /// there (`asked`); afterwards only the flag is looked at, until it is set.
    pub(crate) fn poll_requested(
        &self,
        stopped: Pin<&mut impl Future<Output = ()>>,
        asked: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if *asked && !self.is_requested() {
            return Poll::Pending;
        }
        *asked = true;
        stopped.poll(cx)
    }

    /// The same request, for a task that knows only tokens.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }
}
