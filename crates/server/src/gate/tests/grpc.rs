//! Envoy's own client and types, which nobody here wrote, over the gate's own listeners.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use envoy_types::pb::google::protobuf::value::Kind;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Bytes, Frame};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::world::{MAX_STALENESS, OPTIONS, ServiceToken, World};
use crate::config::Stale;
use crate::gate::listener;
use crate::lifecycle::http::Options;
use crate::lifecycle::unix;
use crate::tls::Tls;
use crate::tls::tests::Authority;

type Headers<'h> = Vec<(&'h str, String)>;

/// A request with these headers as Envoy tells of them with `encode_raw_headers`, and what its route's configuration says.
fn request(extensions: &[(&str, String)], headers: &[(&str, String)]) -> CheckRequest {
    let raw = |(name, value): &(&str, String)| HeaderValue {
        key: (*name).to_owned(),
        raw_value: value.clone().into_bytes(),
        ..HeaderValue::default()
    };
    let header_map = Some(HeaderMap { headers: headers.iter().map(raw).collect() });
    told(extensions, HttpRequest { header_map, ..http_request() })
}

/// The same without `encode_raw_headers`.
fn request_of_map(extensions: &[(&str, String)], headers: &[(&str, String)]) -> CheckRequest {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    told(extensions, HttpRequest { headers, ..http_request() })
}

fn http_request() -> HttpRequest {
    HttpRequest {
        id: "17".to_owned(),
        method: "POST".to_owned(),
        path: "/verify?account_id=of-the-client".to_owned(),
        host: "app.example.com".to_owned(),
        protocol: "HTTP/2".to_owned(),
        body: "x".repeat(100),
        ..HttpRequest::default()
    }
}

fn told(extensions: &[(&str, String)], http: HttpRequest) -> CheckRequest {
    let context_extensions: HashMap<_, _> =
        extensions.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let request = Some(Request { http: Some(http), ..Request::default() });
    CheckRequest { attributes: Some(AttributeContext { request, context_extensions, ..AttributeContext::default() }) }
}

fn account(world: &World) -> Vec<(&'static str, String)> {
    vec![("account_id", world.here.account.to_string())]
}

fn pair(token: &ServiceToken) -> Headers<'static> {
    vec![
        ("cf-access-client-id", token.client_id.to_string()),
        ("cf-access-client-secret", token.secret.expose().to_owned()),
    ]
}

async fn connect(world: &World) -> AuthorizationClient<Channel> {
    let endpoint = Endpoint::try_from(format!("http://{}", world.address())).unwrap();
    AuthorizationClient::new(endpoint.connect().await.unwrap())
}

async fn check(world: &World, request: CheckRequest) -> CheckResponse {
    connect(world).await.check(request).await.unwrap().into_inner()
}

/// What is set, in which every header replaces what was there, and what is removed.
fn admitted(response: &CheckResponse) -> (BTreeMap<String, String>, BTreeSet<String>) {
    assert_eq!(response.status.as_ref().unwrap().code, 0);
    let Some(HttpResponse::OkResponse(admitted)) = &response.http_response else { panic!("{response:?}") };
    let removed: BTreeSet<String> = admitted.headers_to_remove.iter().cloned().collect();
    assert_eq!(removed.len(), admitted.headers_to_remove.len());
    let set = fields(&admitted.headers);
    // Envoy removes after it has set.
    assert!(set.keys().all(|name| !removed.contains(name)), "{response:?}");
    (set, removed)
}

/// The status, the headers and the body that the client gets.
fn refused(response: &CheckResponse) -> (i32, BTreeMap<String, String>, &str) {
    assert_ne!(response.status.as_ref().unwrap().code, 0);
    let Some(HttpResponse::DeniedResponse(refused)) = &response.http_response else { panic!("{response:?}") };
    (refused.status.as_ref().unwrap().code, fields(&refused.headers), &refused.body)
}

