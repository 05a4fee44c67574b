//! Answers: statuses, and the few headers that go with them.

use std::fmt::Write as _;

use countersign_token::index::Detail;
use countersign_token::verify::{Reason, Verified};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http_body_util::Full;
use hyper::body::Bytes;

use super::{Answer, Gate, Refusal};

/// An answer of the gate: its body is empty or a word.
pub type Response = http::Response<Full<Bytes>>;

/// How much of an encoded token name a header carries, in bytes.
const NAME_MAX: usize = 512;

static KIND: HeaderName = HeaderName::from_static("countersign-kind");
static TOKEN_ID: HeaderName = HeaderName::from_static("countersign-token-id");
static ACCOUNT_ID: HeaderName = HeaderName::from_static("countersign-account-id");
static TOKEN_NAME: HeaderName = HeaderName::from_static("countersign-token-name");
static CLIENT_ID: HeaderName = HeaderName::from_static("countersign-client-id");
static ZONE_ID: HeaderName = HeaderName::from_static("countersign-zone-id");
static ENVIRONMENT_ID: HeaderName = HeaderName::from_static("countersign-environment-id");
static REASON: HeaderName = HeaderName::from_static("countersign-reason");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a client is told to present.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"countersign\"");
const SERVICE_TOKEN: HeaderValue = HeaderValue::from_static("service_token");
const API_TOKEN: HeaderValue = HeaderValue::from_static("api_token");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain");
/// A follower that can read again does so within a second.
const SOON: HeaderValue = HeaderValue::from_static("1");

pub(super) fn render(gate: &Gate, answer: &Answer) -> Response {
    match answer {
        Answer::Allow(verified) => allowed(gate, verified),
        Answer::Refuse(refusal) => refused(*refusal),
    }
}

/// Names the admitted credential. The proxy may hand these headers to the upstream.
fn allowed(gate: &Gate, verified: &Verified) -> Response {
    let Some(detail) = gate.index.describe(verified.handle) else {
        // Deleted since it was verified.
        return refused(Refusal::Credential(Reason::Invalid));
    };
    let mut response = empty(StatusCode::OK, 8);
    let headers = response.headers_mut();
    let mut insert = |name: &HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name.clone(), value);
        }
    };
    match detail.as_ref() {
        Detail::ServiceToken { id, owner, client_id, name, .. } => {
            insert(&TOKEN_ID, id.to_string());
            insert(&ACCOUNT_ID, owner.account.to_string());
            insert(&TOKEN_NAME, encode_name(name));
            insert(&CLIENT_ID, client_id.to_string());
            if let Some(zone) = owner.zone {
                insert(&ZONE_ID, zone.to_string());
            }
            headers.insert(KIND.clone(), SERVICE_TOKEN);
        }
        Detail::ApiToken { id, account, environment, .. } => {
            insert(&TOKEN_ID, id.to_string());
            if let Some(account) = gate.index.account_pfid(account) {
                insert(&ACCOUNT_ID, account.to_string());
            }
            if let Some(environment) = environment {
                insert(&ENVIRONMENT_ID, environment.to_string());
            }
            headers.insert(KIND.clone(), API_TOKEN);
        }
        // Neither is ever admitted by `verify`.
        Detail::ManagementToken { .. } | Detail::User { .. } => {
            return refused(Refusal::Credential(Reason::Invalid));
        }
    }
    response
}

pub(super) fn refused(refusal: Refusal) -> Response {
    let mut response = empty(status(refusal), 4);
    let headers = response.headers_mut();
    headers.insert(REASON.clone(), HeaderValue::from_static(refusal.as_str()));
    match response.status() {
        StatusCode::UNAUTHORIZED => {
            response.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            response.headers_mut().insert(RETRY_AFTER, SOON);
        }
        _ => {}
    }
    response
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Response {
    let mut response = empty(status, 3);
    response.headers_mut().insert(CONTENT_TYPE, PLAIN);
    *response.body_mut() = Full::new(Bytes::from_static(text.as_bytes()));
    response
}

/// Gives back the request's id if it has a well-formed one. The gate never makes one.
pub(super) fn keep_request_id(request: &HeaderMap, response: &mut HeaderMap) {
    if let Some(id) = request.get(&REQUEST_ID)
        && (1..=128).contains(&id.len())
        && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
    {
        response.insert(REQUEST_ID.clone(), id.clone());
    }
}

fn status(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::Missing
        | Refusal::Malformed
        | Refusal::Credential(Reason::Invalid | Reason::Expired | Reason::Disabled | Reason::Revoked) => {
            StatusCode::UNAUTHORIZED
        }
        Refusal::Credential(Reason::NotPermitted) | Refusal::NoDemand => StatusCode::FORBIDDEN,
        Refusal::Stale => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn empty(status: StatusCode, headers: usize) -> Response {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    let mut map = HeaderMap::with_capacity(headers);
    map.insert(CACHE_CONTROL, NO_STORE);
    *response.headers_mut() = map;
    response
}

/// A token's name for a header: everything but visible ASCII is percent-encoded, and `%` too. It ends before the first
/// character whose encoding would not fit.
fn encode_name(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len().min(NAME_MAX));
    for character in name.chars() {
        let start = encoded.len();
        if character.is_ascii_graphic() && character != '%' {
            encoded.push(character);
        } else {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a string can't fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
        if encoded.len() > NAME_MAX {
            encoded.truncate(start);
            break;
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_percent_encoded_and_cut_between_characters() {
        fn check(name: &str, expected: &str) {
            assert_eq!(encode_name(name), expected, "{name:?}");
        }
        check("ci", "ci");
        check("ci deploy", "ci%20deploy");
        check("100%", "100%25");
        check("!~", "!~");
        check("\u{7f}\r\n\t", "%7F%0D%0A%09");
        check("Zürich", "Z%C3%BCrich");
        check("🔑", "%F0%9F%94%91");
        check(&"a".repeat(512), &"a".repeat(512));
        check(&"a".repeat(513), &"a".repeat(512));
        // 42 keys are 504 bytes; a 43rd would be 516.
        check(&"🔑".repeat(50), &"%F0%9F%94%91".repeat(42));
        check(&format!("{}é", "a".repeat(506)), &format!("{}%C3%A9", "a".repeat(506)));
        check(&format!("{}éb", "a".repeat(507)), &"a".repeat(507));
    }
}
