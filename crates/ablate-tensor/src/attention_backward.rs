//! Gradients of attention of one sequence, head by head.

use crate::attention::{Attention, MANY_KEYS};
use crate::gemm::{Into, View, product};
use crate::ops::{axpy_inline, dot_inline};
use crate::real::Real;
use crate::simd::simd;

/// What the forward pass of one head saw and made, and the gradient of its output.
#[derive(Clone, Copy, Debug)]
pub struct HeadPass<'a, T> {
    /// Query head.
    pub head: usize,
    /// Queries as scored (rotated), `[at.len(), heads·width]`.
    pub q: &'a [T],
    /// Position of each query.
    pub at: &'a [u32],
    /// Keys as scored (rotated), `[n_keys, kv_heads·width]`.
    pub k: &'a [T],
    /// Values, `[n_keys, kv_heads·width]`.
    pub v: &'a [T],
    /// Pattern of this head, `[at.len(), n_keys]`.
    pub pattern: &'a [T],
    /// The pattern that the softmax's Jacobian is taken at, `[at.len(), n_keys]`: `pattern` itself for the true gradient.
    pub jacobian: &'a [T],
    /// Gradient of the head outputs, `[at.len(), heads·width]`.
    pub dz: &'a [T],
}

/// Where the gradients go: columns of the head are overwritten, others untouched. Keys and values have one copy for each
/// QUERY head.
#[derive(Debug)]
pub struct HeadGradient<'a, T> {
    /// Gradient of the queries as scored, `[at.len(), heads·width]`.
    pub dq: &'a mut [T],
    /// Gradient of the keys as scored, `[n_keys, heads·width]`.
    pub dk: &'a mut [T],
    /// Gradient of the values, `[n_keys, heads·width]`.
    pub dv: &'a mut [T],
}

impl<T: Real> Attention<T> {
    /// Gradients of one head's queries, keys and values. `scratch` holds `at.len()·n_keys` numbers afterwards.
    pub fn backward(&self, pass: &HeadPass<'_, T>, out: &mut HeadGradient<'_, T>, scratch: &mut Vec<T>) {
        let n_keys = pass.k.len() / (self.kv_heads * self.width);
        scratch.clear();
        scratch.resize(pass.at.len() * n_keys, T::ZERO);
        if n_keys >= MANY_KEYS && pass.at.len() > 1 {
            self.backward_many(pass, n_keys, out, scratch);
        } else {
            simd(
                #[inline(always)]
                || self.backward_few(pass, n_keys, out, scratch),
            );
        }
    }

    #[inline(always)]
    fn backward_few(
        &self,
        pass: &HeadPass<'_, T>,
        n_keys: usize,
        out: &mut HeadGradient<'_, T>,
        scratch: &mut [T],
    ) {
        let w = self.width;
        let (qs, ks) = (self.heads * w, self.kv_heads * w);
        let (q0, k0) = (pass.head * w, self.kv_of(pass.head) * w);
        for j in 0..n_keys {
            out.dk[j * qs + q0..j * qs + q0 + w].fill(T::ZERO);
            out.dv[j * qs + q0..j * qs + q0 + w].fill(T::ZERO);
        }
        for (i, &p) in pass.at.iter().enumerate() {
            let (from, to) = self.visible(p as usize, n_keys);
            let mine = i * qs + q0..i * qs + q0 + w;
            let (q, dz) = (&pass.q[mine.clone()], &pass.dz[mine.clone()]);
            let pattern = &pass.pattern[i * n_keys..(i + 1) * n_keys];
            let ds = &mut scratch[i * n_keys..(i + 1) * n_keys];
            for j in from..to {
                ds[j] = dot_inline(dz, &pass.v[j * ks + k0..j * ks + k0 + w]);
            }
            let jacobian = &pass.jacobian[i * n_keys..(i + 1) * n_keys];
            self.scores_backward(jacobian, ds, from, to, |j| {
                dot_inline(q, &pass.k[j * ks + k0..j * ks + k0 + w])
            });
            let dq = &mut out.dq[mine];
            dq.fill(T::ZERO);
            for j in from..to {
                axpy_inline(ds[j], &pass.k[j * ks + k0..j * ks + k0 + w], dq);
                axpy_inline(ds[j], q, &mut out.dk[j * qs + q0..j * qs + q0 + w]);
                axpy_inline(pattern[j], dz, &mut out.dv[j * qs + q0..j * qs + q0 + w]);
            }
        }
    }

    fn backward_many(
        &self,
        pass: &HeadPass<'_, T>,
        n_keys: usize,
        out: &mut HeadGradient<'_, T>,
        scratch: &mut [T],
    ) {
        let w = self.width;
        let (qs, ks) = (self.heads * w, self.kv_heads * w);
        let (q0, k0) = (pass.head * w, self.kv_of(pass.head) * w);
        let n = pass.at.len();
        let q = View::rows(&pass.q[q0..], n, w, qs);
        let k = View::rows(&pass.k[k0..], n_keys, w, ks);
        let v = View::rows(&pass.v[k0..], n_keys, w, ks);
        let dz = View::rows(&pass.dz[q0..], n, w, qs);
        let pattern = View::rows(pass.pattern, n, n_keys, n_keys);
        product(dz, v.t(), T::ONE, scratch, n_keys, Into::Replace);
        let raw = self.softcap.map(|_| {
            let mut raw = vec![T::ZERO; n * n_keys];
            product(q, k.t(), T::ONE, &mut raw, n_keys, Into::Replace);
            raw
        });
        simd(
            #[inline(always)]
            || {
                for (i, &p) in pass.at.iter().enumerate() {
                    let row = i * n_keys..(i + 1) * n_keys;
                    let (from, to) = self.visible(p as usize, n_keys);
                    let ds = &mut scratch[row.clone()];
                    self.scores_backward(&pass.jacobian[row.clone()], ds, from, to, |j| {
                        raw.as_ref().map_or(T::ZERO, |raw| raw[row.start + j])
                    });
                }
            },
        );
        let ds = View::rows(scratch, n, n_keys, n_keys);
        product(ds, k, T::ONE, &mut out.dq[q0..], qs, Into::Replace);
        product(ds.t(), q, T::ONE, &mut out.dk[q0..], qs, Into::Replace);
        product(pattern.t(), dz, T::ONE, &mut out.dv[q0..], qs, Into::Replace);
    }

    /// From the gradient of a row of the pattern, in `ds`, to that of the raw products `q·k`, whose values `raw` gives
    /// (asked for only with a soft cap).
    #[inline(always)]
    fn scores_backward(&self, pattern: &[T], ds: &mut [T], from: usize, to: usize, raw: impl Fn(usize) -> T) {
        ds[..from].fill(T::ZERO);
        ds[to..].fill(T::ZERO);
        let mean = dot_inline(&pattern[from..to], &ds[from..to]);
        for j in from..to {
            ds[j] = pattern[j] * (ds[j] - mean) * self.scale;
        }
        if let Some(cap) = self.softcap {
            for j in from..to {
                let t = (raw(j) * self.scale / cap).th();
                ds[j] *= T::ONE - t * t;
            }
        }
    }
}
