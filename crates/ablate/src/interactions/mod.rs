//! Interactions of nodes: what ablating several of them at once does that ablating them one by one does not say.
//!
//! - **What it computes**: the loss (= −metric) of runs in which subsets of `k` nodes are ablated, and the polynomial of
//!   degree ≤ d in the indicators "is ablated" that is nearest to it by least squares; beside it the naive second
//!   difference of every pair, Möbius terms, Shapley values, Shapley-Taylor and Faith-Shap indices, and a name for what
//!   each pair shows ([`Kind`]).
//! - **Formula**: `loss(S) ≈ Σ_{T ⊆ S, |T| ≤ d} c_T`; naive pair `v(ab) − v(a) − v(b) + v(∅)`.
//! - **Cost**: all `2^k` runs for up to [`ALL_UP_TO`] nodes, else a drawn [`Design`].
//! - **When to use**: for a handful of nodes of a circuit, where single effects hide backups and series.
//! - **Differences from the reference**: `v(∅)` is part of the naive difference (it is 0 in the reference's example).
//! - **Source**: a notebook of the project's origin (least squares against the naive difference); Grabisch & Roubens 1999;
//!   Sundararajan et al. 2020 (Shapley-Taylor); Tsai, Yeh & Ravikumar 2023 (Faith-Shap).

mod design;
mod fit;
mod formula;
mod indices;
mod pairs;

use ablate_graph::{Node, Plan, Positions, Side, stats};

pub use design::{ALL_UP_TO, Design, MOST, MOST_TERMS, subsets_up_to};
pub use fit::{Fit, Term, fit};
pub use formula::Formula;
pub use indices::{Index, faith_shap, mobius, shapley, shapley_taylor};
pub use pairs::{Kind, Pair, pairs};

use crate::ablation::Ablation;
use crate::effects::ablate_nodes;
use crate::error::{Error, Result};
use crate::session::Session;

/// The loss of each run of a design, `[runs][examples]`; a formula has one example.
#[derive(Clone, Debug, PartialEq)]
pub struct Losses {
    /// Which subset each run ablates.
    pub design: Design,
    /// Loss of each run and example.
    pub values: Vec<Vec<f64>>,
}

impl Losses {
    /// Losses of the runs of `design`.
    ///
    /// # Errors
    /// Another number of runs; runs of different numbers of examples, or of none; numbers that are not finite.
    pub fn new(design: Design, values: Vec<Vec<f64>>) -> Result<Self> {
        let n = values.first().map_or(0, Vec::len);
        if values.len() != design.subsets.len() || n == 0 || values.iter().any(|v| v.len() != n) {
            return Err(Error::argument(
                format!("{} rows of losses for {} runs", values.len(), design.subsets.len()),
                "pass one row a run, all of the same number of examples",
            ));
        }
        if let Some(run) = values.iter().position(|v| v.iter().any(|x| !x.is_finite())) {
            return Err(Error::argument(
                format!("the loss of run {run} is not finite"),
                "look at the metric",
            ));
        }
        Ok(Self { design, values })
    }

    /// Losses of a formula: one example.
    pub fn of_formula(formula: &Formula, design: Design) -> Self {
        let values = design.subsets.iter().map(|&s| vec![formula.value(s)]).collect();
        Self { design, values }
    }

    /// Number of examples.
    pub fn examples(&self) -> usize {
        self.values.first().map_or(0, Vec::len)
    }

    /// The losses of `subset` for each example, where it was run.
    pub fn of(&self, subset: u64) -> Option<&[f64]> {
        self.design.subsets.binary_search(&subset).ok().map(|i| self.values[i].as_slice())
    }

    /// Largest difference from the unablated run's mean loss, over all runs.
    fn scale(&self) -> f64 {
        let mean = |v: &Vec<f64>| stats::mean(v).unwrap_or_default();
        let none = self.values.first().map_or(0.0, mean);
        self.values.iter().map(|v| (mean(v) - none).abs()).fold(0.0, f64::max)
    }
}

/// A number with its standard error over examples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Mean over examples.
    pub value: f64,
    /// Standard error of the mean; 0 of one example.
    pub std_err: f64,
}

impl Measured {
    pub(crate) fn of(each: &[f64]) -> Self {
        let (value, std_err) = stats::mean_and_std_err(each).unwrap_or_default();
        Self { value, std_err }
    }
}

/// The plan that ablates the nodes whose bits `subset` has.
pub fn subset_plan(nodes: &[Node], subset: u64, ablation: Ablation, positions: &Positions) -> Plan {
    let chosen: Vec<Node> =
        nodes.iter().enumerate().filter(|(i, _)| subset >> i & 1 == 1).map(|(_, node)| *node).collect();
    ablate_nodes(&chosen, ablation, positions)
}

/// Runs every subset of `design`; the loss is the negative of the session's metric.
///
/// # Errors
/// A design of another number of nodes; as [`Session::evaluate`].
pub fn measure(
    session: &mut Session<'_, '_>,
    nodes: &[Node],
    design: Design,
    ablation: Ablation,
    positions: &Positions,
) -> Result<Losses> {
    if nodes.len() != design.k {
        return Err(Error::argument(
            format!("a design of {} nodes for {}", design.k, nodes.len()),
            "make the design for the nodes",
        ));
    }
    session.study().prepare(&[ablate_nodes(nodes, ablation, positions)])?;
    session.base(Side::Clean)?;
    let plans: Vec<Plan> =
        design.subsets.iter().map(|&s| subset_plan(nodes, s, ablation, positions)).collect();
    session.expect(plans.len());
    let metrics = session.evaluate(&plans)?;
    Losses::new(design, metrics.into_iter().map(|m| m.into_iter().map(|x| -x).collect()).collect())
}
