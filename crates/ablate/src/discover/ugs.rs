//! UGS: uniform gradient sampling, with optimal ablation.
//!
//! # What it computes
//! For every edge the probability that it is in the circuit, learned from the metric's slope along edges that are partly cut,
//! together with one constant for each sender that stands for what is cut.
//!
//! # Formula
//! Edge `uv` has `θ = σ(φ)`. In a draw it is uniform in (0, 1) with probability `w = θ(1 − θ)`, 1 with probability
//! `θ − w/2`, else 0. Reader `v` sees `Σ_u m_uv·live_u + (1 − m_uv)·a_u`. Adam on `φ` with
//! `∂(−mean metric)/∂m_uv · 1[m_uv uniform] + λ θ(1 − θ)`: since `E[loss | m = 1] − E[loss | m = 0] = ∫ ∂loss/∂m dm`, the
//! first term is the gradient of the expected loss of 0/1 masks, the second that of `λ Σ θ`. Adam on `a_u` with the
//! metric's gradient. The score is `θ`.
//!
//! # Cost
//! 1 forward pass (2 where a source is used instead of constants), and one forward and one backward pass for every row of
//! every step, both with every reader by itself.
//!
//! # When to use
//! To see which edges must carry information at all: the constants give the ablated model its best chance, so an edge
//! that matters only because its ablation is unnatural drops out.
//!
//! # Differences from the reference
//! The constants of heads are at `z`, so that they can be reached by the head; they start at 0. The window of uniform draws
//! has the size `θ(1 − θ)`. Draws are made for each chunk of rows, not for each row. Models with norms after attention or
//! MLP are refused.
//!
//! # Citation
//! ```bibtex
//! @inproceedings{li2024optimal, title={Optimal ablation for interpretability},
//!   author={Maximilian Li and Lucas Janson}, booktitle={NeurIPS}, year={2024}}
//! ```

use ablate_graph::rng::Random;

use super::learned::{Learning, Mask, sigmoid};
use crate::adam::Adam;

/// Probability with which every edge starts.
const START: f64 = 0.9;

/// A mask of 0, 1 and what is between.
#[derive(Debug)]
pub(super) struct Sampled {
    logits: Vec<f64>,
    adam: Adam<f64>,
    penalty: f64,
    random: Random,
}

impl Sampled {
    pub(super) fn new(n: usize, learning: Learning, seed: u64) -> Self {
        let logits = vec![(START / (1.0 - START)).ln(); n];
        let random = Random::new(seed, "ugs");
        Self { logits, adam: Adam::new(learning.rate, n), penalty: learning.penalty, random }
    }

    /// The value of edge `i`, and whether it is a uniform one.
    fn value(&self, step: u64, draw: u64, i: usize) -> (f64, bool) {
        let theta = sigmoid(self.logits[i]);
        let window = theta * (1.0 - theta);
        let kind = self.random.fork(2 * draw).uniform(step, i as u64);
        if kind < window {
            (self.random.fork(2 * draw + 1).uniform(step, i as u64), true)
        } else {
            (f64::from(u8::from(kind < theta + window / 2.0)), false)
        }
    }
}

impl Mask for Sampled {
    fn draw(&self, step: u64, draw: u64) -> Vec<f64> {
        (0..self.logits.len()).map(|i| self.value(step, draw, i).0).collect()
    }

    fn learn(&mut self, step: u64, gradients: &[(u64, Vec<f64>)]) {
        let slope = |x: &f64| sigmoid(*x) * (1.0 - sigmoid(*x));
        let mut g: Vec<f64> = self.logits.iter().map(|x| self.penalty * slope(x)).collect();
        for (draw, by_mask) in gradients {
            for (i, (g, m)) in g.iter_mut().zip(by_mask).enumerate() {
                if self.value(step, *draw, i).1 {
                    *g += m;
                }
            }
        }
        self.adam.step(&mut self.logits, &g);
    }

    fn scores(&self) -> Vec<f64> {
        self.logits.iter().map(|x| sigmoid(*x)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Learning, Method};
    use super::{Mask, Sampled};

    #[test]
    fn shares_of_draws() {
        let mut mask = Sampled::new(1, Learning::of(Method::Ugs), 3);
        mask.logits[0] = 0.8;
        let theta = mask.scores()[0];
        let n = 40_000;
        let (mut ones, mut uniform, mut sum) = (0, 0, 0.0);
        for step in 0..n {
            let (x, u) = mask.value(step, 1, 0);
            ones += usize::from(x == 1.0);
            uniform += usize::from(u);
            sum += x;
        }
        let (n, window) = (n as f64, theta * (1.0 - theta));
        assert!((uniform as f64 / n - window).abs() < 0.01);
        assert!((ones as f64 / n - (theta - window / 2.0)).abs() < 0.01);
        assert!((sum / n - theta).abs() < 0.01);
    }
}
