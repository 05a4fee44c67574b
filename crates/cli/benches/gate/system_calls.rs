//! P15: system calls of the server for each request.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::cpu::Cores;
use crate::load::{Clients, Until};
use crate::server::{Installation, Pair};
use crate::{CONNECTIONS, program};

const REQUESTS: u64 = 100_000;
const FEW_TOKENS: usize = 1000;

pub(crate) fn measure(cores: &Cores) {
    let Some(program) = program::find("strace", "P15") else { return };
    let tokens: Vec<Pair> = (0..FEW_TOKENS).map(Pair::numbered).collect();
    let installation = cores.on_all(|| {
        let installation = Installation::make();
        installation.import(&tokens, true);
        installation
    });
    let server = cores.on_servers(|| installation.start());
    let mut requests = installation.requests(&tokens, 200);
    let mut clients = Clients::connect(server.gate, CONNECTIONS);
    clients.ask(&mut requests, &Until::Answered(REQUESTS / 10), &[]);

    let counted = tempfile::NamedTempFile::new().unwrap();
    let mut strace = cores.on_servers(|| attach(&program, server.id(), counted.path()));
    clients.ask(&mut requests, &Until::Answered(REQUESTS), &[]);
    detach(&mut strace);
    let counted = std::fs::read_to_string(counted.path()).unwrap();
    let mut calls: Vec<(&str, u32)> = counted.lines().filter_map(call).collect();
    calls.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let each = |count: u32| f64::from(count) / REQUESTS as f64;
    let all = each(calls.iter().map(|(_, count)| count).sum());
    let most: Vec<String> = calls.iter().take(4).map(|(name, count)| format!("`{name}` {:.3}", each(*count))).collect();
    println!(
        "<!-- figures: P15 -->
{all:.3} system calls a request at {CONNECTIONS} connections, of the whole process, over {REQUESTS} requests: {} and others.
<!-- end of figures: P15 -->
reached P15: {all:.2}; 0 (a test)",
        most.join(", ")
    );
}

fn attach(program: &Path, process: u32, output: &Path) -> Child {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().count();
    let mut strace = Command::new(program)
        .args(["-c", "-f", "-p", &process.to_string(), "-o"])
        .arg(output)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It says so for each thread, in one line for several.
    let mut attached = 0;
    for line in BufReader::new(strace.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        attached += match line.split_once(" with ") {
            Some((_, rest)) => rest.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(1),
            None => usize::from(line.contains(" attached")),
        };
        if attached >= threads {
            break;
        }
    }
    strace
}

fn detach(strace: &mut Child) {
    kill_process(Pid::from_child(strace), Signal::INT).unwrap();
    strace.wait().unwrap();
}

/// A row of the table: share, seconds, microseconds a call, calls, perhaps errors, name.
fn call(line: &str) -> Option<(&str, u32)> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let (name, calls) = (columns.last()?, columns.get(3)?.parse().ok()?);
    (*name != "total").then_some((name, calls))
}
