//! Rows of what was deleted go after a week; what is left of them goes on as before.

use countersign_server::sweeper;
use countersign_token::feed::Revision;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::world::prefactor::Token;
use crate::world::{DAY, World, on_both};

/// Sweeps what is to be swept by now.
async fn sweep(world: &World) {
    let store = world.ops().store().clone();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let sweeping = tasks.spawn(sweeper::run(store.clone(), world.clock(), None, stop.clone()));
    let swept = async {
        while !store.poll(Revision::new(0)).await.unwrap().reload {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), swept).await.expect("the deleted rows are swept");
    // A round that has begun is gone through with.
    stop.cancel();
    sweeping.await.unwrap();
    assert_eq!(kept(world).await, 0, "old answers are swept too");
}

/// How many answers are kept that are older than a day; asking takes them away.
async fn kept(world: &World) -> u64 {
    let day = i64::try_from(DAY.as_micros()).unwrap();
    world.ops().store().delete_old_answers(world.now().saturating_add_micros(-day)).await.unwrap()
}

#[test]
fn what_was_deleted_a_week_ago_is_swept() {
    on_both(async |world| {
        let caller = world.prefactor();
        let (agent, gone_agent) = (world.agent().await, world.agent().await);
        // One that only a token is of, and one that an agent is deployed in too.
        let (lonely, gone) = (world.new_environment().await, world.new_environment().await);
        let good = [
            world.token().await,
            world.environment_token(&world.environment).await,
            world.deployment_token(&agent, &world.environment).await,
        ];
        let orphans = [
            world.environment_token(&lonely).await,
            world.environment_token(&gone).await,
            world.deployment_token(&agent, &gone).await,
            world.deployment_token(&gone_agent, &world.environment).await,
        ];
        let deleted = world.token().await;
        let keyed = json!({"details": {"token_scope": "account"}, "idempotency_key": "K"});
        Token::of(caller.post("/api_token", &keyed).await);
        caller.do_to(&deleted, "revoke").await.ok();
        caller.do_to(&deleted, "delete").await.ok();
        caller.delete(&format!("/environment/{gone}")).await.ok();
        caller.delete(&format!("/environment/{lonely}")).await.ok();
        caller.delete(&format!("/agent/{gone_agent}")).await.ok();
        let rows = async |world: &World| {
            let mut rows = world.prefactor().get("/api_token").await.summaries();
            for row in &mut rows {
                row["last_used_at"] = Value::Null;
            }
            rows
        };
        let before = rows(world).await;
        world.advance(8 * DAY);
        sweep(world).await;
        for restarted in [false, true] {
            if restarted {
                world.restart().await;
            }
            assert_eq!(rows(world).await, before, "rows of what belonged to the deleted stay");
            for token in &good {
                world.assert_good(token).await;
            }
            for token in &orphans {
                world.assert_bad(token, "invalid").await;
                assert_eq!(world.prefactor().show(token).await["status"], "active");
            }
            world.assert_bad(&deleted, "invalid").await;
            world.prefactor().get(&deleted.path).await.refused(404, "not_found");
            world.prefactor().get(&format!("/environment/{gone}")).await.refused(404, "not_found");
            world.prefactor().get(&format!("/agent/{gone_agent}")).await.refused(404, "not_found");
        }
        // And what can still be done with such a row does not bring it back.
        let caller = world.prefactor();
        for token in &orphans {
            caller.do_to(token, "suspend").await.ok();
            caller.do_to(token, "activate").await.ok();
            world.assert_bad(token, "invalid").await;
        }
        let again = caller.post("/api_token", &keyed).await;
        assert!(!again.is_replay(), "{again}");
        Token::of(again);
    });
}

/// A day is enough for an answer, and a week is not up.
#[test]
fn answers_go_before_rows() {
    on_both(async |world| {
        let keyed = json!({"details": {"token_scope": "account"}, "idempotency_key": "K"});
        let first = world.prefactor().post("/api_token", &keyed).await.ok();
        assert_eq!(kept(world).await, 0);
        assert_eq!(world.prefactor().post("/api_token", &keyed).await.replayed(), first);
        world.advance(DAY + std::time::Duration::from_micros(1));
        assert_eq!(kept(world).await, 1);
        assert_eq!(kept(world).await, 0);
    });
}
