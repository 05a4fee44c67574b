//! Changes of service tokens that are sent again under a key: they are made once, and answered alike for a day.

use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use axum::body::Body;
use countersign_store::Answer as Kept;
use countersign_token::digest::InstallationKey;
use countersign_token::secret::Secret;
use countersign_token::time::Timestamp;
use http::{Method, Request};
use serde_json::json;

use crate::world::prefactor::join_all;
use crate::world::{Answer, DAY, HOUR, World, on_both};

const KEY: &str = "idempotency-key";

/// A new key, as the commands of the documentation draw them.
const UUID: &str = "6e0b2f6a-6f8e-4d0c-9a57-0d5f4a1c3b2e";

/// Asserts that an answer is that of an earlier request, to the byte.
#[track_caller]
fn assert_replayed(again: &Answer, first: &Answer) {
    assert!(again.is_replay(), "{again}");
    assert!(!first.is_replay(), "{first}");
    assert_eq!((again.status, &again.text), (first.status, &first.text));
}

/// Asserts that a key stands for another request.
#[track_caller]
fn assert_taken(answer: &Answer) {
    let message = answer.refused(400, 12130);
    assert_eq!(message, "access.api.error.invalid_request: the idempotency key was used for another request");
}

async fn count(world: &World, tokens: &str) -> u64 {
    let list = world.writer().get(tokens).await;
    list.json["result_info"]["total_count"].as_u64().unwrap()
}

fn secret(answer: &Answer) -> String {
    answer.json["result"]["client_secret"].as_str().expect("a secret").to_owned()
}

#[test]
fn a_create_is_done_once() {
    on_both(async |world| {
        for tokens in world.scopes() {
            for (place, caller) in world.writers().into_iter().enumerate() {
                let caller = caller.with(KEY, &format!("{UUID}-{place}-{}", tokens.len()));
                let body = json!({"name": "x", "duration": "17520h"});
                let before = (count(world, &tokens).await, world.audit_end().await);
                let first = caller.post(&tokens, &body).await;
                world.advance(HOUR);
                // The order of the members and white space are nobody's business.
                let same = "{ \"duration\":\"17520h\",\n\"name\": \"x\" }";
                let second = caller.call(Method::POST, &tokens, same).await;
                assert_replayed(&second, &first);
                assert_replayed(&caller.at_root().post(&tokens, &body).await, &first);
                assert_eq!((count(world, &tokens).await, world.audit_end().await), (before.0 + 1, before.1 + 1));
                let client_id = second.json["result"]["client_id"].as_str().unwrap();
                world.admits(client_id, &secret(&second)).await.unwrap();
                first.created();
            }
        }
    });
}

#[test]
fn a_rotation_is_done_once() {
    on_both(async |world| {
        for (tokens, key) in world.scopes().into_iter().zip(["rotation of one", "of another"]) {
            let token = world.issue(&tokens, json!({"name": "x"})).await;
            let caller = world.writer().with(KEY, key);
            let rotate = format!("{}/rotate", token.path);
            let body = json!({"previous_client_secret_expires_at": world.after(DAY)});
            let before = world.audit_end().await;
            let first = caller.post(&rotate, &body).await;
            // A second rotation would drop the secret that all holders still have.
            let second = caller.post(&rotate, &body).await;
            assert_replayed(&second, &first);
            assert!(second.header("countersign-propagation").is_some(), "a replay waits for what it tells of");
            assert_eq!(world.audit_end().await, before + 1);
            world.assert_admitted(&token).await;
            world.assert_admitted_with(&token, &secret(&second)).await;
            assert_eq!(world.writer().get(&token.path).await.ok()["client_secret_version"], 2);
        }
    });
}

/// An update that rotates, and one that does not.
#[test]
fn an_update_is_done_once() {
    on_both(async |world| {
        for (tokens, [one, other]) in world.scopes().into_iter().zip([["U1", "U2"], ["U3", "U4"]]) {
            let token = world.issue(&tokens, json!({"name": "x"})).await;
            let rotating = json!({"client_secret_version": 5, "name": "y"});
            let caller = world.writer().with(KEY, one);
            let first = caller.put(&token.path, &rotating).await;
            let new = secret(&first);
            assert_replayed(&caller.put(&token.path, &rotating).await, &first);
            world.assert_admitted_with(&token, &new).await;
            // Without the key the same update finds nothing to do, and has no secret to show.
            assert!(world.writer().put(&token.path, &rotating).await.ok().get("client_secret").is_none());

            let renaming = json!({"name": "z"});
            let caller = world.writer().with(KEY, other);
            let first = caller.put(&token.path, &renaming).await;
            world.writer().put(&token.path, &json!({"name": "later"})).await.ok();
            assert_replayed(&caller.put(&token.path, &renaming).await, &first);
            assert_eq!(world.writer().get(&token.path).await.ok()["name"], "later", "a replay does nothing");
        }
    });
}

