//! Random scores: the control.
//!
//! # What it computes
//! A number for every node or edge that knows nothing of model and data.
//!
//! # Formula
//! `score(i) = uniform(−1, 1)`, a pure function of (seed, level, id): the same for every data set, and for every graph in
//! which the id exists.
//!
//! # Cost
//! 1 forward pass, for the metric that the result states; no products for the scores.
//!
//! # When to use
//! Beside every other method: what a circuit of the same size is worth by chance.
//!
//! # Differences from the reference
//! Benchmarks draw anew for each run; here the seed is part of the result, and several seeds make several controls.
//!
//! # Citation
//! ```bibtex
//! @inproceedings{mueller2025mib, title={{MIB}: A Mechanistic Interpretability Benchmark},
//!   author={Aaron Mueller and others}, booktitle={ICML}, year={2025}}
//! ```

use ablate_graph::rng::Random;
use ablate_graph::{Level, ScoreRow};

/// Writes the scores of `seed`.
pub(crate) fn fill(level: Level, seed: u64, rows: &mut [ScoreRow]) {
    let purpose = match level {
        Level::Node => "random-nodes",
        Level::Edge => "random-edges",
    };
    let random = Random::new(seed, purpose);
    for row in rows {
        row.score = 2.0 * random.uniform(0, u64::from(row.id)) - 1.0;
        row.std_err = 0.0;
    }
}
