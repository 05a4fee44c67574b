//! The store is lost: no answer claims what did not happen, and what needs no store goes on.

use std::time::Duration;

use serde_json::json;

use crate::world::{Verdict, on_both, on_sqlite};

#[test]
fn what_cannot_be_written_is_unavailable() {
    on_both(async |world| {
        let token = world.issue_default().await;
        world.lose_writer().await;
        let writer = world.writer();
        for answer in [
            writer.post(&world.tokens(), &json!({"name": "y"})).await,
            writer.put(&token.path, &json!({"name": "y"})).await,
            writer.act(&format!("{}/rotate", token.path)).await,
            writer.act(&format!("{}/refresh", token.path)).await,
            writer.delete(&token.path).await,
        ] {
            assert_eq!(answer.refused(503, 10002), "temporarily unavailable");
            assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
        }
        // Reading and deciding need no writer.
        let read = world.reader().get(&world.tokens()).await.ok();
        assert_eq!((read.as_array().unwrap().len(), &read[0]["name"]), (1, &json!("x")));
        world.assert_admitted(&token).await;
        // What is wrong with a request is still said.
        writer.post(&world.tokens(), &json!({})).await.refused(400, 12130);
        world.reader().delete(&token.path).await.refused(403, 10000);
        world.anonymous().get(&token.path).await.refused(400, 9106);
        world.abandon().await;

        // The next server finds what was acknowledged, and nothing else.
        world.start().await;
        let read = world.reader().get(&world.tokens()).await.ok();
        assert_eq!((read.as_array().unwrap().len(), &read[0]["name"]), (1, &json!("x")));
        world.assert_admitted(&token).await;
    });
}

/// A server that has learned nothing for too long might know a caller who has lost their rights.
#[test]
fn a_server_that_learns_nothing_stops_answering_for_itself() {
    on_both(async |world| {
        let token = world.issue_default().await;
        world.restart_promising(Duration::from_secs(5)).await;
        world.lose_follower().await;
        let account = format!("account_id={}", world.account);
        let pair = [("cf-access-client-id", token.client_id.as_str()), ("cf-access-client-secret", &token.secret)];
        world.reader().get(&token.path).await.ok();
        assert_eq!(world.ask(&account, &pair).await, Verdict::admitted());
        assert_eq!(world.plain("/readyz").await.0, 200);

        world.advance(Duration::from_secs(6));
        assert_eq!(world.ask(&account, &pair).await, Verdict::refused(503, "stale"));
        assert_eq!(world.plain("/readyz").await.0, 503);
        assert_eq!(world.plain("/livez").await.0, 200);
        for caller in world.writers().into_iter().chain(world.strangers()) {
            assert_eq!(caller.get(&token.path).await.refused(503, 10002), "temporarily unavailable");
            caller.post(&world.tokens(), &json!({"name": "y"})).await.refused(503, 10002);
        }
        // What says nothing about anybody's rights is still said.
        world.anonymous().get(&token.path).await.refused(400, 9106);
        world.writer().get("/nowhere").await.refused(404, 7003);
        world.abandon().await;

        world.start().await;
        world.assert_admitted(&token).await;
        assert_eq!(world.reader().get(&world.tokens()).await.ok().as_array().unwrap().len(), 1);
    });
}

#[test]
fn an_embedded_store_that_takes_no_write_for_long_is_still_read() {
    on_sqlite(async |world| {
        let token = world.issue_default().await;
        world.restart_promising(Duration::from_secs(5)).await;
        let account = format!("account_id={}", world.account);
        let pair = [("cf-access-client-id", token.client_id.as_str()), ("cf-access-client-secret", &token.secret)];
        world.stall_writer();
        // Over and over, because one heartbeat may have been on its way already.
        for _ in 0..3 {
            world.advance(Duration::from_secs(6));
            assert_eq!(world.ask(&account, &pair).await, Verdict::refused(503, "stale"));
            let fresh = async {
                while world.ask(&account, &pair).await != Verdict::admitted() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), fresh).await.expect("the node has read the feed again");
        }
        world.abandon().await;
        world.start().await;
    });
}
