//! Query parameters. Unknown ones are ignored; a known one counts once.

use crate::invalid::Invalid;
use crate::urlencoded;

/// The largest page, and the page of whoever names no size: older clients read the first page only, and must find
/// everything there.
pub(crate) const PER_PAGE_MAX: u32 = 1000;

/// A query's parameters, decoded.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

/// Which page of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paging {
    /// From 1.
    pub(crate) page: u64,
    /// From 1 to [`PER_PAGE_MAX`].
    pub(crate) per_page: u32,
}

impl Paging {
    /// The page as the store counts.
    pub(crate) fn part(&self) -> countersign_store::Page {
        countersign_store::Page {
            offset: (self.page - 1).saturating_mul(u64::from(self.per_page)),
            limit: self.per_page,
        }
    }
}

impl Query {
    pub(crate) fn parse(query: &str) -> Result<Self, Invalid> {
        match urlencoded::parse(query) {
            Some(parameters) => Ok(Self(parameters)),
            None => Err(Invalid::new("the query is not percent-encoded UTF-8")),
        }
    }

    /// A parameter's value; `None` if it is absent.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<&str>, Invalid> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let value = values.next();
        if values.next().is_some() {
            return Err(Invalid::new(format!("{name}: is given more than once")));
        }
        if value.is_some_and(|value| value.contains('\0')) {
            return Err(Invalid::new(format!("{name}: must not contain U+0000")));
        }
        Ok(value)
    }

    /// A parameter's value; `None` if it is absent or empty.
    pub(crate) fn filter(&self, name: &'static str) -> Result<Option<&str>, Invalid> {
        Ok(self.text(name)?.filter(|value| !value.is_empty()))
    }

    pub(crate) fn paging(&self) -> Result<Paging, Invalid> {
        let page = self.number("page")?.unwrap_or(1);
        let per_page = self.number("per_page")?.unwrap_or(u64::from(PER_PAGE_MAX));
        let per_page = u32::try_from(per_page).unwrap_or(PER_PAGE_MAX).min(PER_PAGE_MAX);
        Ok(Paging { page, per_page })
    }

    fn number(&self, name: &'static str) -> Result<Option<u64>, Invalid> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u64>() {
            Ok(number) if number > 0 && digits => Ok(Some(number)),
            // More digits than fit is only far past the end.
            Err(_) if digits => Ok(Some(u64::MAX)),
            Ok(_) | Err(_) => Err(Invalid::new(format!("{name}: must be a whole number from 1"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_decoded() {
        let check = |query: &str, expected: Option<&str>| {
            let parsed = Query::parse(query).ok();
            assert_eq!(parsed.as_ref().and_then(|query| query.text("name").unwrap()), expected, "{query}");
        };
        check("name=a+b%20c", Some("a b c"));
        check("x=1&name=%F0%9F%94%91&", Some("🔑"));
        check("name", Some(""));
        check("name==", Some("="));
        check("NAME=x", None);
    }

    #[test]
    fn what_is_not_encoded_utf8_is_refused() {
        for query in ["name=%", "name=%f", "name=%gg", "name=%ff", "%c3=x"] {
            assert!(Query::parse(query).is_err(), "{query}");
        }
    }

    #[test]
    fn a_page_is_a_whole_number_from_one() {
        let check = |query: &str, expected: Option<(u64, u32)>| {
            let paging = Query::parse(query).unwrap().paging().ok();
            assert_eq!(paging.map(|paging| (paging.page, paging.per_page)), expected, "{query}");
        };
        check("", Some((1, 1000)));
        check("page=2&per_page=25", Some((2, 25)));
        check("per_page=5000", Some((1, 1000)));
        check("per_page=99999999999999999999", Some((1, 1000)));
        check("page=99999999999999999999", Some((u64::MAX, 1000)));
        for query in ["page=0", "page=x", "page=", "page=-1", "page=1.5", "page=%2B1", "per_page=0", "page=1&page=2"] {
            check(query, None);
        }
    }

    proptest! {
        #[test]
        fn a_page_can_be_asked_for_again(text in crate::property::text()) {
            let Ok(query) = Query::parse(&text) else { return Ok(()) };
            if let Ok(paging) = query.paging() {
                prop_assert!(paging.page > 0 && (1..=PER_PAGE_MAX).contains(&paging.per_page));
                let again = Query::parse(&format!("page={}&per_page={}", paging.page, paging.per_page)).unwrap();
                prop_assert_eq!(again.paging(), Ok(paging));
                paging.part();
            }
            if let Ok(Some(name)) = query.text("name") {
                let again = Query::parse(&format!("name={}", crate::property::percent_encoded(name))).unwrap();
                prop_assert_eq!(again.text("name"), Ok(Some(name)));
            }
        }
    }
}
