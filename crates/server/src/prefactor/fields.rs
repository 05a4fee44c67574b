//! Reading the parameters of a call one by one, so that one answer names everything that is wrong.

use countersign_token::id::Pfid;
use countersign_token::service_token::{Name, Patch};
use countersign_token::time::Timestamp;
use serde_json::{Map, Value};

use super::Error;
use super::error::{Problem, Problems};
use super::idempotency;
use super::pagination::Pagination;
use super::sorting::{Columns, Sorting};
use crate::ops::IdempotencyKey;

/// A parameter's value, or the word that its problem has been noted: [`Fields::finish`] tells it.
pub(super) type Read<T> = Result<T, Noted>;

/// A problem that [`Fields`] has noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noted;

/// Whoever asks for a value before they have called [`Fields::finish`] has a bug.
impl From<Noted> for Error {
    fn from(_: Noted) -> Self {
        Self::Internal
    }
}

/// The parameters of a call, at the top or within `details`.
#[derive(Debug)]
pub(super) struct Fields<'c> {
    /// `None` where `details` are missing, which is all that need be said.
    given: Option<&'c Map<String, Value>>,
    within: Option<&'static str>,
    key: Option<IdempotencyKey>,
    problems: Problems,
}

/// What holds the fields of an object that is made or changed.
pub(super) const DETAILS: &str = "details";

impl<'c> Fields<'c> {
    /// The parameters at the top. `keys` are the idempotency keys that stand elsewhere.
    pub(super) fn top(parameters: &'c Map<String, Value>, keys: &'c [Value]) -> Self {
        let mut fields = Self { given: Some(parameters), within: None, key: None, problems: Problems::default() };
        match idempotency::key(parameters.get(idempotency::NAME).into_iter().chain(keys)) {
            Ok(key) => fields.key = key,
            Err(problem) => fields.problems.note(idempotency::NAME, problem),
        }
        fields
    }

    /// The parameters within `details`, which must be there.
    pub(super) fn details(parameters: &'c Map<String, Value>, keys: &'c [Value]) -> Self {
        let mut fields = Self::top(parameters, keys);
        let details = fields.required(DETAILS, |_| Ok(())).and_then(|()| {
            let details = parameters.get(DETAILS).and_then(Value::as_object);
            details.ok_or_else(|| fields.refuse(DETAILS, "must be an object".into()))
        });
        fields.given = details.ok();
        fields.within = Some(DETAILS);
        fields
    }

    /// A parameter that must be there.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, Problem>,
    ) -> Read<T> {
        match self.optional(name, parse)? {
            Some(value) => Ok(value),
            None => Err(self.refuse(name, Problem::Required)),
        }
    }

    /// A parameter that may be absent or `null`.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, Problem>,
    ) -> Read<Option<T>> {
        match self.patch(name, parse)? {
            Patch::Set(value) => Ok(Some(value)),
            Patch::Keep | Patch::Clear => Ok(None),
        }
    }

    /// A parameter whose absence means another thing than `null`.
    pub(super) fn patch<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, Problem>,
    ) -> Read<Patch<T>> {
        match self.given.ok_or(Noted)?.get(name) {
            None => Ok(Patch::Keep),
            Some(Value::Null) => Ok(Patch::Clear),
            Some(value) => match parse(value) {
                Ok(value) => Ok(Patch::Set(value)),
                Err(problem) => Err(self.refuse(name, problem)),
            },
        }
    }

    /// Notes what is wrong with a parameter beyond its own form.
    pub(super) fn refuse(&mut self, name: &'static str, problem: Problem) -> Noted {
        match self.within {
            Some(whole) => self.problems.note_within(whole, name, problem),
            None => self.problems.note(name, problem),
        }
        Noted
    }

    /// The idempotency key, if nothing is wrong with any parameter. To be called before a value is used.
    pub(super) fn finish(self) -> Result<Option<IdempotencyKey>, Error> {
        if self.problems.is_empty() { Ok(self.key) } else { Err(Error::Invalid(self.problems)) }
    }
}

