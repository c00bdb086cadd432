//! GIM: gradient interaction modifications.
//!
//! # What it computes
//! EAP (or AtP) with a backward pass that sees parts which compensate for each other: a softmax does not hide its runners-up,
//! norms do not rescale, and the factors of a product share its gradient.
//!
//! # Formula
//! `score(u→v) = mean_i Σ_pos Δz_u[i, pos] · g̃_v[i, pos]`, shapes as in [`eap`](super::eap), where `g̃_v` goes back with
//! - **softened softmax**: the Jacobian `diag(p̃) − p̃ p̃ᵀ` at `p̃ = softmax(scores / 2)`; values see the true pattern;
//! - **frozen norms**: the scale of every norm is a constant;
//! - **shared products**: pattern × value, query × key and the two factors of a gated MLP get half of the gradient each.
//!
//! # Cost
//! 2 forward passes and 1 backward pass (one more softmax a head).
//!
//! # When to use
//! At EAP's price, where attention is saturated: several keys, or several heads, are each enough.
//!
//! # Differences from the reference
//! The softened Jacobian carries no factor 1/temperature, so that temperature 1 is the plain gradient and the size of
//! what queries and keys get depends on the pattern only. Activation functions pass their slope, as in the reference.
//!
//! # Citation
//! ```bibtex
//! @article{edin2025gim, title={{GIM}: Improved Interpretability for Large Language Models},
//!   author={Joakim Edin and R{\'o}bert Csord{\'a}s and Tuukka Ruotsalo and Zhengxuan Wu and Maria Maistro and Jing Huang and Lars Maal{\o}e},
//!   journal={arXiv:2505.17630}, year={2025}}
//! ```

use ablate_model::engine::Rules;
use ablate_model::engine::backward::{ActivationRule, NormRule, SoftmaxRule};

use super::Point;

/// The paper's temperature.
pub const TEMPERATURE: f64 = 2.0;

/// The clean run.
pub(crate) fn points() -> Vec<(Point, f64)> {
    vec![(Point::Clean, 1.0)]
}

/// What stands in the place of local derivatives, with softmaxes at `temperature`.
pub fn rules(temperature: f64) -> Rules {
    Rules {
        norm: NormRule::All,
        softmax: SoftmaxRule::Temperature(temperature),
        activation: ActivationRule::Slope,
        gate_share: 0.5,
        attention_share: 0.5,
    }
}
