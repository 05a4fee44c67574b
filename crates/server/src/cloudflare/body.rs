//! Request bodies: a JSON object, read field by field, so that an error names the field and what is wrong with it.

use std::ops::RangeInclusive;

use axum::extract::FromRequestParts;
use countersign_token::duration::TokenDuration;
use countersign_token::service_token::Name;
use countersign_token::time::Timestamp;
use http::request::Parts;
use serde_json::{Map, Value};

use super::Error;
use crate::body;
use crate::invalid::Invalid;
use crate::ops::AssertionKeys;

/// A body that must be a JSON object. The content type is not asked for: some clients send none.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

/// As [`Fields`], but no body at all is as good as `{}`.
#[derive(Debug)]
pub(super) struct OptionalFields(pub(super) Fields);

impl<S: Sync> FromRequestParts<S> for Fields {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Ok(Self(body::object(body::arrived(parts)?)?))
    }
}

impl<S: Sync> FromRequestParts<S> for OptionalFields {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let body = body::arrived(parts)?;
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(Fields::none()));
        }
        Ok(Self(Fields(body::object(body)?)))
    }
}

/// A field of the body: its name and its pointer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    name: &'static str,
    pointer: &'static str,
}

pub(super) const NAME: Field = Field { name: "name", pointer: "/name" };
pub(super) const DURATION: Field = Field { name: "duration", pointer: "/duration" };
pub(super) const ENABLED: Field = Field { name: "enabled", pointer: "/enabled" };
pub(super) const SECRET_VERSION: Field = Field { name: "client_secret_version", pointer: "/client_secret_version" };
pub(super) const PREVIOUS_EXPIRES_AT: Field =
    Field { name: "previous_client_secret_expires_at", pointer: "/previous_client_secret_expires_at" };
pub(super) const ROTATION_INTERVAL: Field =
    Field { name: "key_rotation_interval_days", pointer: "/key_rotation_interval_days" };

impl Field {
    pub(super) fn invalid(self, problem: &str) -> Invalid {
        Invalid { detail: format!("{}: {problem}", self.name), pointer: Some(self.pointer) }
    }
}

/// A field that may be absent, `null`, or a value: an update tells the first two apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Given<T> {
    Absent,
    Null,
    Value(T),
}

impl<T> Given<T> {
    /// The value, where absent and `null` mean the same.
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }
}

impl Fields {
    /// A body that nothing is read of.
    pub(super) fn none() -> Self {
        Self(Map::new())
    }

    /// All that came, known or not.
    pub(super) fn members(&self) -> &Map<String, Value> {
        &self.0
    }

    fn given<T>(&self, field: Field, parse: impl FnOnce(&Value) -> Result<T, Invalid>) -> Result<Given<T>, Invalid> {
        match self.0.get(field.name) {
            None => Ok(Given::Absent),
            Some(Value::Null) => Ok(Given::Null),
            Some(value) => parse(value).map(Given::Value),
        }
    }

    pub(super) fn name(&self) -> Result<Option<Name>, Invalid> {
        let given = self.given(NAME, |value| {
            let text = value.as_str().ok_or_else(|| NAME.invalid("must be a string"))?;
            Name::parse(text).map_err(|problem| NAME.invalid(&problem.to_string()))
        })?;
        Ok(given.value())
    }

    pub(super) fn duration(&self) -> Result<Option<TokenDuration>, Invalid> {
        let given = self.given(DURATION, |value| {
            let text = value.as_str().ok_or_else(|| DURATION.invalid("must be a string"))?;
            TokenDuration::parse(text).map_err(|problem| DURATION.invalid(&problem.to_string()))
        })?;
        Ok(given.value())
    }

    pub(super) fn enabled(&self) -> Result<Option<bool>, Invalid> {
        let given =
            self.given(ENABLED, |value| value.as_bool().ok_or_else(|| ENABLED.invalid("must be true or false")))?;
        Ok(given.value())
    }

    /// `0` is what a client sends that has none.
    pub(super) fn secret_version(&self) -> Result<Option<u32>, Invalid> {
        Ok(self.whole_number(SECRET_VERSION, &(0..=u32::MAX))?.filter(|version| *version > 0))
    }

    pub(super) fn rotation_interval(&self) -> Result<Option<u32>, Invalid> {
        self.whole_number(ROTATION_INTERVAL, &AssertionKeys::DAYS)
    }

    /// A whole number, which some clients write with a fraction of zero.
    fn whole_number(&self, field: Field, range: &RangeInclusive<u32>) -> Result<Option<u32>, Invalid> {
        let given = self.given(field, |value| {
            let problem =
                || field.invalid(&format!("must be a whole number from {} to {}", range.start(), range.end()));
            let whole = value.as_f64().filter(|number| number.fract() == 0.0).ok_or_else(problem)?;
            format!("{whole}").parse::<u32>().ok().filter(|number| range.contains(number)).ok_or_else(problem)
        })?;
        Ok(given.value())
    }

    pub(super) fn previous_expires_at(&self) -> Result<Given<Timestamp>, Invalid> {
        self.given(PREVIOUS_EXPIRES_AT, |value| {
            let text = value.as_str().ok_or_else(|| PREVIOUS_EXPIRES_AT.invalid("must be a string or null"))?;
            Timestamp::parse_rfc3339(text).map_err(|problem| PREVIOUS_EXPIRES_AT.invalid(&problem.to_string()))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        /// Whatever the body, and whatever is asked of it.
        #[test]
        fn what_is_read_can_be_read_again(bytes in crate::property::bytes()) {
            if let Ok(members) = body::object(&bytes) {
                let again = body::object(json!(members).to_string().as_bytes()).unwrap();
                // Numbers with a fraction may lose their last digit on the way; no field is one.
                prop_assert!(again.keys().eq(members.keys()));
            }
        }

        #[test]
        fn fields_are_kept_as_they_came(value in crate::property::json()) {
            let names = [NAME, DURATION, ENABLED, SECRET_VERSION, PREVIOUS_EXPIRES_AT].map(|field| field.name.to_owned());
            let fields = Fields(names.into_iter().map(|name| (name, value.clone())).collect());
            if let Ok(Some(name)) = fields.name() {
                prop_assert_eq!(&json!(name.as_str()), &value);
            }
            if let Ok(Some(duration)) = fields.duration() {
                prop_assert_eq!(&json!(duration.as_str()), &value);
            }
            if let Ok(Some(enabled)) = fields.enabled() {
                prop_assert_eq!(&json!(enabled), &value);
            }
            if let Ok(Some(version)) = fields.secret_version() {
                prop_assert_eq!(Some(f64::from(version)), value.as_f64());
            }
            if let Ok(Given::Value(at)) = fields.previous_expires_at() {
                prop_assert_eq!(Timestamp::parse_rfc3339(&at.to_string()).map(Timestamp::as_secs), Ok(at.as_secs()));
            }
        }
    }
}
