//! `/verify` over HTTP: what a request says, and how the answer is put.

use std::net::IpAddr;

use countersign_token::demand::Demand;
use http::{HeaderMap, StatusCode, Uri};

use super::answer::{self, Response};
use super::{Gate, Refusal};

/// Answers one request that came from `peer`. Method and body do not matter: a proxy asks with the client's own.
pub fn handle(gate: &Gate, peer: Option<IpAddr>, uri: &Uri, headers: &HeaderMap) -> Response {
    let mut response = match uri.path() {
        "/verify" => gate.timed(|| verify(gate, peer, uri.query().unwrap_or_default(), headers)),
        "/livez" => answer::text(StatusCode::OK, "alive\n"),
        "/readyz" if gate.is_ready() => answer::text(StatusCode::OK, "ready\n"),
        "/readyz" => answer::refused(Refusal::Stale),
        // With a path prefix the client's own path and query would choose the demand.
        path if path.starts_with("/verify") => {
            let answer = gate.refuse_without_demand(&"something follows /verify in the path");
            answer::render(gate, &answer)
        }
        _ => answer::text(StatusCode::NOT_FOUND, "not found\n"),
    };
    answer::keep_request_id(headers, response.headers_mut());
    response
}

fn verify(gate: &Gate, peer: Option<IpAddr>, query: &str, headers: &HeaderMap) -> Response {
    let fields = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    gate.answer(Demand::parse(query, &gate.index), fields, peer, || answer::request_id(headers)?.to_str().ok())
}
