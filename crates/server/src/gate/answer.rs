//! Answers: statuses, and the few headers that go with them.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use countersign_token::index::Detail;
use countersign_token::verify::{Reason, Verified};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http_body_util::Full;
use hyper::body::Bytes;

use super::forward_auth::Head;
use super::{Answer, Gate, Refusal};
use crate::assertion;

/// An answer of the gate as hyper sends it: its body is empty or a word.
pub type Response = http::Response<Full<Bytes>>;

/// How much of an encoded token name a header carries, in bytes.
const NAME_MAX: usize = 512;

/// How much room an answer's fields have at first, which is enough for most.
const FIELDS_ROOM: usize = 384;

pub(super) const KIND: &str = "countersign-kind";
const TOKEN_ID: &str = "countersign-token-id";
const ACCOUNT_ID: &str = "countersign-account-id";
const TOKEN_NAME: &str = "countersign-token-name";
const CLIENT_ID: &str = "countersign-client-id";
const ZONE_ID: &str = "countersign-zone-id";
const ENVIRONMENT_ID: &str = "countersign-environment-id";
pub(super) const REASON: &str = "countersign-reason";
const REQUEST_ID: &str = "x-request-id";

/// Every header that speaks of a credential.
pub(super) const NAMES: [&str; 8] =
    [KIND, TOKEN_ID, ACCOUNT_ID, TOKEN_NAME, CLIENT_ID, ZONE_ID, ENVIRONMENT_ID, REASON];

/// What a client is told to present.
const CHALLENGE: &str = "Bearer realm=\"countersign\"";
const SERVICE_TOKEN: &str = "service_token";
pub(super) const API_TOKEN: &str = "api_token";

/// An answer in words: a status, a few header fields, and a body.
pub(super) struct Reply {
    status: StatusCode,
    /// As they stand in a message of HTTP/1, each behind a line's end.
    fields: String,
    body: Bytes,
}

impl Reply {
    fn new(status: StatusCode) -> Self {
        Self::with_room(status, FIELDS_ROOM)
    }

    fn with_room(status: StatusCode, room: usize) -> Self {
        let mut reply = Self { status, fields: String::with_capacity(room), body: Bytes::new() };
        reply.add(CACHE_CONTROL.as_str(), "no-store");
        reply
    }

    /// `value` must be made of visible ASCII and spaces.
    fn add(&mut self, name: &str, value: impl fmt::Display) {
        for part in ["\r\n", name, ": "] {
            self.fields.push_str(part);
        }
        // Writing to a string can't fail.
        let _ = write!(self.fields, "{value}");
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The fields as they stand in a message of HTTP/1, each behind a line's end.
    pub(super) fn lines(&self) -> &str {
        &self.fields
    }

    /// Name and value of each field.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.split("\r\n").filter_map(|line| line.split_once(": "))
    }

    /// The value of a field, if there is one with this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields().find(|(field, _)| *field == name).map(|(_, value)| value)
    }

    /// Gives back the request's id if it has a well-formed one. The gate never makes one.
    pub(super) fn keep_id_of(&mut self, request: &impl Head) {
        if let Some(id) = request_id(request) {
            self.add(REQUEST_ID, id);
        }
    }
}

impl From<Reply> for Response {
    fn from(reply: Reply) -> Self {
        let field =
            |(name, value): (&str, &str)| Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?));
        let fields: HeaderMap = reply.fields().filter_map(field).collect();
        let mut response = Self::new(Full::new(reply.body));
        *response.status_mut() = reply.status;
        *response.headers_mut() = fields;
        response
    }
}

/// An admission carries `assertion`, if there is one.
pub(super) fn render(gate: &Gate, answer: &Answer, assertion: Option<Arc<str>>) -> Reply {
    match answer {
        Answer::Allow(verified) => allowed(gate, verified, assertion),
        Answer::Refuse(refusal) => refused(*refusal),
    }
}

/// Names the admitted credential. The proxy may hand these headers to the upstream.
fn allowed(gate: &Gate, verified: &Verified, assertion: Option<Arc<str>>) -> Reply {
    let Some(detail) = gate.index.describe(verified.handle) else {
        // Deleted since it was verified.
        return refused(Refusal::Credential(Reason::Invalid));
    };
    let room = FIELDS_ROOM + assertion.as_deref().map_or(0, str::len);
    let mut reply = Reply::with_room(StatusCode::OK, room);
    match &detail {
        Detail::ServiceToken { id, owner, client_id, name } => {
            reply.add(KIND, SERVICE_TOKEN);
            reply.add(TOKEN_ID, id);
            reply.add(ACCOUNT_ID, owner.account);
            reply.add(TOKEN_NAME, Encoded(name));
            reply.add(CLIENT_ID, client_id);
            if let Some(zone) = &owner.zone {
                reply.add(ZONE_ID, zone);
            }
        }
        Detail::ApiToken { id, account, environment } => {
            reply.add(KIND, API_TOKEN);
            reply.add(TOKEN_ID, id);
            if let Some(account) = gate.index.account_pfid(account) {
                reply.add(ACCOUNT_ID, account);
            }
            if let Some(environment) = environment {
                reply.add(ENVIRONMENT_ID, environment);
            }
        }
        // Neither is ever admitted by `verify`.
        Detail::ManagementToken { .. } | Detail::User { .. } => {
            return refused(Refusal::Credential(Reason::Invalid));
        }
    }
    if let Some(assertion) = assertion {
        reply.add(assertion::HEADER, assertion);
    }
    reply
}

pub(super) fn refused(refusal: Refusal) -> Reply {
    let mut reply = Reply::new(status(refusal));
    reply.add(REASON, refusal.as_str());
    match reply.status {
        StatusCode::UNAUTHORIZED => reply.add(WWW_AUTHENTICATE.as_str(), CHALLENGE),
        // A follower that can read again does so within a second.
        StatusCode::SERVICE_UNAVAILABLE => reply.add(RETRY_AFTER.as_str(), 1),
        _ => {}
    }
    if let Refusal::Throttled { wait_secs, .. } = refusal {
        reply.add(RETRY_AFTER.as_str(), wait_secs);
    }
    reply
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Reply {
    let mut reply = Reply::new(status);
    reply.add(CONTENT_TYPE.as_str(), "text/plain");
    reply.body = Bytes::from_static(text.as_bytes());
    reply
}

/// The keys of assertions, for whoever checks them.
pub(super) fn certs(document: String) -> Reply {
    let mut reply = Reply::new(StatusCode::OK);
    reply.add(CONTENT_TYPE.as_str(), "application/json");
    reply.body = Bytes::from(document);
    reply
}

/// A request's id, if it has a well-formed one.
pub(super) fn request_id(request: &impl Head) -> Option<&str> {
    let id = request.values(REQUEST_ID).next().filter(|id| is_request_id(id))?;
    str::from_utf8(id).ok()
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