/// A change that finds nothing to change has an answer to be repeated as well.
#[test]
fn what_changes_nothing_is_repeated() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let caller = world.writer().with(KEY, "N");
        let before = world.audit_end().await;
        let first = caller.put(&token.path, &json!({"name": "x"})).await;
        world.writer().put(&token.path, &json!({"name": "y"})).await.ok();
        let again = caller.put(&token.path, &json!({"name": "x"})).await;
        assert_replayed(&again, &first);
        assert_eq!(again.json["result"]["name"], "x");
        assert_eq!(world.audit_end().await, before + 1);
    });
}

#[test]
fn refreshing_and_deleting_are_done_once() {
    on_both(async |world| {
        for (tokens, [one, other]) in world.scopes().into_iter().zip([["R1", "D1"], ["R2", "D2"]]) {
            let token = world.issue(&tokens, json!({"name": "x", "duration": "1h"})).await;
            let caller = world.writer().with(KEY, one);
            let first = caller.act(&format!("{}/refresh", token.path)).await;
            world.advance(HOUR);
            assert_replayed(&caller.act(&format!("{}/refresh", token.path)).await, &first);

            let caller = world.writer().with(KEY, other);
            let first = caller.delete(&token.path).await;
            let again = caller.delete(&token.path).await;
            assert_replayed(&again, &first);
            assert!(again.header("countersign-propagation").is_some());
            world.writer().delete(&token.path).await.refused(404, 12135);
            world.assert_refused(&token, &token.secret, "invalid").await;
        }
    });
}

/// Whatever has become of the token, the answer is that of then.
#[test]
fn a_replay_is_the_answer_of_then() {
    on_both(async |world| {
        let caller = world.writer().with(KEY, "C");
        let body = json!({"name": "x"});
        let first = caller.post(&world.tokens(), &body).await;
        let result = first.json["result"].clone();
        let path = format!("{}/{}", world.tokens(), result["id"].as_str().unwrap());
        let client_id = result["client_id"].as_str().unwrap();
        let rotating = world.writer().with(KEY, "T");
        let rotated = rotating.act(&format!("{path}/rotate")).await;
        assert_replayed(&caller.post(&world.tokens(), &body).await, &first);
        world.writer().put(&path, &json!({"enabled": false, "client_secret_version": 7})).await.ok();
        assert_replayed(&rotating.act(&format!("{path}/rotate")).await, &rotated);
        world.restart().await;
        let caller = world.writer().with(KEY, "C");
        assert_replayed(&caller.post(&world.tokens(), &body).await, &first);
        world.writer().delete(&path).await.ok();
        let last = caller.post(&world.tokens(), &body).await;
        assert_replayed(&last, &first);
        assert_eq!(world.admits(client_id, &secret(&last)).await, Err("invalid".to_owned()));
        assert_eq!(count(world, &world.tokens()).await, 0);
    });
}

#[test]
fn another_request_under_the_key_is_refused() {
    on_both(async |world| {
        let (one, other) = (world.issue_default().await, world.issue_default().await);
        let caller = world.writer().with(KEY, UUID);
        let rotate = format!("{}/rotate", one.path);
        let first = caller.act(&rotate).await;
        let before = world.audit_end().await;
        let grace = json!({"previous_client_secret_expires_at": world.after(DAY)});
        let zone = format!("{}/{}/rotate", world.zone_tokens(), one.id);
        for answer in [
            caller.post(&rotate, &grace).await,
            caller.act(&format!("{}/rotate", other.path)).await,
            caller.act(&format!("{}/refresh", one.path)).await,
            caller.put(&one.path, &json!({})).await,
            caller.delete(&one.path).await,
            caller.post(&world.tokens(), &json!({"name": "x"})).await,
            caller.post(&world.zone_tokens(), &json!({"name": "x"})).await,
            caller.act(&zone).await,
        ] {
            assert_taken(&answer);
        }
        assert_eq!(world.audit_end().await, before, "nothing was done");
        assert_replayed(&caller.act(&rotate).await, &first);
        assert_replayed(&caller.post(&rotate, &json!({})).await, &first);
        world.assert_admitted(&other).await;
        // A key is of one account, whatever the dialect.
        let body = json!({"details": {"token_scope": "account"}, "idempotency_key": UUID});
        world.prefactor().post("/api_token", &body).await.refused(409, "idempotency_key_already_used");
    });
}

