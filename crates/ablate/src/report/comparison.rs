//! `ablate/comparison`: circuits and scores side by side.

use serde::Serialize;

/// Several circuits and scores.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ComparisonReport {
    /// The files, in the order given.
    pub files: Vec<String>,
    /// Circuits and what set algebra makes of them.
    pub sets: Vec<SetReport>,
    /// Jaccard index of every pair of circuits, in the order of the circuits.
    pub jaccard: Vec<Vec<f64>>,
    /// Agreement of every pair of scores.
    pub agreement: Vec<PairReport>,
}

/// A set of nodes or edges.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SetReport {
    /// `union`, `intersection`, `only FILE`, or the file.
    pub name: String,
    /// Names in canonical order.
    pub members: Vec<String>,
    /// How many.
    pub size: usize,
    /// Its metric when everything outside is ablated, where a model and data were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// What a set does alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Mean metric with everything outside it ablated.
    pub metric: f64,
    /// Its standard error.
    pub std_err: f64,
    /// In percent of the full model's, where that is above 0.
    pub score_percent: Option<f64>,
    /// Number of rows.
    pub n: usize,
}

/// How two lists of scores agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairReport {
    /// One file.
    pub a: String,
    /// The other.
    pub b: String,
    /// Ids that both have.
    pub n: usize,
    /// Rank correlation.
    pub spearman: f64,
    /// Kendall's tau-b.
    pub kendall: f64,
    /// Linear correlation.
    pub pearson: f64,
    /// Share of equal signs.
    pub sign_agreement: f64,
}
