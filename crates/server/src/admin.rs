//! Our own API, for what no foreign dialect has words for.
//!
//! Every URL of it is on this page. A handler gets a `Call` and asks it for what it needs, in this order: the
//! right, the query, the body, the token's id.

mod allow_from;
mod answer;
mod call;
mod error;
mod feed;
pub(crate) mod openapi;
mod rotation;
mod service_tokens;

use axum::Router;

pub use self::error::Error;
use crate::management::App;
use crate::route::routes;

/// Where it is mounted.
pub const PREFIX: &str = "/admin/v1";

routes! {
    // method, path, name in the description, handler
    GET    "/accounts/{account_id}/service_tokens"       "accounts/service_tokens/list"   service_tokens::list;
    GET    "/accounts/{account_id}/service_tokens/{id}"  "accounts/service_tokens/get"    service_tokens::get;
    GET    "/accounts/{account_id}/service_tokens/{id}/rotation" "accounts/service_tokens/rotation/get" rotation::get;
    PUT    "/accounts/{account_id}/service_tokens/{id}/rotation" "accounts/service_tokens/rotation/update" rotation::update;

    GET    "/accounts/{account_id}/service_tokens/{id}/allow_from"  "accounts/service_tokens/allow_from/get"  allow_from::get;
    PUT    "/accounts/{account_id}/service_tokens/{id}/allow_from"  "accounts/service_tokens/allow_from/update"  allow_from::update;

    GET    "/zones/{zone_id}/service_tokens"             "zones/service_tokens/list"      service_tokens::list;
    GET    "/zones/{zone_id}/service_tokens/{id}"        "zones/service_tokens/get"       service_tokens::get;
    GET    "/zones/{zone_id}/service_tokens/{id}/rotation" "zones/service_tokens/rotation/get" rotation::get;
    PUT    "/zones/{zone_id}/service_tokens/{id}/rotation" "zones/service_tokens/rotation/update" rotation::update;
    GET    "/zones/{zone_id}/service_tokens/{id}/allow_from"  "zones/service_tokens/allow_from/get"  allow_from::get;
    PUT    "/zones/{zone_id}/service_tokens/{id}/allow_from"  "zones/service_tokens/allow_from/update"  allow_from::update;

    POST   "/feed"                                       "feed/follow"                    feed::follow;
    DELETE "/feed/{verifier}"                            "feed/leave"                     feed::leave;
}

/// The API, without its prefix.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        router = router.route(route.path, (route.handler)());
    }
    router.method_not_allowed_fallback(no_method).fallback(no_route).with_state(app)
}

async fn no_route() -> Error {
    Error::NoRoute
}

/// A path whose ids are malformed leads nowhere, whatever the method.
async fn no_method(_: call::Call) -> Error {
    Error::NoMethod
}
