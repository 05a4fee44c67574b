//! Figures of several rounds.

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The value below which `percent` of the values lie.
pub(crate) fn percentile(values: &mut [u32], percent: usize) -> u32 {
    let at = (values.len() - 1) * percent / 100;
    *values.select_nth_unstable(at).1
}
