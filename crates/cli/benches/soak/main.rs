//! A server under everything that clients and operators do, for as long as you like: is every answer right, and does it
//! take no more at the end than at the beginning?
//!
//! ```text
//! cargo bench -p countersign-cli --bench soak -- --minutes 30             on SQLite
//! cargo bench -p countersign-cli --bench soak -- --minutes 30 --postgres  two servers on a PostgreSQL of its own
//! ```
//!
//! The population of tokens stays of one size. All of its traffic stays on 127.0.0.1, and it stops by itself.
#![expect(clippy::indexing_slicing, clippy::print_stdout, reason = "a benchmark is run by hand")]

mod ask;
mod manage;
mod model;
mod nuisance;
#[expect(clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "it is the tests'")]
#[path = "../../../store/tests/it/postgres.rs"]
mod postgres;
mod sample;
mod server;
mod wire;

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use countersign_server::token::entropy::Entropy;
use countersign_server::token::time::Clock;
use serde_json::Value;
use tokio::task::{AbortHandle, JoinSet};

use crate::manage::Keeper;
use crate::model::{Graveyard, Place};
use crate::sample::{Sample, Series};
use crate::server::{Installation, Node, Server};
use crate::wire::Connection;

const PLACES: usize = 4_000;
const KEEPERS: usize = 8;
const ASKERS: usize = 24;
const NUISANCES: usize = 100;
const HANGUP_SECONDS: u64 = 7;
const BACKUP_SECONDS: u64 = 45;
/// From when on memory is judged: before, caches still fill.
const JUDGED_SECONDS: u64 = 240;
/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let (mut seconds, mut on_postgres) = (Some(60), false);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|number| number.parse::<u64>().ok());
        match argument.as_str() {
            "--minutes" => seconds = number().map(|minutes| minutes * 60),
            "--seconds" => seconds = number(),
            "--postgres" => on_postgres = true,
            _ => seconds = None,
        }
    }
    let Some(seconds) = seconds else {
        println!("usage: soak [--minutes COUNT | --seconds COUNT] [--postgres]");
        return ExitCode::from(2);
    };
    match run(seconds, on_postgres) {
        Ok(()) => {
            println!(
                "\nSOAKED: every answer was right{}",
                if seconds < JUDGED_SECONDS { "" } else { ", and nothing grew" }
            );
            ExitCode::SUCCESS
        }
        Err(problems) => {
            println!("\nFAILED:\n{}", problems.join("\n"));
            ExitCode::FAILURE
        }
    }
}

/// What everybody shares.
pub(crate) struct Soak {
    pub(crate) nodes: Vec<Node>,
    pub(crate) account: String,
    zone: String,
    pub(crate) environment: String,
    pub(crate) management_token: String,
    pub(crate) account_token: String,
    pub(crate) places: Vec<Place>,
    pub(crate) graveyard: Graveyard,
    pub(crate) counts: Counts,
    /// In microseconds.
    ends_at: AtomicI64,
    failed: AtomicBool,
}

#[derive(Default)]
pub(crate) struct Counts {
    /// Questions to the gate by those who do nothing else, and how many of the answers could only be one.
    pub(crate) asked: AtomicU64,
    pub(crate) certain: AtomicU64,
    /// Changes, and answers of the gate right after them.
    pub(crate) changes: AtomicU64,
    pub(crate) followed: AtomicU64,
    pub(crate) replays: AtomicU64,
    pub(crate) lists: AtomicU64,
    pub(crate) nuisances: AtomicU64,
    hangups: AtomicU64,
    backups: AtomicU64,
}

impl Counts {
    fn print(&self) {
        let counts = [
            ("answers of the gate under load", &self.asked),
            ("  of which could only be one", &self.certain),
            ("changes and looks", &self.changes),
            ("  answers of the gate right after", &self.followed),
            ("  repeated with their key", &self.replays),
            ("lists", &self.lists),
            ("connections that do nothing good", &self.nuisances),
            ("SIGHUPs", &self.hangups),
            ("backups", &self.backups),
        ];
        println!();
        for (name, count) in counts {
            println!("{name:<36} {:>12}", count.load(Ordering::Relaxed));
        }
    }
}

impl Soak {
    pub(crate) fn is_over(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || Clock::System.now().as_micros() >= self.ends_at.load(Ordering::Relaxed)
    }