/// Nobody has a secret by guessing a key: not the same request, not even of the same user with another credential.
#[test]
fn another_caller_is_refused() {
    on_both(async |world| {
        for (first, caller) in world.writers().into_iter().enumerate() {
            let key = format!("{UUID}-{first}");
            let answer = caller.with(KEY, &key).post(&world.tokens(), &json!({"name": "x"})).await;
            for (place, other) in world.writers().into_iter().enumerate() {
                let again = other.with(KEY, &key).post(&world.tokens(), &json!({"name": "x"})).await;
                if place == first {
                    assert_replayed(&again, &answer);
                } else {
                    assert_taken(&again);
                }
            }
            for stranger in world.strangers() {
                stranger.with(KEY, &key).post(&world.tokens(), &json!({"name": "x"})).await.refused(403, 10000);
            }
            world.reader().with(KEY, &key).post(&world.tokens(), &json!({"name": "x"})).await.refused(403, 10000);
        }
    });
}

#[test]
fn accounts_have_keys_of_their_own() {
    on_both(async |world| {
        let (own, foreign) = (world.tokens(), world.foreign_tokens());
        let caller = world.owner_key().with(KEY, "K");
        let first = caller.post(&own, &json!({"name": "x"})).await;
        let second = caller.post(&foreign, &json!({"name": "x"})).await;
        assert!(!second.is_replay());
        assert_replayed(&caller.post(&own, &json!({"name": "x"})).await, &first);
        assert_replayed(&caller.post(&foreign, &json!({"name": "x"})).await, &second);
        assert_ne!(first.text, second.text);
    });
}

/// Who has lost the right has lost the answer.
#[test]
fn a_replay_takes_the_right_of_now() {
    on_both(async |world| {
        let caller = world.api_token().with(KEY, "K");
        caller.post(&world.tokens(), &json!({"name": "x"})).await.created();
        let own = world.prefactor().get("/api_token").await.ok()["summaries"][0]["id"].as_str().unwrap().to_owned();
        let suspend = world.prefactor().act(&format!("/api_token/{own}/suspend")).await;
        suspend.ok();
        caller.post(&world.tokens(), &json!({"name": "x"})).await.refused(401, 10000);
    });
}

#[test]
fn a_request_that_failed_leaves_its_key_free() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let caller = world.writer().with(KEY, "K");
        let nobody = format!("{}/{}", world.tokens(), crate::read::NOBODY);
        caller.post(&world.tokens(), &json!({"name": ""})).await.invalid_field("name");
        caller.call(Method::POST, &world.tokens(), "not json").await.refused(400, 12130);
        caller.act(&format!("{nobody}/rotate")).await.refused(404, 12135);
        caller.delete(&nobody).await.refused(404, 12135);
        world.reader().with(KEY, "K").delete(&token.path).await.refused(403, 10000);
        let first = caller.act(&format!("{}/rotate", token.path)).await;
        assert!(!first.is_replay(), "{first}");
        assert_replayed(&caller.act(&format!("{}/rotate", token.path)).await, &first);
    });
}

#[test]
fn a_key_is_free_after_a_day() {
    on_both(async |world| {
        let caller = world.writer().with(KEY, "K");
        let body = json!({"name": "x"});
        let first = caller.post(&world.tokens(), &body).await;
        world.advance(DAY - Duration::from_secs(1));
        assert_replayed(&caller.post(&world.tokens(), &body).await, &first);
        world.advance(Duration::from_secs(1));
        let second = caller.post(&world.tokens(), &body).await;
        assert!(!second.is_replay());
        assert_ne!(second.text, first.text);
        assert_replayed(&caller.post(&world.tokens(), &body).await, &second);
        let store = world.ops().store();
        assert_eq!(store.delete_old_answers(world.now()).await.unwrap(), 0);
        world.advance(2 * DAY);
        assert_eq!(store.delete_old_answers(world.now()).await.unwrap(), 1);
        assert!(!caller.post(&world.tokens(), &body).await.is_replay());
    });
}