fn fields(options: &[HeaderValueOption]) -> BTreeMap<String, String> {
    let field = |option: &HeaderValueOption| {
        assert_eq!(option.append_action(), HeaderAppendAction::OverwriteIfExistsOrAdd);
        let header = option.header.as_ref().unwrap();
        (header.key.clone(), header.value.clone())
    };
    let fields: BTreeMap<_, _> = options.iter().map(field).collect();
    assert_eq!(fields.len(), options.len());
    fields
}

fn metadata(response: &CheckResponse) -> BTreeMap<&str, &str> {
    let fields = &response.dynamic_metadata.as_ref().unwrap().fields;
    fields
        .iter()
        .map(|(name, value)| match &value.kind {
            Some(Kind::StringValue(text)) => (name.as_str(), text.as_str()),
            other => panic!("{name}: {other:?}"),
        })
        .collect()
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

#[tokio::test]
async fn who_it_is_and_what_does_not_reach_the_application() {
    let world = World::new().await;
    let token = world.zone_token();
    for request in [request, request_of_map] {
        let response = check(&world, request(&account(&world), &pair(&token))).await;
        let (set, removed) = admitted(&response);
        let expected = [
            ("countersign-account-id", world.here.account.to_string()),
            ("countersign-client-id", token.client_id.to_string()),
            ("countersign-kind", "service_token".to_owned()),
            ("countersign-token-id", token.id.to_string()),
            ("countersign-token-name", "Z%C3%BCrich".to_owned()),
            ("countersign-zone-id", world.here.zone.to_string()),
        ];
        assert_eq!(set, expected.map(|(name, value)| (name.to_owned(), value)).into());
        let expected = [
            "cf-access-client-id",
            "cf-access-client-secret",
            "cf-access-jwt-assertion",
            "countersign-environment-id",
            "countersign-reason",
        ];
        assert_eq!(removed, names(expected));
        let account = world.here.account.to_string();
        let (client_id, id, zone) = (token.client_id.to_string(), token.id.to_string(), world.here.zone.to_string());
        let expected = [
            ("account_id", account.as_str()),
            ("client_id", &client_id),
            ("kind", "service_token"),
            ("token_id", &id),
            ("token_name", "Z%C3%BCrich"),
            ("zone_id", &zone),
        ];
        assert_eq!(metadata(&response), expected.into());
    }
    assert_eq!(world.tallies.answers("service_token"), 2);
    assert!(world.index.last_seen(&token.client_id).is_some());
}

#[tokio::test]
async fn the_same_headers_as_over_http() {
    let world = World::new().await;
    let (token, bearer) = (world.account_token(), world.api_token(Some(world.here.environment)));
    let bearer = vec![("authorization", format!("Bearer {}", bearer.bearer.expose()))];
    let wrong = vec![pair(&token)[0].clone(), ("cf-access-client-secret", "wrong".to_owned())];
    for headers in [pair(&token), bearer, wrong, vec![], pair(&token)[..1].to_vec()] {
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        for (demand, extensions) in [
            (world.demand(), account(&world)),
            (format!("zone_id={}", world.here.zone), vec![("zone_id", world.here.zone.to_string())]),
            (String::new(), vec![]),
        ] {
            let answer = world.ask(&demand, &lines).await;
            let response = check(&world, request(&extensions, &headers)).await;
            let (status, mut fields) = match &response.http_response {
                Some(HttpResponse::OkResponse(_)) => (200, admitted(&response).0),
                _ => {
                    let (status, fields, body) = refused(&response);
                    assert_eq!(body, format!("{}\n", fields["countersign-reason"]));
                    assert_eq!(metadata(&response), [("reason", fields["countersign-reason"].as_str())].into());
                    (status, fields)
                }
            };
            fields.remove("cache-control");
            let same: BTreeMap<_, _> = answer
                .headers
                .iter()
                .filter(|(name, _)| !["date", "content-length", "cache-control"].contains(&name.as_str()))
                .cloned()
                .collect();
            assert_eq!((status, fields), (i32::from(answer.status), same), "{demand} {lines}");
        }
    }
}

#[tokio::test]
async fn refusals_have_a_status_a_challenge_and_a_word() {
    let world = World::new().await;
    let token = world.account_token();
    let (status, fields, body) = {
        let response = check(&world, request(&account(&world), &[])).await;
        let (status, fields, body) = refused(&response);
        (status, fields, body.to_owned())
    };
    assert_eq!((status, body.as_str()), (401, "missing\n"));
    let expected = [
        ("cache-control", "no-store"),
        ("countersign-reason", "missing"),
        ("www-authenticate", "Bearer realm=\"countersign\""),
    ];
    assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());

    let elsewhere = [("account_id", world.elsewhere.account.to_string())];
    let response = check(&world, request(&elsewhere, &pair(&token))).await;
    let (status, fields, body) = refused(&response);
    assert_eq!((status, body, fields.contains_key("www-authenticate")), (403, "not_permitted\n", false));

    // This gate has no keys.
    let with_assertion = [account(&world), vec![("aud", "x".to_owned())]].concat();
    let response = check(&world, request(&with_assertion, &pair(&token))).await;
    let (status, fields, body) = refused(&response);
    assert_eq!((status, body, fields["retry-after"].as_str()), (503, "no_assertion\n", "1"));

    world.clock.advance(MAX_STALENESS * 2);
    let response = check(&world, request(&account(&world), &pair(&token))).await;
    let (status, fields, body) = refused(&response);
    assert_eq!((status, body, fields["retry-after"].as_str()), (503, "stale\n", "1"));
}

