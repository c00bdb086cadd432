//! What outputs should be: classes or numbers, at the positions that are read.

use std::ops::Range;

use ablate_model::engine::Judge;
use ablate_tensor::Real;

use super::{Case, Inputs};

/// How far a number may be from the case's, absolutely and relatively (the benchmark's `isclose`; its validation while
/// training leaves the relative part out, which is 1e-5 of numbers between 0 and 1).
const TOLERANCE: (f64, f64) = (0.05, 1e-5);

/// `[inputs · positions]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Labels {
    /// Classes.
    Classes(Vec<u32>),
    /// Numbers.
    Numbers(Vec<f64>),
}

impl Labels {
    /// Of what is asked of some inputs.
    pub(super) fn of(case: &Case, inputs: &Inputs, rows: impl Iterator<Item = usize>) -> Self {
        let all: Vec<f64> = rows.flat_map(|i| inputs.read(i).iter().copied()).collect();
        Self::from_outputs(case, &all)
    }

    /// Of outputs that are asked for, `[inputs · positions, width]`.
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

    /// Whether two places should differ, numbers to the last digit.
    pub(super) fn differ(&self, a: usize, b: usize) -> bool {
        match self {
            Self::Classes(y) => y[a] != y[b],
            Self::Numbers(y) => y[a].total_cmp(&y[b]).is_ne(),
        }
    }

    /// Whether a model that says `logits` at `at` is right; `None` where they are no finite numbers.
    pub(super) fn right<T: Real>(&self, at: usize, logits: &[T]) -> Option<bool> {
        if logits.iter().any(|x| !x.finite()) {
            return None;
        }
        Some(match self {
            Self::Classes(y) => argmax(logits) as u32 == y[at],
            Self::Numbers(y) => (logits[0].f64() - y[at]).abs() <= TOLERANCE.0 + TOLERANCE.1 * y[at].abs(),
        })
    }
}

/// The first of the largest.
pub(super) fn argmax<X: PartialOrd>(row: &[X]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// Says 1 where a run is right, else 0, at each position. What is not finite is no answer: the run is refused.
pub(super) struct Right<'a> {
    pub(super) labels: &'a Labels,
    /// Positions of an input that are read.
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
        let right = self.labels.right(example * self.positions + read, logits);
        out[0] = right.map_or(f64::NAN, |r| f64::from(u8::from(r)));
    }
}
