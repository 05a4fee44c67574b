//! Tokens that somebody has tampered with: cases 5 and 6 of the contract, and whatever else a JWT library might accept.

use countersign_server::caller::Caller;
use countersign_token::api_token::{Claims, ScopeKind, mint};
use countersign_token::digest::{InstallationKey, MacKey};
use countersign_token::entropy::Entropy;
use countersign_token::id::InstallationId;
use countersign_token::time::Timestamp;
use serde_json::{Value, json};

use crate::world::{DAY, HOUR, Verdict, World, on_both};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn encode(bytes: &[u8]) -> String {
    let mut bits = 0_u32;
    let mut count = 0;
    let mut text = String::new();
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 6 {
            count -= 6;
            text.push(char::from(ALPHABET[(bits >> count & 63) as usize]));
        }
    }
    if count > 0 {
        text.push(char::from(ALPHABET[(bits << (6 - count) & 63) as usize]));
    }
    text
}

fn digit(character: u8) -> u32 {
    u32::try_from(ALPHABET.iter().position(|known| *known == character).unwrap()).unwrap()
}

fn decode(text: &str) -> Vec<u8> {
    let mut bits = 0_u32;
    let mut count = 0;
    let mut bytes = Vec::new();
    for character in text.bytes() {
        bits = bits << 6 | digit(character);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 255).unwrap());
        }
    }
    bytes
}

fn parts(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().unwrap()
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&decode(parts(token)[1])).unwrap()
}

fn signed(key: &MacKey, header: &str, payload: &str) -> String {
    let signed = format!("{}.{}", encode(header.as_bytes()), encode(payload.as_bytes()));
    format!("{signed}.{}", encode(&key.mac(&[signed.as_bytes()])))
}

/// Asserts that no door takes a token, and that none says more than of any other bad one.
async fn assert_unknown(world: &World, token: &str) {
    let answer = world.nobody().with_token(token).get("/ping").await;
    let message = answer.refused(401, "bad_authtoken").to_owned();
    let garbage = world.nobody().with_token("garbage").get("/ping").await;
    assert_eq!(message, garbage.refused(401, "bad_authtoken"));
    let verdict = world.ask_bearer(&format!("account_id={}", world.account), token).await;
    assert_eq!(verdict, Verdict::refused(401, "invalid"), "{token}");
    let other = world.anonymous().with("authorization", &format!("Bearer {token}")).get(&world.tokens()).await;
    assert!([401, 400].contains(&other.status.as_u16()), "{other}");
}

#[test]
fn case_05_a_changed_signature() {
    on_both(async |world| {
        let token = world.account_token();
        let last = token.as_bytes()[token.len() - 1];
        // Two of the last character's six bits are padding: a decoder drops them, and would not see the change.
        for bits in 1..64 {
            let changed = ALPHABET[(digit(last) ^ bits) as usize];
            assert_unknown(world, &format!("{}{}", &token[..token.len() - 1], char::from(changed))).await;
        }
        world.prefactor().get("/ping").await.ok();
    });
}

#[test]
fn case_06_no_algorithm() {
    on_both(async |world| {
        let token = world.account_token().to_owned();
        let payload = parts(&token)[1];
        for header in [
            r#"{"alg":"none","typ":"JWT"}"#,
            r#"{"alg":"None","typ":"JWT"}"#,
            r#"{"alg":"NONE"}"#,
            r#"{"alg":"","typ":"JWT"}"#,
            r#"{"typ":"JWT"}"#,
            r#"{"alg":null,"typ":"JWT"}"#,
            "{}",
        ] {
            for signature in ["", parts(&token)[2], "x"] {
                assert_unknown(world, &format!("{}.{payload}.{signature}", encode(header.as_bytes()))).await;
            }
        }
    });
}

