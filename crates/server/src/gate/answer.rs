//! Answers: statuses, and the few headers that go with them.

use std::fmt::{self, Write as _};

use countersign_token::index::Detail;
use countersign_token::verify::{Reason, Verified};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http_body_util::Full;
use hyper::body::Bytes;

use super::forward_auth::Head;
use super::{Answer, Gate, Refusal};
use crate::assertion;

/// An answer of the gate: its body is empty or a word.
pub type Response = http::Response<Full<Bytes>>;

/// How much of an encoded token name a header carries, in bytes.
const NAME_MAX: usize = 512;

pub(super) static KIND: HeaderName = HeaderName::from_static("countersign-kind");
static TOKEN_ID: HeaderName = HeaderName::from_static("countersign-token-id");
static ACCOUNT_ID: HeaderName = HeaderName::from_static("countersign-account-id");
static TOKEN_NAME: HeaderName = HeaderName::from_static("countersign-token-name");
static CLIENT_ID: HeaderName = HeaderName::from_static("countersign-client-id");
static ZONE_ID: HeaderName = HeaderName::from_static("countersign-zone-id");
static ENVIRONMENT_ID: HeaderName = HeaderName::from_static("countersign-environment-id");
pub(super) static REASON: HeaderName = HeaderName::from_static("countersign-reason");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Every header that speaks of a credential.
pub(super) static NAMES: [&HeaderName; 8] =
    [&KIND, &TOKEN_ID, &ACCOUNT_ID, &TOKEN_NAME, &CLIENT_ID, &ZONE_ID, &ENVIRONMENT_ID, &REASON];

/// What a client is told to present.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"countersign\"");
const SERVICE_TOKEN: HeaderValue = HeaderValue::from_static("service_token");
pub(super) const API_TOKEN: HeaderValue = HeaderValue::from_static("api_token");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// A follower that can read again does so within a second.
const SOON: HeaderValue = HeaderValue::from_static("1");

/// An admission carries `assertion`, if there is one.
pub(super) fn render(gate: &Gate, answer: &Answer, assertion: Option<HeaderValue>) -> Response {
    match answer {
        Answer::Allow(verified) => allowed(gate, verified, assertion),
        Answer::Refuse(refusal) => refused(*refusal),
    }
}

/// Names the admitted credential. The proxy may hand these headers to the upstream.
fn allowed(gate: &Gate, verified: &Verified, assertion: Option<HeaderValue>) -> Response {
    let Some(detail) = gate.index.describe(verified.handle) else {
        // Deleted since it was verified.
        return refused(Refusal::Credential(Reason::Invalid));
    };
    let mut fields = Fields::default();
    let kind = match &detail {
        Detail::ServiceToken { id, owner, client_id, name, .. } => {
            fields.add(&TOKEN_ID, id);
            fields.add(&ACCOUNT_ID, &owner.account);
            fields.add(&TOKEN_NAME, &Encoded(name));
            fields.add(&CLIENT_ID, client_id);
            if let Some(zone) = &owner.zone {
                fields.add(&ZONE_ID, zone);
            }
            SERVICE_TOKEN
        }
        Detail::ApiToken { id, account, environment, .. } => {
            fields.add(&TOKEN_ID, id);
            if let Some(account) = gate.index.account_pfid(account) {
                fields.add(&ACCOUNT_ID, &account);
            }
            if let Some(environment) = environment {
                fields.add(&ENVIRONMENT_ID, environment);
            }
            API_TOKEN
        }
        // Neither is ever admitted by `verify`.
        Detail::ManagementToken { .. } | Detail::User { .. } => {
            return refused(Refusal::Credential(Reason::Invalid));
        }
    };
    let mut response = empty(StatusCode::OK, fields.ends.len() + 3 + usize::from(assertion.is_some()));
    response.headers_mut().insert(KIND.clone(), kind);
    fields.insert_into(response.headers_mut());
    if let Some(assertion) = assertion {
        response.headers_mut().insert(assertion::HEADER.clone(), assertion);
    }
    response
}

