//! Scores against a known circuit: ROC curves, the area under them, and MIB's own variant of it.

use crate::circuit::{Circuit, Level, check_same_graph};
use crate::compare::{Confusion, confusion};
use crate::curve::{MIB_SHARES, area};
use crate::error::{Error, Result};
use crate::scores::Scores;
use crate::select::greedy_order;
use crate::stats::ranks;

/// One point of a ROC curve: what is found at or above a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RocPoint {
    /// Scores at or above this are found; infinite at the point (0, 0).
    pub threshold: f64,
    /// False positive rate.
    pub false_positive_rate: f64,
    /// True positive rate.
    pub true_positive_rate: f64,
}

/// A ROC curve over everything that is scored.
#[derive(Clone, Debug, PartialEq)]
pub struct Roc {
    /// From (0, 0) to (1, 1); equal scores make one step.
    pub points: Vec<RocPoint>,
    /// Area under the curve: the chance that a true member scores above a false one, ties counting half.
    pub auc: f64,
    /// True members that are not scored; they do not count.
    pub unscored: usize,
}

/// The ROC curve of scores (by |score| if `absolute`) against the true circuit of the same level. Undefined
/// unless both true and false members are scored.
pub fn roc(truth: &Circuit, scores: &Scores, absolute: bool) -> Result<Roc> {
    check(truth, scores)?;
    let value = |score: f64| if absolute { score.abs() } else { score };
    let rows: Vec<(f64, bool)> =
        scores.rows().iter().map(|row| (value(row.score), truth.contains(row.id))).collect();
    let positives = rows.iter().filter(|(_, is_true)| *is_true).count();
    let negatives = rows.len() - positives;
    if positives == 0 || negatives == 0 {
        let why = format!("{positives} scored members are true and {negatives} are not");
        return Err(Error::Undefined { what: "the ROC curve", why });
    }
    let Some(auc) = auroc(&rows) else {
        return Err(Error::Undefined { what: "the ROC curve", why: "there is nothing to rank".into() });
    };
    Ok(Roc { points: points(rows, positives, negatives), auc, unscored: truth.len() - positives })
}

/// The chance that a true row scores above a false one, ties counting half (Mann and Whitney's statistic from average
/// ranks); `None` unless there are both.
pub fn auroc(rows: &[(f64, bool)]) -> Option<f64> {
    // -0.0 is no less than 0.0
    let values: Vec<f64> = rows.iter().map(|(value, _)| value + 0.0).collect();
    let of_true = ranks(&values).into_iter().zip(rows).filter(|(_, (_, is_true))| *is_true);
    let sum: f64 = of_true.map(|(rank, _)| rank).sum();
    let p = rows.iter().filter(|(_, is_true)| *is_true).count() as f64;
    let n = rows.len() as f64 - p;
    (p > 0.0 && n > 0.0).then(|| (sum - p * (p + 1.0) / 2.0) / (p * n))
}

fn points(mut rows: Vec<(f64, bool)>, positives: usize, negatives: usize) -> Vec<RocPoint> {
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut found_true, mut found_false) = (0usize, 0usize);
    let mut points =
        vec![RocPoint { threshold: f64::INFINITY, false_positive_rate: 0.0, true_positive_rate: 0.0 }];
    for (i, (threshold, is_true)) in rows.iter().enumerate() {
        *(if *is_true { &mut found_true } else { &mut found_false }) += 1;
        if rows.get(i + 1).is_some_and(|next| next.0 == *threshold) {
            continue;
        }
        points.push(RocPoint {
            threshold: *threshold,
            false_positive_rate: found_false as f64 / negatives as f64,
            true_positive_rate: found_true as f64 / positives as f64,
        });
    }
    points
}

/// MIB's AUROC and what it is made of, one value for each share of [`MIB_SHARES`].
#[derive(Clone, Debug, PartialEq)]
pub struct MibRoc {
    /// True positive rates.
    pub true_positive_rate: Vec<f64>,
    /// False positive rates, before they are divided by the last one.
    pub false_positive_rate: Vec<f64>,
    /// Precisions (0 where nothing was found).
    pub precision: Vec<f64>,
    /// The area.
    pub auc: f64,
}

/// The AUROC of the MIB circuit track: greedy circuits (by |score|, pruned) of ⌈share·n⌉ edges, trapezoids over
/// false positive rates divided by the last one, *without* a point (0, 0). An edge that is not scored counts as a
/// true positive if it is true, otherwise as a false positive. Use [`roc`] unless a published table is meant.
pub fn mib_roc(truth: &Circuit, scores: &Scores) -> Result<MibRoc> {
    check(truth, scores)?;
    if scores.level() != Level::Edge {
        return Err(Error::LevelMismatch { expected: Level::Edge, found: scores.level() });
    }
    let undefined = |why: &str| Error::Undefined { what: "MIB's AUROC", why: why.into() };
    if truth.is_empty() || truth.len() == truth.of() {
        return Err(undefined("the truth needs edges in it and edges outside it"));
    }
    let order = greedy_order(scores, scores.len(), true)?;
    let scored = Circuit::of_ids(scores.graph(), Level::Edge, scores.rows().iter().map(|row| row.id))?;
    let absent = scored.complement();
    let mut roc =
        MibRoc { true_positive_rate: vec![], false_positive_rate: vec![], precision: vec![], auc: 0.0 };
    for share in MIB_SHARES {
        let n = (share * truth.of() as f64).ceil() as usize;
        let ids = order.iter().take(n).map(|edge| edge.0);
        let found = Circuit::of_ids(scores.graph(), Level::Edge, ids)?.prune().union(&absent)?;
        let counts: Confusion = confusion(truth, &found)?;
        roc.true_positive_rate.push(counts.recall().unwrap_or(0.0));
        roc.false_positive_rate.push(counts.false_positive_rate().unwrap_or(0.0));
        roc.precision.push(counts.precision().unwrap_or(0.0));
    }
    let last = roc.false_positive_rate.last().copied().unwrap_or(0.0);
    if last == 0.0 {
        return Err(undefined("the largest circuit has no false positive"));
    }
    let x: Vec<f64> = roc.false_positive_rate.iter().map(|rate| rate / last).collect();
    roc.auc = area(&x, &roc.true_positive_rate)?;
    Ok(roc)
}

fn check(truth: &Circuit, scores: &Scores) -> Result<()> {
    check_same_graph(truth.graph(), scores.graph())?;
    if truth.level() == scores.level() {
        return Ok(());
    }
    Err(Error::LevelMismatch { expected: truth.level(), found: scores.level() })
}