#[test]
fn twenty_at_once_make_one_token() {
    on_both(async |world| {
        let caller = world.writer().with(KEY, UUID);
        let (tokens, body) = (world.tokens(), json!({"name": "x"}));
        let answers = join_all((0..20).map(|_| Box::pin(caller.post(&tokens, &body)))).await;
        assert_eq!(answers.iter().filter(|answer| !answer.is_replay()).count(), 1);
        assert!(answers.iter().all(|answer| answer.status == 201 && answer.text == answers[0].text));
        assert_eq!(count(world, &tokens).await, 1);

        let path = format!("{tokens}/{}", answers[0].json["result"]["id"].as_str().unwrap());
        let (rotate, caller) = (format!("{path}/rotate"), world.writer().with(KEY, "R"));
        let answers = join_all((0..20).map(|_| Box::pin(caller.act(&rotate)))).await;
        assert_eq!(answers.iter().filter(|answer| !answer.is_replay()).count(), 1);
        assert!(answers.iter().all(|answer| answer.status == 200 && answer.text == answers[0].text));
        assert_eq!(world.writer().get(&path).await.ok()["client_secret_version"], 2);
    });
}

#[test]
fn what_is_a_key() {
    on_both(async |world| {
        let body = json!({"name": "x"});
        let malformed = "access.api.error.invalid_request: Idempotency-Key: must be 1 to 64 characters of ASCII";
        let token = world.issue_default().await;
        for value in ["", "\"\"", &"k".repeat(65), "\u{e4}"] {
            let caller = world.writer().with(KEY, value);
            for answer in [
                caller.post(&world.tokens(), &body).await,
                caller.put(&token.path, &body).await,
                caller.act(&format!("{}/rotate", token.path)).await,
                caller.act(&format!("{}/refresh", token.path)).await,
                caller.delete(&token.path).await,
            ] {
                assert_eq!(answer.refused(400, 12130), malformed, "{value:?}");
            }
            // Who reads has nothing to repeat, and may send what they like.
            caller.get(&world.tokens()).await.ok();
            caller.get(&token.path).await.ok();
        }
        let request = Request::post(world.tokens())
            .header(KEY, http::HeaderValue::from_bytes(b"\xff").unwrap())
            .body(Body::from(body.to_string()));
        assert_eq!(world.writer().send(request.unwrap()).await.refused(400, 12130), malformed);
        let two = world.writer().with(KEY, "a").with(KEY, "b").post(&world.tokens(), &body).await;
        assert!(two.refused(400, 12130).ends_with("Idempotency-Key: is given twice with two values"));
        // The caller comes first: who may not write learns nothing of keys.
        world.reader().with(KEY, "").post(&world.tokens(), &body).await.refused(403, 10000);
        world.anonymous().with(KEY, "").post(&world.tokens(), &body).await.refused(400, 9106);
        assert_eq!(count(world, &world.tokens()).await, 1);

        for value in
            ["k", "'; --", &"k".repeat(64), &format!("\"{}\"", "l".repeat(64)), "stainless-go-".repeat(4).as_str()]
        {
            let caller = world.writer().with(KEY, value);
            let first = caller.post(&world.tokens(), &body).await;
            assert_replayed(&caller.post(&world.tokens(), &body).await, &first);
        }
        // The form of the draft has quotes around it, and is the same key.
        let first = world.writer().with(KEY, "q").post(&world.tokens(), &body).await;
        assert_replayed(&world.writer().with(KEY, "\"q\"").post(&world.tokens(), &body).await, &first);
        let twice = world.writer().with(KEY, "q").with(KEY, "\"q\"");
        assert_replayed(&twice.post(&world.tokens(), &body).await, &first);
    });
}

/// What the store keeps under a key, found as whoever has the installation key and knows the key would find it.
async fn kept(world: &World, key: &str) -> (String, Kept) {
    let account = world.account;
    let name = world.key().idempotency_key().mac_hex(&[account.to_string().as_bytes(), key.as_bytes()]);
    let wanted = name.clone();
    let look = world.ops().store().write(move |tx| {
        let wanted = wanted.clone();
        Box::pin(async move {
            let found = tx.find_answer(&account, &wanted, Timestamp::from_micros(0)).await?;
            Ok::<_, countersign_store::Error>(found)
        })
    });
    (name, look.await.unwrap().value.expect("an answer is kept"))
}

/// Tries to open what is kept, with everything that the server would take and these words of a caller.
fn open(installation: &InstallationKey, name: &str, kept: &Kept, key: &str, credential: &str) -> Option<String> {
    let key = installation.answer_key(key, &Secret::from(credential.to_owned())).mac(&[b"cipher"]);
    let digits = kept.answer.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    let bytes: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    let (nonce, sealed) = bytes.split_at(12);
    let mut sealed = sealed.to_vec();
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
    let text = cipher.open_in_place(nonce, Aad::from(name), &mut sealed).ok()?;
    Some(String::from_utf8(text.to_vec()).unwrap())
}

