//! P4: the gate beside nginx's `return 204`, each on one core, with the same requests and the same headers.

use std::time::Duration;

use crate::cpu::Cores;
use crate::figure::median;
use crate::load::{Clients, Outcome, Until};
use crate::nginx::{Nginx, same_headers};
use crate::server::{Installation, Pair};
use crate::{CONNECTIONS, TOKENS, program};

/// As long as the server waits between two writes of last-seen marks, so that each round pays for one of them.
const ROUND: Duration = Duration::from_secs(4);
const ROUNDS: usize = 5;

pub(crate) fn measure(cores: &Cores) {
    let Some(program) = program::find("nginx", "P4") else { return };
    let tokens: Vec<Pair> = (0..TOKENS).map(Pair::numbered).collect();
    let installation = cores.on_all(|| {
        let installation = Installation::make();
        installation.import(&tokens, true);
        installation
    });
    let http = format!("server {{ listen {{0}}; {} location / {{ return 204; }} }}", same_headers());
    let (server, nginx) = cores.on_servers(|| (installation.start(), Nginx::start(&program, &http)));

    let mut asked = installation.requests(&tokens, 200);
    let mut alike = asked.with_status(204);
    // Every token once, so that all are warm as they would be in use.
    Clients::connect(server.gate, CONNECTIONS).ask(&mut asked, &Until::Answered(TOKENS as u64), &[]);

    let (mut gate, mut other) = (Side::default(), Side::default());
    for _ in 0..ROUNDS {
        gate.add(&mut Clients::round(server.gate, &mut asked, ROUND, &[server.id()]));
        other.add(&mut Clients::round(nginx.address(0), &mut alike, ROUND, &[nginx.worker()]));
    }
    let rates = gate.rates.iter().zip(&other.rates).map(|(gate, other)| gate / other).collect::<Vec<_>>();
    let cpus = gate.cpus.iter().zip(&other.cpus).map(|(gate, other)| other / gate).collect::<Vec<_>>();
    let tails = gate.tails.iter().zip(&other.tails).map(|(gate, other)| gate / other).collect::<Vec<_>>();
    let (rate, cpu, tail) = (median(&rates), median(&cpus), median(&tails));
    println!(
        "<!-- figures: P4 -->
{CONNECTIONS} connections, {TOKENS} service tokens in turn, one core each; medians of {ROUNDS} rounds in turns.

| | CPU a request | requests a second | p50 | p99 |
| --- | --- | --- | --- | --- |
{}
{}
| the gate, to nginx | {cpu:.2} × as many for the same CPU | {rate:.2} × | | {tail:.2} × |
<!-- end of figures: P4 -->
reached P4: {cpu:.2} × by CPU, {rate:.2} × by the clock; p99 {tail:.2} ×",
        gate.row("the gate"),
        other.row("nginx, `return 204`")
    );
}

/// The rounds of one side.
#[derive(Default)]
struct Side {
    cpus: Vec<f64>,
    rates: Vec<f64>,
    halves: Vec<f64>,
    tails: Vec<f64>,
}

impl Side {
    fn add(&mut self, outcome: &mut Outcome) {
        self.cpus.push(outcome.cpu_micros());
        self.rates.push(outcome.rate());
        self.halves.push(outcome.latency_micros(50));
        self.tails.push(outcome.latency_micros(99));
    }

    fn row(&self, name: &str) -> String {
        format!(
            "| {name} | {:.2} µs | {:.0} | {:.0} µs | {:.0} µs |",
            median(&self.cpus),
            median(&self.rates),
            median(&self.halves),
            median(&self.tails)
        )
    }
}
