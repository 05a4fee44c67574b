//! Points in time, and the only place that reads the system's clocks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::{self, DateTime};

const MICROS_PER_SEC: i64 = 1_000_000;
const EPOCH: DateTime = civil::date(1970, 1, 1).at(0, 0, 0, 0);

/// A point in time: microseconds since the Unix epoch, UTC, without leap seconds.
///
/// Its text is RFC 3339 in UTC, floored to the second: `2025-09-25T22:26:26Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// `0001-01-01T00:00:00Z`, the earliest time that has a text.
    pub const MIN: Self = Self(-62_135_596_800 * MICROS_PER_SEC);
    /// `9999-12-31T23:59:59Z`, the latest time that has a text; additions saturate here.
    pub const MAX: Self = Self(253_402_300_799 * MICROS_PER_SEC);

    /// The time that many microseconds after the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The time that many seconds after the Unix epoch; saturates at the bounds of microseconds in an `i64`.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(MICROS_PER_SEC))
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SEC)
    }

    /// This time without its fraction of a second: what its text shows.
    pub const fn floor_to_second(self) -> Self {
        Self::from_secs(self.as_secs())
    }

    /// Parses an RFC 3339 date-time: date, `T` or `t`, time, optional fraction, and an offset (`Z`, `z`, `+02:00`).
    ///
    /// What is finer than a microsecond is cut off. A leap second reads as the second before it.
    ///
    /// # Errors
    /// When the text has another shape (a bare date, a local time), names a day or an hour that doesn't exist,
    /// or lies outside the years 0001 to 9999 once converted to UTC.
    pub fn parse_rfc3339(text: &str) -> Result<Self, TimestampError> {
        let mut scanner = Scanner(text.as_bytes());
        let year = scanner.number(4)?;
        scanner.one_of(b"-")?;
        let month = scanner.number(2)?;
        scanner.one_of(b"-")?;
        let day = scanner.number(2)?;
        scanner.one_of(b"Tt")?;
        let hour = scanner.number(2)?;
        scanner.one_of(b":")?;
        let minute = scanner.number(2)?;
        scanner.one_of(b":")?;
        let second = scanner.number(2)?;
        let micros = scanner.fraction()?;
        let offset_minutes = scanner.offset()?;
        scanner.end()?;

        let second = if second == 60 { 59 } else { second };
        let local = i8::try_from(month)
            .ok()
            .zip(i8::try_from(day).ok())
            .zip(i8::try_from(hour).ok())
            .zip(i8::try_from(minute).ok())
            .zip(i8::try_from(second).ok())
            .and_then(|((((month, day), hour), minute), second)| {
                DateTime::new(year, month, day, hour, minute, second, 0).ok()
            })
            .ok_or(TimestampError::NoSuchTime)?;
        let secs = local.duration_since(EPOCH).as_secs() - i64::from(offset_minutes) * 60;
        let time = Self(secs * MICROS_PER_SEC + i64::from(micros));
        if time.as_secs() < Self::MIN.as_secs() || time.as_secs() > Self::MAX.as_secs() {
            return Err(TimestampError::OutOfRange);
        }
        Ok(time)
    }

    /// This time plus a number of nanoseconds, rounded up to the microsecond; never later than [`Timestamp::MAX`].
    pub fn saturating_add_nanos(self, nanos: i64) -> Self {
        let micros = nanos.div_euclid(1_000) + i64::from(nanos.rem_euclid(1_000) != 0);
        self.saturating_add_micros(micros)
    }

    /// This time plus a number of microseconds; never later than [`Timestamp::MAX`].
    pub fn saturating_add_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros)).min(Self::MAX)
    }
}

impl fmt::Display for Timestamp {
    /// A time outside the years 0001 to 9999 shows as the nearest time inside.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = (*self).clamp(Self::MIN, Self::MAX);
        let civil =
            EPOCH.checked_add(SignedDuration::from_secs(shown.as_secs())).map_err(|_out_of_range| fmt::Error)?;
        let (date, time) = (civil.date(), civil.time());
        // Lists show many times, and the machinery of `write!` would take more time than reading the rows.
        let two = |number: u16| [number / 10, number % 10].map(|digit| b'0' + u8::try_from(digit).unwrap_or_default());
        let year = date.year().unsigned_abs();
        let ([y1, y2], [y3, y4]) = (two(year / 100), two(year % 100));
        let rest = [date.month(), date.day(), time.hour(), time.minute(), time.second()];
        let [[m1, m2], [d1, d2], [h1, h2], [n1, n2], [s1, s2]] = rest.map(|number| two(number.unsigned_abs().into()));
        let text = [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2, b'Z'];
        f.write_str(str::from_utf8(&text).map_err(|_not_ascii| fmt::Error)?)
    }
}

