//! Which part of a list is asked for, and what is said of it.

use countersign_store::Page;
use serde_json::{Value, json};

use super::error::{Problem, Problems};
use super::fields::whole_number;

/// The largest page, and the page of whoever names no size: the command line can't page, and must find everything there.
const PAGE_SIZE_MAX: u32 = 100;

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pagination {
    /// From 0 to 2^63 - 1.
    offset: u64,
    /// From 1 to [`PAGE_SIZE_MAX`].
    page_size: u32,
}

impl Default for Pagination {
    fn default() -> Self {
        Self { offset: 0, page_size: PAGE_SIZE_MAX }
    }
}

impl Pagination {
    /// Reads the parameter `pagination`.
    pub(super) fn parse(value: &Value) -> Result<Self, Problem> {
        let parts = value.as_object().ok_or("must have the parts offset and page_size")?;
        let part = |name: &str| parts.get(name).filter(|value| !value.is_null()).map(number);
        let offset = part("offset").unwrap_or(Some(0)).filter(|offset| i64::try_from(*offset).is_ok());
        let page_size = part("page_size").unwrap_or(Some(PAGE_SIZE_MAX.into()));
        let page_size =
            page_size.and_then(|size| u32::try_from(size).ok()).filter(|size| (1..=PAGE_SIZE_MAX).contains(size));
        if let (Some(offset), Some(page_size)) = (offset, page_size) {
            return Ok(Self { offset, page_size });
        }
        let mut problems = Problems::default();
        if offset.is_none() {
            problems.note("offset", "must be a whole number from 0 to 9223372036854775807".into());
        }
        if page_size.is_none() {
            problems.note("page_size", "must be a whole number from 1 to 100".into());
        }
        Err(Problem::Within(problems))
    }

    /// The part as the store counts.
    pub(super) fn page(self) -> Page {
        Page { offset: self.offset, limit: self.page_size }
    }

    /// What is said of the part of a list that has `total` items in all.
    pub(super) fn render(self, total: u64) -> Value {
        let Self { offset, page_size } = self;
        let size = u64::from(page_size);
        let shown = total.saturating_sub(offset).min(size);
        let next = offset.checked_add(size).filter(|next| *next < total);
        json!({
            "item_count": total,
            "item_start": if shown > 0 { offset + 1 } else { 0 },
            "item_end": if shown > 0 { offset + shown } else { 0 },
            "next_page_offset": next,
            "page_count": total.div_ceil(size),
            "page_index": offset / size + 1,
            "page_offset": offset,
            "page_size": page_size,
            "previous_page_offset": (offset > 0).then(|| offset.saturating_sub(size)),
        })
    }
}

/// A number in JSON, or the digits of one, as a query has them.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        value => whole_number(value),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_arithmetic_is_that_of_the_vectors() {
        let lines: Vec<_> = include_str!("../../tests/data/prefactor-pagination-vectors.csv").lines().skip(1).collect();
        assert_eq!(lines.len(), 18);
        for line in lines {
            let numbers: Vec<Option<u64>> = line.split(',').map(|number| number.parse().ok()).collect();
            let [total, offset, page_size, start, end, next, pages, index, page_offset, size, previous, shown] =
                numbers[..]
            else {
                panic!("twelve columns: {line}");
            };
            let given = json!({"offset": offset, "page_size": page_size});
            let pagination = Pagination::parse(&given).unwrap();
            let rendered = pagination.render(total.unwrap());
            let expected = json!({
                "item_count": total, "item_start": start, "item_end": end, "next_page_offset": next,
                "page_count": pages, "page_index": index, "page_offset": page_offset, "page_size": size,
                "previous_page_offset": previous,
            });
            assert_eq!(rendered, expected, "{line}");
            let rows = if end > Some(0) { end.unwrap() - start.unwrap() + 1 } else { 0 };
            assert_eq!(Some(rows), shown, "{line}");
        }
    }

    #[test]
    fn a_part_is_two_whole_numbers() {
        let check = |value: Value, expected: Option<(u64, u32)>| {
            let parsed = Pagination::parse(&value).ok();
            assert_eq!(parsed.map(|part| (part.offset, part.page_size)), expected, "{value}");
        };
        assert_eq!(Pagination::parse(&json!({})), Ok(Pagination::default()));
        check(json!({}), Some((0, 100)));
        check(json!({"offset": null, "page_size": null}), Some((0, 100)));
        check(json!({"offset": "7", "page_size": "1", "other": "x"}), Some((7, 1)));
        check(json!({"offset": 7, "page_size": 100}), Some((7, 100)));
        check(json!({"offset": "9223372036854775807"}), Some((i64::MAX.unsigned_abs(), 100)));
        for offset in [json!("-1"), json!("1.5"), json!("1x"), json!(""), json!("+1"), json!(-1), json!(1.5)] {
            check(json!({"offset": offset}), None);
        }
        for offset in [json!("9223372036854775808"), json!("9".repeat(50)), json!([]), json!(true), json!({})] {
            check(json!({"offset": offset}), None);
        }
        for page_size in [json!("0"), json!("101"), json!("x"), json!(0), json!(101), json!([]), json!("4294967297")] {
            check(json!({"page_size": page_size}), None);
        }
        for value in [json!("5"), json!(5), json!([]), json!(false)] {
            check(value, None);
        }
    }

    #[test]
    fn what_lies_beyond_all_numbers_is_past_the_end() {
        let far = Pagination { offset: i64::MAX.unsigned_abs(), page_size: 1 };
        assert_eq!(far.render(3)["next_page_offset"], Value::Null);
        assert_eq!(far.render(3)["item_start"], 0);
    }

    proptest! {
        #[test]
        fn a_part_can_be_asked_for_as_it_is_told(value in crate::property::json(), total in any::<u64>()) {
            if let Ok(pagination) = Pagination::parse(&value) {
                let told = pagination.render(total);
                let again = json!({"offset": told["page_offset"], "page_size": told["page_size"]});
                prop_assert_eq!(Pagination::parse(&again), Ok(pagination));
            }
        }
    }
}
