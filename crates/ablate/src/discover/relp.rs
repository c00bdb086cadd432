//! RelP: relevance patching.
//!
//! # What it computes
//! EAP (or AtP) whose backward pass follows rules of layer-wise relevance propagation in place of local derivatives.
//!
//! # Formula
//! `score(u→v) = mean_i Σ_pos Δz_u[i, pos] · ρ_v[i, pos]`, shapes as in [`eap`](super::eap), where `ρ_v` goes back by
//! - **LN-rule**: the scale of every norm (also those after attention and MLP, and of queries and keys) is a constant;
//! - **AH-rule**: attention patterns are constants, so relevance reaches values only and edges into `<q>` and `<k>` are 0;
//! - **identity rule**: an activation function passes `act(x)/x`, a constant factor, in place of its slope;
//! - **half-rule**: of a gated MLP's product each factor gets half;
//! - linear maps as they are (0-rule).
//!
//! # Cost
//! 2 forward passes and 1 backward pass.
//!
//! # When to use
//! Where EAP is noisy in deep models with MLPs that matter. Not for circuits in which queries and keys carry the
//! difference: use [`gim`](super::gim) there.
//!
//! # Differences from the reference
//! The reference scores nodes with gradients at the clean run; edges are the same product at readers, so the edges out of
//! a sender add up to its node score. Score and sign are those of this crate (> 0 supports the behaviour).
//!
//! # Citation
//! ```bibtex
//! @article{jafari2025relp, title={{RelP}: Faithful and Efficient Circuit Discovery in Language Models via Relevance Patching},
//!   author={Farnoush Rezaei Jafari and Oliver Eberle and Ashkan Khakzar and Neel Nanda}, journal={arXiv:2508.21258}, year={2025}}
//! ```

use ablate_model::engine::Rules;
use ablate_model::engine::backward::{ActivationRule, NormRule, SoftmaxRule};

use super::Point;

/// The clean run.
pub(crate) fn points() -> Vec<(Point, f64)> {
    vec![(Point::Clean, 1.0)]
}

/// What stands in the place of local derivatives.
pub fn rules() -> Rules {
    Rules {
        norm: NormRule::All,
        softmax: SoftmaxRule::Frozen,
        activation: ActivationRule::Ratio,
        gate_share: 0.5,
        attention_share: 1.0,
    }
}
