//! Matrix products, single-threaded: a run puts one product on each thread, which is faster at a decoder's sizes than
//! splitting one product over threads.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, Par};

use crate::matrix::{Matrix, faer_view};
use crate::real::Real;

/// Whether a product replaces what is in its output or adds to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Into {
    /// `out = a·b`.
    Replace,
    /// `out += a·b`.
    Add,
}

impl Into {
    fn faer(self) -> Accum {
        match self {
            Self::Replace => Accum::Replace,
            Self::Add => Accum::Add,
        }
    }
}

/// A borrowed matrix: `data[i·strides[0] + j·strides[1]]`, one of the strides being 1.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    /// The numbers, from element `(0, 0)` on.
    pub data: &'a [T],
    /// Rows and columns.
    pub shape: [usize; 2],
    /// Steps to the next row and column.
    pub strides: [usize; 2],
}

impl<'a, T> View<'a, T> {
    /// Row-major `[rows, cols]` with rows `stride` apart.
    pub fn rows(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Self {
        Self { data, shape: [rows, cols], strides: [stride, 1] }
    }

    /// All of a matrix.
    pub fn of(m: &'a Matrix<T>) -> Self
    where
        T: Real,
    {
        m.view_all()
    }

    /// The transposed view.
    #[must_use]
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            shape: [self.shape[1], self.shape[0]],
            strides: [self.strides[1], self.strides[0]],
        }
    }
}

/// `out[rows, w.cols] (=|+=) x[rows, w.rows] · w`, all row-major and contiguous.
///
/// # Panics
/// When a slice is shorter than its shape.
pub fn linear<T: Real>(x: &[T], w: &Matrix<T>, out: &mut [T], into: Into) {
    let (k, n) = (w.rows(), w.cols());
    if k == 0 || n == 0 || x.is_empty() {
        if into == Into::Replace {
            out.fill(T::ZERO);
        }
        return;
    }
    let m = x.len() / k;
    debug_assert_eq!(x.len(), m * k);
    debug_assert_eq!(out.len(), m * n);
    let lhs = faer_view(x, [m, k], [k, 1]);
    let dst = MatMut::from_row_major_slice_mut(out, m, n);
    matmul(dst, into.faer(), lhs, w.faer(), T::ONE, Par::Seq);
}

/// `out[m, n] (=|+=) alpha · a[m, k] · b[k, n]`; `out` is row-major with rows `stride` apart.
///
/// # Panics
/// When shapes do not fit or a slice is shorter than its shape.
pub fn product<T: Real>(a: View<'_, T>, b: View<'_, T>, alpha: T, out: &mut [T], stride: usize, into: Into) {
    let ([m, k], [k2, n]) = (a.shape, b.shape);
    assert_eq!(k, k2, "inner dimensions differ");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if into == Into::Replace {
            out.chunks_mut(stride).take(m).for_each(|row| row[..n].fill(T::ZERO));
        }
        return;
    }
    let lhs = faer_view(a.data, a.shape, a.strides);
    let rhs = faer_view(b.data, b.shape, b.strides);
    // by columns and transposed: faer 0.24's `from_row_major_slice_with_stride_mut` swaps the two strides
    let dst = MatMut::from_column_major_slice_with_stride_mut(out, n, m, stride).transpose_mut();
    matmul(dst, into.faer(), lhs, rhs, alpha, Par::Seq);
}
