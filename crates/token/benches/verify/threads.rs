//! Two threads beside one, and both while a thousand writes a second go in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use countersign_token::demand::Demand;
use countersign_token::digest::InstallationKey;
use countersign_token::entropy::Entropy;

use crate::ACCOUNT;
use crate::comparison::median;
use crate::presented::{Presented, allow, change, fill, scattered};

const CHECKS: usize = 2_000_000;
const TURNS: usize = 5;

/// Million checks a second, on one thread and on two.
struct Rates {
    one: f64,
    two: f64,
}

/// What threads reach alone, and while so many writes a second go in.
pub(crate) struct Figures {
    quiet: Rates,
    written: Rates,
    writes: f64,
}

impl Figures {
    pub(crate) fn two_to_one(&self) -> f64 {
        self.quiet.two / self.quiet.one
    }

    pub(crate) fn report(&self, tokens: usize) {
        let Self { quiet, written, writes } = self;
        println!(
            "<!-- figures: P2 -->
Million checks a second, {} service tokens; medians of {TURNS} turns.

| | one thread | two threads | two, to one |
| --- | --- | --- | --- |
| no writes | {:.2} | {:.2} | {:.2} × |
| {writes:.0} writes a second | {:.2} | {:.2} | {:.2} × |
<!-- end of figures: P2 -->",
            crate::words(tokens),
            quiet.one,
            quiet.two,
            self.two_to_one(),
            written.one,
            written.two,
            written.two / written.one,
        );
    }
}

pub(crate) fn measure(tokens: usize) -> Figures {
    let entropy = Entropy::seeded(2);
    let key = InstallationKey::generate(&entropy).digest_key();
    let presented = Presented::pairs(tokens, &entropy);
    let index = fill(&presented, &key, &entropy);
    let demand = Demand::default().with_account(&index, &ACCOUNT);
    let rate = |threads: usize| {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (presented, index, demand) = (&presented, &index, &demand);
                scope.spawn(move || {
                    let mut token = thread * tokens / threads;
                    for _ in 0..CHECKS {
                        allow(index, demand, presented.ids.get(token).unwrap(), presented.text(token));
                        token = if token + 1 == tokens { 0 } else { token + 1 };
                    }
                });
            }
        });
        (threads * CHECKS) as f64 / started.elapsed().as_secs_f64() / 1e6
    };
    let rates = || {
        let (one, two): (Vec<_>, Vec<_>) = (0..TURNS).map(|_| (rate(1), rate(2))).unzip();
        Rates { one: median(&one), two: median(&two) }
    };
    let quiet = rates();
    let (stop, begun) = (AtomicBool::new(false), Instant::now());
    let (writes, written) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut revision = i64::try_from(tokens).unwrap();
            let mut writes: u32 = 0;
            for token in scattered(tokens).take_while(|_| !stop.load(Ordering::Relaxed)) {
                revision += 1;
                index.apply(&change(&presented, token, &key, revision));
                writes += 1;
                let due = begun + writes * Duration::from_millis(1);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            writes
        });
        let written = rates();
        stop.store(true, Ordering::Relaxed);
        (writer.join().unwrap(), written)
    });
    Figures { quiet, written, writes: f64::from(writes) / begun.elapsed().as_secs_f64() }
}
