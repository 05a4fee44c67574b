//! How long a service token lives: Go's duration syntax, or `forever`.

use std::fmt;

use crate::time::Timestamp;

const NANOS_PER_HOUR: u64 = 3_600_000_000_000;
/// A hundred years of 365 days. Clients need a date even where none applies.
const FOREVER_SHOWN: i64 = 876_000 * 3_600_000_000;
const TEXT_MAX: usize = 100;

/// A lifetime as its owner wrote it: `8760h`, `1h30m`, `forever`.
///
/// The text is kept and given back verbatim, since clients compare it; two durations are equal when their texts are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TokenDuration {
    text: Box<str>,
    nanos: Option<i64>,
}

impl TokenDuration {
    /// Parses `forever` or a positive sum of numbers with units (`ns`, `us`, `µs`, `ms`, `s`, `m`, `h`), at most
    /// 2^63 - 1 nanoseconds (292 years) and 100 bytes of text.
    ///
    /// # Errors
    /// When the text is none of these; the error says what is wrong in words for an API client.
    pub fn parse(text: &str) -> Result<Self, DurationError> {
        if text.len() > TEXT_MAX {
            return Err(DurationError::TooLong);
        }
        let nanos = if text == "forever" { None } else { Some(parse_nanos(text)?) };
        Ok(Self { text: text.into(), nanos })
    }

    /// `8760h`: what a token gets whose creator names no duration. A year of 365 days.
    pub fn default_year() -> Self {
        Self { text: "8760h".into(), nanos: Some(365 * 24 * 3_600_000_000_000) }
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a token with this duration never expires.
    pub fn is_forever(&self) -> bool {
        self.nanos.is_none()
    }

    /// The length in nanoseconds, positive; `None` is forever.
    pub fn nanos(&self) -> Option<i64> {
        self.nanos
    }

    /// When a token ends that starts its life at `from`, rounded up to the microsecond.
    ///
    /// For `forever` this is a hundred years of 365 days later: a date to show, which decides nothing.
    /// Never later than [`Timestamp::MAX`].
    pub fn expires_at(&self, from: Timestamp) -> Timestamp {
        match self.nanos {
            Some(nanos) => from.saturating_add_nanos(nanos),
            None => from.saturating_add_micros(FOREVER_SHOWN),
        }
    }
}

impl fmt::Display for TokenDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for TokenDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenDuration({})", self.text)
    }
}

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No text at all.
    #[error("must not be empty; write for example 8760h or forever")]
    Empty,
    /// A number was expected.
    #[error("must be a sum of numbers with units, such as 8760h or 1h30m, or forever")]
    Malformed,
    /// A number stands without a unit.
    #[error("has a number without a unit; the units are ns, us, ms, s, m and h")]
    MissingUnit,
    /// A unit that doesn't exist.
    #[error("has an unknown unit; the units are ns, us, ms, s, m and h, in lower case and without spaces")]
    UnknownUnit,
    /// Zero, or below.
    #[error("must be longer than zero")]
    NotPositive,
    /// More than 2^63 - 1 nanoseconds.
    #[error("must not exceed 2562047h47m16.854775807s; write forever for a token that never expires")]
    Overflow,
    /// More than 100 bytes of text.
    #[error("must not be longer than 100 bytes")]
    TooLong,
}

fn parse_nanos(text: &str) -> Result<i64, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Err(DurationError::NotPositive);
    }
    if rest.is_empty() {
        return Err(DurationError::Malformed);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (nanos, after) = parse_term(rest)?;
        total = total.checked_add(nanos).ok_or(DurationError::Overflow)?;
        rest = after;
    }
    let total = i64::try_from(total).ok().ok_or(DurationError::Overflow)?;
    if negative || total == 0 { Err(DurationError::NotPositive) } else { Ok(total) }
}

