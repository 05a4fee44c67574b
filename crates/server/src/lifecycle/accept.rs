//! Accepting connections, whatever happens.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::stop::Stop;

/// How long to leave the listener alone when the process or the machine has no room for another connection.
const PAUSE: Duration = Duration::from_millis(50);

/// At most one warning in this time says that there is no room.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// How many connections may be open at once. Clones share the count.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<Semaphore>);

/// A connection's place in a [`Room`], given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "it is held, not looked at")] OwnedSemaphorePermit);

impl Room {
    pub(crate) fn new(connections: usize) -> Self {
        Self(Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))))
    }

    fn find_place(&self) -> Option<Place> {
        Arc::clone(&self.0).try_acquire_owned().ok().map(Place)
    }

    async fn wait_for_place(&self) -> Place {
        match Arc::clone(&self.0).acquire_owned().await {
            Ok(permit) => Place(permit),
            // Nobody closes it.
            Err(_closed) => std::future::pending().await,
        }
    }
}

/// Hands every accepted connection to `serve`, with its place in `room`, until `stop`. A lack of room, of file descriptors
/// or of memory is waited out: the connections wait in the kernel's queue meanwhile.
pub(crate) async fn accept_all<S>(
    mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>,
    mut serve: impl FnMut(S, Place),
    room: &Room,
    stop: &Stop,
    errors: &Counter,
) {
    let mut failing = false;
    let mut warned_at: Option<Instant> = None;
    loop {
        let place = match room.find_place() {
            Some(place) => place,
            None => {
                if warned_at.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
                    tracing::warn!("as many connections are open as may be; others wait");
                    warned_at = Some(Instant::now());
                }
                tokio::select! {
                    () = stop.requested() => return,
                    place = room.wait_for_place() => place,
                }
            }
        };
        let accepted = tokio::select! {
            biased;
            () = stop.requested() => return,
            accepted = poll_fn(&mut poll_accept) => accepted,
        };
        match accepted {
            Ok(stream) => {
                failing = false;
                serve(stream, place);
            }
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                errors.inc();
                if !failing {
                    tracing::error!(error = %error, "cannot accept connections; they wait");
                    failing = true;
                }
                tokio::select! {
                    () = stop.requested() => return,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
}

/// Whether only the one connection is lost: its peer gave it up before it was accepted.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts what `script` says, then asks to stop; returns what was served and how many errors were counted.
    async fn run(script: Vec<io::Result<u8>>) -> (Vec<u8>, u64) {
        let stop = Stop::default();
        let errors = Counter::default();
        let mut script = script.into_iter();
        let mut served = Vec::new();
        let accept = |_: &mut Context<'_>| match script.next() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                stop.request();
                Poll::Pending
            }
        };
        accept_all(accept, |connection, _place| served.push(connection), &Room::new(1), &stop, &errors).await;
        (served, errors.get())
    }

    #[tokio::test]
    async fn without_room_connections_wait() {
        let (room, stop) = (Room::new(2), Stop::default());
        let mut next = 0..4;
        let mut places = Vec::new();
        let mut served = Vec::new();
        let accept = |_: &mut Context<'_>| next.next().map_or(Poll::Pending, |number| Poll::Ready(Ok(number)));
        let serve = |number, place| {
            served.push(number);
            places.push(place);
        };
        let ended = std::future::ready(());
        {
            let errors = Counter::default();
            let accepting = accept_all(accept, serve, &room, &stop, &errors);
            tokio::select! {
                biased;
                () = accepting => panic!("nobody has asked to stop"),
                () = ended => {}
            }
        }
        assert_eq!(served, [0, 1]);
        assert!(room.find_place().is_none());
        places.pop();
        assert!(room.find_place().is_some());
    }

    #[tokio::test]
    async fn no_error_ends_the_loop() {
        let emfile = || Err(io::Error::from_raw_os_error(24));
        let aborted = || Err(io::ErrorKind::ConnectionAborted.into());
        assert_eq!(run(vec![Ok(1), emfile(), emfile(), Ok(2), aborted(), Ok(3)]).await, (vec![1, 2, 3], 2));
    }
}
