//! Rotating and refreshing a token: cases 37 to 41 of the contract.

use std::time::Duration;

use serde_json::{Value, json};

use crate::read::NOBODY;
use crate::world::{DAY, HOUR, START, YEAR, on_both};

fn secret(result: &Value) -> String {
    result["client_secret"].as_str().expect("a new secret").to_owned()
}

#[test]
fn case_37_no_body_at_all_rotates() {
    on_both(async |world| {
        for tokens in world.scopes() {
            for writer in world.writers() {
                let token = world.issue(&tokens, json!({"name": "x"})).await;
                let mut before = token.result.clone();
                let mut old = token.secret.clone();
                for (body, version) in
                    ["", "{}", " \r\n\t", r#"{"previous_client_secret_expires_at":null}"#].into_iter().zip(2..)
                {
                    world.advance(HOUR);
                    let rotate = format!("{}/rotate", token.path);
                    let rotated = writer.call(http::Method::POST, &rotate, body).await.ok();
                    let new = secret(&rotated);
                    world.assert_admitted_with(&token, &new).await;
                    world.assert_refused(&token, &old, "invalid").await;
                    let now = world.now().to_string();
                    before["client_secret"] = new.clone().into();
                    before["client_secret_version"] = version.into();
                    before["updated_at"] = now.clone().into();
                    before["previous_client_secret_expires_at"] = now.clone().into();
                    before["last_seen_at"] = rotated.get("last_seen_at").cloned().unwrap_or_default();
                    if before["last_seen_at"].is_null() {
                        before.as_object_mut().unwrap().remove("last_seen_at");
                    }
                    assert_eq!(rotated, before, "nothing else changes");
                    old = new;
                }
            }
        }
    });
}

/// Older Go clients announce JSON and send nothing.
#[test]
fn case_37_an_announced_body_may_be_missing() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let writer = world.writer().with("content-type", "application/json");
        let rotated = writer.act(&format!("{}/rotate", token.path)).await.ok();
        world.assert_admitted_with(&token, &secret(&rotated)).await;
        for body in ["null", "[]", "{", "x", "\"\""] {
            writer.call(http::Method::POST, &format!("{}/rotate", token.path), body).await.refused(400, 12130);
        }
        world.assert_admitted_with(&token, &secret(&rotated)).await;
    });
}

#[test]
fn case_38_two_secrets_work_and_never_three() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let token = world.issue(&tokens, json!({"name": "x"})).await;
            let rotate = async || {
                let body = json!({"previous_client_secret_expires_at": world.after(DAY)});
                let rotated = world.writer().post(&format!("{}/rotate", token.path), &body).await.ok();
                assert_eq!(rotated["previous_client_secret_expires_at"], world.after(DAY));
                secret(&rotated)
            };
            let second = rotate().await;
            world.assert_admitted(&token).await;
            world.assert_admitted_with(&token, &second).await;
            let third = rotate().await;
            world.assert_refused(&token, &token.secret, "invalid").await;
            world.assert_admitted_with(&token, &second).await;
            world.assert_admitted_with(&token, &third).await;
            world.advance(DAY);
            world.assert_refused(&token, &second, "invalid").await;
            world.assert_admitted_with(&token, &third).await;
        }
    });
}

#[test]
fn case_38_the_grace_has_no_upper_bound() {
    on_both(async |world| {
        let token = world.issue(&world.tokens(), json!({"name": "x", "duration": "forever"})).await;
        let body = json!({"previous_client_secret_expires_at": "9999-12-31T23:59:59Z"});
        world.writer().post(&format!("{}/rotate", token.path), &body).await.ok();
        world.advance(DAY * 365 * 1000);
        world.assert_admitted(&token).await;
    });
}