    pub(crate) fn account_tokens(&self) -> String {
        format!("/client/v4/accounts/{}/access/service_tokens", self.account)
    }

    pub(crate) fn zone_tokens(&self) -> String {
        format!("/client/v4/zones/{}/access/service_tokens", self.zone)
    }

    /// How many tokens a list may count: one place of each keeper may be empty, and `init` has made an API token.
    pub(crate) fn expected(&self, list: &str) -> RangeInclusive<u64> {
        let most = manage::population(list, self.places.len()) + u64::from(list == "api");
        most.saturating_sub(KEEPERS as u64)..=most
    }
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(Entropy);

impl Dice {
    fn new(seed: usize) -> Self {
        Self(Entropy::seeded(seed as u64))
    }

    pub(crate) fn next(&self) -> u128 {
        u128::from_be_bytes(self.0.bytes())
    }

    /// A number from 0 on, below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::from_be_bytes(self.0.bytes()) % end.max(1)
    }
}

fn run(seconds: u64, on_postgres: bool) -> Result<(), Vec<String>> {
    let one = |problem: String| vec![problem];
    let cluster = match on_postgres {
        true => Some(postgres::Cluster::start(|_| {}).ok_or_else(|| one("needs PostgreSQL".to_owned()))?),
        false => None,
    };
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("soak-{}", std::process::id()));
    std::fs::create_dir_all(&directory).map_err(|error| one(error.to_string()))?;
    let database_url = cluster.as_ref().map(postgres::Cluster::database);
    let installation = Installation { directory: directory.clone(), database_url };
    installation.bring_program().map_err(|error| one(error.to_string()))?;
    let installation = Arc::new(installation);
    let made = installation.init().map_err(one)?;
    let nodes = if on_postgres { 2 } else { 1 };
    let servers = (0..nodes).map(|number| installation.serve(number)).collect::<Result<Vec<_>, _>>().map_err(one)?;
    println!("{seconds} s, {PLACES} tokens, {nodes} server on {}", if on_postgres { "PostgreSQL" } else { "SQLite" });

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| one(error.to_string()))?;
    let problems = runtime.block_on(soak(seconds, &installation, &made, &servers));
    drop(runtime);
    let mut problems = problems.err().unwrap_or_default();
    problems.extend(servers.into_iter().filter_map(|server| server.stop().err()));
    problems.extend(installation.run(&["audit", "verify"]).err());
    // What went wrong can be looked at.
    if problems.is_empty() {
        drop(std::fs::remove_dir_all(&directory));
    } else {
        problems.push(format!("what the servers said and wrote is in {}", directory.display()));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

async fn soak(
    seconds: u64,
    installation: &Arc<Installation>,
    made: &Value,
    servers: &[Server],
) -> Result<(), Vec<String>> {
    let text = |pointer: &str| made.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let soak = Arc::new(Soak {
        nodes: servers.iter().filter_map(|server| server.node).collect(),
        account: text("/account/id"),
        zone: text("/zone/id"),
        environment: text("/environment/id"),
        management_token: text("/api_token"),
        account_token: text("/account_token"),
        places: (0..PLACES).map(|_| Place::default()).collect(),
        graveyard: Graveyard::default(),
        counts: Counts::default(),
        ends_at: AtomicI64::new(i64::MAX),
        failed: AtomicBool::new(false),
    });
    let processes: Vec<_> = servers.iter().map(Server::id).collect();
    let mut series: Vec<_> = servers.iter().map(|_| Series(Vec::new())).collect();
    let mut problems = Vec::new();
    let mut ended = Box::pin(load(&soak, installation, &processes, seconds, &mut series)).await;
    problems.append(&mut ended);
    for (node, series) in series.iter().enumerate() {
        series.print(node);
        if problems.is_empty() && seconds >= JUDGED_SECONDS {
            problems.extend(series.grown().into_iter().map(|grown| format!("node {node}: {grown}")));
        }
    }
    soak.counts.print();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Fills the places, lets everybody loose, looks at the servers once a second, and gathers what went wrong.
async fn load(
    soak: &Arc<Soak>,
    installation: &Arc<Installation>,
    processes: &[u32],
    seconds: u64,
    series: &mut [Series],
) -> Vec<String> {
    let empty = match Box::pin(sample(soak, installation, processes)).await {
        Ok(samples) => samples,
        Err(problem) => return vec![problem],
    };
    let mut filling = JoinSet::new();
    for keeper in 0..KEEPERS {
        let (soak, dice) = (Arc::clone(soak), Dice::new(keeper));
        let places = PLACES * keeper / KEEPERS..PLACES * (keeper + 1) / KEEPERS;
        filling.spawn(async move {
            let mut keeper = Keeper::new(soak, dice, places).await?;
            keeper.fill().await?;
            Ok::<_, String>(keeper)
        });
    }
    let (keepers, problems): (Vec<_>, Vec<_>) = filling.join_all().await.into_iter().partition(Result::is_ok);
    if !problems.is_empty() {
        return problems.into_iter().filter_map(Result::err).collect();
    }
    let length = i64::try_from(seconds).unwrap_or_default().saturating_mul(1_000_000);
    soak.ends_at.store(Clock::System.now().saturating_add_micros(length).as_micros(), Ordering::Relaxed);

    let mut everybody = JoinSet::new();
    for keeper in keepers.into_iter().flatten() {
        everybody.spawn(keeper.run());
    }
    for asker in 0..ASKERS {
        everybody.spawn(ask::run(Arc::clone(soak), Dice::new(1_000 + asker)));
    }
    let nuisance = |number| everybody.spawn(nuisance::run(Arc::clone(soak), Dice::new(2_000 + number)));
    let nuisances: Vec<_> = (0..NUISANCES).map(nuisance).collect();
    everybody.spawn(operate(Arc::clone(soak), Arc::clone(installation), processes.to_vec()));

    let mut problems = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    // Nothing can be learned from more of the same.
    while problems.len() < 10 {
        tokio::select! {
            ended = everybody.join_next() => match ended {
                None => break,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(problem))) => problems.push(problem),
                Some(Err(ended)) if ended.is_cancelled() => {}
                Some(Err(problem)) => problems.push(problem.to_string()),
            },
            _ = tick.tick() => if soak.is_over() {
                // These would go on for as long as the server lets them.
                nuisances.iter().for_each(AbortHandle::abort);
            } else {
                match Box::pin(sample(soak, installation, processes)).await {
                    Ok(samples) => series.iter_mut().zip(samples).for_each(|(series, sample)| series.0.push(sample)),
                    Err(problem) => problems.push(problem),
                }
            },
        }
        if !problems.is_empty() {
            soak.failed.store(true, Ordering::Relaxed);
        }
    }
    if problems.is_empty() {
        // Nothing is under way any more: the index must know exactly what there is.
        let entries = empty.iter().map(|sample| sample.index_entries + PLACES as u64);
        match Box::pin(sample(soak, installation, processes)).await {
            Ok(samples) => problems.extend(samples.iter().zip(entries).filter_map(|(sample, wanted)| {
                let has = sample.index_entries;
                (has != wanted).then(|| format!("the index has {has} entries at the end, not {wanted}"))
            })),
            Err(problem) => problems.push(problem),
        }
    }
    problems
}

