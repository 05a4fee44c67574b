//! The management listener: the dialects, the health endpoints, and what every answer has in common.

pub mod access;
pub(crate) mod openapi;

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use countersign_token::entropy::Entropy;
use countersign_token::feed::Freshness;
use countersign_token::index::Index;
use countersign_token::time::Clock;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use tower_http::catch_panic::CatchPanicLayer;

use self::access::{Api, RequestId};
use crate::admin;
use crate::assertion::{self, Assertions};
use crate::body;
use crate::caller::Origin;
use crate::cloudflare;
use crate::connect;
use crate::follower::Promise;
use crate::limit::Limits;
use crate::metrics::Metrics;
use crate::ops::Ops;
use crate::prefactor;
use crate::proxy::TrustedProxies;
use crate::trace::Tracer;

/// What the management listener's handlers share.
#[derive(Clone, Debug)]
pub struct App {
    /// The operations.
    pub ops: Ops,
    /// The index, for callers and for what exists.
    pub index: Arc<Index>,
    /// How old this node's knowledge is.
    pub freshness: Arc<Freshness>,
    /// What this node promises of that age.
    pub promise: Promise,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The clock.
    pub clock: Clock,
    /// For request ids.
    pub entropy: Entropy,
    /// How much a caller may ask, and an address may guess.
    pub limits: Arc<Limits>,
    /// Who is believed about where a request came from.
    pub proxies: TrustedProxies,
    /// Where spans are left; `None` if no collector is named.
    pub tracer: Option<Tracer>,
    /// The address under which clients reach this server, without a slash at its end; `None` if it was not configured.
    pub public_url: Option<Arc<str>>,
    /// The keys of assertions, for whoever checks them.
    pub assertions: Assertions,
}

/// The peer of a connection, put into a request's extensions by the listener. A Unix socket has none.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Put into the extensions of a request that came over TLS.
#[derive(Clone, Copy, Debug)]
pub struct Encrypted;

/// Where a request comes from: the other end of the connection, or whom a proxy of ours names there.
#[derive(Clone, Copy, Debug)]
struct ClientAddress(IpAddr);

pub(crate) fn client_address(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ClientAddress>().map(|ClientAddress(address)| *address)
}

/// Everything that the management listener serves.
pub fn router(app: App) -> Router {
    let health = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route(openapi::PATH, get(openapi::show))
        .route(assertion::CERTS_PATH, get(certs))
        .with_state(app.clone());
    // Each dialect says in its own words that a handler panicked.
    let catch = |answer: fn() -> Response| {
        let panics = app.metrics.management_panics.clone();
        CatchPanicLayer::custom(move |panic| {
            panics.inc();
            panicked(panic);
            answer()
        })
    };
    let note = |api| middleware::from_fn_with_state(api, access::note_route);
    let prefactor = prefactor::router(app.clone())
        .layer(note(Api::Prefactor))
        .layer(middleware::from_fn(body::arrive))
        .layer(catch(|| prefactor::Error::Internal.into_response()));
    let admin = admin::router(app.clone())
        .layer(note(Api::Admin))
        .layer(middleware::from_fn(body::arrive))
        .layer(catch(|| admin::Error::Internal.into_response()));
    cloudflare::router(app.clone())
        .layer(note(Api::Cloudflare))
        .merge(connect::router(app.clone()).layer(note(Api::Page)))
        .merge(health.layer(note(Api::Own)))
        .layer(middleware::from_fn(body::arrive))
        .layer(catch(|| cloudflare::Error::Internal.into_response()))
        .nest_service(prefactor::PREFIX, prefactor)
        .nest_service(admin::PREFIX, admin)
        .layer(middleware::from_fn_with_state(app, access::accompany))
}

/// What is served until the index is loaded: that the process lives, and that nothing else can be said yet.
pub(crate) fn router_while_loading() -> Router {
    let loading = (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], "loading: the index is being read\n");
    Router::new().route("/livez", get(livez)).fallback(async move || loading)
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(app): State<App>) -> Response {
    if app.is_fresh() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "stale: the store has not been read for too long\n").into_response()
}

async fn certs(State(app): State<App>) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, content_type)], app.assertions.certs(app.clock.now())).into_response()
}

async fn metrics(State(app): State<App>) -> Response {
    let content_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(header::CONTENT_TYPE, content_type)], app.metrics.encode()).into_response()
}

impl App {
    /// Whether this node may say who a caller is. One that has fallen behind might know a caller who has lost their
    /// rights, and not know one who has just got them.
    pub fn is_fresh(&self) -> bool {
        let max_staleness = i64::try_from(self.promise.max_staleness.as_micros()).unwrap_or(i64::MAX);
        self.promise.serves_stale || self.freshness.is_fresh(self.clock.boot(), max_staleness)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the layer hands the panic over")]
fn panicked(panic: Box<dyn Any + Send + 'static>) {
    let words = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words");
    tracing::error!(panic = words, "a handler panicked");
}

impl Origin {
    pub(crate) fn of(parts: &Parts) -> Self {
        Self {
            address: client_address(parts),
            request_id: parts.extensions.get::<RequestId>().map(|RequestId(id)| id.clone()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Origin {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(parts))
    }
}
