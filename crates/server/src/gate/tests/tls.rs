//! The gate over TLS, and over HTTP/2.

use std::sync::Arc;

use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::world::{Client, ServiceToken, World, get, pair};
use crate::tls::Tls;
use crate::tls::tests::{Authority, shown};

/// Asks over HTTP/2, several requests at once on one connection.
async fn ask_http2<I>(world: &World, io: I, token: &ServiceToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    let asks = async {
        let ask = |secret: &str| {
            let request = Request::get(format!("http://gate/verify?{}", world.demand()))
                .header("cf-access-client-id", token.client_id.to_string())
                .header("cf-access-client-secret", secret)
                .body(Empty::<Bytes>::new())
                .unwrap();
            sender.clone().send_request(request)
        };
        let (good, wrong) = tokio::join!(ask(token.secret.expose()), ask("wrong"));
        let good = good.unwrap();
        assert_eq!(good.status(), StatusCode::OK);
        assert_eq!(good.headers()["countersign-kind"], "service_token");
        assert_eq!(wrong.unwrap().status(), StatusCode::UNAUTHORIZED);
        // The connection is whole, and the server's end ends it.
        world.stop.request();
    };
    let (ended, ()) = tokio::join!(connection, asks);
    ended.unwrap();
}

#[tokio::test]
async fn both_protocols_answer_over_tls() {
    let authority = Authority::new();
    let world = World::with_tls(Tls::load(&authority.files()).unwrap()).await;
    let token = world.account_token();
    for protocols in [&[][..], &["http/1.1"], &["unheard-of", "http/1.1"]] {
        let stream = authority.client(None, protocols).connect(&world.address()).await.unwrap();
        let mut client = Client::new(stream);
        for _ in 0..3 {
            assert_eq!(client.ask(&get(&world.demand(), &pair(&token))).await.status, 200);
        }
    }
    authority.client(None, &["unheard-of"]).connect(&world.address()).await.expect_err("nothing to speak");

    let stream = authority.client(None, &["h2", "http/1.1"]).connect(&world.address()).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    ask_http2(&world, stream, &token).await;
}

#[tokio::test]
async fn http2_is_spoken_without_tls_to_those_who_begin_so() {
    let world = World::new().await;
    let token = world.account_token();
    let stream = TcpStream::connect(world.address()).await.unwrap();
    ask_http2(&world, stream, &token).await;
    world.threads.join().await.unwrap();
}

#[tokio::test]
async fn a_preface_is_no_way_around_the_rest() {
    let world = World::new().await;
    let token = world.account_token();
    for garbage in
        ["PRI * HTTP/2.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame at all", "PRI * HTTP/3.0\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(world.address()).await.unwrap();
        stream.write_all(garbage.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        // Whatever it is told, it is told no more, and somebody else is answered.
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(world.ask(&world.demand(), &pair(&token)).await.status, 200, "{garbage:?}");
    }
    assert_eq!(world.tallies.answers("service_token"), 3);
}

#[tokio::test]
async fn clients_show_a_certificate_where_one_is_demanded() {
    let (authority, proxies) = (Authority::new(), Authority::new());
    let mut files = authority.files();
    files.client_ca = Some(proxies.file());
    let world = World::with_tls(Tls::load(&files).unwrap()).await;
    let token = world.account_token();
    let request = get(&world.demand(), &pair(&token));

    let (known, unknown) = (proxies.certify(), authority.certify());
    let stream = authority.client(Some(&known), &[]).connect(&world.address()).await.unwrap();
    assert_eq!(Client::new(stream).ask(&request).await.status, 200);

    for identity in [None, Some(&unknown)] {
        // In TLS 1.3 a client learns what became of its certificate with the first answer.
        let asked = async {
            let mut stream = authority.client(identity, &[]).connect(&world.address()).await?;
            stream.write_all(request.as_bytes()).await?;
            stream.read_exact(&mut [0; 1]).await
        };
        asked.await.expect_err("it is not one of the proxies");
    }
    assert_eq!(world.tallies.answers("service_token"), 1, "nobody else was judged at all");
}

#[tokio::test]
async fn slow_and_senseless_handshakes_hold_nobody_up() {
    let authority = Authority::new();
    let world = World::with_tls(Tls::load(&authority.files()).unwrap()).await;
    let token = world.account_token();
    let request = get(&world.demand(), &pair(&token));
    let mut silent = Vec::new();
    for number in 0..100_u8 {
        let mut stream = TcpStream::connect(world.address()).await.unwrap();
        // Nothing, the beginning of a greeting, or one that promises more than it brings.
        stream.write_all(&[0x16, 3, 1, 2, 0, 1][..usize::from(number % 7).min(6)]).await.unwrap();
        silent.push(stream);
        let mut garbage = TcpStream::connect(world.address()).await.unwrap();
        garbage.write_all(&[number; 64]).await.unwrap();
        garbage.write_all(b"GET /verify HTTP/1.1\r\n\r\n").await.ok();
        silent.push(garbage);
    }
    // There is one thread, and it is not waiting for any of them.
    let stream = authority.client(None, &[]).connect(&world.address()).await.unwrap();
    assert_eq!(Client::new(stream).ask(&request).await.status, 200);
}

#[tokio::test]
async fn a_certificate_is_replaced_under_load() {
    let authority = Authority::new();
    let files = authority.files();
    let tls = Arc::new(Tls::load(&files).unwrap());
    let world = World::with_shared_tls(Arc::clone(&tls)).await;
    let token = world.account_token();
    let request = get(&world.demand(), &pair(&token));
    let connect = async || {
        let stream = authority.client(None, &[]).connect(&world.address()).await.unwrap();
        let certificate = shown(&stream);
        (certificate, Client::new(stream))
    };
    let (mut current, first) = connect().await;
    let mut clients = vec![first];
    for _ in 0..5 {
        let renewed = authority.renew();
        let (certificate, client) = connect().await;
        assert_eq!(certificate, current);
        clients.push(client);
        tls.reload(&files).unwrap();
        current = renewed;
        let (certificate, client) = connect().await;
        assert_eq!(certificate, current);
        clients.push(client);
        for client in &mut clients {
            client.send(&request).await;
        }
        for client in &mut clients {
            assert_eq!(client.answer().await.unwrap().status, 200, "old connections go on");
        }
    }
}
