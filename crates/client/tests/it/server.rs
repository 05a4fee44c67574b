//! A server that answers what it is told to.

use countersign_client::Credential;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Runs `call` against a server with these answers, and returns its outcome and what was asked. The server answers one
/// connection after the other; an answer of `None` drops the connection.
pub(crate) async fn against<T>(
    answers: Vec<Option<String>>,
    call: impl AsyncFnOnce(&str, &Credential) -> T,
) -> (T, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let credential = Credential::bearer("csat_caller");
    let (asked, outcome) = tokio::join!(answer(listener, answers), call(&address, &credential));
    (outcome, asked)
}

async fn answer(listener: TcpListener, answers: Vec<Option<String>>) -> Vec<String> {
    let mut asked = Vec::new();
    for body in answers {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !complete(&request) {
            let mut chunk = [0; 4096];
            let read = stream.read(&mut chunk).await.unwrap();
            assert!(read > 0, "the request ended early");
            request.extend_from_slice(&chunk[..read]);
        }
        asked.push(String::from_utf8(request).unwrap());
        if let Some(answer) = body {
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }
    // Whoever asks again is heard: the test would see it.
    assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(listener.poll_accept(cx).is_pending())).await);
    asked
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

/// An answer on the wire.
pub(crate) fn http(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\nx-request-id: r1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