/// One number with its unit, and the text after it.
fn parse_term(text: &str) -> Result<(u64, &str), DurationError> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => split_digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(DurationError::Malformed);
    }
    let unit_length = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(unit_length).ok_or(DurationError::Malformed)?;
    let unit = match unit {
        "" => return Err(DurationError::MissingUnit),
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => NANOS_PER_HOUR,
        _ => return Err(DurationError::UnknownUnit),
    };
    let whole =
        whole.bytes().try_fold(0, |value: u64, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    let nanos = whole.and_then(|whole| whole.checked_mul(unit)).ok_or(DurationError::Overflow)?;
    let nanos = nanos.checked_add(fraction_nanos(fraction, unit)).ok_or(DurationError::Overflow)?;
    Ok((nanos, rest))
}

/// The fraction of a unit, rounded down. Eighteen digits decide it: an hour has fewer nanoseconds than that.
fn fraction_nanos(digits: &str, unit: u64) -> u64 {
    let (value, scale) = digits
        .bytes()
        .take(18)
        .fold((0, 1), |(value, scale): (u128, u128), digit| (value * 10 + u128::from(digit - b'0'), scale * 10));
    u64::try_from(value * u128::from(unit) / scale).unwrap_or(u64::MAX)
}

fn split_digits(text: &str) -> (&str, &str) {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at_checked(length).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::{DurationError, TokenDuration};
    use crate::time::Timestamp;

    // The shared vectors are in tests/vectors.rs; here is what they don't say.
    fn check(text: &str, expected: Result<Option<i64>, DurationError>) {
        assert_eq!(TokenDuration::parse(text).map(|duration| duration.nanos()), expected, "{text:?}");
    }

    #[test]
    fn says_what_is_wrong() {
        check("", Err(DurationError::Empty));
        check("+", Err(DurationError::Malformed));
        check("-", Err(DurationError::Malformed));
        check("++1h", Err(DurationError::Malformed));
        check(".s", Err(DurationError::Malformed));
        check("8760", Err(DurationError::MissingUnit));
        check("3.5.5h", Err(DurationError::MissingUnit));
        check("1d", Err(DurationError::UnknownUnit));
        check("1h ", Err(DurationError::UnknownUnit));
        check("-1h", Err(DurationError::NotPositive));
        check("+0", Err(DurationError::NotPositive));
        check("0.9ns", Err(DurationError::NotPositive));
        check("-9223372036854775808ns", Err(DurationError::Overflow));
        check("99999999999999999999999h", Err(DurationError::Overflow));
        check(&"1h".repeat(51), Err(DurationError::TooLong));
    }

    #[test]
    fn fractions_are_exact_and_rounded_down() {
        check("0.000000001s", Ok(Some(1)));
        check("0.0000000019s", Ok(Some(1)));
        check("0.99999999999999999999999999h", Ok(Some(3_599_999_999_999)));
        check("0.1h", Ok(Some(360_000_000_000)));
    }

    #[test]
    fn expiry_counts_from_the_start() {
        let from = Timestamp::from_micros(5);
        let expires = |text: &str| TokenDuration::parse(text).unwrap().expires_at(from).as_micros();
        assert_eq!(expires("1ns"), 6, "rounded up: no token lives shorter than it should");
        assert_eq!(expires("1us"), 6);
        assert_eq!(expires("8760h"), 31_536_000_000_005);
        assert_eq!(expires("forever"), 3_153_600_000_000_005);
        let late = Timestamp::parse_rfc3339("9998-01-01T00:00:00Z").unwrap();
        assert_eq!(TokenDuration::parse("87600h").unwrap().expires_at(late), Timestamp::MAX);
    }

    #[test]
    fn the_default_reads_like_its_text() {
        assert_eq!(TokenDuration::default_year(), TokenDuration::parse("8760h").unwrap());
        assert_eq!(TokenDuration::default_year().nanos(), Some(31_536_000_000_000_000));
        assert!(TokenDuration::parse("forever").unwrap().is_forever());
        assert_ne!(TokenDuration::parse("60m").unwrap(), TokenDuration::parse("1h").unwrap());
    }
}
