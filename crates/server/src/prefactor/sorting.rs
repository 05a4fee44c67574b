//! The order of a list. Clients of two generations ask for it in two forms, and are all told it in one.

use countersign_store::{ApiTokenColumn, ListColumn, Nulls, Order};
use serde_json::{Map, Value, json};

use super::error::{Problem, Problems};

/// What a list may be sorted by: the names of its columns. The first is the default.
pub(super) type Columns<C> = &'static [(&'static str, C)];

pub(super) const API_TOKEN: Columns<ApiTokenColumn> = &[
    ("id", ApiTokenColumn::Id),
    ("inserted_at", ApiTokenColumn::InsertedAt),
    ("created_at", ApiTokenColumn::InsertedAt),
    ("timestamp", ApiTokenColumn::InsertedAt),
    ("updated_at", ApiTokenColumn::UpdatedAt),
    ("expires_at", ApiTokenColumn::ExpiresAt),
    ("last_used_at", ApiTokenColumn::LastUsedAt),
    ("last_seen", ApiTokenColumn::LastUsedAt),
    ("status", ApiTokenColumn::Status),
    ("token_scope", ApiTokenColumn::Scope),
];

/// Every other list.
pub(super) const OTHER: Columns<ListColumn> = &[
    ("id", ListColumn::Id),
    ("inserted_at", ListColumn::InsertedAt),
    ("created_at", ListColumn::InsertedAt),
    ("timestamp", ListColumn::InsertedAt),
    ("updated_at", ListColumn::UpdatedAt),
];

/// An order, and the name by which it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sorting<C> {
    field: &'static str,
    column: C,
    descending: bool,
    nulls: Option<Nulls>,
}

impl<C: Copy> Sorting<C> {
    /// Reads the parameter `sorting`: `-field`, an object `{field, direction, nulls}`, or the JSON text of one.
    /// `null` asks for none.
    pub(super) fn parse(value: &Value, columns: Columns<C>) -> Result<Self, Problem> {
        match value {
            Value::Null => Self::of_parts(&Map::new(), columns),
            Value::Object(parts) => Self::of_parts(parts, columns),
            Value::String(text) if text.starts_with('{') => match serde_json::from_str(text) {
                Ok(parts) => Self::of_parts(&parts, columns),
                Err(_) => Err("must be a JSON object where it begins with {".into()),
            },
            Value::String(text) => {
                let (name, descending) = text.strip_prefix('-').map_or((text.as_str(), false), |name| (name, true));
                let (field, column) = find(columns, name).ok_or(UNKNOWN_FIELD)?;
                Ok(Self { field, column, descending, nulls: None })
            }
            _ => Err("must be the name of a field, or have the parts field and direction".into()),
        }
    }

    fn of_parts(parts: &Map<String, Value>, columns: Columns<C>) -> Result<Self, Problem> {
        let part = |name: &str| parts.get(name).filter(|value| !value.is_null());
        let field = match part("field") {
            None => columns.first().copied(),
            Some(name) => name.as_str().and_then(|name| find(columns, name)),
        };
        let descending = match part("direction").map(Value::as_str) {
            None | Some(Some("asc")) => Some(false),
            Some(Some("desc")) => Some(true),
            Some(_) => None,
        };
        let nulls = match part("nulls").map(Value::as_str) {
            None | Some(Some("auto")) => Some(None),
            Some(Some("first")) => Some(Some(Nulls::First)),
            Some(Some("last")) => Some(Some(Nulls::Last)),
            Some(_) => None,
        };
        if let (Some((field, column)), Some(descending), Some(nulls)) = (field, descending, nulls) {
            return Ok(Self { field, column, descending, nulls });
        }
        let mut problems = Problems::default();
        if field.is_none() {
            problems.note("field", UNKNOWN_FIELD.into());
        }
        if descending.is_none() {
            problems.note("direction", "must be asc or desc".into());
        }
        if nulls.is_none() {
            problems.note("nulls", "must be first, last or auto".into());
        }
        Err(Problem::Within(problems))
    }

    /// The order as the store takes it. Rows without a value come last, and first when the order is turned around.
    pub(super) fn order(self) -> Order<C> {
        let nulls = self.nulls.unwrap_or(if self.descending { Nulls::First } else { Nulls::Last });
        Order { column: self.column, descending: self.descending, nulls }
    }

