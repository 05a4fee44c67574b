//! What a request presents: found in its headers, borrowed from them, and never an error. Malformed is a refusal.

mod json;

use std::borrow::Cow;
use std::fmt;

use crate::digest::BearerKind;
use crate::id::ClientId;

const ID_HEADER: &str = "cf-access-client-id";
const SECRET_HEADER: &str = "cf-access-client-secret";
/// The headers of a pair; also the keys of its single form, where their case counts.
pub(crate) const PAIR_HEADERS: [&str; 2] = [ID_HEADER, SECRET_HEADER];

const ID_MAX: usize = 64;
const SECRET_MAX: usize = 512;
const SINGLE_MAX: usize = 2_048;
const BEARER_MAX: usize = 4_096;

/// A well-formed credential. Whether it is right is for [`verify`](crate::verify::verify) to say.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential<'h> {
    /// A client id and its secret.
    Pair {
        /// Who it claims to be.
        client_id: ClientId,
        /// The secret: 1 to 512 characters of visible ASCII.
        secret: Cow<'h, str>,
    },
    /// A pair whose id is well-formed, but can't be anybody's.
    UnknownPair {
        /// The secret: 1 to 512 characters of visible ASCII.
        secret: Cow<'h, str>,
    },
    /// A bearer.
    Bearer {
        /// What its form says it is. What isn't in three parts like a JWT counts as a management token.
        kind: BearerKind,
        /// The token: 1 to 4096 characters of visible ASCII.
        token: &'h str,
    },
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pair { client_id, .. } => write!(f, "Pair({client_id}, ..)"),
            Self::UnknownPair { .. } => f.write_str("UnknownPair(..)"),
            Self::Bearer { kind, .. } => write!(f, "Bearer({kind:?}, ..)"),
        }
    }
}

/// What a request's headers amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented<'h> {
    /// One credential.
    Credential(Credential<'h>),
    /// None.
    Missing,
    /// One that is incomplete, doubled or ill-formed.
    Malformed,
}

impl<'h> Presented<'h> {
    /// Finds the credential in a request's headers: names in any case, values as HTTP delivers them.
    ///
    /// `single_header` names the header that may carry a pair as a JSON object; without it there is none.
    ///
    /// - A pair (`CF-Access-Client-Id`, `CF-Access-Client-Secret`) counts wherever it is; `Authorization` beside it belongs
    ///   to the upstream. Half of one, a doubled one, or one beside the single header is malformed.
    /// - If the single header is `Authorization`, only a value that begins like an object is the pair; any other is read as
    ///   if no single header were named.
    /// - Otherwise `Authorization: Bearer` counts; any other scheme is none.
    pub fn from_headers<I>(headers: I, single_header: Option<&str>) -> Self
    where
        I: IntoIterator<Item = (&'h str, &'h [u8])>,
    {
        let mut id = Found::None;
        let mut secret = Found::None;
        let mut single = Found::None;
        let mut authorization = Found::None;
        for (name, value) in headers {
            let is_single = single_header.is_some_and(|single| name.eq_ignore_ascii_case(single));
            if name.eq_ignore_ascii_case(ID_HEADER) {
                id.add(value);
            } else if name.eq_ignore_ascii_case(SECRET_HEADER) {
                secret.add(value);
            } else if name.eq_ignore_ascii_case("authorization") {
                authorization.add(value);
                if is_single && value.trim_ascii_start().first() == Some(&b'{') {
                    single.add(value);
                }
            } else if is_single {
                single.add(value);
            }
        }
        let credential = match (id, secret, single) {
            (Found::None, Found::None, Found::None) => return Self::from_authorization(authorization),
            (Found::One(id), Found::One(secret), Found::None) => pair(id, secret),
            // A second value of the header that the object came in makes it ambiguous.
            (Found::None, Found::None, Found::One(_)) if is_shared(single_header, authorization) => None,
            (Found::None, Found::None, Found::One(object)) => pair_of_object(object),
            _ => None,
        };
        credential.map_or(Self::Malformed, Self::Credential)
    }

    fn from_authorization(authorization: Found<'h>) -> Self {
        let value = match authorization {
            Found::None => return Self::Missing,
            Found::Many => return Self::Malformed,
            Found::One(value) => value,
        };
        let scheme_length = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        let (scheme, rest) = value.split_at_checked(scheme_length).unwrap_or((value, &[]));
        if scheme.is_empty() {
            return Self::Malformed;
        }
        if !scheme.eq_ignore_ascii_case(b"bearer") {
            return Self::Missing;
        }
        let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
        let token = rest.get(spaces..).and_then(|token| visible(token, BEARER_MAX));
        token.map_or(Self::Malformed, |token| Self::Credential(Credential::Bearer { kind: bearer_kind(token), token }))
    }
}

/// The values that a header has.
#[derive(Clone, Copy)]
enum Found<'h> {
    None,
    One(&'h [u8]),
    Many,
}

impl<'h> Found<'h> {
    fn add(&mut self, value: &'h [u8]) {
        *self = match self {
            Self::None => Self::One(value),
            Self::One(_) | Self::Many => Self::Many,
        };
    }
}

/// Whether the single header is `Authorization`, and that has several values.
fn is_shared(single_header: Option<&str>, authorization: Found<'_>) -> bool {
    single_header.is_some_and(|name| name.eq_ignore_ascii_case("authorization")) && matches!(authorization, Found::Many)
}

fn pair<'h>(id: &'h [u8], secret: &'h [u8]) -> Option<Credential<'h>> {
    let id = visible(id, ID_MAX)?;
    let secret = visible(secret, SECRET_MAX)?;
    Some(credential(id, Cow::Borrowed(secret)))
}

fn pair_of_object(value: &[u8]) -> Option<Credential<'_>> {
    if value.len() > SINGLE_MAX || !value.is_ascii() {
        return None;
    }
    let [id, secret] = json::find_strings(str::from_utf8(value).ok()?, PAIR_HEADERS)?;
    visible(id.as_bytes(), ID_MAX)?;
    visible(secret.as_bytes(), SECRET_MAX)?;
    Some(credential(&id, secret))
}

fn credential<'h>(id: &str, secret: Cow<'h, str>) -> Credential<'h> {
    match id.parse() {
        Ok(client_id) => Credential::Pair { client_id, secret },
        Err(_) => Credential::UnknownPair { secret },
    }
}

/// A value of 1 to `length_max` characters from `!` to `~`.
fn visible(value: &[u8], length_max: usize) -> Option<&str> {
    let fits = (1..=length_max).contains(&value.len());
    // One pass without a branch for each byte: the compiler makes vectors of it.
    let clean = value.iter().fold(true, |clean, byte| clean & byte.is_ascii_graphic());
    if fits && clean { str::from_utf8(value).ok() } else { None }
}

fn bearer_kind(token: &str) -> BearerKind {
    let is_base64url = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let mut parts = token.split('.');
    let is_jwt = parts.by_ref().take(3).filter(|part| is_base64url(part)).count() == 3 && parts.next().is_none();
    if is_jwt { BearerKind::ApiToken } else { BearerKind::ManagementToken }
}

#[cfg(test)]
mod tests;
