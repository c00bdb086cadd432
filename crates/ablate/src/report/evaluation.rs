//! `ablate/evaluation`: how well a circuit does what the model does.

use serde::Serialize;

use super::{Base, Cost};
use crate::verify::{Bound, Completeness, Curve, Member, Test};

/// Agreement with a circuit that is known to be true.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Against {
    /// Share of the found edges that are true; `None` where nothing was found.
    pub edge_precision: Option<f64>,
    /// Share of the true edges that were found.
    pub edge_recall: Option<f64>,
    /// Area under the ROC curve of edge scores, from ranks.
    pub edge_auroc: Option<f64>,
    /// The same as MIB computes it.
    pub edge_auroc_mib: Option<f64>,
    /// Share of the found nodes that are true.
    pub node_precision: Option<f64>,
    /// Share of the true nodes that were found.
    pub node_recall: Option<f64>,
    /// Area under the ROC curve of node scores (of edge scores: each node's largest |score|).
    pub node_auroc: Option<f64>,
}

/// An evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvaluationReport {
    /// The metric's name.
    pub metric_name: String,
    /// Members of the circuit.
    pub size: usize,
    /// Of how many.
    pub of: usize,
    /// Level of the members.
    pub level: String,
    /// Mean metric of the circuit.
    pub metric: f64,
    /// Its standard error.
    pub std_err: f64,
    /// Mean metric of the full model.
    pub clean: f64,
    /// Mean metric with everything ablated.
    pub ablated: f64,
    /// `(metric − ablated) / (clean − ablated)`; `null` where clean and ablated coincide.
    pub faithfulness: Option<f64>,
    /// Bootstrap interval of it, 95%.
    pub interval: Option<(f64, f64)>,
    /// The metric of the circuit on every example.
    pub per_example: Vec<f64>,
    /// Faithfulness over sizes.
    pub curve: Option<Curve>,
    /// See [`Curve::cpr`].
    pub cpr: Option<f64>,
    /// See [`Curve::cmd`].
    pub cmd: Option<f64>,
    /// Hypothesis tests.
    pub tests: Vec<Test>,
    /// Sets taken out of circuit and model alike.
    pub completeness: Vec<Completeness>,
    /// Members taken out of the circuit.
    pub minimality: Vec<Member>,
    /// Mean metrics of random circuits of the same size.
    pub random: Vec<f64>,
    /// Agreement with the truth.
    pub against: Option<Against>,
    /// Bounds that were asked for.
    pub bounds: Vec<Bound>,
    /// The unedited runs.
    pub base: Base,
    /// What it took.
    pub cost: Cost,
}
