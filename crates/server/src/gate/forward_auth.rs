//! `/verify` over HTTP: what a request says, and how the answer is put.

use std::net::IpAddr;

use countersign_token::demand::Demand;
use http::header::{HeaderMap, HeaderValue, USER_AGENT};
use http::{StatusCode, Uri};

use super::answer::{self, Reply, Response};
use super::{Awaited, Gate, Refusal};
use crate::assertion::{self, Minting};
use crate::proxy::{FORWARDED_FOR, TrustedProxies};

/// What is asked of a request's head, however it was read.
pub(super) trait Head {
    fn path(&self) -> &str;

    /// Empty if there is none.
    fn query(&self) -> &str;

    fn fields(&self) -> impl Iterator<Item = (&str, &[u8])>;

    /// The values of one field, in any case of its name.
    fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &[u8]>;
}

impl Head for (&Uri, &HeaderMap) {
    fn path(&self) -> &str {
        self.0.path()
    }

    fn query(&self) -> &str {
        self.0.query().unwrap_or_default()
    }

    fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.1.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.1.get_all(name).iter().map(HeaderValue::as_bytes)
    }
}

/// Answers one request that came from `peer`. Method and body do not matter: a proxy asks with the client's own. A request
/// that needs an assertion which is yet to be made is answered by [`handle_after`].
pub fn handle(gate: &Gate, peer: Option<IpAddr>, uri: &Uri, headers: &HeaderMap) -> Result<Response, Minting> {
    respond(gate, peer, &(uri, headers), Awaited::Nothing).map(Response::from)
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
    let answer = respond(gate, peer, &(uri, headers), awaited);
    answer.unwrap_or_else(|_: Minting| answer::refused(Refusal::NoAssertion)).into()
}

/// The answer to a request, unless that needs an assertion which is yet to be made.
pub(super) fn respond(gate: &Gate, peer: Option<IpAddr>, head: &impl Head, awaited: Awaited) -> Result<Reply, Minting> {
    let mut reply = match head.path() {
        "/verify" => gate.timed(|| verify(gate, peer, head, awaited))?,
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
    reply.keep_id_of(head);
    Ok(reply)
}

fn verify(gate: &Gate, peer: Option<IpAddr>, head: &impl Head, awaited: Awaited) -> Result<Reply, Minting> {
    let request_id = || answer::request_id(head);
    let from = |proxies: &TrustedProxies| proxies.client(peer, head.values(FORWARDED_FOR));
    let agent = || head.values(USER_AGENT.as_str()).next();
    gate.answer(Demand::parse(head.query(), &gate.index), head.fields(), from, agent, request_id, awaited)
}
