//! Two things measured in turns.

use crate::presented::Presented;

const ROUNDS: usize = 2_000;

/// How long one thing takes, to another: the ratio of the medians. Lower deciles, which a busy machine disturbs less, are
/// printed beside them.
pub(crate) fn compare<I>(
    what: &str,
    presented: &mut Presented<I>,
    mut one: impl FnMut(&I, &str),
    mut other: impl FnMut(&I, &str),
) -> f64 {
    let (one, other): (Vec<_>, Vec<_>) =
        (0..ROUNDS).map(|_| (presented.time(&mut one), presented.time(&mut other))).unzip();
    let beside = |share| {
        let (one, other) = (quantile(&one, share), quantile(&other, share));
        format!("{one:6.1} ns, {other:6.1} ns: {:.2} x", one / other)
    };
    println!("  {what:<30} median {}   decile {}", beside(0.5), beside(0.1));
    median(&one) / median(&other)
}

pub(crate) fn median(figures: &[f64]) -> f64 {
    quantile(figures, 0.5)
}

/// The figure below which a share of all figures lies.
fn quantile(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (share * sorted.len() as f64) as usize;
    sorted.get(place).copied().unwrap()
}