/// Rightly signed, and still not what was issued.
#[test]
fn other_headers_and_claims() {
    on_both(async |world| {
        let token = world.account_token().to_owned();
        let key = world.signing_key();
        let payload = String::from_utf8(decode(parts(&token)[1])).unwrap();
        assert_eq!(signed(&key, r#"{"alg":"HS256","typ":"JWT"}"#, &payload), token, "the test knows how it is done");
        for header in [
            r#"{"alg":"HS512","typ":"JWT"}"#,
            r#"{"alg":"HS384","typ":"JWT"}"#,
            r#"{"alg":"RS256","typ":"JWT"}"#,
            r#"{"typ":"JWT","alg":"HS256"}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"HS256","typ":"JWT","kid":"1"}"#,
            r#"{"alg":"HS256","typ":"JWT","jwk":{}}"#,
            r#"{"alg":"HS256", "typ":"JWT"}"#,
        ] {
            assert_unknown(world, &signed(&key, header, &payload)).await;
        }
        let original = claims(&token);
        for (claim, value) in [
            ("exp", json!(4_102_444_800_u64)),
            ("iat", json!(0)),
            ("account_id", json!(world.foreign_account_pfid)),
            ("token_scope", json!("agent_deployment")),
            ("sub", json!(super::NOBODY)),
            ("iss", json!("countersign:00000000000000000000000000000000")),
            ("admin", json!(true)),
        ] {
            let mut changed = original.clone();
            changed[claim] = value;
            assert_unknown(world, &signed(&key, r#"{"alg":"HS256","typ":"JWT"}"#, &changed.to_string())).await;
        }
    });
}

#[test]
fn what_is_put_around_or_taken_away() {
    on_both(async |world| {
        let token = world.account_token().to_owned();
        let [header, payload, signature] = parts(&token);
        for changed in [
            format!("{token}="),
            format!("{token}A"),
            format!("{token}."),
            format!("{token}.{signature}"),
            format!(".{token}"),
            format!("{header}.{payload}."),
            format!("{header}.{payload}"),
            format!("{header}..{signature}"),
            format!("{header}.{payload}.{signature}{signature}"),
            format!("{header}.{payload}.{}", signature.to_lowercase()),
            format!("{header}=.{payload}.{signature}"),
            token[..token.len() - 1].to_owned(),
            token[1..].to_owned(),
            token.to_uppercase(),
        ] {
            let answer = world.nobody().with_token(&changed).get("/ping").await;
            answer.refused(401, "bad_authtoken");
            let verdict = world.ask_bearer(&format!("account_id={}", world.account), &changed).await;
            assert_eq!(verdict.status, 401, "{changed}");
        }
        // One bit anywhere.
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            world.nobody().with_token(&changed).get("/ping").await.refused(401, "bad_authtoken");
        }
        world.prefactor().get("/ping").await.ok();
    });
}

/// The same claims under the key of another installation, and the same key's token for a row that is not there.
#[test]
fn another_installations_token() {
    on_both(async |world| {
        let token = world.account_token().to_owned();
        let of = claims(&token);
        let text = |claim: &str| of[claim].as_str().unwrap();
        let installation: InstallationId =
            text("iss").strip_prefix("countersign:").expect("the issuer is the installation").parse().unwrap();
        let claims = Claims {
            installation,
            id: text("sub").parse().unwrap(),
            account: text("account_id").parse().unwrap(),
            scope: ScopeKind::Account,
            issued_at: Timestamp::from_secs(of["iat"].as_i64().unwrap()),
            expires_at: Timestamp::from_secs(of["exp"].as_i64().unwrap()),
        };
        let own = world.signing_key();
        assert_eq!(mint(&own, &claims).expose(), token, "the test knows how it is done");
        let foreign = InstallationKey::generate(&Entropy::seeded(77));
        for key_id in ["1", "2", ""] {
            assert_unknown(world, mint(&foreign.jwt_key(key_id), &claims).expose()).await;
        }
        let never_made = Claims { id: super::NOBODY.parse().unwrap(), ..claims };
        assert_unknown(world, mint(&own, &never_made).expose()).await;
        let longer = Claims { expires_at: Timestamp::from_secs(4_102_444_800), ..claims };
        assert_unknown(world, mint(&own, &longer).expose()).await;
    });
}

/// New tokens are signed with the key of the moment. Those of before stay what they are: no key judges them.
#[test]
fn a_rotated_key_signs_new_tokens() {
    on_both(async |world| {
        let is_signed_by = |key: &MacKey, token: &str| {
            let [header, payload, signature] = parts(token);
            encode(&key.mac(&[format!("{header}.{payload}").as_bytes()])) == signature
        };
        let mut keys = vec![world.signing_key()];
        let mut made = vec![world.token().await];
        for _ in 0..2 {
            let id = world.ops().rotate_signing_key(&Caller::Operator).await.unwrap();
            keys.push(world.signing_key_of(&id));
            made.push(world.token().await);
            world.restart().await;
        }
        for (at, token) in made.iter().enumerate() {
            for (other, key) in keys.iter().enumerate() {
                assert_eq!(is_signed_by(key, &token.secret), at == other, "token {at}, key {other}");
            }
            world.assert_good(token).await;
        }
    });
}

/// What a token says about itself, and that its end is its row's end.
#[test]
fn what_a_token_says() {
    on_both(async |world| {
        let agent = world.agent().await;
        let tokens = [
            world.token().await,
            world.environment_token(&world.environment).await,
            world.deployment_token(&agent, &world.environment).await,
            world.prefactor().create(json!({"token_scope": "account", "expires_at": world.after(HOUR)})).await,
        ];
        let issuer = claims(world.account_token())["iss"].clone();
        assert!(issuer.as_str().unwrap().starts_with("countersign:"), "{issuer}");
        for token in &tokens {
            let claims = claims(&token.secret);
            assert_eq!(decode(parts(&token.secret)[0]), br#"{"alg":"HS256","typ":"JWT"}"#);
            let seconds = |key: &str| Timestamp::parse_rfc3339(token.details[key].as_str().unwrap()).unwrap().as_secs();
            let expected = json!({
                "iss": issuer,
                "sub": token.id,
                "jti": token.id,
                "iat": seconds("inserted_at"),
                "exp": seconds("expires_at"),
                "account_id": world.account_pfid,
                "token_scope": token.details["token_scope"],
            });
            assert_eq!(claims, expected);
        }
        world.advance(HOUR);
        world.assert_bad(&tokens[3], "expired").await;
        world.assert_good(&tokens[0]).await;
        world.advance(365 * DAY);
        for token in &tokens[..3] {
            let verdict = world.gate_says(token).await;
            assert_eq!(verdict, Verdict::refused(401, "expired"));
        }
    });
}
