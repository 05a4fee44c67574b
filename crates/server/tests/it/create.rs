//! Creating a service token: cases 1 to 12 of the contract.

use std::time::Duration;

use countersign_token::secret::{SecretFormat, checksum_matches};
use countersign_token::time::Timestamp;
use serde_json::{Value, json};

use crate::world::{HOUR, Issued, START, World, on_both, on_both_with, on_sqlite};

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Seconds from `created_at` to `expires_at`.
fn lifetime(result: &Value) -> i64 {
    let at = |key: &str| Timestamp::parse_rfc3339(result[key].as_str().unwrap()).unwrap().as_secs();
    at("expires_at") - at("created_at")
}

fn keys(result: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = result.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn case_01_a_name_is_enough() {
    on_both(async |world| {
        for tokens in world.scopes() {
            for writer in world.writers() {
                let answer = writer.post(&tokens, &json!({"name": "x"})).await;
                assert_eq!(answer.json["errors"], json!([]), "{answer}");
                assert_eq!(answer.json["messages"], json!([]), "{answer}");
                let token = answer.created();
                let mut expected =
                    vec!["client_id", "client_secret", "client_secret_version", "created_at", "duration"];
                expected.extend(["enabled", "expires_at", "id", "name", "updated_at"]);
                assert_eq!(keys(&token), expected);
                let secret = token["client_secret"].as_str().unwrap();
                assert_eq!(secret.len(), 51);
                assert!(secret.starts_with("csec_") && secret[5..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
                assert!(checksum_matches(secret));
                let client_id = token["client_id"].as_str().unwrap();
                assert!(is_hex(client_id.strip_suffix(".access").unwrap(), 32), "{client_id}");
                let parts: Vec<&str> = token["id"].as_str().unwrap().split('-').collect();
                assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
                assert!(parts.iter().all(|part| is_hex(part, part.len())), "{parts:?}");
                assert_eq!(token["name"], "x");
                assert_eq!(token["duration"], "8760h");
                assert_eq!(token["client_secret_version"], 1);
                assert_eq!(token["enabled"], true);
                assert_eq!(token["created_at"], START);
                assert_eq!(token["updated_at"], START);
                assert_eq!(lifetime(&token), 31_536_000);
            }
        }
    });
}

#[test]
fn case_01_secrets_are_hex_where_so_configured() {
    on_both_with(SecretFormat::Hex, &async |world: &mut World| {
        let token = world.issue_default().await;
        assert!(is_hex(&token.secret, 64));
        world.assert_admitted(&token).await;
        let rotated = world.writer().act(&format!("{}/rotate", token.path)).await.ok();
        assert!(is_hex(rotated["client_secret"].as_str().unwrap(), 64));
    });
}

#[test]
fn case_02_names_need_not_be_unique() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let first = world.issue(&tokens, json!({"name": "same"})).await;
            let second = world.issue(&tokens, json!({"name": "same"})).await;
            assert_ne!(first.id, second.id);
            assert_ne!(first.client_id, second.client_id);
            world.assert_admitted(&first).await;
            world.assert_admitted(&second).await;
            world.assert_refused(&first, &second.secret, "invalid").await;
        }
    });
}

#[test]
fn case_03_a_name_is_required() {
    on_both(async |world| {
        for tokens in world.scopes() {
            for body in
                [json!({}), json!({"name": ""}), json!({"name": 5}), json!({"name": null}), json!({"name": ["x"]})]
            {
                world.writer().post(&tokens, &body).await.invalid_field("name");
            }
            assert_nothing(world, &tokens).await;
        }
    });
}

#[test]
fn case_04_a_body_must_be_a_json_object() {
    on_both(async |world| {
        for tokens in world.scopes() {
            for body in [
                "not json",
                "",
                " ",
                "null",
                "[]",
                "\"name\"",
                "5",
                r#"{"name":"x""#,
                r#"{"name":"x"}}"#,
                "{'name':'x'}",
            ] {
                let answer = world.writer().call(http::Method::POST, &tokens, body).await;
                let message = answer.refused(400, 12130).to_owned();
                assert!(message.starts_with("access.api.error.invalid_request: the body "), "{answer}");
                assert!(answer.json["errors"][0].get("source").is_none(), "{answer}");
            }
            assert_nothing(world, &tokens).await;
        }
    });
}

#[test]
fn case_05_version_zero_is_none() {
    on_both(async |world| {
        for version in [json!(0), json!(0.0), json!(null)] {
            let body = json!({"name": "x", "client_secret_version": version});
            assert_eq!(world.issue(&world.tokens(), body).await.result["client_secret_version"], 1);
        }
    });
}

