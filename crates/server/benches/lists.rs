//! Pages of long lists over HTTP, beside a page by key in bare SQLite.
//!
//! ```text
//! cargo bench -p countersign-server --bench lists                1 million service tokens, 100 thousand API tokens
//! cargo bench -p countersign-server --bench lists -- --tokens 10000000
//! ```
//!
//! Bare is SQLite's own library in the same process: a prepared statement that starts at a key, and every value of its rows as
//! one of this program's own. All sides take turns, so that the ratios hold while the machine's speed drifts.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a benchmark is run by hand, and fails by panicking"
)]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures with the real clock")]

mod filled;
#[path = "harness/served.rs"]
mod served;
#[path = "harness/setup.rs"]
mod setup;

use std::net::SocketAddr;
use std::time::Instant;

use countersign_store::Database;
use countersign_token::entropy::Entropy;
use rusqlite::types::Value;

use crate::filled::{CREDENTIALS, Filled};
use crate::served::Connection;
use crate::setup::{median, quantile};

const PAGE: u64 = 50;
/// Rounds of what takes part of a millisecond, and of what may take a second.
const ROUNDS: usize = 400;
const SLOW_ROUNDS: usize = 8;

const SERVICE_TOKENS: &str = "SELECT id, account_id, zone_id, client_id, name, duration, enabled, secret_version, digest, \
     previous_digest, previous_expires_at, created_at, updated_at, expires_at, \
     (SELECT MAX(last_seen_at) FROM service_token_use WHERE service_token_id = id) FROM service_token \
     WHERE account_id = ?1 AND zone_id = '' AND deleted_at IS NULL AND id > ?2 ORDER BY id LIMIT 50";
const API_TOKENS: &str = "SELECT id, account_id, scope, environment_id, agent_id, agent_deployment_id, status, digest, \
     key_id, issued_at, expires_at, created_by, \
     (SELECT last_used_at FROM api_token_seen WHERE api_token_id = id), inserted_at, updated_at FROM api_token \
     WHERE account_id = ?1 AND deleted_at IS NULL AND id > ?2 ORDER BY id LIMIT 50";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let filled = Filled::open("lists").await;
        let text = std::fs::read_to_string(filled.settings.data_dir.join(CREDENTIALS)).unwrap();
        let [account, management_token, account_token] = text.lines().collect::<Vec<_>>().try_into().unwrap();
        served::serve(&filled.settings, async |address, _| {
            println!("<!-- figures: P11 -->");
            println!("{PAGE} a page. Each beside the first page by key in bare SQLite.\n");
            println!("| list of one account | page | median | p99 | bare: median | p99 | ratio of medians | of p99 |");
            println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
            let all = filled.service_tokens;
            let path = format!("/client/v4/accounts/{account}/access/service_tokens?per_page={PAGE}");
            let list = List::new(&filled, address, &path, management_token, SERVICE_TOKENS, account).await;
            let reached = list.measure(&format!("{all} service tokens"), &service_token_pages(all)).await;
            let all = filled.api_tokens;
            let path = format!("/api/v1/api_token?pagination[page_size]={PAGE}");
            let list = List::new(&filled, address, &path, account_token, API_TOKENS, account).await;
            list.measure(&format!("{all} API tokens"), &api_token_pages(all)).await;
            println!("<!-- end of figures: P11 -->");
            let mut exchanges = exchange(address, account_token).await;
            println!(
                "An exchange over HTTP without a list (`GET /api/v1/ping`): {:.3} ms, p99 {:.3} ms.",
                median(&mut exchanges),
                quantile(&mut exchanges, 0.99)
            );
            println!(
                "reached P11: first {:.2} ×, next {:.2} ×; any {:.2} × the first, at {} tokens",
                reached[0], reached[1], reached[2], filled.service_tokens
            );
        })
        .await;
    });
}

/// How many milliseconds requests take that read nothing.
async fn exchange(address: SocketAddr, token: &str) -> Vec<f64> {
    let mut client = Connection::open(address).await;
    let request = format!("GET /api/v1/ping HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\r\n");
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        client.send(&request).await;
        took.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    took
}

