//! What the words of a caller must be to be kept.

use countersign_token::service_token::{Name, Patch};

use super::Error;

/// Longer addresses can't be delivered to (RFC 5321).
const EMAIL_LEN_MAX: usize = 254;

/// In characters. Nobody reads more in a list.
const TEXT_LENGTH_MAX: usize = 4000;

pub(super) fn invalid(field: &'static str, problem: impl Into<String>) -> Error {
    Error::Invalid { field, problem: problem.into() }
}

/// A display name: 1 to 350 characters.
pub(super) fn parse_name(field: &'static str, name: &str) -> Result<String, Error> {
    match Name::parse(name) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(problem) => Err(invalid(field, problem.to_string())),
    }
}

/// A text of any words, which may be empty: up to 4000 characters.
pub(super) fn parse_text(field: &'static str, text: &str) -> Result<String, Error> {
    if text.chars().nth(TEXT_LENGTH_MAX).is_some() {
        return Err(invalid(field, format!("must not be longer than {TEXT_LENGTH_MAX} characters")));
    }
    if text.contains('\0') {
        return Err(invalid(field, "must not contain U+0000"));
    }
    Ok(text.to_owned())
}

/// What a patch sets, if it sets anything, parsed.
pub(super) fn parse_patch(field: &'static str, patch: &Patch<String>) -> Result<Patch<String>, Error> {
    Ok(match patch {
        Patch::Keep => Patch::Keep,
        Patch::Clear => Patch::Clear,
        Patch::Set(text) => Patch::Set(parse_text(field, text)?),
    })
}

/// An address as it is kept: folded to lower case, because people don't tell cases of an address apart.
pub(super) fn parse_email(email: &str) -> Result<String, Error> {
    let invalid = |problem: &str| invalid("email", problem);
    if email.len() > EMAIL_LEN_MAX {
        return Err(invalid("must be at most 254 bytes long"));
    }
    let parts = email.split_once('@');
    let Some((local, domain)) = parts else {
        return Err(invalid("must contain an @"));
    };
    if local.is_empty() || domain.is_empty() || domain.contains('@') {
        return Err(invalid("must have one @ with something on both sides"));
    }
    if email.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(invalid("must not contain white space"));
    }
    Ok(email.to_lowercase())
}

/// What a patch makes of a value.
pub(super) fn patched<T: Clone>(before: Option<&T>, patch: &Patch<T>) -> Option<T> {
    match patch {
        Patch::Keep => before.cloned(),
        Patch::Clear => None,
        Patch::Set(value) => Some(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Patch, parse_email, parse_name, parse_patch, parse_text, patched};

    #[test]
    fn addresses_have_one_at_and_no_white_space() {
        let check = |email: &str, expected: Option<&str>| {
            assert_eq!(parse_email(email).ok().as_deref(), expected, "{email:?}");
        };
        check("Ada@Example.com", Some("ada@example.com"));
        check("a@b", Some("a@b"));
        for email in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\n", "a\0@b", &format!("{}@b", "a".repeat(253))] {
            check(email, None);
        }
    }

    #[test]
    fn names_and_texts_have_lengths() {
        assert!(parse_name("name", &"n".repeat(350)).is_ok());
        for name in ["", "\0", &"n".repeat(351)] {
            assert!(parse_name("name", name).is_err(), "{name:?}");
        }
        assert!(parse_text("description", "").is_ok() && parse_text("description", &"t".repeat(4000)).is_ok());
        for text in ["\0", &"t".repeat(4001)] {
            assert!(parse_text("description", text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_patch_keeps_clears_or_sets() {
        let before = "before".to_owned();
        assert_eq!(patched(Some(&before), &Patch::Keep), Some(before.clone()));
        assert_eq!(patched(Some(&before), &Patch::Clear), None);
        assert_eq!(patched(None, &Patch::Set(before.clone())), Some(before));
        assert!(parse_patch("description", &Patch::Set("\0".to_owned())).is_err());
    }
}
