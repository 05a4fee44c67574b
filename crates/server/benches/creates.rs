//! Durable creates over HTTP beside a loop of `fdatasync` on the same disk.
//!
//! Every create is a token row and an audit event, acknowledged after the commit (`synchronous=FULL`) and after this
//! node has applied it; with an idempotency key, also the answer that a repetition gets. All sides take turns, so that the
//! ratios hold while the machine's speed drifts.
//!
//! ```text
//! cargo bench -p countersign-server --bench creates              SQLite in a temporary directory below target/
//! cargo bench -p countersign-server --bench creates -- --database-url postgres://…
//! ./bench P8                                                     both, PostgreSQL in a cluster of its own
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark is run by hand, and fails by panicking"
)]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures with the real clock")]

mod harness;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Bench, Connection, median};

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
const CLIENTS: [usize; 2] = [64, 1];
const PAGE: usize = 4096;

fn main() {
    harness::run("creates", measure);
}

async fn measure(bench: &Bench) {
    let (management_token, account_token) = (bench.made.api_token.expose(), bench.made.account_token.expose());
    let service_tokens = format!("/client/v4/accounts/{}/access/service_tokens", bench.made.account.id);
    let api_token = r#"{"details":{"token_scope":"account"}"#;
    let kinds = [
        ("service token", Requests::new(&service_tokens, management_token, r#"{"name":"bench""#, None)),
        (
            "service token with a key",
            Requests::new(&service_tokens, management_token, r#"{"name":"bench""#, Some(Key::Header)),
        ),
        ("API token", Requests::new("/api/v1/api_token", account_token, api_token, None)),
        ("API token with a key", Requests::new("/api/v1/api_token", account_token, api_token, Some(Key::Body))),
    ];
    println!("<!-- figures: P8 {} -->", bench.database);
    println!(
        "Creates a second, and beside them `fdatasync` a second: medians of {ROUNDS} rounds. Server, clients and, where"
    );
    println!("it is one, the database's server are together on these cores.\n");
    println!("| clients | `fdatasync` | {} |", kinds.each_ref().map(|(kind, _)| *kind).join(" | "));
    println!("| --- | --- {}|", "| --- ".repeat(kinds.len()));
    let mut reached = Vec::new();
    for clients in CLIENTS {
        let mut rates = vec![Vec::new(); kinds.len()];
        let mut syncs = Vec::new();
        for _ in 0..ROUNDS {
            syncs.push(fdatasync_rate(Path::new(env!("CARGO_TARGET_TMPDIR"))));
            for ((_, requests), rates) in kinds.iter().zip(&mut rates) {
                rates.push(create_rate(bench, requests, clients).await);
            }
        }
        print!("| {clients} | {:.0} |", median(&mut syncs.clone()));
        for (kind, rates) in rates.iter_mut().enumerate() {
            let mut ratios: Vec<f64> = rates.iter().zip(&syncs).map(|(rate, syncs)| rate / syncs).collect();
            let ratio = median(&mut ratios);
            print!(" {:.0}: {ratio:.2} × |", median(rates));
            if kind == 0 {
                reached.push(format!("{ratio:.2} ×"));
            }
        }
        println!();
    }
    println!("<!-- end of figures: P8 {} -->\nreached P8 {}: {}", bench.database, bench.database, reached.join("; "));
}

/// Creates of one kind, each a request of its own.
#[derive(Clone)]
struct Requests {
    head: Arc<str>,
    /// The body without its last brace.
    body: &'static str,
    /// Where the keys stand, if each request has one.
    key: Option<Key>,
    made: Arc<AtomicU64>,
}

/// Where an idempotency key stands.
#[derive(Clone, Copy)]
enum Key {
    Header,
    Body,
}

impl Requests {
    fn new(path: &str, token: &str, body: &'static str, key: Option<Key>) -> Self {
        let head = format!("POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n");
        Self { head: head.into(), body, key, made: Arc::default() }
    }

    fn next(&self) -> String {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let (header, field) = match self.key {
            Some(Key::Header) => (format!("idempotency-key: header-{number}\r\n"), String::new()),
            Some(Key::Body) => (String::new(), format!(r#","idempotency_key":"body-{number}""#)),
            None => (String::new(), String::new()),
        };
        let body = format!("{}{field}}}", self.body);
        format!("{}{header}content-length: {}\r\n\r\n{body}", self.head, body.len())
    }
}

/// How often a page can be appended to a file and made durable, a second.
fn fdatasync_rate(scratch: &Path) -> f64 {
    let path = scratch.join("fdatasync");
    let mut file = File::create(&path).unwrap();
    let page = [0x5a; PAGE];
    let begin = Instant::now();
    let mut count = 0u32;
    while begin.elapsed() < ROUND {
        file.write_all(&page).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    let rate = f64::from(count) / begin.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    rate
}

async fn create_rate(bench: &Bench, requests: &Requests, clients: usize) -> f64 {
    let (begin, address) = (Instant::now(), bench.address);
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            let requests = requests.clone();
            bench.tasks.spawn(async move {
                let mut connection = Connection::open(address).await;
                let mut count = 0u32;
                while begin.elapsed() < ROUND {
                    connection.send(&requests.next()).await;
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for client in clients {
        count += client.await.unwrap();
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}
