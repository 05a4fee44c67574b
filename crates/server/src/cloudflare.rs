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
mod keys;
pub(crate) mod openapi;
mod path;
mod query;
mod service_tokens;

use axum::Router;
use axum::extract::{OriginalUri, Request};
use axum::response::{IntoResponse as _, Response};
use http::Method;

pub use self::error::Error;
use crate::management::App;
use crate::route::routes;

/// Where the dialect's documents put it.
const PREFIX: &str = "/client/v4";

routes! {
    // method, path, name in the dialect's description, handler
    GET    "/accounts"                                                 "accounts/list"                   identity::list_accounts;
    GET    "/accounts/{account_id}"                                    "accounts/get"                    identity::get_account;
    GET    "/accounts/{account_id}/tokens/verify"                      "accounts/tokens/verify"          identity::verify_account_token;

    GET    "/accounts/{account_id}/access/service_tokens"              "accounts/service_tokens/list"    service_tokens::list;
    POST   "/accounts/{account_id}/access/service_tokens"              "accounts/service_tokens/create"  service_tokens::create;
    GET    "/accounts/{account_id}/access/service_tokens/{id}"         "accounts/service_tokens/get"     service_tokens::get;
    PUT    "/accounts/{account_id}/access/service_tokens/{id}"         "accounts/service_tokens/update"  service_tokens::update;
    DELETE "/accounts/{account_id}/access/service_tokens/{id}"         "accounts/service_tokens/delete"  service_tokens::delete;
    POST   "/accounts/{account_id}/access/service_tokens/{id}/refresh" "accounts/service_tokens/refresh" service_tokens::refresh;
    POST   "/accounts/{account_id}/access/service_tokens/{id}/rotate"  "accounts/service_tokens/rotate"  service_tokens::rotate;

    GET    "/accounts/{account_id}/access/keys"                        "accounts/keys/get"               keys::get;
    PUT    "/accounts/{account_id}/access/keys"                        "accounts/keys/update"            keys::update;
    POST   "/accounts/{account_id}/access/keys/rotate"                 "accounts/keys/rotate"            keys::rotate;

    GET    "/zones"                                                    "zones/list"                      identity::list_zones;
    GET    "/zones/{zone_id}"                                          "zones/get"                       identity::get_zone;

    GET    "/zones/{zone_id}/access/service_tokens"                    "zones/service_tokens/list"       service_tokens::list;
    POST   "/zones/{zone_id}/access/service_tokens"                    "zones/service_tokens/create"     service_tokens::create;
    GET    "/zones/{zone_id}/access/service_tokens/{id}"               "zones/service_tokens/get"        service_tokens::get;
    PUT    "/zones/{zone_id}/access/service_tokens/{id}"               "zones/service_tokens/update"     service_tokens::update;
    DELETE "/zones/{zone_id}/access/service_tokens/{id}"               "zones/service_tokens/delete"     service_tokens::delete;
    POST   "/zones/{zone_id}/access/service_tokens/{id}/refresh"       "zones/service_tokens/refresh"    service_tokens::refresh;
    POST   "/zones/{zone_id}/access/service_tokens/{id}/rotate"        "zones/service_tokens/rotate"     service_tokens::rotate;

    GET    "/user"                                                     "user/get"                        identity::get_user;
    GET    "/user/tokens/verify"                                       "user/tokens/verify"              identity::verify_user_token;
}

/// The dialect, mounted where its documents put it and at the root: a base URL without the prefix is a common slip, and
/// the SDKs' own test suites use one.
pub fn router(app: App) -> Router {
    let mut routes = Router::new();
    for route in ROUTES {
        routes = routes.route(route.path, (route.handler)());
    }
    let routes = routes.method_not_allowed_fallback(no_method);
    Router::new().nest(PREFIX, routes.clone()).merge(routes).fallback(no_route).with_state(app)
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
