//! The one way in which this node learns of a change: it reads the feed in order and applies it to the index.
//!
//! Nobody else moves `applied`. A local write wakes the follower and waits until it has come that far; a write of
//! another process or node wakes it through the store's watch; and it looks every second in any case, because a wake-up
//! is only a hint.

mod heart;
mod keys;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use countersign_store::{NodeId, Store};
use countersign_token::feed::{Freshness, Revision};
use countersign_token::index::Index;
use countersign_token::time::{BootTime, Clock};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::assertion::Assertions;
use crate::config::key::KeySource;
use crate::ops::pages::Pages;
use crate::propagation::{self, Watched};
use heart::Heart;
use keys::Keys;

/// How often the feed is read without being asked.
const POLL: Duration = Duration::from_secs(1);

/// A node whose heartbeat has stood still this long has died without saying so, and is struck off the list. If it lives
/// all the same, it has gone stale long ago, and is back on the list before it is fresh.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// The same of a node that goes on admitting when it is stale: as long as it is on the list, every receipt says so.
const FORGET_STALE_AFTER: Duration = Duration::from_secs(600);

/// How often the log says how far loading has come, and how many changes are loaded between two looks at the clock.
const TELL_EVERY: Duration = Duration::from_secs(5);
const LOOK_AT_CLOCK_AFTER: u64 = 1 << 16;

/// What a node promises of the age of its knowledge.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// How old it may be before the node refuses everything.
    pub max_staleness: Duration,
    /// Whether the node goes on admitting all the same, which every receipt must then say.
    pub serves_stale: bool,
}

/// What the rest of the server holds of the follower.
#[derive(Clone, Debug)]
pub struct Handle {
    node: NodeId,
    applied: watch::Receiver<Revision>,
    wake: Arc<Notify>,
    watched: Watched,
    promise: Promise,
}

impl Handle {
    /// The id under which this node is registered.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The heartbeats of other nodes as this one has watched them.
    pub fn watched(&self) -> &Watched {
        &self.watched
    }

    /// How old this node's knowledge may be before it refuses everything.
    pub fn max_staleness(&self) -> Duration {
        self.promise.max_staleness
    }

    /// Returns when this node has applied something after `revision`, and after `patience` in any case.
    pub async fn pass(&self, revision: Revision, patience: Duration) {
        let mut applied = self.applied.clone();
        let passed = applied.wait_for(|applied| *applied > revision);
        // Whoever waits looks for itself.
        drop(tokio::time::timeout(patience, passed).await);
    }

    /// Up to where this node has applied the feed.
    pub fn applied(&self) -> Revision {
        *self.applied.borrow()
    }

    /// Returns when this node has applied `revision`. If the store is lost just after the commit, that can't happen: then
    /// it returns once the node has gone stale, and refuses everything by itself.
    pub async fn reach(&self, revision: Revision) {
        let mut applied = self.applied.clone();
        if *applied.borrow_and_update() >= revision {
            return;
        }
        self.wake.notify_one();
        let reached = applied.wait_for(|applied| *applied >= revision);
        if tokio::time::timeout(propagation::bound(self.promise.max_staleness), reached).await.is_err() {
            tracing::error!(
                revision = revision.get(),
                "this node could not apply its own write in time and has gone stale"
            );
        }
    }
}

/// How far loading has come, for whoever waits for the server.
struct Progress<'c> {
    clock: &'c Clock,
    loaded: u64,
    told_at: BootTime,
}

impl Progress<'_> {
    fn count(&mut self) {
        self.loaded += 1;
        if !self.loaded.is_multiple_of(LOOK_AT_CLOCK_AFTER) {
            return;
        }
        let now = self.clock.boot();
        if now.duration_since(self.told_at) >= TELL_EVERY {
            tracing::info!(loaded = self.loaded, "still loading the index");
            self.told_at = now;
        }
    }
}

/// The follower itself: one a node.
#[derive(Debug)]
pub struct Follower {
    store: Store,
    keys: Keys,
    index: Arc<Index>,
    freshness: Arc<Freshness>,
    pages: Arc<Pages>,
    assertions: Option<Assertions>,
    clock: Clock,
    heart: Heart,
    applied: watch::Sender<Revision>,
    wake: Arc<Notify>,
    /// Asks for a heartbeat on an embedded store.
    report: Arc<Notify>,
    failing: bool,
    /// Whether there were other nodes on the list when it was last read.
    has_company: bool,
}

