//! Connections to a server.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

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
