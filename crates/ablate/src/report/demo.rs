//! `ablate/demo`: the main job on a model whose circuit is known.

use serde::Serialize;

use super::{Base, CircuitPart, Cost};

/// What was found, and what is true.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DemoReport {
    /// The unedited runs.
    pub base: Base,
    /// Effects of single nodes, the largest first.
    pub effects: Vec<EffectRow>,
    /// The effect above which a node is in the circuit.
    pub threshold: f64,
    /// What was found.
    pub circuit: CircuitPart,
    /// The effects on held-out rows, in the same order.
    pub held_out: Vec<EffectRow>,
    /// Several nodes ablated at once.
    pub together: Vec<Together>,
    /// Names of the known circuit.
    pub truth: Vec<String>,
    /// Share of what was found that is true; absent if nothing was found.
    pub precision: Option<f64>,
    /// Share of what is true that was found.
    pub recall: Option<f64>,
    /// Whether exactly the known circuit was found.
    pub recovered: bool,
    /// What it took.
    pub cost: Cost,
}

/// The metric with several nodes ablated at once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Together {
    /// Which nodes.
    pub ablated: String,
    /// How many.
    pub nodes: usize,
    /// Mean metric.
    pub metric: f64,
    /// Its standard error.
    pub std_err: f64,
    /// Number of rows.
    pub n: usize,
}

/// The effect of one node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EffectRow {
    /// The node.
    pub name: String,
    /// Mean effect.
    pub score: f64,
    /// Its standard error.
    pub std_err: f64,
    /// Number of rows.
    pub n: usize,
}
