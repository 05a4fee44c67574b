//! The gate's sockets: one thread a core, each with a runtime of its own and a handle of the same listeners.
//!
//! A connection stays on the thread that accepted it, so that no request waits for another core, and a busy management
//! API takes nothing from the gate but CPU time.

use std::convert::Infallible;
use std::future::{poll_fn, ready};
use std::net::TcpListener as StdTcpListener;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::{Gate, forward_auth};
use crate::lifecycle::accept::accept_all;
use crate::lifecycle::stop::Stop;

/// The largest request head. Proxies forward the client's headers, cookies included: nginx lets 32 KiB pass by default.
const HEAD_MAX: usize = 64 * 1024;

/// How the gate is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many threads accept and answer.
    pub threads: usize,
    /// How long the head of a request may take to arrive, and how long a connection may stay idle.
    pub head_timeout: Duration,
    /// How long connections may take to end once the server stops.
    pub drain_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            head_timeout: Duration::from_secs(10),
            drain_timeout: crate::lifecycle::DRAIN_TIMEOUT,
        }
    }
}

/// The running gate.
#[derive(Debug)]
pub struct Threads(Vec<oneshot::Receiver<anyhow::Result<()>>>);

/// Starts answering on `tcp`, and on `unix` if there is one, until `stop`.
pub fn start(
    gate: &Arc<Gate>,
    tcp: TcpListener,
    unix: Option<UnixListener>,
    options: Options,
    stop: &Stop,
    accept_errors: &Counter,
) -> anyhow::Result<Threads> {
    let tcp = tcp.into_std().context("cannot take the gate's listener")?;
    let unix = unix.map(UnixListener::into_std).transpose().context("cannot take the gate's Unix socket")?;
    let mut threads = Vec::with_capacity(options.threads);
    for number in 0..options.threads {
        let core = Core {
            gate: Arc::clone(gate),
            tcp: tcp.try_clone().context("cannot share the gate's listener")?,
            unix: unix
                .as_ref()
                .map(StdUnixListener::try_clone)
                .transpose()
                .context("cannot share the gate's Unix socket")?,
            options,
            stop: stop.clone(),
            accept_errors: accept_errors.clone(),
        };
        let (ended, outcome) = oneshot::channel();
        std::thread::Builder::new()
            .name(format!("gate-{number}"))
            .spawn(move || {
                // Nobody listens when the whole server has already gone.
                let _ = ended.send(core.run());
            })
            .context("cannot start a thread for the gate")?;
        threads.push(outcome);
    }
    Ok(Threads(threads))
}

impl Threads {
    /// Returns when all threads have ended, or with an error as soon as one has failed.
    pub async fn join(self) -> anyhow::Result<()> {
        let mut threads = JoinSet::new();
        for thread in self.0 {
            threads.spawn(thread);
        }
        while let Some(ended) = threads.join_next().await {
            match ended {
                Ok(Ok(outcome)) => outcome?,
                Ok(Err(_)) | Err(_) => return Err(anyhow!("a thread of the gate has panicked")),
            }
        }
        Ok(())
    }
}

/// One thread's share of the gate.
struct Core {
    gate: Arc<Gate>,
    tcp: StdTcpListener,
    unix: Option<StdUnixListener>,
    options: Options,
    stop: Stop,
    accept_errors: Counter,
}

impl Core {
    fn run(self) -> anyhow::Result<()> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> anyhow::Result<()> {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(self.options.head_timeout);
        http.max_header_size(HEAD_MAX).max_buf_size(HEAD_MAX);
        // Answers are small and in one piece.
        http.writev(false);
        let connections = TaskTracker::new();
        let tcp = TcpListener::from_std(self.tcp).context("cannot use the gate's listener")?;
        let unix = self.unix.map(UnixListener::from_std).transpose().context("cannot use the gate's Unix socket")?;

        let accept_tcp = accept_all(
            |cx| tcp.poll_accept(cx),
            |(stream, _)| {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(error = %error, "cannot switch delays off");
                }
                connections.spawn(serve_connection(stream, Arc::clone(&self.gate), http.clone(), self.stop.clone()));
            },
            &self.stop,
            &self.accept_errors,
        );
        let accept_unix = async {
            let Some(unix) = &unix else { return };
            accept_all(
                |cx| unix.poll_accept(cx),
                |(stream, _)| {
                    connections.spawn(serve_connection(
                        stream,
                        Arc::clone(&self.gate),
                        http.clone(),
                        self.stop.clone(),
                    ));
                },
                &self.stop,
                &self.accept_errors,
            )
            .await;
        };
        tokio::join!(accept_tcp, accept_unix);

        drop((tcp, unix));
        connections.close();
        if tokio::time::timeout(self.options.drain_timeout, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "connections to the gate did not end in time and are cut");
        }
        Ok(())
    }
}

/// Answers one connection's requests. When the server stops, what has arrived is still answered.
async fn serve_connection<I>(io: I, gate: Arc<Gate>, http: http1::Builder, stop: Stop)
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request: Request<Incoming>| {
        ready(Ok::<_, Infallible>(forward_auth::handle(&gate, request.uri(), request.headers())))
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(io), service));
    let mut stopped = pin!(stop.requested());
    let mut asked = false;
    let mut stopping = false;
    let outcome = poll_fn(|cx| {
        // First, so that a request that has arrived is answered and not cut off.
        let polled = connection.as_mut().poll(cx);
        // Asking `stopped` once leaves this task's waker there. It takes a lock that all connections share, so that
        // afterwards only the flag is looked at.
        if polled.is_pending() && !stopping && (!asked || stop.is_requested()) {
            asked = true;
            if stopped.as_mut().poll(cx).is_ready() {
                stopping = true;
                connection.as_mut().graceful_shutdown();
                return connection.as_mut().poll(cx);
            }
        }
        polled
    })
    .await;
    if let Err(error) = outcome {
        tracing::debug!(error = %error, "a connection to the gate ended early");
    }
}
