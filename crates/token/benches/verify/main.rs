//! What a decision costs, beside what it can't cost less than: its own digest.
//!
//! ```text
//! cargo bench -p countersign-token --bench verify                        10 thousand, 1 million and 10 million tokens
//! cargo bench -p countersign-token --bench verify -- --tokens 100000     another size; 10 million take 6 GiB of memory
//! ```
//!
//! Both sides run in turn within one run, and the ratio of the medians is what counts.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![expect(clippy::cast_possible_truncation, reason = "figures are small")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark may stop at the first surprise"
)]

mod bearer;
mod comparison;
mod pair;
mod presented;
mod threads;

use countersign_token::id::AccountId;
use countersign_token::time::Timestamp;

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
const ACCOUNT: AccountId = AccountId::from_bytes([1; 16]);

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let sizes = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => vec![10_000, 1_000_000, 10_000_000],
        ["--tokens", tokens] => vec![tokens.parse().expect("a number of tokens")],
        _ => panic!("the only option is --tokens N"),
    };
    machine();
    assert!(sizes.iter().all(|tokens| tokens % bearer::TURN == 0), "batches take turns");
    let pairs: Vec<_> = sizes.iter().map(|tokens| (*tokens, pair::measure(*tokens))).collect();
    let bearers: Vec<_> = sizes.iter().map(|tokens| (*tokens, bearer::measure(*tokens))).collect();
    let (largest, of_largest) = pairs.last().unwrap();
    let threads = threads::measure(*largest);
    report_allowed(&pairs, &bearers);
    println!("reached P1: {}; {:.2} × at {}", each(&pairs, |of| of.to_digest), of_largest.to_map, words(*largest));
    threads.report(*largest);
    println!("reached P2: {:.2} × at {}", threads.two_to_one(), words(*largest));
    println!("reached P3 index: {:.1} bytes at {}", of_largest.table_bytes, words(*largest));
    report_refused(&pairs, &bearers);
    println!(
        "reached P7: wrong {}, unknown {}, garbage {}, revoked {}; unknown takes {} the time of wrong",
        each(&pairs, |of| of.wrong),
        each(&pairs, |of| of.unknown),
        each(&pairs, |of| of.garbage),
        each(&bearers, |of| of.revoked),
        each(&pairs, |of| of.unknown_to_wrong),
    );
}

fn report_allowed(pairs: &[(usize, pair::Figures)], bearers: &[(usize, bearer::Figures)]) {
    println!("<!-- figures: P1 -->\nTime of one check, medians of one run for each size.\n");
    println!("| service tokens, by pair | admitted, to its digest alone | admitted, to the map |\n| --- | --- | --- |");
    for (tokens, of) in pairs {
        println!("| {} | {:.2} × | {:.2} × |", words(*tokens), of.to_digest, of.to_map);
    }
    println!("\n| API tokens, by bearer | admitted, to its digest alone |\n| --- | --- |");
    for (tokens, of) in bearers {
        println!("| {} | {:.2} × |", words(*tokens), of.to_digest);
    }
    println!("<!-- end of figures: P1 -->");
}

fn report_refused(pairs: &[(usize, pair::Figures)], bearers: &[(usize, bearer::Figures)]) {
    println!("<!-- figures: P7 -->\nRefusals in the time of one admission by the same form of credential.\n");
    println!(
        "| tokens | garbage | unknown | wrong secret | time of unknown, to wrong | bearer unknown | bearer revoked |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for ((tokens, pair), (_, bearer)) in pairs.iter().zip(bearers) {
        println!(
            "| {} | {:.2} × | {:.2} × | {:.2} × | {:.2} × | {:.2} × | {:.2} × |",
            words(*tokens),
            pair.garbage,
            pair.unknown,
            pair.wrong,
            pair.unknown_to_wrong,
            bearer.unknown,
            bearer.revoked,
        );
    }
    println!("<!-- end of figures: P7 -->");
}

fn each<F>(figures: &[(usize, F)], figure: impl Fn(&F) -> f64) -> String {
    let texts: Vec<_> = figures.iter().map(|(_, of)| format!("{:.2} ×", figure(of))).collect();
    texts.join(", ")
}

fn words(tokens: usize) -> String {
    match tokens {
        1_000_000.. => format!("{} million", tokens as f64 / 1e6),
        _ => format!("{} thousand", tokens as f64 / 1e3),
    }
}

fn machine() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown")
        .trim_matches([' ', '\t', ':']);
    let sha = if cpu.contains("sha_ni") || cpu.contains("sha2") { "with" } else { "without" };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned();
    println!("{model}, {cores} cores, {sha} SHA instructions, load {load}");
}