/// Why a text is no timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// Not the shape of RFC 3339.
    #[error("must be an RFC 3339 date-time with an offset, such as 2026-01-31T12:00:00Z")]
    Malformed,
    /// The right shape, but no such day, hour, minute, second or offset.
    #[error("names a date or time that does not exist")]
    NoSuchTime,
    /// Before the year 0001 or after the year 9999, in UTC.
    #[error("must lie in the years 0001 to 9999")]
    OutOfRange,
}

struct Scanner<'t>(&'t [u8]);

impl Scanner<'_> {
    fn number(&mut self, digits: usize) -> Result<i16, TimestampError> {
        let (number, rest) = self.0.split_at_checked(digits).ok_or(TimestampError::Malformed)?;
        self.0 = rest;
        number.iter().try_fold(0, |value: i16, byte| match byte {
            b'0'..=b'9' => Ok(value * 10 + i16::from(byte - b'0')),
            _ => Err(TimestampError::Malformed),
        })
    }

    fn one_of(&mut self, accepted: &[u8]) -> Result<u8, TimestampError> {
        match self.0.split_first() {
            Some((first, rest)) if accepted.contains(first) => {
                self.0 = rest;
                Ok(*first)
            }
            _ => Err(TimestampError::Malformed),
        }
    }

    /// An optional fraction of a second, in microseconds.
    fn fraction(&mut self) -> Result<u32, TimestampError> {
        if self.one_of(b".").is_err() {
            return Ok(0);
        }
        let length = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at_checked(length).ok_or(TimestampError::Malformed)?;
        if digits.is_empty() {
            return Err(TimestampError::Malformed);
        }
        self.0 = rest;
        let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(6);
        Ok(padded.fold(0, |value, digit| value * 10 + u32::from(digit - b'0')))
    }

    /// Minutes east of UTC.
    fn offset(&mut self) -> Result<i16, TimestampError> {
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Ok(0),
        };
        let hours = self.number(2)?;
        self.one_of(b":")?;
        let minutes = self.number(2)?;
        if hours > 23 || minutes > 59 {
            return Err(TimestampError::NoSuchTime);
        }
        Ok(sign * (hours * 60 + minutes))
    }

    fn end(&self) -> Result<(), TimestampError> {
        if self.0.is_empty() { Ok(()) } else { Err(TimestampError::Malformed) }
    }
}

/// A point on the clock that starts with the machine and also runs while it is suspended; only differences mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(i64);

impl BootTime {
    /// The point that many microseconds after the machine's start.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the machine's start.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Microseconds from `earlier` to this point; negative if `earlier` is later.
    pub const fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The time from `earlier` to this point; zero if `earlier` is later.
    pub fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.micros_since(earlier)).unwrap_or(0))
    }
}

/// Where the time comes from: the system, or a test.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The system's clocks.
    System,
    /// A clock that moves only when told to.
    Manual(ManualClock),
}

impl Clock {
    /// The current time of day.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => system_now(),
            Self::Manual(clock) => Timestamp(clock.0.now.load(Ordering::SeqCst)),
        }
    }

    /// The current point on the boot clock (`CLOCK_BOOTTIME` on Linux).
    pub fn boot(&self) -> BootTime {
        match self {
            Self::System => system_boot(),
            Self::Manual(clock) => BootTime(clock.0.boot.load(Ordering::SeqCst)),
        }
    }
}

/// A clock that moves only when told to. Clones share the time.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<ManualTime>);

#[derive(Debug)]
struct ManualTime {
    now: AtomicI64,
    boot: AtomicI64,
}

