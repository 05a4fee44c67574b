//! P6: behind Envoy's `ext_authz`, by gRPC beside by HTTP, each with the documented configuration.
//!
//! Envoy and the gate share one core, as on a machine that is busy. Envoy answers what is admitted itself.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cpu::{self, Cores};
use crate::figure::median;
use crate::load::{Clients, Until};
use crate::server::{Connection, Installation, Pair, Server, get};
use crate::{CONNECTIONS, TOKENS, program};

const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;

/// How long Envoy may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn measure(cores: &Cores) {
    let Some(program) = program::find_envoy("P6") else { return };
    let tokens: Vec<Pair> = (0..TOKENS).map(Pair::numbered).collect();
    let installation = cores.on_all(|| {
        let installation = Installation::make();
        installation.import(&tokens, true);
        installation
    });
    let server = cores.on_servers(|| installation.start());
    let start = |file, demand: &str| {
        cores.on_servers(|| Envoy::start(&program, file, demand, installation.account_id(), &server))
    };
    let by_http = start("envoy.yaml", "account_id=ID");
    let by_grpc = start("grpc.yaml", "account_id: \"ID\"");
    let sides = [("by HTTP", &by_http), ("by gRPC", &by_grpc)];

    let mut requests = installation.requests(&tokens, 200);
    let mut rates = vec![Vec::new(); sides.len()];
    let mut cpus = rates.clone();
    let mut gates = rates.clone();
    for round in 0..=ROUNDS {
        for (side, (_, envoy)) in sides.iter().enumerate() {
            let mut clients = Clients::connect(envoy.address, CONNECTIONS);
            clients.ask(&mut requests, &Until::Answered(100 * CONNECTIONS as u64), &[]);
            let before = cpu::time_of(&[server.id()]);
            let outcome = clients.ask(&mut requests, &Until::Passed(ROUND), &[envoy.process.id(), server.id()]);
            let gate = (cpu::time_of(&[server.id()]) - before).div_duration_f64(outcome.cpu);
            // The first round opens Envoy's own connections.
            if round > 0 {
                rates[side].push(outcome.rate());
                cpus[side].push(outcome.cpu_micros());
                gates[side].push(gate * outcome.cpu_micros());
            }
        }
    }
    for (_, envoy) in sides {
        // It is the gate that decides.
        assert_eq!(Connection::open(envoy.address).send(&get("/", "")).0, 401);
    }
    let ratio = |of: &[f64], to: &[f64]| median(&of.iter().zip(to).map(|(of, to)| of / to).collect::<Vec<_>>());
    let (rate, frugality) = (ratio(&rates[1], &rates[0]), ratio(&cpus[0], &cpus[1]));
    println!(
        "<!-- figures: P6 -->
Envoy with one worker and the gate on one core together, over TCP, {CONNECTIONS} connections; medians of {ROUNDS} rounds in turns. CPU is of both.

| Envoy asks | requests a second | CPU a request | of this the gate's |
| --- | --- | --- | --- |"
    );
    for (side, (name, _)) in sides.iter().enumerate() {
        let (rate, cpu, gate) = (median(&rates[side]), median(&cpus[side]), median(&gates[side]));
        println!("| {name} | {rate:.0} | {cpu:.2} µs | {gate:.2} µs |");
    }
    println!(
        "| by gRPC, to by HTTP | {rate:.2} × | {frugality:.2} × as many for the same CPU | |
<!-- end of figures: P6 -->
reached P6: {rate:.2} ×"
    );
}

/// A running Envoy. It is stopped when this is dropped.
struct Envoy {
    process: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Envoy {
    /// Starts Envoy with a documented file, in which `demand` holds `ID` where the account's id belongs.
    fn start(program: &Path, file: &str, demand: &str, account: &str, server: &Server) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut text =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/envoy").join(file)).unwrap();
        let socket = |address: &SocketAddr| {
            format!("{{ socket_address: {{ address: {}, port_value: {} }} }}", address.ip(), address.port())
        };
        for (old, new) in [
            ("{ socket_address: { address: 0.0.0.0, port_value: 80 } }".to_owned(), socket(&address)),
            ("{ socket_address: { address: 127.0.0.1, port_value: 8788 } }".to_owned(), socket(&server.gate)),
            (demand.replace("ID", &"0".repeat(32)), demand.replace("ID", account)),
            ("route: { cluster: application, timeout: 0s }".to_owned(), "direct_response: { status: 200 }".to_owned()),
        ] {
            assert_eq!(text.matches(&old).count(), 1, "{old} in {file}");
            text = text.replace(&old, &new);
        }
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(file), text).unwrap();
        let mut process = Command::new(program)
            .args(["-c", file, "--disable-hot-restart", "--concurrency", "1", "--log-level", "error"])
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(process.try_wait().unwrap().is_none(), "Envoy has ended");
            assert!(begin.elapsed() < PATIENCE, "Envoy does not answer");
            std::thread::yield_now();
        }
        Self { process, address, _directory: directory }
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
