//! Who calls: the headers of those that manage service tokens, and which of them counts.

use countersign_token::digest::BearerKind;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use crate::caller::Caller;
use crate::limit::Exceeded;
use crate::management::{App, access, client_address};

const KEY: HeaderName = HeaderName::from_static("x-auth-key");
const EMAIL: HeaderName = HeaderName::from_static("x-auth-email");

/// A JWT longer than this was not minted here.
const JWT_LEN_MAX: usize = 4096;

/// What a request says of its caller, in the order of precedence. Clients send every scheme that they are configured
/// with, empty ones too, so an empty bearer is as good as none, and a bearer beside a key is judged alone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Presented<'h> {
    Bearer { kind: BearerKind, token: &'h str },
    Key { email: &'h str, key: &'h str },
}

impl<'h> Presented<'h> {
    pub(crate) fn from_headers(headers: &'h HeaderMap) -> Result<Self, Refused> {
        if let Some(token) = bearer(headers)? {
            let kind = bearer_kind(token).ok_or(Refused::MalformedAuthorization)?;
            return Ok(Self::Bearer { kind, token });
        }
        let email = only(headers, &EMAIL).map_err(|Malformed| Refused::MalformedEmail)?;
        let key = only(headers, &KEY).map_err(|Malformed| Refused::MalformedKey)?;
        let (Some(email), Some(key)) = (email, key) else {
            return Err(Refused::NoCredentials);
        };
        if !(3..=254).contains(&email.len()) || !email.contains('@') {
            return Err(Refused::MalformedEmail);
        }
        if !(37..=60).contains(&key.len()) || !key.bytes().all(is_token_byte) {
            return Err(Refused::MalformedKey);
        }
        Ok(Self::Key { email, key })
    }

    /// Who that is. A wrong credential counts against the address that it came from, and a request against its caller.
    pub(crate) fn authenticate(&self, app: &App, parts: &Parts) -> Result<Caller, Refused> {
        if !app.is_fresh() {
            return Err(Refused::Stale);
        }
        let caller = self.find_caller(app);
        match &caller {
            Ok(caller) => {
                access::note_caller(&parts.extensions, caller);
                app.limits.admit(caller, app.clock.boot())?;
            }
            Err(_wrong) => app.limits.fail(client_address(parts), app.clock.boot())?,
        }
        caller
    }

    /// The same for a request that was let in before, and has waited since.
    pub(crate) fn authenticate_again(&self, app: &App) -> Result<Caller, Refused> {
        if app.is_fresh() { self.find_caller(app) } else { Err(Refused::Stale) }
    }

    fn find_caller(&self, app: &App) -> Result<Caller, Refused> {
        let now = app.clock.now();
        match self {
            Self::Bearer { kind, token } => {
                app.index.authenticate_bearer(*kind, token, now).map(Caller::from).ok_or(Refused::UnknownBearer)
            }
            Self::Key { email, key } => {
                app.index.authenticate_global_key(email, key, now).map(Caller::from).ok_or(Refused::UnknownKey)
            }
        }
    }
}

/// Why nobody is known to call.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Nobody said who they are.
    NoCredentials,
    /// An `Authorization` header that is not one well-formed bearer token.
    MalformedAuthorization,
    /// An `X-Auth-Key` that no key looks like.
    MalformedKey,
    /// An `X-Auth-Email` that no address looks like.
    MalformedEmail,
    /// No user has this address and this key.
    UnknownKey,
    /// A well-formed bearer token that is unknown, revoked or expired.
    UnknownBearer,
    /// The caller has sent too many requests, or too many wrong credentials have come from the address.
    Exceeded(Exceeded),
    /// This node has fallen behind, and can't say who is who.
    Stale,
}

impl From<Exceeded> for Refused {
    fn from(exceeded: Exceeded) -> Self {
        Self::Exceeded(exceeded)
    }
}

struct Malformed;

/// A header's value; `None` if it is absent or empty.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Malformed> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Malformed);
    }
    let Ok(value) = value.to_str() else { return Err(Malformed) };
    Ok(Some(value).filter(|value| !value.is_empty()))
}

