//! HTTP by hand: a client that is not afraid of breaking a connection.

use std::net::SocketAddr;

use countersign_server::token::time::{Clock, Timestamp};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::PATIENCE;

/// A kept connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    used_at: Timestamp,
}

/// An answer, and between which times it was given.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
    pub(crate) asked_at: Timestamp,
    pub(crate) answered_at: Timestamp,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().filter_map(|line| line.split_once(": ")).find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Result<Value, String> {
        serde_json::from_str(&self.body).map_err(|error| format!("{error}: {}", self.body))
    }
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, String> {
        let opening = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await;
        let stream = opening.map_err(|_| "nobody took the connection")?.map_err(|error| format!("connect: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Self { stream, buffer: Vec::with_capacity(1 << 12), used_at: Clock::System.now() })
    }

    /// Whether the server may close it soon, or has closed it, for want of requests.
    pub(crate) fn is_old(&self) -> bool {
        Clock::System.now() > self.used_at.saturating_add_micros(5_000_000)
    }

    /// Sends one request, and waits for the whole answer.
    pub(crate) async fn send(&mut self, request: &str) -> Result<Answer, String> {
        let asked_at = Clock::System.now();
        let answering = tokio::time::timeout(PATIENCE, self.exchange(request)).await;
        let (status, head, body) = answering.map_err(|_| format!("no answer in {PATIENCE:?}"))??;
        self.used_at = Clock::System.now();
        Ok(Answer { status, head, body, asked_at, answered_at: self.used_at })
    }

    async fn exchange(&mut self, request: &str) -> Result<(u16, String, String), String> {
        self.stream.write_all(request.as_bytes()).await.map_err(|error| format!("write: {error}"))?;
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await.map_err(|error| format!("read: {error}"))?;
            let text = String::from_utf8_lossy(&self.buffer);
            if read == 0 {
                return Err(format!("the connection ended within an answer: {text:?}"));
            }
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|length| length.parse().ok()).ok_or("no content-length")?;
            if body.len() >= length {
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no status")?;
                return Ok((status, head.to_owned(), body.to_owned()));
            }
        }
    }
}

/// A request as it goes over the wire. `headers` are whole lines.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nhost: soak\r\n{headers}content-length: {length}\r\n\r\n{body}")
}
