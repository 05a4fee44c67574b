//! `envoy.service.auth.v3.Authorization/Check`: what Envoy says of a request by gRPC, and how the answer is put.
//!
//! The answer is that of `Gate::answer` in other words. gRPC's framing is so little that it stands here, beside a server
//! that speaks HTTP/2 already: one call, one message each way, no compression.
//!
//! Whatever can't be understood is refused like a request of a proxy without a demand. So the answer is always a decision,
//! and never an error, which Envoy could have been told to take for a yes.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::time::Duration;

use countersign_token::demand::Demand;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use prost::Message as _;

use self::proto::check_response::HttpResponse;
use self::proto::value::Kind;
use super::answer::{self, Reply};
use super::{Awaited, Gate, Refusal};
use crate::assertion::{self, Minting};
use crate::proxy::{FORWARDED_FOR, TrustedProxies};

/// The messages, as they are made of `check.proto`.
#[rustfmt::skip]
pub mod proto;

const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The largest message: the largest head, twice. Envoy sends most of a request's head, some of it in two places.
const MESSAGE_MAX: usize = 128 * 1024;

/// Before a message stand a byte, whether it is compressed, and four with its length.
const PREFIX: usize = 5;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
static STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// An answer's body: one message, and the word that it was all.
pub(super) type Body = WithTrailers<Full<Bytes>, Ready<Option<Result<HeaderMap, Infallible>>>>;

/// Why a message is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("a gRPC message is larger than {MESSAGE_MAX} bytes")]
    TooLarge,
    #[error("a gRPC message did not arrive whole")]
    Broken,
    #[error("a gRPC message did not arrive in time")]
    Late,
    #[error("a gRPC message is compressed")]
    Compressed,
    #[error("a gRPC call has not exactly one message")]
    NotOne,
    #[error("a gRPC message is no CheckRequest")]
    Unreadable,
}

