//! Cores, and how long processes have run on them.

use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// What is measured runs on one core, and what measures it on another.
pub(crate) struct Cores {
    all: CpuSet,
    server: usize,
    load: usize,
}

impl Cores {
    pub(crate) fn find() -> Self {
        let all = sched_getaffinity(None).unwrap();
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core));
        let (Some(server), Some(load)) = (cores.next(), cores.next()) else {
            panic!("this takes two cores: one to be measured, and one to ask from");
        };
        Self { all, server, load }
    }

    /// Does something whose processes shall have one core for themselves.
    pub(crate) fn on_servers<T>(&self, start: impl FnOnce() -> T) -> T {
        pin(&only(self.server));
        let started = start();
        pin(&only(self.load));
        started
    }

    /// Does something on all cores, processes that it starts included.
    pub(crate) fn on_all<T>(&self, start: impl FnOnce() -> T) -> T {
        pin(&self.all);
        let started = start();
        pin(&only(self.load));
        started
    }
}

fn only(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}

fn pin(cores: &CpuSet) {
    sched_setaffinity(None, cores).unwrap();
}

/// How long all threads of the processes have run, in user and system mode.
pub(crate) fn time_of(processes: &[u32]) -> Duration {
    let mut nanos = 0;
    for process in processes {
        for thread in std::fs::read_dir(format!("/proc/{process}/task")).unwrap() {
            let ran = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap_or_default();
            nanos += ran.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Duration::from_nanos(nanos)
}

pub(crate) fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().unwrap();
    format!("{cores} cores, {}", model.trim_start_matches(['\t', ' ', ':']))
}