    /// What is said of the order.
    pub(super) fn render(self) -> Value {
        json!({"field": self.field, "direction": if self.descending { "desc" } else { "asc" }})
    }
}

const UNKNOWN_FIELD: &str = "must be a field that this list can be sorted by";

fn find<C: Copy>(columns: Columns<C>, name: &str) -> Option<(&'static str, C)> {
    columns.iter().find(|(known, _)| *known == name).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(value: &Value, expected: Option<(&str, ApiTokenColumn, &str)>) {
        let sorting = Sorting::parse(value, API_TOKEN).ok();
        let found = sorting.map(|sorting| (sorting.render(), sorting.order().column));
        let expected =
            expected.map(|(field, column, direction)| (json!({"field": field, "direction": direction}), column));
        assert_eq!(found, expected, "{value}");
    }

    #[test]
    fn a_name_with_or_without_a_sign() {
        check(&Value::Null, Some(("id", ApiTokenColumn::Id, "asc")));
        check(&json!("id"), Some(("id", ApiTokenColumn::Id, "asc")));
        check(&json!("-created_at"), Some(("created_at", ApiTokenColumn::InsertedAt, "desc")));
        check(&json!("-last_seen"), Some(("last_seen", ApiTokenColumn::LastUsedAt, "desc")));
        for text in ["", "-", "--id", "+id", "ID", "id ", "bogus", "title", "email", "id,status", "id\0"] {
            check(&json!(text), None);
        }
    }

    #[test]
    fn an_object_or_its_text() {
        let both = |value: Value, expected: Option<(&str, ApiTokenColumn, &str)>| {
            check(&json!(value.to_string()), expected);
            check(&value, expected);
        };
        both(json!({"field": "status"}), Some(("status", ApiTokenColumn::Status, "asc")));
        both(json!({"field": "id", "direction": "desc"}), Some(("id", ApiTokenColumn::Id, "desc")));
        both(json!({"direction": "desc"}), Some(("id", ApiTokenColumn::Id, "desc")));
        both(json!({"field": null, "direction": null, "x": 1}), Some(("id", ApiTokenColumn::Id, "asc")));
        both(json!({"field": "title"}), None);
        both(json!({"field": "-id"}), None);
        both(json!({"field": 5}), None);
        both(json!({"field": []}), None);
        both(json!({"direction": "sideways"}), None);
        both(json!({"direction": "DESC"}), None);
        both(json!({"field": "id", "nulls": "middle"}), None);
        for value in [json!([]), json!(5), json!(true), json!("{"), json!("{}x"), json!("[]")] {
            check(&value, None);
        }
    }

    #[test]
    fn nulls_are_last_until_the_order_is_turned_around() {
        let check = |value: Value, expected: Nulls| {
            let order = Sorting::parse(&value, API_TOKEN).unwrap().order();
            assert_eq!(order.nulls, expected, "{value}");
        };
        check(json!("last_used_at"), Nulls::Last);
        check(json!("-last_used_at"), Nulls::First);
        check(json!({"field": "last_used_at", "nulls": "auto"}), Nulls::Last);
        check(json!({"field": "last_used_at", "nulls": "first"}), Nulls::First);
        check(json!({"field": "last_used_at", "direction": "desc", "nulls": "last"}), Nulls::Last);
    }

    #[test]
    fn every_wrong_part_is_named() {
        let wrong = json!({"field": "x", "direction": "y", "nulls": "z"});
        let Err(Problem::Within(problems)) = Sorting::parse(&wrong, OTHER) else { panic!("three are wrong") };
        let mut expected = Problems::of("field", UNKNOWN_FIELD.into());
        expected.note("direction", "must be asc or desc".into());
        expected.note("nulls", "must be first, last or auto".into());
        assert_eq!(problems, expected);
    }

    proptest! {
        #[test]
        fn an_order_can_be_asked_for_as_it_is_told(value in crate::property::json()) {
            if let Ok(sorting) = Sorting::parse(&value, API_TOKEN) {
                let again = Sorting::parse(&sorting.render(), API_TOKEN).unwrap();
                prop_assert_eq!(again.render(), sorting.render());
                let sign = if sorting.descending { "-" } else { "" };
                prop_assert_eq!(Sorting::parse(&json!(format!("{sign}{}", sorting.field)), API_TOKEN), Ok(again));
            }
        }
    }
}
