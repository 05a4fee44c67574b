//! What the store's writer has counted.

use std::fmt;
use std::sync::atomic::Ordering;

use countersign_store::{Distribution, Store};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;

use super::state::whole;

/// The writer of a store.
#[derive(Debug)]
pub(super) struct Writer(pub(super) Store);

impl Collector for Writer {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.0.writer_counts();
        encoder
            .encode_descriptor("store_queued_jobs", "Writes that wait for the writer", None, MetricType::Gauge)?
            .encode_gauge(&whole(self.0.queued_writes()))?;
        histogram(&mut encoder, "store_batch_jobs", "Writes in one transaction", None, &counts.batch_jobs)?;
        let help = "Time from the begin of the writer's transactions to the end of their commits";
        histogram(&mut encoder, "store_batch_duration", help, Some(&Unit::Seconds), &counts.batch_micros)?;
        let help = "Time of the last statements and the commit of the writer's transactions";
        histogram(&mut encoder, "store_commit_duration", help, Some(&Unit::Seconds), &counts.commit_micros)?;
        for (name, help, counter) in [
            ("store_failed_batches", "Transactions of the writer that were not committed", &counts.failed_batches),
            ("store_retries", "Transactions that were tried once more, on a new connection", &counts.retries),
        ] {
            let counter = ConstCounter::new(counter.load(Ordering::Relaxed));
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let help = "Failures of the writer, and of finding a connection to read";
        let mut errors = encoder.encode_descriptor("store_errors", help, None, MetricType::Counter)?;
        for (kind, count) in counts.errors.counts() {
            ConstCounter::new(count).encode(errors.encode_family(&[("kind", kind)])?)?;
        }
        Ok(())
    }
}

/// Microseconds are shown in seconds.
fn histogram<const BOUNDS: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    values: &Distribution<BOUNDS>,
) -> fmt::Result {
    let shown = |value: u64| {
        // Exact far beyond any time or number that is met.
        let value = f64::from(u32::try_from(value).unwrap_or(u32::MAX));
        if unit.is_some() { value / 1e6 } else { value }
    };
    let sum =
        if unit.is_some() { std::time::Duration::from_micros(values.sum()).as_secs_f64() } else { shown(values.sum()) };
    let counts = values.counts().map(|(bound, count)| (shown(bound), count));
    let buckets: Vec<(f64, u64)> = counts.into_iter().chain([(f64::INFINITY, values.beyond())]).collect();
    let count = buckets.iter().map(|(_, count)| count).sum();
    let mut histogram = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
    histogram.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}
