//! Starting, stopping and restarting a world's server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use countersign_server::assertion::{Assertions, Issuer};
use countersign_server::caller::{Administer, Caller, Origin, Permit, Place};
use countersign_server::census;
use countersign_server::config::Stale;
use countersign_server::flusher::Flusher;
use countersign_server::follower::{Follower, Promise};
use countersign_server::gate::Gate;
use countersign_server::management::{self, App};
use countersign_server::metrics::{Metrics, Sources};
use countersign_server::ops::pages::Pages;
use countersign_server::ops::{Node, Ops};
use countersign_server::refusal::{self, Recorder};
use countersign_store::{NodeId, Options, Store};
use countersign_token::api_token::Action;
use countersign_token::digest::InstallationKey;
use countersign_token::entropy::Entropy;
use countersign_token::feed::Freshness;
use countersign_token::index::Index;
use countersign_token::service_token::Owner;
use countersign_token::time::Clock;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::prefactor::Token;
use super::{DAY, World};

/// What serves a world at the moment.
pub(crate) struct Server {
    pub(super) router: Router,
    pub(super) gate: Gate,
    recorder: Mutex<Recorder>,
    pub(crate) app: App,
    flusher: (CancellationToken, JoinHandle<()>),
    follower: (CancellationToken, JoinHandle<()>),
    writer: JoinHandle<()>,
}

/// What a command has that works on the store itself.
pub(crate) struct Outside {
    pub(crate) ops: Ops,
    writer: JoinHandle<()>,
}

impl Server {
    /// Stops in order.
    pub(crate) async fn stop(self) {
        for (stop, task) in [self.flusher, self.follower] {
            stop.cancel();
            task.await.unwrap();
        }
        self.app.ops.store().close().await;
        drop((self.router, self.gate, self.recorder, self.app));
        self.writer.await.unwrap();
    }
}

impl Outside {
    /// Deletes a token of account A, and returns when no server admits it any more.
    pub(crate) async fn delete(&self, world: &World, id: &str) {
        let place = Place::Account(world.account);
        let permit = Caller::Operator.permit(&world.server().app.index, place).unwrap();
        let changed =
            self.ops.delete_service_token(&permit, &id.parse().unwrap(), None, &Origin::default()).await.unwrap();
        assert!(changed.propagation.unwrap().complete);
    }

    /// Suspends an API token of account A, and returns when no server admits it any more.
    pub(crate) async fn suspend(&self, world: &World, token: &Token) {
        let id = token.id.parse().unwrap();
        let reply = self.ops.act_on_api_token(&world.permit(), &id, Action::Suspend, None, &Origin::default()).await;
        assert!(reply.unwrap().propagation.unwrap().complete);
    }

    /// Deletes an environment of account A, and returns when no server admits its tokens any more.
    pub(crate) async fn delete_environment(&self, world: &World, id: &str) {
        let id = id.parse().unwrap();
        let reply = self.ops.delete_environment(&world.permit(), &id, None, &Origin::default()).await;
        assert!(reply.unwrap().propagation.unwrap().complete);
    }

    /// When the store itself says that a token was last admitted.
    pub(crate) async fn last_seen(&self, world: &World, tokens: &str, id: &str) -> Option<String> {
        let zone = tokens.starts_with("/zones/").then_some(world.zone);
        let owner = Owner { account: world.account, zone };
        let found = self.ops.store().find_service_token(&owner, &id.parse().unwrap()).await.unwrap();
        found.expect("the token is there").last_seen_at.map(|at| at.to_string())
    }

    /// Ends the command.
    pub(crate) async fn close(self) {
        drop(self.ops);
        self.writer.await.unwrap();
    }
}

impl World {
    pub(crate) fn clock(&self) -> Clock {
        Clock::Manual(self.clock.clone())
    }

    /// The installation key, as its file holds it.
    pub(crate) fn key(&self) -> InstallationKey {
        InstallationKey::parse_hex(self.key.to_hex().expose()).unwrap()
    }

    /// The right of whoever runs a command on the store, on account A.
    fn permit(&self) -> Permit<Administer> {
        Caller::Operator.permit(&self.server().app.index, Place::Account(self.account)).unwrap()
    }

    /// The file of the database, on SQLite.
    pub(crate) fn database_file(&self) -> std::path::PathBuf {
        match self.place.database() {
            countersign_store::Database::Sqlite(path) => path,
            countersign_store::Database::Postgres(_) => panic!("there is no file"),
        }
    }

    async fn connect(&self) -> (Store, JoinHandle<()>) {
        let options = Options { database: self.place.database(), readers: 2 };
        let (store, writer) = Store::connect(options, &self.key).await.unwrap();
        let (stalled, mut writing) = (Arc::clone(&self.stalled), Box::pin(writer.run()));
        let writing = std::future::poll_fn(move |context| {
            if stalled.load(Ordering::Relaxed) { Poll::Pending } else { writing.as_mut().poll(context) }
        });
        (store, TaskTracker::new().spawn(writing))
    }

    /// Opens the store as a command in another process does.
    pub(crate) async fn open_outside(&self) -> Outside {
        self.open_outside_drawing(self.entropy.clone()).await
    }

    /// As [`Self::open_outside`], with another source of randomness.
    pub(crate) async fn open_outside_drawing(&self, entropy: Entropy) -> Outside {
        let (store, writer) = self.connect().await;
        Outside { ops: Ops::outside(store, self.clock(), entropy), writer }
    }

