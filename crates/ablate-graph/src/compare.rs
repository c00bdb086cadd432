//! How circuits and scores agree: set algebra, Jaccard, confusion with a truth, rank correlation.

use crate::circuit::{Circuit, check_same_graph};
use crate::error::{Error, Result};
use crate::scores::Scores;
use crate::stats;

/// Several circuits of one graph and level, side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Members of any.
    pub union: Circuit,
    /// Members of all.
    pub intersection: Circuit,
    /// For each circuit, the members that no other one has.
    pub only: Vec<Circuit>,
    /// Jaccard index of every pair.
    pub jaccard: Vec<Vec<f64>>,
    /// For each id, in how many circuits it is.
    pub counts: Vec<u32>,
}

/// Compares circuits. Needs at least one; all of one graph and level.
pub fn compare(circuits: &[Circuit]) -> Result<Comparison> {
    let Some((first, rest)) = circuits.split_first() else {
        return Err(Error::Undefined { what: "comparison", why: "there are no circuits".into() });
    };
    let (mut union, mut intersection) = (first.clone(), first.clone());
    for circuit in rest {
        union = union.union(circuit)?;
        intersection = intersection.intersection(circuit)?;
    }
    let mut counts = vec![0u32; first.of()];
    for id in circuits.iter().flat_map(Circuit::ids) {
        counts[id as usize] += 1;
    }
    let only = circuits.iter().map(|circuit| {
        let alone = circuit.ids().into_iter().filter(|id| counts[*id as usize] == 1);
        Circuit::of_ids(circuit.graph(), circuit.level(), alone)
    });
    let only = only.collect::<Result<_>>()?;
    let row = |a: &Circuit| circuits.iter().map(|b| jaccard(a, b)).collect::<Result<Vec<f64>>>();
    let jaccard = circuits.iter().map(row).collect::<Result<_>>()?;
    Ok(Comparison { union, intersection, only, jaccard, counts })
}

/// |A ∩ B| / |A ∪ B|; 1 for two empty circuits.
pub fn jaccard(a: &Circuit, b: &Circuit) -> Result<f64> {
    let (both, either) = (a.intersection(b)?.len(), a.union(b)?.len());
    Ok(if either == 0 { 1.0 } else { both as f64 / either as f64 })
}

/// How members found compare with the true ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Confusion {
    /// True and found.
    pub true_positives: usize,
    /// Found but not true.
    pub false_positives: usize,
    /// True but not found.
    pub false_negatives: usize,
    /// Neither.
    pub true_negatives: usize,
}

/// Counts the members of `found` against those of `truth`.
pub fn confusion(truth: &Circuit, found: &Circuit) -> Result<Confusion> {
    let true_positives = truth.intersection(found)?.len();
    let (true_all, found_all) = (truth.len(), found.len());
    Ok(Confusion {
        true_positives,
        false_positives: found_all - true_positives,
        false_negatives: true_all - true_positives,
        true_negatives: truth.of() + true_positives - true_all - found_all,
    })
}

impl Confusion {
    /// Share of what was found that is true; `None` if nothing was found.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.true_positives, self.true_positives + self.false_positives)
    }

    /// Share of what is true that was found (also the true positive rate); `None` if nothing is true.
    pub fn recall(&self) -> Option<f64> {
        ratio(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// Share of what is false that was found; `None` if everything is true.
    pub fn false_positive_rate(&self) -> Option<f64> {
        ratio(self.false_positives, self.false_positives + self.true_negatives)
    }

    /// Harmonic mean of precision and recall; `None` if nothing is true and nothing was found.
    pub fn f1(&self) -> Option<f64> {
        ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)
    }
}

fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// How two lists of scores agree, over what both have scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// How many ids both have.
    pub n: usize,
    /// Rank correlation.
    pub spearman: f64,
    /// Kendall's tau-b.
    pub kendall: f64,
    /// Linear correlation.
    pub pearson: f64,
    /// Share of ids whose scores have the same sign (both zero counts as the same).
    pub sign_agreement: f64,
}

/// Correlations of two scores of one graph and level; by |score| if `absolute`.
pub fn agreement(a: &Scores, b: &Scores, absolute: bool) -> Result<Agreement> {
    check_same_graph(a.graph(), b.graph())?;
    if a.level() != b.level() {
        return Err(Error::LevelMismatch { expected: a.level(), found: b.level() });
    }
    let both = a.rows().iter().filter_map(|row| Some((row.score, b.get(row.id)?.score)));
    let (xs, ys): (Vec<f64>, Vec<f64>) = both.unzip();
    let sign = |x: f64| if x == 0.0 { 0.0 } else { x.signum() };
    let same = xs.iter().zip(&ys).filter(|(x, y)| sign(**x) == sign(**y)).count();
    let value = |list: Vec<f64>| if absolute { list.into_iter().map(f64::abs).collect() } else { list };
    let (xs, ys) = (value(xs), value(ys));
    Ok(Agreement {
        n: xs.len(),
        spearman: stats::spearman(&xs, &ys)?,
        kendall: stats::kendall(&xs, &ys)?,
        pearson: stats::pearson(&xs, &ys)?,
        sign_agreement: same as f64 / xs.len() as f64,
    })
}