#[test]
fn case_06_a_previous_end_is_kept_and_shown() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let check = async |sent: &str, shown: &str| {
                let body = json!({"name": "x", "client_secret_version": 2, "previous_client_secret_expires_at": sent});
                let token = world.issue(&tokens, body).await;
                assert_eq!(token.result["client_secret_version"], 2);
                assert_eq!(token.result["previous_client_secret_expires_at"], shown);
                let read = world.reader().get(&token.path).await.ok();
                assert_eq!(read["previous_client_secret_expires_at"], shown);
                world.assert_admitted(&token).await;
            };
            check("2025-12-31T23:59:59Z", "2025-12-31T23:59:59Z").await;
            check("2030-01-01T00:00:00.999Z", "2030-01-01T00:00:00Z").await;
            check("2030-01-01T02:00:00+02:00", "2030-01-01T00:00:00Z").await;
        }
    });
}

#[test]
fn case_07_versions_are_whole_numbers() {
    on_both(async |world| {
        let tokens = world.tokens();
        let accepted = [("2.0", 2_u64), ("2", 2), ("1", 1), ("4294967295", 4_294_967_295), ("3e0", 3)];
        for (version, shown) in accepted {
            let body = format!(r#"{{"name":"x","client_secret_version":{version}}}"#);
            let answer = world.writer().call(http::Method::POST, &tokens, body).await;
            assert_eq!(answer.created()["client_secret_version"], shown, "{version}");
        }
        for version in ["1.5", "-1", "-1.0", "4294967296", "1e100", "1e-1", "\"2\"", "true", "[2]", "{}"] {
            let body = format!(r#"{{"name":"x","client_secret_version":{version}}}"#);
            let answer = world.writer().call(http::Method::POST, &tokens, body).await;
            answer.invalid_field("client_secret_version");
        }
        assert_eq!(world.reader().get(&tokens).await.json["result_info"]["total_count"], accepted.len());
    });
}

#[test]
fn case_08_forever_has_an_end_to_show() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let token = world.issue(&tokens, json!({"name": "x", "duration": "forever"})).await;
            assert_eq!(token.result["duration"], "forever");
            assert_eq!(lifetime(&token.result), 876_000 * 3600);
            // The date is for show.
            world.advance(HOUR * 876_001);
            world.assert_admitted(&token).await;
            assert_eq!(world.reader().get(&token.path).await.ok()["expires_at"], token.result["expires_at"]);
        }
    });
}

struct Vector {
    text: String,
    nanos: Option<i64>,
    accepted: bool,
}

fn vectors() -> Vec<Vector> {
    let table = include_str!("../../../token/tests/data/cloudflare-duration-vectors.tsv");
    let vectors: Vec<Vector> = table
        .lines()
        .skip(1)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let [json, nanos, verdict] = line.split('\t').collect::<Vec<_>>().try_into().expect("three columns");
            let accepted = verdict.starts_with("accept");
            assert!(accepted || verdict.starts_with("reject"), "{verdict}");
            Vector { text: serde_json::from_str(json).expect("a JSON string"), nanos: nanos.parse().ok(), accepted }
        })
        .collect();
    assert!(vectors.len() > 40 && vectors.iter().any(|vector| !vector.accepted), "the table was read");
    vectors
}

#[test]
fn case_09_every_duration_vector() {
    on_both(async |world| {
        let [accounts, zones] = world.scopes();
        for (number, vector) in vectors().iter().enumerate() {
            let tokens = if number % 2 == 0 { &accounts } else { &zones };
            let before = world.reader().get(tokens).await.json["result_info"]["total_count"].clone();
            let answer = world.writer().post(tokens, &json!({"name": "x", "duration": vector.text})).await;
            if !vector.accepted {
                answer.invalid_field("duration");
                assert_eq!(world.reader().get(tokens).await.json["result_info"]["total_count"], before);
                continue;
            }
            let token = answer.created();
            assert_eq!(token["duration"], vector.text, "is echoed byte for byte");
            if let Some(nanos) = vector.nanos {
                // The world's clock stands on a whole second, so flooring the sum is flooring the duration.
                assert_eq!(lifetime(&token), nanos.div_euclid(1_000_000_000), "{:?}", vector.text);
            }
            let read = world.reader().get(&format!("{tokens}/{}", token["id"].as_str().unwrap())).await.ok();
            assert_eq!(read["duration"], vector.text);
            assert_eq!(read["expires_at"], token["expires_at"]);
        }
    });
}

#[test]
fn case_09_every_duration_vector_in_an_update() {
    on_both(async |world| {
        let token = world.issue(&world.tokens(), json!({"name": "x", "duration": "12345h"})).await;
        let mut kept = world.reader().get(&token.path).await.ok();
        for vector in vectors() {
            world.advance(Duration::from_secs(1));
            let answer = world.writer().put(&token.path, &json!({"duration": vector.text})).await;
            if vector.accepted {
                kept = answer.ok();
                assert_eq!(kept["duration"], vector.text);
            } else {
                answer.invalid_field("duration");
            }
            assert_eq!(world.reader().get(&token.path).await.ok(), kept, "after {:?}", vector.text);
        }
    });
}

