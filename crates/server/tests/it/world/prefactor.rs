//! The dialect of API tokens: those who call it, and what they make with it.

mod answer;
mod object;

use axum::body::Body;
use countersign_token::api_token::FIRST_KEY_ID;
use countersign_token::digest::MacKey;
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) use self::answer::Answer;
use super::{Verdict, World};

/// Somebody who calls the dialect, with whatever they show as their credential.
#[derive(Clone)]
pub(crate) struct Actor<'w> {
    world: &'w World,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// A token as the answer that made it said.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) id: String,
    pub(crate) secret: String,
    /// Its path in the dialect.
    pub(crate) path: String,
    pub(crate) details: Value,
}

impl World {
    /// Whoever holds the API token that `init` made: an account-scoped one of account A.
    pub(crate) fn prefactor(&self) -> Actor<'_> {
        self.nobody().with_token(&self.credentials.api_token)
    }

    /// The same of account B.
    pub(crate) fn foreign_prefactor(&self) -> Actor<'_> {
        self.nobody().with_token(&self.credentials.foreign_api_token)
    }

    /// Who shows nothing.
    pub(crate) fn nobody(&self) -> Actor<'_> {
        Actor { world: self, headers: Vec::new() }
    }

    /// The API token that `init` made, for headers made by hand.
    pub(crate) fn account_token(&self) -> &str {
        &self.credentials.api_token
    }

    /// The key that signs the first tokens of the installation.
    pub(crate) fn signing_key(&self) -> MacKey {
        self.signing_key_of(FIRST_KEY_ID)
    }

    /// The signing key with this id.
    pub(crate) fn signing_key_of(&self, id: &str) -> MacKey {
        self.key.jwt_key(id)
    }

    /// An account-scoped token of account A.
    pub(crate) async fn token(&self) -> Token {
        self.prefactor().create(json!({"token_scope": "account"})).await
    }

    /// A token of an environment of account A.
    pub(crate) async fn environment_token(&self, environment: &str) -> Token {
        self.prefactor().create(json!({"token_scope": "environment", "environment_id": environment})).await
    }

    /// A token of an agent's deployment in an environment of account A.
    pub(crate) async fn deployment_token(&self, agent: &str, environment: &str) -> Token {
        let details = json!({"token_scope": "agent_deployment", "agent_id": agent, "environment_id": environment});
        self.prefactor().create(details).await
    }

    /// A new agent of account A.
    pub(crate) async fn agent(&self) -> String {
        self.prefactor().make("/agent", json!({"name": "agent"})).await
    }

    /// A new environment of account A.
    pub(crate) async fn new_environment(&self) -> String {
        self.prefactor().make("/environment", json!({"name": "environment"})).await
    }

    /// What the gate says where account A is demanded.
    pub(crate) async fn gate_says(&self, token: &Token) -> Verdict {
        self.ask_bearer(&format!("account_id={}", self.account), &token.secret).await
    }

    /// Asserts that a token of account A is good wherever one is taken.
    #[track_caller]
    pub(crate) fn assert_good<'w>(&'w self, token: &'w Token) -> impl Future<Output = ()> + use<'w> {
        let at = std::panic::Location::caller();
        async move {
            let ping = self.nobody().with_token(&token.secret).get("/ping").await;
            assert_eq!(ping.status, 200, "{ping}, asserted at {at}");
            assert_eq!(self.gate_says(token).await, Verdict::admitted(), "asserted at {at}");
            // The other dialect is for the whole account.
            let expected = if token.details["token_scope"] == "account" { (200, None) } else { (403, Some(10000)) };
            assert_eq!(self.other_dialect(token).await, expected, "asserted at {at}");
        }
    }

    /// Asserts that a token of account A is refused wherever one is taken, and why at the gate.
    #[track_caller]
    pub(crate) fn assert_bad<'w>(&'w self, token: &'w Token, reason: &'w str) -> impl Future<Output = ()> + use<'w> {
        let at = std::panic::Location::caller();
        async move {
            let holder = self.nobody().with_token(&token.secret);
            for path in ["/ping", "/api_token", "/pfid/generate"] {
                let method = if path == "/pfid/generate" { Method::POST } else { Method::GET };
                let answer = holder.call(method, path, Body::empty()).await;
                assert_eq!((answer.status.as_u16(), answer.code()), (401, Some("bad_authtoken")), "{answer}, at {at}");
            }
            assert_eq!(self.gate_says(token).await, Verdict::refused(401, reason), "asserted at {at}");
            assert_eq!(self.other_dialect(token).await, (401, Some(10000)), "asserted at {at}");
        }
    }

    async fn other_dialect(&self, token: &Token) -> (u16, Option<u64>) {
        let holder = self.anonymous().with("authorization", &format!("Bearer {}", token.secret));
        let answer = holder.get(&self.tokens()).await;
        (answer.status.as_u16(), answer.code())
    }
}

