//! P14: admissions that carry a signed assertion, made before, beside the same admissions without.

use std::time::Duration;

use crate::CONNECTIONS;
use crate::cpu::Cores;
use crate::figure::median;
use crate::load::{Clients, Until};
use crate::server::{Installation, Pair};

const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 7;

/// As many as certainly stay made.
const TOKENS: usize = 10_000;

/// In the form that Cloudflare's have.
const AUDIENCE: &str = "4f0ac71a5c4c4f2a8d3f5b1f0e9d8c7b6a594837261504f3e2d1c0b9a8f7e6d5";

pub(crate) fn measure(cores: &Cores) {
    let tokens: Vec<Pair> = (0..TOKENS).map(Pair::numbered).collect();
    let installation = cores.on_all(|| {
        let installation = Installation::make();
        installation.import(&tokens, true);
        installation
    });
    let server = cores.on_servers(|| installation.start());
    let mut plain = installation.requests(&tokens, 200);
    let mut asserted = installation.requests_of(&format!("{}&aud={AUDIENCE}", installation.verify()), &tokens, 200);
    for requests in [&mut plain, &mut asserted] {
        // Every token once: from then on its assertion is there.
        Clients::connect(server.gate, CONNECTIONS).ask(requests, &Until::Answered(TOKENS as u64), &[]);
    }
    let (mut cpus, mut rates) = (Vec::new(), Vec::new());
    let mut each = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let without = Clients::round(server.gate, &mut plain, ROUND, &[server.id()]);
        let with = Clients::round(server.gate, &mut asserted, ROUND, &[server.id()]);
        cpus.push(without.cpu_micros() / with.cpu_micros());
        rates.push(with.rate() / without.rate());
        for (cpus, outcome) in each.iter_mut().zip([without, with]) {
            cpus.push((outcome.cpu_micros(), outcome.rate()));
        }
    }
    let row = |of: &[(f64, f64)]| {
        let (cpus, rates): (Vec<_>, Vec<_>) = of.iter().copied().unzip();
        format!("{:.2} µs | {:.0}", median(&cpus), median(&rates))
    };
    let (cpu, rate) = (median(&cpus), median(&rates));
    let [without, with] = &each;
    println!(
        "<!-- figures: P14 -->
{CONNECTIONS} connections, {TOKENS} service tokens in turn, one core; medians of {ROUNDS} rounds in turns. Each assertion was made before.

| admitted | CPU a request | requests a second |
| --- | --- | --- |
| without an assertion | {} |
| with one | {} |
| with, to without | {cpu:.2} × as many for the same CPU | {rate:.2} × |
<!-- end of figures: P14 -->
reached P14: {cpu:.2} × by CPU, {rate:.2} × by the clock",
        row(without),
        row(with)
    );
}
