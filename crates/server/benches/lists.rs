//! Pages of a long list of API tokens, each beside the first page of the same list.
//!
//! ```text
//! cargo bench -p countersign-server --bench lists                SQLite in a temporary directory below target/
//! cargo bench -p countersign-server --bench lists -- --database-url postgres://…
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

use std::time::Instant;

use crate::harness::{Bench, Connection, median, quantile};

const TOKENS: usize = 100_000;
const CLIENTS: usize = 64;
const PAGE: usize = 50;
const ROUNDS: usize = 30;

fn main() {
    harness::run("lists", measure);
}

async fn measure(bench: &Bench) {
    fill(bench).await;
    let list = |parameters: &str| format!("/api/v1/api_token?pagination[page_size]={PAGE}{parameters}");
    let page = |offset: usize| list(&format!("&pagination[offset]={offset}"));
    let kinds = [
        ("first page", page(0)),
        ("page in the middle", page(TOKENS / 2)),
        ("last page", page(TOKENS - PAGE)),
        ("newest first", list("&sorting=-id")),
        ("by expiry", list("&sorting=expires_at")),
        ("by last use, newest first", list("&sorting=-last_used_at")),
    ];
    let mut connection = Connection::open(bench.address).await;
    let mut times = vec![Vec::new(); kinds.len()];
    for _ in 0..ROUNDS {
        for ((_, path), times) in kinds.iter().zip(&mut times) {
            let request = request("GET", path, bench.made.account_token.expose(), "");
            let begin = Instant::now();
            connection.send(&request).await;
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
    }
    println!("{TOKENS} API tokens in one account, {PAGE} a page, {ROUNDS} rounds in turns");
    let first = median(&mut times[0]);
    for ((kind, _), mut times) in kinds.iter().zip(times) {
        let half = median(&mut times);
        println!(
            "{kind:<26}: median {half:>7.2} ms, p99 {:>7.2} ms, {:>6.2} × the first page",
            quantile(&mut times, 0.99),
            half / first
        );
    }
}

/// Creates the tokens as clients do, many at once.
async fn fill(bench: &Bench) {
    let body = r#"{"details":{"token_scope":"account"}}"#;
    let request = request("POST", "/api/v1/api_token", bench.made.account_token.expose(), body);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (request, address) = (request.clone(), bench.address);
            bench.tasks.spawn(async move {
                let mut connection = Connection::open(address).await;
                for _ in 0..(TOKENS - 1 - client).div_ceil(CLIENTS) {
                    connection.send(&request).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
}

fn request(method: &str, path: &str, token: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
