//! A server from its start to its end.
//!
//! [`Server::start`] does everything in order and binds the listeners. [`Server::run`] answers until it is told to stop,
//! and then takes everything down in the opposite order: connections first, the last-seen marks next, the node's place in
//! the list, the writer at last. A background task that ends early stops the server.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use countersign_store::{Database, NodeId};
use countersign_token::entropy::Entropy;
use countersign_token::feed::Freshness;
use countersign_token::index::Index;
use countersign_token::time::Clock;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::assertion::{Assertions, Issuer, keeper};
use crate::census;
use crate::config::{Settings, Stale, TlsFiles};
use crate::finisher;
use crate::flusher::Flusher;
use crate::follower::{Follower, Promise};
use crate::gate::{Gate, listener};
use crate::limit::Limits;
use crate::management::{self, App};
use crate::metrics::{Metrics, Sources};
use crate::ops::pages::Pages;
use crate::ops::{Node, Ops};
use crate::refusal;
use crate::rekeyer;
use crate::sweeper::{self, Retention};
use crate::tls::Tls;
use crate::trace;
use crate::witness::Witness;

pub(crate) mod accept;
mod descriptors;
pub(crate) mod http;
mod lock;
mod memory;
mod open;
pub(crate) mod patience;
mod restore;
pub mod stop;
mod tasks;
#[cfg(test)]
mod tests;
pub(crate) mod unix;

pub use self::memory::without_huge_pages;
pub use self::open::{Opened, create_store, open_reader, open_store};
pub use self::restore::{RestoredStore, restore_store};

use self::accept::Room;
use self::lock::ServerLock;
use self::stop::Stop;
use self::tasks::{Tasks, unfailing};
use self::unix::SocketFile;

/// How long requests may take to end once the server stops.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a TLS handshake and the head of a request may take to arrive, and a connection may be idle between requests.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a peer may take nothing of an answer.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How connections are treated, on every listener.
pub(crate) const CONNECTION: http::Options =
    http::Options { head_timeout: HEAD_TIMEOUT, write_timeout: WRITE_TIMEOUT, drain_timeout: DRAIN_TIMEOUT };

/// How long each background task may take to end once it is told to.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// A listener that is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// `management`, `gate` or `gate-unix`.
    pub name: &'static str,
    /// `http://ADDRESS`, `https://ADDRESS`, or `unix:PATH`.
    pub url: String,
}

/// A server that has started: it knows everything, its listeners are bound, and nobody has been answered yet.
///
/// Dropping it ends it at once, as a crash would.
#[derive(Debug)]
pub struct Server {
    listening: Vec<Listening>,
    router: Router,
    management: http::Listener,
    gate: Gate,
    gate_listeners: listener::Listeners,
    gate_threads: usize,
    certificates: Certificates,
    metrics: Arc<Metrics>,
    background: Background,
    socket_file: Option<SocketFile>,
    // Last, so that it is given back last.
    _lock: Option<ServerLock>,
}

/// The tasks beside the listeners, and the ways to end them.
#[derive(Debug, Default)]
struct Background {
    tasks: Tasks,
    /// Of the flusher, the recorder, the sweeper, the rekeyer, the finisher, the census, the minter and the keeper.
    flusher: CancellationToken,
    /// Once nothing is recorded any more.
    witness: CancellationToken,
    follower: CancellationToken,
}

const WRITER: &str = "writer";
const FOLLOWER: &str = "follower";
const FLUSHER: &str = "flusher";
const RECORDER: &str = "recorder of refusals";
const SWEEPER: &str = "sweeper";
const REKEYER: &str = "rekeyer";
const FINISHER: &str = "finisher";
const CENSUS: &str = "census";
const TRACES: &str = "traces";
const MINTER: &str = "minter of assertions";
const KEEPER: &str = "keeper of assertion keys";
const WITNESS: &str = "witness of the audit log";
const MANAGEMENT: &str = "management";
const GATE: &str = "gate";

