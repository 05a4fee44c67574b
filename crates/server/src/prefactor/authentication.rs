//! Who calls: whoever holds an API token, and nobody else.

use std::net::IpAddr;
use std::sync::Arc;

use countersign_token::digest::BearerKind;
use countersign_token::secret::Secret;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::Error;
use crate::caller::Caller;
use crate::management::App;

/// The bearer token that a request shows; `None` if it shows none.
#[derive(Clone, Debug)]
pub(super) struct Shown(Option<Arc<Secret>>);

impl Shown {
    pub(super) fn from_headers(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let only = values.next().filter(|_| values.next().is_none());
        // A token that is no UTF-8 is a token nevertheless, and not a good one.
        Self(only.and_then(|value| bearer(&String::from_utf8_lossy(value.as_bytes()))))
    }

    /// The caller, as this node knows them now: a call of several items asks before each.
    pub(super) fn authenticate(&self, app: &App, address: Option<IpAddr>) -> Result<Caller, Error> {
        let Self(Some(token)) = self else { return Err(Error::NotAuthenticated) };
        if !app.is_fresh() {
            return Err(Error::Unavailable);
        }
        // The whole string is looked up, so that a token with any bit changed is another one.
        let holder = app.index.authenticate_bearer(BearerKind::ApiToken, token.expose(), app.clock.now());
        let Some(caller) = holder.map(Caller::from) else {
            app.limits.fail(address, app.clock.boot())?;
            return Err(Error::BadAuthtoken);
        };
        app.limits.admit(&caller, app.clock.boot())?;
        Ok(caller)
    }
}

fn bearer(value: &str) -> Option<Arc<Secret>> {
    let (scheme, token) = value.split_once(' ')?;
    let is_one_word = !token.is_empty() && !token.contains(char::is_whitespace);
    (scheme.eq_ignore_ascii_case("bearer") && is_one_word).then(|| Arc::new(Secret::from(token.to_owned())))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_word_after_the_scheme_is_a_token() {
        let check = |values: &[&[u8]], expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
            }
            let Shown(token) = Shown::from_headers(&headers);
            assert_eq!(token.as_deref().map(Secret::expose), expected, "{values:?}");
        };
        check(&[b"Bearer a.b.c"], Some("a.b.c"));
        check(&[b"bearer garbage"], Some("garbage"));
        check(&[b"BEARER \xff"], Some("\u{fffd}"));
        check(&[], None);
        check(&[b"Bearer a", b"Bearer a"], None);
        for value in [&b""[..], b"Bearer", b"Bearer ", b"Bearer  a", b"Bearer a b", b"Bearer\ta", b"Basic x", b"a.b.c"]
        {
            check(&[value], None);
        }
    }

    proptest! {
        #[test]
        fn a_token_is_what_it_is_sent_as(bytes in crate::property::bytes()) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let Shown(token) = Shown::from_headers(&HeaderMap::from_iter([(AUTHORIZATION, value)]));
            if let Some(token) = token {
                let again = bearer(&format!("Bearer {}", token.expose()));
                prop_assert_eq!(again.as_deref().map(Secret::expose), Some(token.expose()));
            }
        }
    }
}
