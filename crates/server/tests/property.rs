//! The property that the fuzz target checks, on random input in the shape of the real.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a property fails by panicking")]

use proptest::prelude::*;

#[path = "property/call.rs"]
mod call;

const PIECES: &[&str] = &[
    "cf-access-client-id",
    "CF-Access-Client-Secret",
    "authorization",
    "countersign-token-id",
    "Countersign_Kind",
    "cf-access-jwt-assertion",
    "x-request-id",
    "x-api-key",
    "88bf3b6d86161464f6509f7219099e57.access",
    call::SECRET,
    "Bearer ",
    "a.b.c",
    "{\"cf-access-client-id\":\"88bf3b6d86161464f6509f7219099e57.access\",\"cf-access-client-secret\":\"hush\"}",
    "account_id",
    call::ACCOUNT,
    "header",
    "service_token_id",
    "é",
    "\u{0}",
    ",",
];

/// Texts with the byte between them that [`call::check`] splits at.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        4 => Just(vec![call::SEPARATOR]),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// A call that is admitted, unless what is put into it says otherwise.
fn admitted() -> impl Strategy<Value = Vec<u8>> {
    input().prop_map(|rest| {
        let good =
            ["", "account_id", call::ACCOUNT, "", "cf-access-client-id", call::CLIENT_ID, "cf-access-client-secret"];
        let good: Vec<u8> = good.iter().flat_map(|text| text.bytes().chain([call::SEPARATOR])).collect();
        [&good, call::SECRET.as_bytes(), &[call::SEPARATOR], &rest].concat()
    })
}

proptest! {
    #[test]
    fn calls(input in prop_oneof![input(), admitted()]) {
        call::check(&input);
    }

    #[test]
    fn noise(input in prop::collection::vec(any::<u8>(), 0..200)) {
        call::check(&input);
    }
}
