//! Where a benchmark's data is, how an installation is made in it, and how figures are summed up.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use countersign_server::config::{Overrides, Settings};
use countersign_server::lifecycle::create_store;
use countersign_server::ops::{Initialised, NewInstallation, Ops};
use countersign_token::entropy::Entropy;
use countersign_token::time::Clock;
use tokio_util::task::TaskTracker;

/// A directory below `target`.
pub(crate) fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Of a server on any ports with its data in `directory`. Without a URL the database is SQLite's.
pub(crate) fn settings(directory: &Path, database_url: Option<String>) -> Settings {
    let any_port = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let overrides = Overrides {
        data_dir: Some(directory.join("data")),
        database_url,
        listen: any_port,
        gate_listen: any_port,
        ..Overrides::default()
    };
    Settings::load(overrides, None, &|_| None).unwrap()
}

pub(crate) fn tell_machine(settings: &Settings) {
    println!("machine: {} cores, {}", std::thread::available_parallelism().unwrap(), cpu());
    println!("store:   {}", settings.database);
}

pub(crate) async fn initialise(settings: &Settings) -> Initialised {
    let opened = create_store(settings, &Entropy::System).await.unwrap();
    let tasks = TaskTracker::new();
    let writer = tasks.spawn(opened.writer.run());
    let ops = Ops::outside(opened.store, Clock::System, Entropy::System);
    let new = NewInstallation { email: "bench@example.com".to_owned(), zone_name: "example.com".to_owned() };
    let made = ops.initialise(&new).await.unwrap();
    drop(ops);
    writer.await.unwrap();
    made
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which `part` of the values lie.
pub(crate) fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = ((values.len() - 1) as f64 * part).round() as usize;
    values[index]
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    model.trim_start_matches(['\t', ' ', ':']).to_owned()
}
