//! What this node knows, and how well it is.

use std::fmt;
use std::time::Duration;

use countersign_token::index::{Census, Count};
use countersign_token::time::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;

use super::Sources;
use crate::propagation;

/// Everything that is read only when somebody asks.
#[derive(Debug)]
pub(super) struct State(pub(super) Sources);

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_index(&mut encoder)?;
        self.encode_feed(&mut encoder)?;
        self.encode_tokens(&mut encoder)?;
        self.encode_assertions(&mut encoder)?;
        self.encode_tls(&mut encoder)
    }
}

impl State {
    fn encode_index(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Sources { index, flusher, .. } = &self.0;
        encoder
            .encode_descriptor("index_entries", "Credentials in memory", None, MetricType::Gauge)?
            .encode_gauge(&whole(index.len()))?;
        let help = "Memory of the index, without names and the like";
        encoder
            .encode_descriptor("index_size", help, Some(&Unit::Bytes), MetricType::Gauge)?
            .encode_gauge(&whole(index.size()))?;
        let help = "Last-seen marks that the store has not taken yet";
        encoder
            .encode_descriptor("seen_marks_waiting", help, None, MetricType::Gauge)?
            .encode_gauge(&whole(flusher.backlog()))
    }

    fn encode_feed(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Sources { freshness, follower, clock, .. } = &self.0;
        let now = clock.boot();
        let help = "Revision of the feed that this node has applied";
        encoder
            .encode_descriptor("feed_revision", help, None, MetricType::Gauge)?
            .encode_gauge(&follower.applied().get())?;
        let age = Duration::from_micros(u64::try_from(freshness.age(now)).unwrap_or(0));
        let help = "Time since which this node has not been sure to be up to date";
        encoder
            .encode_descriptor("feed_age", help, Some(&Unit::Seconds), MetricType::Gauge)?
            .encode_gauge(&age.as_secs_f64())?;
        let help = "Age of the feed beyond which this node admits nobody";
        encoder
            .encode_descriptor("feed_age_limit", help, Some(&Unit::Seconds), MetricType::Gauge)?
            .encode_gauge(&follower.max_staleness().as_secs_f64())?;
        let bound = propagation::bound(follower.max_staleness());
        let nodes = follower.watched().live(now, bound).max(1);
        let help =
            "Servers of this installation that are alive, this one included, and programs that verify by themselves";
        encoder.encode_descriptor("nodes", help, None, MetricType::Gauge)?.encode_gauge(&whole(nodes))
    }

    fn encode_tokens(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some((counted, census)) = self.0.census.get() else { return Ok(()) };
        let kinds = kinds(&census);
        let mut tokens = encoder.encode_descriptor("tokens", "Tokens that are not deleted", None, MetricType::Gauge)?;
        for (kind, states, _) in &kinds {
            for (state, count) in states {
                tokens.encode_family(&[("kind", *kind), ("state", state)])?.encode_gauge(&wide(*count))?;
            }
        }
        let help = "Tokens that are good and will end within so many days";
        let mut expiring = encoder.encode_descriptor("tokens_expiring", help, None, MetricType::Gauge)?;
        for (kind, _, count) in &kinds {
            for (days, count) in ["7d", "14d", "30d"].into_iter().zip(count.ending) {
                expiring.encode_family(&[("kind", *kind), ("within", days)])?.encode_gauge(&wide(count))?;
            }
        }
        let age = self.0.clock.boot().duration_since(counted);
        let help = "Time since tokens were counted";
        encoder
            .encode_descriptor("tokens_age", help, Some(&Unit::Seconds), MetricType::Gauge)?
            .encode_gauge(&age.as_secs_f64())
    }

    fn encode_assertions(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Sources { assertions, clock, .. } = &self.0;
        let minted = ConstCounter::new(assertions.minted());
        let help = "Assertions that were signed";
        minted.encode(encoder.encode_descriptor("assertions_minted", help, None, MetricType::Counter)?)?;
        let help = "Keys that assertions can be checked with";
        encoder
            .encode_descriptor("assertion_keys", help, None, MetricType::Gauge)?
            .encode_gauge(&whole(assertions.keys().published(clock.now())))
    }

    fn encode_tls(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "When a listener's certificate ends, in seconds since 1970";
        let unit = Some(&Unit::Seconds);
        let mut expiry =
            encoder.encode_descriptor("tls_certificate_expiry_timestamp", help, unit, MetricType::Gauge)?;
        for (listener, tls) in &self.0.tls {
            if let Some(expires_at) = tls.expires_at() {
                expiry.encode_family(&[("listener", *listener)])?.encode_gauge(&seconds(expires_at))?;
            }
        }
        let help = "TLS handshakes that have failed or have taken too long";
        let mut failures = encoder.encode_descriptor("tls_handshake_failures", help, None, MetricType::Counter)?;
        for (listener, tls) in &self.0.tls {
            ConstCounter::new(tls.failures()).encode(failures.encode_family(&[("listener", *listener)])?)?;
        }
        Ok(())
    }
}

/// How many tokens are in each state.
type States = Vec<(&'static str, u64)>;

/// The states of each kind of token, by the words of its own API.
fn kinds(census: &Census) -> [(&'static str, States, Count); 3] {
    let Census { service_tokens: service, api_tokens: api, management_tokens: management } = *census;
    let of_service = vec![("enabled", service.active), ("disabled", service.disabled), ("expired", service.expired)];
    let of_api =
        vec![("active", api.active), ("suspended", api.disabled), ("revoked", api.revoked), ("expired", api.expired)];
    let of_management =
        vec![("active", management.active), ("revoked", management.revoked), ("expired", management.expired)];
    [
        ("service_token", of_service, service),
        ("api_token", of_api, api),
        ("management_token", of_management, management),
    ]
}

pub(super) fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn wide(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Seconds since 1970. A time before that is none of ours.
pub(super) fn seconds(at: Timestamp) -> f64 {
    Duration::from_micros(u64::try_from(at.as_micros()).unwrap_or(0)).as_secs_f64()
}
