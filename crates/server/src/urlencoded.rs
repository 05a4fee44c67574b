//! Names and values as queries and forms carry them: `a=1&b=two+words`.

/// The decoded pairs in their order; `None` if something is not percent-encoded UTF-8. A name without `=` has an empty
/// value.
pub(crate) fn parse(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

/// `+` is a space and `%XX` a byte; `None` if the bytes are not UTF-8 or an escape is cut off.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (rest.next()?, rest.next()?);
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(high)? << 4 | digit(low)?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::property::{percent_encoded, text};

    use super::parse;

    #[test]
    fn pairs_are_decoded_in_order() {
        let check = |text: &str, expected: Option<&[(&str, &str)]>| {
            let parsed = parse(text);
            let shown = parsed
                .as_ref()
                .map(|pairs| pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>());
            assert_eq!(shown.as_deref(), expected, "{text}");
        };
        check("", Some(&[]));
        check("&&", Some(&[]));
        check("name=a+b%20c", Some(&[("name", "a b c")]));
        check("x=1&name=%F0%9F%94%91&x=2&", Some(&[("x", "1"), ("name", "🔑"), ("x", "2")]));
        check("a%5Bb%5D=c%3Dd%26", Some(&[("a[b]", "c=d&")]));
        check("name", Some(&[("name", "")]));
        check("name==", Some(&[("name", "=")]));
        for text in ["name=%", "name=%f", "name=%gg", "name=%+f", "name=%ff", "%c3=x"] {
            check(text, None);
        }
    }

    proptest! {
        #[test]
        fn what_is_decoded_can_be_encoded_again(text in text()) {
            if let Some(pairs) = parse(&text) {
                let again: Vec<String> = pairs
                    .iter()
                    .map(|(name, value)| format!("{}={}", percent_encoded(name), percent_encoded(value)))
                    .collect();
                prop_assert_eq!(parse(&again.join("&")), Some(pairs));
            }
        }
    }
}
