//! Any text as a timestamp: no panic, and the text of what is accepted is accepted as the same second.

use countersign_token::time::Timestamp;

/// The input is the text, and its first bytes a number of microseconds.
pub(crate) fn check(input: &[u8]) {
    if let Some(time) = str::from_utf8(input).ok().and_then(|text| Timestamp::parse_rfc3339(text).ok()) {
        assert_eq!(Timestamp::parse_rfc3339(&time.to_string()), Ok(time.floor_to_second()));
        assert_eq!(time.to_string().len(), 20);
    }
    if let Some(bytes) = input.first_chunk() {
        let time = Timestamp::from_micros(i64::from_be_bytes(*bytes));
        let shown = time.clamp(Timestamp::MIN, Timestamp::MAX).floor_to_second();
        assert_eq!(Timestamp::parse_rfc3339(&time.to_string()), Ok(shown));
    }
}
