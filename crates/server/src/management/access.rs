//! What accompanies every request of the management listener: its id, its line in the log, and how it is counted.
//!
//! The line is a contract: `docs/request-log.md`.

use std::sync::{Arc, OnceLock};

use axum::body::HttpBody as _;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use countersign_store::AuditActor;
use countersign_token::entropy::Entropy;
use countersign_token::id::AccountId;
use http::{Extensions, HeaderName, HeaderValue, Method};

use tracing::Instrument as _;

use super::{App, ClientAddress, Peer};
use crate::caller::Caller;
use crate::connect;
use crate::trace::Attribute;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Older Go clients show this header in their errors, and no other.
const RAY: HeaderName = HeaderName::from_static("cf-ray");

/// How much of a path is logged, in bytes: there is no id or name in it that is longer.
const PATH_MAX: usize = 256;

/// A request's id: given by the client or made here.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) String);

/// What answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// The Cloudflare dialect; also whatever no route leads to.
    Cloudflare,
    /// The Prefactor dialect.
    Prefactor,
    /// Our own API.
    Admin,
    /// The pages for people.
    Page,
    /// Health, metrics, the OpenAPI document.
    Own,
}

impl Api {
    pub(crate) const ALL: [Self; 5] = [Self::Cloudflare, Self::Prefactor, Self::Admin, Self::Page, Self::Own];

    /// Its name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cloudflare => "cloudflare",
            Self::Prefactor => "prefactor",
            Self::Admin => "admin",
            Self::Page => "page",
            Self::Own => "own",
        }
    }
}

/// What is learnt of a request on its way. It is in the request's extensions; clones share it.
#[derive(Clone, Debug, Default)]
struct Noted(Arc<Notes>);

#[derive(Debug, Default)]
struct Notes {
    route: OnceLock<(Api, Option<MatchedPath>)>,
    caller: OnceLock<AuditActor>,
    account: OnceLock<AccountId>,
}

/// Notes who calls.
pub(crate) fn note_caller(extensions: &Extensions, caller: &Caller) {
    if let Some(Noted(notes)) = extensions.get() {
        // A request has one caller.
        let _ = notes.caller.set(caller.actor());
    }
}

/// Notes the account that the caller has asked for.
pub(crate) fn note_account(extensions: &Extensions, account: AccountId) {
    if let Some(Noted(notes)) = extensions.get() {
        let _ = notes.account.set(account);
    }
}

/// Notes which API a request has come to, and by which route. It belongs around each API's own router, since what is
/// outside of it does not know its routes.
pub(super) async fn note_route(State(api): State<Api>, request: Request, next: Next) -> Response {
    if let Some(Noted(notes)) = request.extensions().get() {
        let _ = notes.route.set((api, request.extensions().get::<MatchedPath>().cloned()));
    }
    next.run(request).await
}

/// Gives every request an id, every answer its headers, and the log one line.
pub(super) async fn accompany(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let started = app.clock.boot();
    let id = request
        .headers()
        .get(&REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| is_request_id(id))
        .map_or_else(|| new_request_id(&app.entropy), str::to_owned);
    let noted = Noted::default();
    request.extensions_mut().insert(RequestId(id.clone()));
    request.extensions_mut().insert(noted.clone());
    let method = request.method().clone();
    let path = logged_path(request.uri().path());
    let peer = request.extensions().get::<Peer>().map(|Peer(address)| address.ip());
    let address = app.proxies.client_of(peer, request.headers());
    if let Some(address) = address {
        request.extensions_mut().insert(ClientAddress(address));
    }

    let trace = app.tracer.as_ref().and_then(|tracer| tracer.begin(request.headers()));
    let answer = next.run(request).instrument(tracing::info_span!("request", request.id = %id));
    let mut response = match &trace {
        Some(trace) => trace.run(answer).await,
        None => answer.await,
    };

    if let Ok(value) = HeaderValue::try_from(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value.clone());
        response.headers_mut().insert(RAY, value);
    }
    let status = response.status();
    let Noted(notes) = noted;
    let (api, route) = notes.route.get().map_or((Api::Cloudflare, None), |(api, route)| (*api, route.as_ref()));
    let route = route.map(MatchedPath::as_str);
    let took = app.clock.boot().duration_since(started);
    app.metrics.count_management(api, route, status, took);
    let caller = notes.caller.get();
    tracing::info!(
        request.id = %id,
        api = api.as_str(),
        method = %method,
        route,
        path = %path,
        status = status.as_u16(),
        duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        bytes = response.body().size_hint().exact(),
        caller.kind = caller.map(|caller| caller.kind),
        caller.id = caller.map(|caller| caller.id.as_str()),
        account.id = notes.account.get().map(tracing::field::display),
        address = address.map(tracing::field::display),
        "request"
    );
    if let Some(trace) = trace {
        let method = traced_method(&method);
        let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
        let known = [
            ("http.route", route.map(str::to_owned)),
            ("caller.kind", caller.map(|caller| caller.kind.to_owned())),
            ("caller.id", caller.map(|caller| caller.id.clone())),
            ("account.id", notes.account.get().map(ToString::to_string)),
        ];
        let mut attributes = vec![
            ("http.request.method", Attribute::Text(method.to_owned())),
            ("http.response.status_code", Attribute::Number(status.as_u16().into())),
            ("request.id", Attribute::Text(id)),
        ];
        attributes.extend(known.into_iter().filter_map(|(key, value)| Some((key, Attribute::Text(value?)))));
        trace.end(name, attributes, status.is_server_error());
    }
    response
}

/// Anybody can make up methods: all that are not in the standard have one name.
fn traced_method(method: &Method) -> &str {
    let standard =
        [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD, Method::OPTIONS];
    if standard.contains(method) { method.as_str() } else { "_OTHER" }
}

/// The begin of a path, as the log may show it.
fn logged_path(path: &str) -> String {
    let path = connect::logged_path(path);
    path.chars()
        .scan(0, |bytes, character| {
            *bytes += character.len_utf8();
            (*bytes <= PATH_MAX).then_some(character)
        })
        .collect()
}

/// 1 to 128 characters that are safe in a log and in a header.
fn is_request_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn new_request_id(entropy: &Entropy) -> String {
    entropy.bytes::<8>().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cut_for_the_log() {
        let check = |path: &str, expected: &str| assert_eq!(logged_path(path), expected);
        check("/user", "/user");
        check("/invite/secret", "/invite/");
        check(&"x".repeat(300), &"x".repeat(256));
        check(&format!("{}é", "x".repeat(255)), &"x".repeat(255));
    }
}
