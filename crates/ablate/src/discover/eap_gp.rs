//! EAP-GP: edge attribution along a path that follows the gradient.
//!
//! # What it computes
//! EAP whose gradient is the mean over inputs on the way from the clean to the corrupt *output*: each step goes where the
//! model's prediction moves fastest to that of the corrupt run, so that points do not lie where the metric is flat.
//!
//! # Formula
//! `γ_0 = e_clean`, `γ_{j+1} = γ_j − g_j/‖g_j‖₂` with `g_j = ∂‖G(γ_j) − G(e_corrupt)‖²/∂γ_j`, for each example by itself:
//! `γ`, `g` `[positions, d_model]`, `G` the logits of the read position, `[vocabulary]`.
//! `score(u→v) = mean_i Σ_pos Δz_u · (1/k) Σ_{j<k} ∂metric/∂in_v(γ_j)`; `Δz_u` from the true clean and corrupt runs.
//!
//! # Cost
//! `1 + k` forward and `2k − 1` backward passes (`k` for the metric, `k − 1` for the path). The paper takes `k = 5`.
//!
//! # When to use
//! Where the straight path of [`eap_ig_inputs`](super::eap_ig_inputs) passes saturated regions; corrupt runs only.
//!
//! # Differences from the reference
//! The points are `γ_0` (the clean run) to `γ_{k−1}`, so that `k = 1` is EAP. An example whose prediction is the corrupt one
//! already stays where it is. The path uses the true gradient whatever the rules for the scores are.
//!
//! # Citation
//! ```bibtex
//! @inproceedings{zhang2025eapgp, title={{EAP-GP}: Mitigating Saturation Effect in Gradient-based Automated Circuit Identification},
//!   author={Lin Zhang and Wenshuo Dong and Zhuoran Zhang and Shu Yang and Lijie Hu and Ninghao Liu and Pan Zhou and Di Wang},
//!   journal={arXiv:2502.06852}, year={2025}}
//! ```

use ablate_model::engine::{Acts, Compiled, Engine, Judge, Rules, Slope, Visitor};
use ablate_tensor::Real;

use crate::error::Result;

/// The path of a chunk's examples.
#[derive(Debug)]
pub(super) struct Path {
    gap: Gap,
    /// Row where each example starts, and the number of rows at the end.
    offsets: Vec<usize>,
}

/// Squared distance of the logits to a target.
#[derive(Debug)]
struct Gap {
    /// `[examples, vocab]`.
    target: Vec<f64>,
    vocab: usize,
}

impl<T: Real> Judge<T> for Gap {
    fn width(&self) -> usize {
        1
    }

    fn tokens(&self, _example: usize) -> Option<&[u32]> {
        None
    }

    fn judge(&self, example: usize, _read: usize, logits: &[T], out: &mut [f64]) {
        let target = &self.target[example * self.vocab..(example + 1) * self.vocab];
        out[0] = logits.iter().zip(target).map(|(x, t)| (x.f64() - t) * (x.f64() - t)).sum();
    }
}

impl<T: Real> Slope<T> for Gap {
    fn slope(&self, example: usize, _read: usize, logits: &[T], out: &mut [T]) {
        let target = &self.target[example * self.vocab..(example + 1) * self.vocab];
        for ((o, x), t) in out.iter_mut().zip(logits).zip(target) {
            *o = T::of(2.0 * (x.f64() - t));
        }
    }
}

/// Keeps the gradient at the embedding.
struct AtInput<T>(Vec<T>);

impl<T: Real> Visitor<T> for AtInput<T> {
    fn input(&mut self, gradient: &[T]) -> ablate_model::Result<()> {
        self.0 = gradient.to_vec();
        Ok(())
    }
}

impl Path {
    /// To these logits, `[examples, vocab]`.
    pub(super) fn new(target: Vec<f64>, vocab: usize, offsets: &[usize]) -> Self {
        Self { gap: Gap { target, vocab }, offsets: offsets.to_vec() }
    }

    /// The inputs one step on from a run, `[rows, d_model]`.
    pub(super) fn next<T: Real>(
        &self,
        engine: &Engine<'_, T>,
        plan: &Compiled,
        acts: &Acts<T>,
    ) -> Result<Vec<T>> {
        let mut at = AtInput(Vec::new());
        engine.backward(plan, acts, &self.gap, &Rules::default(), &mut at, None)?;
        let d = engine.config().d_model;
        let mut input = acts.layers.first().map_or(&acts.last, |l| &l.pre).clone();
        for ends in self.offsets.windows(2) {
            let rows = ends[0] * d..ends[1] * d;
            let g = &at.0[rows.clone()];
            let norm = g.iter().map(|x| x.f64() * x.f64()).sum::<f64>().sqrt();
            if norm > 0.0 {
                let step = T::of(1.0 / norm);
                input[rows].iter_mut().zip(g).for_each(|(x, g)| *x += -step * *g);
            }
        }
        Ok(input)
    }
}
