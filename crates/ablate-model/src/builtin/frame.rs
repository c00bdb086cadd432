//! Hand-set maps are written down feature by feature and stored in a basis in which every feature is spread over
//! all coordinates, as in a trained model: nothing can be read off a single coordinate.

use ablate_graph::rng::Random;
use ablate_tensor::{Matrix, Real};

/// An orthonormal basis of features, by its coordinates.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    /// Feature `k` is coordinate `k`.
    Plain,
    /// Feature `k` is column `k` of the Hadamard matrix (of a size that is a power of 4, so that its numbers are exact)
    /// times a random sign. Feature 0 is the mean of the coordinates.
    Spread(Vec<f64>),
}

impl Frame {
    /// A spread basis of `n` features.
    pub(super) fn spread(n: usize, random: Random, row: u64) -> Self {
        let size = 1.0 / (n as f64).sqrt();
        Self::Spread((0..n).map(|k| if random.bits(row, k as u64) & 1 == 0 { size } else { -size }).collect())
    }

    /// Coordinate `i` of feature `k`.
    fn at(&self, i: usize, k: usize) -> f64 {
        match self {
            Self::Plain => f64::from(u8::from(i == k)),
            Self::Spread(signs) if (i & k).count_ones() % 2 == 1 => -signs[k],
            Self::Spread(signs) => signs[k],
        }
    }
}

/// One number of a map between features.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Feature that is read.
    pub(super) from: usize,
    /// Feature that is written.
    pub(super) to: usize,
    /// By how much.
    pub(super) weight: f64,
}

/// `from + i` → `to + i` for `i` below `n`.
pub(super) fn copy(from: usize, to: usize, n: usize, weight: f64) -> Vec<Entry> {
    (0..n).map(|i| Entry { from: from + i, to: to + i, weight }).collect()
}

/// A map `[rows, cols]` in the making, row-major.
#[derive(Clone, Debug)]
pub(super) struct Map {
    data: Vec<f64>,
    cols: usize,
}

impl Map {
    /// Uniform noise in `(-noise, noise)`.
    pub(super) fn noise(rows: usize, cols: usize, noise: f64, random: Random, part: u64) -> Self {
        let random = random.fork(part);
        let data = (0..rows * cols).map(|i| (2.0 * random.uniform(0, i as u64) - 1.0) * noise).collect();
        Self { data, cols }
    }

    /// Number of columns.
    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    /// Scales the block of `rows` × `cols`.
    pub(super) fn scale(&mut self, rows: std::ops::Range<usize>, cols: std::ops::Range<usize>, factor: f64) {
        for r in rows {
            for x in &mut self.data[r * self.cols..][cols.clone()] {
                *x *= factor;
            }
        }
    }

    /// Adds entries between the features of two bases whose coordinates start at `row` and `col` and are `size` many.
    pub(super) fn add(
        &mut self,
        entries: &[Entry],
        (row, rows, from): (usize, usize, &Frame),
        (col, cols, to): (usize, usize, &Frame),
    ) {
        for e in entries {
            for i in 0..rows {
                let x = e.weight * from.at(i, e.from);
                if x == 0.0 {
                    continue;
                }
                for j in 0..cols {
                    self.data[(row + i) * self.cols + col + j] += x * to.at(j, e.to);
                }
            }
        }
    }

    /// The map in a model's number type; each number is rounded by `round` first.
    pub(super) fn matrix<T: Real>(&self, round: fn(f64) -> f64) -> Matrix<T> {
        let data = self.data.iter().map(|&x| T::of(round(x))).collect();
        Matrix::row_major(data, self.data.len() / self.cols, self.cols)
    }

    /// The numbers of a map with one row.
    pub(super) fn vector<T: Real>(&self, round: fn(f64) -> f64) -> Vec<T> {
        self.data.iter().map(|&x| T::of(round(x))).collect()
    }
}
