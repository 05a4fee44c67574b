//! Updating a token: cases 24 to 36 of the contract.

use std::time::Duration;

use serde_json::{Value, json};

use crate::read::NOBODY;
use crate::world::{DAY, HOUR, Issued, World, on_both};

/// The new secret in the answer to a change that made one.
fn secret(result: &Value) -> &str {
    result["client_secret"].as_str().expect("a new secret")
}

fn without_secret(result: &Value) -> Value {
    let mut result = result.clone();
    result.as_object_mut().unwrap().remove("client_secret");
    result
}

/// Asserts that a change is in the answer and in the next read alike, that it changed exactly the named fields, and
/// that it moved `updated_at`.
async fn assert_changed(world: &World, before: &Value, answer: &Value, changes: Value) {
    let mut expected = without_secret(before);
    let fields = expected.as_object_mut().unwrap();
    for (field, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(fields.remove(field)),
            value => drop(fields.insert(field.clone(), value.clone())),
        }
    }
    expected["updated_at"] = world.now().to_string().into();
    assert_eq!(without_secret(answer), expected);
    let path = format!("{}/{}", world.tokens(), before["id"].as_str().unwrap());
    let read = world.reader().get(&path).await;
    if read.status == 200 {
        assert_eq!(read.ok(), expected);
    } else {
        let path = format!("{}/{}", world.zone_tokens(), before["id"].as_str().unwrap());
        assert_eq!(world.reader().get(&path).await.ok(), expected);
    }
}

/// A token with a secret of version 3 whose previous one is good for another hour, and that previous one.
async fn in_grace(world: &World, tokens: &str) -> (Issued, String) {
    let token = world.issue(tokens, json!({"name": "x"})).await;
    let first = token.secret.clone();
    let body = json!({"client_secret_version": 3, "previous_client_secret_expires_at": world.after(HOUR)});
    let rotated = world.writer().put(&token.path, &body).await.ok();
    let token = Issued { secret: secret(&rotated).to_owned(), ..token };
    world.assert_admitted(&token).await;
    world.assert_admitted_with(&token, &first).await;
    let result = world.reader().get(&token.path).await.ok();
    (Issued { result, ..token }, first)
}

#[test]
fn case_24_a_name_changes_alone() {
    on_both(async |world| {
        for tokens in world.scopes() {
            for writer in world.writers() {
                let token = world.issue(&tokens, json!({"name": "x", "duration": "48h", "enabled": false})).await;
                world.advance(HOUR);
                let renamed = writer.put(&token.path, &json!({"name": "y"})).await.ok();
                assert_eq!(renamed.get("client_secret"), None);
                assert_changed(world, &token.result, &renamed, json!({"name": "y"})).await;
            }
        }
    });
}

#[test]
fn case_24_every_field_changes_alone() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let token = world.issue(&tokens, json!({"name": "x", "duration": "48h"})).await;
            let mut before = token.result.clone();
            let far = world.after(DAY * 100);
            let changes = [
                (json!({"name": "y"}), json!({"name": "y"})),
                (json!({"enabled": false}), json!({"enabled": false})),
                (json!({"enabled": true}), json!({"enabled": true})),
                (json!({"previous_client_secret_expires_at": far}), json!({"previous_client_secret_expires_at": far})),
                (
                    json!({"previous_client_secret_expires_at": null}),
                    json!({"previous_client_secret_expires_at": null}),
                ),
            ];
            for (body, changes) in changes {
                world.advance(HOUR);
                let after = world.writer().put(&token.path, &body).await.ok();
                assert_eq!(after.get("client_secret"), None, "{body}");
                assert_changed(world, &before, &after, changes).await;
                before = after;
            }
            world.assert_admitted(&token).await;
        }
    });
}

#[test]
fn case_25_an_empty_update_changes_nothing() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let token = world.issue(&tokens, json!({"name": "x"})).await;
            let before = without_secret(&token.result);
            world.advance(HOUR);
            let nulls = json!({"name": null, "duration": null, "enabled": null, "client_secret_version": null});
            let same = json!({"name": "x", "duration": "8760h", "enabled": true, "client_secret_version": 1});
            for body in [json!({}), nulls, same, json!({"foo": 1})] {
                let events = world.audit_end().await;
                assert_eq!(world.writer().put(&token.path, &body).await.ok(), before, "{body}");
                assert_eq!(world.reader().get(&token.path).await.ok(), before, "{body}");
                assert!(world.audit(events).await.is_empty(), "nothing happened, so nothing is in the audit log");
            }
        }
    });
}

