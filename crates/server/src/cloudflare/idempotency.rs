//! Idempotency keys: what the caller of a change means by one.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use countersign_token::id::ServiceTokenId;
use countersign_token::secret::Secret;
use http::HeaderMap;
use http::request::Parts;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::Error;
use super::body::Fields;
use crate::authentication::Presented;
use crate::caller::{Permit, Write};
use crate::invalid::Invalid;
use crate::ops::{IdempotencyKey, Intent};
use crate::repeat;

/// Whether a request may be sent again: its idempotency key, if it has one, and the credential beside it.
#[derive(Debug)]
pub(super) struct Repeatable(Option<(IdempotencyKey, Arc<Secret>)>);

/// What a change is and what it is on, as far as body and caller don't say it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    Create,
    Update(ServiceTokenId),
    Rotate(ServiceTokenId),
    Refresh(ServiceTokenId),
    Delete(ServiceTokenId),
}

impl Deed {
    fn words(self) -> (&'static str, Option<ServiceTokenId>) {
        match self {
            Self::Create => ("create", None),
            Self::Update(id) => ("update", Some(id)),
            Self::Rotate(id) => ("rotate", Some(id)),
            Self::Refresh(id) => ("refresh", Some(id)),
            Self::Delete(id) => ("delete", Some(id)),
        }
    }
}

impl Repeatable {
    /// What the caller means by the key. Whatever the answer holds, it is kept sealed.
    pub(super) fn intent<T>(
        self,
        permit: &Permit<Write>,
        deed: Deed,
        fields: &Fields,
        answer: fn(&T) -> String,
    ) -> Option<Intent<T>> {
        let (key, credential) = self.0?;
        let zone = permit.owner().zone.map(|zone| zone.to_string());
        let (deed, id) = deed.words();
        let actor = permit.actor();
        // The members of an object are rendered in the order of their names, whatever order they came in.
        let request = json!([deed, zone, id.map(|id| id.to_string()), fields.members(), actor.kind, actor.id]);
        let fingerprint = Sha256::digest(request.to_string()).into();
        Some(Intent { key, fingerprint, answer, sealed_by: Some(credential) })
    }
}

fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Invalid> {
    let invalid = |detail: &str| Invalid { detail: format!("Idempotency-Key: {detail}"), pointer: None };
    let mut found: Option<IdempotencyKey> = None;
    for text in repeat::keys(headers) {
        let key = text.and_then(IdempotencyKey::parse).ok_or_else(|| invalid("must be 1 to 64 characters of ASCII"))?;
        if found.as_ref().is_some_and(|found| *found != key) {
            return Err(invalid("is given twice with two values"));
        }
        found = Some(key);
    }
    Ok(found)
}

impl<S: Sync> FromRequestParts<S> for Repeatable {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let Some(key) = key(&parts.headers)? else { return Ok(Self(None)) };
        let credential = match Presented::from_headers(&parts.headers)? {
            Presented::Bearer { token, .. } => token,
            Presented::Key { key, .. } => key,
        };
        Ok(Self(Some((key, Arc::new(Secret::from(credential.to_owned()))))))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_key_is_one_text_of_1_to_64_characters() {
        let check = |values: &[&[u8]], expected: Result<Option<&str>, &str>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("idempotency-key", HeaderValue::from_bytes(value).unwrap());
            }
            let found = key(&headers).map(|key| key.map(|key| key.as_str().to_owned())).map_err(|error| error.detail);
            let expected = expected.map(|key| key.map(str::to_owned));
            assert_eq!(found, expected.map_err(|problem| format!("Idempotency-Key: {problem}")), "{values:?}");
        };
        let malformed = Err("must be 1 to 64 characters of ASCII");
        let (longest, longer) = ("k".repeat(64), "k".repeat(65));
        check(&[], Ok(None));
        check(&[b"k"], Ok(Some("k")));
        check(&[b"\"k\""], Ok(Some("k")));
        check(&[b"\"k"], Ok(Some("\"k")));
        check(&[b"k", b"\"k\""], Ok(Some("k")));
        check(&[longest.as_bytes()], Ok(Some(&longest)));
        check(&[format!("\"{longest}\"").as_bytes()], Ok(Some(&longest)));
        check(&[longer.as_bytes()], malformed);
        check(&[b""], malformed);
        check(&[b"\"\""], malformed);
        check(&["\u{e4}".as_bytes()], malformed);
        check(&[b"k", b""], malformed);
        check(&[b"k", b"l"], Err("is given twice with two values"));
    }
}
