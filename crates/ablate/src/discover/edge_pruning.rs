//! Edge pruning: edge masks learned towards a given sparsity.
//!
//! # What it computes
//! For every edge the probability that a mask, trained to keep the metric high while a given share of edges goes, lets it
//! through.
//!
//! # Formula
//! Reader `v` sees `Σ_u m_uv·live_u + (1 − m_uv)·source_u`, `m_uv` hard-concrete. Adam on
//! `−mean_i metric_i + λ₁ (s − t) + λ₂ (s − t)²` with `s = 1 − mean_uv P(m_uv > 0)`; `λ₁` and `λ₂` go up the same loss; the target
//! `t` grows linearly from 0 to its end in the first half of the steps. The score is `P(m_uv > 0)` at the end, 0..1.
//!
//! # Cost
//! 2 forward passes, and one forward and one backward pass for every row of every step, both with every reader by itself.
//!
//! # When to use
//! For a circuit of a size that is known beforehand, on models and data small enough for hundreds of steps.
//!
//! # Differences from the reference
//! Only edges have masks, nodes have none of their own. The sparsity is that of the distribution, not of the draw; the mask
//! is not rounded. The learning rates are this crate's. Models with norms after attention or MLP are refused.
//!
//! # Citation
//! ```bibtex
//! @inproceedings{bhaskar2024finding, title={Finding Transformer Circuits with Edge Pruning},
//!   author={Adithya Bhaskar and Alexander Wettig and Dan Friedman and Danqi Chen}, booktitle={NeurIPS}, year={2024}}
//! ```

use ablate_graph::rng::Random;

use super::hard_concrete::HardConcrete;
use super::learned::{Learning, Mask};
use crate::adam::Adam;

/// Probability with which every edge starts.
const START: f64 = 0.95;

/// A mask with a target.
#[derive(Debug)]
pub(super) struct Pruned {
    concrete: HardConcrete,
    adam: Adam<f64>,
    /// `λ₁` and `λ₂`.
    multipliers: [f64; 2],
    learning: Learning,
}

impl Pruned {
    pub(super) fn new(n: usize, learning: Learning, seed: u64) -> Self {
        let concrete = HardConcrete::new(n, START, Random::new(seed, "edge-pruning"));
        Self { concrete, adam: Adam::new(learning.rate, n), multipliers: [0.0; 2], learning }
    }
}

impl Mask for Pruned {
    fn draw(&self, step: u64, draw: u64) -> Vec<f64> {
        self.concrete.draw(step, draw)
    }

    fn learn(&mut self, step: u64, gradients: &[(u64, Vec<f64>)]) {
        let mut g = self.concrete.gradient(step, gradients);
        let open = self.concrete.open();
        let n = open.len().max(1) as f64;
        let warm = (2.0 * (step + 1) as f64 / self.learning.steps as f64).min(1.0);
        let gap = 1.0 - open.iter().sum::<f64>() / n - warm * self.learning.sparsity;
        let slope = self.multipliers[0] + 2.0 * self.multipliers[1] * gap;
        g.iter_mut().zip(&open).for_each(|(g, p)| *g -= slope / n * p * (1.0 - p));
        self.adam.step(&mut self.concrete.logits, &g);
        self.multipliers[0] += self.learning.penalty * gap;
        self.multipliers[1] += self.learning.penalty * gap * gap;
    }

    fn scores(&self) -> Vec<f64> {
        self.concrete.open()
    }
}
