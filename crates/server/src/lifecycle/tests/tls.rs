//! The management API over TLS and over HTTP/2, and certificates that are replaced.

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use super::*;
use crate::tls::tests::{Authority, shown};

async fn ask_http2<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: I, path: &str) -> (u16, String) {
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    let request = Request::get(format!("https://h{path}")).body(Empty::<Bytes>::new()).unwrap();
    let ask = async {
        let answer = sender.send_request(request).await.unwrap();
        drop(sender);
        let status = answer.status().as_u16();
        (status, answer.into_body().collect().await.unwrap().to_bytes())
    };
    let (ended, (status, body)) = tokio::join!(connection, ask);
    ended.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

pub(super) async fn ask_http1(mut io: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    parse(&answer)
}

#[tokio::test]
async fn both_listeners_speak_both_protocols_over_tls() {
    let (mut home, _) = Home::new().await;
    let (management, gate) = (Authority::new(), Authority::new());
    home.settings.tls = Some(management.files());
    home.settings.gate_tls = Some(gate.files());
    let serving = home.serve().await;
    for (name, authority) in [("management", &management), ("gate", &gate)] {
        let url = &serving.listening.iter().find(|listening| listening.name == name).unwrap().url;
        assert!(url.starts_with("https://127.0.0.1:"), "{url}");
        let address = serving.address(name);
        let stream = authority.client(None, &["h2", "http/1.1"]).connect(address).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(ask_http2(stream, "/readyz").await.0, 200, "{name}");
        let stream = authority.client(None, &["http/1.1"]).connect(address).await.unwrap();
        assert_eq!(ask_http1(stream, "/readyz").await.0, 200, "{name}");
        // Who speaks without TLS hears nothing of what is served.
        let mut plain = TcpStream::connect(address).await.unwrap();
        plain.write_all(b"GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        plain.read_to_end(&mut answer).await.ok();
        assert!(!answer.windows(4).any(|bytes| bytes == b"HTTP"), "{answer:?}");
    }
    management.client(None, &[]).connect(serving.address("gate")).await.expect_err("each has its own certificate");
    serving.end().await.unwrap();
}

#[tokio::test]
async fn the_management_api_speaks_http2_without_tls() {
    let (home, _) = Home::new().await;
    let serving = home.serve().await;
    let stream = TcpStream::connect(serving.address("management")).await.unwrap();
    let (status, body) = ask_http2(stream, "/user").await;
    assert_eq!(status, 400);
    assert!(body.contains("9106"), "{body}");
    serving.end().await.unwrap();
}

#[tokio::test]
async fn certificates_are_read_again() {
    let (mut home, _) = Home::new().await;
    let authority = Authority::new();
    home.settings.tls = Some(authority.files());
    let server = home.start().await.unwrap();
    let certificates = server.certificates();
    let serving = Serving::of(server);
    let client = authority.client(None, &["http/1.1"]);
    let connect = || client.connect(serving.address("management"));

    let old = connect().await.unwrap();
    let before = shown(&old);
    let renewed = authority.renew();
    certificates.reload(&home.settings);
    let new = connect().await.unwrap();
    assert_eq!(shown(&new), renewed);
    assert_ne!(before, renewed);
    for stream in [old, new] {
        assert_eq!(ask_http1(stream, "/livez").await.0, 200, "each goes on with its own");
    }

    std::fs::write(authority.files().certificate, "garbage").unwrap();
    certificates.reload(&home.settings);
    home.settings.tls = None;
    certificates.reload(&home.settings);
    assert_eq!(shown(&connect().await.unwrap()), renewed, "what can't be done changes nothing");
    serving.end().await.unwrap();
}

#[tokio::test]
async fn a_server_without_a_good_certificate_does_not_start() {
    let (mut home, _) = Home::new().await;
    let authority = Authority::new();
    let mut files = authority.files();
    files.key = "/nowhere/key.pem".into();
    home.settings.gate_tls = Some(files);
    let message = format!("{:#}", home.start().await.expect_err("there is no key"));
    assert!(
        message.starts_with("cannot serve TLS for the gate: ") && message.contains("/nowhere/key.pem"),
        "{message}"
    );
}
