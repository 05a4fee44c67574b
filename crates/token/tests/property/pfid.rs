//! Any text as a PFID: no panic, and parsing is the inverse of printing.

use countersign_token::id::Pfid;

/// The input is the text, or the binary form.
pub(crate) fn check(input: &[u8]) {
    if let Some(pfid) = str::from_utf8(input).ok().and_then(|text| text.parse::<Pfid>().ok()) {
        assert_eq!(pfid.to_string().as_bytes(), input);
        assert_eq!(Pfid::from_bytes(*pfid.as_bytes()), Ok(pfid));
    }
    if let Ok(pfid) = input.try_into().map(Pfid::from_bytes).unwrap_or(Err(countersign_token::id::IdError::Pfid)) {
        assert_eq!(pfid.to_string().parse(), Ok(pfid));
        assert!(pfid.timestamp_ms() < 1 << 48);
    }
}