    /// Starts a server on the world's store.
    pub(crate) async fn start(&mut self) {
        assert!(self.server.is_none(), "a server is running already");
        self.server = Some(self.serve(4).await);
    }

    /// Turns to another server than the one that was asked until now.
    pub(crate) fn change_to(&mut self, other: &mut Server) {
        std::mem::swap(self.server.as_mut().expect("a server is running"), other);
    }

    /// Starts a server on the world's store that has its id from `seed`: beside others, on a database that can be shared.
    pub(crate) async fn serve(&self, seed: u64) -> Server {
        let (store, writer) = self.connect().await;
        let clock = self.clock();
        let index = Arc::new(Index::new(self.key.digest_key(), &Entropy::seeded(3)));
        let freshness = Arc::new(Freshness::new(clock.boot()));
        let pages = Arc::new(Pages::default());
        let node = NodeId::generate(&Entropy::seeded(seed));
        let installation = store.installation().await.unwrap().unwrap();
        let (follower, handle) = Follower::load(
            store.clone(),
            Arc::clone(&index),
            Arc::clone(&freshness),
            Arc::clone(&pages),
            clock.clone(),
            node,
            Promise { max_staleness: installation.max_staleness, serves_stale: false },
        )
        .await
        .unwrap();
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let issuer = Issuer { name: "https://team.example.com".to_owned(), lifetime: DAY };
        let (assertions, minter) = Assertions::new(&issuer, clock.clone());
        let stop_flusher = CancellationToken::new();
        drop(tasks.spawn(minter.run(stop_flusher.clone())));
        let following = follower.forgetting(assertions.clone()).run(stop.clone());
        let following = tasks.spawn(async { following.await.unwrap() });
        let flusher = Flusher::new(store.clone(), Arc::clone(&index));
        let flushing = tasks.spawn(flusher.clone().run(stop_flusher.clone()));
        let metrics = Arc::new(Metrics::new(Sources {
            store: store.clone(),
            index: Arc::clone(&index),
            freshness: Arc::clone(&freshness),
            follower: handle.clone(),
            flusher: flusher.clone(),
            census: census::Latest::default(),
            assertions: assertions.clone(),
            tls: Vec::new(),
            clock: clock.clone(),
        }));
        let gate = Gate::new(
            Arc::clone(&index),
            Arc::clone(&freshness),
            self.max_staleness,
            Stale::Refuse,
            clock.clone(),
            metrics.gate.clone(),
        );
        let unrecorded = metrics.refusals_unrecorded.clone();
        let (refusals, recorder) = refusal::recording(store.clone(), Arc::clone(&index), clock.clone(), unrecorded);
        let gate = gate.noting(flusher.visitors());
        let node = Node { follower: handle, index: Arc::clone(&index), flusher, pages, assertions: assertions.clone() };
        let ops = Ops::of_node(store, clock.clone(), self.entropy.clone(), self.secret_format, node);
        let promise = Promise { max_staleness: self.max_staleness, serves_stale: false };
        let app = App {
            ops,
            index,
            freshness,
            promise,
            metrics,
            clock,
            entropy: Entropy::seeded(5),
            limits: Arc::default(),
            proxies: self.proxies.clone(),
            tracer: None,
            public_url: None,
            assertions: assertions.clone(),
        };
        Server {
            router: management::router(app.clone()),
            gate: gate.reporting_to(refusals).believing(self.proxies.clone()).asserting(assertions),
            recorder: Mutex::new(recorder),
            app,
            flusher: (stop_flusher, flushing),
            follower: (stop, following),
            writer,
        }
    }

    /// Records what the gate has refused so far, as the server does every second.
    pub(crate) async fn record_refusals(&self) {
        self.server().recorder.lock().await.record().await;
    }

    /// Stops the server in order, as it does on a signal.
    pub(crate) async fn stop(&mut self) {
        self.server.take().expect("a server is running").stop().await;
    }

    /// Stops the server and starts another one on the same store.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.start().await;
    }

    /// Starts the server again with a promise that lapses.
    pub(crate) async fn restart_promising(&mut self, max_staleness: Duration) {
        self.max_staleness = max_staleness;
        self.restart().await;
    }

    /// Ends the follower under the running server: from now on it learns nothing.
    pub(crate) async fn lose_follower(&mut self) {
        let (_, follower) = &mut self.server.as_mut().unwrap().follower;
        follower.abort();
        let _aborted = follower.await;
    }

    /// Whatever is written from now on waits, as for a disk that stands still.
    pub(crate) fn stall_writer(&self) {
        self.stalled.store(true, Ordering::Relaxed);
    }

    /// Ends the writer under the running server: from now on nothing can be written.
    pub(crate) async fn lose_writer(&mut self) {
        let server = self.server.as_mut().unwrap();
        server.writer.abort();
        let _aborted = (&mut server.writer).await;
    }

    /// Forgets a server that has lost its writer.
    pub(crate) async fn abandon(&mut self) {
        let server = self.server.take().expect("a server is running");
        for (_, mut task) in [server.flusher, server.follower] {
            if !task.is_finished() {
                task.abort();
                let _aborted = (&mut task).await;
            }
        }
        server.app.ops.store().close().await;
        self.stalled.store(false, Ordering::Relaxed);
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("a server is running")
    }

    pub(crate) fn ops(&self) -> &Ops {
        &self.server().app.ops
    }
}