#[tokio::test]
async fn a_list_of_networks_holds_here_too() {
    let world = World::new().await;
    let mut token = world.account_token();
    for (networks, expected) in [("127.0.0.0/8", 200), ("10.0.0.0/8,::/0", 403)] {
        token.allow_from = Some(networks.parse().unwrap());
        world.put(&token);
        // The client's own word about itself is nobody's.
        let mut headers = pair(&token);
        headers.push(("x-forwarded-for", "10.1.1.1".to_owned()));
        let response = check(&world, request(&account(&world), &headers)).await;
        match expected {
            200 => drop(admitted(&response)),
            _ => {
                let (status, _, body) = refused(&response);
                assert_eq!((status, body), (expected, "address_not_allowed\n"));
            }
        }
    }
}

#[tokio::test]
async fn who_fails_too_often_is_told_so_here_too() {
    let world = World::new().await;
    let gate = super::slowing::gate(&world, "");
    let carrying = [account(&world), vec![("throttle_status", "429".to_owned())]].concat();
    let wrong = [
        ("cf-access-client-id", world.account_token().client_id.to_string()),
        ("cf-access-client-secret", "wrong".to_owned()),
    ];
    let ask = |extensions: &[(&str, String)]| {
        let message = framed(&request(extensions, &wrong).encode_to_vec());
        let peer = Some([192, 0, 2, 1].into());
        let answer = crate::gate::grpc::handle(&gate, peer, message.into()).unwrap();
        let response = CheckResponse::decode(&answer[5..]).unwrap();
        let (status, fields, body) = refused(&response);
        (status, response.status.as_ref().unwrap().code, body.to_owned(), fields.get("retry-after").cloned())
    };
    for _ in 0..3 {
        assert_eq!(ask(&carrying), (401, 16, "invalid\n".to_owned(), None));
    }
    assert_eq!(ask(&carrying), (429, 8, "throttled\n".to_owned(), Some("20".to_owned())));
    assert_eq!(ask(&account(&world)), (401, 16, "throttled\n".to_owned(), Some("20".to_owned())));
}