impl<'w> Actor<'w> {
    /// The same with another token.
    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.headers.retain(|(name, _)| name != http::header::AUTHORIZATION);
        self.with("authorization", &format!("Bearer {token}"))
    }

    /// The same with one more header; a name may be given more than once.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.parse().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap()));
        self
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

    /// A request whose path begins after `/api/v1`, with this actor's headers in front of its own.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().to_string());
        let answer = self.send_raw(request).await;
        Answer::new(&method, &path, answer, &self.world.secrets)
    }

    /// As [`Self::send`], for answers that are not of the dialect's shape.
    pub(crate) async fn send_raw(&self, request: Request<Body>) -> (http::StatusCode, http::HeaderMap, Vec<u8>) {
        let (mut parts, body) = request.into_parts();
        parts.uri = format!("/api/v1{}", parts.uri).parse().unwrap();
        for (name, value) in &self.headers {
            parts.headers.append(name, value.clone());
        }
        let router = self.world.server().router.clone();
        let response = router.oneshot(Request::from_parts(parts, body)).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        (parts.status, parts.headers, body)
    }

    /// Creates a token.
    #[track_caller]
    pub(crate) fn create(&self, details: Value) -> impl Future<Output = Token> + use<'w> {
        let actor = self.clone();
        async move {
            let answer = actor.post("/api_token", &json!({ "details": details })).await;
            assert!(!answer.is_replay(), "{answer}");
            Token::of(answer)
        }
    }

    /// Creates something at `path`, and returns its id.
    pub(crate) async fn make(&self, path: &str, details: Value) -> String {
        let details = self.post(path, &json!({ "details": details })).await.details();
        details["id"].as_str().unwrap().to_owned()
    }

    /// The ids of a list, in its order.
    pub(crate) async fn ids(&self, path: &str) -> Vec<String> {
        self.get(path).await.ids()
    }

    /// How many there are in a list, over all its pages.
    pub(crate) async fn count(&self, path: &str) -> u64 {
        self.get(path).await.ok()["pagination"]["item_count"].as_u64().unwrap()
    }

    /// A token as it is now.
    pub(crate) async fn show(&self, token: &Token) -> Value {
        self.get(&token.path).await.details()
    }

    /// Suspends, activates or revokes a token, or deletes it.
    pub(crate) async fn do_to(&self, token: &Token, action: &str) -> Answer {
        match action {
            "delete" => self.delete(&token.path).await,
            action => self.act(&format!("{}/{action}", token.path)).await,
        }
    }
}

impl Token {
    /// The token of an answer that made it, or that was made again.
    #[track_caller]
    pub(crate) fn of(answer: Answer) -> Self {
        let body = answer.ok();
        let id = body["details"]["id"].as_str().unwrap().to_owned();
        let secret = body["token"].as_str().unwrap().to_owned();
        Self { path: format!("/api_token/{id}"), id, secret, details: body["details"].clone() }
    }
}

/// Runs all at once, and returns what came of them in their order.
pub(crate) async fn join_all<T>(jobs: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut jobs: Vec<_> = jobs.into_iter().map(|job| (Box::pin(job), None)).collect();
    std::future::poll_fn(|cx| {
        for (job, done) in &mut jobs {
            if done.is_none()
                && let std::task::Poll::Ready(value) = job.as_mut().poll(cx)
            {
                *done = Some(value);
            }
        }
        if jobs.iter().all(|(_, done)| done.is_some()) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    jobs.into_iter().map(|(_, done)| done.unwrap()).collect()
}
