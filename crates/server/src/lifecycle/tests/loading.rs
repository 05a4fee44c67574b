//! What is answered before the index is loaded.

use super::*;

async fn send(address: std::net::SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await.unwrap();
    stream
}

/// An answer whose body has one line.
async fn receive(stream: &mut TcpStream) -> (u16, String) {
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") || answer.ends_with(b"\r\n") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "the connection ended");
    }
    parse(std::str::from_utf8(&answer).unwrap())
}

#[tokio::test]
async fn a_server_that_loads_lives_and_is_not_ready() {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let listener = http::Listener { tcp, tls: None, room: Room::new(8) };
    let load = async {
        let mut kept = send(address, "/livez").await;
        assert_eq!(receive(&mut kept).await, (200, "ok\n".to_owned()));
        for path in ["/readyz", "/client/v4/accounts", "/api/v1/api_token"] {
            let (status, body) = receive(&mut send(address, path).await).await;
            assert_eq!((status, body.starts_with("loading")), (503, true), "{path}");
        }
        kept
    };
    let mut kept = answering(&listener, load).await;
    // Whoever kept a connection has been sent away, and comes back to the server itself.
    assert_eq!(kept.read(&mut [0; 1]).await.unwrap(), 0);
    assert!(TcpStream::connect(address).await.is_ok());
}