#[tokio::test]
async fn the_demand_is_the_routes_alone() {
    let world = World::new().await;
    let (token, other) = (world.account_token(), world.account_token());
    let demands = |more: Option<(&'static str, String)>| account(&world).into_iter().chain(more).collect::<Vec<_>>();
    let check_outcome = async |extensions: &[(&str, String)], expected: (i32, &str)| {
        let response = check(&world, request(extensions, &pair(&token))).await;
        let outcome = match &response.http_response {
            Some(HttpResponse::OkResponse(_)) => (200, String::new()),
            _ => (refused(&response).0, refused(&response).1["countersign-reason"].clone()),
        };
        assert_eq!((outcome.0, outcome.1.as_str()), expected, "{extensions:?}");
    };
    let (admitted, forbidden, none) = ((200, ""), (403, "not_permitted"), (403, "no_demand"));
    check_outcome(&demands(None), admitted).await;
    check_outcome(&demands(Some(("service_token_id", format!("{},{}", other.id, token.id)))), admitted).await;
    check_outcome(&demands(Some(("service_token_id", other.id.to_string()))), forbidden).await;
    // The client's path names an account, too: `http_request`.
    check_outcome(&[], none).await;
    check_outcome(&[("account_id", format!("{}&header=x", world.here.account))], none).await;
    check_outcome(&[("account_id", String::new())], none).await;
    check_outcome(&demands(Some(("acount_id", "x".to_owned()))), none).await;
    // A header of that name is the client's word.
    let headers: Headers<'_> = account(&world).into_iter().chain(pair(&token)).collect();
    assert_eq!(refused(&check(&world, request(&[], &headers)).await).0, 403);
    assert_eq!(world.tallies.answers("no_demand"), 5);
}

#[tokio::test]
async fn the_credential_goes_and_the_applications_own_stays() {
    let world = World::new().await;
    let token = world.account_token();
    let object = format!(
        r#"{{"cf-access-client-id":"{}","cf-access-client-secret":"{}"}}"#,
        token.client_id,
        token.secret.expose()
    );
    let bearer = format!("Bearer {}", world.api_token(None).bearer.expose());
    let authorization = |value: &str| ("authorization", value.to_owned());
    let with_pair = |header| pair(&token).into_iter().chain([header]).collect::<Headers<'_>>();
    for (single, headers, goes) in [
        (None, with_pair(authorization("Basic dXNlcjpwYXNz")), false),
        (None, vec![authorization(&bearer)], true),
        (Some("X-Api-Key"), vec![("x-api-key", object.clone()), authorization("Basic dXNlcjpwYXNz")], false),
        (Some("X-Api-Key"), vec![authorization(&bearer)], true),
        (Some("Authorization"), vec![authorization(&object)], true),
        (Some("Authorization"), with_pair(authorization("Bearer of-the-application")), false),
    ] {
        let mut extensions = account(&world);
        extensions.extend(single.map(|header| ("header", header.to_owned())));
        let response = check(&world, request(&extensions, &headers)).await;
        let (_, removed) = admitted(&response);
        assert_eq!(removed.contains("authorization"), goes, "{single:?} {removed:?}");
        assert_eq!(removed.contains("x-api-key"), single == Some("X-Api-Key"), "{single:?} {removed:?}");
        assert!(removed.contains("cf-access-client-id") && removed.contains("cf-access-client-secret"));
    }
}

#[tokio::test]
async fn what_only_the_gate_may_say_is_taken_from_the_client() {
    let world = World::new().await;
    let token = world.account_token();
    let mut headers = pair(&token);
    for name in [
        "countersign-token-id",
        "countersign-zone-id",
        "Countersign-Token-Name",
        "countersign_token_id",
        "COUNTERSIGN-anything",
        "cf-access-jwt-assertion",
        "cf_access_jwt_assertion",
        "countersigned",
        "cf-access",
        ":path",
        "",
    ] {
        headers.push((name, "spoofed".to_owned()));
    }
    let response = check(&world, request(&account(&world), &headers)).await;
    let (set, removed) = admitted(&response);
    assert!(!set.values().any(|value| value == "spoofed"));
    assert_eq!(set["countersign-token-id"], token.id.to_string());
    let expected = [
        "cf-access-client-id",
        "cf-access-client-secret",
        "cf-access-jwt-assertion",
        "cf_access_jwt_assertion",
        "countersign-anything",
        "countersign-environment-id",
        "countersign-reason",
        "countersign-zone-id",
        "countersign_token_id",
    ];
    assert_eq!(removed, names(expected));
}

#[tokio::test]
async fn a_header_that_is_there_twice_is_refused() {
    let world = World::new().await;
    let token = world.account_token();
    let [id, secret] = pair(&token).try_into().unwrap();
    for headers in [vec![id.clone(), secret.clone(), secret.clone()], vec![id.clone(), id.clone(), secret.clone()]] {
        let response = check(&world, request(&account(&world), &headers)).await;
        assert_eq!(refused(&response).2, "malformed\n");
    }
    // In both of the places that a message has for headers.
    let mut both = request(&account(&world), &[id.clone(), secret.clone()]);
    let http = both.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
    http.headers.insert(secret.0.to_owned(), secret.1.clone());
    assert_eq!(refused(&check(&world, both).await).2, "malformed\n");
    assert_eq!(world.tallies.answers("malformed"), 3);
}

#[tokio::test]
async fn over_a_unix_socket_and_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gate.sock");
    let (_file, listener) = unix::bind(&path).await.unwrap();
    let world = World::with(OPTIONS, Stale::Refuse, Some(listener)).await;
    let token = world.account_token();
    let endpoint = Endpoint::from_static("http://gate");
    let channel = endpoint
        .connect_with_connector(service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await
        .unwrap();
    let response = AuthorizationClient::new(channel).check(request(&account(&world), &pair(&token))).await.unwrap();
    admitted(response.get_ref());

    let authority = Authority::new();
    let world = World::with_tls(Tls::load(&authority.files()).unwrap()).await;
    let token = world.account_token();
    let stream = authority.client(None, &["h2"]).connect(&world.address()).await.unwrap();
    let mut stream = Some(TokioIo::new(stream));
    let channel = endpoint
        .connect_with_connector(service_fn(move |_| {
            std::future::ready(stream.take().ok_or(std::io::Error::other("one connection is enough")))
        }))
        .await
        .unwrap();
    let response = AuthorizationClient::new(channel).check(request(&account(&world), &pair(&token))).await.unwrap();
    admitted(response.get_ref());
}

#[tokio::test]
async fn many_calls_on_one_connection() {
    let world = World::new().await;
    let token = world.account_token();
    let client = connect(&world).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let (mut client, request) = (client.clone(), request(&account(&world), &pair(&token)));
        calls.spawn(async move { client.check(request).await });
    }
    for response in calls.join_all().await {
        admitted(response.unwrap().get_ref());
    }
    assert_eq!(world.tallies.answers("service_token"), 300);
}

