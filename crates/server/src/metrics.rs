//! What the server counts, in the text format of Prometheus and OpenMetrics.
//!
//! The names and labels are a contract with whoever has built alerts on them. A counter that is touched for every request
//! is resolved at the start: nothing looks a label up later.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use countersign_token::feed::Freshness;
use countersign_token::index::Index;
use countersign_token::time::Clock;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::follower;
use crate::gate::Tallies;

/// Every metric of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    index: Arc<Index>,
    freshness: Arc<Freshness>,
    follower: follower::Handle,
    clock: Clock,
    index_entries: Gauge,
    feed_revision: Gauge,
    feed_age: Gauge<f64, AtomicU64>,
    /// What the gate counts.
    pub gate: Tallies,
    management_requests: [Counter; 5],
    /// Handlers of the management API that panicked. Each is also counted as an answer of the class 5xx.
    pub management_panics: Counter,
    /// Connections that could not be accepted, because of a limit of the process or the machine.
    pub accept_errors: Counter,
}

type Labels<const N: usize> = [(&'static str, &'static str); N];

impl Metrics {
    /// Registers everything. The gauges are read from `index`, `freshness` and `follower` when they are asked for.
    pub fn new(index: Arc<Index>, freshness: Arc<Freshness>, follower: follower::Handle, clock: Clock) -> Self {
        let mut registry = Registry::with_prefix("countersign");
        let gate = Tallies::default();
        registry.register_collector(Box::new(gate.clone()));
        let requests = Family::<Labels<1>, Counter>::default();
        registry.register("management_requests", "Requests that the management API has answered", requests.clone());
        let management_requests =
            ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|class| requests.get_or_create_owned(&[("status", class)]));
        let management_panics = Counter::default();
        registry.register("management_panics", "Requests whose handling panicked", management_panics.clone());
        let accept_errors = Counter::default();
        registry.register("accept_errors", "Connections that could not be accepted", accept_errors.clone());
        let index_entries = Gauge::default();
        registry.register("index_entries", "Credentials in the verification index", index_entries.clone());
        let feed_revision = Gauge::default();
        registry.register("feed_revision", "Revision of the feed that this node has applied", feed_revision.clone());
        let feed_age = Gauge::default();
        registry.register("feed_age_seconds", "Time since which this node is known to be up to date", feed_age.clone());
        Self {
            registry,
            index,
            freshness,
            follower,
            clock,
            index_entries,
            feed_revision,
            feed_age,
            gate,
            management_requests,
            management_panics,
            accept_errors,
        }
    }

    /// Counts one answer of the management API.
    pub fn count_management(&self, status: http::StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        if let Some(counter) = class.checked_sub(1).and_then(|class| self.management_requests.get(class)) {
            counter.inc();
        }
    }

    /// Every metric as text of OpenMetrics 1.0.0.
    pub fn encode(&self) -> String {
        self.index_entries.set(i64::try_from(self.index.len()).unwrap_or(i64::MAX));
        self.feed_revision.set(self.follower.applied().get());
        let age = u64::try_from(self.freshness.age(self.clock.boot())).unwrap_or(0);
        self.feed_age.set(std::time::Duration::from_micros(age).as_secs_f64());
        let mut text = String::new();
        // Writing to a string can't fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}
