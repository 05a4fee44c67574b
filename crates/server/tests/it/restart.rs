//! A server that is started again knows what the one before it knew.

use serde_json::{Value, json};

use crate::world::{DAY, HOUR, World, on_both};

async fn answers(world: &World) -> Vec<Value> {
    let owner = world.owner_key();
    let mut answers = Vec::new();
    for path in [world.tokens(), world.zone_tokens(), "/accounts".to_owned(), "/zones".to_owned(), "/user".to_owned()] {
        answers.push(owner.get(&path).await.json);
    }
    answers
}

#[test]
fn a_restart_changes_no_answer_and_no_admission() {
    on_both(async |world| {
        let writer = world.writer();
        let plain = world.issue(&world.tokens(), json!({"name": "plain"})).await;
        let zone = world.issue(&world.zone_tokens(), json!({"name": "zone", "duration": "forever"})).await;
        let disabled = world.issue(&world.tokens(), json!({"name": "disabled", "enabled": false})).await;
        let short = world.issue(&world.tokens(), json!({"name": "short", "duration": "2h"})).await;
        let gone = world.issue(&world.tokens(), json!({"name": "gone"})).await;
        writer.delete(&gone.path).await.ok();
        let rotated = world.issue(&world.tokens(), json!({"name": "rotated"})).await;
        let body = json!({"previous_client_secret_expires_at": world.after(HOUR)});
        let second = writer.post(&format!("{}/rotate", rotated.path), &body).await.ok()["client_secret"].clone();
        let second = second.as_str().unwrap();
        world.assert_admitted(&plain).await;

        let before = answers(world).await;
        for _ in 0..2 {
            world.restart().await;
            assert_eq!(answers(world).await, before);
            world.assert_refused(&plain, "wrong", "invalid").await;
            world.assert_refused(&disabled, &disabled.secret, "disabled").await;
            world.assert_refused(&gone, &gone.secret, "invalid").await;
        }
        for token in [&plain, &zone, &short, &rotated] {
            world.assert_admitted(token).await;
        }
        world.assert_admitted_with(&rotated, second).await;
        world.advance(HOUR);
        world.restart().await;
        world.assert_refused(&rotated, &rotated.secret, "invalid").await;
        world.assert_admitted_with(&rotated, second).await;
        world.assert_admitted(&short).await;
        world.advance(HOUR);
        world.restart().await;
        world.assert_refused(&short, &short.secret, "expired").await;
        world.advance(DAY * 365 * 50);
        world.assert_admitted(&zone).await;
        world.assert_refused(&plain, &plain.secret, "expired").await;

        // And it can go on.
        let writer = world.writer();
        writer.put(&disabled.path, &json!({"enabled": true, "duration": "forever"})).await.ok();
        world.assert_admitted(&disabled).await;
        writer.delete(&zone.path).await.ok();
        world.assert_refused(&zone, &zone.secret, "invalid").await;
    });
}

/// A mark that was in memory only is in the store after an orderly stop.
#[test]
fn last_seen_survives_an_orderly_stop() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let token = world.issue(&tokens, json!({"name": "x"})).await;
            let unseen = world.issue(&tokens, json!({"name": "y"})).await;
            world.advance(HOUR);
            world.assert_admitted(&token).await;
            let seen = world.now().to_string();
            world.stop().await;
            let outside = world.open_outside().await;
            assert_eq!(outside.last_seen(world, &tokens, &token.id).await, Some(seen.clone()), "in the store itself");
            assert_eq!(outside.last_seen(world, &tokens, &unseen.id).await, None);
            outside.close().await;
            world.start().await;
            let read = world.reader().get(&token.path).await.ok();
            assert_eq!(read["last_seen_at"], seen);
            assert_eq!(read["updated_at"], token.result["updated_at"]);
            assert_eq!(world.reader().get(&unseen.path).await.ok().get("last_seen_at"), None);
            // A mark never goes back.
            world.assert_admitted(&token).await;
            assert_eq!(world.reader().get(&token.path).await.ok()["last_seen_at"], seen);
        }
    });
}

/// What another process writes is answered and decided by the running server when that process's call returns.
#[test]
fn another_process_is_heard() {
    on_both(async |world| {
        let token = world.issue_default().await;
        world.assert_admitted(&token).await;
        let outside = world.open_outside().await;
        outside.delete(world, &token.id).await;
        world.assert_refused(&token, &token.secret, "invalid").await;
        world.writer().get(&token.path).await.refused(404, 12135);
        outside.close().await;
    });
}

/// A server that stops leaves the list of nodes: nobody waits for it any more.
#[test]
fn a_stopped_server_is_not_waited_for() {
    on_both(async |world| {
        let id = world.writer_id().parse().unwrap();
        world.stop().await;
        let outside = world.open_outside().await;
        let operator = countersign_server::caller::Caller::Operator;
        let (_, propagation) = outside.ops.revoke_management_token(&operator, &id).await.unwrap();
        assert_eq!(propagation.unwrap().to_string(), "complete; nodes=0; waited=0ms");
        outside.close().await;
        world.start().await;
        world.writer().get(&world.tokens()).await.refused(401, 10000);
    });
}
