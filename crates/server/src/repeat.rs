//! The headers of requests that may be sent again, in any dialect.

use http::{HeaderMap, HeaderName, HeaderValue};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Every idempotency key that stands in a header; `None` for one that is no text. A structured header's string has quotes
/// around it, and most clients leave them out.
pub(crate) fn keys(headers: &HeaderMap) -> impl Iterator<Item = Option<&str>> {
    headers.get_all(KEY).iter().map(|value| value.to_str().ok().map(unquoted))
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// Says that an answer is that of an earlier request.
pub(crate) fn tell_replayed(headers: &mut HeaderMap) {
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
}
