//! What the gate counts. Each of its threads counts for itself, on cache lines that no other one writes, and whoever wants
//! to know adds up.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_token::verify::{Kind, Reason};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;

use super::{Answer, Refusal};

/// One request of so many is timed: two readings of the clock for each would be a good part of what they measure.
const TIMED: u64 = 16;

/// Outcome and reason of every answer, each at its place.
const ANSWERS: [(&str, &str); 14] = [
    ("allow", "service_token"),
    ("allow", "api_token"),
    ("refuse", "missing"),
    ("refuse", "malformed"),
    ("refuse", "invalid"),
    ("refuse", "expired"),
    ("refuse", "disabled"),
    ("refuse", "revoked"),
    ("refuse", "address_not_allowed"),
    ("refuse", "not_permitted"),
    ("refuse", "no_demand"),
    ("refuse", "stale"),
    ("refuse", "no_assertion"),
    ("refuse", "throttled"),
];

fn place(answer: &Answer) -> usize {
    match answer {
        Answer::Allow(verified) => match verified.kind {
            Kind::ServiceToken => 0,
            Kind::ApiToken => 1,
        },
        Answer::Refuse(refusal) => match refusal {
            Refusal::Missing => 2,
            Refusal::Malformed => 3,
            Refusal::Credential(Reason::Invalid) => 4,
            Refusal::Credential(Reason::Expired) => 5,
            Refusal::Credential(Reason::Disabled) => 6,
            Refusal::Credential(Reason::Revoked) => 7,
            Refusal::Credential(Reason::AddressNotAllowed) => 8,
            Refusal::Credential(Reason::NotPermitted) => 9,
            Refusal::NoDemand => 10,
            Refusal::Stale => 11,
            Refusal::NoAssertion => 12,
            Refusal::Throttled { .. } => 13,
        },
    }
}

/// The bounds of the histogram, in microseconds. Beyond the last there is one more bucket.
const BOUNDS: [u32; 15] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 100_000, 1_000_000];

/// What one thread has counted. Two lines apart from everything else, since processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Tally {
    asked: AtomicU64,
    answers: [AtomicU64; ANSWERS.len()],
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Tally {
    pub(super) fn count(&self, answer: &Answer) {
        if let Some(counter) = self.answers.get(place(answer)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the request that begins is one of those that are timed: the first, and then every sixteenth.
    pub(super) fn is_timed(&self) -> bool {
        // Where two threads share a tally, one more or less is timed.
        let asked = self.asked.load(Ordering::Relaxed);
        self.asked.store(asked.wrapping_add(1), Ordering::Relaxed);
        asked.is_multiple_of(TIMED)
    }

    pub(super) fn time(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| u64::from(*bound) < micros);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// The tallies of all threads of a gate. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tallies(Arc<Mutex<Vec<Arc<Tally>>>>);

impl Tallies {
    /// One more tally, for one more thread.
    pub(super) fn add(&self) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&tally));
        tally
    }

    /// How often the gate has admitted a kind of token, or refused for a reason, by the word in `reason`.
    pub fn answers(&self, reason: &str) -> u64 {
        let place = ANSWERS.iter().position(|(_, known)| *known == reason);
        place.map_or(0, |place| self.sum(|tally| tally.answers.get(place)))
    }

    fn sum(&self, counter: impl Fn(&Tally) -> Option<&AtomicU64>) -> u64 {
        let tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.iter().filter_map(|tally| counter(tally)).map(|counter| counter.load(Ordering::Relaxed)).sum()
    }
}

impl Collector for Tallies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests that the gate has answered";
        let mut decisions = encoder.encode_descriptor("gate_decisions", help, None, MetricType::Counter)?;
        for (place, (outcome, reason)) in ANSWERS.into_iter().enumerate() {
            let counter = ConstCounter::new(self.sum(|tally| tally.answers.get(place)));
            counter.encode(decisions.encode_family(&[("outcome", outcome), ("reason", reason)])?)?;
        }
        let help = "Time in which the gate has answered one request of sixteen, from its head on";
        let mut duration =
            encoder.encode_descriptor("gate_duration", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        let bounds = BOUNDS.into_iter().map(|micros| f64::from(micros) / 1e6).chain([f64::INFINITY]);
        let count = |bucket: usize| self.sum(|tally| tally.buckets.get(bucket));
        let buckets: Vec<(f64, u64)> = bounds.enumerate().map(|(bucket, bound)| (bound, count(bucket))).collect();
        let micros = Duration::from_micros(self.sum(|tally| Some(&tally.micros)));
        let timed = buckets.iter().map(|(_, count)| count).sum();
        duration.encode_histogram::<NoLabelSet>(micros.as_secs_f64(), timed, &buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn threads_are_added_up() {
        let tallies = Tallies::default();
        let (one, other) = (tallies.add(), tallies.add());
        one.count(&Answer::Refuse(Refusal::Missing));
        other.count(&Answer::Refuse(Refusal::Missing));
        other.count(&Answer::Refuse(Refusal::Stale));
        for micros in [0, 1, 2, 3, 1_000_000, 1_000_001] {
            one.time(Duration::from_micros(micros));
        }
        other.time(Duration::from_millis(7));
        assert_eq!((tallies.answers("missing"), tallies.answers("stale"), tallies.answers("revoked")), (2, 1, 0));

        let mut registry = Registry::with_prefix("p");
        registry.register_collector(Box::new(tallies));
        let mut text = String::new();
        text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"p_gate_decisions_total{outcome="refuse",reason="missing"} 2"#,
            r#"p_gate_decisions_total{outcome="allow",reason="api_token"} 0"#,
            r#"p_gate_duration_seconds_bucket{le="0.000001"} 2"#,
            r#"p_gate_duration_seconds_bucket{le="0.000002"} 3"#,
            r#"p_gate_duration_seconds_bucket{le="0.000005"} 4"#,
            r#"p_gate_duration_seconds_bucket{le="0.01"} 5"#,
            r#"p_gate_duration_seconds_bucket{le="1.0"} 6"#,
            r#"p_gate_duration_seconds_bucket{le="+Inf"} 7"#,
            "p_gate_duration_seconds_count 7",
            "p_gate_duration_seconds_sum 2.007007",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }

    #[test]
    fn one_request_of_sixteen_is_timed() {
        let tally = Tally::default();
        let timed: Vec<usize> = (0..40).filter(|_| tally.is_timed()).collect();
        assert_eq!(timed, [0, 16, 32]);
    }
}
