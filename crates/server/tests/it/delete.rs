//! Deleting a token: case 42 of the contract.

use serde_json::json;

use crate::read::NOBODY;
use crate::world::{DAY, on_both};

#[test]
fn case_42_a_deleted_token_is_gone() {
    on_both(async |world| {
        for tokens in world.scopes() {
            for writer in world.writers() {
                let token = world.issue(&tokens, json!({"name": "x"})).await;
                let other = world.issue(&tokens, json!({"name": "x"})).await;
                let body = json!({"previous_client_secret_expires_at": world.after(DAY)});
                let rotated = writer.post(&format!("{}/rotate", token.path), &body).await.ok();
                let secret = rotated["client_secret"].as_str().unwrap();
                world.assert_admitted(&token).await;

                let deleted = writer.delete(&token.path).await.ok();
                assert_eq!(deleted["id"], token.id);
                assert_eq!(deleted["name"], "x");
                assert_eq!(deleted["client_secret_version"], 2);
                world.assert_refused(&token, &token.secret, "invalid").await;
                world.assert_refused(&token, secret, "invalid").await;
                world.assert_admitted(&other).await;

                writer.get(&token.path).await.refused(404, 12135);
                writer.delete(&token.path).await.refused(404, 12135);
                writer.put(&token.path, &json!({"name": "y"})).await.refused(404, 12135);
                writer.act(&format!("{}/rotate", token.path)).await.refused(404, 12135);
                writer.act(&format!("{}/refresh", token.path)).await.refused(404, 12135);
                assert_eq!(world.reader().get(&tokens).await.ok().as_array().unwrap().len(), 1);
                writer.delete(&other.path).await.ok();
                assert_eq!(world.reader().get(&tokens).await.json["result_info"]["total_count"], 0);
            }
        }
    });
}

/// Some clients announce JSON on every call, some send a body along.
#[test]
fn case_42_a_body_does_not_matter() {
    on_both(async |world| {
        for body in ["", "{}", "not json"] {
            let token = world.issue_default().await;
            let writer = world.writer().with("content-type", "application/json");
            assert_eq!(writer.call(http::Method::DELETE, &token.path, body).await.ok()["id"], token.id);
        }
    });
}

#[test]
fn an_unknown_token_is_not_deleted() {
    on_both(async |world| {
        let there = world.issue(&world.zone_tokens(), json!({"name": "x"})).await;
        let elsewhere = [
            format!("{}/{}", world.tokens(), there.id),
            format!("{}/{NOBODY}", world.zone_tokens()),
            format!("{}/not-a-uuid", world.zone_tokens()),
            format!("/zones/{}/access/service_tokens/{}", world.second_zone, there.id),
        ];
        for path in elsewhere {
            world.writer().delete(&path).await.refused(404, 12135);
        }
        world.reader().delete(&there.path).await.refused(403, 10000);
        world.assert_admitted(&there).await;
    });
}
