//! A query as named parameters, in the form in which a body has them.

use serde_json::{Map, Value};

use super::Error;
use crate::urlencoded;

/// Turns `a=1&b[c]=2` into `{"a": "1", "b": {"c": "2"}}`. The text `null` is no value.
///
/// A parameter that is given twice, or both whole and in parts, becomes a list: no parameter takes one, so it is refused
/// where it is read, and ignored where nobody reads it.
pub(super) fn parse(query: &str) -> Result<Map<String, Value>, Error> {
    let pairs = urlencoded::parse(query).ok_or(Error::BadRequest("The query is not percent-encoded UTF-8"))?;
    let mut parameters = Map::new();
    for (name, value) in pairs {
        let value = if value == "null" { Value::Null } else { Value::String(value) };
        match name.split_once('[').and_then(|(whole, part)| Some((whole, part.strip_suffix(']')?))) {
            None => add(&mut parameters, &name, value),
            Some((whole, part)) => {
                let parts = parameters.entry(whole).or_insert_with(|| Value::Object(Map::new()));
                match parts {
                    Value::Object(parts) => add(parts, part, value),
                    whole => *whole = Value::Array(Vec::new()),
                }
            }
        }
    }
    Ok(parameters)
}

fn add(parameters: &mut Map<String, Value>, name: &str, value: Value) {
    let value = if parameters.contains_key(name) { Value::Array(Vec::new()) } else { value };
    parameters.insert(name.to_owned(), value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::property::{percent_encoded, text};

    #[test]
    fn brackets_are_parts() {
        let check = |query: &str, expected: Value| {
            assert_eq!(parse(query).map(Value::Object).ok(), Some(expected), "{query}");
        };
        check("", json!({}));
        check("account_id=x&sorting=-id", json!({"account_id": "x", "sorting": "-id"}));
        check("account_id=null&a=", json!({"account_id": null, "a": ""}));
        let page = json!({"pagination": {"offset": "1", "page_size": "2"}});
        check("pagination[offset]=1&pagination[page_size]=2", page.clone());
        check("pagination%5Boffset%5D=1&pagination%5Bpage_size%5D=2", page);
        check("a[b=1&a]=2", json!({"a[b": "1", "a]": "2"}));
        check("a[]=1&b[c][d]=2", json!({"a": {"": "1"}, "b": {"c][d": "2"}}));
    }

    #[test]
    fn what_is_given_twice_is_a_list() {
        let check = |query: &str, expected: Value| {
            assert_eq!(parse(query).map(Value::Object).ok(), Some(expected), "{query}");
        };
        check("a=1&a=1", json!({"a": []}));
        check("a=1&a=1&a=1", json!({"a": []}));
        check("a[b]=1&a[b]=1&a[c]=2", json!({"a": {"b": [], "c": "2"}}));
        check("sorting=id&sorting[field]=id", json!({"sorting": []}));
        check("sorting[field]=id&sorting=id", json!({"sorting": []}));
        check("sorting[field]=id&sorting=id&sorting[field]=id", json!({"sorting": []}));
    }

    #[test]
    fn what_is_not_encoded_utf8_is_refused() {
        for query in ["a=%", "a=%ff", "%5b=%5"] {
            assert!(matches!(parse(query), Err(Error::BadRequest(_))), "{query}");
        }
    }

    /// A query that says the same.
    fn render(parameters: &Map<String, Value>) -> String {
        let mut pairs = Vec::new();
        for (name, value) in parameters {
            match value {
                Value::Object(parts) => {
                    pairs.extend(parts.iter().map(|(part, value)| (format!("{name}[{part}]"), value)));
                }
                value => pairs.push((name.clone(), value)),
            }
        }
        let pairs = pairs.into_iter().map(|(name, value)| {
            let name = percent_encoded(&name);
            match value {
                Value::String(text) => format!("{name}={}", percent_encoded(text)),
                Value::Null => format!("{name}=null"),
                _ => format!("{name}=1&{name}=1"),
            }
        });
        pairs.collect::<Vec<_>>().join("&")
    }

    proptest! {
        #[test]
        fn what_is_read_can_be_written_again(text in text()) {
            if let Ok(parameters) = parse(&text) {
                prop_assert_eq!(parse(&render(&parameters)).ok(), Some(parameters));
            }
        }
    }
}
