//! A verifier against a feed that says what the test wants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign_client::verifier::{Decision, Demand, Error, Identity, Refusal, Verifier, VerifyLayer};
use countersign_client::{Clock, Credential, Timestamp};
use countersign_token::digest::{DigestKey, KeyId, MacKey};
use countersign_token::entropy::Entropy;
use countersign_token::id::ClientId;
use countersign_token::time::ManualClock;
use http::{Extensions, HeaderMap, HeaderValue, Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tower::{Layer as _, ServiceExt as _};

use crate::server::http as answer_http;

const ACCOUNT: &str = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";
const START: i64 = 1_795_000_000_000_000;

/// A server of answers, one after the other. When there are no more, questions wait.
struct Feed {
    address: String,
    answers: Arc<Mutex<Vec<String>>>,
    asked: Arc<Mutex<Vec<String>>>,
    clock: ManualClock,
    tasks: TaskTracker,
}

impl Feed {
    async fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let tasks = TaskTracker::new();
        let answers = Arc::new(Mutex::new(answers));
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (left, heard, each) = (Arc::clone(&answers), Arc::clone(&asked), tasks.clone());
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                each.spawn(serve(stream, Arc::clone(&left), Arc::clone(&heard)));
            }
        });
        Self { address, answers, asked, clock: ManualClock::new(Timestamp::from_micros(START)), tasks }
    }

    async fn connect(&self) -> Result<Verifier, Error> {
        let credential = Credential::bearer("csat_verifier");
        let clock = Clock::Manual(self.clock.clone());
        Verifier::connect_with(&self.address, &credential, clock, Entropy::seeded(1)).await
    }

    /// Says something else to whoever asks next.
    fn say(&self, answer: String) {
        self.answers.lock().unwrap().push(answer);
    }

    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let waited = async {
            while !is_so() {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(30), waited).await.is_ok(), "{what}");
    }
}

async fn serve(mut stream: TcpStream, answers: Arc<Mutex<Vec<String>>>, asked: Arc<Mutex<Vec<String>>>) {
    let mut request = String::new();
    while !is_whole(&request) {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => request.push_str(std::str::from_utf8(&chunk[..read]).unwrap()),
            _ => return,
        }
    }
    asked.lock().unwrap().push(request);
    loop {
        let next = {
            let mut answers = answers.lock().unwrap();
            if answers.is_empty() { None } else { Some(answers.remove(0)) }
        };
        if let Some(next) = next {
            // Whoever asked may have gone.
            let _ = stream.write_all(next.as_bytes()).await;
            return;
        }
        tokio::task::yield_now().await;
    }
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn client_id(byte: u8) -> ClientId {
    ClientId::from_bytes([byte; 16])
}

/// A service token whose secret is `secret`.
fn token(byte: u8, revision: i64, enabled: bool) -> String {
    let digest = DigestKey::new(&MacKey::from_bytes([7; 32]), KeyId::FIRST).pair(&client_id(byte), "secret");
    let digest: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        r#"{{"revision": {revision}, "kind": "service_token", "id": "0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a{byte:02x}",
        "account_id": "{ACCOUNT}", "zone_id": null, "client_id": "{}", "name": "token {byte}", "allow_from": null, "digest": "{digest}",
        "secret_version": 1, "previous": null, "enabled": {enabled}, "expires_at_us": null, "last_seen_at_us": null,
        "deleted": false}}"#,
        client_id(byte)
    )
}

fn account() -> String {
    format!(r#"{{"revision": 1, "kind": "account", "id": "{ACCOUNT}", "pfid": "01m80ph6add8cqrkh0hxq2b42xzrs6re"}}"#)
}

fn news(reset: bool, complete: bool, age_us: i64, changes: &[String]) -> String {
    let (key, changes) = ("07".repeat(32), changes.join(","));
    answer_http(
        "200 OK",
        &format!(
            r#"{{"format": 1, "installation_id": "{ACCOUNT}", "reset": {reset}, "complete": {complete}, "age_us": {age_us},
            "max_staleness_us": 5000000, "keys": [{{"id": 1, "key": "{key}"}}], "changes": [{changes}], "cursor": "c"}}"#
        ),
    )
}