#[test]
fn case_26_another_duration_begins_now() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let token = world.issue(&tokens, json!({"name": "x", "duration": "8760h"})).await;
            world.advance(DAY * 10);
            let longer = world.writer().put(&token.path, &json!({"duration": "17520h"})).await.ok();
            let changes = json!({"duration": "17520h", "expires_at": world.after(HOUR * 17520)});
            assert_changed(world, &token.result, &longer, changes).await;
            // The same length in other words is another duration.
            world.advance(DAY);
            let reworded = world.writer().put(&token.path, &json!({"duration": "17520h0m"})).await.ok();
            let changes = json!({"duration": "17520h0m", "expires_at": world.after(HOUR * 17520)});
            assert_changed(world, &longer, &reworded, changes).await;
            // A shorter one too, and it ends on time.
            let shorter = world.writer().put(&token.path, &json!({"duration": "1h"})).await.ok();
            assert_eq!(shorter["expires_at"], world.after(HOUR));
            world.advance(HOUR - Duration::from_micros(1));
            world.assert_admitted(&token).await;
            world.advance(Duration::from_micros(1));
            world.assert_refused(&token, &token.secret, "expired").await;
            // It can be brought back.
            world.writer().put(&token.path, &json!({"duration": "forever"})).await.ok();
            world.advance(DAY * 365 * 200);
            world.assert_admitted(&token).await;
        }
    });
}

#[test]
fn case_27_the_same_duration_renews_nothing() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let token = world.issue(&tokens, json!({"name": "x", "duration": "8760h"})).await;
            world.advance(DAY * 10);
            let body = json!({"client_secret_version": 1, "duration": "8760h", "name": "y"});
            let renamed = world.writer().put(&token.path, &body).await.ok();
            assert_eq!(renamed["expires_at"], token.result["expires_at"]);
            assert_changed(world, &token.result, &renamed, json!({"name": "y"})).await;
        }
    });
}

#[test]
fn case_28_a_higher_version_makes_a_new_secret() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let token = world.issue(&tokens, json!({"name": "x"})).await;
            world.advance(HOUR);
            let rotated = world.writer().put(&token.path, &json!({"client_secret_version": 2})).await.ok();
            let changes =
                json!({"client_secret_version": 2, "previous_client_secret_expires_at": world.after(Duration::ZERO)});
            assert_changed(world, &token.result, &rotated, changes).await;
            world.assert_admitted_with(&token, secret(&rotated)).await;
            world.assert_refused(&token, &token.secret, "invalid").await;
            // It is the supplied version that counts from here.
            let rotated = world.writer().put(&token.path, &json!({"client_secret_version": 10})).await.ok();
            assert_eq!(rotated["client_secret_version"], 10);
            world.assert_admitted_with(&token, secret(&rotated)).await;
        }
    });
}

#[test]
fn case_28_other_fields_change_along() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let body = json!({"client_secret_version": 2, "name": "y", "duration": "24h", "enabled": false});
        let rotated = world.writer().put(&token.path, &body).await.ok();
        world.assert_refused(&token, secret(&rotated), "disabled").await;
        world.assert_refused(&token, &token.secret, "invalid").await;
        let changes = json!({
            "client_secret_version": 2, "name": "y", "duration": "24h", "enabled": false,
            "expires_at": world.after(DAY), "previous_client_secret_expires_at": world.after(Duration::ZERO),
        });
        assert_changed(world, &token.result, &rotated, changes).await;
    });
}

#[test]
fn case_29_the_old_secret_is_good_until_its_end() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let (token, first) = in_grace(world, &tokens).await;
            assert_eq!(token.result["previous_client_secret_expires_at"], world.after(HOUR));
            world.advance(HOUR - Duration::from_micros(1));
            world.assert_admitted_with(&token, &first).await;
            world.advance(Duration::from_micros(1));
            world.assert_refused(&token, &first, "invalid").await;
            world.assert_admitted(&token).await;
        }
    });
}

/// The acceptance tests of the Terraform provider rotate like this: the end is long past, and accepted.
#[test]
fn case_29_an_end_in_the_past_is_now() {
    on_both(async |world| {
        let token = world.issue_default().await;
        for (version, end) in [(2, "2025-12-31T23:59:59Z"), (3, "2026-01-31T23:59:59Z"), (4, "0001-01-01T00:00:00Z")] {
            let body = json!({"client_secret_version": version, "previous_client_secret_expires_at": end});
            let rotated = world.writer().put(&token.path, &body).await.ok();
            assert_eq!(rotated["previous_client_secret_expires_at"], end);
            assert_eq!(rotated["client_id"], token.client_id);
            world.assert_admitted_with(&token, secret(&rotated)).await;
            world.assert_refused(&token, &token.secret, "invalid").await;
        }
    });
}

