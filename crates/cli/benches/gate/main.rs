//! The gate over HTTP: the real binary on one core, whoever asks on another, nginx beside it.
//!
//! ```text
//! cargo bench -p countersign-cli --bench gate                 everything
//! cargo bench -p countersign-cli --bench gate -- P4 P15       of P4, P5, P6, P7, P9, P13, P14 and P15 those that are named
//! COUNTERSIGN=/usr/bin/countersign cargo bench …              another binary than the one that was built for this
//! ```
//!
//! P4 and P5 take nginx, P15 takes `strace`; on Debian both are installed when root runs this and they are missing. P6
//! takes the Envoy of the conformance suite. CPU time is what the kernel says that a process has run. Both sides take
//! turns, so that the ratios hold while the machine's speed drifts.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark is run by hand, and fails by panicking"
)]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures with the real clock")]

mod assertions;
mod cpu;
mod envoy;
mod figure;
mod forward_auth;
mod idle;
mod load;
mod nginx;
mod program;
mod proxied;
mod refusals;
mod revocation;
mod server;
mod system_calls;

use crate::cpu::Cores;

/// Keep-alive connections that ask at once.
const CONNECTIONS: usize = 64;

/// Service tokens that are presented in turn.
const TOKENS: usize = 100_000;

type Measure = fn(&Cores);
const NUMBERS: [(&str, Measure); 8] = [
    ("P4", forward_auth::measure),
    ("P5", proxied::measure),
    ("P6", envoy::measure),
    ("P7", refusals::measure),
    ("P9", revocation::measure),
    ("P13", idle::measure),
    ("P14", assertions::measure),
    ("P15", system_calls::measure),
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let Some(unknown) = wanted.iter().find(|wanted| NUMBERS.iter().all(|(number, _)| number != wanted)) {
        println!("nothing here measures {unknown}; there are P4, P5, P6, P7, P9, P13, P14 and P15");
        std::process::exit(2);
    }
    println!("machine: {}", cpu::machine());
    let cores = Cores::find();
    for (number, measure) in NUMBERS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == number) {
            measure(&cores);
        }
    }
}
