//! Sending requests, in whatever dialect.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Method, Url, redirect, retry};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use serde::Serialize;

use crate::credential::Credential;
use crate::error::Error;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer may take. A change that takes something away is answered when every node has taken it away, which
/// is bounded by the installation's `max_staleness`; this leaves room for a long one.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long an answer may be. None of them comes near.
const LEN_MAX: usize = 256 << 20;

/// No body.
pub(crate) const NOTHING: Option<&()> = None;

/// A caller's connection to one dialect of one server. Cloning is cheap and shares the connections.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    http: reqwest::Client,
    base: String,
}

/// An answer, not yet opened.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) request_id: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Whether the status says that it was done.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The error of an answer that is not in the dialect's form.
    pub(crate) fn unexpected<R>(&self, problem: impl Into<String>) -> Error<R> {
        Error::Unexpected { status: self.status, problem: problem.into() }
    }
}

impl Connection {
    /// A connection to the server at `address`. Where that has no path, the dialect stands at `usual_path`.
    pub(crate) fn new<R>(address: &str, usual_path: &str, credential: &Credential) -> Result<Self, Error<R>> {
        let (base, encrypted) = parse_address(address, usual_path)?;
        let http = reqwest::Client::builder()
            .user_agent(concat!("countersign-client/", env!("CARGO_PKG_VERSION")))
            .default_headers(credential.headers()?)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // The API has no redirects, and a followed one would carry the credential elsewhere.
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .tls_backend_preconfigured(encryption(encrypted)?)
            .build()
            .map_err(Error::Setup)?;
        Ok(Self { http, base })
    }

    /// Sends one request, once. With an idempotency key it may be sent again.
    pub(crate) async fn send<R>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&(impl Serialize + Sync)>,
        idempotency_key: Option<&str>,
    ) -> Result<Answer, Error<R>> {
        let given = || Error::Address { given: self.base.clone() };
        let mut url = Url::parse(&format!("{}/{path}", self.base)).map_err(|_invalid| given())?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = idempotency_key {
            let value = HeaderValue::from_str(key).map_err(|_unfit| Error::IdempotencyKey)?;
            request = request.header("idempotency-key", value);
        }
        let lost =
            |source: reqwest::Error| Error::Transport { address: self.base.clone(), source: source.without_url() };
        let response = request.send().await.map_err(lost)?;
        let status = response.status().as_u16();
        let request_id = response.headers().get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let mut response = response;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len() + chunk.len() > LEN_MAX {
                return Err(Error::Unexpected { status, problem: format!("an answer of more than {LEN_MAX} bytes") });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, request_id, body })
    }
}

/// How servers prove who they are: by the certificates that the platform trusts. A system without any is no obstacle to
/// an unencrypted connection.
fn encryption<R>(wanted: bool) -> Result<ClientConfig, Error<R>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Encryption)?;
    let builder = if wanted {
        builder.with_platform_verifier().map_err(Error::Encryption)?
    } else {
        builder.with_root_certificates(RootCertStore::empty())
    };
    Ok(builder.with_no_client_auth())
}

/// The address with its path, without a slash at the end, and whether it is encrypted.
fn parse_address<R>(address: &str, usual_path: &str) -> Result<(String, bool), Error<R>> {
    let refused = || Error::Address { given: redacted(address) };
    let url = Url::parse(address).map_err(|_invalid| refused())?;
    let encrypted = match url.scheme() {
        "https" => true,
        "http" => false,
        _ => return Err(refused()),
    };
    // A name and a password in the address would end up in messages; a query or a fragment has no meaning here.
    let plain = url.username().is_empty() && url.password().is_none();
    if !plain || !url.has_host() || url.query().is_some() || url.fragment().is_some() {
        return Err(refused());
    }
    let origin = url.origin().ascii_serialization();
    let path = match url.path().trim_end_matches('/') {
        "" => usual_path,
        path => path,
    };
    Ok((format!("{origin}{path}"), encrypted))
}

/// What may be shown of an address that was refused: not what stands before an `@`.
fn redacted(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((_credential, rest)) => format!("…@{rest}"),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefactor::Refusal;

    fn check(address: &str, expected: &str) {
        let shown = match parse_address::<Refusal>(address, "/usual/path") {
            Ok((base, _)) => base,
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected, "{address}");
    }

    #[test]
    fn addresses() {
        check("http://127.0.0.1:8787", "http://127.0.0.1:8787/usual/path");
        check("http://127.0.0.1:8787/", "http://127.0.0.1:8787/usual/path");
        check("http://127.0.0.1:8787/client/v4/", "http://127.0.0.1:8787/client/v4");
        check("https://api.example.com/client/v4", "https://api.example.com/client/v4");
        check("https://example.com/countersign", "https://example.com/countersign");
        check("http://[::1]:8787", "http://[::1]:8787/usual/path");
        check("127.0.0.1:8787", "`127.0.0.1:8787` is not an http:// or https:// address");
        check("ftp://example.com", "`ftp://example.com` is not an http:// or https:// address");
        check("http://a:b@example.com", "`…@example.com` is not an http:// or https:// address");
        check("http://example.com/?a=b", "`http://example.com/?a=b` is not an http:// or https:// address");
        check("", "`` is not an http:// or https:// address");
    }
}
