//! P5: behind nginx's `auth_request`, beside an nginx that answers the subrequest itself.
//!
//! nginx and whoever answers share one core, as on a machine that is busy.

use std::time::Duration;

use crate::cpu::Cores;
use crate::figure::median;
use crate::load::Clients;
use crate::nginx::{Nginx, same_headers};
use crate::server::{Installation, Pair, get};
use crate::{CONNECTIONS, TOKENS, program};

const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;

pub(crate) fn measure(cores: &Cores) {
    let Some(program) = program::find("nginx", "P5") else { return };
    let tokens: Vec<Pair> = (0..TOKENS).map(Pair::numbered).collect();
    let installation = cores.on_all(|| {
        let installation = Installation::make();
        installation.import(&tokens, true);
        installation
    });
    let server = cores.on_servers(|| installation.start());
    let empty = tempfile::NamedTempFile::new().unwrap();
    let file = empty.path().file_name().unwrap().to_str().unwrap();
    let folder = empty.path().parent().unwrap().display();
    let front = |place: &str, upstream: &str| {
        format!(
            "upstream to{upstream} {{ server {}; keepalive {CONNECTIONS}; keepalive_requests 1000000000; }}
             server {{
                 listen {place}; root {folder}; open_file_cache max=8;
                 location / {{ auth_request /ask; try_files /{file} =404; }}
                 location = /ask {{
                     internal;
                     proxy_pass http://to{upstream}{};
                     proxy_pass_request_body off;
                     proxy_set_header Content-Length \"\";
                     proxy_set_header Connection \"\";
                     proxy_http_version 1.1;
                 }}
             }}",
            match upstream {
                "itself" => "{3}".to_owned(),
                "tcp" => server.gate.to_string(),
                _ => format!("unix:{}", server.socket.display()),
            },
            installation.verify(),
        )
    };
    let http = [
        front("{0}", "itself"),
        front("{1}", "tcp"),
        front("{2}", "unix"),
        format!("server {{ listen {{3}}; {} location / {{ return 204; }} }}", same_headers()),
    ];
    let nginx = cores.on_servers(|| Nginx::start(&program, &http.concat()));

    let mut requests = installation.requests(&tokens, 200);
    let processes = [nginx.worker(), server.id()];
    let mut rates = vec![Vec::new(); 3];
    let mut cpus = rates.clone();
    for round in 0..=ROUNDS {
        for (place, (rates, cpus)) in rates.iter_mut().zip(&mut cpus).enumerate() {
            let outcome = Clients::round(nginx.address(place), &mut requests, ROUND, &processes);
            // The first round opens nginx's own connections.
            if round > 0 {
                rates.push(outcome.rate());
                cpus.push(outcome.cpu_micros());
            }
        }
    }
    refuses(&nginx);
    let ratio = |values: &[Vec<f64>], of: usize, to: usize| {
        median(&values[of].iter().zip(&values[to]).map(|(of, to)| of / to).collect::<Vec<_>>())
    };
    let (tcp, unix) = (ratio(&rates, 1, 0), ratio(&rates, 2, 1));
    println!(
        "<!-- figures: P5 -->
nginx with one worker and whoever answers on one core together, {CONNECTIONS} connections; medians of {ROUNDS} rounds in turns. CPU is of all of them.

| who answers the subrequest | requests a second | CPU a request | to nginx itself, by the clock | by CPU |
| --- | --- | --- | --- | --- |"
    );
    for (number, name) in
        ["nginx itself, over TCP", "the gate, over TCP", "the gate, over a Unix socket"].iter().enumerate()
    {
        println!(
            "| {name} | {:.0} | {:.2} µs | {:.2} × | {:.2} × |",
            median(&rates[number]),
            median(&cpus[number]),
            ratio(&rates, number, 0),
            ratio(&cpus, 0, number),
        );
    }
    println!("<!-- end of figures: P5 -->\nreached P5: {tcp:.2} ×; {unix:.2} ×");
}

/// Without a credential nothing passes: it is the gate that decides, and not the file.
fn refuses(nginx: &Nginx) {
    for place in [1, 2] {
        let (status, _) = nginx.connect(place).send(&get("/", ""));
        assert_eq!(status, 401);
    }
}
