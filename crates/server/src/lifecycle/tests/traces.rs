//! Traces reach a collector, and nobody waits for one.

use std::collections::BTreeMap;

use super::*;

/// A collector that takes everything.
struct Collector {
    listener: tokio::net::TcpListener,
}

impl Collector {
    async fn new(home: &mut Home) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        home.settings.otlp_endpoint = Some(endpoint.parse().unwrap());
        Self { listener }
    }

    /// The next request's head and body, answered with 200.
    async fn take(&self) -> (String, String) {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let mut text = String::new();
        loop {
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).await.unwrap();
            text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if Some(body.len()) == length {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
                return (head.to_owned(), body.to_owned());
            }
        }
    }
}

fn spans(body: &str) -> Vec<Value> {
    let body: Value = serde_json::from_str(body).unwrap();
    let service = &body["resourceSpans"][0]["resource"]["attributes"][0];
    assert_eq!((&service["key"], &service["value"]["stringValue"]), (&"service.name".into(), &"countersign".into()));
    body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
}

/// The request, with one more header.
fn with_caller(request: &str, trace_id: &str, flags: &str) -> String {
    request.replacen("\r\n", &format!("\r\ntraceparent: 00-{trace_id}-b7ad6b7169203331-{flags}\r\n"), 1)
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const UNSAMPLED: &str = "1af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn a_request_and_what_it_waits_for_are_spans_of_its_callers_trace() {
    let (mut home, made) = Home::new().await;
    let collector = Collector::new(&mut home).await;
    let serving = home.serve().await;
    assert_eq!(serving.ask("management", &with_caller(&create(&made), UNSAMPLED, "00")).await.0, 201);
    let (status, answer) = serving.ask("management", &with_caller(&create(&made), TRACE, "01")).await;
    assert_eq!(status, 201);
    assert_eq!(serving.ask("gate", "GET /verify HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.0, 403);
    let took = tokio::time::timeout(Duration::from_secs(60), collector.take()).await;
    let (head, body) = took.expect("the spans come by themselves");
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n") && head.contains("application/json"), "{head}");
    let spans = spans(&body);
    let by_name: BTreeMap<&str, &Value> = spans.iter().map(|span| (span["name"].as_str().unwrap(), span)).collect();
    let route = "POST /client/v4/accounts/{account_id}/access/service_tokens";
    assert_eq!(by_name.keys().copied().collect::<Vec<_>>(), [route, "feed.reach", "store.commit"], "{body}");
    assert!(spans.iter().all(|span| span["traceId"] == TRACE), "{body}");
    let request = by_name[route];
    assert_eq!((&request["parentSpanId"], &request["kind"]), (&"b7ad6b7169203331".into(), &2.into()));
    let time = |span: &Value, name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
    for name in ["store.commit", "feed.reach"] {
        let part = by_name[name];
        assert_eq!((&part["parentSpanId"], &part["kind"]), (&request["spanId"], &1.into()), "{name}");
        assert!(time(part, "startTimeUnixNano") >= time(request, "startTimeUnixNano"), "{body}");
        assert!(time(part, "endTimeUnixNano") <= time(request, "endTimeUnixNano"), "{body}");
    }
    let attribute = |key: &str| {
        let attributes = request["attributes"].as_array().unwrap();
        let found = attributes.iter().find(|attribute| attribute["key"] == key).unwrap_or_else(|| panic!("{key}"));
        found["value"].as_object().unwrap().values().next().unwrap().clone()
    };
    assert_eq!(attribute("http.request.method"), "POST");
    assert_eq!(attribute("http.response.status_code"), "201");
    assert_eq!(attribute("account.id"), made.account.id.to_string());
    assert_eq!(attribute("caller.kind"), "management_token");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    for secret in [made.api_token.expose(), answer["result"]["client_secret"].as_str().unwrap()] {
        assert!(!body.contains(secret), "{body}");
    }

    // What is left when the server stops is sent then.
    assert_eq!(serving.ask("management", "GET /nowhere HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.0, 404);
    let (ended, (_, body)) = tokio::join!(serving.end(), collector.take());
    ended.unwrap();
    assert_eq!(self::spans(&body)[0]["name"], "GET", "{body}");
    assert_eq!(self::spans(&body)[0]["parentSpanId"], "");
}

#[tokio::test]
async fn without_a_collector_requests_are_answered_and_spans_are_lost() {
    let (mut home, made) = Home::new().await;
    // Nobody listens there any more.
    drop(Collector::new(&mut home).await);
    let serving = home.serve().await;
    assert_eq!(serving.ask("management", &create(&made)).await.0, 201);
    let counted = async {
        loop {
            let (_, metrics) =
                serving.ask("management", "GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
            let lost =
                metrics.lines().find_map(|line| line.strip_prefix("countersign_spans_lost_total ")?.parse().ok());
            if lost.is_some_and(|lost: u64| lost >= 3) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), counted).await.expect("what is lost is counted");
    serving.end().await.unwrap();
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_nobody_up() {
    let (mut home, made) = Home::new().await;
    let collector = Collector::new(&mut home).await;
    let serving = home.serve().await;
    assert_eq!(serving.ask("management", &create(&made)).await.0, 201);
    let taken = tokio::time::timeout(Duration::from_secs(60), collector.listener.accept()).await;
    let _silent = taken.expect("the spans come by themselves").unwrap();
    // While the collector has them, more requests are answered.
    for _ in 0..10 {
        let request = create(&made);
        let asked = serving.ask("management", &request);
        let answered = tokio::time::timeout(Duration::from_secs(3), asked).await;
        assert_eq!(answered.expect("nobody waits for the collector").0, 201);
    }
    serving.run.abort();
}
