//! Durable creates over HTTP beside a loop of `fdatasync` on the same disk.
//!
//! Every create is a token row and an audit event, acknowledged after the commit (`synchronous=FULL`) and after this
//! node has applied it. The two sides take turns, so that the ratio holds while the machine's speed drifts.
//!
//! ```text
//! cargo bench -p countersign-server --bench creates              SQLite in a temporary directory below target/
//! cargo bench -p countersign-server --bench creates -- --database-url postgres://…
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark is run by hand, and fails by panicking"
)]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures with the real clock")]

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use countersign_server::config::{Overrides, Settings};
use countersign_server::lifecycle::{Server, create_store};
use countersign_server::ops::{NewInstallation, Ops};
use countersign_token::entropy::Entropy;
use countersign_token::time::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
const PAGE: usize = 4096;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let database_url = match arguments.next().as_deref() {
        Some("--database-url") => Some(arguments.next().expect("--database-url takes a URL")),
        Some(other) => panic_usage(other),
        None => None,
    };
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-creates");
    drop(std::fs::remove_dir_all(&scratch));
    std::fs::create_dir_all(&scratch).unwrap();
    let settings = Settings::load(
        Overrides {
            data_dir: Some(scratch.join("data")),
            database_url,
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            gate_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            ..Overrides::default()
        },
        None,
        &|_| None,
    )
    .unwrap();

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&settings, &scratch));
    drop(std::fs::remove_dir_all(&scratch));
}

fn panic_usage(argument: &str) -> ! {
    println!("unknown argument {argument}; usage: creates [--database-url URL]");
    std::process::exit(2)
}

async fn measure(settings: &Settings, scratch: &Path) {
    let (account, token) = initialise(settings).await;
    let server = Server::start(settings, Clock::System, Entropy::System).await.unwrap();
    let address: SocketAddr = server.listening()[0].url.strip_prefix("http://").unwrap().parse().unwrap();
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let running = tasks.spawn(server.run(stop.clone().cancelled_owned()));

    println!("machine: {} cores, {}", std::thread::available_parallelism().unwrap(), cpu());
    println!("store:   {}", settings.database);
    let request = format!(
        "POST /client/v4/accounts/{account}/access/service_tokens HTTP/1.1\r\nhost: bench\r\n\
         authorization: Bearer {token}\r\ncontent-length: 16\r\n\r\n{{\"name\":\"bench\"}}"
    );
    for clients in [1, 64] {
        let mut syncs = Vec::new();
        let mut creates = Vec::new();
        for _ in 0..ROUNDS {
            syncs.push(fdatasync_rate(scratch));
            creates.push(create_rate(&tasks, address, &request, clients).await);
        }
        let mut ratios: Vec<f64> = creates.iter().zip(&syncs).map(|(creates, syncs)| creates / syncs).collect();
        println!(
            "{clients:>3} clients: {:>7.0} creates/s beside {:>6.0} fdatasync/s, ratio {:.2}  (medians of {ROUNDS} rounds)",
            median(&mut creates),
            median(&mut syncs),
            median(&mut ratios),
        );
    }
    stop.cancel();
    running.await.unwrap().unwrap();
}

async fn initialise(settings: &Settings) -> (String, String) {
    let opened = create_store(settings, &Entropy::System).await.unwrap();
    let tasks = TaskTracker::new();
    let writer = tasks.spawn(opened.writer.run());
    let ops = Ops::outside(opened.store, opened.key, Clock::System, Entropy::System);
    let new = NewInstallation { email: "bench@example.com".to_owned(), zone_name: "example.com".to_owned() };
    let made = ops.initialise(&new).await.unwrap();
    drop(ops);
    writer.await.unwrap();
    (made.account.id.to_string(), made.api_token.expose().to_owned())
}

/// How often a page can be appended to a file and made durable, a second.
fn fdatasync_rate(scratch: &Path) -> f64 {
    let mut file = File::create(scratch.join("fdatasync")).unwrap();
    let page = [0x5a; PAGE];
    let begin = Instant::now();
    let mut count = 0u32;
    while begin.elapsed() < ROUND {
        file.write_all(&page).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}

async fn create_rate(tasks: &TaskTracker, address: SocketAddr, request: &str, clients: usize) -> f64 {
    let begin = Instant::now();
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            let request = request.to_owned();
            tasks.spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let mut count = 0u32;
                let mut buffer = Vec::with_capacity(4096);
                while begin.elapsed() < ROUND {
                    stream.write_all(request.as_bytes()).await.unwrap();
                    read_answer(&mut stream, &mut buffer).await;
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

async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) {
    buffer.clear();
    loop {
        assert!(stream.read_buf(buffer).await.unwrap() > 0, "the server closed the connection");
        let text = std::str::from_utf8(buffer).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with("HTTP/1.1 201"), "{text}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() >= length.parse::<usize>().unwrap() {
            return;
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    model.trim_start_matches(['\t', ' ', ':']).to_owned()
}
