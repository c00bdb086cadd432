//! Clean-corrupted: edge attribution with the mean of the gradients at both ends.
//!
//! # What it computes
//! EAP whose gradient is the mean of those of the clean and of the corrupt run.
//!
//! # Formula
//! `score(u→v) = mean_i Σ_pos Δz_u · ½(g_v(clean) + g_v(corrupt))`, shapes as in [`eap`](super::eap).
//!
//! # Cost
//! 2 forward and 2 backward passes.
//!
//! # When to use
//! Nearly as cheap as EAP, and less blind where the clean run is saturated.
//!
//! # Differences from the reference
//! None known. The metric of the corrupt run is taken with the clean example's labels.
//!
//! # Citation
//! ```bibtex
//! @inproceedings{hanna2024faith, title={Have Faith in Faithfulness: Going Beyond Circuit Overlap When Finding Model Mechanisms},
//!   author={Michael Hanna and Sandro Pezzelle and Yonatan Belinkov}, booktitle={COLM}, year={2024}}
//! ```

use super::Point;

/// Both runs.
pub(crate) fn points() -> Vec<(Point, f64)> {
    vec![(Point::Clean, 0.5), (Point::Corrupt, 0.5)]
}
