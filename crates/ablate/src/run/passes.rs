//! What runs of whole rows, without plans, will take.

use ablate_model::Batch;
use ablate_model::engine::Engine;
use ablate_model::model::{AnyWeights, Model};
use ablate_tensor::Real;

/// The cost of runs before they are made. Nothing is run for it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Passes {
    /// Runs of one row each; a backward pass counts as two.
    pub passes: u64,
    /// Floating-point operations of all products.
    pub flops: f64,
    /// Bytes of activations that are held at once, at most.
    pub activation_bytes: u64,
    /// Bytes of buffers.
    pub buffer_bytes: u64,
}

impl Passes {
    /// `times` plain runs of every row of `batch`, of which no activations are kept; `logits` are computed at each read
    /// position.
    pub fn plain(model: &Model, batch: &Batch, times: u64, logits: usize) -> Self {
        let (cfg, tokens) = (model.config(), batch.rows().iter().map(|r| r.clean.len()).sum());
        let (flops, buffers) = match model.weights() {
            AnyWeights::F32(w) => once(&Engine::new(cfg, w, batch), logits, tokens),
            AnyWeights::F64(w) => once(&Engine::new(cfg, w, batch), logits, tokens),
        };
        Self {
            passes: times * batch.len() as u64,
            flops: flops * times as f64,
            activation_bytes: 0,
            buffer_bytes: buffers as u64,
        }
    }

    /// One after the other: what is held at once is the larger of both.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self {
            passes: self.passes + next.passes,
            flops: self.flops + next.flops,
            activation_bytes: self.activation_bytes.max(next.activation_bytes),
            buffer_bytes: self.buffer_bytes.max(next.buffer_bytes),
        }
    }
}

fn once<T: Real>(engine: &Engine<'_, T>, logits: usize, tokens: usize) -> (f64, usize) {
    (engine.base_cost(logits, true).flops, engine.buffer_bytes(tokens))
}
