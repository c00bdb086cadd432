//! `ablate/compress`: a smaller checkpoint, and what it is worth.

use serde::Serialize;

use crate::compress::{Fate, LayerReport, TextScore};

/// A compressed model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CompressReport {
    /// The folder written.
    pub folder: String,
    /// Its files.
    pub files: Vec<String>,
    /// The format's `model_type`.
    pub model_type: String,
    /// Number type of the file.
    pub stored: String,
    /// `node` or `edge`: the level of the circuit.
    pub level: String,
    /// Heads and MLPs that were removed, in canonical order.
    pub removed: Vec<String>,
    /// Number of weights.
    pub parameters: BeforeAfter<u64>,
    /// Bytes of the weights as they lie on disk; before: `null` for built-in models.
    pub bytes: BeforeAfter<Option<u64>>,
    /// Bytes of the weights in the number type of the new file.
    pub bytes_same_type: BeforeAfter<u64>,
    /// What became of the heads, layer by layer added up.
    pub heads: HeadCount,
    /// What became of the MLPs.
    pub mlps: MlpCount,
    /// Each layer.
    pub layers: Vec<LayerRow>,
    /// The metric's name.
    pub metric_name: String,
    /// Mean metric.
    pub metric: Steps,
    /// Share of rows whose most likely token is an answer.
    pub accuracy: Steps,
    /// Largest difference of a logit after the last token between the ablated run and the file loaded again.
    pub largest_logit_gap: f64,
    /// Other text, where there is any.
    pub text: Option<TextReport>,
    /// Rows a second in plain runs over the data, best of several; absent when times are pinned.
    pub rows_per_second: Option<BeforeAfter<f64>>,
    /// What differs from the ablated model, or is done in an unexpected way.
    pub notes: Vec<String>,
}

/// A number of the old and of the new model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BeforeAfter<N> {
    /// Of the old model.
    pub before: N,
    /// Of the new one.
    pub after: N,
}

/// A number of the old model, of its ablated run, and of the new model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Steps {
    /// The old model.
    pub before: f64,
    /// The old model with everything outside the circuit ablated.
    pub ablated: f64,
    /// The new model, loaded from its file.
    pub after: f64,
}

/// What became of heads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeadCount {
    /// Heads of the old model.
    pub of: usize,
    /// Heads that are as they were.
    pub kept: usize,
    /// Heads that are not in the file.
    pub removed: usize,
    /// Heads, or places for them, that are zeros in the file.
    pub zeroed: usize,
}

/// What became of MLPs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MlpCount {
    /// MLPs of the old model.
    pub of: usize,
    /// MLPs that are as they were.
    pub kept: usize,
    /// MLPs of which one neuron of zeros is left.
    pub removed: usize,
    /// MLPs that are zeros in the file.
    pub zeroed: usize,
    /// MLPs that give their mean whatever they read.
    pub constant: usize,
}

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerRow {
    /// Layer, from 0.
    pub layer: usize,
    /// The head of the old model at each place of the new one; `null` = zeros.
    pub heads: Vec<Option<String>>,
    /// Heads that are not in the file.
    pub removed: usize,
    /// Heads, or places for them, that are zeros in the file.
    pub zeroed: usize,
    /// `kept`, `zeroed`, `removed` or `constant`.
    pub mlp: String,
}

/// Other text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TextReport {
    /// Which text.
    pub what: String,
    /// Tokens that were predicted.
    pub tokens: usize,
    /// The old model.
    pub before: TextRow,
    /// The new one.
    pub after: TextRow,
}

/// How well a model predicts text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TextRow {
    /// Share of tokens that are the most likely one.
    pub accuracy: f64,
    /// Mean of -log probability, in nats.
    pub loss: f64,
}

impl From<TextScore> for TextRow {
    fn from(score: TextScore) -> Self {
        Self { accuracy: score.accuracy, loss: score.loss }
    }
}

impl LayerRow {
    /// The rows of all layers.
    pub fn all(layers: &[LayerReport]) -> Vec<Self> {
        let row = |(l, layer): (usize, &LayerReport)| Self {
            layer: l,
            heads: layer.heads.iter().map(|h| h.map(|h| format!("a{l}.h{h}"))).collect(),
            removed: layer.removed,
            zeroed: layer.zeroed,
            mlp: layer.mlp.name().to_owned(),
        };
        layers.iter().enumerate().map(row).collect()
    }
}

impl HeadCount {
    /// The sum over layers of a model with `n_heads` heads each.
    pub fn of(layers: &[LayerReport], n_heads: usize) -> Self {
        let sum = |f: &dyn Fn(&LayerReport) -> usize| layers.iter().map(f).sum();
        Self {
            of: layers.len() * n_heads,
            kept: sum(&|l| l.heads.iter().flatten().count()),
            removed: sum(&|l| l.removed),
            zeroed: sum(&|l| l.zeroed),
        }
    }
}

impl MlpCount {
    /// The sum over layers.
    pub fn of(layers: &[LayerReport]) -> Self {
        let count = |fate: Fate| layers.iter().filter(|l| l.mlp == fate).count();
        Self {
            of: layers.len(),
            kept: count(Fate::Kept),
            removed: count(Fate::Removed),
            zeroed: count(Fate::Zeroed),
            constant: count(Fate::Constant),
        }
    }
}
