//! Any value of the single header: no panic, and the secret that comes out stands in it, or in escapes.

use countersign_token::credential::{Credential, Presented};

/// The input is the header's value.
pub(crate) fn check(input: &[u8]) {
    let presented = Presented::from_headers([("x-token", input)], Some("x-token"));
    match presented {
        Presented::Missing => panic!("a header is there"),
        Presented::Malformed => {}
        Presented::Credential(Credential::Bearer { .. }) => panic!("no bearer is in the single header"),
        Presented::Credential(Credential::Pair { secret, .. } | Credential::UnknownPair { secret }) => {
            assert!(input.is_ascii() && input.len() <= 2_048);
            assert!((1..=512).contains(&secret.len()));
            assert!(secret.bytes().all(|byte| byte.is_ascii_graphic()));
            let stands_there = input.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(stands_there || input.contains(&b'\\'));
            // What was accepted is accepted whatever stands around it.
            let padded = [b" \t".as_slice(), input, b" "].concat();
            let again = Presented::from_headers([("X-Token", padded.as_slice())], Some("x-token"));
            assert!(padded.len() > 2_048 || matches!(again, Presented::Credential(_)));
        }
    }
}
