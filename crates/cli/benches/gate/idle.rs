//! P13: the memory of a server that nobody asks, on an empty store and on all cores.

use std::time::{Duration, Instant};

use crate::cpu::Cores;
use crate::server::Installation;

/// The allocator gives back what the start needed only after a while.
const SETTLING: Duration = Duration::from_secs(5);

pub(crate) fn measure(cores: &Cores) {
    let (_installation, server) = cores.on_all(|| {
        let installation = Installation::make();
        let server = installation.start();
        (installation, server)
    });
    let begin = Instant::now();
    let mut memory = Memory::of(server.id());
    while begin.elapsed() < SETTLING {
        std::thread::park_timeout(SETTLING.saturating_sub(begin.elapsed()));
        memory = Memory::of(server.id());
    }
    let Memory { resident, own, files } = memory;
    println!(
        "<!-- figures: P13 -->
{resident:.1} MiB resident after {} s: {own:.1} MiB of its own, and {files:.1} MiB of files (the program, shared libraries), which any number of processes share.
<!-- end of figures: P13 -->
reached P13: {resident:.1} MiB, of these {own:.1} its own",
        SETTLING.as_secs()
    );
}

/// Resident memory in MiB.
struct Memory {
    resident: f64,
    own: f64,
    files: f64,
}

impl Memory {
    fn of(process: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
        };
        Self { resident: mib("VmRSS:"), own: mib("RssAnon:"), files: mib("RssFile:") }
    }
}
