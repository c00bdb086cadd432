//! EAP: edge attribution patching.
//!
//! # What it computes
//! The first-order estimate of every edge's ablation effect, all edges at once.
//!
//! # Formula
//! `score(u→v) = mean_i Σ_pos Δz_u[i, pos] · g_v[i, pos]` with `g_v = ∂metric_i/∂in_v` at the clean run, `in_v` the
//! reader's own copy of the residual stream, before its norm. Per layer and example: `[readers, pos·d] × [pos·d, senders]`.
//! Behind a post-norm (Gemma 2) `Δz_u` is carried through the norm's Jacobian at that run.
//!
//! # Cost
//! 2 forward passes and 1 backward pass.
//!
//! # When to use
//! As the first look at a graph of any size. With the metric `kl` it is 0 everywhere (the clean run is the maximum): use a
//! path method there.
//!
//! # Differences from the reference
//! The paper's code takes absolute values when it selects; here scores keep their sign (> 0 supports the behaviour).
//! With grouped-query attention every query head's own `<k>` and `<v>` are scored (or, with grouped readers, their sums).
//!
//! # Citation
//! ```bibtex
//! @article{syed2023attribution, title={Attribution Patching Outperforms Automated Circuit Discovery},
//!   author={Aaquib Syed and Can Rager and Arthur Conmy}, journal={arXiv:2310.10348}, year={2023}}
//! ```

use super::Point;

/// The clean run.
pub(crate) fn points() -> Vec<(Point, f64)> {
    vec![(Point::Clean, 1.0)]
}