/// A connection that sends whatever it is told, and reads an answer's message.
struct Raw(http2::SendRequest<Full<Bytes>>);

impl Raw {
    async fn connect(world: &World) -> (Self, impl Future<Output = hyper::Result<()>>) {
        let stream = TcpStream::connect(world.address()).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        (Self(sender), connection)
    }

    async fn send(&self, path: &str, kind: &str, body: impl Into<Bytes>) -> (http::StatusCode, Bytes) {
        let request = http::Request::post(format!("http://gate{path}"))
            .header("content-type", kind)
            .body(Full::new(body.into()))
            .unwrap();
        let response = self.0.clone().send_request(request).await.unwrap();
        let status = response.status();
        let is_grpc = response.headers().get("content-type").is_some_and(|kind| kind == "application/grpc");
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().is_some_and(|trailers| trailers["grpc-status"] == "0"), is_grpc);
        (status, body.to_bytes())
    }

    /// The status with which a body is refused as a call.
    async fn refusal(&self, body: impl Into<Bytes>) -> (i32, String) {
        let (status, answer) = self.send(CHECK, "application/grpc", body).await;
        assert_eq!(status, 200);
        assert_eq!(usize::try_from(u32::from_be_bytes(answer[1..5].try_into().unwrap())).unwrap(), answer.len() - 5);
        let response = CheckResponse::decode(&answer[5..]).unwrap();
        let (status, fields, body) = refused(&response);
        assert_eq!(fields["cache-control"], "no-store");
        (status, body.to_owned())
    }
}

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

