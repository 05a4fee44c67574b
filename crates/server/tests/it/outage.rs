//! The store is lost: no answer claims what did not happen, and what needs no store goes on.

use serde_json::json;

use crate::world::on_both;

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
