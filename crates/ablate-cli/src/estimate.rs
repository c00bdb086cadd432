//! What a run will take, before it runs: passes, FLOPs and memory.

use ablate::Result;
use ablate::graph::Plan;
use ablate::model::{AnyWeights, Model};
use ablate::run::Passes;
use serde::Serialize;

use crate::app::{App, number_bytes};
use crate::lab::Lab;
use crate::table::{Table, bytes, si};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Estimate {
    plans: u64,
    rows: u64,
    passes: u64,
    base_passes: u64,
    flops: f64,
    full_flops: f64,
    blocks: u64,
    program_bytes: u64,
    weight_bytes: u64,
    loading_bytes: u64,
    activation_bytes: u64,
    mean_bytes: u64,
    buffer_bytes: u64,
    peak_bytes: u64,
}

impl Estimate {
    /// For `count` plans like `plans`; `trials` says whether runs are kept to go on from them.
    pub(crate) fn new(app: &App<'_>, lab: &Lab, plans: &[Plan], count: usize, trials: bool) -> Result<Self> {
        let mut bar = app.bar("explain");
        let mut session = lab.session(app, &mut bar, None)?;
        let cost = session.study().cost(plans)?;
        let scale = count as f64 / plans.len().max(1) as f64;
        let weight_bytes = parameters(&lab.model) * number_bytes(app.globals.dtype);
        let loading_bytes = lab.model.loading_bytes();
        let kept = cost.activation_bytes + if trials { cost.trial_bytes } else { 0 };
        let (activation_bytes, mean_bytes) = (kept as u64, cost.mean_bytes as u64);
        let (program_bytes, buffer_bytes) = (program_bytes(Some(&lab.model)), cost.buffer_bytes as u64);
        // loading is over before means are taken, and these are there before plans are run
        let running = activation_bytes.max(mean_bytes) + buffer_bytes;
        Ok(Self {
            plans: count as u64,
            rows: lab.rows.batch.len() as u64,
            passes: (count * lab.rows.batch.len()) as u64,
            base_passes: cost.base_passes,
            flops: cost.flops * scale,
            full_flops: cost.full_flops * scale,
            blocks: cost.blocks as u64,
            program_bytes,
            weight_bytes,
            loading_bytes,
            activation_bytes,
            mean_bytes,
            buffer_bytes,
            peak_bytes: program_bytes + weight_bytes + running.max(loading_bytes),
        })
    }

    /// With what runs before it takes: the largest of both at the peak, the sum of what is computed.
    pub(crate) fn after(mut self, before: Passes) -> Self {
        self.passes += before.passes;
        self.flops += before.flops;
        self.full_flops += before.flops;
        let running = self.activation_bytes.max(self.mean_bytes) + self.buffer_bytes;
        let most = running.max(before.activation_bytes + before.buffer_bytes).max(self.loading_bytes);
        self.activation_bytes = self.activation_bytes.max(before.activation_bytes);
        self.buffer_bytes = self.buffer_bytes.max(before.buffer_bytes);
        self.peak_bytes = self.program_bytes + self.weight_bytes + most;
        self
    }

    /// As a table.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new(&["what", ">how much"]);
        let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
        row("plans", self.plans.to_string());
        row("rows", self.rows.to_string());
        row("passes (plans × rows)", self.passes.to_string());
        row("passes of base and donor runs", self.base_passes.to_string());
        row("FLOPs", si(self.flops));
        row("FLOPs of whole passes", si(self.full_flops));
        row("blocks", self.blocks.to_string());
        row("program and tokenizer", bytes(self.program_bytes));
        row("weights", bytes(self.weight_bytes));
        row("files while loading", bytes(self.loading_bytes));
        row("means while they are taken", bytes(self.mean_bytes));
        row("activations", bytes(self.activation_bytes));
        row("buffers", bytes(self.buffer_bytes));
        row("peak memory", bytes(self.peak_bytes));
        table
    }
}

/// Bytes of the program itself, and of a tokenizer for each of its ids; both measured.
pub(crate) fn program_bytes(model: Option<&Model>) -> u64 {
    const PROGRAM: u64 = 24 << 20;
    const TOKENIZER: u64 = 640;
    let tokenizer = model.filter(|m| m.tokenizer().is_some());
    PROGRAM + tokenizer.map_or(0, |m| TOKENIZER * m.config().d_vocab as u64)
}

/// Number of weights, matrices only (biases and norms are below a percent).
pub(crate) fn parameters(model: &Model) -> u64 {
    let config = model.config();
    let (gated, tied) = match model.weights() {
        AnyWeights::F32(w) => (
            w.layers.iter().any(|l| l.mlp.as_ref().is_some_and(|m| m.gate.is_some())),
            (0..config.d_model).all(|j| w.embed.get(0, j) == w.unembed.w.get(j, 0)),
        ),
        AnyWeights::F64(w) => (
            w.layers.iter().any(|l| l.mlp.as_ref().is_some_and(|m| m.gate.is_some())),
            (0..config.d_model).all(|j| w.embed.get(0, j) == w.unembed.w.get(j, 0)),
        ),
    };
    let attention = 2 * (config.n_heads + config.n_kv_heads) * config.d_head;
    let mlp = if gated { 3 } else { 2 } * config.d_mlp;
    let unembed = if tied && config.d_vocab == config.d_vocab_out { 0 } else { config.d_vocab_out };
    let positions = match model.weights() {
        AnyWeights::F32(w) => match &w.pos {
            Some(table) => table.rows(),
            None => 0,
        },
        AnyWeights::F64(w) => match &w.pos {
            Some(table) => table.rows(),
            None => 0,
        },
    };
    ((config.n_layers * (attention + mlp) + config.d_vocab + unembed + positions) * config.d_model) as u64
}
