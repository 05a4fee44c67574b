//! A running server, and connections to it.

use std::net::SocketAddr;

use countersign_server::config::Settings;
use countersign_server::lifecycle::Server;
use countersign_token::entropy::Entropy;
use countersign_token::time::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs a server on data that is there.
pub(crate) async fn serve(settings: &Settings, measure: impl AsyncFnOnce(SocketAddr, TaskTracker)) {
    let server = Server::start(settings, Clock::System, Entropy::System).await.unwrap();
    let address = server.listening()[0].url.strip_prefix("http://").unwrap().parse().unwrap();
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let running = tasks.spawn(server.run(stop.clone().cancelled_owned()));
    measure(address, tasks).await;
    stop.cancel();
    running.await.unwrap().unwrap();
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
