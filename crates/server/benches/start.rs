//! How long a server takes from its start until it is ready, beside the bare read of the same rows; and how much memory the
//! process then has.
//!
//! ```text
//! cargo bench -p countersign-server --bench start                1 million service tokens, 100 thousand API tokens
//! cargo bench -p countersign-server --bench start -- --tokens 10000000
//! ```
//!
//! Bare is SQLite's own library on one thread, which steps through every row and looks at every column that the server needs.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a benchmark is run by hand, and fails by panicking"
)]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures with the real clock")]

mod filled;
#[path = "harness/setup.rs"]
mod setup;

use std::time::Instant;

use countersign_server::lifecycle::Server;
use countersign_store::Database;
use countersign_token::entropy::Entropy;
use countersign_token::time::Clock;
use rusqlite::types::ValueRef;

use crate::filled::Filled;
use crate::setup::median;

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 3;

/// What the server reads of each row.
const TABLES: [&str; 2] = [
    "SELECT id, account_id, zone_id, client_id, name, duration, enabled, digest, secret_version, previous_digest, \
     previous_expires_at, previous_version, expires_at, last_seen_at, deleted_at, revision FROM service_token \
     LEFT JOIN service_token_use ON service_token_id = id AND version = secret_version WHERE +deleted_at IS NULL",
    "SELECT id, account_id, environment_id, digest, status, expires_at, last_used_at, ended_at, revision \
     FROM api_token LEFT JOIN api_token_seen ON api_token_id = id WHERE +deleted_at IS NULL AND ended_at IS NULL",
];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let filled = Filled::open("start").await;
    let (mut starts, mut bares, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let before = resident();
    // The file comes into memory, and up to date. Only now does the process have what a server has, and nothing of an
    // earlier start that the allocator keeps.
    let server = Server::start(&filled.settings, Clock::System, Entropy::System).await.unwrap();
    let memory = resident();
    drop(server);
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let server = Server::start(&filled.settings, Clock::System, Entropy::System).await.unwrap();
        let start = begin.elapsed().as_secs_f64();
        drop(server);
        let begin = Instant::now();
        read_bare(&filled);
        let bare = begin.elapsed().as_secs_f64();
        starts.push(start);
        bares.push(bare);
        ratios.push(start / bare);
    }
    let (start, bare, ratio) = (median(&mut starts), median(&mut bares), median(&mut ratios));
    let tokens = filled.service_tokens + filled.api_tokens;
    let each = memory.saturating_sub(before) / tokens;
    println!("start to ready {start:.2} s, bare read {bare:.2} s, ratio {ratio:.2}; resident {} MiB", memory >> 20);
    println!("<!-- figures: P12 -->");
    println!(
        "| service tokens | API tokens | start to ready | bare read | ratio | memory of the process, each token |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    println!(
        "| {} | {} | {start:.2} s | {bare:.2} s | {ratio:.2} | {each} bytes |",
        filled.service_tokens, filled.api_tokens
    );
    println!("<!-- end of figures: P12 -->");
    let millions = filled.service_tokens as f64 / 1e6;
    println!("reached P12: {ratio:.2} × at {millions} million tokens");
    println!("reached P3 process: {each} bytes at {millions} million");
}

/// Looks at every value.
fn read_bare(filled: &Filled) {
    let Database::Sqlite(path) = &filled.settings.database else { panic!("the database is SQLite's") };
    let connection = rusqlite::Connection::open(path).unwrap();
    let (mut rows_seen, mut bytes) = (0, 0);
    for sql in TABLES {
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            rows_seen += 1;
            for column in 0..columns {
                bytes += match row.get_ref(column).unwrap() {
                    ValueRef::Null => 0,
                    ValueRef::Integer(_) | ValueRef::Real(_) => 8,
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
                };
            }
        }
    }
    assert!(std::hint::black_box(bytes) > 0);
    assert_eq!(rows_seen, filled.service_tokens + filled.api_tokens);
}

/// The process's resident memory, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}