/// The parameters that every list has.
#[derive(Debug)]
pub(super) struct List<C> {
    pub(super) account: Option<Pfid>,
    pub(super) sorting: Sorting<C>,
    pub(super) pagination: Pagination,
}

impl Fields<'_> {
    /// The parameters that every list has.
    pub(super) fn list<C: Copy>(&mut self, columns: Columns<C>) -> Read<List<C>> {
        let account = self.optional("account_id", pfid);
        let sorting = self.given.and_then(|given| given.get("sorting")).unwrap_or(&Value::Null);
        let sorting = Sorting::parse(sorting, columns).map_err(|problem| self.refuse("sorting", problem));
        let pagination = self.optional("pagination", Pagination::parse);
        Ok(List { account: account?, sorting: sorting?, pagination: pagination?.unwrap_or_default() })
    }
}

fn str(value: &Value) -> Result<&str, Problem> {
    value.as_str().ok_or_else(|| "must be a string".into())
}

/// A text, of which the operation may demand more.
pub(super) fn string(value: &Value) -> Result<String, Problem> {
    Ok(str(value)?.to_owned())
}

/// A whole number, which some clients write with a fraction of zero.
pub(super) fn whole_number(value: &Value) -> Option<u64> {
    let whole = || value.as_f64().filter(|number| number.fract() == 0.0).map(|number| format!("{number}"));
    value.as_u64().or_else(|| whole()?.parse().ok())
}

/// A display name.
pub(super) fn name(value: &Value) -> Result<String, Problem> {
    match Name::parse(str(value)?) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(problem) => Err(Problem::value(&problem)),
    }
}

/// A reference or a new id: which kind of object it names, the text doesn't say.
pub(super) fn pfid(value: &Value) -> Result<Pfid, Problem> {
    match str(value)?.parse::<Pfid>() {
        Ok(id) => Ok(id),
        Err(problem) => Err(Problem::value(&problem)),
    }
}

