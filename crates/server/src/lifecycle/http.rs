//! The connections of the management API: HTTP/1 and HTTP/2 around the router.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prometheus_client::metrics::counter::Counter;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::accept::accept_all;
use super::stop::Stop;
use crate::management::Peer;

/// How connections are treated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// How long the head of a request may take to arrive, and how long an HTTP/1 connection may stay idle.
    pub(super) head_timeout: Duration,
    /// How long connections may take to end once the server stops.
    pub(super) drain_timeout: Duration,
}

/// Answers requests on `listener` with `router` until `stop`, and returns when the last connection has ended. Handlers
/// find the peer's address as [`Peer`].
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    options: Options,
    stop: Stop,
    accept_errors: Counter,
) -> anyhow::Result<()> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(options.head_timeout);
    http.http2().timer(TokioTimer::new());
    let connections = TaskTracker::new();
    accept_all(
        |cx| listener.poll_accept(cx),
        |(stream, peer)| {
            connections.spawn(serve_connection(stream, peer, router.clone(), http.clone(), options, stop.clone()));
        },
        &stop,
        &accept_errors,
    )
    .await;
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    http: auto::Builder<TokioExecutor>,
    options: Options,
    stop: Stop,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "cannot switch delays off");
    }
    let begun = Arc::new(AtomicBool::new(false));
    let service = {
        let begun = Arc::clone(&begun);
        service_fn(move |mut request: Request<Incoming>| {
            begun.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(Peer(peer));
            router.clone().oneshot(request)
        })
    };
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    // The protocol's own timer does not run yet while the first bytes could still be HTTP/1 or HTTP/2.
    let first = async {
        tokio::time::sleep(options.head_timeout).await;
        if begun.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = first => return,
        () = stop.requested() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(options.drain_timeout, connection).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    tracing::warn!(peer = %peer, "a connection did not end in time and is cut");
                    return;
                }
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(peer = %peer, error = %error, "a connection ended early");
    }
}
