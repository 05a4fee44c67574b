//! Texts that are handed out without an allocation.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A text that is copied as a whole while it is short, and shared if it is long: a clone never allocates.
#[derive(Clone)]
pub struct Text(Form);

#[derive(Clone)]
enum Form {
    Short { length: u8, bytes: [u8; Text::SHORT_MAX] },
    Long(Arc<str>),
}

impl Text {
    /// How many bytes a short one has at most.
    pub(crate) const SHORT_MAX: usize = 60;

    /// The text that these bytes begin with, if it is one; an empty one otherwise.
    pub(crate) fn short(length: u8, bytes: [u8; Self::SHORT_MAX]) -> Self {
        Self(Form::Short { length, bytes })
    }

    /// The bytes of a short one, the unused ones included, and how many they are.
    pub(crate) fn as_short(&self) -> Option<(u8, &[u8; Self::SHORT_MAX])> {
        match &self.0 {
            Form::Short { length, bytes } => Some((*length, bytes)),
            Form::Long(_) => None,
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Form::Short { length, bytes } => {
                bytes.get(..usize::from(*length)).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default()
            }
            Form::Long(text) => text,
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let mut bytes = [0; Self::SHORT_MAX];
        match (u8::try_from(text.len()), bytes.get_mut(..text.len())) {
            (Ok(length), Some(place)) => {
                place.copy_from_slice(text.as_bytes());
                Self::short(length, bytes)
            }
            _ => Self(Form::Long(text.into())),
        }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_texts_are_the_same_texts() {
        for length in [0, 1, 20, Text::SHORT_MAX - 2, Text::SHORT_MAX, Text::SHORT_MAX + 2, 300, 1_400] {
            let text = "é".repeat(length / 2) + &"x".repeat(length % 2);
            let held = Text::from(text.as_str());
            assert_eq!((held.as_str(), held.to_string(), held.clone()), (text.as_str(), text.clone(), held.clone()));
            assert_eq!(held.as_short().is_some(), length <= Text::SHORT_MAX);
        }
        assert_ne!(Text::from("a"), Text::from("a\0"));
        assert_eq!(Text::short(1, [0xff; Text::SHORT_MAX]).as_str(), "");
    }
}
