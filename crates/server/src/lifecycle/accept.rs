//! Accepting connections, whatever happens.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use super::stop::Stop;

/// How long to leave the listener alone when the process or the machine has no room for another connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Hands every accepted connection to `serve`, until `stop`. A lack of file descriptors or memory is waited out: the
/// connections wait in the kernel's queue meanwhile.
pub(crate) async fn accept_all<S>(
    mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>,
    mut serve: impl FnMut(S),
    stop: &Stop,
    errors: &Counter,
) {
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.requested() => return,
            accepted = poll_fn(&mut poll_accept) => accepted,
        };
        match accepted {
            Ok(stream) => {
                failing = false;
                serve(stream);
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
        accept_all(accept, |connection| served.push(connection), &stop, &errors).await;
        (served, errors.get())
    }

    #[tokio::test]
    async fn no_error_ends_the_loop() {
        let emfile = || Err(io::Error::from_raw_os_error(24));
        let aborted = || Err(io::ErrorKind::ConnectionAborted.into());
        assert_eq!(run(vec![Ok(1), emfile(), emfile(), Ok(2), aborted(), Ok(3)]).await, (vec![1, 2, 3], 2));
    }
}
