//! What holds of every file of an import: it is read without a panic, and a problem shows nothing of it.

use countersign_server::ops::ImportedSecret;
use proptest::prelude::*;

use super::csv::Records;
use super::file::read;

/// Stands where a secret may stand, and is in no message of ours.
const HUSH: &str = "Qx7Zhush";

const KNOWN: &[&str] = &[
    "name",
    "client_id",
    "client_secret",
    "client_secret_sha256",
    "expires_at",
    "duration",
    "enabled",
    "88bf3b6d86161464f6509f7219099e57.access",
    "2027-01-31T12:00:00Z",
    "8760h",
    "true",
    "null",
    ",",
    "\"",
    "\n",
    "\r\n",
    "{",
    "}",
    ":",
    "{\"name\":\"",
    "\",\"client_secret\":\"",
    "\"}\n",
    "name,client_id,client_secret\n",
    "\u{feff}",
    HUSH,
];

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => proptest::sample::select(KNOWN).prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<Vec<u8>>(),
    ]
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,8}", "[\",\r\n]{0,4}", any::<String>()]
}

fn quoted(field: &str) -> String {
    format!("\"{}\"", field.replace('"', "\"\""))
}

proptest! {
    #[test]
    fn no_file_shows_itself_in_its_problems(pieces in proptest::collection::vec(piece(), 0..24)) {
        let file = pieces.concat();
        let lines = file.iter().filter(|byte| **byte == b'\n').count() + 1;
        let tokens = read(&file);
        prop_assert!(!tokens.tokens.is_empty() || !tokens.problems.is_empty());
        prop_assert_eq!(tokens.lines.len(), tokens.tokens.len());
        for problem in &tokens.problems {
            prop_assert!((1..=lines).contains(&problem.line), "{} of {}", problem, lines);
            prop_assert!(!problem.problem.contains(HUSH), "{}", problem);
        }
    }

    #[test]
    fn what_is_written_as_csv_is_read_as_it_was(
        records in proptest::collection::vec(proptest::collection::vec(field(), 1..5), 0..8),
        end in prop_oneof![Just("\n"), Just("\r\n")],
    ) {
        let text: String =
            records.iter().map(|fields| fields.iter().map(|field| quoted(field)).collect::<Vec<_>>().join(",") + end).collect();
        let read: Vec<Vec<String>> = Records::of(&text).map(|(_, record)| record.unwrap()).collect();
        prop_assert_eq!(read, records);
    }

    #[test]
    fn both_forms_of_a_file_are_read_alike(
        tokens in proptest::collection::vec(("[A-Za-z ,\"\u{e4}]{1,8}x", any::<[u8; 16]>(), "[!-~]{1,40}", any::<bool>()), 1..8),
    ) {
        let mut csv = "enabled,client_secret,name,client_id\n".to_owned();
        let mut json = String::new();
        for (name, id, secret, enabled) in &tokens {
            let id = format!("{:032x}.access", u128::from_be_bytes(*id));
            csv += &format!("{enabled},{},{},{id}\n", quoted(secret), quoted(name));
            let member = serde_json::json!({"name": name, "client_id": id, "client_secret": secret, "enabled": enabled});
            json += &format!("{member}\n");
        }
        let [csv, json] = [csv, json].map(|text| {
            let read = read(text.as_bytes());
            assert!(read.problems.is_empty(), "{:?}", read.problems);
            read.tokens.into_iter().map(|token| {
                let ImportedSecret::Plain(secret) = token.secret else { panic!("a digest of {:?}", token.name) };
                (token.name.as_str().to_owned(), token.client_id, secret.expose().to_owned(), token.enabled)
            }).collect::<Vec<_>>()
        });
        prop_assert_eq!(&csv, &json);
        let written = tokens.into_iter().map(|(name, id, secret, enabled)| {
            (name, countersign_server::token::id::ClientId::from_bytes(id), secret, enabled)
        });
        prop_assert_eq!(csv, written.collect::<Vec<_>>());
    }
}
