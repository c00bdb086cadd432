//! `ablate/cases`, `ablate/case` and `ablate/training`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::case::train::{Epoch, Recipe};

/// The cases.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CasesReport {
    /// In the order of their ids.
    pub cases: Vec<CaseRow>,
}

/// A case and its compiled model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseRow {
    /// Its id.
    pub id: String,
    /// What it computes.
    pub task: String,
    /// Its tokens, BOS and PAD left out.
    pub vocabulary: Vec<String>,
    /// Longest input, BOS included.
    pub length: usize,
    /// Whether attention is causal.
    pub causal: bool,
    /// `categorical` or `numerical`.
    pub output: String,
    /// Classes, or 1.
    pub outputs: usize,
    /// Layers of the compiled model.
    pub layers: usize,
    /// Heads of a layer.
    pub heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Width of the stream.
    pub d_model: usize,
    /// Width of an MLP.
    pub d_mlp: usize,
    /// The true nodes.
    pub nodes: Vec<String>,
    /// The true edges: those that carry values of the program.
    pub edges: Vec<String>,
    /// Whether it is too simple to judge methods by.
    pub trivial: bool,
}

/// Effects of a case's nodes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseReport {
    /// The case.
    pub case: String,
    /// `resample`, `zero` or `mean`, with the subspace's mode where there is one.
    pub ablation: String,
    /// `wrong`, `kl` or `kl-self`.
    pub measure: String,
    /// Number of inputs; all pairs of two are used.
    pub inputs: usize,
    /// Of the clean run's outputs those that are the case's, in percent.
    pub accuracy: f64,
    /// One row a node: those in the circuit first.
    pub rows: Vec<CaseEffectRow>,
    /// By node, `[position][component][output]`: what its principal components would add to the outputs, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lens: Option<BTreeMap<String, Vec<Vec<Vec<f64>>>>>,
}

/// A node's effects.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseEffectRow {
    /// The node.
    pub node: String,
    /// `in_circuit` or `not_in_circuit`.
    pub status: String,
    /// By scale.
    pub effects: BTreeMap<String, f64>,
}

/// A training run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainingReport {
    /// The case.
    pub case: String,
    /// The settings.
    pub recipe: Recipe,
    /// Whether the goal was reached.
    pub reached: bool,
    /// What each epoch did.
    pub epochs: Vec<Epoch>,
    /// The nodes of the trained model that stand for the program's, by sequence.
    pub alignment: BTreeMap<String, Vec<String>>,
}
