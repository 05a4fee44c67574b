//! The gate's sockets: one thread a core, each with a runtime of its own and a handle of the same listeners.
//!
//! A connection stays on the thread that accepted it, so that no request waits for another core, and a busy management
//! API takes nothing from the gate but CPU time.

use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::io::Cursor;
use std::net::{IpAddr, TcpListener as StdTcpListener};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::{Context as _, anyhow};
use http_body_util::{Either, Full};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1::{self, Parts};
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::{Gate, Response, forward_auth, grpc, plain};
use crate::assertion::Minting;
use crate::lifecycle::accept::{Place, Room, accept_all};
use crate::lifecycle::http::{self, HEAD_MAX, Http, undelayed};
use crate::lifecycle::patience::Patient;
use crate::lifecycle::stop::Stop;
use crate::tls::Tls;

/// What is answered where the other end may call.
type Answered = hyper::Response<Either<Full<Bytes>, grpc::Body>>;

/// How the gate is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// How many threads accept and answer.
    pub(crate) threads: usize,
    /// How connections are treated.
    pub(crate) http: http::Options,
}

/// Where the gate listens.
#[derive(Debug)]
pub(crate) struct Listeners<T = TcpListener, U = UnixListener> {
    pub(crate) tcp: T,
    pub(crate) tcp_room: Room,
    /// On the TCP listener; a Unix socket has none.
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) unix: Option<U>,
    pub(crate) unix_room: Room,
}

impl Listeners {
    fn into_std(self) -> anyhow::Result<Listeners<StdTcpListener, StdUnixListener>> {
        Ok(Listeners {
            tcp: self.tcp.into_std().context("cannot take the gate's listener")?,
            tcp_room: self.tcp_room,
            tls: self.tls,
            unix: self.unix.map(UnixListener::into_std).transpose().context("cannot take the gate's Unix socket")?,
            unix_room: self.unix_room,
        })
    }
}

impl Listeners<StdTcpListener, StdUnixListener> {
    fn try_clone(&self) -> anyhow::Result<Self> {
        let unix = self.unix.as_ref().map(StdUnixListener::try_clone).transpose();
        Ok(Self {
            tcp: self.tcp.try_clone().context("cannot share the gate's listener")?,
            tcp_room: self.tcp_room.clone(),
            tls: self.tls.clone(),
            unix: unix.context("cannot share the gate's Unix socket")?,
            unix_room: self.unix_room.clone(),
        })
    }
}

/// The running gate.
#[derive(Debug)]
pub struct Threads(Vec<oneshot::Receiver<anyhow::Result<()>>>);

/// Starts answering on `listeners` until `stop`.
pub(crate) fn start(
    gate: &Gate,
    listeners: Listeners,
    options: Options,
    stop: &Stop,
    accept_errors: &Counter,
) -> anyhow::Result<Threads> {
    let listeners = listeners.into_std()?;
    let mut threads = Vec::with_capacity(options.threads);
    for number in 0..options.threads {
        let core = Core {
            listeners: listeners.try_clone()?,
            surface: Arc::new(Surface::new(Arc::new(gate.for_thread()), options.http, stop.clone())),
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

/// An answer: nearly always there at once, and without an allocation of its own.
enum Answering<L> {
    Now(Ready<Result<Response, Infallible>>),
    Later(Pin<Box<L>>),
}

impl<L: Future<Output = Result<Response, Infallible>>> Future for Answering<L> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Now(answer) => Pin::new(answer).poll(cx),
            Self::Later(answer) => answer.as_mut().poll(cx),
        }
    }
}

/// Answers a request once its assertion has come, or has not come in time.
async fn answer_after(
    minting: Minting,
    gate: Arc<Gate>,
    peer: Option<IpAddr>,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let (head, _body) = request.into_parts();
    Ok(forward_auth::handle_after(minting, &gate, peer, &head.uri, &head.headers).await)
}

/// One thread's share of the gate.
struct Core {
    listeners: Listeners<StdTcpListener, StdUnixListener>,
    surface: Arc<Surface>,
    accept_errors: Counter,
}

impl Core {
    fn run(self) -> anyhow::Result<()> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> anyhow::Result<()> {
        let Self { listeners, surface, accept_errors } = self;
        let connections = TaskTracker::new();
        let tcp = TcpListener::from_std(listeners.tcp).context("cannot use the gate's listener")?;
        let unix =
            listeners.unix.map(UnixListener::from_std).transpose().context("cannot use the gate's Unix socket")?;
        let tls = listeners.tls;

        let accept_tcp = accept_all(
            |cx| tcp.poll_accept(cx),
            |(stream, peer), place| {
                undelayed(&stream);
                let surface = Arc::clone(&surface);
                let peer = Some(peer.ip());
                match &tls {
                    None => drop(connections.spawn(async move { surface.serve(stream, peer, place).await })),
                    Some(tls) => {
                        let tls = Arc::clone(tls);
                        drop(connections.spawn(async move { surface.serve_tls(stream, peer, &tls, place).await }));
                    }
                }
            },
            &listeners.tcp_room,
            &surface.stop,
            &accept_errors,
        );
        let accept_unix = async {
            let Some(unix) = &unix else { return };
            accept_all(
                |cx| unix.poll_accept(cx),
                |(stream, _), place| {
                    let surface = Arc::clone(&surface);
                    connections.spawn(async move { surface.serve(stream, None, place).await });
                },
                &listeners.unix_room,
                &surface.stop,
                &accept_errors,
            )
            .await;
        };
        tokio::join!(accept_tcp, accept_unix);

        drop((tcp, unix));
        connections.close();
        if tokio::time::timeout(surface.options.drain_timeout, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "connections to the gate did not end in time and are cut");
        }
        Ok(())
    }
}