/// A way to ask for a page: its name, whether it may be slow, and the parameters of each round.
type Kind = (&'static str, bool, Box<dyn Fn(usize) -> String>);

fn service_token_pages(all: u64) -> [Kind; 6] {
    let any = move |_: usize| 1 + u64::from_le_bytes(Entropy::System.bytes()) % (all / PAGE);
    [
        ("first", false, Box::new(|_| "&page=1".to_owned())),
        ("next", false, Box::new(|round| format!("&page={}", round + 2))),
        ("last", false, Box::new(move |_| format!("&page={}", all / PAGE))),
        ("any", false, Box::new(move |round| format!("&page={}", any(round)))),
        ("one name", true, Box::new(|_| "&page=1&name=service+token+4711".to_owned())),
        ("a search", true, Box::new(|_| "&page=1&search=token+4711".to_owned())),
    ]
}

fn api_token_pages(all: u64) -> [Kind; 8] {
    let offset = |offset: u64| format!("&pagination[offset]={offset}");
    let any = move |_: usize| u64::from_le_bytes(Entropy::System.bytes()) % (all - PAGE);
    [
        ("first", false, Box::new(move |_| offset(0))),
        ("next", false, Box::new(move |round| offset((round as u64 + 1) * PAGE))),
        ("newest first", false, Box::new(|_| "&sorting=-id".to_owned())),
        ("last", false, Box::new(move |_| offset(all - PAGE))),
        ("any", false, Box::new(move |round| offset(any(round)))),
        ("by expiry", true, Box::new(|_| "&sorting=expires_at".to_owned())),
        ("by last use, newest first", true, Box::new(|_| "&sorting=-last_used_at".to_owned())),
        ("by status", true, Box::new(|_| "&sorting=status".to_owned())),
    ]
}

/// A list, and the two ways to a page of it.
struct List<'l> {
    client: Connection,
    path: &'l str,
    token: &'l str,
    bare: rusqlite::Connection,
    sql: &'static str,
    account: &'l str,
}

impl<'l> List<'l> {
    async fn new(
        filled: &Filled,
        address: SocketAddr,
        path: &'l str,
        token: &'l str,
        sql: &'static str,
        account: &'l str,
    ) -> Self {
        let Database::Sqlite(file) = &filled.settings.database else { panic!("the database is SQLite's") };
        let client = Connection::open(address).await;
        Self { client, path, token, bare: rusqlite::Connection::open(file).unwrap(), sql, account }
    }

    /// Prints a line for each kind of page. Returns the ratios of the first, the next and any page: those of p99 to the bare
    /// page, and of the last one's median to the first page's.
    async fn measure(mut self, list: &str, kinds: &[Kind]) -> [f64; 3] {
        let mut reached = [0.0; 3];
        let mut first = 0.0;
        for (kind, is_slow, parameters) in kinds {
            let rounds = if *is_slow { SLOW_ROUNDS } else { ROUNDS };
            let (mut ours, mut bares) = (Vec::new(), Vec::new());
            // What comes from the disk once is there for both.
            let once = self.page(&parameters(0)).await;
            self.read_bare();
            if *kind == "last" {
                println!("| {list} | last, before any far page | {once:.3} ms | | | | | |");
            }
            for round in 0..rounds {
                ours.push(self.page(&parameters(round)).await);
                bares.push(self.read_bare());
            }
            let (half, slowest) = (median(&mut ours), quantile(&mut ours, 0.99));
            let (bare_half, bare_slowest) = (median(&mut bares), quantile(&mut bares, 0.99));
            println!(
                "| {list} | {kind} | {half:.3} ms | {slowest:.3} ms | {bare_half:.3} ms | {bare_slowest:.3} ms | {:.2} | {:.2} |",
                half / bare_half,
                slowest / bare_slowest
            );
            match *kind {
                "first" => (first, reached[0]) = (half, slowest / bare_slowest),
                "next" => reached[1] = slowest / bare_slowest,
                "any" => reached[2] = half / first,
                _ => {}
            }
        }
        reached
    }

    /// Asks for a page, and returns how many milliseconds that took.
    async fn page(&mut self, parameters: &str) -> f64 {
        let Self { path, token, .. } = self;
        let request =
            format!("GET {path}{parameters} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\r\n");
        let begin = Instant::now();
        self.client.send(&request).await;
        begin.elapsed().as_secs_f64() * 1e3
    }

    /// Reads the first page, and returns how many milliseconds that took.
    fn read_bare(&self) -> f64 {
        let begin = Instant::now();
        let mut statement = self.bare.prepare_cached(self.sql).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([self.account, ""]).unwrap();
        let mut values = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            values.extend((0..columns).map(|column| row.get::<_, Value>(column).unwrap()));
        }
        assert_eq!(values.len() as u64, PAGE * columns as u64);
        begin.elapsed().as_secs_f64() * 1e3
    }
}
