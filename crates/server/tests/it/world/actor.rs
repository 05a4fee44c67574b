//! Those who call the management API.

use axum::body::Body;
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use super::{Answer, World};

/// Somebody who calls the management API, with whatever they show as their credential.
#[derive(Clone)]
pub(crate) struct Actor<'w> {
    world: &'w World,
    /// What to call them when an assertion fails.
    pub(crate) name: &'static str,
    headers: Vec<(HeaderName, HeaderValue)>,
    mount: &'static str,
}

impl<'w> Actor<'w> {
    /// Nobody in particular.
    pub(super) fn anonymous(world: &'w World) -> Self {
        Self { world, name: "anonymous", headers: Vec::new(), mount: "/client/v4" }
    }

    /// Somebody with a bearer token.
    pub(super) fn bearer(world: &'w World, name: &'static str, token: &str) -> Self {
        Self { name, ..Self::anonymous(world) }.with("authorization", &format!("Bearer {token}"))
    }

    /// Somebody with an address and a global key.
    pub(super) fn key(world: &'w World, name: &'static str, email: &str, key: &str) -> Self {
        Self { name, ..Self::anonymous(world) }.with("x-auth-email", email).with("x-auth-key", key)
    }

    /// The same with one more header; a name may be given more than once.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.parse().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap()));
        self
    }

    /// The same at the other mount, without a prefix.
    pub(crate) fn at_root(mut self) -> Self {
        self.mount = "";
        self
    }

    /// Calls our own API, whose answers are JSON alone or a problem: its status, its headers, its body.
    pub(crate) async fn admin(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Body>,
    ) -> (u16, http::HeaderMap, Value) {
        let request = format!("{method} {path}");
        let uri = format!("/admin/v1{path}");
        let raw = Request::builder().method(method).uri(uri).body(body.into()).unwrap();
        let (status, headers, body) = self.clone().at_root().send_raw(raw).await;
        let text = String::from_utf8(body).unwrap();
        self.world.secrets.assert_absent_from(&text, &request);
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{request}: {error}: {text}"));
        let expected = if status.is_success() { "application/json" } else { "application/problem+json" };
        assert_eq!(
            (&headers["content-type"], &headers["cache-control"]),
            (&expected.parse().unwrap(), &"no-store".parse().unwrap()),
            "{request} {text}"
        );
        assert!(headers.contains_key("x-request-id"), "{request} {text}");
        if !status.is_success() {
            assert_eq!(json["status"], status.as_u16(), "{request} {text}");
            assert_eq!(json["title"], status.canonical_reason().unwrap(), "{request} {text}");
            assert_eq!(json["type"], "about:blank", "{request} {text}");
        }
        (status.as_u16(), headers, json)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, json: &Value) -> Answer {
        self.call(Method::POST, path, Body::from(json.to_string())).await
    }

    pub(crate) async fn put(&self, path: &str, json: &Value) -> Answer {
        self.call(Method::PUT, path, Body::from(json.to_string())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, Body::empty()).await
    }

    /// A POST without a body.
    pub(crate) async fn act(&self, path: &str) -> Answer {
        self.call(Method::POST, path, Body::empty()).await
    }

    /// Any method, any body.
    pub(crate) async fn call(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        self.send(Request::builder().method(method).uri(path).body(body.into()).unwrap()).await
    }

    /// A request whose path begins after the mount, with this actor's headers in front of its own.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().to_string());
        let answer = self.send_raw(request).await;
        Answer::new(&method, &path, answer, &self.world.secrets)
    }

    /// As [`Self::send`], for answers that are not of the dialect's shape.
    pub(crate) async fn send_raw(&self, request: Request<Body>) -> (http::StatusCode, http::HeaderMap, Vec<u8>) {
        let (mut parts, body) = request.into_parts();
        parts.uri = format!("{}{}", self.mount, parts.uri).parse().unwrap();
        let own = std::mem::take(&mut parts.headers);
        for (name, value) in &self.headers {
            parts.headers.append(name, value.clone());
        }
        let mut last = None;
        for (name, value) in own {
            // A repeated header gives its name only once.
            last = name.or(last);
            parts.headers.append(last.clone().unwrap(), value);
        }
        let router = self.world.server().router.clone();
        let response = router.oneshot(Request::from_parts(parts, body)).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        (parts.status, parts.headers, body)
    }
}
