//! The Cloudflare dialect: Access service tokens, and what a client needs to find its ids.
//!
//! Every URL of the dialect is on this page. The order of the checks is the order of a handler's arguments: the path's
//! shape, then the caller, then the right, then the idempotency key, then the body, then the token's id.

mod authentication;
mod body;
mod envelope;
mod error;
mod idempotency;
mod identity;
mod path;
mod query;
mod service_tokens;

use axum::Router;
use axum::extract::{OriginalUri, Request};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use http::Method;

pub use self::error::Error;
use crate::management::App;

/// The dialect, mounted where its documents put it and at the root: a base URL without the prefix is a common slip, and
/// the SDKs' own test suites use one.
pub fn router(app: App) -> Router {
    let routes = routes();
    Router::new().nest("/client/v4", routes.clone()).merge(routes).fallback(no_route).with_state(app)
}

fn routes() -> Router<App> {
    let mut router = Router::new();
    for scope in ["/accounts/{account_id}", "/zones/{zone_id}"] {
        let tokens = format!("{scope}/access/service_tokens");
        router = router
            .route(&tokens, known(get(service_tokens::list).post(service_tokens::create)))
            .route(
                &format!("{tokens}/{{id}}"),
                known(get(service_tokens::get).put(service_tokens::update).delete(service_tokens::delete)),
            )
            .route(&format!("{tokens}/{{id}}/refresh"), known(post(service_tokens::refresh)))
            .route(&format!("{tokens}/{{id}}/rotate"), known(post(service_tokens::rotate)));
    }
    router
        .route("/accounts", known(get(identity::list_accounts)))
        .route("/accounts/{account_id}", known(get(identity::get_account)))
        .route("/accounts/{account_id}/tokens/verify", known(get(identity::verify_account_token)))
        .route("/zones", known(get(identity::list_zones)))
        .route("/zones/{zone_id}", known(get(identity::get_zone)))
        .route("/user", known(get(identity::get_user)))
        .route("/user/tokens/verify", known(get(identity::verify_user_token)))
}

/// A known path answers other methods in the dialect's own envelope.
fn known(methods: MethodRouter<App>) -> MethodRouter<App> {
    methods.fallback(no_method)
}

async fn no_route(OriginalUri(uri): OriginalUri) -> Response {
    Error::NoRoute { path: uri.path().to_owned() }.into_response()
}

/// A path whose ids are malformed leads nowhere, whatever the method.
async fn no_method(method: Method, OriginalUri(uri): OriginalUri, request: Request) -> Response {
    let error = match path::check_shape(request).await {
        Ok(()) => Error::NoMethod { method },
        Err(()) => Error::NoRoute { path: uri.path().to_owned() },
    };
    error.into_response()
}
