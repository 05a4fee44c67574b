//! Idempotency keys: where they stand in a request, and what makes two requests the same.

use http::{HeaderMap, Method};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::error::Problem;
use crate::ops::IdempotencyKey;
use crate::repeat;

/// The parameter's name, in a body and in a query.
pub(super) const NAME: &str = "idempotency_key";

/// Every place of a request that holds a key, but for its body.
pub(super) fn beside_the_body(query: &mut Map<String, Value>, headers: &HeaderMap) -> Vec<Value> {
    // No text, so no key: it is refused as such.
    let in_headers = repeat::keys(headers).map(|key| key.map_or_else(|| Value::Array(Vec::new()), Value::from));
    query.remove(NAME).into_iter().chain(in_headers).collect()
}

/// The one key that a request's places agree on; `None` if there is none.
pub(super) fn key<'v>(places: impl IntoIterator<Item = &'v Value>) -> Result<Option<IdempotencyKey>, Problem> {
    let mut found: Option<IdempotencyKey> = None;
    for place in places.into_iter().filter(|value| !value.is_null()) {
        let key = place.as_str().and_then(IdempotencyKey::parse).ok_or("must be a string of 1 to 64 characters")?;
        if found.as_ref().is_some_and(|found| *found != key) {
            return Err("is given twice with two values".into());
        }
        found = Some(key);
    }
    Ok(found)
}

/// What makes two requests the same: who asks for what with which parameters.
pub(super) struct Intention<'c> {
    pub(super) method: &'c Method,
    /// The route's template.
    pub(super) path: &'c str,
    pub(super) id: Option<&'c str>,
    /// The body's parameters; the key itself is none of them.
    pub(super) parameters: &'c Map<String, Value>,
    /// Kind and id of the principal.
    pub(super) actor: (&'c str, &'c str),
}

impl Intention<'_> {
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut parameters = self.parameters.clone();
        parameters.remove(NAME);
        let (kind, actor) = self.actor;
        // The members of an object are rendered in the order of their names, whatever order they came in.
        let canonical = json!([self.method.as_str(), self.path, self.id, parameters, kind, actor]).to_string();
        Sha256::digest(canonical).into()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_has_1_to_64_characters() {
        let check = |value: Value, expected: bool| {
            assert_eq!(key([&value]).is_ok_and(|key| key.is_some()), expected, "{value}");
        };
        check(json!("k"), true);
        check(json!("k".repeat(64)), true);
        check(json!("ä".repeat(64)), true);
        check(json!("k".repeat(65)), false);
        for value in [json!(""), json!("a\0b"), json!(5), json!(true), json!([]), json!({}), json!(["k"])] {
            check(value.clone(), false);
            assert!(key([&value]).is_err(), "{value}");
        }
        assert_eq!(key([&Value::Null]), Ok(None));
        assert_eq!(key([]), Ok(None));
    }

    #[test]
    fn all_places_must_agree() {
        let check = |body: Value, query: &str, headers: &[&str], expected: Result<Option<&str>, ()>| {
            let mut query = super::super::query::parse(query).unwrap();
            let mut map = HeaderMap::new();
            for value in headers {
                map.append("idempotency-key", HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let beside = beside_the_body(&mut query, &map);
            let found = key(std::iter::once(&body).chain(&beside));
            let found = found.map(|key| key.map(|key| key.as_str().to_owned())).or(Err(()));
            assert_eq!(found, expected.map(|key| key.map(str::to_owned)), "{body} {query:?} {headers:?}");
            assert!(!query.contains_key(NAME));
        };
        check(json!("k"), "", &[], Ok(Some("k")));
        check(Value::Null, "idempotency_key=k", &[], Ok(Some("k")));
        check(Value::Null, "idempotency_key=null", &[], Ok(None));
        check(Value::Null, "", &["k"], Ok(Some("k")));
        check(Value::Null, "", &["\"k\""], Ok(Some("k")));
        check(Value::Null, "", &["\"k"], Ok(Some("\"k")));
        check(json!("k"), "idempotency_key=k", &["\"k\"", "k"], Ok(Some("k")));
        check(json!("k"), "idempotency_key=l", &[], Err(()));
        check(json!("k"), "", &["l"], Err(()));
        check(Value::Null, "idempotency_key=k", &["l"], Err(()));
        check(Value::Null, "idempotency_key=k&idempotency_key=k", &[], Err(()));
        check(Value::Null, "", &["k", "l"], Err(()));
        check(Value::Null, "", &["\u{e4}"], Err(()));
        check(Value::Null, "", &[""], Err(()));
        check(Value::Null, "", &["\"\""], Err(()));
    }

    #[test]
    fn only_the_same_intention_has_the_same_fingerprint() {
        let parameters = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let fingerprint = |path, id, body: &str, actor| {
            let parameters = parameters(body);
            Intention { method: &Method::POST, path, id, parameters: &parameters, actor }.fingerprint()
        };
        let actor = ("api_token", "1");
        let first = fingerprint("/api_token", None, r#"{"details":{"a":1,"b":[2,3]},"idempotency_key":"k"}"#, actor);
        let check = |other: [u8; 32], same: bool| assert_eq!(first == other, same);
        check(fingerprint("/api_token", None, r#"{ "details": {"b":[2,3], "a":1} }"#, actor), true);
        check(fingerprint("/api_token", None, r#"{"details":{"a":1,"b":[3,2]}}"#, actor), false);
        check(fingerprint("/api_token", None, r#"{"details":{"a":"1","b":[2,3]}}"#, actor), false);
        check(fingerprint("/agent", None, r#"{"details":{"a":1,"b":[2,3]}}"#, actor), false);
        check(fingerprint("/api_token", Some("1"), r#"{"details":{"a":1,"b":[2,3]}}"#, actor), false);
        check(fingerprint("/api_token", None, r#"{"details":{"a":1,"b":[2,3]}}"#, ("api_token", "2")), false);
        check(fingerprint("/api_token", None, r#"{"details":{"a":1,"b":[2,3]}}"#, ("user", "1")), false);
    }

    proptest! {
        #[test]
        fn a_key_is_kept_as_it_came(value in crate::property::json()) {
            if let Ok(Some(key)) = key([&value]) {
                prop_assert_eq!(value, json!(key.as_str()));
            }
        }

        #[test]
        fn a_key_in_a_header_is_one_in_a_body(bytes in crate::property::bytes()) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static("idempotency-key"), value)]);
            let beside = beside_the_body(&mut Map::new(), &headers);
            if let Ok(Some(found)) = key(&beside) {
                prop_assert_eq!(key([&json!(found.as_str())]), Ok(Some(found)));
            }
        }
    }
}
