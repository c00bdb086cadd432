//! From the metric of every row to what is recovered, with its interval.

use ablate_graph::Random;
use ablate_graph::stats;

/// `(scrubbed − baseline) / (original − baseline)` of the means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recovered {
    /// The share; `None` where original and baseline coincide.
    pub share: Option<f64>,
    /// Bootstrap interval over rows, 95 %.
    pub interval: Option<(f64, f64)>,
}

/// Resamples of the bootstrap.
const RESAMPLES: usize = 1000;

/// What is recovered of the distance from baseline to original; rows are resampled together.
pub fn recovered(scrubbed: &[f64], original: &[f64], baseline: &[f64], seed: u64) -> Recovered {
    let n = scrubbed.len();
    let share = |rows: &[usize]| {
        let mean = |of: &[f64]| rows.iter().map(|&i| of[i]).sum::<f64>() / rows.len().max(1) as f64;
        let (s, o, b) = (mean(scrubbed), mean(original), mean(baseline));
        (s - b) / (o - b)
    };
    let all: Vec<usize> = (0..n).collect();
    let whole = Some(share(&all)).filter(|x| x.is_finite());
    let random = Random::new(seed, "scrub-bootstrap");
    let interval = whole.and_then(|_| stats::bootstrap(n, RESAMPLES, 0.95, random, share));
    Recovered { share: whole, interval }
}
