//! Gradients of the row-wise kernels. Every function has a finite-difference test.

use crate::ops::{Centre, row_scale, sum_by};
use crate::real::Real;
use crate::simd::simd;

/// A norm at the rows where it was computed: what its gradients need beside the direction.
#[derive(Clone, Copy, Debug)]
pub struct NormAt<'a, T> {
    /// Input, `[rows, w.len()]`.
    pub x: &'a [T],
    /// Weight.
    pub w: &'a [T],
    /// What was subtracted.
    pub centre: Centre,
    /// Scale of each row.
    pub scales: &'a [T],
    /// Whether the scale is a constant.
    pub frozen: bool,
}

/// Scale of each row of `x` (`[rows, d]`), as [`norm`](crate::ops::norm) computes it.
pub fn norm_scales<T: Real>(x: &[T], d: usize, centre: Centre, eps: T, scales: &mut [T]) {
    simd(
        #[inline(always)]
        || {
            for (x, scale) in x.chunks_exact(d).zip(scales) {
                *scale = row_scale(x, centre, eps).0;
            }
        },
    );
}

impl<T: Real> NormAt<'_, T> {
    /// The gradient with respect to the input: writes it into `g` and adds it to `dx`.
    pub fn backward_split(&self, dout: &[T], g: &mut [T], dx: &mut [T]) {
        let d = self.w.len();
        simd(
            #[inline(always)]
            || {
                let rows = dout.chunks_exact(d).zip(g.chunks_exact_mut(d)).zip(dx.chunks_exact_mut(d));
                for (i, ((dout, g), dx)) in rows.enumerate() {
                    self.row(i, dout, g);
                    for (x, g) in dx.iter_mut().zip(g) {
                        *x += *g;
                    }
                }
            },
        );
    }

    /// The gradient with respect to the input of one row.
    #[inline(always)]
    fn row(&self, i: usize, dout: &[T], g: &mut [T]) {
        let d = self.w.len();
        let (x, w) = (&self.x[i * d..(i + 1) * d], self.w);
        let (dout, g) = (&dout[..d], &mut g[..d]);
        let n = T::of(d as f64);
        let inv = T::ONE / self.scales[i];
        let (mut mean, mut g_mean) = (T::ZERO, T::ZERO);
        if self.centre == Centre::Mean {
            mean = sum_by(d, |j| x[j]) / n;
            g_mean = sum_by(d, |j| dout[j] * w[j]) / n;
        }
        let g_x =
            if self.frozen { T::ZERO } else { sum_by(d, |j| dout[j] * w[j] * (x[j] - mean)) / n * inv * inv };
        for j in 0..d {
            g[j] = inv * (dout[j] * w[j] - g_mean - (x[j] - mean) * g_x);
        }
    }

    /// The change of the output when the input changes by `dir` (`[rows, d]`), in place: the norm's Jacobian times `dir`.
    pub fn tangent(&self, dir: &mut [T]) {
        let d = self.w.len();
        let n = T::of(d as f64);
        simd(
            #[inline(always)]
            || {
                for (i, dir) in dir.chunks_exact_mut(d).enumerate() {
                    let x = &self.x[i * d..(i + 1) * d];
                    let inv = T::ONE / self.scales[i];
                    let (mut mean, mut v_mean) = (T::ZERO, T::ZERO);
                    if self.centre == Centre::Mean {
                        mean = sum_by(d, |j| x[j]) / n;
                        v_mean = sum_by(d, |j| dir[j]) / n;
                    }
                    let v_x = if self.frozen {
                        T::ZERO
                    } else {
                        sum_by(d, |j| dir[j] * (x[j] - mean)) / n * inv * inv
                    };
                    for j in 0..d {
                        dir[j] = inv * (dir[j] - v_mean - (x[j] - mean) * v_x) * self.w[j];
                    }
                }
            },
        );
    }

    /// Gradients with respect to weight and bias, added to `dw` and `db`.
    pub fn parameters(&self, dout: &[T], dw: &mut [T], db: Option<&mut [T]>) {
        let d = self.w.len();
        let n = T::of(d as f64);
        simd(
            #[inline(always)]
            || {
                for (i, dout) in dout.chunks_exact(d).enumerate() {
                    let x = &self.x[i * d..(i + 1) * d];
                    let inv = T::ONE / self.scales[i];
                    let mean = if self.centre == Centre::Mean { sum_by(d, |j| x[j]) / n } else { T::ZERO };
                    for j in 0..d {
                        dw[j] += dout[j] * (x[j] - mean) * inv;
                    }
                }
            },
        );
        if let Some(db) = db {
            add_rows(dout, db);
        }
    }
}

/// Gradient of [`soft_cap`](crate::ops::soft_cap) in place, from its output `y`: `d = d·(1 - (y/cap)²)`.
pub fn soft_cap_backward<T: Real>(cap: T, y: &[T], d: &mut [T]) {
    simd(
        #[inline(always)]
        || {
            for (d, y) in d.iter_mut().zip(y) {
                let t = *y / cap;
                *d *= T::ONE - t * t;
            }
        },
    );
}

/// Adds every row of `x` (`[rows, out.len()]`) to `out`: the gradient of a bias.
pub fn add_rows<T: Real>(x: &[T], out: &mut [T]) {
    simd(
        #[inline(always)]
        || {
            for row in x.chunks_exact(out.len().max(1)) {
                for (o, x) in out.iter_mut().zip(row) {
                    *o += *x;
                }
            }
        },
    );
}

/// `out = a - scale·b`.
pub fn subtract_into<T: Real>(a: &[T], scale: T, b: &[T], out: &mut [T]) {
    simd(
        #[inline(always)]
        || {
            for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
                *o = *a - scale * *b;
            }
        },
    );
}

/// `out = alpha·a + beta·b`.
pub fn mix_into<T: Real>(alpha: T, a: &[T], beta: T, b: &[T], out: &mut [T]) {
    simd(
        #[inline(always)]
        || {
            for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
                *o = alpha * *a + beta * *b;
            }
        },
    );
}
