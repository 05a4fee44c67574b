//! Any bytes as a call of the gate's gRPC surface: an answer that is a decision, the one that a request of HTTP with the
//! same words gets, and nothing left for the application that only the gate may say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_server::config::Stale;
use countersign_server::gate::grpc::proto::check_response::HttpResponse;
use countersign_server::gate::grpc::proto::{CheckResponse, HeaderValueOption};
use countersign_server::gate::{Gate, Tallies, forward_auth, grpc};
use countersign_token::digest::InstallationKey;
use countersign_token::entropy::Entropy;
use countersign_token::feed::{Change, Freshness, Revision, Subject};
use countersign_token::id::{AccountId, AccountPfid, Pfid, ServiceTokenId};
use countersign_token::index::Index;
use countersign_token::service_token::Owner;
use countersign_token::time::{Clock, ManualClock, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::Bytes;
use prost::Message as _;

/// Stands between the texts of an input.
pub(crate) const SEPARATOR: u8 = 0xff;
pub(crate) const ACCOUNT: &str = "2f0c5b1be6f84e7f8a2d3c4b5a697887";
pub(crate) const CLIENT_ID: &str = "88bf3b6d86161464f6509f7219099e57.access";
pub(crate) const SECRET: &str = "csec_hush";

thread_local! {
    static GATE: Gate = gate();
}

/// A gate that knows one service token.
fn gate() -> Gate {
    let entropy = Entropy::seeded(1);
    let key = InstallationKey::generate(&entropy);
    let clock = Clock::Manual(ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000)));
    let index = Arc::new(Index::new(key.digest_key(), &entropy));
    let account: AccountId = ACCOUNT.parse().expect("an id");
    let client_id = CLIENT_ID.parse().expect("an id");
    let pfid = AccountPfid::from(Pfid::generate_root(clock.now(), &entropy));
    let token = Subject::ServiceToken {
        id: ServiceTokenId::generate(clock.now(), &entropy),
        owner: Owner { account, zone: None },
        client_id,
        name: "ci deploy".to_owned(),
        allow_from: None,
        digest: key.digest_key().pair(&client_id, SECRET),
        secret_version: 1,
        previous: None,
        previous_version: None,
        enabled: true,
        expires_at: None,
        last_seen_at: None,
        deleted: false,
    };
    for (revision, subject) in (1..).zip([Subject::Account { id: account, pfid }, token]) {
        index.apply(&Change { revision: Revision::new(revision), subject });
    }
    let freshness = Arc::new(Freshness::new(clock.boot()));
    Gate::new(index, freshness, Duration::from_secs(5), Stale::Serve, clock, Tallies::default())
}

/// The input is a body, a message, and the texts of a request.
pub(crate) fn check(input: &[u8]) {
    GATE.with(|gate| {
        for body in [input.to_vec(), framed(input)] {
            let answer = ask(gate, body);
            let is_admitted = matches!(answer.http_response, Some(HttpResponse::OkResponse(_)));
            assert!(!is_admitted || holds(input, SECRET.as_bytes()), "{input:?}");
        }
        check_texts(gate, input);
    });
}

/// Before the first empty text stands what the route's configuration says, after it the headers: name, value, and so on.
fn check_texts(gate: &Gate, input: &[u8]) {
    let texts: Vec<&[u8]> = input.split(|byte| *byte == SEPARATOR).collect();
    let [first, rest @ ..] = texts.as_slice() else { return };
    let end = rest.iter().position(|text| text.is_empty()).unwrap_or(rest.len());
    let (extensions, headers) = (pairs(&rest[..end]), pairs(rest.get(end + 1..).unwrap_or_default()));
    let is_text = |pair: &(&[u8], &[u8])| str::from_utf8(pair.0).is_ok() && str::from_utf8(pair.1).is_ok();
    if !extensions.iter().chain(&headers).all(is_text) {
        return;
    }
    // The first text says in which of its forms Envoy tells of the headers.
    let (place, value) = if first.is_empty() { (13, 3) } else { (3, 2) };
    let entries = |pairs: &[(&[u8], &[u8])], number: u8, value: u8| {
        let entry = |(name, text): &(&[u8], &[u8])| field(number, &[field(1, name), field(value, text)].concat());
        pairs.iter().map(entry).collect::<Vec<_>>().concat()
    };
    let http = match place {
        13 => field(13, &entries(&headers, 1, value)),
        _ => entries(&headers, place, value),
    };
    let attributes = [field(4, &field(2, &http)), entries(&extensions, 10, 2)].concat();
    let answer = ask(gate, framed(&field(1, &attributes)));

    let mut map = HeaderMap::new();
    for (name, value) in &headers {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else { return };
        map.append(name, value);
    }
    let query: Vec<String> =
        extensions.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    let Ok(uri) = format!("/verify?{}", query.join("&")).parse() else { return };
    let response = forward_auth::handle(gate, None, &uri, &map).expect("nothing to wait for");
    let words = |name: &str| name.starts_with("countersign-") || name == "www-authenticate";
    let said: BTreeMap<String, String> = response
        .headers()
        .iter()
        .filter(|(name, _)| words(name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().expect("a text").to_owned()))
        .collect();
    match answer.http_response.expect("a decision") {
        HttpResponse::OkResponse(admitted) => {
            assert_eq!((response.status().as_u16(), said), (200, set(&admitted.headers)));
            for name in &admitted.headers_to_remove {
                map.remove(name);
            }
            for name in map.keys() {
                let name = name.as_str().replace('_', "-");
                let is_set = response.headers().contains_key(&name) && map.contains_key(&name);
                assert!(is_set || !name.starts_with("countersign-"), "{name} is left");
                assert!(
                    !name.starts_with("cf-access-client-") || name.len() > "cf-access-client-secret".len(),
                    "{name}"
                );
                assert!(!name.starts_with("cf-access-jwt-assertion"), "{name} is left");
            }
        }
        HttpResponse::DeniedResponse(denied) => {
            let mut set = set(&denied.headers);
            set.retain(|name, _| words(name));
            assert_eq!((i32::from(response.status().as_u16()), said), (denied.status.unwrap_or_default().code, set));
        }
    }
}

fn set(options: &[HeaderValueOption]) -> BTreeMap<String, String> {
    let header = |option: &HeaderValueOption| {
        let header = option.header.clone().unwrap_or_default();
        (header.key, String::from_utf8(header.value.to_vec()).expect("a text"))
    };
    options.iter().map(header).collect()
}

/// The answer, which is whole, and is a yes if and only if it says so in both ways.
fn ask(gate: &Gate, body: Vec<u8>) -> CheckResponse {
    let answer = grpc::handle(gate, None, Bytes::from(body)).expect("nothing to wait for: this gate has no assertions");
    let (prefix, message) = answer.split_at(5);
    let length = u32::try_from(message.len()).expect("a small message").to_be_bytes();
    assert_eq!(prefix, [&[0], &length[..]].concat());
    let answer = CheckResponse::decode(message).expect("a message");
    let code = answer.status.as_ref().expect("a status").code;
    assert_eq!(code == 0, matches!(answer.http_response, Some(HttpResponse::OkResponse(_))));
    answer
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], &length[..], message].concat()
}

/// A field of a message that has a length.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut field);
    field.extend(bytes);
    field
}

fn pairs<'t>(texts: &[&'t [u8]]) -> Vec<(&'t [u8], &'t [u8])> {
    texts.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
}

fn escaped(text: &[u8]) -> String {
    text.iter().map(|byte| format!("%{byte:02x}")).collect()
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
