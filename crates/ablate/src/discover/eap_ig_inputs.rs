//! EAP-IG (inputs): edge attribution with gradients integrated along the input.
//!
//! # What it computes
//! EAP whose gradient is the mean over a straight path of input embeddings from the source to the clean ones.
//!
//! # Formula
//! `g_v = 1/m Σ_k ∂metric/∂in_v` at `input = source + α_k (clean − source)`, `α_k = k/m`, `k = 1..m`; `Δz_u` from the true
//! clean and source runs. [`Endpoints::Left`] takes `k = 0..m−1`, [`Endpoints::Both`] the trapezoid rule on `k = 0..m`.
//!
//! # Cost
//! `2 + m` forward and `m` backward passes (`m + 1` with both ends); the clean end is not run again.
//!
//! # When to use
//! The usual choice: EAP's blindness at saturated points is gone for a few times its price. `m = 5` is customary.
//!
//! # Differences from the reference
//! The published code steps over `k = 1..m` as the default here does. Only the sum over the edges out of `input`, with
//! `m → ∞`, is complete (equals the metric's difference): the other senders' `Δz` are not those of the path.
//!
//! # Citation
//! ```bibtex
//! @inproceedings{hanna2024faith, title={Have Faith in Faithfulness: Going Beyond Circuit Overlap When Finding Model Mechanisms},
//!   author={Michael Hanna and Sandro Pezzelle and Yonatan Belinkov}, booktitle={COLM}, year={2024}}
//! @inproceedings{sundararajan2017axiomatic, title={Axiomatic Attribution for Deep Networks},
//!   author={Mukund Sundararajan and Ankur Taly and Qiqi Yan}, booktitle={ICML}, year={2017}}
//! ```

use ablate_graph::Node;

use super::{Endpoints, Point};

/// The path's points.
pub(crate) fn points(steps: usize, endpoints: Endpoints) -> Vec<(Point, f64)> {
    let m = steps as f64;
    let at = |k: usize| match k {
        k if k == steps => Point::Clean,
        k => Point::Mixed { nodes: vec![Node::Input], alpha: k as f64 / m },
    };
    let weight = |k: usize| match endpoints {
        Endpoints::Both if k == 0 || k == steps => 0.5 / m,
        _ => 1.0 / m,
    };
    let range = match endpoints {
        Endpoints::Right => 1..=steps,
        Endpoints::Left => 0..=steps - 1,
        Endpoints::Both => 0..=steps,
    };
    range.map(|k| (at(k), weight(k))).collect()
}