#[test]
fn case_09_null_is_no_duration() {
    on_both(async |world| {
        let token = world.issue(&world.tokens(), json!({"name": "x", "duration": null})).await;
        assert_eq!(token.result["duration"], "8760h");
        for duration in [json!(8760), json!(true), json!(["8760h"]), json!({})] {
            let body = json!({"name": "x", "duration": duration});
            world.writer().post(&world.tokens(), &body).await.invalid_field("duration");
        }
    });
}

/// A duration below a second counts in full, and is shown floored.
#[test]
fn a_short_life_ends_on_the_microsecond() {
    on_both(async |world| {
        let token = world.issue(&world.tokens(), json!({"name": "x", "duration": "1500ms"})).await;
        assert_eq!(token.result["expires_at"], world.after(Duration::from_secs(1)));
        world.advance(Duration::from_micros(1_499_999));
        world.assert_admitted(&token).await;
        world.advance(Duration::from_micros(1));
        world.assert_refused(&token, &token.secret, "expired").await;
    });
}

#[test]
fn case_10_a_token_may_begin_disabled() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let token = world.issue(&tokens, json!({"name": "x", "enabled": false})).await;
            assert_eq!(token.result["enabled"], false);
            world.assert_refused(&token, &token.secret, "disabled").await;
            world.assert_refused(&token, "wrong", "invalid").await;
            world.writer().put(&token.path, &json!({"enabled": true})).await.ok();
            world.assert_admitted(&token).await;
        }
        for enabled in [json!("false"), json!(0), json!([])] {
            let body = json!({"name": "x", "enabled": enabled});
            world.writer().post(&world.tokens(), &body).await.invalid_field("enabled");
        }
        assert_eq!(world.issue(&world.tokens(), json!({"name": "x", "enabled": null})).await.result["enabled"], true);
    });
}

#[test]
fn case_11_unknown_fields_and_parameters_are_ignored() {
    on_both(async |world| {
        let body = json!({"name": "x", "foo": {"bar": [1, 2]}, "id": "mine", "client_id": "mine.access", "client_secret": "mine"});
        let token = world.issue(&format!("{}?foo=bar", world.tokens()), body).await;
        assert_ne!(token.id, "mine");
        assert_ne!(token.client_id, "mine.access");
        assert_ne!(token.secret, "mine");
        assert_eq!(token.result.get("foo"), None);
    });
}

#[test]
fn case_12_a_reader_cannot_create() {
    on_both(async |world| {
        for tokens in world.scopes() {
            world.reader().post(&tokens, &json!({"name": "x"})).await.refused(403, 10000);
            assert_nothing(world, &tokens).await;
        }
    });
}

/// Names are kept to the letter, whatever they are made of.
#[test]
fn names_are_kept_as_they_came() {
    on_both(async |world| {
        let longest = ["a".repeat(350), "é".repeat(350), "🔑".repeat(350)];
        let names = [
            " x ",
            "\t",
            "\n",
            "\u{7f}",
            "Ünïcödé",
            "e\u{301}",
            "\u{202e}abc",
            "\u{feff}",
            "\u{ffff}",
            "%00",
            "'; --",
            "</script>",
        ];
        for name in names.into_iter().chain(longest.iter().map(String::as_str)) {
            let token = world.issue(&world.tokens(), json!({"name": name})).await;
            assert_eq!(token.result["name"], name);
            assert_eq!(world.reader().get(&token.path).await.ok()["name"], name);
            world.assert_admitted(&token).await;
        }
        for name in ["a".repeat(351), "🔑".repeat(351), "a\0b".to_owned(), "\0".to_owned(), "a".repeat(100_000)] {
            world.writer().post(&world.tokens(), &json!({"name": name})).await.invalid_field("name");
        }
        assert_eq!(
            world.reader().get(&world.tokens()).await.ok().as_array().unwrap().len(),
            names.len() + longest.len()
        );
    });
}

/// No content type is asked for, and any is fine.
#[test]
fn the_content_type_does_not_matter() {
    on_sqlite(async |world| {
        for content_type in
            [None, Some("application/json"), Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("")]
        {
            let mut request = http::Request::post(world.tokens());
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            let body = axum::body::Body::from(r#"{"name":"x"}"#);
            world.writer().send(request.body(body).unwrap()).await.created();
        }
        // Older Go and Python clients announce JSON on every call.
        let json = world.reader().with("content-type", "application/json");
        json.get(&world.tokens()).await.ok();
    });
}

async fn assert_nothing(world: &World, tokens: &str) {
    assert_eq!(world.reader().get(tokens).await.ok(), json!([]), "nothing was made");
}

/// What a test that only needs a token sends is the least that works.
#[test]
fn the_world_issues_what_it_says() {
    on_sqlite(async |world| {
        let Issued { path, id, .. } = world.issue_default().await;
        assert_eq!(world.reader().get(&path).await.ok()["id"], id);
    });
}