#[test]
fn case_39_a_refresh_gives_a_year() {
    on_both(async |world| {
        for tokens in world.scopes() {
            for writer in world.writers() {
                let token = world.issue(&tokens, json!({"name": "x", "duration": "48h"})).await;
                world.advance(DAY / 2);
                let refreshed = writer.act(&format!("{}/refresh", token.path)).await.ok();
                let mut expected = token.result.clone();
                expected.as_object_mut().unwrap().remove("client_secret");
                expected["expires_at"] = world.after(YEAR).into();
                expected["updated_at"] = world.now().to_string().into();
                assert_eq!(refreshed, expected);
                assert_eq!(world.reader().get(&token.path).await.ok(), expected);
            }
            let token = world.issue(&tokens, json!({"name": "x", "duration": "48h"})).await;
            world.writer().act(&format!("{}/refresh", token.path)).await.ok();
            world.advance(YEAR - Duration::from_micros(1));
            world.assert_admitted(&token).await;
            world.advance(Duration::from_micros(1));
            world.assert_refused(&token, &token.secret, "expired").await;
            // It works on an expired token too, and ignores any body.
            world.writer().call(http::Method::POST, &format!("{}/refresh", token.path), "not json").await.ok();
            world.assert_admitted(&token).await;
            // The API token among the writers lives for a year.
            world.set_clock(START);
        }
    });
}

#[test]
fn case_39_a_disabled_token_can_be_refreshed_and_stays_disabled() {
    on_both(async |world| {
        let token = world.issue(&world.tokens(), json!({"name": "x", "duration": "1h", "enabled": false})).await;
        let refreshed = world.writer().act(&format!("{}/refresh", token.path)).await.ok();
        assert_eq!((&refreshed["enabled"], &refreshed["expires_at"]), (&json!(false), &json!(world.after(YEAR))));
        world.assert_refused(&token, &token.secret, "disabled").await;
        let rotated = world.writer().act(&format!("{}/rotate", token.path)).await.ok();
        world.assert_refused(&token, &secret(&rotated), "disabled").await;
    });
}

#[test]
fn case_40_a_refresh_never_shortens_a_life() {
    on_both(async |world| {
        for tokens in world.scopes() {
            for duration in ["forever", "17520h", "2562047h"] {
                let token = world.issue(&tokens, json!({"name": "x", "duration": duration})).await;
                world.advance(DAY);
                let refreshed = world.writer().act(&format!("{}/refresh", token.path)).await.ok();
                let mut expected = token.result.clone();
                expected.as_object_mut().unwrap().remove("client_secret");
                assert_eq!(refreshed, expected, "{duration}");
            }
        }
    });
}

#[test]
fn case_41_zones_refresh_and_rotate_too() {
    on_both(async |world| {
        let token = world.issue(&world.zone_tokens(), json!({"name": "x", "duration": "48h"})).await;
        let refreshed = world.writer().act(&format!("{}/refresh", token.path)).await.ok();
        assert_eq!(refreshed["expires_at"], world.after(YEAR));
        let rotated = world.writer().act(&format!("{}/rotate", token.path)).await.ok();
        assert_eq!(rotated["client_secret_version"], 2);
        world.assert_admitted_with(&token, &secret(&rotated)).await;
        world.assert_refused(&token, &token.secret, "invalid").await;
        // Not through the account that the zone belongs to.
        for action in ["refresh", "rotate"] {
            let path = format!("{}/{}/{action}", world.tokens(), token.id);
            world.writer().act(&path).await.refused(404, 12135);
        }
    });
}

#[test]
fn an_unknown_token_is_neither_rotated_nor_refreshed() {
    on_both(async |world| {
        for tokens in world.scopes() {
            for id in [NOBODY, "not-a-uuid"] {
                for action in ["refresh", "rotate"] {
                    world.writer().act(&format!("{tokens}/{id}/{action}")).await.refused(404, 12135);
                }
            }
        }
    });
}

/// Versions end where their type does, and a rotation there still makes a new secret.
#[test]
fn the_last_version_can_be_rotated() {
    on_both(async |world| {
        let token = world.issue(&world.tokens(), json!({"name": "x", "client_secret_version": u32::MAX})).await;
        let rotated = world.writer().act(&format!("{}/rotate", token.path)).await.ok();
        assert_eq!(rotated["client_secret_version"], u32::MAX);
        world.assert_admitted_with(&token, &secret(&rotated)).await;
        world.assert_refused(&token, &token.secret, "invalid").await;
    });
}
