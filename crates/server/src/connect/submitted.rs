//! A form that was sent: its fields, if it was sent from one of our own pages.

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderName, HeaderValue, header};

use super::host::Host;
use super::page::{self, Page};
use crate::body::{Arrived, Unread};
use crate::urlencoded;

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The fields of a form.
#[derive(Debug)]
pub(super) struct Submitted(Vec<(String, String)>);

impl Submitted {
    /// A field without the white space that gets copied along; empty if it is absent.
    pub(super) fn field(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.trim())
    }
}

impl<S: Sync> FromRequestParts<S> for Submitted {
    type Rejection = Page;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Page> {
        if is_from_elsewhere(parts) {
            return Err(page::from_elsewhere());
        }
        let body = match parts.extensions.get::<Arrived>() {
            Some(Arrived(Ok(body))) => body.clone(),
            Some(Arrived(Err(Unread::TooLarge))) => return Err(page::too_large()),
            Some(Arrived(Err(Unread::TooSlow))) => return Err(page::too_slow()),
            Some(Arrived(Err(Unread::CutShort))) | None => return Err(page::unreadable()),
        };
        let fields = std::str::from_utf8(&body).ok().and_then(urlencoded::parse);
        fields.map(Self).ok_or_else(page::unreadable)
    }
}

/// Whether a browser says that another site has sent the form. A browser that keeps the sender to itself, as our own pages
/// ask it to, says `null`; programs say nothing.
fn is_from_elsewhere(parts: &Parts) -> bool {
    let text = |value: &HeaderValue| value.to_str().unwrap_or("?").to_owned();
    let site = parts.headers.get(SITE).map(text);
    let origin = parts.headers.get(header::ORIGIN).map(text);
    let is_foreign = match origin.as_deref() {
        None | Some("null") => false,
        Some(origin) => origin.split_once("://").map(|(_, host)| host.to_owned()) != Host::of(parts).name,
    };
    is_foreign || !matches!(site.as_deref(), None | Some("same-origin" | "none"))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_form_comes_from_our_own_pages() {
        let check = |headers: &[(&str, &str)], elsewhere: bool| {
            let mut request = Request::post("/").header("host", "Example.com:8787");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(is_from_elsewhere(&parts), elsewhere, "{headers:?}");
        };
        check(&[], false);
        check(&[("sec-fetch-site", "same-origin"), ("origin", "null")], false);
        check(&[("sec-fetch-site", "none")], false);
        check(&[("origin", "http://example.com:8787")], false);
        check(&[("origin", "https://example.com:8787")], false);
        check(&[("sec-fetch-site", "cross-site")], true);
        check(&[("sec-fetch-site", "same-site"), ("origin", "null")], true);
        check(&[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")], true);
        check(&[("origin", "http://example.com")], true);
        check(&[("origin", "")], true);
        check(&[("origin", "http://\u{e9}")], true);
    }
}