impl Follower {
    /// Registers the node, loads everything into `index`, and is fresh when it returns.
    pub async fn load(
        store: Store,
        index: Arc<Index>,
        freshness: Arc<Freshness>,
        pages: Arc<Pages>,
        clock: Clock,
        node: NodeId,
        promise: Promise,
    ) -> Result<(Self, Handle), countersign_store::Error> {
        // On the list first: a revoker that reads it while this node loads must wait for this node too.
        let (started_at, watched) = (clock.now(), Watched::default());
        let heart =
            Heart { store: store.clone(), node, started_at, promise, clock: clock.clone(), watched: watched.clone() };
        heart.register(Revision::new(0)).await?;
        let keys = Keys::new(store.clone(), Arc::clone(&index), node);
        let noted = clock.boot();
        let mut progress = Progress { clock: &clock, loaded: 0, told_at: noted };
        let mut take = |change| {
            index.apply(&change);
            progress.count();
        };
        let revision = store.load(&mut take).await?;
        store.heartbeat(node, revision).await?;
        let (applied, receiver) = watch::channel(revision);
        let wake = Arc::new(Notify::new());
        let handle = Handle { node, applied: receiver, wake: Arc::clone(&wake), watched, promise };
        let mut follower = Self {
            store,
            keys,
            index,
            freshness,
            pages,
            assertions: None,
            clock,
            heart,
            applied,
            wake,
            report: Arc::default(),
            failing: false,
            has_company: false,
        };
        // Another key may have become the current one since the store was opened.
        follower.poll().await?;
        follower.freshness.renew(noted);
        Ok((follower, handle))
    }

    /// Looks for keys of the installation that are made known while this node runs.
    #[must_use]
    pub fn reading_keys_from(mut self, source: KeySource) -> Self {
        self.keys.source = Some(source);
        self
    }

    /// Forgets what was asserted of tokens that change.
    #[must_use]
    pub fn forgetting(mut self, assertions: Assertions) -> Self {
        self.assertions = Some(assertions);
        self
    }

    /// Follows the feed until `stop`, then takes the node off the list. An outage of the store is waited out: the
    /// node's freshness lapses by itself.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let Heart { store, node, .. } = self.heart.clone();
        if store.is_embedded() {
            let report = Arc::clone(&self.report);
            let beating = self.heart.clone().beat_beside(self.applied.subscribe(), &report);
            tokio::select! {
                followed = self.follow(&stop) => followed?,
                never = beating => match never {},
            }
        } else {
            self.follow(&stop).await?;
        }
        store.remove_node(node).await.context("cannot take this node off the list")
    }

    async fn follow(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let mut watch = self.store.watch().await.context("cannot watch the store for changes")?;
        let mut tick = tokio::time::interval(POLL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let outcome = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.wake.notified() => self.poll().await,
                _ = tick.tick() => self.poll_in_time().await,
                changed = watch.changed() => match changed {
                    Ok(()) => self.poll().await,
                    Err(error) => Err(error),
                },
            };
            self.note(outcome).await;
        }
    }

    /// Says once that the store can't be read, and once that it can again.
    async fn note(&mut self, outcome: Result<(), countersign_store::Error>) {
        match outcome {
            Ok(()) if self.failing => {
                tracing::info!("the feed can be read again");
                self.failing = false;
            }
            Ok(()) => {}
            Err(error) => {
                if !self.failing {
                    tracing::error!(error = %error, "the feed cannot be read; this node goes stale unless that ends soon");
                    self.failing = true;
                }
                // A watch that fails at once would spin otherwise.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// A timed poll: note the time, count the heartbeat, then read. The node is fresh as of the noted time.
    ///
    /// A revoker may take a counter that stands still as proof that its node has gone stale, so a node that can't count
    /// must not stay fresh. An embedded store has no other servers, and there the heart beats beside this: a disk that is
    /// full or stands still must not stop verification.
    async fn poll_in_time(&mut self) -> Result<(), countersign_store::Error> {
        let noted = self.clock.boot();
        if self.store.is_embedded() {
            self.poll().await?;
            self.freshness.renew(noted);
            return Ok(());
        }
        let applied = *self.applied.borrow();
        let beaten = self.heart.beat(applied).await;
        self.poll().await?;
        beaten?;
        self.freshness.renew(noted);
        self.has_company = self.heart.forget_the_dead().await?;
        Ok(())
    }

    async fn poll(&mut self) -> Result<(), countersign_store::Error> {
        let from = *self.applied.borrow();
        let feed = self.store.poll(from).await?;
        self.keys.follow(feed.keys).await?;
        if feed.reload {
            tracing::warn!(
                from = from.get(),
                to = feed.revision.get(),
                "fell behind the sweep of old rows; reloading everything"
            );
            self.index.retain(&feed.changes);
            self.pages.forget_all();
            if let Some(assertions) = &self.assertions {
                assertions.forget_all();
            }
        }
        for change in &feed.changes {
            let is_known = self.index.holds(&change.subject);
            self.index.apply(change);
            self.pages.apply(change, is_known);
            if let Some(assertions) = &self.assertions {
                assertions.apply(change);
            }
        }
        if feed.revision > from {
            self.applied.send_replace(feed.revision);
        }
        // A writer outside this process is waiting; and so is who asks another node for a state that was made here.
        let is_foreign = self.store.take_foreign(feed.revision);
        if is_foreign && self.store.is_embedded() {
            self.report.notify_one();
        } else if is_foreign || (self.has_company && feed.revision > from) {
            self.store.report_applied(self.heart.node, feed.revision).await?;
        }
        Ok(())
    }
}