/// The database and the installation key together are not enough: it takes the key of the request and the credential, and
/// the store has neither.
#[test]
fn only_who_repeats_opens_what_is_kept() {
    on_both(async |world| {
        world.must_not_keep(&format!("{UUID}-secret"));
        let body = json!({"name": "x"});
        let key = format!("{UUID}-secret");
        let first = world.writer().with(KEY, &key).post(&world.tokens(), &body).await;
        let (name, kept) = kept(world, &key).await;
        let installation = world.key();
        let secret = secret(&first);
        assert!(!format!("{kept:?}").contains(&secret) && !format!("{kept:?}").contains("client_secret"), "{kept:?}");

        // With both halves it opens, so the attempts below try the real thing.
        let bearer = world.writer_bearer().to_owned();
        assert_eq!(open(&installation, &name, &kept, &key, &bearer).unwrap(), first.text);
        // All that the operator can look up of the caller, and of the request.
        let digest = installation.digest_key();
        let digest = digest.bearer(countersign_token::digest::BearerKind::ManagementToken, &bearer);
        let hex = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        for credential in ["", world.writer_id(), &hex, &name, &kept.subject, installation.to_hex().expose()] {
            assert_eq!(open(&installation, &name, &kept, &key, credential), None, "{credential}");
        }
        for other in ["", "x", &name, &key[1..], &key.to_uppercase()] {
            assert_eq!(open(&installation, &name, &kept, other, &bearer), None, "{other}");
        }
        let foreign = InstallationKey::generate(&countersign_token::entropy::Entropy::seeded(77));
        assert_eq!(open(&foreign, &name, &kept, &key, &bearer), None);
    });
}

/// An API token can be made again from its row and the installation key: then the key of the request is what keeps others
/// out, and the store must not have it.
#[test]
fn the_key_itself_is_kept_nowhere() {
    on_both(async |world| {
        for (place, caller) in world.writers().into_iter().enumerate() {
            let key = format!("{UUID}-never-{place}");
            world.must_not_keep(&key);
            caller.with(KEY, &key).post(&world.tokens(), &json!({"name": "x"})).await.created();
        }
        let key = format!("{UUID}-prefactor");
        world.must_not_keep(&key);
        let body = json!({"details": {"token_scope": "account"}, "idempotency_key": key});
        world.prefactor().post("/api_token", &body).await.ok();
    });
}

/// An answer that somebody has changed on disk is no answer, and not the request's fault.
#[test]
fn what_was_tampered_with_is_not_shown() {
    on_both(async |world| {
        let caller = world.writer().with(KEY, "K");
        caller.post(&world.tokens(), &json!({"name": "x"})).await.created();
        let other = world.writer().with(KEY, "L");
        other.post(&world.tokens(), &json!({"name": "x"})).await.created();
        let (name, mine) = kept(world, "K").await;
        let (_, theirs) = kept(world, "L").await;
        let now = world.now();
        let account = world.account;
        for answer in [String::new(), "zz".to_owned(), theirs.answer, mine.answer[2..].to_owned()] {
            let (name, changed) = (name.clone(), Kept { answer, ..mine.clone() });
            let write = world.ops().store().write(move |tx| {
                let (name, changed) = (name.clone(), changed.clone());
                Box::pin(async move { tx.insert_answer(&account, &name, &changed, now).await })
            });
            write.await.unwrap();
            caller.post(&world.tokens(), &json!({"name": "x"})).await.refused(500, 10001);
        }
        assert_eq!(count(world, &world.tokens()).await, 2);
    });
}

/// Keys in the forms that generated clients draw by themselves, one for each call, are taken as they are.
#[test]
fn a_client_that_draws_keys_notices_nothing() {
    on_both(async |world| {
        for prefix in ["stainless-node-retry", "stainless-python-retry", "stainless-go"] {
            let first = world.writer().with(KEY, &format!("{prefix}-{UUID}"));
            let first = first.post(&world.tokens(), &json!({"name": "x"})).await.created();
            let second = world.writer().with(KEY, &format!("{prefix}-{}", UUID.replace('6', "7")));
            assert_ne!(second.post(&world.tokens(), &json!({"name": "x"})).await.created()["id"], first["id"]);
        }
        assert_eq!(count(world, &world.tokens()).await, 6);
    });
}
