//! Attention of many short sequences at once: [`SIDE`] sequences lie side by side in a vector, so that a head that is 3
//! wide and sees 5 keys fills vectors as well as a large one. Each sequence's numbers are what they would be alone.

use crate::attention::Attention;
use crate::real::Real;
use crate::simd::simd;

/// Sequences that are computed side by side.
const SIDE: usize = 16;

/// Most numbers of one head's keys: what is held at once stays near the processor.
const MOST: usize = 512;

type Lanes<T> = [T; SIDE];

/// Sequences of one length, whose queries stand at the same positions.
#[derive(Clone, Copy, Debug)]
pub struct Short<'a, T> {
    /// Queries as scored, rows of `heads·width`.
    pub q: &'a [T],
    /// Keys as scored, rows of `heads·width`.
    pub k: &'a [T],
    /// Values, rows of `heads·width`.
    pub v: &'a [T],
    /// First query row of each sequence.
    pub q_rows: &'a [usize],
    /// First key row of each sequence.
    pub k_rows: &'a [usize],
    /// Position of each query.
    pub at: &'a [u32],
    /// Keys of a sequence.
    pub n_keys: usize,
}

/// Where gradients go: rows as in [`Short`]; columns of all heads are written.
#[derive(Debug)]
pub struct ShortGradient<'a, T> {
    /// Of the queries, at their rows.
    pub dq: &'a mut [T],
    /// Of the keys, at the key rows.
    pub dk: &'a mut [T],
    /// Of the values, at the key rows.
    pub dv: &'a mut [T],
}

impl<T: Real> Attention<T> {
    /// Whether sequences of `n_keys` keys are better computed side by side (wide heads fill vectors by themselves).
    pub fn is_short(&self, n_keys: usize) -> bool {
        self.width <= 32
            && n_keys <= 32
            && n_keys * self.width <= MOST
            && self.softcap.is_none()
            && self.kv_heads == self.heads
    }

    /// Head outputs of all sequences, at the query rows of `z` (`[rows, heads·width]`).
    pub fn short(&self, s: &Short<'_, T>, z: &mut [T]) {
        let mut work = Work::default();
        for first in (0..s.q_rows.len()).step_by(SIDE) {
            let group = first..(first + SIDE).min(s.q_rows.len());
            simd(
                #[inline(always)]
                || {
                    for h in 0..self.heads {
                        work.load(self, s, group.clone(), h);
                        work.patterns(self, s);
                        work.mix(self, s);
                        let out = &work.out;
                        store(out, s.at.len(), self, h, &s.q_rows[group.clone()], z);
                    }
                },
            );
        }
    }

    /// Gradients of queries, keys and values, given that of head outputs (`dz`, at the query rows).
    pub fn short_backward(&self, s: &Short<'_, T>, dz: &[T], out: &mut ShortGradient<'_, T>) {
        let mut work = Work::default();
        for first in (0..s.q_rows.len()).step_by(SIDE) {
            let group = first..(first + SIDE).min(s.q_rows.len());
            let (q_rows, k_rows) = (&s.q_rows[group.clone()], &s.k_rows[group.clone()]);
            simd(
                #[inline(always)]
                || {
                    for h in 0..self.heads {
                        work.load(self, s, group.clone(), h);
                        work.patterns(self, s);
                        gather(dz, s.at.len(), self, h, q_rows, &mut work.dz);
                        work.backward(self, s);
                        store(&work.out, s.at.len(), self, h, q_rows, out.dq);
                        store(&work.dk, s.n_keys, self, h, k_rows, out.dk);
                        store(&work.dv, s.n_keys, self, h, k_rows, out.dv);
                    }
                },
            );
        }
    }
}

/// One head of a group, sequences innermost.
#[derive(Default)]
struct Work<T> {
    q: Vec<Lanes<T>>,
    k: Vec<Lanes<T>>,
    v: Vec<Lanes<T>>,
    /// `[query, key]`.
    pattern: Vec<Lanes<T>>,
    /// Head outputs, or gradients of queries.
    out: Vec<Lanes<T>>,
    dz: Vec<Lanes<T>>,
    dk: Vec<Lanes<T>>,
    dv: Vec<Lanes<T>>,
}