/// What all connections of a thread share.
struct Surface {
    gate: Arc<Gate>,
    options: http::Options,
    stop: Stop,
    /// For connections without TLS, which nearly always speak HTTP/1.
    http1: http1::Builder,
    /// For all others.
    http: Http,
}

impl Surface {
    fn new(gate: Arc<Gate>, options: http::Options, stop: Stop) -> Self {
        let mut http1 = http1::Builder::new();
        // `Patient` sees to it, without a timer for each request.
        http1.header_read_timeout(None);
        http1.max_header_size(HEAD_MAX as usize).max_buf_size(HEAD_MAX as usize);
        // Answers are small and in one piece.
        http1.writev(false);
        let http = Http::new(options, stop.clone());
        Self { gate, options, stop, http1, http }
    }

    fn service(
        &self,
        peer: Option<IpAddr>,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response,
        Error = Infallible,
        Future = impl Future<Output = Result<Response, Infallible>> + Send + use<>,
    > + use<> {
        let gate = Arc::clone(&self.gate);
        service_fn(move |request: Request<Incoming>| {
            match forward_auth::handle(&gate, peer, request.uri(), request.headers()) {
                Ok(response) => Answering::Now(ready(Ok(response))),
                Err(minting) => Answering::Later(Box::pin(answer_after(minting, Arc::clone(&gate), peer, request))),
            }
        })
    }

    /// The same where the other end may speak HTTP/2, and so may call.
    fn service_http2(
        &self,
        peer: Option<IpAddr>,
    ) -> impl Service<
        Request<Incoming>,
        Response = Answered,
        Error = Infallible,
        Future = impl Future<Output = Result<Answered, Infallible>> + Send + use<>,
    > + use<> {
        let gate = Arc::clone(&self.gate);
        let patience = self.options.head_timeout;
        service_fn(move |request: Request<Incoming>| {
            let gate = Arc::clone(&gate);
            async move {
                if grpc::is_call(&request) {
                    let response = grpc::serve(&gate, peer, request.into_body(), patience).await;
                    return Ok(response.map(Either::Right));
                }
                let response = match forward_auth::handle(&gate, peer, request.uri(), request.headers()) {
                    Ok(response) => response,
                    Err(minting) => match answer_after(minting, gate, peer, request).await {
                        Ok(response) => response,
                    },
                };
                Ok(response.map(Either::Left))
            }
        })
    }

    /// Answers one connection's requests. When the server stops, what has arrived is still answered.
    async fn serve<I>(&self, io: I, peer: Option<IpAddr>, _place: Place)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut io = Patient::asked(io, self.options.write_timeout, self.options.head_timeout);
        let unanswered = match plain::serve(&self.gate, peer, &mut io, &self.stop).await {
            Ok(plain::End::Other(unanswered)) => unanswered,
            Ok(plain::End::Closed) => return,
            Err(error) => return tracing::debug!(error = %error, "a connection to the gate ended early"),
        };
        let io = TokioIo::new(io.rereading(&unanswered));
        let mut connection = self.http1.serve_connection(io, self.service(peer));
        let mut stopped = pin!(self.stop.requested());
        let mut asked = false;
        let mut stopping = false;
        let outcome = poll_fn(|cx| {
            // First, so that a request that has arrived is answered and not cut off.
            let polled = Pin::new(&mut connection).poll(cx);
            if polled.is_pending() && !stopping && self.stop.poll_requested(stopped.as_mut(), &mut asked, cx).is_ready()
            {
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
                return Pin::new(&mut connection).poll(cx);
            }
            polled
        })
        .await;
        match outcome {
            Ok(()) => {}
            // Nothing was answered: it begins again in the other protocol.
            Err(error) if error.is_parse_version_h2() => {
                let Parts { io, read_buf, .. } = connection.into_parts();
                let (reader, writer) = tokio::io::split(io.into_inner().unasked());
                let io = tokio::io::join(Cursor::new(read_buf).chain(reader), writer);
                Box::pin(self.http.serve(io, self.service_http2(peer))).await;
            }
            Err(error) => tracing::debug!(error = %error, "a connection to the gate ended early"),
        }
    }

    async fn serve_tls(&self, stream: TcpStream, peer: Option<IpAddr>, tls: &Tls, _place: Place) {
        let io = Patient::new(stream, self.options.write_timeout);
        if let Some(io) = Box::pin(self.http.shake_hands(tls, io)).await {
            Box::pin(self.http.serve(io, self.service_http2(peer))).await;
        }
    }
}
