//! Interaction indices of a set function that is known on all subsets.
//!
//! Values are indexed by subset (bit `i` = node `i` ablated). `m` is the Möbius transform, `v(S) = Σ_{T ⊆ S} m(T)`.
//! - Shapley value of `i`: `Σ_{T ∋ i} m(T) / |T|`; all of them sum to `v(all) − v(∅)`.
//! - Shapley-Taylor of order d: `m(S)` for `|S| < d`, `Σ_{T ⊇ S} m(T) / C(|T|, d)` for `|S| = d`; same sum.
//! - Faith-Shap of order d: the polynomial of degree d that is nearest to `v` under Shapley's weights and exact on the
//!   empty and the full set; by the closed form of Tsai, Yeh & Ravikumar 2023, theorem 19; same sum.

use super::{Losses, Measured, subsets_up_to};

/// An index of each subset: `(subset, value)`.
pub type Index = Vec<(u64, Measured)>;

/// Möbius terms of all subsets, `[2^k]` by subset.
pub fn mobius(values: &[f64]) -> Vec<f64> {
    let mut m = values.to_vec();
    let mut bit = 1;
    while bit < m.len() {
        for s in 0..m.len() {
            if s & bit != 0 {
                m[s] -= m[s ^ bit];
            }
        }
        bit <<= 1;
    }
    m
}

/// Shapley values of the nodes, `[k]`, from Möbius terms.
pub fn shapley(m: &[f64]) -> Vec<f64> {
    let k = m.len().trailing_zeros() as usize;
    let of =
        |i: usize| (0..m.len()).filter(|t| t >> i & 1 == 1).map(|t| m[t] / f64::from(t.count_ones())).sum();
    (0..k).map(of).collect()
}

/// Shapley-Taylor indices of order `d` for the subsets of 1 to `d` nodes, in the order of [`subsets_up_to`].
pub fn shapley_taylor(m: &[f64], d: usize) -> Vec<f64> {
    let value = |s: usize| {
        let size = s.count_ones() as usize;
        let share = |t: usize| m[t] / choose(t.count_ones() as usize, d);
        if size < d { m[s] } else { supersets(m.len(), s).map(share).sum() }
    };
    indexed(m, d).into_iter().map(value).collect()
}

/// Faith-Shap indices of order `d` for the subsets of 1 to `d` nodes, in the order of [`subsets_up_to`].
pub fn faith_shap(m: &[f64], d: usize) -> Vec<f64> {
    let value = |s: usize| {
        let size = s.count_ones() as usize;
        let share = |t: usize| {
            let n = t.count_ones() as usize;
            choose(n - 1, d) / choose(n + d - 1, d + size) * m[t]
        };
        let above: f64 = supersets(m.len(), s).filter(|t| t.count_ones() as usize > d).map(share).sum();
        let sign = if (d - size).is_multiple_of(2) { 1.0 } else { -1.0 };
        m[s] + sign * size as f64 / (d + size) as f64 * choose(d, size) * above
    };
    indexed(m, d).into_iter().map(value).collect()
}

/// The subsets of 1 to `d` nodes.
fn indexed(m: &[f64], d: usize) -> Vec<usize> {
    let k = m.len().trailing_zeros() as usize;
    subsets_up_to(k, d).into_iter().skip(1).map(|s| s as usize).collect()
}

fn supersets(n: usize, s: usize) -> impl Iterator<Item = usize> {
    (s..n).filter(move |t| t & s == s)
}

/// Binomial coefficient.
fn choose(n: usize, k: usize) -> f64 {
    if k > n { 0.0 } else { (0..k).map(|i| (n - i) as f64 / (k - i) as f64).product::<f64>().round() }
}

impl Losses {
    /// An index by what it makes of each example's Möbius terms; `subsets` are those that it has values for. `None` unless
    /// every subset was run.
    fn index(
        &self,
        subsets: impl FnOnce(usize) -> Vec<u64>,
        of: impl Fn(&[f64], &[u64]) -> Vec<f64>,
    ) -> Option<Index> {
        // the subsets of many nodes are not even listed
        if !self.design.is_all() {
            return None;
        }
        let subsets = subsets(self.design.k);
        let each: Vec<Vec<f64>> = (0..self.examples())
            .map(|e| of(&mobius(&self.values.iter().map(|run| run[e]).collect::<Vec<f64>>()), &subsets))
            .collect();
        let value = |i: usize| Measured::of(&each.iter().map(|x| x[i]).collect::<Vec<f64>>());
        Some(subsets.into_iter().enumerate().map(|(i, s)| (s, value(i))).collect())
    }

    /// Möbius terms of all subsets, by size; `None` unless every subset was run.
    pub fn mobius(&self) -> Option<Index> {
        self.index(|k| subsets_up_to(k, k), |m, all| all.iter().map(|&s| m[s as usize]).collect())
    }

    /// Shapley values of the nodes; `None` unless every subset was run.
    pub fn shapley(&self) -> Option<Index> {
        self.index(|k| (0..k).map(|i| 1 << i).collect(), |m, _| shapley(m))
    }

    /// Shapley-Taylor indices of order `d` ≥ 1 (at most the number of nodes); `None` unless every subset was run.
    pub fn shapley_taylor(&self, d: usize) -> Option<Index> {
        let d = d.clamp(1, self.design.k);
        self.index(|k| subsets_up_to(k, d).into_iter().skip(1).collect(), |m, _| shapley_taylor(m, d))
    }

    /// Faith-Shap indices of order `d` ≥ 1 (at most the number of nodes); `None` unless every subset was run.
    pub fn faith_shap(&self, d: usize) -> Option<Index> {
        let d = d.clamp(1, self.design.k);
        self.index(|k| subsets_up_to(k, d).into_iter().skip(1).collect(), |m, _| faith_shap(m, d))
    }
}
