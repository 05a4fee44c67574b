//! Clients by the thousand, and clients that mean no good. Everybody else is answered all the same.

use std::num::NonZeroU32;

use axum::body::Body;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// A management listener with one route, `/`, that answers with `size` bytes.
struct Small {
    address: std::net::SocketAddr,
    stop: Stop,
    tasks: Tasks,
}

impl Small {
    async fn new(options: http::Options, connections: usize, size: usize) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let listener = http::Listener { tcp, tls: None, room: Room::new(connections) };
        let body = Bytes::from(vec![b'x'; size]);
        let router = Router::new().route("/", axum::routing::get(async || Body::from(body)));
        let (stop, mut tasks) = (Stop::default(), Tasks::default());
        tasks.spawn(MANAGEMENT, http::serve(listener, router, options, stop.clone(), Counter::default()));
        Self { address, stop, tasks }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn end(mut self) {
        self.stop.request();
        self.tasks.finish(MANAGEMENT, FINISH_TIMEOUT).await.unwrap();
    }
}

/// Sends a request, and waits for the beginning of the answer.
async fn is_answered(stream: &mut TcpStream) {
    stream.write_all(GET).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
}

#[tokio::test]
async fn thousands_of_idle_connections_hold_nobody_up() {
    const IDLE: usize = 2000;
    descriptors::raise_limit();
    let (home, made) = Home::new().await;
    let serving = home.serve().await;
    let verify = create_and_verify(&serving, &made).await;
    let mut idle = Vec::with_capacity(2 * IDLE);
    for name in ["management", "gate"] {
        for number in 0..IDLE {
            let mut stream = TcpStream::connect(serving.address(name)).await.unwrap();
            // Some say nothing, some begin.
            if number % 2 == 0 {
                stream.write_all(b"GET /livez HT").await.unwrap();
            }
            idle.push(stream);
        }
    }
    assert_eq!(serving.ask("gate", &verify).await.0, 200);
    create_and_verify(&serving, &made).await;
    drop(idle);
    serving.end().await.unwrap();
}

#[tokio::test]
async fn without_room_connections_wait_for_those_before_them() {
    let small = Small::new(CONNECTION, 2, 0).await;
    let (mut first, mut second) = (small.connect().await, small.connect().await);
    is_answered(&mut first).await;
    is_answered(&mut second).await;
    let mut third = small.connect().await;
    third.write_all(GET).await.unwrap();
    // Both others are still served, and the third is not refused.
    first.read_exact(&mut [0; 5]).await.unwrap();
    drop(first);
    let mut start = [0; 12];
    third.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    small.end().await;
}

#[tokio::test]
async fn whoever_does_not_read_is_cut_off() {
    let options = http::Options { write_timeout: Duration::from_millis(50), ..CONNECTION };
    // More than the sockets' buffers take; and there is room for one.
    let small = Small::new(options, 1, 64 << 20).await;
    let mut greedy = small.connect().await;
    is_answered(&mut greedy).await;
    is_answered(&mut small.connect().await).await;
    small.end().await;
}

#[tokio::test]
async fn whoever_asks_and_asks_and_reads_nothing_is_cut_off() {
    let options = http::Options { write_timeout: Duration::from_millis(50), ..CONNECTION };
    let small = Small::new(options, 1, 1 << 10).await;
    let mut greedy = small.connect().await;
    // It ends when the server has had enough: then nothing more can be sent.
    while greedy.write_all(&GET.repeat(1000)).await.is_ok() {}
    is_answered(&mut small.connect().await).await;
    small.end().await;
}

#[tokio::test]
async fn an_idle_connection_of_http2_ends() {
    let options = http::Options { head_timeout: Duration::from_millis(20), ..CONNECTION };
    let small = Small::new(options, 1, 0).await;
    let io = TokioIo::new(small.connect().await);
    let (sender, connection) =
        http2::handshake::<_, _, http_body_util::Empty<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    connection.await.unwrap();
    assert!(sender.is_closed());
    // One that does not even say goodbye is cut.
    let options = http::Options { write_timeout: Duration::from_millis(20), ..options };
    let rude = Small::new(options, 1, 0).await;
    let mut stream = rude.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    for small in [small, rude] {
        small.end().await;
    }
    // Nor does it hold up the end of the server.
    let options = http::Options { write_timeout: 10 * FINISH_TIMEOUT, drain_timeout: Duration::ZERO, ..options };
    let rude = Small::new(options, 1, 0).await;
    let mut stream = rude.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // What is said at the beginning, and the first GOAWAY: a frame of type 7.
    let mut said = Vec::new();
    while !said.windows(9).any(|frame| frame[3] == 7 && frame[5..] == [0; 4]) {
        said.push(stream.read_u8().await.unwrap());
    }
    rude.end().await;
}

