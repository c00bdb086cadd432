//! What a run will take, from shapes alone: passes, FLOPs and memory.

use ablate::graph::{Plan, Positions, Site, Source};
use ablate::model::engine::{Engine, Keep};
use ablate::model::{AnyWeights, Config, Model};
use serde::Serialize;

use crate::app::{App, number_bytes};
use crate::lab::Lab;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Estimate {
    pub(crate) plans: u64,
    pub(crate) rows: u64,
    pub(crate) tokens: u64,
    pub(crate) passes: u64,
    pub(crate) flops: f64,
    pub(crate) weight_bytes: u64,
    pub(crate) activation_bytes: u64,
    pub(crate) blocks: u64,
    pub(crate) peak_bytes: u64,
}

impl Estimate {
    /// For `count` plans like `plans`.
    pub(crate) fn new(app: &App<'_>, lab: &Lab, plans: &[Plan], count: usize) -> Self {
        let config = lab.model.config();
        let rows = lab.rows.batch.rows();
        let tokens: u64 = rows.iter().map(|r| r.clean.len() as u64).sum();
        let sides = 1 + u64::from(lab.rows.has_corrupt());
        let layer = layer_flops(config, &lab.model, lab.rows.batch.max_len());
        let read = 2.0 * (config.d_model * config.d_vocab_out) as f64 * rows.len() as f64;
        let whole = layer * config.n_layers as f64 * tokens as f64 + read;
        let share: f64 = plans.iter().map(|p| suffix(p, config)).sum::<f64>() / plans.len().max(1) as f64;
        let edited = layer * config.n_layers as f64 * tokens as f64 * share + read;
        let (activation_bytes, largest) = activations(app, lab, plans);
        let budget = app.globals.memory.0 as u64;
        let weight_bytes = parameters(config, &lab.model) * number_bytes(app.globals.dtype);
        Self {
            plans: count as u64,
            rows: rows.len() as u64,
            tokens,
            passes: (count as u64 + sides) * rows.len() as u64,
            flops: edited * count as f64 + whole * sides as f64,
            weight_bytes,
            activation_bytes,
            blocks: activation_bytes.div_ceil(budget.max(largest)).max(1),
            peak_bytes: weight_bytes + activation_bytes.min(budget.max(largest)) + scratch(app, config),
        }
    }
}

fn gated(model: &Model) -> bool {
    match model.weights() {
        AnyWeights::F32(w) => w.layers.iter().any(|l| l.mlp.as_ref().is_some_and(|m| m.gate.is_some())),
        AnyWeights::F64(w) => w.layers.iter().any(|l| l.mlp.as_ref().is_some_and(|m| m.gate.is_some())),
    }
}

/// Weights of one layer's matrices.
fn layer_weights(config: &Config, model: &Model) -> u64 {
    let attention = 2 * (config.n_heads + config.n_kv_heads) * config.d_head * config.d_model;
    let maps = if gated(model) { 3 } else { 2 };
    (attention + maps * config.d_mlp * config.d_model) as u64
}

/// Number of weights, matrices only (biases and norms are below a percent).
pub(crate) fn parameters(config: &Config, model: &Model) -> u64 {
    let same = config.d_vocab == config.d_vocab_out;
    let tied = same
        && match model.weights() {
            AnyWeights::F32(w) => (0..config.d_model).all(|j| w.embed.get(0, j) == w.unembed.w.get(j, 0)),
            AnyWeights::F64(w) => (0..config.d_model).all(|j| w.embed.get(0, j) == w.unembed.w.get(j, 0)),
        };
    let embeddings = (config.d_vocab + if tied { 0 } else { config.d_vocab_out }) * config.d_model;
    config.n_layers as u64 * layer_weights(config, model) + embeddings as u64
}

/// FLOPs of one token in one layer: two for each weight, and the scores over `len` positions.
fn layer_flops(config: &Config, model: &Model, len: usize) -> f64 {
    let scores = 4 * config.n_heads * config.d_head * len;
    2.0 * layer_weights(config, model) as f64 + scores as f64
}

/// The share of layers from a plan's first edit on.
fn suffix(plan: &Plan, config: &Config) -> f64 {
    let layer = |site: Site| match site {
        Site::Node(node) => node.layer().unwrap_or(0),
        Site::ResidPre { layer }
        | Site::ResidMid { layer }
        | Site::AttnOut { layer }
        | Site::MlpOut { layer }
        | Site::Slot { layer, .. }
        | Site::Pattern { layer, .. }
        | Site::Neuron { layer, .. } => layer,
        Site::Edge(edge) => edge.reader.layer().unwrap_or(config.n_layers),
    };
    let n = config.n_layers.max(1);
    let first = plan.edits.iter().map(|e| layer(e.site)).min().unwrap_or(n);
    (n - first.min(n)) as f64 / n as f64
}

/// Bytes of kept activations of all rows, and of the largest row.
fn activations(app: &App<'_>, lab: &Lab, plans: &[Plan]) -> (u64, u64) {
    let config = lab.model.config();
    let batch = lab.rows.batch.subset(&[0]);
    let mut base = Keep::PRE;
    let mut donors: Vec<(Source, Keep)> = Vec::new();
    for edit in plans.iter().flat_map(|p| &p.edits) {
        let probe = ablate::graph::Edit { positions: Positions::All, ..edit.clone() };
        base = base
            | match lab.model.weights() {
                AnyWeights::F32(w) => Engine::new(config, w, &batch).keep_for(&probe),
                AnyWeights::F64(w) => Engine::new(config, w, &batch).keep_for(&probe),
            };
        if matches!(edit.source, Source::Resample | Source::ResampleOther { .. } | Source::Clean) {
            let kept = Keep::source_of(edit.site);
            match donors.iter_mut().find(|(s, _)| *s == edit.source) {
                Some((_, k)) => *k = *k | kept,
                None => donors.push((edit.source, kept)),
            }
        }
    }
    let len = lab.rows.batch.max_len();
    let numbers =
        base.per_token(config, len) + donors.iter().map(|(_, k)| k.per_token(config, len)).sum::<usize>();
    let token = numbers as u64 * number_bytes(app.globals.dtype);
    let tokens: u64 = lab.rows.batch.rows().iter().map(|r| r.clean.len() as u64).sum();
    (tokens * token, len as u64 * token)
}

/// Working memory of the threads: rows in flight through the widest part of a layer.
fn scratch(app: &App<'_>, config: &Config) -> u64 {
    const ROWS: usize = 512;
    let width = 6 * config.d_model + 2 * config.d_mlp + 4 * config.n_heads * config.d_head;
    (ROWS * width * rayon::current_num_threads()) as u64 * number_bytes(app.globals.dtype)
}
