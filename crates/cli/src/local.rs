//! Commands that work on the store itself, whether a server runs on it or not.

use countersign_server::config::Settings;
use countersign_server::lifecycle::{self, Opened};
use countersign_server::ops::Ops;
use countersign_server::token::entropy::Entropy;
use countersign_server::token::time::Clock;

use crate::flag::Place;
use crate::logging;

/// Does `job` on the installation at `place`. Nothing is created where there is none.
pub(crate) async fn with_ops<T>(place: Place, job: impl AsyncFnOnce(&Ops) -> anyhow::Result<T>) -> anyhow::Result<T> {
    with_ops_of(&place.settings()?, job).await
}

/// The same with the settings of a place.
pub(crate) async fn with_ops_of<T>(
    settings: &Settings,
    job: impl AsyncFnOnce(&Ops) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    logging::command()?;
    let (opened, _installation) = lifecycle::open_store(settings).await?;
    work(opened, job).await
}

/// Does `job` on a new store, or on one that is there already: the job finds out.
pub(crate) async fn with_new_store<T>(
    settings: &Settings,
    job: impl AsyncFnOnce(&Ops) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    work(lifecycle::create_store(settings, &Entropy::System).await?, job).await
}

/// Runs the store's writer beside `job`, until both have ended.
async fn work<T>(opened: Opened, job: impl AsyncFnOnce(&Ops) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let Opened { store, writer } = opened;
    let job = async move {
        let ops = Ops::outside(store, Clock::System, Entropy::System);
        // The operations are the last to hold the store; the writer ends once they are gone.
        job(&ops).await
    };
    let (outcome, ()) = tokio::join!(job, writer.run());
    outcome
}