impl Server {
    /// Opens the store, binds the listeners, and loads the index.
    pub async fn start(settings: &Settings, clock: Clock, entropy: Entropy) -> anyhow::Result<Self> {
        // Before anything is touched: what is wrong with a file is soon said.
        let certificates = Certificates::load(settings)?;
        let (opened, installation) = open_store(settings).await?;
        let lock = match &settings.database {
            Database::Sqlite(path) => Some(ServerLock::take(path)?),
            Database::Postgres(_) => None,
        };
        let Opened { store, writer } = opened;
        let mut background = Background::default();
        background.tasks.spawn(WRITER, unfailing(writer.run()));
        if lock.is_some() {
            // The lock says that no other server lives on this database. Whichever is on the list was killed, and a
            // revoker would wait for it until it must have gone stale. Verifiers may live on.
            for node in store.list_nodes().await?.iter().filter(|node| !node.is_verifier) {
                store.remove_node(node.id).await?;
            }
        }

        // Before the work of loading, and before anybody else learns of this node: a port in use is soon said.
        let management = bind(settings.listen, "management API").await?;
        let gate_tcp = bind(settings.gate_listen, "gate").await?;
        let url = |tls: &Option<Arc<Tls>>, listener: &TcpListener| {
            let scheme = if tls.is_some() { "https" } else { "http" };
            listener.local_addr().map(|address| format!("{scheme}://{address}"))
        };
        let gate_url = url(&certificates.gate, &gate_tcp)?;
        let mut listening = vec![
            Listening { name: "management", url: url(&certificates.management, &management)? },
            Listening { name: "gate", url: gate_url.clone() },
        ];
        let (socket_file, gate_unix) = match &settings.gate_unix {
            Some(path) => {
                let (file, listener) = unix::bind(path).await?;
                listening.push(Listening { name: "gate-unix", url: format!("unix:{}", path.display()) });
                (Some(file), Some(listener))
            }
            None => (None, None),
        };
        let gate_threads = std::thread::available_parallelism().map_or(1, usize::from);
        let listeners = if gate_unix.is_some() { 3 } else { 2 };
        let connections = descriptors::connections_each(settings.max_connections, listeners, gate_threads);
        let management =
            http::Listener { tcp: management, tls: certificates.management.clone(), room: Room::new(connections) };
        let gate_listeners = listener::Listeners {
            tcp: gate_tcp,
            tcp_room: Room::new(connections),
            tls: certificates.gate.clone(),
            unix: gate_unix,
            unix_room: Room::new(connections),
        };

        let credentials = store.count_credentials().await?;
        let capacity = usize::try_from(credentials).unwrap_or(usize::MAX);
        let index = memory::making_room_for(credentials, || {
            Arc::new(Index::with_capacity(store.keys().current().digest_key(), &entropy, capacity))
        });
        let freshness = Arc::new(Freshness::new(clock.boot()));
        let pages = Arc::new(Pages::default());
        let witness = Witness::new(store.clone(), clock.clone(), &settings.audit)?;
        let max_staleness = installation.max_staleness;
        let promise = Promise { max_staleness, serves_stale: settings.stale == Stale::Serve };
        tracing::info!(credentials, "loading the index");
        let load = Follower::load(
            store.clone(),
            Arc::clone(&index),
            Arc::clone(&freshness),
            Arc::clone(&pages),
            clock.clone(),
            NodeId::generate(&entropy),
            promise,
        );
        let (follower, handle) = answering(&management, load).await.context("cannot load the index")?;
        let name = settings.assertion_issuer.clone().unwrap_or(gate_url);
        let issuer = Issuer { name, lifetime: settings.assertion_lifetime };
        let (assertions, minter) = Assertions::new(&issuer, clock.clone());
        let mint = minter.run(background.flusher.clone());
        background.tasks.spawn(MINTER, unfailing(mint));
        let follower = follower.reading_keys_from(settings.installation_key.clone()).forgetting(assertions.clone());
        background.tasks.spawn(FOLLOWER, follower.run(background.follower.clone()));
        let flusher = Flusher::new(store.clone(), Arc::clone(&index));
        let flush = flusher.clone().run(background.flusher.clone());
        background.tasks.spawn(FLUSHER, unfailing(flush));
        if let Some(witness) = witness {
            let tell = witness.run(background.witness.clone());
            background.tasks.spawn(WITNESS, unfailing(tell));
        }
        let retention = settings.audit.retention.map(|kept| Retention { kept, node: handle.node() });
        let sweep = sweeper::run(store.clone(), clock.clone(), retention, background.flusher.clone());
        background.tasks.spawn(SWEEPER, unfailing(sweep));

        let census = census::Latest::default();
        let count = census::run(Arc::clone(&index), clock.clone(), census.clone(), background.flusher.clone());
        background.tasks.spawn(CENSUS, unfailing(count));
        let metrics = Arc::new(Metrics::new(Sources {
            store: store.clone(),
            index: Arc::clone(&index),
            freshness: Arc::clone(&freshness),
            follower: handle.clone(),
            flusher: flusher.clone(),
            census,
            assertions: assertions.clone(),
            tls: certificates.listeners(),
            clock: clock.clone(),
        }));
        let gate = Gate::new(
            Arc::clone(&index),
            Arc::clone(&freshness),
            max_staleness,
            settings.stale,
            clock.clone(),
            metrics.gate.clone(),
        );
        let unrecorded = metrics.refusals_unrecorded.clone();
        let (refusals, recorder) = refusal::recording(store.clone(), Arc::clone(&index), clock.clone(), unrecorded);
        let gate = gate
            .reporting_to(refusals)
            .noting(flusher.visitors())
            .believing(settings.trusted_proxies.clone())
            .asserting(assertions.clone());
        let gate = match settings.gate_failure_limit {
            Some(max) => gate.slowing(max, &entropy),
            None => gate,
        };
        let record = recorder.run(background.flusher.clone());
        background.tasks.spawn(RECORDER, unfailing(record));
        let node = Node { follower: handle, index: Arc::clone(&index), flusher, pages, assertions: assertions.clone() };
        let ops = Ops::of_node(store, clock.clone(), entropy.clone(), settings.secret_format, node);
        // Before anybody is answered: whoever asks this node for the keys learns of those that others sign with.
        if let Err(error) = ops.begin_assertion_keys().await {
            tracing::warn!(error = %error, "there are no keys for assertions yet; trying again");
        }
        let keep = keeper::run(ops.clone(), background.flusher.clone());
        background.tasks.spawn(KEEPER, unfailing(keep));
        let rekey = rekeyer::run(ops.clone(), Arc::clone(&index), background.flusher.clone());
        background.tasks.spawn(REKEYER, unfailing(rekey));
        let finish = finisher::run(ops.clone(), background.flusher.clone());
        background.tasks.spawn(FINISHER, unfailing(finish));
        let tracer = match &settings.otlp_endpoint {
            Some(endpoint) => {
                let lost = metrics.spans_lost.clone();
                let (tracer, exporter) = trace::tracing_to(endpoint, clock.clone(), entropy.clone(), lost)
                    .context("otlp_endpoint is wrong")?;
                let export = exporter.run(background.flusher.clone());
                background.tasks.spawn(TRACES, unfailing(export));
                Some(tracer)
            }
            None => None,
        };
        let public_url = settings.public_url.as_deref().map(|url| Arc::from(url.trim_end_matches('/')));
        let router = management::router(App {
            ops,
            index,
            freshness,
            promise,
            metrics: Arc::clone(&metrics),
            clock,
            entropy,
            limits: Arc::new(Limits::new(settings.rate_limit, settings.failure_limit)),
            proxies: settings.trusted_proxies.clone(),
            tracer,
            public_url,
            assertions,
        });

        Ok(Self {
            listening,
            router,
            management,
            gate,
            gate_listeners,
            gate_threads,
            certificates,
            metrics,
            background,
            socket_file,
            _lock: lock,
        })
    }