/// A time, cut off to the second.
pub(super) fn timestamp(value: &Value) -> Result<Timestamp, Problem> {
    match Timestamp::parse_rfc3339(str(value)?) {
        Ok(time) => Ok(time.floor_to_second()),
        Err(problem) => Err(Problem::value(&problem)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::sorting;
    use super::*;

    /// Reads a call that takes every kind of parameter, and tells what is said of it.
    fn check(parameters: &Value, keys: &[Value], expected: &Value) {
        let parameters = parameters.as_object().unwrap();
        let mut fields = Fields::details(parameters, keys);
        let read = (
            fields.required("name", name),
            fields.optional("id", pfid),
            fields.optional("expires_at", timestamp),
            fields.patch("description", string),
        );
        let found = match fields.finish() {
            Err(error) => codes(&error.body()),
            Ok(key) => {
                let (name, id, at, description) = read;
                let description = match description.unwrap() {
                    Patch::Keep => "keep".to_owned(),
                    Patch::Clear => "clear".to_owned(),
                    Patch::Set(text) => text,
                };
                json!([
                    name.unwrap(),
                    id.unwrap().map(|id| id.to_string()),
                    at.unwrap().map(|at| at.to_string()),
                    description,
                    key.as_ref().map(IdempotencyKey::as_str),
                ])
            }
        };
        assert_eq!(found, *expected, "{parameters:?}");
    }

    /// The codes of an error's leaves.
    fn codes(error: &Value) -> Value {
        match error["errors"].as_object() {
            None => error["code"].clone(),
            Some(errors) => errors.iter().map(|(name, error)| (name.clone(), codes(error))).collect(),
        }
    }

    #[test]
    fn values_are_read_by_their_kind() {
        let id = "013xrzp12g3nqk8n7f8f9jbg8d18q7tm";
        check(&json!({"details": {"name": "n"}}), &[], &json!(["n", null, null, "keep", null]));
        check(
            &json!({"details": {"name": "n", "id": id, "expires_at": "2099-01-01T02:00:00.9+02:00", "description": null}}),
            &[json!("k")],
            &json!(["n", id, "2099-01-01T00:00:00Z", "clear", "k"]),
        );
        check(
            &json!({"details": {"name": "n", "id": null, "description": "d", "x": []}, "idempotency_key": "k", "y": 1}),
            &[Value::Null],
            &json!(["n", null, null, "d", "k"]),
        );
    }

    #[test]
    fn a_whole_number_may_have_a_fraction_of_zero() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(whole_number(&serde_json::from_str(text).unwrap()), expected, "{text}");
        };
        check("0", Some(0));
        check("-0.0", None);
        check("250.0", Some(250));
        check("1e3", Some(1000));
        check("18446744073709551615", Some(u64::MAX));
        for text in ["1.5", "-1", "-1.0", "1e300", "\"1\"", "true", "null", "[]"] {
            check(text, None);
        }
    }

    #[test]
    fn one_answer_names_everything_that_is_wrong() {
        let (required, invalid) = ("required_value", "invalid_value");
        check(&json!({}), &[], &json!({"details": required}));
        check(&json!({"name": "n"}), &[], &json!({"details": required}));
        check(&json!({"details": null}), &[], &json!({"details": required}));
        check(&json!({"details": []}), &[], &json!({"details": invalid}));
        check(&json!({"details": {}}), &[], &json!({"details": {"name": required}}));
        check(&json!({"details": {"name": null}}), &[], &json!({"details": {"name": required}}));
        check(
            &json!({"details": {"name": "", "id": "ID", "expires_at": 5, "description": []}, "idempotency_key": 5}),
            &[],
            &json!({
                "details": {"name": invalid, "id": invalid, "expires_at": invalid, "description": invalid},
                "idempotency_key": invalid,
            }),
        );
        check(
            &json!({"idempotency_key": "k"}),
            &[json!("l")],
            &json!({"details": required, "idempotency_key": invalid}),
        );
    }

    #[test]
    fn a_list_names_everything_that_is_wrong() {
        let check = |parameters: Value, expected: Value| {
            let mut fields = Fields::top(parameters.as_object().unwrap(), &[]);
            let list = fields.list(sorting::OTHER);
            let found = fields.finish().map_or_else(|error| codes(&error.body()), |_| json!(list.is_ok()));
            assert_eq!(found, expected, "{parameters}");
        };
        let invalid = "invalid_value";
        check(json!({}), json!(true));
        check(json!({"account_id": null, "sorting": null, "pagination": null}), json!(true));
        check(
            json!({"account_id": "x", "sorting": "x", "pagination": {"offset": "x"}}),
            json!({"account_id": invalid, "sorting": invalid, "pagination": {"offset": invalid}}),
        );
        check(
            json!({"sorting": {"direction": "x"}, "pagination": []}),
            json!({"sorting": {"direction": invalid}, "pagination": invalid}),
        );
    }

    proptest! {
        #[test]
        fn what_is_read_can_be_read_again(value in crate::property::json()) {
            if let Ok(text) = string(&value) {
                prop_assert_eq!(&value, &json!(text));
            }
            if let Ok(name) = name(&value) {
                prop_assert_eq!(&value, &json!(name));
            }
            if let Ok(id) = pfid(&value) {
                prop_assert_eq!(&value, &json!(id.to_string()));
            }
            if let Ok(at) = timestamp(&value) {
                prop_assert_eq!(timestamp(&json!(at.to_string())).ok(), Some(at));
            }
            if let Some(number) = whole_number(&value) {
                prop_assert_eq!(whole_number(&json!(number)), Some(number));
            }
        }

        /// All of the readers at once: a value is there exactly if nothing is said against it.
        #[test]
        fn a_call_is_read_or_refused(parameters in crate::property::object(), keys in prop::collection::vec(crate::property::json(), 0..3)) {
            let mut fields = Fields::details(&parameters, &keys);
            let name = fields.required("name", name);
            let id = fields.optional("account_id", pfid);
            let list = fields.list(sorting::API_TOKEN);
            match fields.finish() {
                Ok(_) => prop_assert!(name.is_ok() && id.is_ok() && list.is_ok()),
                Err(error) => prop_assert_eq!(&error.body()["status"], "error"),
            }
        }
    }
}
