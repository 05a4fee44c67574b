//! Connections that may speak HTTP/1 or HTTP/2, with or without TLS; and the listener of the management API.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::accept::{Room, accept_all};
use super::patience::Patient;
use super::stop::Stop;
use crate::management::{Encrypted, Peer};
use crate::tls::Tls;

/// The largest request head. Proxies forward the client's headers, cookies included: nginx lets 32 KiB pass by default.
pub(crate) const HEAD_MAX: u32 = 64 * 1024;

/// How many requests of one HTTP/2 connection are served at once.
const STREAMS_MAX: u32 = 100;

/// How connections are treated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// How long a handshake and the head of a request may take to arrive, and how long a connection may stay idle.
    pub(crate) head_timeout: Duration,
    /// How long a peer may take nothing of an answer.
    pub(crate) write_timeout: Duration,
    /// How long connections may take to end once the server stops.
    pub(crate) drain_timeout: Duration,
}

/// Serves connections of both protocols alike.
#[derive(Clone)]
pub(crate) struct Http {
    builder: auto::Builder<TokioExecutor>,
    options: Options,
    stop: Stop,
}

/// What a connection is doing.
#[derive(Debug, Default)]
struct Activity {
    begun: AtomicU64,
    running: AtomicU64,
}

impl Activity {
    fn begin(self: &Arc<Self>) -> Running {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(self))
    }

    /// Returns when nothing has happened for `patience`, or a while longer.
    async fn cease(&self, patience: Duration) {
        let mut seen = 0;
        loop {
            tokio::time::sleep(patience).await;
            let begun = self.begun.load(Ordering::Relaxed);
            if begun == seen && self.running.load(Ordering::Relaxed) == 0 {
                return;
            }
            seen = begun;
        }
    }
}

/// A request that has begun and is not answered yet.
struct Running(Arc<Activity>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Http {
    pub(crate) fn new(options: Options, stop: Stop) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(options.head_timeout);
        builder.http1().max_buf_size(HEAD_MAX as usize);
        builder.http2().timer(TokioTimer::new()).max_header_list_size(HEAD_MAX).max_concurrent_streams(STREAMS_MAX);
        Self { builder, options, stop }
    }

    /// Shakes hands, unless the client takes too long for its part or the server stops.
    pub(crate) async fn shake_hands<I>(&self, tls: &Tls, io: I) -> Option<TlsStream<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        tokio::select! {
            stream = tls.accept(io, self.options.head_timeout) => stream,
            () = self.stop.requested() => None,
        }
    }

    /// Answers what comes on `io` with `service`. A connection that is idle for too long is ended; when the server stops,
    /// what has begun is still answered.
    pub(crate) async fn serve<I, S, B>(&self, io: I, service: S)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = hyper::Response<B>>,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let activity = Arc::new(Activity::default());
        let service = {
            let activity = Arc::clone(&activity);
            service_fn(move |request| {
                let running = activity.begin();
                let answer = service.call(request);
                async move {
                    let _running = running;
                    answer.await
                }
            })
        };
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(io), service));
        // The protocols' own timers do not run while the first bytes could still be either, and none ends an idle
        // connection of HTTP/2.
        let (outcome, patience) = tokio::select! {
            outcome = connection.as_mut() => (Some(outcome), Duration::ZERO),
            () = activity.cease(self.options.head_timeout) => (None, self.options.write_timeout),
            () = self.stop.requested() => (None, self.options.drain_timeout),
        };
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => {
                connection.as_mut().graceful_shutdown();
                // The server may stop while an idle connection says goodbye.
                let stopped = async {
                    self.stop.requested().await;
                    tokio::time::sleep(self.options.drain_timeout).await;
                };
                tokio::select! {
                    outcome = connection => outcome,
                    () = tokio::time::sleep(patience) => return cut(),
                    () = stopped => return cut(),
                }
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(error = %error, "a connection ended early");
        }
    }
}

fn cut() {
    tracing::debug!("a connection did not end in time and is cut");
}

/// Sends what is written at once.
pub(crate) fn undelayed(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "cannot switch delays off");
    }
}

/// The listener of the management API.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) tcp: TcpListener,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) room: Room,
}

/// Answers requests on `listener` with `router` until `stop`, and returns when the last connection has ended. Handlers
/// find the peer's address as [`Peer`].
pub(super) async fn serve(
    listener: Listener,
    router: Router,
    options: Options,
    stop: Stop,
    accept_errors: Counter,
) -> anyhow::Result<()> {
    let connections = TaskTracker::new();
    answer(&listener, router, options, &stop, &accept_errors, &connections).await;
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

/// The same for a while: the listener stays open.
pub(super) async fn serve_meanwhile(listener: &Listener, router: Router, options: Options, stop: &Stop) {
    let connections = TaskTracker::new();
    answer(listener, router, options, stop, &Counter::default(), &connections).await;
    connections.close();
    connections.wait().await;
}

async fn answer(
    Listener { tcp, tls, room }: &Listener,
    router: Router,
    options: Options,
    stop: &Stop,
    accept_errors: &Counter,
    connections: &TaskTracker,
) {
    let http = Http::new(options, stop.clone());
    accept_all(
        |cx| tcp.poll_accept(cx),
        |(stream, peer), place| {
            let (router, http, tls) = (router.clone(), http.clone(), tls.clone());
            connections.spawn(async move {
                let _place = place;
                let encrypted = tls.is_some();
                let service = service_fn(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(Peer(peer));
                    if encrypted {
                        request.extensions_mut().insert(Encrypted);
                    }
                    router.clone().oneshot(request)
                });
                undelayed(&stream);
                let io = Patient::new(stream, options.write_timeout);
                match tls {
                    None => http.serve(io, service).await,
                    Some(tls) => {
                        if let Some(io) = http.shake_hands(&tls, io).await {
                            http.serve(io, service).await;
                        }
                    }
                }
            });
        },
        room,
        stop,
        accept_errors,
    )
    .await;
}
