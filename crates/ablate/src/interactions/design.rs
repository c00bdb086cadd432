//! Which subsets are run: all of them, or a design that determines the fit and the naive differences.

use std::collections::BTreeSet;

use ablate_graph::rng::Random;

use crate::error::{Error, Result};

/// Up to so many nodes all `2^k` subsets are run unless fewer are asked for.
pub const ALL_UP_TO: usize = 12;

/// Most nodes of a design: subsets are bits of a `u64`.
pub const MOST: usize = 64;

/// Most terms of a fit.
pub const MOST_TERMS: usize = 2048;

/// Subsets of `k` nodes; bit `i` of a subset = node `i` is ablated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Design {
    /// Number of nodes.
    pub k: usize,
    /// The subsets, rising, each once; the empty one is first.
    pub subsets: Vec<u64>,
}

impl Design {
    /// All subsets.
    ///
    /// # Errors
    /// No nodes, or more than [`ALL_UP_TO`].
    pub fn all(k: usize) -> Result<Self> {
        if k == 0 || k > ALL_UP_TO {
            return Err(Error::argument(
                format!("all subsets of {k} nodes"),
                format!("name 1 to {ALL_UP_TO} nodes, or say how many runs are to be drawn"),
            ));
        }
        Ok(Self { k, subsets: (0..1u64 << k).collect() })
    }

    /// What is run for `k` nodes and a fit of `degree`: all subsets up to [`ALL_UP_TO`] nodes unless `runs` says that fewer
    /// are, else those of at most `max(degree, 2)` nodes and then, until there are `runs`, their complements by rising
    /// size and pairs of a random subset (its size uniform) and its complement. Without `runs`, four for each term.
    ///
    /// # Errors
    /// No nodes or more than [`MOST`]; more terms than [`MOST_TERMS`]; fewer `runs` than must be run.
    pub fn new(k: usize, degree: usize, runs: Option<usize>, seed: u64) -> Result<Self> {
        check(k, degree)?;
        let all = if k < 40 { 1usize << k } else { usize::MAX };
        if runs.map_or(k <= ALL_UP_TO, |n| k <= ALL_UP_TO && n >= all) {
            return Self::all(k);
        }
        let low = subsets_up_to(k, degree.max(2));
        let runs = runs.unwrap_or(4 * low.len()).min(all);
        if runs < low.len() {
            return Err(Error::argument(
                format!(
                    "--runs {runs}: the fit of degree {degree} and the pairs of {k} nodes need {}",
                    low.len()
                ),
                "allow more runs, name fewer nodes or take a lower --degree",
            ));
        }
        Ok(Self { k, subsets: drawn(k, &low, runs, seed) })
    }

    /// Whether every subset is run.
    pub fn is_all(&self) -> bool {
        self.k < 64 && self.subsets.len() as u64 == 1 << self.k
    }
}

fn check(k: usize, degree: usize) -> Result<()> {
    if k == 0 || k > MOST {
        return Err(Error::argument(
            format!("interactions of {k} nodes"),
            format!("name 1 to {MOST} nodes: `ablate sweep` or a circuit says which matter"),
        ));
    }
    // the sum of binomials, as far as it matters
    let (mut terms, mut row) = (1usize, 1usize);
    for size in 1..=degree.min(k) {
        row = row.saturating_mul(k + 1 - size) / size;
        terms = terms.saturating_add(row);
        if terms > MOST_TERMS {
            return Err(Error::argument(
                format!("--degree {degree} of {k} nodes has more than {MOST_TERMS} terms"),
                "take a lower --degree or fewer nodes (the Möbius terms of all subsets are in the result of any degree)",
            ));
        }
    }
    Ok(())
}

/// The subsets of `k` nodes of at most `most` members: by size, and of one size in the order of combinations.
pub fn subsets_up_to(k: usize, most: usize) -> Vec<u64> {
    let mut out = vec![0u64];
    let mut last = vec![(0u64, 0usize)];
    for _ in 0..most.min(k) {
        last = last.iter().flat_map(|&(s, from)| (from..k).map(move |i| (s | 1 << i, i + 1))).collect();
        out.extend(last.iter().map(|(s, _)| *s));
    }
    out
}

/// `low`, complements of it and random pairs, `runs` in all.
fn drawn(k: usize, low: &[u64], runs: usize, seed: u64) -> Vec<u64> {
    let full = if k == 64 { u64::MAX } else { (1 << k) - 1 };
    let mut chosen: BTreeSet<u64> = low.iter().copied().collect();
    for subset in low {
        if chosen.len() < runs {
            chosen.insert(full & !subset);
        }
    }
    let random = Random::new(seed, "interactions");
    let mut row = 0;
    // with most of all subsets chosen draws repeat themselves; then the rest is taken in order
    while chosen.len() < runs && row < 64 * runs as u64 {
        let size = random.below(row, u64::MAX, k + 1);
        let subset = random.choose(row, k, size).into_iter().fold(0u64, |s, i| s | 1 << i);
        for some in [subset, full & !subset] {
            if chosen.len() < runs {
                chosen.insert(some);
            }
        }
        row += 1;
    }
    let mut next = 0;
    while chosen.len() < runs && next <= full {
        chosen.insert(next);
        next += 1;
    }
    chosen.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::{Design, subsets_up_to};

    #[test]
    fn subsets_come_in_the_order_of_combinations() {
        assert_eq!(subsets_up_to(3, 2), [0, 1, 2, 4, 3, 5, 6]);
        assert_eq!(subsets_up_to(2, 9), [0, 1, 2, 3]);
        assert_eq!(subsets_up_to(4, 4).len(), 16);
    }

    #[test]
    fn designs_hold_what_the_fit_needs_and_no_subset_twice() {
        let of = |k, degree, runs| Design::new(k, degree, runs, 7).map(|d| d.subsets).unwrap_or_default();
        assert_eq!(of(12, 2, None).len(), 4096);
        for (k, degree, runs) in
            [(5, 1, Some(20)), (5, 2, Some(31)), (13, 2, None), (40, 2, Some(900)), (64, 1, None)]
        {
            let subsets = of(k, degree, runs);
            assert!(subsets.windows(2).all(|w| w[0] < w[1]));
            assert!(subsets_up_to(k, degree.max(2)).iter().all(|s| subsets.binary_search(s).is_ok()));
            assert_eq!(subsets.len(), runs.unwrap_or(4 * subsets_up_to(k, degree.max(2)).len()));
            assert_eq!(subsets, of(k, degree, runs));
        }
        assert!(Design::new(0, 2, None, 0).is_err() && Design::new(65, 1, None, 0).is_err());
        assert!(Design::new(12, 6, None, 0).is_err() && Design::new(10, 2, Some(55), 0).is_err());
    }
}