async fn sample(soak: &Soak, installation: &Installation, processes: &[u32]) -> Result<Vec<Sample>, String> {
    let mut samples = Vec::new();
    for (node, process) in soak.nodes.iter().zip(processes) {
        let mut management = Connection::open(node.management).await?;
        samples.push(Sample::take(*process, &mut management, installation.size()).await?);
    }
    Ok(samples)
}

/// What an operator does now and then: has the configuration read again, and makes a backup.
async fn operate(soak: Arc<Soak>, installation: Arc<Installation>, processes: Vec<u32>) -> Result<(), String> {
    let file = installation.directory.join("soak.backup");
    for second in 1u64.. {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if soak.is_over() {
            break;
        }
        if second.is_multiple_of(HANGUP_SECONDS) {
            processes.iter().try_for_each(|process| server::signal(*process, "HUP"))?;
            soak.counts.hangups.fetch_add(1, Ordering::Relaxed);
        }
        if second.is_multiple_of(BACKUP_SECONDS) {
            let (installation, path) = (Arc::clone(&installation), file.clone());
            let backup = move || installation.run(&["backup", &path.to_string_lossy()]);
            tokio::task::spawn_blocking(backup).await.map_err(|error| error.to_string())??;
            std::fs::remove_file(&file).map_err(|error| error.to_string())?;
            soak.counts.backups.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}
