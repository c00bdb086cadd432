//! Attention of one sequence: patterns from queries and keys, and mixtures of values. Few positions are handled by
//! fused loops over a head's scores, many by matrix products.

use crate::gemm::{Into, View, product};
use crate::ops::{axpy_inline, dot_inline, softmax_inline};
use crate::real::Real;
use crate::simd::simd;

/// How the heads of one layer attend.
#[derive(Clone, Copy, Debug)]
pub struct Attention<T> {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads as laid out in `k` and `v`; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub width: usize,
    /// Factor on scores.
    pub scale: T,
    /// Scores become `cap·tanh(score/cap)`.
    pub softcap: Option<T>,
    /// How many positions a query sees, itself included.
    pub window: Option<usize>,
    /// Whether a query sees only itself and earlier positions.
    pub causal: bool,
}

/// From this many keys on, products are faster than fused loops.
pub(crate) const MANY_KEYS: usize = 48;

impl<T: Real> Attention<T> {
    /// First and one past the last key that a query at position `p` sees, of `n_keys`.
    #[inline(always)]
    pub fn visible(&self, p: usize, n_keys: usize) -> (usize, usize) {
        let to = if self.causal { (p + 1).min(n_keys) } else { n_keys };
        let from = self.window.map_or(0, |w| (p + 1).saturating_sub(w));
        (from.min(to.saturating_sub(1)), to)
    }

    /// The key/value head that query head `h` reads.
    #[inline(always)]
    pub fn kv_of(&self, h: usize) -> usize {
        h * self.kv_heads / self.heads
    }

    /// Patterns of head `h` for queries `q` at positions `at`: writes `[at.len(), n_keys]` into `out`. `q` is
    /// `[at.len(), heads·width]`, `k` is `[n_keys, kv_heads·width]`, key `j` at position `j`.
    pub fn pattern(&self, h: usize, q: &[T], at: &[u32], k: &[T], n_keys: usize, out: &mut [T]) {
        let (qs, ks) = (self.heads * self.width, self.kv_heads * self.width);
        let (q0, k0) = (h * self.width, self.kv_of(h) * self.width);
        if n_keys >= MANY_KEYS && at.len() > 1 {
            let a = View::rows(&q[q0..], at.len(), self.width, qs);
            let b = View::rows(&k[k0..], n_keys, self.width, ks).t();
            product(a, b, self.scale, out, n_keys, Into::Replace);
            simd(
                #[inline(always)]
                || self.finish(at, n_keys, out),
            );
        } else {
            simd(
                #[inline(always)]
                || {
                    for (i, row) in out.chunks_exact_mut(n_keys).enumerate() {
                        let q = &q[i * qs + q0..i * qs + q0 + self.width];
                        let (from, to) = self.visible(at[i] as usize, n_keys);
                        for j in from..to {
                            row[j] = dot_inline(q, &k[j * ks + k0..j * ks + k0 + self.width]) * self.scale;
                        }
                    }
                    self.finish(at, n_keys, out);
                },
            );
        }
    }

    #[inline(always)]
    fn finish(&self, at: &[u32], n_keys: usize, out: &mut [T]) {
        for (row, &p) in out.chunks_exact_mut(n_keys).zip(at) {
            let (from, to) = self.visible(p as usize, n_keys);
            if let Some(cap) = self.softcap {
                for x in &mut row[from..to] {
                    *x = cap * (*x / cap).th();
                }
            }
            softmax_inline(row, from, to);
        }
    }

    /// Mixtures of values of head `h`: `z[i, h] = Σ_j pattern[i, j]·v[j, kv(h)]`. `pattern` is `[n, n_keys]`, `v`
    /// `[n_keys, kv_heads·width]`, `z` `[n, heads·width]`.
    pub fn mix(&self, h: usize, pattern: &[T], v: &[T], n_keys: usize, z: &mut [T]) {
        let (zs, vs) = (self.heads * self.width, self.kv_heads * self.width);
        let (z0, v0) = (h * self.width, self.kv_of(h) * self.width);
        let n = pattern.len() / n_keys;
        if n_keys >= MANY_KEYS && n > 1 {
            let a = View::rows(pattern, n, n_keys, n_keys);
            let b = View::rows(&v[v0..], n_keys, self.width, vs);
            product(a, b, T::ONE, &mut z[z0..], zs, Into::Replace);
            return;
        }
        simd(
            #[inline(always)]
            || {
                for (i, row) in pattern.chunks_exact(n_keys).enumerate() {
                    let z = &mut z[i * zs + z0..i * zs + z0 + self.width];
                    z.fill(T::ZERO);
                    for (j, &p) in row.iter().enumerate() {
                        if p != T::ZERO {
                            axpy_inline(p, &v[j * vs + v0..j * vs + v0 + self.width], z);
                        }
                    }
                }
            },
        );
    }
}

/// Cosines and sines of rotary angles for positions `0..n`.
#[derive(Clone, Debug)]
pub struct RopeTable<T> {
    rot_dim: usize,
    interleaved: bool,
    cos: Vec<T>,
    sin: Vec<T>,
}

impl<T: Real> RopeTable<T> {
    /// A table for positions `0..n` with angle `position · freqs[i]` for pair `i`; angles are computed in `f64`.
    pub fn new(freqs: &[f64], n: usize, interleaved: bool) -> Self {
        let angles = (0..n).flat_map(|p| freqs.iter().map(move |f| p as f64 * f));
        let (cos, sin) = angles.map(|a| (T::of(a.cos()), T::of(a.sin()))).unzip();
        Self { rot_dim: 2 * freqs.len(), interleaved, cos, sin }
    }

    /// Rotates every head (`width` wide) of a row at position `p`; `inverse` rotates back (the gradient's direction).
    pub fn rotate(&self, row: &mut [T], width: usize, p: usize, inverse: bool) {
        let half = self.rot_dim / 2;
        let cos = &self.cos[p * half..(p + 1) * half];
        let sin = &self.sin[p * half..(p + 1) * half];
        let sign = if inverse { -T::ONE } else { T::ONE };
        simd(
            #[inline(always)]
            || {
                for head in row.chunks_exact_mut(width) {
                    if self.interleaved {
                        for i in 0..half {
                            let (a, b) = (head[2 * i], head[2 * i + 1]);
                            head[2 * i] = a * cos[i] - b * sin[i] * sign;
                            head[2 * i + 1] = b * cos[i] + a * sin[i] * sign;
                        }
                    } else {
                        let (x, y) = head[..self.rot_dim].split_at_mut(half);
                        for i in 0..half {
                            let (a, b) = (x[i], y[i]);
                            x[i] = a * cos[i] - b * sin[i] * sign;
                            y[i] = b * cos[i] + a * sin[i] * sign;
                        }
                    }
                }
            },
        );
    }
}
