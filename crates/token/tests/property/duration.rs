//! Any text as a duration: no panic, and what is accepted is kept, positive, and the sum of its halves.

use countersign_token::duration::TokenDuration;

/// The input is the text.
pub(crate) fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let Ok(duration) = TokenDuration::parse(text) else { return };
    assert_eq!(duration.as_str(), text);
    assert_eq!(duration.is_forever(), text == "forever");
    if let Some(nanos) = duration.nanos() {
        assert!(nanos > 0, "{text}");
        // Twice the text is twice the time, unless that is too long.
        let twice = format!("{text}{}", text.strip_prefix('+').unwrap_or(text));
        if let Ok(twice) = TokenDuration::parse(&twice) {
            assert_eq!(twice.nanos(), nanos.checked_mul(2), "{text}");
        }
    }
}
