//! The server's background tasks, each of which must run until it is told to stop.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::task::{Id, JoinError, JoinSet};

/// Named tasks. Dropping this ends them at once.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    set: JoinSet<anyhow::Result<()>>,
    running: Vec<(Id, &'static str)>,
}

impl Tasks {
    /// Starts a task.
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let id = self.set.spawn(task).id();
        self.running.push((id, name));
    }

    /// Returns when any task has ended, with the reason for which the server can't go on.
    pub(super) async fn failure(&mut self) -> anyhow::Error {
        match self.next().await {
            Some((name, Ok(()))) => anyhow!("the background task `{name}` has ended early"),
            Some((_, Err(error))) => error,
            None => anyhow!("no background task is running"),
        }
    }

    /// Waits until the task of this name has ended, at most for `patience`. The errors of others that end meanwhile are
    /// logged. A task that has ended before is no error any more.
    pub(super) async fn finish(&mut self, name: &'static str, patience: Duration) -> anyhow::Result<()> {
        let wait = async {
            while self.running.iter().any(|(_, running)| *running == name) {
                match self.next().await {
                    Some((ended, outcome)) if ended == name => return outcome,
                    Some((_, Ok(()))) => {}
                    Some((_, Err(error))) => {
                        tracing::error!(error = format!("{error:#}"), "a background task has failed")
                    }
                    None => break,
                }
            }
            Ok(())
        };
        match tokio::time::timeout(patience, wait).await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow!("the background task `{name}` did not end in time")),
        }
    }

    async fn next(&mut self) -> Option<(&'static str, anyhow::Result<()>)> {
        let ended = self.set.join_next_with_id().await?;
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Err(lost(error))),
        };
        let position = self.running.iter().position(|(running, _)| *running == id)?;
        let (_, name) = self.running.swap_remove(position);
        Some((name, outcome.with_context(|| format!("the background task `{name}` has failed"))))
    }
}

/// A task that does what it can, and has no error to end with.
pub(super) async fn unfailing(task: impl Future<Output = ()>) -> anyhow::Result<()> {
    task.await;
    Ok(())
}

fn lost(error: JoinError) -> anyhow::Error {
    match error.try_into_panic() {
        Ok(panic) => {
            let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
            anyhow!("it panicked: {}", said.unwrap_or_default())
        }
        Err(error) => anyhow!(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(task: impl Future<Output = anyhow::Result<()>> + Send + 'static, expected: &str) {
        let mut tasks = Tasks::default();
        tasks.spawn("idle", std::future::pending());
        tasks.spawn("writer", task);
        assert_eq!(format!("{:#}", tasks.failure().await), expected);
        assert!(tasks.finish("writer", Duration::from_secs(1)).await.is_ok(), "it has ended already");
    }

    #[tokio::test]
    async fn an_end_names_the_task() {
        check(async { Ok(()) }, "the background task `writer` has ended early").await;
        check(async { Err(anyhow!("disk full")) }, "the background task `writer` has failed: disk full").await;
        check(async { panic!("bug") }, "the background task `writer` has failed: it panicked: bug").await;
    }

    #[tokio::test]
    async fn a_task_that_does_not_end_is_given_up() {
        let mut tasks = Tasks::default();
        tasks.spawn("idle", std::future::pending());
        let given_up = tasks.finish("idle", Duration::from_millis(1)).await;
        assert_eq!(format!("{:#}", given_up.expect_err("it runs")), "the background task `idle` did not end in time");
    }
}
