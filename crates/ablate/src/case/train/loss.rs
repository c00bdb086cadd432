//! Losses: squared errors of numbers, cross entropies of classes, at every position after BOS.

use ablate_model::engine::{Judge, Slope};
use ablate_tensor::{Real, ops};

use super::super::labels::Labels;

/// The loss of a batch; its slope is weighted, its values are not.
pub(super) struct Loss<'a> {
    pub(super) targets: &'a Labels,
    pub(super) factor: f64,
    /// Positions of a pair.
    pub(super) positions: usize,
}

impl Loss<'_> {
    fn at(&self, example: usize, read: usize) -> usize {
        example * self.positions + read
    }
}

impl<T: Real> Judge<T> for Loss<'_> {
    fn width(&self) -> usize {
        1
    }

    fn tokens(&self, _example: usize) -> Option<&[u32]> {
        None
    }

    fn judge(&self, example: usize, read: usize, logits: &[T], out: &mut [f64]) {
        let at = self.at(example, read);
        out[0] = match self.targets {
            Labels::Classes(y) => ops::log_sum_exp(logits) - logits[y[at] as usize].f64(),
            Labels::Numbers(y) => (logits[0].f64() - y[at]).powi(2),
        };
    }
}

impl<T: Real> Slope<T> for Loss<'_> {
    fn slope(&self, example: usize, read: usize, logits: &[T], out: &mut [T]) {
        let at = self.at(example, read);
        match self.targets {
            Labels::Classes(y) => {
                let lse = T::of(ops::log_sum_exp(logits));
                let factor = T::of(self.factor);
                for (o, x) in out.iter_mut().zip(logits) {
                    *o = factor * (*x - lse).e();
                }
                out[y[at] as usize] -= factor;
            }
            Labels::Numbers(y) => out[0] = T::of(2.0 * self.factor * (logits[0].f64() - y[at])),
        }
    }
}