#[tokio::test]
async fn what_is_not_understood_is_refused() {
    let world = World::new().await;
    let token = world.account_token();
    let (raw, connection) = Raw::connect(&world).await;
    let good = framed(&request(&account(&world), &pair(&token)).encode_to_vec());
    let asks = async {
        let (status, answer) = raw.send(CHECK, "application/grpc+proto", good.clone()).await;
        assert_eq!(status, 200);
        admitted(&CheckResponse::decode(&answer[5..]).unwrap());

        let no_demand = (403, "no_demand\n".to_owned());
        let mut compressed = good.clone();
        compressed[0] = 1;
        let mut cases =
            vec![vec![], compressed, [good.clone(), good.clone()].concat(), framed(&[]), framed(&[0xff; 40])];
        cases.extend((1..good.len()).step_by(7).map(|cut| good[..cut].to_vec()));
        // The frame is whole, and the message is not.
        cases.extend((6..good.len() - 1).step_by(7).map(|cut| framed(&good[5..cut])));
        let count = cases.len();
        for case in cases {
            let shown = format!("{case:?}");
            let (status, body) = raw.refusal(case).await;
            // What is cut between two fields is a message that says less.
            assert!((status, &body) == (403, &no_demand.1) || status == 401, "{shown}: {status} {body}");
        }
        let answered = ["no_demand", "missing", "malformed", "invalid"].map(|reason| world.tallies.answers(reason));
        assert_eq!(answered.iter().sum::<u64>(), count as u64);

        let large = request(&account(&world), &[("cookie", "x".repeat(128 * 1024))]).encode_to_vec();
        assert_eq!(raw.refusal(framed(&large)).await, (431, "the headers are too large\n".to_owned()));
        let large = request(&account(&world), &[("cookie", "x".repeat(127 * 1024))]).encode_to_vec();
        assert_eq!(raw.refusal(framed(&large)).await, (401, "missing\n".to_owned()));

        // Traffic of gRPC that somebody else asks about by HTTP is no call.
        for (path, kind, status) in [
            ("/verify", "application/grpc", 403),
            (CHECK, "application/grpc-web", 404),
            (CHECK, "application/json", 404),
            ("/envoy.service.auth.v2.Authorization/Check", "application/grpc", 404),
        ] {
            assert_eq!(raw.send(path, kind, good.clone()).await.0, status, "{path} {kind}");
        }
        world.stop.request();
    };
    let (ended, ()) = tokio::join!(connection, asks);
    ended.unwrap();
}

#[tokio::test]
async fn calls_take_http2() {
    let world = World::new().await;
    let mut client = world.connect().await;
    let answer = client
        .ask(format!(
            "POST {CHECK} HTTP/1.1\r\nHost: gate\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
    assert_eq!(answer.status, 404);
}

/// A body that never begins, and never ends.
struct Never;

impl Body for Never {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn a_message_that_does_not_come_is_not_waited_for_long() {
    let http = Options { head_timeout: Duration::from_millis(50), ..OPTIONS.http };
    let world = World::with(listener::Options { http, ..OPTIONS }, Stale::Refuse, None).await;
    let stream = TcpStream::connect(world.address()).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let asks = async {
        let request =
            http::Request::post(format!("http://gate{CHECK}")).header("content-type", "application/grpc").body(Never);
        let response = sender.send_request(request.unwrap()).await.unwrap();
        let answer = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(refused(&CheckResponse::decode(&answer[5..]).unwrap()).2, "no_demand\n");
        world.stop.request();
    };
    tokio::select! {
        _ = connection => panic!("the connection has ended"),
        () = asks => {}
    }
}
