//! Losses: squared errors of numbers, cross entropies of classes, at every position after BOS.

use std::ops::Range;

use ablate_model::engine::{Judge, Slope};
use ablate_tensor::{Real, ops};

use super::super::Case;
use super::super::effects::argmax;

/// What outputs should be, `[pairs · positions]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Targets {
    /// Classes.
    Classes(Vec<u32>),
    /// Numbers.
    Numbers(Vec<f64>),
}

impl Targets {
    /// Of the case's outputs of whole inputs, BOS included.
    pub(super) fn of<'a>(case: &Case, outputs: impl Iterator<Item = &'a [f64]>) -> Self {
        let width = case.compiled().d_out();
        let all: Vec<f64> = outputs.flat_map(|o| o[width..].iter().copied()).collect();
        Self::from_outputs(case, &all)
    }

    /// Of outputs without BOS, `[pairs · positions, width]`.
    pub(super) fn from_outputs(case: &Case, outputs: &[f64]) -> Self {
        if case.categorical() {
            let rows = outputs.chunks_exact(case.compiled().d_out());
            Self::Classes(rows.map(|y| argmax(y) as u32).collect())
        } else {
            Self::Numbers(outputs.to_vec())
        }
    }

    /// Those of these places.
    pub(super) fn range(&self, places: Range<usize>) -> Self {
        match self {
            Self::Classes(y) => Self::Classes(y[places].to_vec()),
            Self::Numbers(y) => Self::Numbers(y[places].to_vec()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Classes(y) => y.len(),
            Self::Numbers(y) => y.len(),
        }
    }

    /// Whether a model that says `logits` at `at` is right: the class, or a number within 0.05.
    pub(super) fn right<T: Real>(&self, at: usize, logits: &[T]) -> bool {
        match self {
            Self::Classes(y) => argmax(logits) as u32 == y[at],
            Self::Numbers(y) => (logits[0].f64() - y[at]).abs() < 0.05,
        }
    }
}

/// The loss of a batch; its slope is weighted, its values are not.
pub(super) struct Loss<'a> {
    pub(super) targets: &'a Targets,
    pub(super) factor: f64,
    /// Positions of a pair.
    pub(super) positions: usize,
}

impl Loss<'_> {
    fn at(&self, example: usize, read: usize) -> usize {
        debug_assert!(self.targets.len() > example * self.positions + read);
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
            Targets::Classes(y) => ops::log_sum_exp(logits) - logits[y[at] as usize].f64(),
            Targets::Numbers(y) => (logits[0].f64() - y[at]).powi(2),
        };
    }
}

impl<T: Real> Slope<T> for Loss<'_> {
    fn slope(&self, example: usize, read: usize, logits: &[T], out: &mut [T]) {
        let at = self.at(example, read);
        match self.targets {
            Targets::Classes(y) => {
                let lse = T::of(ops::log_sum_exp(logits));
                let factor = T::of(self.factor);
                for (o, x) in out.iter_mut().zip(logits) {
                    *o = factor * (*x - lse).e();
                }
                out[y[at] as usize] -= factor;
            }
            Targets::Numbers(y) => out[0] = T::of(2.0 * self.factor * (logits[0].f64() - y[at])),
        }
    }
}

/// Says 1 where a run is right, else 0.
pub(super) struct Right<'a> {
    pub(super) targets: &'a Targets,
    pub(super) positions: usize,
}

impl<T: Real> Judge<T> for Right<'_> {
    fn width(&self) -> usize {
        1
    }

    fn tokens(&self, _example: usize) -> Option<&[u32]> {
        None
    }

    fn judge(&self, example: usize, read: usize, logits: &[T], out: &mut [f64]) {
        out[0] = f64::from(u8::from(self.targets.right(example * self.positions + read, logits)));
    }
}