#[test]
fn case_29_grace_never_outlives_the_token() {
    on_both(async |world| {
        let token = world.issue(&world.tokens(), json!({"name": "x", "duration": "1h"})).await;
        let body = json!({"client_secret_version": 2, "previous_client_secret_expires_at": world.after(DAY)});
        let rotated = world.writer().put(&token.path, &body).await.ok();
        world.advance(HOUR);
        world.assert_refused(&token, &token.secret, "expired").await;
        world.assert_refused(&token, secret(&rotated), "expired").await;
    });
}

#[test]
fn case_30_the_same_rotation_again_rotates_nothing() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let (token, first) = in_grace(world, &tokens).await;
            let end = token.result["previous_client_secret_expires_at"].clone();
            world.advance(HOUR / 2);
            let body = json!({"client_secret_version": 3, "previous_client_secret_expires_at": end});
            for _ in 0..2 {
                let repeated = world.writer().put(&token.path, &body).await.ok();
                assert_eq!(repeated, token.result);
            }
            world.assert_admitted(&token).await;
            world.assert_admitted_with(&token, &first).await;
        }
    });
}

#[test]
fn case_31_a_lower_version_is_no_rotation() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let (token, first) = in_grace(world, &tokens).await;
            for version in [json!(1), json!(2), json!(3), json!(0), json!(null), json!(1.0)] {
                let answer = world.writer().put(&token.path, &json!({"client_secret_version": version})).await.ok();
                assert_eq!(answer, without_secret(&token.result), "{version}");
            }
            world.assert_admitted(&token).await;
            world.assert_admitted_with(&token, &first).await;
        }
    });
}

#[test]
fn case_32_grace_can_be_ended_early() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let (token, first) = in_grace(world, &tokens).await;
            let past = "2025-12-31T23:59:59Z";
            let ended = world.writer().put(&token.path, &json!({"previous_client_secret_expires_at": past})).await.ok();
            assert_eq!(ended["previous_client_secret_expires_at"], past);
            assert_eq!(ended.get("client_secret"), None);
            world.assert_refused(&token, &first, "invalid").await;
            world.assert_admitted(&token).await;
            // What has lapsed stays lapsed.
            let body = json!({"previous_client_secret_expires_at": world.after(DAY)});
            world.writer().put(&token.path, &body).await.ok();
            world.assert_refused(&token, &first, "invalid").await;
            world.assert_admitted(&token).await;
        }
    });
}

#[test]
fn case_32_grace_can_be_moved() {
    on_both(async |world| {
        let (token, first) = in_grace(world, &world.tokens()).await;
        let body = json!({"previous_client_secret_expires_at": world.after(DAY)});
        world.writer().put(&token.path, &body).await.ok();
        world.advance(HOUR * 2);
        world.assert_admitted_with(&token, &first).await;
        let body = json!({"previous_client_secret_expires_at": world.after(HOUR)});
        world.writer().put(&token.path, &body).await.ok();
        world.advance(HOUR);
        world.assert_refused(&token, &first, "invalid").await;
        // It ran out by itself, and can't be revived either.
        let body = json!({"previous_client_secret_expires_at": world.after(DAY)});
        world.writer().put(&token.path, &body).await.ok();
        world.assert_refused(&token, &first, "invalid").await;
        world.assert_admitted(&token).await;
    });
}

#[test]
fn case_33_null_ends_the_grace() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let (token, first) = in_grace(world, &tokens).await;
            let body = json!({"previous_client_secret_expires_at": null});
            let ended = world.writer().put(&token.path, &body).await.ok();
            assert_eq!(ended.get("previous_client_secret_expires_at"), None, "the field is gone, not null");
            world.assert_refused(&token, &first, "invalid").await;
            world.assert_admitted(&token).await;
            let read = world.reader().get(&token.path).await.ok();
            assert_eq!(read.get("previous_client_secret_expires_at"), None);
        }
    });
}

#[test]
fn case_34_a_bad_timestamp_changes_nothing() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let (token, first) = in_grace(world, &tokens).await;
            let bad = [
                json!("tomorrow"),
                json!(""),
                json!(0),
                json!(1_767_225_600),
                json!(true),
                json!({}),
                json!([]),
                json!("2026-01-31"),
                json!("2026-01-31T12:00:00"),
                json!("2026-02-30T00:00:00Z"),
                json!("2026-01-31T24:00:00Z"),
                json!("2026-01-31 12:00:00Z"),
                json!("2026-01-31T12:00:00+25:00"),
                json!("10000-01-01T00:00:00Z"),
                json!("-001-01-01T00:00:00Z"),
                json!("9999-12-31T23:59:59-01:00"),
                json!("0001-01-01T00:00:00+01:00"),
                json!("2026-01-31T12:00:00.Z"),
                json!("2026-01-31T12:00:00Z\0"),
                json!(" 2026-01-31T12:00:00Z"),
                json!("２０２６-01-31T12:00:00Z"),
            ];
            for at in bad {
                // The other fields are good, and must not count.
                let body = json!({"name": "y", "client_secret_version": 9, "previous_client_secret_expires_at": at});
                for answer in [
                    world.writer().put(&token.path, &body).await,
                    world.writer().post(&tokens, &body).await,
                    world.writer().post(&format!("{}/rotate", token.path), &body).await,
                ] {
                    answer.invalid_field("previous_client_secret_expires_at");
                }
            }
            assert_eq!(world.reader().get(&tokens).await.ok(), json!([without_secret(&token.result)]));
            world.assert_admitted(&token).await;
            world.assert_admitted_with(&token, &first).await;
        }
    });
}

