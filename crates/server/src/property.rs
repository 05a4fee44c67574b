//! Input for the properties of parsers: pieces of the real in any order, and noise. A parser never panics, and what it
//! takes it gives back.

use proptest::prelude::*;
use serde_json::{Map, Value};

const PIECES: &[&str] = &[
    "a",
    "id",
    "-",
    "name",
    "account_id",
    "sorting",
    "pagination",
    "offset",
    "page_size",
    "field",
    "direction",
    "desc",
    "nulls",
    "last",
    "status",
    "details",
    "idempotency_key",
    "token_scope",
    "page",
    "per_page",
    "duration",
    "8760h",
    "forever",
    "enabled",
    "client_secret_version",
    "null",
    "0",
    "1",
    "25",
    "1001",
    "99999999999999999999",
    "[",
    "]",
    "=",
    "&",
    "+",
    "%",
    "%41",
    "%5B",
    "%5D",
    "%00",
    "%ff",
    "{",
    "}",
    "\"",
    ":",
    ",",
    "{\"field\":\"id\"}",
    "{\"name\":\"n\"}",
    "Bearer ",
    "bearer ",
    ".",
    "eyJ.eyJ.x",
    "tttttttttttttttttttttttttttttttttttttttt",
    " ",
    "\t",
    "\0",
    "@",
    "\u{e9}",
    "013xrzp12g3nqk8ngskn1wtxgka5b0nf",
    "2f0c5b1be6f84e7f8a2d3c4b5a697887",
    "2099-01-01T00:00:00Z",
    "1800000000",
];

/// Any text.
pub(crate) fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => prop::sample::select(PIECES).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

/// Any bytes.
pub(crate) fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => text().prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..80),
        2 => json().prop_map(|value| value.to_string().into_bytes()),
    ]
}

/// Any JSON value.
pub(crate) fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..200_u64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..200_u8).prop_map(|number| Value::from(f64::from(number))),
        text().prop_map(Value::from),
        prop::sample::select(PIECES).prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            members(inner).prop_map(Value::Object),
        ]
    })
}

/// Any JSON object.
pub(crate) fn object() -> impl Strategy<Value = Map<String, Value>> {
    members(json())
}

fn members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let name = prop::sample::select(PIECES).prop_map(str::to_owned);
    prop::collection::vec((name, value), 0..5).prop_map(Map::from_iter)
}

/// A text with everything but letters and digits escaped.
pub(crate) fn percent_encoded(text: &str) -> String {
    let escape = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
        byte => format!("%{byte:02x}"),
    };
    text.as_bytes().iter().map(escape).collect()
}
