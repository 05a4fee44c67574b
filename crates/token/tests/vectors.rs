//! The vectors that all implementations of the contracts share.

use std::collections::HashMap;

use countersign_token::duration::TokenDuration;
use countersign_token::id::{AccountPfid, Pfid};

/// The only escapes in the file are those of two letters beyond ASCII.
fn unescape(json: &str) -> String {
    let text = json.trim_matches('"').replace("\\u00b5", "\u{b5}").replace("\\u03bc", "\u{3bc}");
    text.replace("\\u0661", "\u{661}")
}

#[test]
fn durations() {
    let lines: Vec<_> = include_str!("data/cloudflare-duration-vectors.tsv").lines().skip(1).collect();
    assert_eq!(lines.len(), 51);
    for line in lines {
        let [input, nanos, verdict] = line.split('\t').collect::<Vec<_>>().try_into().expect("three columns");
        let text = unescape(input);
        assert!(!text.contains('\\'), "{input}");
        let parsed = TokenDuration::parse(&text);
        match verdict {
            "accept" => {
                let duration = parsed.expect(input);
                assert_eq!(duration.nanos(), Some(nanos.parse().expect("a number")), "{input}");
                assert_eq!(duration.as_str(), text);
            }
            "accept: non-expiring" => {
                let duration = parsed.expect(input);
                assert_eq!((duration.nanos(), duration.as_str()), (None, text.as_str()));
            }
            _ => {
                assert!(verdict.starts_with("reject"), "{verdict}");
                assert!(parsed.is_err(), "{input} must be refused");
            }
        }
    }
}

#[test]
fn pfids() {
    let lines: Vec<_> = include_str!("data/prefactor-pfid-vectors.csv").lines().skip(1).collect();
    let mut counts = HashMap::new();
    for line in lines {
        let columns: Vec<_> = line.splitn(6, ',').collect();
        let [kind, timestamp_ms, partition, random, text, note] = columns.try_into().expect("six columns");
        *counts.entry(kind).or_insert(0) += 1;
        let parsed = text.parse::<Pfid>();
        if kind == "invalid" {
            assert!(parsed.is_err(), "{text}: {note}");
            continue;
        }
        let pfid = parsed.expect(note);
        assert_eq!(pfid.to_string(), text);
        assert_eq!(pfid.timestamp_ms().to_string(), timestamp_ms);
        assert_eq!(pfid.partition().get().to_string(), partition);
        let shown: String = pfid.as_bytes()[10..].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown, random);
        assert_eq!(Pfid::from_bytes(*pfid.as_bytes()), Ok(pfid));
        assert_eq!(text.parse::<AccountPfid>().expect(note).as_pfid(), &pfid);
    }
    assert_eq!(counts, HashMap::from([("valid", 59), ("invalid", 10)]));
}
