//! Subnetwork probing: node masks learned with a penalty on what stays.
//!
//! # What it computes
//! For every node the probability that a mask, trained to keep the metric high with few nodes, lets it through.
//!
//! # Formula
//! Reader `v` sees `Σ_u m_u·live_u + (1 − m_u)·source_u`, `m_u` hard-concrete with parameter `log α_u` (`β = 2/3`, `γ = −0.1`,
//! `ζ = 1.1`). Adam on `loss = −mean_i metric_i + λ · mean_u P(m_u > 0)`, `P(m_u > 0) = σ(log α_u − β ln(−γ/ζ))`; the score is
//! `P(m_u > 0)` at the end, 0..1.
//!
//! # Cost
//! 2 forward passes, and one forward and one backward pass for every row of every step; both look at each reader by
//! itself, as runs of edge circuits do.
//!
//! # When to use
//! Where parts back each other up, so that one-at-a-time effects mislead, and there is time for a few hundred steps. With
//! the metric `kl` it asks for the model's behaviour, with another for the task only.
//!
//! # Differences from the reference
//! The original masks weights and adds a probe; this is the ACDC paper's node version, by any ablation source, over all
//! senders (`input` too). Noise is drawn for each chunk of rows in each step, keyed by seed, and scores are probabilities, not
//! a set. Models with norms after attention or MLP are refused.
//!
//! # Citation
//! ```bibtex
//! @inproceedings{cao2021low, title={Low-Complexity Probing via Finding Subnetworks},
//!   author={Steven Cao and Victor Sanh and Alexander M. Rush}, booktitle={NAACL}, year={2021}}
//! ```

use ablate_graph::rng::Random;

use super::hard_concrete::HardConcrete;
use super::learned::{Learning, Mask};
use crate::adam::Adam;

/// Probability with which every node starts.
const START: f64 = 0.9;

/// A mask under a penalty.
#[derive(Debug)]
pub(super) struct Probed {
    concrete: HardConcrete,
    adam: Adam<f64>,
    penalty: f64,
}

impl Probed {
    pub(super) fn new(n: usize, learning: Learning, seed: u64) -> Self {
        let concrete = HardConcrete::new(n, START, Random::new(seed, "subnetwork-probing"));
        Self { concrete, adam: Adam::new(learning.rate, n), penalty: learning.penalty }
    }
}

impl Mask for Probed {
    fn draw(&self, step: u64, draw: u64) -> Vec<f64> {
        self.concrete.draw(step, draw)
    }

    fn learn(&mut self, step: u64, gradients: &[(u64, Vec<f64>)]) {
        let mut g = self.concrete.gradient(step, gradients);
        let share = self.penalty / g.len().max(1) as f64;
        g.iter_mut().zip(self.concrete.open()).for_each(|(g, p)| *g += share * p * (1.0 - p));
        self.adam.step(&mut self.concrete.logits, &g);
    }

    fn scores(&self) -> Vec<f64> {
        self.concrete.open()
    }
}
