//! What a server takes, second by second, and whether it takes ever more.

use crate::wire::{Connection, request};

/// What was seen at one time.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sample {
    /// Resident memory of a node, in KiB.
    pub(crate) memory: u64,
    pub(crate) threads: u64,
    pub(crate) files: u64,
    pub(crate) index_entries: u64,
    pub(crate) revision: u64,
    /// Bytes.
    pub(crate) database: u64,
    /// Bytes.
    pub(crate) log: u64,
}

impl Sample {
    pub(crate) async fn take(process: u32, management: &mut Connection, size: (u64, u64)) -> Result<Self, String> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).map_err(|error| error.to_string())?;
        let field = |name: &str| number(status.lines().find_map(|line| line.strip_prefix(name)), name);
        let files = std::fs::read_dir(format!("/proc/{process}/fd")).map_err(|error| error.to_string())?.count();
        let metrics = management.send(&request("GET", "/metrics", "", "")).await?.body;
        let metric = |name: &str| number(metrics.lines().find_map(|line| line.strip_prefix(name)), name);
        Ok(Self {
            memory: field("VmRSS:")?,
            threads: field("Threads:")?,
            files: u64::try_from(files).unwrap_or(u64::MAX),
            index_entries: metric("countersign_index_entries ")?,
            revision: metric("countersign_feed_revision ")?,
            database: size.0,
            log: size.1,
        })
    }
}

fn number(rest: Option<&str>, name: &str) -> Result<u64, String> {
    let text = rest.unwrap_or_default().trim().trim_end_matches(" kB");
    text.parse().map_err(|_| format!("{name} is {text:?}"))
}

/// The samples of one node, in order.
pub(crate) struct Series(pub(crate) Vec<Sample>);

impl Series {
    fn quarter(&self, number: usize) -> &[Sample] {
        let length = self.0.len();
        self.0.get(length * number / 4..length * (number + 1) / 4).unwrap_or_default()
    }

    pub(crate) fn median(&self, quarter: usize, of: impl Fn(&Sample) -> u64) -> u64 {
        let mut values: Vec<_> = self.quarter(quarter).iter().map(of).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or_default()
    }

    /// Bytes of the database for each change, over a quarter.
    pub(crate) fn bytes_a_change(&self, quarter: usize) -> u64 {
        match self.quarter(quarter) {
            [first, .., last] => {
                last.database.saturating_sub(first.database) / last.revision.saturating_sub(first.revision).max(1)
            }
            _ => 0,
        }
    }

    /// Prints the medians of each quarter.
    pub(crate) fn print(&self, node: usize) {
        println!("\nnode {node:<20} {:>10} {:>10} {:>10} {:>10} {:>10}", "first", "second", "third", "last", "most");
        let mebibytes = |bytes: u64| format!("{}.{}", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20);
        let row = |name: &str, of: &dyn Fn(&Sample) -> u64, show: &dyn Fn(u64) -> String| {
            print!("{name:<25}");
            for quarter in 0..4 {
                print!(" {:>10}", show(self.median(quarter, of)));
            }
            println!(" {:>10}", show(self.0.iter().map(of).max().unwrap_or_default()));
        };
        row("resident memory, MiB", &|sample| sample.memory << 10, &mebibytes);
        row("threads", &|sample| sample.threads, &|number| number.to_string());
        row("open files", &|sample| sample.files, &|number| number.to_string());
        row("index entries", &|sample| sample.index_entries, &|number| number.to_string());
        row("revision", &|sample| sample.revision, &|number| number.to_string());
        row("database, MiB", &|sample| sample.database, &mebibytes);
        row("write-ahead log, MiB", &|sample| sample.log, &mebibytes);
        print!("{:<25}", "database bytes a change");
        for quarter in 0..4 {
            print!(" {:>10}", self.bytes_a_change(quarter));
        }
        println!();
    }

    /// What has grown from the second quarter to the last that should have stayed.
    ///
    /// Not the database: each change leaves an audit event, and each deletion its row for a week.
    pub(crate) fn grown(&self) -> Vec<String> {
        /// More than the index keeps of what was deleted: 150 bytes each, for 65 536 revisions at most.
        const MEMORY_KIB: u64 = 10 << 10;
        /// Readers of the database come when they are first needed.
        const THREADS: u64 = 4;
        const FILES: u64 = 32;
        /// What the write-ahead log is cut to after a backup was read past it.
        const LOG: u64 = 64 << 20;
        let mut grown = Vec::new();
        let mut check = |what: &str, of: &dyn Fn(&Sample) -> u64, allowed: u64| {
            let (second, last) = (self.median(1, of), self.median(3, of));
            if last > second + allowed {
                grown.push(format!("{what} grew from {second} to {last}"));
            }
        };
        let memory = self.median(1, |sample| sample.memory);
        check("memory (KiB)", &|sample| sample.memory, MEMORY_KIB.max(memory / 20));
        check("threads", &|sample| sample.threads, THREADS);
        check("open files", &|sample| sample.files, FILES);
        check("the write-ahead log (bytes)", &|sample| sample.log, LOG);
        grown
    }
}
