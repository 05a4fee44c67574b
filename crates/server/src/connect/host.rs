//! Under which name a browser has reached this server.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::header;
use http::request::Parts;

use crate::management::Encrypted;

/// The host and port that a request was sent to; `None` if it does not say, or says something that is no host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: Option<String>,
    /// Whether it came over TLS.
    encrypted: bool,
}

impl Host {
    pub(super) fn of(parts: &Parts) -> Self {
        let named = match parts.uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()),
        };
        // It ends up in a command line to be copied.
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        let host = named.filter(|host| !host.is_empty() && host.bytes().all(is_part));
        Self { name: host.map(str::to_ascii_lowercase), encrypted: parts.extensions.get::<Encrypted>().is_some() }
    }

    /// The address under which clients reach this server: as it is configured, or as this request's sender has reached it.
    pub(super) fn url(&self, configured: Option<&str>) -> Option<String> {
        match configured {
            Some(url) => Some(url.to_owned()),
            None => {
                let scheme = if self.encrypted { "https" } else { "http" };
                self.name.as_ref().map(|host| format!("{scheme}://{host}"))
            }
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Host {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_host_is_what_the_request_names() {
        let check = |uri: &str, host: Option<&[u8]>, expected: Option<&str>| {
            let mut request = Request::get(uri);
            if let Some(host) = host {
                request = request.header("host", host);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(Host::of(&parts).name.as_deref(), expected, "{uri} {host:?}");
        };
        check("/", Some(b"Example.com:8787"), Some("example.com:8787"));
        check("/", Some(b"[::1]:8787"), Some("[::1]:8787"));
        check("https://example.com/", None, Some("example.com"));
        check("/", None, None);
        check("/", Some(b""), None);
        check("/", Some(b"example.com;rm"), None);
        check("/", Some(b"ex\xe4mple.com"), None);
    }

    #[test]
    fn a_configured_address_counts() {
        let host = Host { name: Some("localhost:8787".to_owned()), encrypted: false };
        assert_eq!(host.url(None).as_deref(), Some("http://localhost:8787"));
        assert_eq!(host.url(Some("https://cs.example.com")).as_deref(), Some("https://cs.example.com"));
        assert_eq!(Host { name: None, encrypted: false }.url(None), None);
        assert_eq!(Host { encrypted: true, ..host }.url(None).as_deref(), Some("https://localhost:8787"));
    }
}