impl ManualClock {
    /// A clock that stands at `now`, on a machine that has just started.
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(ManualTime { now: AtomicI64::new(now.0), boot: AtomicI64::new(0) }))
    }

    /// Moves the time of day and the boot clock forward, by whole microseconds.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.0.now.fetch_add(micros, Ordering::SeqCst);
        self.0.boot.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets the time of day, in either direction. The boot clock stays, as it does when somebody sets a machine's clock.
    pub fn set(&self, now: Timestamp) {
        self.0.now.store(now.0, Ordering::SeqCst);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clocks")]
fn system_clock(id: rustix::time::ClockId) -> i64 {
    let read = rustix::time::clock_gettime(id);
    read.tv_sec.saturating_mul(MICROS_PER_SEC).saturating_add(read.tv_nsec / 1_000)
}

fn system_now() -> Timestamp {
    Timestamp(system_clock(rustix::time::ClockId::Realtime))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn system_boot() -> BootTime {
    BootTime(system_clock(rustix::time::ClockId::Boottime))
}

// Elsewhere the clock that counts suspension has another name or none; the monotonic one is the nearest.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn system_boot() -> BootTime {
    BootTime(system_clock(rustix::time::ClockId::Monotonic))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BootTime, Clock, ManualClock, Timestamp, TimestampError};

    fn check(text: &str, expected: Result<i64, TimestampError>) {
        assert_eq!(Timestamp::parse_rfc3339(text).map(Timestamp::as_micros), expected, "{text:?}");
    }

    #[test]
    fn parses_rfc_3339() {
        check("1970-01-01T00:00:00Z", Ok(0));
        check("2025-09-25T22:26:26Z", Ok(1_758_839_186_000_000));
        check("2099-01-01T02:00:00+02:00", Ok(4_070_908_800_000_000));
        check("2099-01-01t00:00:00.5z", Ok(4_070_908_800_500_000));
        check("1969-12-31T23:59:59.999999-00:00", Ok(-1));
        check("2026-01-01T00:00:00.1234567891234567891234Z", Ok(1_767_225_600_123_456));
        check("2024-02-29T12:00:00-23:59", Ok(1_709_294_340_000_000));
        // A leap second reads as the one before.
        check("2016-12-31T23:59:60Z", Ok(1_483_228_799_000_000));
    }

    #[test]
    fn refuses_other_shapes() {
        for text in [
            "",
            "tomorrow",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-01-31 12:00:00Z",
            "2026-01-31T12:00Z",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00:00,5Z",
            "2026-01-31T12:00:00Z ",
            " 2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00Z\0",
            "2026-01-31T12:00:00+0200",
            "2026-01-31T12:00:00+02",
            "2026-01-31T12:00:00[Europe/Berlin]",
            "20260131T120000Z",
            "+2026-01-31T12:00:00Z",
            "2026-1-31T12:00:00Z",
            "\u{0662}026-01-31T12:00:00Z",
            "2026\u{2013}01-31T12:00:00Z",
        ] {
            check(text, Err(TimestampError::Malformed));
        }
    }

    #[test]
    fn refuses_times_that_do_not_exist() {
        for text in [
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00+00:60",
        ] {
            check(text, Err(TimestampError::NoSuchTime));
        }
    }

    #[test]
    fn keeps_to_the_years_that_have_a_text() {
        check("0001-01-01T00:00:00Z", Ok(Timestamp::MIN.as_micros()));
        check("9999-12-31T23:59:59Z", Ok(Timestamp::MAX.as_micros()));
        check("0000-12-31T23:59:59-00:01", Ok(Timestamp::MIN.as_micros() + 59_000_000));
        for text in ["0000-12-31T23:59:59Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"] {
            check(text, Err(TimestampError::OutOfRange));
        }
    }

    #[test]
    fn prints_whole_seconds_in_utc() {
        let print = |micros| Timestamp::from_micros(micros).to_string();
        assert_eq!(print(1_758_839_186_999_999), "2025-09-25T22:26:26Z");
        assert_eq!(print(-1), "1969-12-31T23:59:59Z");
        assert_eq!(print(i64::MIN), "0001-01-01T00:00:00Z");
        assert_eq!(print(i64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn additions_round_up_and_saturate() {
        let at = Timestamp::from_micros(10);
        assert_eq!(at.saturating_add_nanos(0), at);
        assert_eq!(at.saturating_add_nanos(1).as_micros(), 11);
        assert_eq!(at.saturating_add_nanos(1_000).as_micros(), 11);
        assert_eq!(at.saturating_add_nanos(1_001).as_micros(), 12);
        assert_eq!(Timestamp::MAX.saturating_add_nanos(i64::MAX), Timestamp::MAX);
    }

    #[test]
    fn a_manual_clock_moves_when_told_to() {
        let manual = ManualClock::new(Timestamp::from_secs(100));
        let clock = Clock::Manual(manual.clone());
        let started = clock.boot();
        manual.advance(Duration::from_millis(1_500));
        assert_eq!(clock.now(), Timestamp::from_micros(101_500_000));
        assert_eq!(clock.boot().micros_since(started), 1_500_000);
        manual.set(Timestamp::from_secs(50));
        assert_eq!(clock.now(), Timestamp::from_secs(50));
        assert_eq!(clock.boot().micros_since(started), 1_500_000, "a set clock is no passed time");
    }

    #[test]
    fn the_system_clocks_run() {
        let (now, boot) = (Clock::System.now(), Clock::System.boot());
        assert!(now > Timestamp::from_secs(1_700_000_000));
        assert!(boot > BootTime::from_micros(0));
        assert!(Clock::System.boot() >= boot);
    }
}
