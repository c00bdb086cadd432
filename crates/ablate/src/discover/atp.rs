//! AtP: attribution patching of nodes.
//!
//! # What it computes
//! The first-order estimate of ablating each node's output for all its readers at once.
//!
//! # Formula
//! `score(u) = mean_i Σ_pos Δz_u[i, pos] · ∂metric_i/∂z_u[pos]` at the clean run. Heads are taken at `z`
//! (`[positions, d_head]`; the product with `W_O` is part of the gradient), MLPs and `input` at `[positions, d_model]`.
//!
//! # Cost
//! 2 forward passes and 1 backward pass; no products for readers.
//!
//! # When to use
//! To rank nodes when exact ablation of each is too much. Underestimates where a softmax is saturated, and where
//! two effects cancel at the clean point.
//!
//! # Differences from the reference
//! None of AtP*'s corrections (exact attention patterns, gradient dropout). The sum of [`eap`](super::eap) over a
//! sender's edges is this score exactly.
//!
//! # Citation
//! ```bibtex
//! @misc{nanda2023attribution, title={Attribution Patching: Activation Patching At Industrial Scale},
//!   author={Neel Nanda}, year={2023}, howpublished={neelnanda.io}}
//! @article{kramar2024atp, title={{AtP*}: An efficient and scalable method for localizing {LLM} behaviour to components},
//!   author={J{\'a}nos Kram{\'a}r and Tom Lieberum and Rohin Shah and Neel Nanda}, journal={arXiv:2403.00745}, year={2024}}
//! ```

use super::Point;

/// The clean run.
pub(crate) fn points() -> Vec<(Point, f64)> {
    vec![(Point::Clean, 1.0)]
}
