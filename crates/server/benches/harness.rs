//! What the benchmarks over HTTP share: a server on fresh data, connections to it, and how figures are told.

use std::net::SocketAddr;

use countersign_server::ops::Initialised;
use countersign_store::Database;
use tokio_util::task::TaskTracker;

mod connection;
mod served;
mod setup;

pub(crate) use self::connection::Connection;
pub(crate) use self::setup::median;

/// Runs a benchmark on a server with fresh data in a scratch directory below `target`. Its one argument is
/// `--database-url URL`; without it the database is SQLite's.
pub(crate) fn run(name: &str, measure: impl AsyncFnOnce(&Bench)) {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let database_url = match arguments.next().as_deref() {
        Some("--database-url") => Some(arguments.next().expect("--database-url takes a URL")),
        Some(other) => {
            println!("unknown argument {other}; usage: {name} [--database-url URL]");
            std::process::exit(2)
        }
        None => None,
    };
    let scratch = setup::scratch(&format!("bench-{name}"));
    drop(std::fs::remove_dir_all(&scratch));
    std::fs::create_dir_all(&scratch).unwrap();
    let settings = setup::settings(&scratch, database_url);
    setup::tell_machine(&settings);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let made = setup::initialise(&settings).await;
        let database = if matches!(settings.database, Database::Sqlite(_)) { "SQLite" } else { "PostgreSQL" };
        served::serve(&settings, async |address, tasks| measure(&Bench { database, made, address, tasks }).await).await;
    });
    drop(std::fs::remove_dir_all(&scratch));
}

/// A running server, and what is needed to call it.
pub(crate) struct Bench {
    /// Which database it is.
    pub(crate) database: &'static str,
    pub(crate) made: Initialised,
    pub(crate) address: SocketAddr,
    pub(crate) tasks: TaskTracker,
}
