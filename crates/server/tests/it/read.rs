//! Reading one token: cases 21 to 23 of the contract.

use serde_json::json;

use crate::world::{HOUR, on_both};

/// Well-formed, and nobody's.
pub(crate) const NOBODY: &str = "3537a672-e4d8-4d89-aab9-26cb622918a1";

#[test]
fn case_21_a_token_is_read_without_its_secret() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let token = world.issue(&tokens, json!({"name": "x"})).await;
            for caller in world.writers().into_iter().chain([world.reader()]) {
                let read = caller.get(&token.path).await.ok();
                let mut expected = token.result.clone();
                expected.as_object_mut().unwrap().remove("client_secret");
                assert_eq!(read, expected, "as {}", caller.name);
            }
        }
    });
}

#[test]
fn case_22_an_unknown_id_is_not_found() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let token = world.issue(&tokens, json!({"name": "x"})).await;
            let upper = token.id.to_uppercase();
            let simple = token.id.replace('-', "");
            let braced = format!("%7B{}%7D", token.id);
            for id in [NOBODY, "not-a-uuid", &upper, &simple, &braced, "%00", "%F0%9F%94%91", "..", "0"] {
                let answer = world.reader().get(&format!("{tokens}/{id}")).await;
                assert_eq!(answer.refused(404, 12135), "access.api.error.not_found", "{id}");
            }
            world.reader().get(&token.path).await.ok();
        }
    });
}

#[test]
fn case_23_a_token_is_found_only_where_it_lives() {
    on_both(async |world| {
        let second = format!("/zones/{}/access/service_tokens", world.second_zone);
        let places = [world.tokens(), world.zone_tokens(), second, world.foreign_tokens()];
        // The owner of the installation has every right everywhere.
        let owner = world.owner_key();
        for home in &places {
            let id = owner.post(home, &json!({"name": "x"})).await.created()["id"].as_str().unwrap().to_owned();
            for place in &places {
                let answer = owner.get(&format!("{place}/{id}")).await;
                if place == home {
                    assert_eq!(answer.ok()["id"], *id);
                } else {
                    answer.refused(404, 12135);
                }
            }
            assert_eq!(owner.get(home).await.ok().as_array().unwrap().len(), 1);
        }
    });
}

/// A mark of the gate is in the next answer, without waiting for the store to learn of it, and time goes on in it.
#[test]
fn last_seen_is_in_the_next_answer() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let token = world.issue(&tokens, json!({"name": "x"})).await;
            assert_eq!(world.reader().get(&token.path).await.ok().get("last_seen_at"), None, "omitted until first use");
            world.assert_refused(&token, "wrong", "invalid").await;
            assert_eq!(world.reader().get(&token.path).await.ok().get("last_seen_at"), None, "a refusal is no use");

            world.advance(HOUR);
            world.assert_admitted(&token).await;
            let seen = world.now().to_string();
            let read = world.reader().get(&token.path).await.ok();
            assert_eq!(read["last_seen_at"], seen);
            assert_eq!(read["updated_at"], token.result["updated_at"], "being seen is no update");
            assert_eq!(world.reader().get(&tokens).await.ok()[0]["last_seen_at"], seen);

            world.advance(HOUR);
            let renamed = world.writer().put(&token.path, &json!({"name": "y"})).await.ok();
            assert_eq!(renamed["last_seen_at"], seen);
            assert_eq!(world.writer().act(&format!("{}/refresh", token.path)).await.ok()["last_seen_at"], seen);
            assert_eq!(world.writer().act(&format!("{}/rotate", token.path)).await.ok()["last_seen_at"], seen);
            assert_eq!(world.writer().delete(&token.path).await.ok()["last_seen_at"], seen);
        }
    });
}
