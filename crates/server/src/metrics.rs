//! What the server counts, in the text format of OpenMetrics.
//!
//! The names and labels are a contract with whoever has built alerts on them: `docs/metrics.md`. What is counted for every
//! request is resolved at the start or belongs to one thread. Everything else is read where it is when somebody asks, and
//! nothing that is asked for waits for the store.

mod process;
mod state;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use countersign_store::Store;
use countersign_token::feed::Freshness;
use countersign_token::index::Index;
use countersign_token::time::Clock;
use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use self::process::Process;
use self::state::State;
use self::writer::Writer;
use crate::assertion::Assertions;
use crate::census;
use crate::flusher::Flusher;
use crate::follower;
use crate::gate::Tallies;
use crate::management::access::Api;
use crate::tls::Tls;

/// Every metric of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// What the gate counts.
    pub gate: Tallies,
    requests: Family<Labels<3>, Counter>,
    durations: Family<Labels<2>, Histogram, Durations>,
    /// Handlers of the management API that panicked. Each is also counted as an answer of the class 5xx.
    pub management_panics: Counter,
    /// Refusals of the gate that the audit log does not tell of, because there were too many.
    pub refusals_unrecorded: Counter,
    /// Connections that could not be accepted, because of a limit of the process or the machine.
    pub accept_errors: Counter,
    /// Spans that no collector has taken.
    pub spans_lost: Counter,
}

/// Where the gauges are read.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The store, for its writer.
    pub store: Store,
    /// The index.
    pub index: Arc<Index>,
    /// How old this node's knowledge is.
    pub freshness: Arc<Freshness>,
    /// The follower.
    pub follower: follower::Handle,
    /// What carries last-seen marks to the store.
    pub flusher: Flusher,
    /// The newest count of credentials.
    pub census: census::Latest,
    /// The assertions, for how many were made.
    pub assertions: Assertions,
    /// Listeners with a certificate, by their names.
    pub tls: Vec<(&'static str, Arc<Tls>)>,
    /// The clock. The process is taken to have started now.
    pub clock: Clock,
}

type Labels<const N: usize> = [(&'static str, String); N];

/// The classes of answers.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// What stands for a route where there is none.
const NO_ROUTE: &str = "none";

/// The bounds for requests of the management API, in seconds.
#[derive(Clone, Copy, Debug)]
struct Durations;

impl MetricConstructor<Histogram> for Durations {
    fn new_metric(&self) -> Histogram {
        Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
    }
}

impl Metrics {
    /// Registers everything.
    pub fn new(sources: Sources) -> Self {
        let mut root = Registry::default();
        root.register_collector(Box::new(Process::started_at(sources.clock.now())));
        let registry = root.sub_registry_with_prefix("countersign");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version that runs", version);
        let gate = Tallies::default();
        registry.register_collector(Box::new(gate.clone()));
        let requests = Family::default();
        registry.register("management_requests", "Requests that the management API has answered", requests.clone());
        let durations = Family::new_with_constructor(Durations);
        let help = "Time in which the management API has answered, from a request's head to its whole answer";
        registry.register_with_unit("management_duration", help, Unit::Seconds, durations.clone());
        for (api, class) in Api::ALL.into_iter().flat_map(|api| CLASSES.map(|class| (api.as_str(), class))) {
            drop(requests.get_or_create(&labels([("api", api), ("route", NO_ROUTE), ("status", class)])));
            drop(durations.get_or_create(&labels([("api", api), ("status", class)])));
        }
        let management_panics = Counter::default();
        registry.register("management_panics", "Requests whose handling panicked", management_panics.clone());
        let refusals_unrecorded = Counter::default();
        let help = "Refusals that the audit log does not tell of, because there were too many";
        registry.register("gate_refusals_unrecorded", help, refusals_unrecorded.clone());
        let accept_errors = Counter::default();
        registry.register("accept_errors", "Connections that could not be accepted", accept_errors.clone());
        let spans_lost = Counter::default();
        registry.register("spans_lost", "Spans of traces that no collector has taken", spans_lost.clone());
        let collectors: [Box<dyn Collector>; 2] = [Box::new(Writer(sources.store.clone())), Box::new(State(sources))];
        collectors.into_iter().for_each(|collector| registry.register_collector(collector));
        Self {
            registry: root,
            gate,
            requests,
            durations,
            management_panics,
            refusals_unrecorded,
            accept_errors,
            spans_lost,
        }
    }

    /// Counts one answer of the management API. `route` is a template, never a path: there are few.
    pub fn count_management(&self, api: Api, route: Option<&str>, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).checked_sub(2).and_then(|class| CLASSES.get(class));
        let Some(class) = class else { return };
        let (api, route) = (api.as_str(), route.unwrap_or(NO_ROUTE));
        self.requests.get_or_create(&labels([("api", api), ("route", route), ("status", class)])).inc();
        self.durations.get_or_create(&labels([("api", api), ("status", class)])).observe(took.as_secs_f64());
    }

    /// Every metric as text of OpenMetrics 1.0.0.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string can't fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

fn labels<const N: usize>(labels: [(&'static str, &str); N]) -> Labels<N> {
    labels.map(|(name, value)| (name, value.to_owned()))
}