    /// What is bound.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// The listeners' certificates, to be read again while the server runs.
    pub fn certificates(&self) -> Certificates {
        self.certificates.clone()
    }

    /// Answers until `stop`, then ends in order: requests that have begun are answered. An error says why the server
    /// could not go on.
    pub async fn run(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let connections = Stop::default();
        let mut background = self.background;
        let errors = &self.metrics.accept_errors.clone();
        // They hold the store, and the writer ends when nobody does.
        drop(self.metrics);
        let management = http::serve(self.management, self.router, CONNECTION, connections.clone(), errors.clone());
        background.tasks.spawn(MANAGEMENT, management);
        let options = listener::Options { threads: self.gate_threads, http: CONNECTION };
        let gate = listener::start(&self.gate, self.gate_listeners, options, &connections, errors)?;
        background.tasks.spawn(GATE, gate.join());

        let failure = tokio::select! {
            () = stop => None,
            failure = background.tasks.failure() => Some(failure),
        };
        match &failure {
            None => tracing::info!("stopping: requests that have begun are still answered"),
            Some(failure) => tracing::error!(error = format!("{failure:#}"), "stopping"),
        }
        // Before the listener closes: from then on the path may be another server's.
        drop(self.socket_file);
        connections.request();
        let ended = background.end().await;
        match failure {
            Some(failure) => Err(failure),
            None => ended,
        }
    }
}

impl Background {
    async fn end(mut self) -> anyhow::Result<()> {
        let patience = DRAIN_TIMEOUT + FINISH_TIMEOUT;
        let mut outcomes = vec![self.tasks.finish(MANAGEMENT, patience).await, self.tasks.finish(GATE, patience).await];
        self.flusher.cancel();
        outcomes.push(self.tasks.finish(FLUSHER, FINISH_TIMEOUT).await);
        outcomes.push(self.tasks.finish(RECORDER, FINISH_TIMEOUT).await);
        outcomes.push(self.tasks.finish(SWEEPER, FINISH_TIMEOUT).await);
        outcomes.push(self.tasks.finish(REKEYER, FINISH_TIMEOUT).await);
        outcomes.push(self.tasks.finish(CENSUS, FINISH_TIMEOUT).await);
        outcomes.push(self.tasks.finish(TRACES, FINISH_TIMEOUT).await);
        outcomes.push(self.tasks.finish(MINTER, FINISH_TIMEOUT).await);
        outcomes.push(self.tasks.finish(KEEPER, FINISH_TIMEOUT).await);
        self.witness.cancel();
        outcomes.push(self.tasks.finish(WITNESS, FINISH_TIMEOUT).await);
        self.follower.cancel();
        outcomes.push(self.tasks.finish(FOLLOWER, FINISH_TIMEOUT).await);
        // It ends by itself now that nobody holds the store any more.
        outcomes.push(self.tasks.finish(WRITER, FINISH_TIMEOUT).await);
        outcomes.into_iter().collect()
    }
}

