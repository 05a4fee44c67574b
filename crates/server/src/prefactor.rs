//! The Prefactor dialect: API tokens, and what their clients need around them.
//!
//! Every URL of the dialect is on this page, below `/api/v1`. A handler's lines stand in the order of the checks: the
//! parameters' form, then the right, then the id in the path; the operation does the rest. It knows nothing of HTTP, so
//! that `bulk` calls it as a request does.

mod account;
mod admin_user;
mod admin_user_invite;
mod agent;
mod agent_deployment;
mod api_token;
mod authentication;
mod bulk;
mod call;
mod envelope;
mod environment;
mod error;
mod fields;
mod idempotency;
mod object;
pub(crate) mod openapi;
mod operation;
mod pagination;
mod pfid;
mod ping;
mod query;
mod sorting;

use axum::Router;
use axum::routing::get;

pub use self::error::Error;
use self::operation::operations;
use crate::management::App;

/// Where the dialect's documents put it.
pub const PREFIX: &str = "/api/v1";

operations! {
    // method, path, name in a bulk call, handler
    GET    "/ping"                                              "ping/show"                  ping::show;

    GET    "/api_token"                                         "api_tokens/list"            api_token::list;
    POST   "/api_token"                                         "api_tokens/create"          api_token::create;
    GET    "/api_token/{api_token_id}"                          "api_tokens/show"            api_token::show;
    DELETE "/api_token/{api_token_id}"                          "api_tokens/delete"          api_token::delete;
    POST   "/api_token/{api_token_id}/activate"                 "api_tokens/activate"        api_token::activate;
    POST   "/api_token/{api_token_id}/revoke"                   "api_tokens/revoke"          api_token::revoke;
    POST   "/api_token/{api_token_id}/suspend"                  "api_tokens/suspend"         api_token::suspend;

    GET    "/account"                                           "accounts/list"              account::list;
    GET    "/account/{account_id}"                              "accounts/show"              account::show;
    PUT    "/account/{account_id}"                              "accounts/update"            account::update;

    GET    "/environment"                                       "environments/list"          environment::list;
    POST   "/environment"                                       "environments/create"        environment::create;
    GET    "/environment/{environment_id}"                      "environments/show"          environment::show;
    PUT    "/environment/{environment_id}"                      "environments/update"        environment::update;
    DELETE "/environment/{environment_id}"                      "environments/delete"        environment::delete;

    GET    "/agent"                                             "agents/list"                agent::list;
    POST   "/agent"                                             "agents/create"              agent::create;
    GET    "/agent/show"                                        "agents/show"                agent::look_up;
    GET    "/agent/{agent_id}"                                  "agents/get"                 agent::show;
    PUT    "/agent/{agent_id}"                                  "agents/update"              agent::update;
    DELETE "/agent/{agent_id}"                                  "agents/delete"              agent::delete;

    GET    "/agent_deployment"                                  "agent_deployments/list"     agent_deployment::list;
    POST   "/agent_deployment"                                  "agent_deployments/create"   agent_deployment::create;
    GET    "/agent_deployment/{agent_deployment_id}"            "agent_deployments/show"     agent_deployment::show;
    DELETE "/agent_deployment/{agent_deployment_id}"            "agent_deployments/delete"   agent_deployment::delete;

    GET    "/admin_user"                                        "admin_users/list"           admin_user::list;
    GET    "/admin_user/{admin_user_id}"                        "admin_users/show"           admin_user::show;
    PUT    "/admin_user/{admin_user_id}"                        "admin_users/update"         admin_user::update;

    GET    "/admin_user_invite"                                 "admin_user_invites/list"    admin_user_invite::list;
    POST   "/admin_user_invite"                                 "admin_user_invites/create"  admin_user_invite::create;
    GET    "/admin_user_invite/{admin_user_invite_id}"          "admin_user_invites/show"    admin_user_invite::show;
    POST   "/admin_user_invite/{admin_user_invite_id}/revoke"   "admin_user_invites/revoke"  admin_user_invite::revoke;

    POST   "/pfid/generate"                                     "pfids/generate"             pfid::generate;
    POST   "/bulk"                                              "bulk/execute"               bulk::execute;
}

/// The dialect, without its prefix.
pub fn router(app: App) -> Router {
    let mut router = Router::new().route("/openapi", get(openapi::show));
    for operation in OPERATIONS {
        router = router.route(operation.path, operation.route());
    }
    router.method_not_allowed_fallback(no_method).fallback(no_route).with_state(app)
}

async fn no_route() -> Error {
    Error::NotFound
}

async fn no_method() -> Error {
    Error::NoMethod
}
