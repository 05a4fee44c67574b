//! Asking the gate of a world.

use std::net::{IpAddr, Ipv4Addr};

use countersign_server::gate::{Gate, forward_auth};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;

use super::{Issued, World};

/// Where the gate's clients come from.
pub(crate) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// What the gate said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) status: u16,
    /// The word of a refusal; empty for an admission.
    pub(crate) reason: String,
}

impl Verdict {
    pub(crate) fn admitted() -> Self {
        Self { status: 200, reason: String::new() }
    }

    pub(crate) fn refused(status: u16, reason: &str) -> Self {
        Self { status, reason: reason.to_owned() }
    }
}

impl World {
    /// The gate itself, for those who ask it in another way.
    pub(crate) fn gate(&self) -> &Gate {
        &self.server().gate
    }

    /// Asks the gate with headers, each as often as it stands here.
    pub(crate) async fn ask(&self, query: &str, headers: &[(&str, &str)]) -> Verdict {
        self.ask_whole(query, headers).await.0
    }

    /// As [`Self::ask`], with the answer's headers.
    pub(crate) async fn ask_whole(&self, query: &str, headers: &[(&str, &str)]) -> (Verdict, HeaderMap) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let uri = format!("/verify?{query}").parse().unwrap();
        let gate = &self.server().gate;
        let answer = match forward_auth::handle(gate, Some(PEER), &uri, &map) {
            Ok(answer) => answer,
            Err(minting) => forward_auth::handle_after(minting, gate, Some(PEER), &uri, &map).await,
        };
        let (parts, body) = answer.into_parts();
        assert!(body.collect().await.unwrap().to_bytes().is_empty(), "the gate's answers have no body");
        // An assertion looks like an API token, and is none.
        for (_, value) in parts.headers.iter().filter(|(name, _)| *name != "cf-access-jwt-assertion") {
            self.secrets.assert_absent_from(value.to_str().unwrap(), "an answer of the gate");
        }
        let reason = parts.headers.get("countersign-reason").map(|reason| reason.to_str().unwrap().to_owned());
        (Verdict { status: parts.status.as_u16(), reason: reason.unwrap_or_default() }, parts.headers)
    }

    /// What the gate shows at a path, which is JSON.
    pub(crate) async fn ask_path(&self, path: &str) -> (u16, serde_json::Value) {
        let gate = &self.server().gate;
        let answer = forward_auth::handle(gate, Some(PEER), &path.parse().unwrap(), &HeaderMap::new()).unwrap();
        let (parts, body) = answer.into_parts();
        assert_eq!(parts.headers["content-type"], "application/json");
        (parts.status.as_u16(), serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap())
    }

    /// Asks the gate with a bearer.
    pub(crate) async fn ask_bearer(&self, query: &str, token: &str) -> Verdict {
        self.ask(query, &[("authorization", &format!("Bearer {token}"))]).await
    }

    /// Whether a pair is admitted where account A is demanded; the word of the refusal if not.
    pub(crate) async fn admits(&self, client_id: &str, secret: &str) -> Result<(), String> {
        let query = format!("account_id={}", self.account);
        let headers = [("cf-access-client-id", client_id), ("cf-access-client-secret", secret)];
        match self.ask(&query, &headers).await {
            Verdict { status: 200, .. } => Ok(()),
            Verdict { reason, .. } => Err(reason),
        }
    }

    /// Asserts that the gate admits a token of account A (or of its zones) with the secret it was made with.
    #[track_caller]
    pub(crate) fn assert_admitted<'w>(&'w self, token: &'w Issued) -> impl Future<Output = ()> + use<'w> {
        self.assert_admitted_with(token, &token.secret)
    }

    /// As [`Self::assert_admitted`] with a later secret.
    #[track_caller]
    pub(crate) fn assert_admitted_with<'w>(
        &'w self,
        token: &'w Issued,
        secret: &'w str,
    ) -> impl Future<Output = ()> + use<'w> {
        let caller = std::panic::Location::caller();
        async move { assert_eq!(self.admits(&token.client_id, secret).await, Ok(()), "asserted at {caller}") }
    }

    /// Asserts that the gate refuses a token's secret, and why.
    #[track_caller]
    pub(crate) fn assert_refused<'w>(
        &'w self,
        token: &'w Issued,
        secret: &'w str,
        reason: &'w str,
    ) -> impl Future<Output = ()> + use<'w> {
        let caller = std::panic::Location::caller();
        async move {
            let answer = self.admits(&token.client_id, secret).await;
            assert_eq!(answer, Err(reason.to_owned()), "asserted at {caller}");
        }
    }
}
