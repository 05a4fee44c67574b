//! What the system says of this process. The names are those that every exporter gives them.

use std::fmt;

use countersign_token::time::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use rustix::process::{Resource, getrlimit};

use super::state::seconds;

/// This process.
#[derive(Debug)]
pub(super) struct Process {
    started_at: Timestamp,
}

impl Process {
    pub(super) fn started_at(started_at: Timestamp) -> Self {
        Self { started_at }
    }
}

impl Collector for Process {
    /// What the system does not say is left out.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "When this server was started, in seconds since 1970";
        encoder
            .encode_descriptor("process_start_time", help, Some(&Unit::Seconds), MetricType::Gauge)?
            .encode_gauge(&seconds(self.started_at))?;
        if let Some(bytes) = resident_memory() {
            let help = "Memory of this process that is in the machine's memory";
            encoder
                .encode_descriptor("process_resident_memory", help, Some(&Unit::Bytes), MetricType::Gauge)?
                .encode_gauge(&bytes)?;
        }
        if let Some(open) = open_files() {
            encoder
                .encode_descriptor("process_open_fds", "Open file descriptors", None, MetricType::Gauge)?
                .encode_gauge(&open)?;
        }
        if let Some(max) = getrlimit(Resource::Nofile).current.and_then(|max| i64::try_from(max).ok()) {
            let help = "How many file descriptors this process may open";
            encoder.encode_descriptor("process_max_fds", help, None, MetricType::Gauge)?.encode_gauge(&max)?;
        }
        Ok(())
    }
}

fn resident_memory() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))?;
    kibibytes.parse::<i64>().ok()?.checked_mul(1024)
}

fn open_files() -> Option<i64> {
    // The directory is open itself while it is read.
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    i64::try_from(open).ok()
}