/// The status, the headers in lower case, and the body.
async fn ask(serving: &Serving, path: &str, headers: &str) -> (u16, String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n\r\n");
    let mut stream = TcpStream::connect(serving.address("management")).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (status, body) = parse(&answer);
    let head = answer.split_once("\r\n\r\n").unwrap().0.to_ascii_lowercase();
    (status, head, body)
}

fn retry_after(head: &str) -> u64 {
    let value = head.lines().find_map(|line| line.strip_prefix("retry-after: "));
    value.expect("a Retry-After header").parse().unwrap()
}

#[tokio::test]
async fn whoever_guesses_waits_and_whoever_knows_does_not() {
    let (mut home, made) = Home::new().await;
    home.settings.failure_limit = NonZeroU32::new(3);
    let serving = home.serve().await;
    let wrong_bearer = format!("Authorization: Bearer {}", "x".repeat(40));
    let wrong_key = format!("X-Auth-Email: admin@example.com\r\nX-Auth-Key: {}", "0".repeat(37));
    let wrong_token = "Authorization: Bearer a.b.c";
    // Both dialects, and all kinds of credentials, count together; what is malformed or absent is no guess.
    for _ in 0..5 {
        assert_eq!(ask(&serving, "/user", "").await.0, 400);
        assert_eq!(ask(&serving, "/api/v1/ping", "").await.0, 401);
    }
    assert_eq!(ask(&serving, "/user/tokens/verify", &wrong_bearer).await.0, 401);
    assert_eq!(ask(&serving, "/user", &wrong_key).await.0, 403);
    assert_eq!(ask(&serving, "/api/v1/ping", wrong_token).await.0, 401);
    for (path, headers, code) in [
        ("/user", wrong_bearer.as_str(), "10100"),
        ("/user/tokens/verify", &wrong_bearer, "10100"),
        ("/client/v4/user", &wrong_key, "10100"),
        ("/api/v1/ping", wrong_token, "\"unknown\""),
    ] {
        let (status, head, body) = ask(&serving, path, headers).await;
        assert_eq!(status, 429, "{body}");
        assert!(body.contains(code), "{body}");
        assert!((1..=60).contains(&retry_after(&head)), "{head}");
        assert!(head.contains("x-should-retry: false") && !head.contains("ratelimit"), "{head}");
    }
    let good = format!("Authorization: Bearer {}", made.api_token.expose());
    for _ in 0..5 {
        assert_eq!(ask(&serving, "/accounts", &good).await.0, 200);
    }
    let good = format!("Authorization: Bearer {}", made.account_token.expose());
    assert_eq!(ask(&serving, "/api/v1/ping", &good).await.0, 200);
    serving.end().await.unwrap();
}

#[tokio::test]
async fn the_gate_slows_who_guesses_if_it_is_told_to() {
    let (mut home, made) = Home::new().await;
    let guess = async |serving: &Serving| {
        let target = format!("/verify?account_id={}&throttle_status=429", made.account.id);
        let id = format!("{}.access", "0".repeat(32));
        let headers = format!("CF-Access-Client-Id: {id}\r\nCF-Access-Client-Secret: wrong");
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n\r\n");
        let mut stream = TcpStream::connect(serving.address("gate")).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        parse(&answer).0
    };
    let serving = home.serve().await;
    for _ in 0..5 {
        assert_eq!(guess(&serving).await, 401);
    }
    serving.end().await.unwrap();
    home.settings.gate_failure_limit = NonZeroU32::new(2);
    let serving = home.serve().await;
    for expected in [401, 401, 429] {
        assert_eq!(guess(&serving).await, expected);
    }
    serving.end().await.unwrap();
}

