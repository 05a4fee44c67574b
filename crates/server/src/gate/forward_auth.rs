//! `/verify` over HTTP: what a request says, and how the answer is put.

use std::net::IpAddr;

use countersign_token::demand::Demand;
use http::header::{HeaderMap, HeaderValue, USER_AGENT};
use http::{StatusCode, Uri};

use super::answer::{self, Response};
use super::{Awaited, Gate, Refusal};
use crate::assertion::{self, Minting};
use crate::proxy::TrustedProxies;

/// Answers one request that came from `peer`. Method and body do not matter: a proxy asks with the client's own. A request
/// that needs an assertion which is yet to be made is answered by [`handle_after`].
pub fn handle(gate: &Gate, peer: Option<IpAddr>, uri: &Uri, headers: &HeaderMap) -> Result<Response, Minting> {
    respond(gate, peer, uri, headers, Awaited::Nothing)
}

/// Answers the same request once its assertion has come, or has not come in time.
pub async fn handle_after(
    minting: Minting,
    gate: &Gate,
    peer: Option<IpAddr>,
    uri: &Uri,
    headers: &HeaderMap,
) -> Response {
    let awaited = Awaited::Over(minting.wait().await);
    // One wait is enough for everybody.
    respond(gate, peer, uri, headers, awaited).unwrap_or_else(|_: Minting| answer::refused(Refusal::NoAssertion))
}

fn respond(
    gate: &Gate,
    peer: Option<IpAddr>,
    uri: &Uri,
    headers: &HeaderMap,
    awaited: Awaited,
) -> Result<Response, Minting> {
    let mut response = match uri.path() {
        "/verify" => gate.timed(|| verify(gate, peer, uri.query().unwrap_or_default(), headers, awaited))?,
        "/livez" => answer::text(StatusCode::OK, "alive\n"),
        "/readyz" if gate.is_ready() => answer::text(StatusCode::OK, "ready\n"),
        "/readyz" => answer::refused(Refusal::Stale),
        assertion::CERTS_PATH => match &gate.assertions {
            Some(assertions) => answer::certs(assertions.certs(gate.clock.now())),
            None => answer::refused(Refusal::NoAssertion),
        },
        // With a path prefix the client's own path and query would choose the demand.
        path if path.starts_with("/verify") => {
            let answer = gate.refuse_without_demand(&"something follows /verify in the path");
            answer::render(gate, &answer, None)
        }
        _ => answer::text(StatusCode::NOT_FOUND, "not found\n"),
    };
    answer::keep_request_id(headers, response.headers_mut());
    Ok(response)
}

fn verify(
    gate: &Gate,
    peer: Option<IpAddr>,
    query: &str,
    headers: &HeaderMap,
    awaited: Awaited,
) -> Result<Response, Minting> {
    let fields = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let request_id = || answer::request_id(headers)?.to_str().ok();
    let from = |proxies: &TrustedProxies| proxies.client_of(peer, headers);
    let agent = || headers.get(USER_AGENT).map(HeaderValue::as_bytes);
    gate.answer(Demand::parse(query, &gate.index), fields, from, agent, request_id, awaited)
}
