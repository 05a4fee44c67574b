//! Pages of long lists over HTTP, beside a page by key in bare SQLite.
//!
//! ```text
//! cargo bench -p countersign-server --bench lists                1 million service tokens, 100 thousand API tokens
//! cargo bench -p countersign-server --bench lists -- --tokens 10000000
//! ```
//!
//! Bare is SQLite's own library in the same process: a prepared statement that starts at a key, and every value of its rows as
//! one of this program's own. It reads the same page; beside a filter, or an order without an index, the first. It is told
//! twice: as it is on the thread that wants the rows, and on a thread of its own that waits until it is asked, as a server
//! does. All sides take turns, so that the ratios hold while the machine's speed drifts.
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

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use countersign_store::Database;
use countersign_token::entropy::Entropy;
use rusqlite::types::Value;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::Runtime;

use crate::filled::{CREDENTIALS, Filled};
use crate::setup::{median, quantile};

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PAGE: u64 = 50;
/// Rounds of what takes part of a millisecond, and of what may take a second.
const ROUNDS: u64 = 1000;
const SLOW_ROUNDS: u64 = 8;

const SERVICE_TOKENS: &str = "SELECT id, account_id, zone_id, client_id, name, duration, enabled, secret_version, digest, \
     previous_digest, previous_expires_at, created_at, updated_at, expires_at, \
     (SELECT MAX(last_seen_at) FROM service_token_use WHERE service_token_id = id) FROM service_token \
     WHERE account_id = ?1 AND zone_id = '' AND deleted_at IS NULL AND id > ?2 ORDER BY id LIMIT 50";
const API_TOKENS: &str = "SELECT id, account_id, scope, environment_id, agent_id, agent_deployment_id, status, digest, \
     key_id, issued_at, expires_at, created_by, \
     (SELECT last_used_at FROM api_token_seen WHERE api_token_id = id), inserted_at, updated_at FROM api_token \
     WHERE account_id = ?1 AND deleted_at IS NULL AND id > ?2 ORDER BY id LIMIT 50";

fn main() {
    let all = sched_getaffinity(None).unwrap();
    let filled = Runtime::new().unwrap().block_on(Filled::open("lists"));
    println!("<!-- figures: P11 -->");
    println!("{PAGE} a page, each beside the same page by key in bare SQLite.\n");
    println!("Who asks, the server and bare SQLite on one core:\n");
    let on_one = measure(&filled, &one_of(&all), true);
    println!("\nOn all cores, wherever they come to run:\n");
    let on_all = measure(&filled, &all, false);
    println!("<!-- end of figures: P11 -->");
    println!(
        "reached P11: first {:.2} ×, next {:.2} × (on all cores {:.2} ×, {:.2} ×); any {:.2} × the first, at {} tokens",
        on_one[0], on_one[1], on_all[0], on_all[1], on_one[2], filled.service_tokens
    );
}

/// The last one of some cores.
fn one_of(all: &CpuSet) -> CpuSet {
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).rfind(|core| all.is_set(*core)).unwrap());
    one
}