fn everything() -> String {
    news(true, true, 0, &[account(), token(1, 2, true), token(2, 3, true)])
}

fn headers(byte: u8) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("cf-access-client-id", HeaderValue::from_str(&client_id(byte).to_string()).unwrap());
    headers.insert("cf-access-client-secret", HeaderValue::from_static("secret"));
    headers
}

/// What a verifier says of a token.
fn said(verifier: &Verifier, byte: u8) -> &'static str {
    let demand = Demand::parse(&format!("account_id={ACCOUNT}")).unwrap();
    match verifier.check(&headers(byte), &demand) {
        Decision::Admit(_) => "admitted",
        Decision::Refuse(refusal) => refusal.as_str(),
    }
}

#[tokio::test]
async fn what_the_feed_says_decides_for_as_long_as_is_promised() {
    let pages = [news(true, false, 0, &[account(), token(1, 2, true)]), news(false, false, 0, &[token(2, 3, true)])];
    let feed = Feed::start([pages.as_slice(), &[news(false, true, 0, &[token(1, 4, false)])]].concat()).await;
    let verifier = feed.connect().await.unwrap();
    assert_eq!([1, 2, 3].map(|byte| said(&verifier, byte)), ["disabled", "admitted", "invalid"]);
    assert_eq!(verifier.len(), 2);
    feed.until("it asks again", || feed.asked.lock().unwrap().len() == 4).await;
    feed.clock.advance(Duration::from_secs(5));
    assert_eq!((said(&verifier, 2), verifier.is_fresh()), ("admitted", true));
    feed.clock.advance(Duration::from_micros(1));
    assert_eq!((said(&verifier, 2), verifier.is_fresh()), ("stale", false));
    // The question that was asked before is answered only now: it is as old as the question.
    feed.say(news(false, true, 0, &[]));
    feed.until("it asks again", || feed.asked.lock().unwrap().len() == 5).await;
    assert_eq!(said(&verifier, 2), "stale");
    feed.say(news(false, true, 0, &[]));
    feed.until("it is fresh", || said(&verifier, 2) == "admitted").await;

    feed.say(answer_http("200 OK", "{}"));
    verifier.stop().await;
    assert_eq!(said(&verifier, 2), "stale");
    let asked = feed.asked.lock().unwrap().last().unwrap().clone();
    assert!(asked.starts_with("DELETE /admin/v1/feed/"), "{asked}");
    assert!(feed.asked.lock().unwrap()[0].contains(r#""cursor":null"#));
    assert!(feed.asked.lock().unwrap()[1].contains(r#""cursor":"c""#));
    feed.tasks.close();
}

#[tokio::test]
async fn a_stale_server_makes_nobody_fresh() {
    let feed = Feed::start(vec![news(true, true, 4_000_000, &[account(), token(1, 2, true)])]).await;
    let verifier = feed.connect().await.unwrap();
    assert_eq!(said(&verifier, 1), "admitted");
    feed.until("it asks again", || feed.asked.lock().unwrap().len() == 2).await;
    feed.clock.advance(Duration::from_millis(1001));
    assert_eq!(said(&verifier, 1), "stale");
    feed.say(news(false, true, 0, &[]));
    feed.say(news(false, true, 6_000_000, &[]));
    feed.until("it asks again", || feed.asked.lock().unwrap().len() == 4).await;
    // The second is older than the first, and takes nothing back.
    assert_eq!(said(&verifier, 1), "admitted");
    feed.clock.advance(Duration::from_millis(5001));
    assert_eq!(said(&verifier, 1), "stale");
}

#[tokio::test]
async fn what_is_not_understood_is_not_believed_in_part() {
    let feed = Feed::start(vec![everything()]).await;
    let verifier = feed.connect().await.unwrap();
    let unknown = r#"{"revision": 5, "kind": "galaxy", "id": "x"}"#.to_owned();
    feed.say(news(false, true, 0, &[token(1, 4, false), unknown]));
    feed.until("it says so", || verifier.problem().is_some()).await;
    assert!(verifier.problem().unwrap().contains("galaxy"), "{:?}", verifier.problem());
    assert_eq!(said(&verifier, 1), "admitted", "for as long as was promised before");
    feed.clock.advance(Duration::from_millis(5001));
    assert_eq!(said(&verifier, 2), "stale");
    // Nobody says here where a request came from.
    let listed = token(2, 4, true).replace("\"allow_from\": null", "\"allow_from\": [\"0.0.0.0/0\", \"::/0\"]");
    feed.say(news(false, true, 0, &[listed]));
    feed.until("it goes on", || said(&verifier, 2) == "address_not_allowed").await;
    feed.say(news(false, true, 0, &[token(1, 4, false), token(2, 5, true)]));
    feed.until("it goes on", || said(&verifier, 2) == "admitted").await;
    assert_eq!((said(&verifier, 1), verifier.problem()), ("disabled", None));
}

#[tokio::test]
async fn a_reset_drops_what_is_not_named_and_decides_only_when_it_is_complete() {
    let feed = Feed::start(vec![everything()]).await;
    let verifier = feed.connect().await.unwrap();
    feed.say(news(true, false, 0, &[account(), token(3, 9, true)]));
    feed.until("it asks again", || feed.asked.lock().unwrap().len() == 3).await;
    assert_eq!([1, 3].map(|byte| said(&verifier, byte)), ["admitted", "invalid"]);
    feed.say(news(false, true, 0, &[]));
    feed.until("it is complete", || said(&verifier, 3) == "admitted").await;
    assert_eq!([1, 2].map(|byte| said(&verifier, byte)), ["invalid", "invalid"]);
}

#[tokio::test]
async fn hostile_answers_are_errors() {
    let redirect =
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let answers = [
        (String::new(), "no answer"),
        (redirect.to_owned(), "302"),
        (answer_http("500 Oops", "<html>"), "500"),
        (answer_http("200 OK", "<html>"), "not a feed"),
        (answer_http("200 OK", r#"{"format": 9}"#), "form 9"),
        (everything().replace("content-length: ", "content-length: 9"), "no answer"),
        (news(false, true, 0, &[]), "nothing was begun"),
        (news(false, false, 0, &[token(1, 1, true)]), "nothing was begun"),
        (answer_http("403 Forbidden", r#"{"code": "forbidden", "detail": "no"}"#), "forbidden"),
        (answer_http("409 Conflict", r#"{"code": "conflict", "detail": "change the key"}"#), "change the key"),
    ];
    for (answer, expected) in answers {
        let feed = Feed::start(vec![answer.clone()]).await;
        let error = feed.connect().await.expect_err(&answer);
        let words = format!("{error} {error:?}");
        assert!(words.contains(expected), "{expected}: {words}");
        assert!(!words.contains("csat_verifier"), "{words}");
    }
}

#[tokio::test]
async fn the_layer_answers_as_the_gate_does() {
    let feed = Feed::start(vec![everything()]).await;
    let verifier = feed.connect().await.unwrap();
    let layer = VerifyLayer::new(verifier.clone(), Demand::parse(&format!("account_id={ACCOUNT}")).unwrap());
    let service = layer.layer(tower::service_fn(async |request: Request<()>| {
        assert!(request.extensions().get::<Identity>().is_some());
        assert!(!format!("{:?}", request.headers()).contains("\"secret\""), "{:?}", request.headers());
        assert!(request.headers().keys().all(|name| !name.as_str().starts_with("countersign-")));
        assert!(!request.headers().contains_key("cf-access-jwt-assertion"));
        Ok::<_, std::convert::Infallible>(Response::new("inside".to_owned()))
    }));
    let ask = async |byte: u8| {
        let mut request = Request::new(());
        *request.headers_mut() = headers(byte);
        request.headers_mut().insert("countersign-token-id", HeaderValue::from_static("spoofed"));
        request.headers_mut().insert("cf-access-jwt-assertion", HeaderValue::from_static("spoofed"));
        service.clone().oneshot(request).await.unwrap()
    };
    let admitted = ask(1).await;
    assert_eq!((admitted.status().as_u16(), admitted.body().as_str()), (200, "inside"));
    let header =
        |answer: &Response<String>, name| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let refused = ask(9).await;
    assert_eq!((refused.status().as_u16(), refused.body().as_str()), (401, ""));
    assert_eq!(header(&refused, "countersign-reason").as_deref(), Some("invalid"));
    assert_eq!(header(&refused, "www-authenticate").as_deref(), Some("Bearer realm=\"countersign\""));
    assert_eq!(header(&refused, "cache-control").as_deref(), Some("no-store"));
    feed.clock.advance(Duration::from_secs(6));
    let stale = ask(1).await;
    assert_eq!((stale.status().as_u16(), header(&stale, "retry-after").as_deref()), (503, Some("1")));
    assert_eq!(header(&stale, "www-authenticate"), None);
}

#[tokio::test]
async fn a_token_with_a_list_is_admitted_from_where_the_service_says() {
    let list = r#""allow_from": ["10.0.0.0/8", "2001:db8::/32"]"#;
    let listed = token(2, 3, true).replace(r#""allow_from": null"#, list);
    let feed = Feed::start(vec![news(true, true, 0, &[account(), token(1, 2, true), listed])]).await;
    let verifier = feed.connect().await.unwrap();
    let silent = VerifyLayer::new(verifier, Demand::parse(&format!("account_id={ACCOUNT}")).unwrap());
    let peer = |_: &HeaderMap, extensions: &Extensions| extensions.get::<SocketAddr>().map(SocketAddr::ip);
    let told = silent.clone().locating(peer);
    let ask = async |layer: &VerifyLayer, byte: u8, from: Option<&str>| {
        let service = layer.layer(tower::service_fn(async |_: Request<()>| {
            Ok::<_, std::convert::Infallible>(Response::new(String::new()))
        }));
        let mut request = Request::new(());
        *request.headers_mut() = headers(byte);
        // Nobody's word counts but that of the service.
        request.headers_mut().insert("x-forwarded-for", HeaderValue::from_static("10.0.0.1"));
        if let Some(from) = from {
            request.extensions_mut().insert(SocketAddr::new(from.parse().unwrap(), 9));
        }
        service.oneshot(request).await.unwrap().status().as_u16()
    };
    for (from, expected) in [
        (Some("10.1.2.3"), 200),
        (Some("::ffff:10.1.2.3"), 200),
        (Some("2001:db8::7"), 200),
        (Some("11.0.0.1"), 403),
        (Some("::1"), 403),
        (None, 403),
    ] {
        assert_eq!(ask(&told, 2, from).await, expected, "{from:?}");
        assert_eq!(ask(&silent, 2, from).await, 403, "{from:?}");
        assert_eq!((ask(&told, 1, from).await, ask(&silent, 1, from).await), (200, 200), "without a list: {from:?}");
    }
}

#[tokio::test]
async fn demands_are_the_gates() {
    for wrong in ["", "account_id=x", "aud=x&account_id=0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a", "colour=red"] {
        assert!(Demand::parse(wrong).is_err(), "{wrong}");
    }
    let feed = Feed::start(vec![everything()]).await;
    let verifier = feed.connect().await.unwrap();
    let check = |demand: &str, expected: Option<(u16, &str)>| {
        let demand = Demand::parse(demand).unwrap();
        let refusal = match verifier.check(&headers(1), &demand) {
            Decision::Admit(_) => None,
            Decision::Refuse(refusal) => Some((refusal.status().as_u16(), refusal.as_str())),
        };
        assert_eq!(refusal, expected);
    };
    check(&format!("account_id={ACCOUNT}&service_token_id=0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a01"), None);
    check(&format!("account_id={}", "0b".repeat(16)), Some((403, "not_permitted")));
    check("zone_id=0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", Some((403, "not_permitted")));
    let missing = verifier.check(&HeaderMap::new(), &Demand::account(&ACCOUNT.parse().unwrap()));
    assert!(matches!(missing, Decision::Refuse(Refusal::Missing)));
}