impl<T: Real> Work<T> {
    #[inline(always)]
    fn load(&mut self, a: &Attention<T>, s: &Short<'_, T>, group: std::ops::Range<usize>, h: usize) {
        let (q_rows, k_rows) = (&s.q_rows[group.clone()], &s.k_rows[group]);
        gather(s.q, s.at.len(), a, h, q_rows, &mut self.q);
        gather(s.k, s.n_keys, a, h, k_rows, &mut self.k);
        gather(s.v, s.n_keys, a, h, k_rows, &mut self.v);
    }

    #[inline(always)]
    fn patterns(&mut self, a: &Attention<T>, s: &Short<'_, T>) {
        let w = a.width;
        self.pattern.resize(s.at.len() * s.n_keys, [T::ZERO; SIDE]);
        for (i, &p) in s.at.iter().enumerate() {
            let (from, to) = a.visible(p as usize, s.n_keys);
            let row = &mut self.pattern[i * s.n_keys..(i + 1) * s.n_keys];
            row.fill([T::ZERO; SIDE]);
            let q = &self.q[i * w..(i + 1) * w];
            let mut most = [T::ZERO; SIDE];
            for j in from..to {
                let k = &self.k[j * w..(j + 1) * w];
                let mut sum = [T::ZERO; SIDE];
                for (q, k) in q.iter().zip(k) {
                    add_product(&mut sum, q, k);
                }
                for l in 0..SIDE {
                    sum[l] *= a.scale;
                    most[l] = if j == from { sum[l] } else { most[l].larger(sum[l]) };
                }
                row[j] = sum;
            }
            let mut total = [T::ZERO; SIDE];
            for x in &mut row[from..to] {
                for l in 0..SIDE {
                    x[l] = (x[l] - most[l]).e();
                    total[l] += x[l];
                }
            }
            for total in &mut total {
                *total = T::ONE / *total;
            }
            for x in &mut row[from..to] {
                for l in 0..SIDE {
                    x[l] *= total[l];
                }
            }
        }
    }

    #[inline(always)]
    fn mix(&mut self, a: &Attention<T>, s: &Short<'_, T>) {
        let w = a.width;
        self.out.clear();
        self.out.resize(s.at.len() * w, [T::ZERO; SIDE]);
        for (i, &p) in s.at.iter().enumerate() {
            let (from, to) = a.visible(p as usize, s.n_keys);
            let out = &mut self.out[i * w..(i + 1) * w];
            for j in from..to {
                let p = &self.pattern[i * s.n_keys + j];
                for (o, v) in out.iter_mut().zip(&self.v[j * w..(j + 1) * w]) {
                    add_product(o, p, v);
                }
            }
        }
    }

    #[inline(always)]
    fn backward(&mut self, a: &Attention<T>, s: &Short<'_, T>) {
        let w = a.width;
        let zero = [T::ZERO; SIDE];
        for (list, n) in [(&mut self.out, s.at.len()), (&mut self.dk, s.n_keys), (&mut self.dv, s.n_keys)] {
            list.clear();
            list.resize(n * w, zero);
        }
        let mut ds = [zero; 32];
        for (i, &p) in s.at.iter().enumerate() {
            let (from, to) = a.visible(p as usize, s.n_keys);
            let (q, dz) = (&self.q[i * w..(i + 1) * w], &self.dz[i * w..(i + 1) * w]);
            let pattern = &self.pattern[i * s.n_keys..(i + 1) * s.n_keys];
            let mut mean = zero;
            for j in from..to {
                let mut sum = zero;
                for ((dz, v), dv) in
                    dz.iter().zip(&self.v[j * w..(j + 1) * w]).zip(&mut self.dv[j * w..(j + 1) * w])
                {
                    add_product(&mut sum, dz, v);
                    add_product(dv, &pattern[j], dz);
                }
                add_product(&mut mean, &sum, &pattern[j]);
                ds[j] = sum;
            }
            let dq = &mut self.out[i * w..(i + 1) * w];
            for j in from..to {
                let mut slope = zero;
                for l in 0..SIDE {
                    slope[l] = pattern[j][l] * (ds[j][l] - mean[l]) * a.scale;
                }
                let (k, dk) = (&self.k[j * w..(j + 1) * w], &mut self.dk[j * w..(j + 1) * w]);
                for c in 0..w {
                    add_product(&mut dq[c], &slope, &k[c]);
                    add_product(&mut dk[c], &slope, &q[c]);
                }
            }
        }
    }
}

#[inline(always)]
fn add_product<T: Real>(to: &mut Lanes<T>, a: &Lanes<T>, b: &Lanes<T>) {
    for l in 0..SIDE {
        to[l] += a[l] * b[l];
    }
}

