//! `ablate/interactions`: the fit, the pairs and the indices.

use serde::Serialize;

use super::{Base, Cost};
use crate::interactions::{Fit, Index, Kind, Losses, Measured, Pair};

/// Interactions of nodes, or of a formula's names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InteractionsReport {
    /// Most nodes of a fitted term.
    pub degree: usize,
    /// What is fitted: `-logit-diff`, or the formula.
    pub loss: String,
    /// What is ablated.
    pub nodes: Vec<String>,
    /// `all` or `drawn`.
    pub subsets: String,
    /// Number of subsets that were run.
    pub runs: usize,
    /// The fitted terms; the constant has no nodes.
    pub terms: Vec<TermRow>,
    /// Sum of squares that the fit leaves of the mean loss.
    pub residual: f64,
    /// Share of the loss's variance over runs that it explains.
    pub explained: Option<f64>,
    /// Every pair.
    pub pairs: Vec<PairRow>,
    /// Indices, where all subsets were run.
    pub indices: Option<IndicesPart>,
    /// The unedited runs; a formula has none.
    pub base: Option<Base>,
    /// What it took; a formula takes nothing.
    pub cost: Option<Cost>,
}

/// A fitted term.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TermRow {
    /// Which nodes.
    pub nodes: Vec<String>,
    /// Its coefficient.
    pub coefficient: f64,
    /// Standard error over examples; a formula has none.
    pub std_err: Option<f64>,
}

/// A pair of nodes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairRow {
    /// Which two.
    pub nodes: Vec<String>,
    /// Naive second difference of the loss.
    pub naive: f64,
    /// Its standard error; a formula has none.
    pub std_err: Option<f64>,
    /// What ablating each adds to the loss when nothing else is ablated.
    pub alone: [f64; 2],
    /// What it adds to the fitted loss, on average over all subsets of the other nodes.
    pub average: [f64; 2],
    /// The fit's term of both; the naive difference where the degree is 1.
    pub joint: f64,
    /// Its standard error; a formula has none.
    pub joint_std_err: Option<f64>,
    /// independent, redundant, backup, series or opposed.
    pub shows: String,
    /// Which of the two is the backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
}

/// Indices of the set function.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IndicesPart {
    /// Order of `shapley_taylor` and `faith_shap`.
    pub order: usize,
    /// Möbius terms of all subsets.
    pub mobius: Vec<IndexRow>,
    /// Shapley values of the nodes.
    pub shapley: Vec<IndexRow>,
    /// Shapley-Taylor indices.
    pub shapley_taylor: Vec<IndexRow>,
    /// Faith-Shap indices.
    pub faith_shap: Vec<IndexRow>,
}

/// The index of a set of nodes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IndexRow {
    /// Which nodes.
    pub nodes: Vec<String>,
    /// The index.
    pub value: f64,
    /// Standard error over examples; a formula has none.
    pub std_err: Option<f64>,
}

impl InteractionsReport {
    /// Of a fit; `exact` = there are no examples to take standard errors over.
    pub fn new(
        loss: String,
        names: &[String],
        losses: &Losses,
        fit: &Fit,
        pairs: &[Pair],
        exact: bool,
    ) -> Self {
        let error = |m: Measured| (!exact).then_some(m.std_err);
        let term = |t: &crate::interactions::Term| TermRow {
            nodes: members(names, t.subset),
            coefficient: t.coefficient.value,
            std_err: error(t.coefficient),
        };
        let pair = |p: &Pair| PairRow {
            nodes: p.nodes.map(|i| names[i].clone()).to_vec(),
            naive: p.naive.value,
            std_err: error(p.naive),
            alone: p.alone.map(|s| s.value),
            average: p.average.map(|s| s.value),
            joint: p.joint.value,
            joint_std_err: error(p.joint),
            shows: p.kind.name().to_owned(),
            backup: match p.kind {
                Kind::Backup { second } => Some(names[p.nodes[usize::from(second)]].clone()),
                _ => None,
            },
        };
        let row = |(subset, m): (u64, Measured)| IndexRow {
            nodes: members(names, subset),
            value: m.value,
            std_err: error(m),
        };
        let rows =
            |index: Option<Index>| index.map(|all| all.into_iter().map(row).collect::<Vec<IndexRow>>());
        let order = fit.degree.max(1);
        let indices = || {
            Some(IndicesPart {
                order,
                mobius: rows(losses.mobius())?,
                shapley: rows(losses.shapley())?,
                shapley_taylor: rows(losses.shapley_taylor(order))?,
                faith_shap: rows(losses.faith_shap(order))?,
            })
        };
        Self {
            degree: fit.degree,
            loss,
            nodes: names.to_vec(),
            subsets: if losses.design.is_all() { "all" } else { "drawn" }.to_owned(),
            runs: losses.design.subsets.len(),
            terms: fit.terms.iter().map(term).collect(),
            residual: fit.residual,
            explained: fit.explained,
            pairs: pairs.iter().map(pair).collect(),
            indices: indices(),
            base: None,
            cost: None,
        }
    }
}

/// Names of the nodes whose bits a subset has.
fn members(names: &[String], subset: u64) -> Vec<String> {
    names.iter().enumerate().filter(|(i, _)| subset >> i & 1 == 1).map(|(_, name)| name.clone()).collect()
}
