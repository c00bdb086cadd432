//! `ablate/trace`: removal curves and pruning, step by step.

use ablate_graph::Circuit;
use ablate_graph::format::shape_value;
use serde::Serialize;
use serde_json::Value;

use super::{Base, Cost};

/// A circuit inside another file, enough to be read as one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CircuitPart {
    /// `node` or `edge`.
    pub level: String,
    /// Names in canonical order.
    pub members: Vec<String>,
    /// How many.
    pub size: usize,
    /// Of how many candidates.
    pub of: usize,
    /// Fingerprint of the graph.
    pub graph: String,
    /// Its shape.
    pub shape: Value,
}

impl CircuitPart {
    /// The members that are candidates too; `of` counts the candidates.
    pub fn new(circuit: &Circuit, of: usize) -> Self {
        Self {
            level: circuit.level().to_string(),
            members: circuit.names(),
            size: circuit.len(),
            of,
            graph: circuit.fingerprint(),
            shape: shape_value(circuit.graph()),
        }
    }
}

/// A removal curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CurveReport {
    /// `once` or `greedy`.
    pub ranking: String,
    /// The metric's name.
    pub metric_name: String,
    /// The unedited runs.
    pub base: Base,
    /// One row a removal, in order.
    pub steps: Vec<CurveRow>,
    /// What it took.
    pub cost: Cost,
}

/// One step of a removal curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CurveRow {
    /// What was removed, beside everything before it.
    pub removed: String,
    /// Mean metric after it.
    pub metric: f64,
    /// Its standard error.
    pub std_err: f64,
    /// Number of rows.
    pub n: usize,
}

/// A pruning run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PruneReport {
    /// Order of candidates.
    pub order: String,
    /// Its seed, where it is random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_seed: Option<u64>,
    /// Percent of the full model's score that could be lost.
    pub threshold: f64,
    /// Whether gains counted as losses.
    pub two_sided: bool,
    /// The metric's name.
    pub metric_name: String,
    /// Mean metric of the full model.
    pub full: f64,
    /// The unedited runs.
    pub base: Base,
    /// Every test.
    pub steps: Vec<PruneRow>,
    /// What is left.
    pub circuit: CircuitPart,
    /// Mean metric of what is left, measured again.
    pub metric: f64,
    /// Its standard error.
    pub std_err: f64,
    /// The metric in percent of the full model's.
    pub score_percent: f64,
    /// For each member, the score without it.
    pub leave_one_out: Vec<LeftOut>,
    /// The score on rows that were not used to prune.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<HeldOut>,
    /// All orders, where several were run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<OrderReport>,
    /// In how many orders each candidate survived, where several were run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub survival: Vec<Survival>,
    /// What it took.
    pub cost: Cost,
}

/// One test of a pruning run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PruneRow {
    /// Pass, from 0.
    pub pass: usize,
    /// The node tested.
    pub candidate: String,
    /// Mean metric without it.
    pub metric: f64,
    /// The same in percent of the full model's.
    pub score_percent: f64,
    /// Whether it was removed.
    pub removed: bool,
}

/// What a member is worth in the circuit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeftOut {
    /// The member.
    pub name: String,
    /// Score of the circuit without it, in percent of the full model's.
    pub score_percent: f64,
    /// Percentage points that it brings.
    pub importance: f64,
}

/// A score on held-out rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeldOut {
    /// Number of rows.
    pub n: usize,
    /// Mean metric of the full model on them.
    pub full: f64,
    /// Mean metric of the circuit.
    pub metric: f64,
    /// Its standard error.
    pub std_err: f64,
    /// In percent of the full model's.
    pub score_percent: f64,
}

/// The outcome of one order among several.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OrderReport {
    /// Its seed.
    pub seed: u64,
    /// Members that are left.
    pub members: Vec<String>,
    /// How many.
    pub size: usize,
    /// Mean metric of what is left.
    pub metric: f64,
    /// In percent of the full model's.
    pub score_percent: f64,
}

/// How often a candidate survived.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Survival {
    /// The candidate.
    pub name: String,
    /// Orders in which it was kept.
    pub kept: usize,
    /// Orders.
    pub of: usize,
}