/// Head `h` of `n` rows of each sequence, sequences innermost; missing sequences are 0.
#[inline(always)]
fn gather<T: Real>(from: &[T], n: usize, a: &Attention<T>, h: usize, rows: &[usize], to: &mut Vec<Lanes<T>>) {
    let (w, stride) = (a.width, a.heads * a.width);
    to.clear();
    to.resize(n * w, [T::ZERO; SIDE]);
    for (l, &first) in rows.iter().enumerate() {
        for i in 0..n {
            let start = (first + i) * stride + h * w;
            for (x, to) in from[start..start + w].iter().zip(&mut to[i * w..(i + 1) * w]) {
                to[l] = *x;
            }
        }
    }
}

/// The way back from [`gather`].
#[inline(always)]
fn store<T: Real>(from: &[Lanes<T>], n: usize, a: &Attention<T>, h: usize, rows: &[usize], to: &mut [T]) {
    let (w, stride) = (a.width, a.heads * a.width);
    for (l, &first) in rows.iter().enumerate() {
        for i in 0..n {
            let start = (first + i) * stride + h * w;
            for (x, from) in to[start..start + w].iter_mut().zip(&from[i * w..(i + 1) * w]) {
                *x = from[l];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Short, ShortGradient};
    use crate::attention::Attention;
    use crate::attention_backward::{HeadGradient, HeadPass};

    /// Side by side as one after the other: outputs and gradients, causal and not, with a window, some queries left out.
    #[test]
    fn many_short_sequences_are_what_each_is_alone() {
        let (heads, width, len, n) = (3, 5, 6, 21);
        let row = heads * width;
        let number = |i: usize| ((i * 7919 % 1013) as f64 / 506.5 - 1.0) * 1.3;
        let keys = |salt: usize| (0..n * len * row).map(|i| number(i + salt)).collect::<Vec<f64>>();
        for (causal, window, at) in
            [(true, None, vec![0, 1, 2, 3, 4, 5]), (true, Some(3), vec![2, 5]), (false, None, vec![1, 4, 5])]
        {
            let a = Attention { heads, kv_heads: heads, width, scale: 0.4, softcap: None, window, causal };
            assert!(a.is_short(len));
            let (k, v) = (keys(1), keys(2));
            let count = n * at.len() * row;
            let (q, dz): (Vec<f64>, Vec<f64>) = (0..count).map(|i| (number(i + 3), number(i + 4))).unzip();
            let q_rows: Vec<usize> = (0..n).map(|i| i * at.len()).collect();
            let k_rows: Vec<usize> = (0..n).map(|i| i * len).collect();
            let s = Short { q: &q, k: &k, v: &v, q_rows: &q_rows, k_rows: &k_rows, at: &at, n_keys: len };
            let mut z = vec![0.0; count];
            a.short(&s, &mut z);
            let (mut dq, mut dk, mut dv) = (vec![0.0; count], vec![0.0; k.len()], vec![0.0; k.len()]);
            a.short_backward(&s, &dz, &mut ShortGradient { dq: &mut dq, dk: &mut dk, dv: &mut dv });
            for i in 0..n {
                let (qr, kr) =
                    (i * at.len() * row..(i + 1) * at.len() * row, i * len * row..(i + 1) * len * row);
                let (q, k, v, dz) = (&q[qr.clone()], &k[kr.clone()], &v[kr.clone()], &dz[qr.clone()]);
                let mut alone = vec![0.0; q.len()];
                let mut grads = [vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; k.len()]];
                let mut pattern = vec![0.0; at.len() * len];
                for head in 0..heads {
                    a.pattern(head, q, &at, k, len, &mut pattern);
                    a.mix(head, &pattern, v, len, &mut alone);
                    let pass = HeadPass { head, q, at: &at, k, v, pattern: &pattern, jacobian: &pattern, dz };
                    let [dq, dk, dv] = &mut grads;
                    a.backward(&pass, &mut HeadGradient { dq, dk, dv }, &mut Vec::new());
                }
                let pairs = [
                    (&z[qr.clone()], &alone),
                    (&dq[qr], &grads[0]),
                    (&dk[kr.clone()], &grads[1]),
                    (&dv[kr], &grads[2]),
                ];
                for (found, expected) in pairs {
                    for (f, e) in found.iter().zip(expected) {
                        assert!((f - e).abs() < 1e-12, "{f} {e}");
                    }
                }
            }
        }
    }
}
