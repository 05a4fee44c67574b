//! Rows of what was deleted go after a week, and a reader from before reloads.

use std::time::Duration;

use countersign_server::caller::Caller;
use countersign_server::sweeper::{self, Retention};
use countersign_store::NodeId;
use countersign_token::entropy::Entropy;
use countersign_token::feed::Revision;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::world::{World, on_both};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn what_was_deleted_a_week_ago_is_swept() {
    on_both(async |world| {
        let (kept, gone) = (world.issue_default().await, world.issue_default().await);
        let store = world.ops().store().clone();
        let before = store.revision().await.unwrap();
        world.writer().delete(&gone.path).await.ok();
        world.advance(8 * DAY);

        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let sweeping = tasks.spawn(sweeper::run(store.clone(), world.clock(), None, stop.clone()));
        let swept = async {
            while !store.poll(before).await.unwrap().reload {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), swept).await.expect("the deleted row is swept");
        stop.cancel();
        sweeping.await.unwrap();

        assert!(store.poll(Revision::new(0)).await.unwrap().reload);
        world.writer().get(&gone.path).await.refused(404, 12135);
        world.assert_admitted(&kept).await;
        drop(store);
        world.restart().await;
        world.writer().get(&gone.path).await.refused(404, 12135);
        world.assert_admitted(&kept).await;
    });
}

#[test]
fn old_events_of_the_audit_log_are_pruned_once_a_day() {
    on_both(async |world| {
        let store = world.ops().store().clone();
        let node = NodeId::generate(&Entropy::seeded(9));
        let retention = Retention { kept: 30 * DAY, node };
        let prune = async |world: &World| sweeper::prune_audit(&store, world.now(), &retention).await.unwrap();
        let at_first = world.audit_end().await;
        world.advance(30 * DAY + DAY);
        let kept = world.issue_default().await;
        assert_eq!(prune(world).await, 0, "a day of grace");
        let before = world.audit_end().await;
        world.advance(Duration::from_secs(1));
        assert_eq!(prune(world).await, at_first.unsigned_abs());
        assert_eq!(prune(world).await, 0);
        let events = world.audit(0).await;
        let actions: Vec<&str> = events.iter().map(|event| event.action.as_str()).collect();
        assert_eq!(actions, ["service_token.create", "audit.prune"]);
        assert_eq!((events[0].subject_id.as_str(), events[1].seq), (kept.id.as_str(), before + 1));
        assert_eq!((events[1].actor_kind.as_str(), &events[1].actor_id), ("server", &node.to_string()));
        let expected = format!(r#"{{"before":"{}"}}"#, world.now().saturating_add_micros(-30 * 24 * 3600 * 1_000_000));
        assert_eq!(events[1].detail, expected);
        let chain = world.ops().verify_audit(&Caller::Operator, &mut |_| {}).await.unwrap();
        assert_eq!((chain.first, chain.events, chain.broken), (at_first + 1, 2, None));
        drop(store);
    });
}
