//! Curves over circuit sizes: the sizes of the MIB circuit track and the areas it reports.

use crate::error::Result;
use crate::stats::same_length;

/// The shares of all edges at which MIB evaluates circuits.
pub const MIB_SHARES: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];

/// MIB's circuit sizes: ⌊share·total⌋.
pub fn mib_sizes(total: usize) -> [usize; 10] {
    MIB_SHARES.map(|share| (share * total as f64) as usize)
}

/// Area under the polygon through (x, y), by trapezoids. One point, or none, has no area.
pub fn area(x: &[f64], y: &[f64]) -> Result<f64> {
    same_length("points of a curve", x, y)?;
    let pairs = x.windows(2).zip(y.windows(2));
    Ok(pairs.map(|(x, y)| (x[1] - x[0]) * (y[0] + y[1]) / 2.0).sum())
}

/// Circuit performance ratio: the area under faithfulness over shares. MIB leaves out the part below its first
/// share, so a perfect method scores 0.999 and one that fails until the full model 0.25.
pub fn cpr(shares: &[f64], faithfulness: &[f64]) -> Result<f64> {
    area(shares, faithfulness)
}

/// Circuit-model distance: the area under |1 − faithfulness| over shares; 0 is perfect.
pub fn cmd(shares: &[f64], faithfulness: &[f64]) -> Result<f64> {
    let distance: Vec<f64> = faithfulness.iter().map(|f| (1.0 - f).abs()).collect();
    area(shares, &distance)
}
