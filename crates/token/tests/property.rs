//! The properties that the fuzz targets check, on random input in the shape of the real.

#![expect(clippy::panic, reason = "the properties are shared with the fuzz targets")]

use countersign_token::entropy::Entropy;
use countersign_token::id::{
    AgentDeploymentId, AgentId, ApiTokenId, EnvironmentId, InviteId, Partition, Pfid, UserPfid,
};
use countersign_token::time::Timestamp;
use proptest::prelude::*;

#[path = "property/credential.rs"]
mod credential;
#[path = "property/demand.rs"]
mod demand;
#[path = "property/duration.rs"]
mod duration;
#[path = "property/id.rs"]
mod id;
#[path = "property/pfid.rs"]
mod pfid;
#[path = "property/single_header.rs"]
mod single_header;
#[path = "property/timestamp.rs"]
mod timestamp;

const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\u0063",
    "\\ud83d\\udd11",
    "null",
    "-1.5e3",
    " ",
    "\"cf-access-client-id\"",
    "\"cf-access-client-secret\"",
    "\"88bf3b6d86161464f6509f7219099e57.access\"",
    "\"hush\"",
    "\"x\"",
    "Bearer ",
    "a.b.c",
    "\n\0",
    "\n\u{1}",
    "\n\u{2}",
    "\n\u{4}",
    "88bf3b6d86161464f6509f7219099e57",
    ".access",
    "013xrzp12g3nqk8ngskn1wtxgka5b0nf",
    "3537a672-e4d8-4d89-aab9-26cb622918a1",
    "account_id=",
    "zone_id=",
    "environment_id=",
    "service_token_id=",
    "header=",
    "&",
    "%",
    "%41",
    "+",
    "=",
    "1",
    "60",
    ".",
    "h",
    "m",
    "ms",
    "s",
    "µs",
    "ns",
    "-",
    "forever",
    "2026",
    "-01",
    "-31",
    "T",
    "12",
    ":00",
    "Z",
    "+02:00",
    ".5",
    "\u{661}",
    "é",
];

/// Pieces of real input in any order, and noise.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

/// A whole object, with other members around the two.
fn object() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        Just("1".to_owned()),
        Just("null".to_owned()),
        Just("[{},\"]\"]".to_owned()),
        "\"[ -!#-\\[\\]-~]{0,8}\"",
    ];
    let member = ("[a-z]{1,3}", value).prop_map(|(key, value)| format!("\"{key}\":{value}"));
    (prop::collection::vec(member, 0..4), "[!#-\\[\\]-~]{0,20}", any::<prop::sample::Index>()).prop_map(
        |(mut members, secret, place)| {
            members.push("\"cf-access-client-id\":\"x\"".to_owned());
            let place = place.index(members.len());
            members.insert(place, format!("\"cf-access-client-secret\":\"{secret}\""));
            format!("{{{}}}", members.join(",")).into_bytes()
        },
    )
}

fn duration_text() -> impl Strategy<Value = Vec<u8>> {
    "\\+?([0-9]{0,6}(\\.[0-9]{0,4})?(ns|us|µs|ms|s|m|h)){1,4}".prop_map(String::into_bytes)
}

fn timestamp_text() -> impl Strategy<Value = Vec<u8>> {
    "[0-9]{4}-[01][0-9]-[0-3][0-9][Tt][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,9})?(Z|z|[+-][0-2][0-9]:[0-6][0-9])"
        .prop_map(String::into_bytes)
}

proptest! {
    #[test]
    fn credentials(input in input()) {
        credential::check(&input);
    }

    #[test]
    fn single_headers(input in prop_oneof![input(), object()]) {
        single_header::check(&input);
    }

    #[test]
    fn durations(input in prop_oneof![input(), duration_text()]) {
        duration::check(&input);
    }

    #[test]
    fn pfids(input in prop_oneof![
        input(),
        "[0-8][0-9a-z]{31}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 20),
    ]) {
        pfid::check(&input);
    }

    #[test]
    fn related_pfids_keep_the_partition(number in 0..1_u32 << 30, micros in any::<i64>(), seed in any::<u64>()) {
        let (partition, now, entropy) = (Partition::new(number).unwrap(), Timestamp::from_micros(micros), Entropy::seeded(seed));
        let pfids = [
            *ApiTokenId::generate(now, partition, &entropy).as_pfid(),
            *EnvironmentId::generate(now, partition, &entropy).as_pfid(),
            *AgentId::generate(now, partition, &entropy).as_pfid(),
            *AgentDeploymentId::generate(now, partition, &entropy).as_pfid(),
            *UserPfid::generate(now, partition, &entropy).as_pfid(),
            *InviteId::generate(now, partition, &entropy).as_pfid(),
        ];
        for pfid in pfids {
            let text = pfid.to_string();
            prop_assert_eq!(text.parse(), Ok(pfid));
            prop_assert_eq!(Pfid::from_bytes(*pfid.as_bytes()), Ok(pfid));
            prop_assert_eq!(pfid.partition(), partition);
            prop_assert_eq!(&text[10..16], partition.to_string());
            let millis = u64::try_from(micros.div_euclid(1_000)).unwrap_or(0).min((1 << 48) - 1);
            prop_assert_eq!(pfid.timestamp_ms(), millis);
        }
        prop_assert_eq!(pfids.iter().collect::<std::collections::HashSet<_>>().len(), pfids.len());
    }

    #[test]
    fn pfids_sort_by_the_millisecond(millis in 0..(1_i64 << 48) - 2, later in 1..1_000_i64, seed in any::<u64>()) {
        let entropy = Entropy::seeded(seed);
        let at = |millis: i64| Pfid::generate_root(Timestamp::from_micros(millis * 1_000), &entropy);
        let (before, after) = (at(millis), at((millis + later).min((1 << 48) - 1)));
        prop_assert!(before < after);
        prop_assert!(before.to_string() < after.to_string());
    }

    #[test]
    fn a_pfid_has_one_spelling(millis in 0..1_i64 << 48, seed in any::<u64>(), place in 0..32_usize) {
        let text = Pfid::generate_root(Timestamp::from_micros(millis * 1_000), &Entropy::seeded(seed)).to_string();
        let upper: String =
            text.char_indices().map(|(at, c)| if at == place { c.to_ascii_uppercase() } else { c }).collect();
        prop_assert_eq!(upper.parse::<Pfid>().is_ok(), upper == text);
        for spoiled in [text.to_uppercase(), format!("{text}\n"), format!(" {text}"), format!("{text}\0"), text[1..].to_owned()] {
            prop_assert_eq!(spoiled.parse::<Pfid>().is_ok(), spoiled == text, "{:?}", spoiled);
        }
    }

    #[test]
    fn ids(input in prop_oneof![
        input(),
        "[0-9a-f]{32}(\\.access)?".prop_map(String::into_bytes),
        "[0-9a-fA-F]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}".prop_map(String::into_bytes),
    ]) {
        id::check(&input);
    }

    #[test]
    fn demands(input in prop_oneof![
        input(),
        "(account_id=[0-9a-f]{32}|zone_id=[0-9a-f]{32}|header=[a-z%+]{1,5}|service_token_id=x)(&zone_id=[0-9a-f]{32}){0,2}"
            .prop_map(String::into_bytes),
    ]) {
        demand::check(&input);
    }

    #[test]
    fn timestamps(input in prop_oneof![input(), timestamp_text()]) {
        timestamp::check(&input);
    }
}
