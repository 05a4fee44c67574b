//! A running server.

use std::net::SocketAddr;

use countersign_server::config::Settings;
use countersign_server::lifecycle::Server;
use countersign_token::entropy::Entropy;
use countersign_token::time::Clock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs a server on data that is there.
pub(crate) async fn serve(settings: &Settings, measure: impl AsyncFnOnce(SocketAddr, TaskTracker)) {
    let server = Server::start(settings, Clock::System, Entropy::System).await.unwrap();
    let address = server.listening()[0].url.strip_prefix("http://").unwrap().parse().unwrap();
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let running = tasks.spawn(server.run(stop.clone().cancelled_owned()));
    measure(address, tasks).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}