#[tokio::test]
async fn behind_a_proxy_of_ours_each_client_guesses_alone() {
    let (mut home, _) = Home::new().await;
    home.settings.failure_limit = NonZeroU32::new(2);
    home.settings.trusted_proxies = "127.0.0.0/8, 10.0.0.0/8".parse().unwrap();
    let serving = home.serve().await;
    let guess = async |said: &str| {
        let headers = format!("Authorization: Bearer {}\r\nX-Forwarded-For: {said}", "x".repeat(40));
        ask(&serving, "/user/tokens/verify", &headers).await.0
    };
    assert_eq!(guess("198.51.100.1").await, 401);
    assert_eq!(
        guess("203.0.113.7, 198.51.100.1, 10.0.0.1").await,
        401,
        "what stands before it is the client's own word"
    );
    assert_eq!(guess("203.0.113.8, 198.51.100.1").await, 429);
    assert_eq!(guess("198.51.100.2").await, 401);
    serving.end().await.unwrap();

    // Whoever is not named is not believed.
    home.settings.trusted_proxies = "10.0.0.0/8, unix".parse().unwrap();
    let serving = home.serve().await;
    let guess = async |said: &str| {
        let headers = format!("Authorization: Bearer {}\r\nX-Forwarded-For: {said}", "x".repeat(40));
        ask(&serving, "/user/tokens/verify", &headers).await.0
    };
    for (number, expected) in [(1, 401), (2, 401), (3, 429)] {
        assert_eq!(guess(&format!("198.51.100.{number}")).await, expected);
    }
    serving.end().await.unwrap();
}

#[tokio::test]
async fn a_caller_has_a_number_of_requests() {
    let (mut home, made) = Home::new().await;
    home.settings.rate_limit = NonZeroU32::new(3);
    let serving = home.serve().await;
    let account = format!("Authorization: Bearer {}", made.account_token.expose());
    let other = format!("Authorization: Bearer {}", made.api_token.expose());
    assert_eq!(ask(&serving, "/api/v1/ping", &account).await.0, 200);
    assert_eq!(ask(&serving, "/accounts", &account).await.0, 200);
    assert_eq!(ask(&serving, "/nowhere", &account).await.0, 404, "what leads nowhere is nobody's");
    assert_eq!(ask(&serving, "/accounts", &account).await.0, 200);
    let (status, head, body) = ask(&serving, "/accounts", &account).await;
    assert_eq!(status, 429);
    let expected = "\"code\":10100,\"message\":\"More than 3 requests per 300 seconds reached. Please wait and consider \
                    throttling your request speed\"";
    assert!(body.contains(expected), "{body}");
    let wait = retry_after(&head);
    assert!((290..=300).contains(&wait), "{head}");
    assert!(head.contains(&format!("ratelimit: \"default\";r=0;t={wait}\r\n")), "{head}");
    assert!(head.contains("ratelimit-policy: \"default\";q=3;w=300"), "{head}");
    assert!(!head.contains("x-should-retry"), "{head}");
    let (status, head, body) = ask(&serving, "/api/v1/ping", &account).await;
    assert_eq!(status, 429);
    assert!(body.contains("\"unknown\"") && retry_after(&head) > 0, "{head} {body}");
    assert_eq!(ask(&serving, "/accounts", &other).await.0, 200, "each caller counts alone");
    serving.end().await.unwrap();
}

#[tokio::test]
async fn garbage_harms_nobody() {
    let (home, made) = Home::new().await;
    let serving = home.serve().await;
    let verify = create_and_verify(&serving, &made).await;
    let mut noise = 1_u32;
    for name in ["management", "gate"] {
        for number in 0..200 {
            let mut stream = TcpStream::connect(serving.address(name)).await.unwrap();
            let mut bytes =
                [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.1\r\n"]
                    [number % 4]
                    .to_vec();
            for _ in 0..2000 {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                bytes.push(noise.to_be_bytes()[0]);
            }
            // It may be cut off in the middle.
            stream.write_all(&bytes).await.ok();
            stream.shutdown().await.ok();
            stream.read_to_end(&mut Vec::new()).await.ok();
        }
        let mut endless = TcpStream::connect(serving.address(name)).await.unwrap();
        endless.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
        while endless.write_all(&[b'x'; 8192]).await.is_ok() {}
    }
    assert_eq!(serving.ask("gate", &verify).await.0, 200);
    create_and_verify(&serving, &made).await;
    serving.end().await.unwrap();
}