/// Whether a request is a call of the method. Any other request with gRPC's content type is one that a proxy asks about.
pub(super) fn is_call<B>(request: &Request<B>) -> bool {
    let is_grpc = |kind: &HeaderValue| {
        let rest = kind.as_bytes().strip_prefix(GRPC.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+proto") || rest.starts_with(b";"))
    };
    request.uri().path() == PATH
        && request.method() == Method::POST
        && request.version() == Version::HTTP_2
        && request.headers().get(CONTENT_TYPE).is_some_and(is_grpc)
}

/// Answers one call that came from `peer`. Its message must arrive within `patience`.
pub(super) async fn serve(gate: &Gate, peer: Option<IpAddr>, body: Incoming, patience: Duration) -> Response<Body> {
    let read = Limited::new(body, PREFIX + MESSAGE_MAX).collect();
    let read = match tokio::time::timeout(patience, read).await {
        Ok(Ok(read)) => Ok(read.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::TooLarge),
        Ok(Err(_)) => Err(Problem::Broken),
        Err(_) => Err(Problem::Late),
    };
    let message = match read {
        Err(problem) => frame(&refuse(gate, problem)),
        Ok(framed) => match gate.timed(|| handle(gate, peer, framed.clone())) {
            Ok(answer) => answer,
            Err(minting) => handle_after(minting, gate, peer, framed).await,
        },
    };
    let trailers = HeaderMap::from_iter([(STATUS.clone(), HeaderValue::from_static("0"))]);
    let mut response = Response::new(Full::new(message).with_trailers(ready(Some(Ok(trailers)))));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// Answers the body of one call with the body of its answer. A call that needs an assertion which is yet to be made is
/// answered by [`handle_after`].
pub fn handle(gate: &Gate, peer: Option<IpAddr>, framed: Bytes) -> Result<Bytes, Minting> {
    respond(gate, peer, framed, Awaited::Nothing)
}

/// Answers the same call once its assertion has come, or has not come in time.
pub async fn handle_after(minting: Minting, gate: &Gate, peer: Option<IpAddr>, framed: Bytes) -> Bytes {
    let awaited = Awaited::Over(minting.wait().await);
    respond(gate, peer, framed, awaited).unwrap_or_else(|_: Minting| {
        // One wait is enough for everybody.
        frame(&denied(&answer::refused(Refusal::NoAssertion), None))
    })
}

fn respond(gate: &Gate, peer: Option<IpAddr>, framed: Bytes, awaited: Awaited) -> Result<Bytes, Minting> {
    let request = unframe(framed)
        .and_then(|message| proto::CheckRequest::decode(message).map_err(|_: prost::DecodeError| Problem::Unreadable));
    Ok(frame(&match request {
        Ok(request) => check(gate, peer, request, awaited)?,
        Err(problem) => refuse(gate, problem),
    }))
}

fn check(
    gate: &Gate,
    peer: Option<IpAddr>,
    request: proto::CheckRequest,
    awaited: Awaited,
) -> Result<proto::CheckResponse, Minting> {
    let proto::AttributeContext { request, context_extensions } = request.attributes.unwrap_or_default();
    let proto::HttpRequest { headers, header_map } = request.unwrap_or_default().http.unwrap_or_default();
    let fields = || headers.iter().chain(header_map.iter().flat_map(|map| &map.headers));

    let parameters = context_extensions
        .iter()
        .map(|proto::Extension { key, value }| Ok((Cow::Borrowed(key.as_str()), Cow::Borrowed(value.as_str()))));
    let demand = Demand::of_parameters(parameters, &gate.index);
    let single_header = demand.as_ref().ok().and_then(|(_, header)| header.clone());
    let values = fields().map(|field| (field.key.as_str(), value(field)));
    let request_id = || {
        let id = fields().find(|field| field.key.eq_ignore_ascii_case("x-request-id"))?;
        str::from_utf8(value(id)).ok().filter(|id| answer::is_request_id(id.as_bytes()))
    };
    let from = |proxies: &TrustedProxies| {
        proxies.client(peer, fields().filter(|field| field.key.eq_ignore_ascii_case(FORWARDED_FOR)).map(value))
    };
    let agent = || fields().find(|field| field.key.eq_ignore_ascii_case(USER_AGENT.as_str())).map(value);
    let reply = gate.answer(demand, values, from, agent, request_id, awaited)?;
    if reply.status() != StatusCode::OK {
        return Ok(denied(&reply, None));
    }
    let names = fields().map(|field| field.key.as_str());
    let removed = removed(names, &reply, single_header.as_deref());
    Ok(allowed(&reply, removed))
}

fn refuse(gate: &Gate, problem: Problem) -> proto::CheckResponse {
    match problem {
        // The client's doing: it gets what it would get from the gate itself.
        Problem::TooLarge => {
            let reply = answer::text(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "");
            denied(&reply, Some("the headers are too large"))
        }
        Problem::Broken | Problem::Late | Problem::Compressed | Problem::NotOne | Problem::Unreadable => {
            denied(&answer::render(gate, &gate.refuse_without_demand(&problem), None), None)
        }
    }
}

fn allowed(reply: &Reply, headers_to_remove: Vec<String>) -> proto::CheckResponse {
    let ours = reply.fields().filter(|(name, _)| is_ours(name));
    let admitted = proto::OkHttpResponse { headers: ours.map(set).collect(), headers_to_remove };
    proto::CheckResponse {
        status: Some(proto::Status::default()),
        dynamic_metadata: Some(metadata(reply)),
        http_response: Some(HttpResponse::OkResponse(admitted)),
    }
}

/// The client reads `body`, or else the reason.
fn denied(reply: &Reply, body: Option<&str>) -> proto::CheckResponse {
    let status = reply.status();
    let message = body.or(reply.get(answer::REASON)).unwrap_or_default();
    let refused = proto::DeniedHttpResponse {
        status: Some(proto::HttpStatus { code: status.as_u16().into() }),
        headers: reply.fields().map(set).collect(),
        body: format!("{message}\n"),
    };
    proto::CheckResponse {
        status: Some(proto::Status { code: code(status), message: message.to_owned() }),
        dynamic_metadata: Some(metadata(reply)),
        http_response: Some(HttpResponse::DeniedResponse(refused)),
    }
}

/// gRPC's number for a refusal, as its mapping of statuses has it.
fn code(status: StatusCode) -> i32 {
    match status {
        StatusCode::UNAUTHORIZED => 16,
        StatusCode::SERVICE_UNAVAILABLE => 14,
        StatusCode::TOO_MANY_REQUESTS => 8,
        _ => 7,
    }
}

/// A header in place of all that had its name.
fn set((name, value): (&str, &str)) -> proto::HeaderValueOption {
    let value = Bytes::copy_from_slice(value.as_bytes());
    let header = proto::Header { key: name.to_owned(), value, raw_value: Bytes::new() };
    let append_action = proto::HeaderAppendAction::OverwriteIfExistsOrAdd.into();
    proto::HeaderValueOption { header: Some(header), append_action }
}

/// What the gate says in `Countersign-…` headers, by names such as `token_id`.
fn metadata(reply: &Reply) -> proto::Struct {
    let field = |(name, value): (&str, &str)| {
        let key = name.strip_prefix("countersign-")?.replace('-', "_");
        Some(proto::Field { key, value: Some(proto::Value { kind: Some(Kind::StringValue(value.to_owned())) }) })
    };
    proto::Struct { fields: reply.fields().filter_map(field).collect() }
}

/// What must not reach the application: the credential, and what only the gate may say and does not.
///
/// Envoy takes these headers away after it has set the others, so that none of those may be among them.
fn removed<'r>(names: impl Iterator<Item = &'r str>, set: &Reply, single_header: Option<&str>) -> Vec<String> {
    let only_ours = answer::NAMES.into_iter().chain([assertion::HEADER]);
    let mut removed: BTreeSet<Cow<'_, str>> = only_ours.map(Cow::Borrowed).collect();
    let mut has_pair = false;
    for name in names {
        has_pair |= name.eq_ignore_ascii_case(PAIR[0]);
        if is_ours(name) {
            removed.insert(Cow::Owned(name.to_ascii_lowercase()));
        }
    }
    removed.retain(|name| set.get(name).is_none());
    removed.extend(PAIR.map(Cow::Borrowed));
    let is_bearer = set.get(answer::KIND) == Some(answer::API_TOKEN);
    match single_header {
        // Beside a pair it is the application's, even where it may hold one.
        Some(header) if header.eq_ignore_ascii_case(AUTHORIZATION.as_str()) && has_pair => {}
        Some(header) => drop(removed.insert(Cow::Owned(header.to_ascii_lowercase()))),
        None => {}
    }
    if is_bearer {
        removed.insert(Cow::Borrowed(AUTHORIZATION.as_str()));
    }
    removed.into_iter().map(Cow::into_owned).collect()
}

/// The headers of a pair.
const PAIR: [&str; 2] = ["cf-access-client-id", "cf-access-client-secret"];

/// Whether a header is one that an application takes for the gate's. Some take an underscore for a hyphen.
fn is_ours(name: &str) -> bool {
    let begins = |prefix: &str| {
        let same = |(a, b): (u8, u8)| a.eq_ignore_ascii_case(&b) || (a == b'_' && b == b'-');
        name.len() >= prefix.len() && name.bytes().zip(prefix.bytes()).all(same)
    };
    begins("countersign-") || begins("cf-access-jwt-assertion")
}

fn value(field: &proto::Header) -> &[u8] {
    if field.raw_value.is_empty() { &field.value } else { &field.raw_value }
}

fn unframe(mut framed: Bytes) -> Result<Bytes, Problem> {
    let Some(&[compressed, a, b, c, d]) = framed.first_chunk::<PREFIX>() else { return Err(Problem::NotOne) };
    let message = framed.split_off(PREFIX);
    match (compressed, u32::from_be_bytes([a, b, c, d])) {
        (0, length) if usize::try_from(length) == Ok(message.len()) => Ok(message),
        (0, _) => Err(Problem::NotOne),
        (_, _) => Err(Problem::Compressed),
    }
}

fn frame(message: &proto::CheckResponse) -> Bytes {
    let length = message.encoded_len();
    let mut framed = Vec::with_capacity(PREFIX + length);
    framed.push(0);
    framed.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    message.encode_raw(&mut framed);
    framed.into()
}
