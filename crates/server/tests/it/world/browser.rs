//! People with a browser, and the pages that they see.

use std::net::IpAddr;

use axum::body::Body;
use countersign_server::management::Peer;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::World;

/// Somebody with a browser.
#[derive(Clone)]
pub(crate) struct Browser<'w> {
    world: &'w World,
    address: Option<IpAddr>,
    headers: Vec<(&'static str, &'static str)>,
}

/// A page, which has already passed every check that all pages must pass.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) html: String,
    /// The secret that it shows.
    pub(crate) secret: Option<String>,
}

impl World {
    /// Somebody with a browser, behind a Unix socket.
    pub(crate) fn browser(&self) -> Browser<'_> {
        Browser { world: self, address: None, headers: vec![("host", "countersign.test")] }
    }

    /// The global key of the user who has rights on account A alone.
    pub(crate) fn member_global_key(&self) -> &str {
        &self.credentials.member_key
    }

    /// The global key of the user who has rights on account B alone.
    pub(crate) fn foreign_member_global_key(&self) -> &str {
        &self.credentials.foreign_member_key
    }
}

impl<'w> Browser<'w> {
    /// The same from this address.
    pub(crate) fn at(mut self, address: &str) -> Self {
        self.address = Some(address.parse().unwrap());
        self
    }

    /// The same with one more header.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) async fn open(&self, path: &str) -> Page {
        self.call(Method::GET, path, String::new()).await
    }

    /// Sends a form.
    pub(crate) async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let pairs: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        self.call(Method::POST, path, pairs.join("&")).await
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: impl Into<Body>) -> Page {
        let mut request = Request::builder().method(method.clone()).uri(path);
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        if let Some(address) = self.address {
            request = request.extension(Peer((address, 50_000).into()));
        }
        let router = self.world.server().router.clone();
        let response = router.oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let html = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let page = Page { secret: secret(&html), status: parts.status, headers: parts.headers, html };
        page.check(&format!("{method} {path}"), self.world);
        page
    }
}

impl Page {
    fn check(&self, request: &str, world: &World) {
        let header = |name: &str| {
            let values: Vec<&str> = self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!(values.len(), 1, "{request} {}: {name}: {values:?}", self.status);
            values[0]
        };
        for (name, expected) in [
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(header(name), expected, "{request}");
        }
        let policy: Vec<&str> = header("content-security-policy").split(';').map(str::trim).collect();
        for directive in ["default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(&directive), "{request}: {policy:?}");
        }
        assert!(!policy.iter().any(|directive| directive.contains("unsafe")), "{request}: {policy:?}");
        assert!(!self.headers.contains_key("set-cookie"), "{request}");
        assert_eq!(self.headers.contains_key("allow"), self.status == 405, "{request}: allow");
        let waits = [429, 503].contains(&self.status.as_u16());
        assert_eq!(self.headers.contains_key("retry-after"), waits, "{request}: retry-after");
        if self.html.is_empty() {
            return;
        }
        for part in ["<!DOCTYPE html>", "<html lang=\"en\">", "<title>", "<h1>", "name=\"viewport\"", "</html>"] {
            assert_eq!(self.html.matches(part).count(), 1, "{request}: {part}");
        }
        for element in ["<script", "<style"] {
            assert_eq!(self.html.matches(element).count(), 1, "{request}: {element} in {}", self.html);
        }
        for element in ["<img", "<link", "<iframe", "<object", "<base"] {
            assert!(!self.html.contains(element), "{request}: {element} in {}", self.html);
        }
        let mut rest = self.html.clone();
        if let Some(secret) = &self.secret {
            assert_eq!(self.html.matches(secret.as_str()).count(), 1, "{request}: the secret is shown once");
            assert!(self.status.is_success(), "{request}");
            rest = rest.replace(secret.as_str(), "");
            world.secrets.issued(secret);
        }
        world.secrets.assert_absent_from(&rest, request);
    }

    /// The mark of the form on the page.
    #[track_caller]
    pub(crate) fn mark(&self) -> &str {
        between(&self.html, "name=\"form\" value=\"", "\"").unwrap_or_else(|| panic!("no form in {}", self.html))
    }

    /// What the page says is wrong.
    pub(crate) fn problem(&self) -> Option<&str> {
        between(&self.html, "role=\"alert\">", "</p>")
    }

    /// The title.
    pub(crate) fn title(&self) -> &str {
        between(&self.html, "<h1>", "</h1>").unwrap()
    }
}

fn secret(html: &str) -> Option<String> {
    between(html, "<code id=\"secret\" translate=\"no\">", "</code>").map(str::to_owned)
}

fn between<'h>(html: &'h str, before: &str, after: &str) -> Option<&'h str> {
    let (_, rest) = html.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    text.bytes()
        .map(|byte| match byte {
            b' ' => "+".to_owned(),
            byte if is_plain(byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