/// Prints a table of what is measured on these cores; of what is slow only if it is wanted. Returns what [`List::measure`]
/// does of the service tokens.
fn measure(filled: &Filled, cores: &CpuSet, with_slow: bool) -> [f64; 3] {
    let text = std::fs::read_to_string(filled.settings.data_dir.join(CREDENTIALS)).unwrap();
    let [account, management_token, account_token] = text.lines().collect::<Vec<_>>().try_into().unwrap();
    let Database::Sqlite(file) = &filled.settings.database else { panic!("the database is SQLite's") };
    sched_setaffinity(None, cores).unwrap();
    let mut reached = [0.0; 3];
    // The server has threads of its own: this one may wait.
    Runtime::new().unwrap().block_on(served::serve(&filled.settings, async |address, _| {
        println!(
            "| list of one account | page | median | p99 | bare: median | p99 | ratio of p99 | bare, asked: median | p99 | ratio of p99 |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
        let all = filled.service_tokens;
        let path = format!("/client/v4/accounts/{account}/access/service_tokens?per_page={PAGE}");
        let bare = || Bare::open(file, SERVICE_TOKENS, account);
        let list = List::new(Client::open(address, &path, management_token), bare);
        reached = list.measure(&format!("{all} service tokens"), &service_token_pages(all), with_slow);
        let all = filled.api_tokens;
        let path = format!("/api/v1/api_token?pagination[page_size]={PAGE}");
        let bare = || Bare::open(file, API_TOKENS, account);
        let list = List::new(Client::open(address, &path, account_token), bare);
        list.measure(&format!("{all} API tokens"), &api_token_pages(all), with_slow);
        let mut exchanges = exchange(Client::open(address, "/api/v1/ping?", account_token));
        println!(
            "\nAn exchange over HTTP without a list (`GET /api/v1/ping`): {:.3} ms, p99 {:.3} ms.",
            median(&mut exchanges),
            quantile(&mut exchanges, 0.99)
        );
    }));
    reached
}

/// How many milliseconds something takes.
fn timed(job: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    job();
    begin.elapsed().as_secs_f64() * 1e3
}

/// How many milliseconds requests take that read nothing.
fn exchange(mut client: Client) -> Vec<f64> {
    (0..ROUNDS).map(|_| timed(|| client.get(""))).collect()
}

/// Which page to ask for.
enum Place {
    /// By its number, from 0.
    Number(u64),
    /// The first one of what these parameters say.
    Of(&'static str),
}

/// A way to ask for a page: its name, whether it may be slow, and the page of each round.
type Kind = (&'static str, bool, Box<dyn Fn(u64) -> Place>);

/// Pages in the order of the ids.
fn pages_by_number(all: u64) -> [Kind; 4] {
    let pages = all / PAGE;
    let random = move || u64::from_le_bytes(Entropy::System.bytes()) % pages;
    [
        ("first", false, Box::new(|_| Place::Number(0))),
        ("next", false, Box::new(|round| Place::Number(round + 1))),
        ("last", false, Box::new(move |_| Place::Number(pages - 1))),
        ("any", false, Box::new(move |_| Place::Number(random()))),
    ]
}

fn service_token_pages(all: u64) -> Vec<Kind> {
    let mut kinds = Vec::from(pages_by_number(all));
    kinds.push(("one name", true, Box::new(|_| Place::Of("&name=service+token+4711"))));
    kinds.push(("a search", true, Box::new(|_| Place::Of("&search=token+4711"))));
    kinds
}

fn api_token_pages(all: u64) -> Vec<Kind> {
    let mut kinds = Vec::from(pages_by_number(all));
    kinds.push(("newest first", false, Box::new(|_| Place::Of("&sorting=-id"))));
    kinds.push(("by expiry", true, Box::new(|_| Place::Of("&sorting=expires_at"))));
    kinds.push(("by last use, newest first", true, Box::new(|_| Place::Of("&sorting=-last_used_at"))));
    kinds.push(("by status", true, Box::new(|_| Place::Of("&sorting=status"))));
    kinds
}

/// A list, and the ways to a page of it.
struct List {
    client: Client,
    bare: Bare,
    asked: Asked,
    /// The last id before each page.
    keys: Vec<Arc<str>>,
}

impl List {
    fn new(client: Client, bare: impl Fn() -> Bare) -> Self {
        let (bare, asked) = (bare(), Asked::new(bare()));
        let keys = bare.keys();
        Self { client, bare, asked, keys }
    }

    /// Prints a line for each kind of page. Returns the ratios of the first, the next and any page: those of p99 to the bare
    /// page, and of the last one's median to the first page's.
    fn measure(mut self, list: &str, kinds: &[Kind], with_slow: bool) -> [f64; 3] {
        let mut reached = [0.0; 3];
        let mut first = 0.0;
        for (kind, is_slow, place) in kinds.iter().filter(|(_, is_slow, _)| with_slow || !is_slow) {
            let rounds = if *is_slow { SLOW_ROUNDS } else { ROUNDS };
            // What comes from the disk once is there for all.
            let once = self.round(&place(0), 0)[0];
            if *kind == "last" {
                println!("| {list} | last, before any far page | {once:.3} ms | | | | | | | |");
            }
            let mut took = [Vec::new(), Vec::new(), Vec::new()];
            for round in 0..rounds {
                for (took, now) in took.iter_mut().zip(self.round(&place(round), round)) {
                    took.push(now);
                }
            }
            let [ours, bare, asked] = took.map(|mut took| (median(&mut took), quantile(&mut took, 0.99)));
            println!(
                "| {list} | {kind} | {:.3} ms | {:.3} ms | {:.3} ms | {:.3} ms | {:.2} | {:.3} ms | {:.3} ms | {:.2} |",
                ours.0,
                ours.1,
                bare.0,
                bare.1,
                ours.1 / bare.1,
                asked.0,
                asked.1,
                ours.1 / asked.1
            );
            match *kind {
                "first" => (first, reached[0]) = (ours.0, ours.1 / bare.1),
                "next" => reached[1] = ours.1 / bare.1,
                "any" => reached[2] = ours.0 / first,
                _ => {}
            }
        }
        reached
    }

    /// Reads a page in each way, and returns how many milliseconds each took. Who is the first changes from round to round:
    /// it may have to wait for the disk.
    fn round(&mut self, place: &Place, round: u64) -> [f64; 3] {
        let (parameters, key) = match place {
            Place::Number(page) => (self.client.page(*page), &self.keys[*page as usize]),
            Place::Of(parameters) => ((*parameters).to_owned(), &self.keys[0]),
        };
        let mut took = [0.0; 3];
        for way in (0..3).map(|way| (way + round as usize) % 3) {
            took[way] = timed(|| match way {
                0 => self.client.get(&parameters),
                1 => self.bare.read(key),
                _ => self.asked.read(key),
            });
        }
        took
    }
}

/// Bare SQLite.
struct Bare {
    connection: rusqlite::Connection,
    sql: &'static str,
    account: String,
}

impl Bare {
    fn open(file: &PathBuf, sql: &'static str, account: &str) -> Self {
        Self { connection: rusqlite::Connection::open(file).unwrap(), sql, account: account.to_owned() }
    }

    /// Reads a page: what comes after a key.
    fn read(&self, key: &str) {
        let mut statement = self.connection.prepare_cached(self.sql).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([&self.account, key]).unwrap();
        let mut values = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            values.extend((0..columns).map(|column| row.get::<_, Value>(column).unwrap()));
        }
        assert_eq!(values.len() as u64, PAGE * columns as u64);
    }

    /// The last id before each page.
    fn keys(&self) -> Vec<Arc<str>> {
        let (_, from) = self.sql.rsplit_once(" FROM ").unwrap();
        let from = from.strip_suffix("LIMIT 50").unwrap();
        let mut statement = self.connection.prepare(&format!("SELECT id FROM {from}")).unwrap();
        let mut rows = statement.query([&self.account, ""]).unwrap();
        let mut keys = vec![Arc::from("")];
        let mut read = 0;
        while let Some(row) = rows.next().unwrap() {
            read += 1;
            if read % PAGE == 0 {
                keys.push(row.get(0).unwrap());
            }
        }
        keys
    }
}

/// Bare SQLite on a thread that waits until it is asked.
struct Asked {
    keys: Sender<Arc<str>>,
    done: Receiver<()>,
}

impl Asked {
    fn new(bare: Bare) -> Self {
        let ((keys, asked), (answers, done)) = (channel::<Arc<str>>(), channel());
        std::thread::spawn(move || {
            for key in asked {
                bare.read(&key);
                answers.send(()).unwrap();
            }
        });
        Self { keys, done }
    }

    fn read(&self, key: &Arc<str>) {
        self.keys.send(Arc::clone(key)).unwrap();
        self.done.recv().unwrap();
    }
}

/// One kept connection to the server, which asks for one thing after the other.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    path: String,
    token: String,
}

impl Client {
    fn open(address: SocketAddr, path: &str, token: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: vec![0; 1 << 20], path: path.to_owned(), token: token.to_owned() }
    }

    /// The parameters that ask for a page, by its number from 0, in the list's dialect.
    fn page(&self, page: u64) -> String {
        if self.path.starts_with("/client/") {
            format!("&page={}", page + 1)
        } else {
            format!("&pagination[offset]={}", page * PAGE)
        }
    }

    /// Asks, and waits for the whole answer, which must be a success.
    fn get(&mut self, parameters: &str) {
        let Self { stream, buffer, path, token } = self;
        let request =
            format!("GET {path}{parameters} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let (mut length, mut end) = (0, None);
        while end.is_none_or(|end| length < end) {
            let read = stream.read(&mut buffer[length..]).unwrap();
            assert!(read > 0, "the server closed the connection");
            length += read;
            end = end.or_else(|| end_of(&buffer[..length]));
        }
        assert!(buffer.starts_with(b"HTTP/1.1 20"), "{}", String::from_utf8_lossy(&buffer[..length]));
    }
}

/// Where an answer ends; `None` until its head is there.
fn end_of(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&answer[..head]).unwrap();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    Some(head + 4 + length.parse::<usize>().unwrap())
}
