//! What the benchmarks over HTTP share: a server on fresh data, connections to it, and how figures are told.

use std::net::SocketAddr;
use std::path::Path;

use countersign_server::config::{Overrides, Settings};
use countersign_server::lifecycle::{Server, create_store};
use countersign_server::ops::{Initialised, NewInstallation, Ops};
use countersign_token::entropy::Entropy;
use countersign_token::time::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs a benchmark on a server with fresh data in a scratch directory below `target`. Its one argument is
/// `--database-url URL`; without it the database is SQLite's.
pub(crate) fn run(name: &str, measure: impl AsyncFnOnce(&Bench)) {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let database_url = match arguments.next().as_deref() {
        Some("--database-url") => Some(arguments.next().expect("--database-url takes a URL")),
        Some(other) => {
            println!("unknown argument {other}; usage: {name} [--database-url URL]");
            std::process::exit(2)
        }
        None => None,
    };
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{name}"));
    drop(std::fs::remove_dir_all(&scratch));
    std::fs::create_dir_all(&scratch).unwrap();
    let any_port = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let overrides = Overrides {
        data_dir: Some(scratch.join("data")),
        database_url,
        listen: any_port,
        gate_listen: any_port,
        ..Overrides::default()
    };
    let settings = Settings::load(overrides, None, &|_| None).unwrap();
    println!("machine: {} cores, {}", std::thread::available_parallelism().unwrap(), cpu());
    println!("store:   {}", settings.database);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let made = initialise(&settings).await;
        let server = Server::start(&settings, Clock::System, Entropy::System).await.unwrap();
        let address = server.listening()[0].url.strip_prefix("http://").unwrap().parse().unwrap();
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let running = tasks.spawn(server.run(stop.clone().cancelled_owned()));
        measure(&Bench { made, address, tasks }).await;
        stop.cancel();
        running.await.unwrap().unwrap();
    });
    drop(std::fs::remove_dir_all(&scratch));
}

/// A running server, and what is needed to call it.
pub(crate) struct Bench {
    pub(crate) made: Initialised,
    pub(crate) address: SocketAddr,
    pub(crate) tasks: TaskTracker,
}

async fn initialise(settings: &Settings) -> Initialised {
    let opened = create_store(settings, &Entropy::System).await.unwrap();
    let tasks = TaskTracker::new();
    let writer = tasks.spawn(opened.writer.run());
    let ops = Ops::outside(opened.store, opened.key, Clock::System, Entropy::System);
    let new = NewInstallation { email: "bench@example.com".to_owned(), zone_name: "example.com".to_owned() };
    let made = ops.initialise(&new).await.unwrap();
    drop(ops);
    writer.await.unwrap();
    made
}

/// One kept connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::with_capacity(1 << 16) }
    }

    /// Sends a request, and returns the body of its answer, which must be a success.
    pub(crate) async fn send(&mut self, request: &str) -> &str {
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.buffer.clear();
        let (body, end) = loop {
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "the server closed the connection");
            let text = std::str::from_utf8(&self.buffer).unwrap_or_default();
            let Some(body) = text.find("\r\n\r\n").map(|end| end + 4) else { continue };
            assert!(text.starts_with("HTTP/1.1 20"), "{text}");
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let end = body + length.parse::<usize>().unwrap();
            if text.len() >= end {
                break (body, end);
            }
        };
        std::str::from_utf8(&self.buffer[body..end]).unwrap()
    }
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which `part` of the values lie.
pub(crate) fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = ((values.len() - 1) as f64 * part).round() as usize;
    values[index]
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    model.trim_start_matches(['\t', ' ', ':']).to_owned()
}