/// The bearer token; `None` if there is no `Authorization` header or no token in it.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let value = only(headers, &AUTHORIZATION).map_err(|Malformed| Refused::MalformedAuthorization)?;
    let Some(value) = value else { return Ok(None) };
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refused::MalformedAuthorization);
    }
    Ok(Some(token.trim_matches(' ')).filter(|token| !token.is_empty()))
}

fn bearer_kind(token: &str) -> Option<BearerKind> {
    if (40..=80).contains(&token.len()) && token.bytes().all(is_token_byte) {
        return Some(BearerKind::ManagementToken);
    }
    let parts = token.split('.').collect::<Vec<_>>();
    let is_jwt = parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(is_token_byte));
    (is_jwt && token.len() <= JWT_LEN_MAX).then_some(BearerKind::ApiToken)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn check(headers: &[(&'static str, &str)], expected: &str) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let found = match Presented::from_headers(&map) {
            Ok(Presented::Bearer { kind, .. }) => format!("{kind:?}"),
            Ok(Presented::Key { .. }) => "Key".to_owned(),
            Err(error) => format!("{error:?}"),
        };
        assert_eq!(found, expected, "{headers:?}");
    }

    #[test]
    fn a_bearer_that_is_not_empty_is_judged_alone() {
        let token = "t".repeat(40);
        let key = "0".repeat(37);
        let bearer = format!("Bearer {token}");
        let (email, key) = (("x-auth-email", "a@example.com"), ("x-auth-key", key.as_str()));
        check(&[("authorization", &bearer), email, ("x-auth-key", "garbage")], "ManagementToken");
        check(&[("authorization", "Bearer "), email, key], "Key");
        check(&[("authorization", "Bearer"), email, key], "Key");
        check(&[("authorization", ""), email, key], "Key");
        check(&[("authorization", "bearer a.b.c")], "ApiToken");
        check(&[], "NoCredentials");
        check(&[email], "NoCredentials");
        check(&[key], "NoCredentials");
        check(&[("authorization", "Bearer ")], "NoCredentials");
    }

    #[test]
    fn what_is_malformed_names_its_header() {
        let (token, key) = ("t".repeat(40), "0".repeat(37));
        let bearer = format!("Bearer {token}");
        for value in ["Bearer abc-def", "Basic dXNlcjpwYXNz", "Bearer a b", "Bearer a..c", "Bearer a.b.c.d", "Token x"]
        {
            check(&[("authorization", value)], "MalformedAuthorization");
        }
        check(&[("authorization", &bearer), ("authorization", &bearer)], "MalformedAuthorization");
        check(&[("authorization", &format!("Bearer {}", "t".repeat(81)))], "MalformedAuthorization");
        check(&[("authorization", &format!("Bearer {}.b.c", "t".repeat(JWT_LEN_MAX)))], "MalformedAuthorization");
        check(&[("x-auth-email", "a@example.com"), ("x-auth-key", "short")], "MalformedKey");
        check(&[("x-auth-email", "nobody"), ("x-auth-key", &key)], "MalformedEmail");
        check(&[("x-auth-email", "a@b"), ("x-auth-key", &key), ("x-auth-key", &key)], "MalformedKey");
    }

    proptest! {
        #[test]
        fn credentials_are_read_as_they_came(values in prop::collection::vec(crate::property::bytes(), 3)) {
            let names = [AUTHORIZATION, EMAIL, KEY];
            let sent = names.into_iter().zip(values).filter_map(|(name, value)| Some((name, HeaderValue::from_bytes(&value).ok()?)));
            let headers = HeaderMap::from_iter(sent);
            match Presented::from_headers(&headers) {
                Ok(Presented::Bearer { kind, token }) => prop_assert_eq!(bearer_kind(token), Some(kind)),
                Ok(Presented::Key { email, key }) => {
                    prop_assert_eq!((email.as_bytes(), key.as_bytes()), (headers[&EMAIL].as_bytes(), headers[&KEY].as_bytes()));
                }
                Err(_) => {}
            }
        }
    }
}