/// Header fields whose values lie behind one another in one text, so that they are one allocation.
struct Fields {
    text: String,
    ends: Vec<(&'static HeaderName, usize)>,
}

impl Default for Fields {
    fn default() -> Self {
        Self { text: String::with_capacity(256), ends: Vec::with_capacity(5) }
    }
}

impl Fields {
    fn add(&mut self, name: &'static HeaderName, value: &dyn fmt::Display) {
        // Writing to a string can't fail.
        let _ = write!(self.text, "{value}");
        self.ends.push((name, self.text.len()));
    }

    fn insert_into(self, headers: &mut HeaderMap) {
        let text = Bytes::from(self.text);
        let mut start = 0;
        for (name, end) in self.ends {
            if let Ok(value) = HeaderValue::from_maybe_shared(text.slice(start..end)) {
                headers.insert(name.clone(), value);
            }
            start = end;
        }
    }
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
    if let Refusal::Throttled { wait_secs, .. } = refusal {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait_secs));
    }
    response
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Response {
    let mut response = empty(status, 3);
    response.headers_mut().insert(CONTENT_TYPE, PLAIN);
    *response.body_mut() = Full::new(Bytes::from_static(text.as_bytes()));
    response
}

/// The keys of assertions, for whoever checks them.
pub(super) fn certs(document: String) -> Response {
    let mut response = empty(StatusCode::OK, 3);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    *response.body_mut() = Full::new(Bytes::from(document));
    response
}

/// Gives back the request's id if it has a well-formed one. The gate never makes one.
pub(super) fn keep_request_id(request: &impl Head, response: &mut HeaderMap) {
    if let Some(id) = request_id(request).and_then(|id| HeaderValue::from_bytes(id).ok()) {
        response.insert(REQUEST_ID.clone(), id);
    }
}

/// A request's id, if it has a well-formed one.
pub(super) fn request_id(request: &impl Head) -> Option<&[u8]> {
    request.values(REQUEST_ID.as_str()).next().filter(|id| is_request_id(id))
}

pub(super) fn is_request_id(id: &[u8]) -> bool {
    let is_of_it = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=128).contains(&id.len()) && id.iter().all(is_of_it)
}

fn status(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::Missing
        | Refusal::Malformed
        | Refusal::Credential(Reason::Invalid | Reason::Expired | Reason::Disabled | Reason::Revoked)
        | Refusal::Throttled { is_carried: false, .. } => StatusCode::UNAUTHORIZED,
        Refusal::Credential(Reason::AddressNotAllowed | Reason::NotPermitted) | Refusal::NoDemand => {
            StatusCode::FORBIDDEN
        }
        Refusal::Throttled { is_carried: true, .. } => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Stale | Refusal::NoAssertion => StatusCode::SERVICE_UNAVAILABLE,
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
struct Encoded<'n>(&'n str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
        if self.0.len() <= NAME_MAX && self.0.bytes().all(is_plain) {
            return f.write_str(self.0);
        }
        let mut room = NAME_MAX;
        for character in self.0.chars() {
            let utf8 = &mut [0; 4];
            let utf8 = character.encode_utf8(utf8);
            let plain = utf8.bytes().all(is_plain);
            let length = if plain { 1 } else { 3 * utf8.len() };
            let Some(rest) = room.checked_sub(length) else { break };
            room = rest;
            if plain {
                f.write_char(character)?;
                continue;
            }
            for byte in utf8.bytes() {
                let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0').to_ascii_uppercase();
                f.write_char('%')?;
                f.write_char(digit(byte >> 4))?;
                f.write_char(digit(byte & 15))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_percent_encoded_and_cut_between_characters() {
        fn check(name: &str, expected: &str) {
            assert_eq!(Encoded(name).to_string(), expected, "{name:?}");
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