#[test]
fn case_35_disabled_means_both_secrets() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let (token, first) = in_grace(world, &tokens).await;
            world.writer().put(&token.path, &json!({"name": "y", "enabled": false})).await.ok();
            world.assert_refused(&token, &token.secret, "disabled").await;
            world.assert_refused(&token, &first, "disabled").await;
            world.assert_refused(&token, "wrong", "invalid").await;
            // The grace goes on meanwhile.
            world.advance(HOUR / 2);
            world.writer().put(&token.path, &json!({"enabled": true})).await.ok();
            world.assert_admitted(&token).await;
            world.assert_admitted_with(&token, &first).await;
            world.writer().put(&token.path, &json!({"enabled": false})).await.ok();
            world.advance(HOUR / 2);
            world.writer().put(&token.path, &json!({"enabled": true})).await.ok();
            world.assert_admitted(&token).await;
            world.assert_refused(&token, &first, "invalid").await;
        }
    });
}

#[test]
fn case_36_an_unknown_token_is_not_found() {
    on_both(async |world| {
        let there = world.issue(&world.zone_tokens(), json!({"name": "x"})).await;
        for tokens in world.scopes() {
            for id in [NOBODY, "not-a-uuid"] {
                let answer = world.writer().put(&format!("{tokens}/{id}"), &json!({"name": "y"})).await;
                assert_eq!(answer.refused(404, 12135), "access.api.error.not_found");
            }
        }
        let elsewhere = format!("{}/{}", world.tokens(), there.id);
        world.writer().put(&elsewhere, &json!({"name": "y"})).await.refused(404, 12135);
        assert_eq!(world.reader().get(&there.path).await.ok(), without_secret(&there.result));
    });
}

#[test]
fn bad_fields_change_nothing() {
    on_both(async |world| {
        let token = world.issue_default().await;
        let bad = [
            ("name", json!("")),
            ("name", json!(5)),
            ("name", json!("a".repeat(351))),
            ("name", json!("a\u{0}")),
            ("duration", json!("")),
            ("duration", json!("1d")),
            ("duration", json!(5)),
            ("enabled", json!("true")),
            ("enabled", json!(1)),
            ("client_secret_version", json!(1.5)),
            ("client_secret_version", json!(-1)),
            ("client_secret_version", json!("2")),
        ];
        for (field, value) in bad {
            let mut body = json!({"name": "y", "duration": "1h", "enabled": false, "client_secret_version": 2});
            body[field] = value;
            world.writer().put(&token.path, &body).await.invalid_field(field);
        }
        assert_eq!(world.reader().get(&token.path).await.ok(), without_secret(&token.result));
        world.assert_admitted(&token).await;
    });
}

/// Whatever can turn an allow into a refusal says where it is in force; whatever can't need not wait.
#[test]
fn a_change_that_takes_away_says_where_it_is_in_force() {
    on_both(async |world| {
        let (token, _) = in_grace(world, &world.tokens()).await;
        let put = async |body: Value| {
            let answer = world.writer().put(&token.path, &body).await;
            assert_eq!(answer.status, 200, "{answer}");
            answer.header("countersign-propagation").map(str::to_owned)
        };
        let complete = Some("complete; nodes=1; waited=0ms".to_owned());
        assert_eq!(put(json!({"name": "y"})).await, None);
        assert_eq!(put(json!({"duration": "17520h"})).await, None);
        assert_eq!(put(json!({"previous_client_secret_expires_at": "2025-01-01T00:00:00Z"})).await, complete);
        assert_eq!(put(json!({"client_secret_version": 4})).await, complete);
        assert_eq!(put(json!({"duration": "1h"})).await, complete);
        assert_eq!(put(json!({"enabled": false})).await, complete);
        assert_eq!(put(json!({"enabled": true})).await, None);
        // A repetition waits for what it repeats.
        assert_eq!(put(json!({"enabled": true})).await, complete);
        assert_eq!(world.writer().delete(&token.path).await.header("countersign-propagation"), complete.as_deref());
    });
}
