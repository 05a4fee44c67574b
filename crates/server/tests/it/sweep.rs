//! Rows of what was deleted go after a week, and a reader from before reloads.

use std::time::Duration;

use countersign_server::sweeper;
use countersign_token::feed::Revision;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::world::on_both;

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
        let sweeping = tasks.spawn(sweeper::run(store.clone(), world.clock(), stop.clone()));
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
