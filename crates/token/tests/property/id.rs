//! Any text as an id: no panic, and parsing is the inverse of printing.

use countersign_token::id::{AccountId, ClientId, ServiceTokenId};

/// The input is the text, and its first bytes an id.
pub(crate) fn check(input: &[u8]) {
    if let Ok(text) = str::from_utf8(input) {
        round_trip::<AccountId>(text);
        round_trip::<ClientId>(text);
        round_trip::<ServiceTokenId>(text);
    }
    if let Some(bytes) = input.first_chunk() {
        assert_eq!(AccountId::from_bytes(*bytes).to_string().parse(), Ok(AccountId::from_bytes(*bytes)));
        assert_eq!(ClientId::from_bytes(*bytes).to_string().parse(), Ok(ClientId::from_bytes(*bytes)));
        assert_eq!(ServiceTokenId::from_bytes(*bytes).to_string().parse(), Ok(ServiceTokenId::from_bytes(*bytes)));
    }
}

fn round_trip<T: std::str::FromStr + std::fmt::Display>(text: &str) {
    if let Ok(id) = text.parse::<T>() {
        assert_eq!(id.to_string(), text);
    }
}