/// The certificates of a server's listeners. Clones share them.
#[derive(Clone, Debug)]
pub struct Certificates {
    management: Option<Arc<Tls>>,
    gate: Option<Arc<Tls>>,
}

impl Certificates {
    fn load(settings: &Settings) -> anyhow::Result<Self> {
        let load = |files: &Option<TlsFiles>, what| match files {
            None => Ok(None),
            Some(files) => {
                let tls = Tls::load(files).with_context(|| format!("cannot serve TLS for the {what}"))?;
                Ok::<_, anyhow::Error>(Some(Arc::new(tls)))
            }
        };
        Ok(Self { management: load(&settings.tls, MANAGEMENT)?, gate: load(&settings.gate_tls, GATE)? })
    }

    /// The listeners that have one, by their names.
    fn listeners(&self) -> Vec<(&'static str, Arc<Tls>)> {
        let named = [(MANAGEMENT, &self.management), (GATE, &self.gate)];
        named.into_iter().filter_map(|(name, tls)| Some((name, Arc::clone(tls.as_ref()?)))).collect()
    }

    /// Reads them again. One that can't be used stays as it was, and the log says why.
    pub fn reload(&self, settings: &Settings) {
        for (listener, tls, files) in
            [(MANAGEMENT, &self.management, &settings.tls), (GATE, &self.gate, &settings.gate_tls)]
        {
            match (tls, files) {
                (Some(tls), Some(files)) => match tls.reload(files) {
                    Ok(()) => tracing::info!(listener, "the certificate was read again"),
                    Err(error) => tracing::error!(
                        listener,
                        error = format!("{error:#}"),
                        "the certificate cannot be used; the old one stays"
                    ),
                },
                (None, None) => {}
                (Some(_), None) | (None, Some(_)) => {
                    tracing::error!(listener, "TLS is switched on and off at a start only; it stays as it was");
                }
            }
        }
    }
}

/// Runs a server with the system's clock and randomness until SIGTERM or SIGINT. `announce` is told what is bound before
/// the first request is answered. A second signal ends the wait at once, with an error.
///
/// On SIGHUP, `reload` gives the settings anew, and the certificates are read again. Without it SIGHUP is left alone.
pub async fn serve(
    settings: &Settings,
    reload: Option<&dyn Fn() -> anyhow::Result<Settings>>,
    announce: impl FnMut(&Listening),
) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    // From here on SIGHUP ends nothing; one that comes too early is kept.
    let mut hangup = match reload {
        Some(_) => Some(signal(SignalKind::hangup()).context("cannot listen for signals")?),
        None => None,
    };
    descriptors::raise_limit();
    let server = tokio::select! {
        server = Server::start(settings, Clock::System, Entropy::System) => server?,
        () = signals.next() => return Ok(()),
    };
    server.listening().iter().for_each(announce);
    let certificates = server.certificates();
    let reloading = async {
        let (Some(hangup), Some(reload)) = (&mut hangup, reload) else { return std::future::pending().await };
        while hangup.recv().await.is_some() {
            match reload() {
                Ok(settings) => certificates.reload(&settings),
                Err(error) => tracing::error!(
                    error = format!("{error:#}"),
                    "the configuration cannot be read again; everything stays as it was"
                ),
            }
        }
        std::future::pending::<()>().await;
    };
    let stop = CancellationToken::new();
    let mut run = pin!(server.run(stop.clone().cancelled_owned()));
    tokio::select! {
        outcome = run.as_mut() => return outcome,
        () = signals.next() => stop.cancel(),
        () = reloading => {}
    }
    tokio::select! {
        outcome = run => outcome,
        () = signals.next() => bail!("a second signal came while requests were still being answered: aborted"),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Awaits `load`, and answers on the management listener meanwhile that the server is not ready.
async fn answering<T>(management: &http::Listener, load: impl Future<Output = T>) -> T {
    let loaded = Stop::default();
    let load = async {
        let outcome = load.await;
        loaded.request();
        outcome
    };
    let options = http::Options { drain_timeout: Duration::from_secs(1), ..CONNECTION };
    let answer = http::serve_meanwhile(management, management::router_while_loading(), options, &loaded);
    tokio::join!(load, answer).0
}

async fn bind(address: std::net::SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} for the {what}"))
}
