//! A whole page: its frame, its headers, and the parts and the messages that several pages share.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use countersign_token::secret::Secret;
use http::{HeaderValue, StatusCode, header};

use super::LOG_IN;
use super::html::Html;
use crate::fault::Fault;
use crate::ops;
use crate::throttle::Wait;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Nothing is loaded, nothing is framed, and a form is sent nowhere else. The two hashes are those of [`STYLE`] and
/// [`SCRIPT`]; a test knows them.
const POLICY: &str = "default-src 'none'; \
    style-src 'sha256-ExZ/1gWBNX6j4+tMluHM1IHWOmH3u8aVaLZgWAqt1qs='; \
    script-src 'sha256-4wPl5GTHiVpHl5ErL3wVReZtc5FUaGZRWCAIDYzonSI='; \
    form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// A page that is ready to be sent.
#[derive(Debug)]
pub(super) struct Page {
    status: StatusCode,
    title: &'static str,
    html: Html,
    retry_after: Option<u64>,
}

impl Page {
    pub(super) fn new(status: StatusCode, title: &'static str, html: Html) -> Self {
        Self { status, title, html, retry_after: None }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let html = Html::new("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>")
            .text(self.title)
            .markup(r#"</title><meta name="viewport" content="width=device-width, initial-scale=1">"#)
            .markup(r#"<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex"><style>"#)
            .markup(STYLE)
            .markup(r#"</style></head><body><main><p class="brand">Countersign</p><h1>"#)
            .text(self.title)
            .markup("</h1>")
            .then(self.html)
            .markup("</main><script>")
            .markup(SCRIPT)
            .markup("</script></body></html>\n");
        let mut response = Response::new(Body::from(html.into_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
        if let Some(secs) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}

/// What is wrong with a form. The fields that it is about name it as their description.
pub(super) fn problem(problem: Option<&str>) -> Html {
    match problem {
        Some(words) => Html::new(r#"<p id="problem" class="problem" role="alert">"#).text(words).markup("</p>"),
        None => Html::default(),
    }
}

/// A secret to be copied. Without scripts there is no button, and a click selects the whole.
pub(super) fn secret(label: &'static str, secret: &Secret) -> Html {
    Html::new(r#"<section class="secret" aria-label=""#)
        .markup(label)
        .markup(r#""><code id="secret" translate="no">"#)
        .text(secret.expose())
        .markup(r#"</code><button type="button" id="copy" hidden>Copy</button></section>"#)
        .markup(r#"<p id="copied" class="aside" role="status"></p>"#)
}

/// A page that says what went wrong, and leads back.
fn message(status: StatusCode, title: &'static str, words: &'static str) -> Page {
    let html = Html::new("<p>")
        .markup(words)
        .markup(r#"</p><p><a href=""#)
        .markup(LOG_IN)
        .markup(r#"">Connect a command line</a></p>"#);
    Page::new(status, title, html)
}

pub(super) fn throttled(wait: Wait) -> Page {
    let minutes = wait.secs().div_ceil(60);
    let html = Html::new("<p>There were too many failed attempts from your network, or for this e-mail address. ")
        .markup("Try again in ")
        .text(&minutes.to_string())
        .markup(if minutes == 1 { " minute.</p>" } else { " minutes.</p>" });
    let page = Page::new(StatusCode::TOO_MANY_REQUESTS, "Too many attempts", html);
    Page { retry_after: Some(wait.secs()), ..page }
}

/// An operation was not done, although the page has given it nothing that it could refuse.
pub(super) fn failed(error: ops::Error) -> Page {
    match error {
        ops::Error::Store(error) => match Fault::from(error) {
            Fault::Outage => unavailable(),
            Fault::Bug => broken(),
        },
        error @ (ops::Error::Invalid { .. }
        | ops::Error::WrongKind { .. }
        | ops::Error::NotFound
        | ops::Error::Conflict(_)
        | ops::Error::InvalidAction(_)
        | ops::Error::IdempotencyKeyUsed
        | ops::Error::Forbidden) => {
            tracing::error!(error = %error, "a page asked for what is refused");
            broken()
        }
    }
}

fn broken() -> Page {
    let words = "Nothing was done. The server's log says more.";
    message(StatusCode::INTERNAL_SERVER_ERROR, "Something is wrong with this server", words)
}

pub(super) fn unavailable() -> Page {
    let words = "This server cannot reach its database, or has not heard from it for too long. Try again in a moment.";
    let page = message(StatusCode::SERVICE_UNAVAILABLE, "Temporarily unavailable", words);
    Page { retry_after: Some(1), ..page }
}

pub(super) fn from_elsewhere() -> Page {
    message(StatusCode::FORBIDDEN, "Not from here", "This form was sent by another site, and was not looked at.")
}

pub(super) fn no_method() -> Page {
    message(StatusCode::METHOD_NOT_ALLOWED, "Not this way", "This page can be read, and its form can be sent.")
}

pub(super) fn too_large() -> Page {
    message(StatusCode::PAYLOAD_TOO_LARGE, "Too long", "What was sent is longer than 1 MiB.")
}

pub(super) fn too_slow() -> Page {
    message(StatusCode::REQUEST_TIMEOUT, "Too slow", "What was sent did not arrive in time.")
}

pub(super) fn unreadable() -> Page {
    message(StatusCode::BAD_REQUEST, "Not readable", "What was sent is no form.")
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::{POLICY, SCRIPT, STYLE};

    fn base64(bytes: &[u8]) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let group = (0..3).fold(0, |group, index| group << 8 | chunk.get(index).copied().map_or(0, usize::from));
            for place in 0..4 {
                let digit = char::from(ALPHABET[group >> (18 - 6 * place) & 63]);
                text.push(if place <= chunk.len() { digit } else { '=' });
            }
        }
        text
    }

    #[test]
    fn the_policy_allows_our_style_and_script_and_no_other() {
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"foobar"), "Zm9vYmFy");
        for (directive, text) in [("style-src", STYLE), ("script-src", SCRIPT)] {
            let expected = format!("{directive} 'sha256-{}';", base64(&Sha256::digest(text.as_bytes())));
            assert!(POLICY.contains(&expected), "the policy must say {expected}");
            assert!(!text.contains("</"), "it would end its element");
        }
    }
}
