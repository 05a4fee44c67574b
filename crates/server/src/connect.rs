//! The pages for people: getting an API token for a command line, and accepting an invite.
//!
//! Nobody is logged in here. A page asks for what it needs, does one thing with it, and shows the result once; there is no
//! session and no cookie. What comes from elsewhere gets into a page through [`html::Html::text`] alone.

mod form;
mod host;
mod html;
mod invite;
mod log_in;
mod page;
mod submitted;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use self::form::Forms;
use self::page::Page;
use crate::management::App;
use crate::throttle::Throttle;

/// Where a command line's log-in opens the browser.
const LOG_IN: &str = "/cli/connect";

/// What an invite's token is put behind.
const INVITE: &str = "/invite/";

/// What the pages' handlers share.
#[derive(Clone, Debug)]
struct Pages {
    app: App,
    forms: Forms,
    throttle: Arc<Throttle>,
}

/// The pages.
pub(crate) fn router(app: App) -> Router {
    let forms = Forms::new(app.ops.keys().clone(), app.entropy.clone());
    Router::new()
        .route(LOG_IN, get(log_in::show).post(log_in::submit).fallback(no_method))
        .route("/invite/{token}", get(invite::show).post(invite::submit).fallback(no_method))
        .with_state(Pages { app, forms, throttle: Arc::default() })
}

/// The path of the page that accepts the invite with this token.
pub(crate) fn invite_path(token: &str) -> String {
    format!("{INVITE}{token}")
}

/// A path as the log may show it: without the token of an invite.
pub(crate) fn logged_path(path: &str) -> &str {
    if path.starts_with(INVITE) { INVITE } else { path }
}

async fn no_method() -> Page {
    page::no_method()
}
