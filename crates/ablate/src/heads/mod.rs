//! What heads do: where they look, what they copy, what they write into the logits.
//!
//! - **What it computes**: mass of attention on the token after an earlier occurrence (induction), on the previous token and
//!   on equal tokens, over random repeated tokens and over data ([`behaviours`]); the share of tokens that a head's OV
//!   circuit ranks among its best ([`copying`]); attention to named positions ([`attention_to`]); direct logit attribution
//!   and logit lens ([`attribution`], [`lens`]); clusters of outputs ([`clusters`]).
//! - **Cost**: one run of the rows; copying adds a product with the unembedding for every head.
//! - **When to use**: to name the heads that a circuit is made of. It says what heads can do and write, not what matters:
//!   that is for ablation.
//! - **Source**: Olsson et al. 2022 (induction); Wang et al. 2022, appendices (duplicate tokens, copy scores); Elhage et al.
//!   2021 (direct logit attribution); nostalgebraist 2020 (logit lens); Rousseeuw 1987 (silhouettes).

mod attribution;
mod clusters;
mod copying;
mod lens;
mod patterns;
pub(crate) mod watch;

use ablate_graph::rng::Random;
use ablate_model::engine::Keep;
use ablate_model::model::AnyWeights;
use ablate_model::{Batch, Model, Row};

pub use attribution::{Attribution, attribution};
pub use clusters::{Clusters, clusters, labels, silhouette};
pub use copying::{CopyNorm, Copying, OwnToken, copying, own_answers, own_random};
pub use lens::{LensRow, lens};
pub use patterns::{Attention, Behaviours, attention_to, behaviours, targets};

use crate::error::{Error, Result};
use crate::interactions::Measured;
use crate::run::Passes;

/// Values of one head, one a row that has any.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PerRow(pub Vec<f64>);

impl PerRow {
    /// Mean and standard error over rows; `None` where no row has a value.
    pub fn measured(&self) -> Option<Measured> {
        (!self.0.is_empty()).then(|| Measured::of(&self.0))
    }
}

/// Random tokens, said twice.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomTokens {
    /// The rows: a beginning-of-sequence token where texts have one, then `length` different tokens, then these again.
    pub batch: Batch,
    /// Number of different tokens of a row.
    pub length: usize,
    /// First position of the random tokens.
    pub start: usize,
}

impl RandomTokens {
    /// `rows` rows for `model`. Without `length`, 100 tokens or as many as context and vocabulary allow.
    ///
    /// # Errors
    /// No rows; a `length` that the context or vocabulary cannot hold, or below 2.
    pub fn new(model: &Model, rows: usize, length: Option<usize>, seed: u64) -> Result<Self> {
        const USUAL: usize = 100;
        let config = model.config();
        let first = begin(model)?;
        let vocab = model.codec().map_or(config.d_vocab, |c| c.vocab_size().min(config.d_vocab));
        let usable: Vec<u32> = (0..vocab as u32).filter(|t| Some(*t) != first).collect();
        let start = usize::from(first.is_some());
        let most = usable.len().min(config.n_ctx.saturating_sub(start) / 2);
        let length = length.unwrap_or(USUAL.min(most));
        if rows == 0 || length < 2 || length > most {
            return Err(Error::argument(
                format!("{rows} rows of {length} random tokens, said twice"),
                format!(
                    "ask for at least one row of 2 to {most} tokens: context and vocabulary hold no more"
                ),
            ));
        }
        let random = Random::new(seed, "random tokens");
        let row = |r: usize| {
            let drawn: Vec<u32> =
                random.choose(r as u64, usable.len(), length).into_iter().map(|i| usable[i]).collect();
            let clean = first.into_iter().chain(drawn.iter().copied()).chain(drawn.iter().copied()).collect();
            Row { clean, ..Row::default() }
        };
        let batch =
            Batch::new((0..rows).map(row).collect(), vec![String::new()], config.d_vocab, config.n_ctx)?;
        Ok(Self { batch, length, start })
    }
}

/// The token that texts of this model begin with, where they do.
fn begin(model: &Model) -> Result<Option<u32>> {
    let Some(codec) = model.codec() else { return Ok(None) };
    let bos = codec.bos();
    Ok(codec.encode("")?.first().copied().filter(|t| Some(*t) == bos))
}

/// First position of each row that is no beginning-of-sequence token.
pub fn starts(model: &Model, batch: &Batch) -> Vec<usize> {
    let bos = model.codec().and_then(ablate_model::batch::Codec::bos);
    batch.rows().iter().map(|r| usize::from(bos.is_some() && r.clean.first().copied() == bos)).collect()
}

/// What `passes` runs of every row of `batch` and copy scores of `tokens` will take. Runs nothing.
pub fn estimate(model: &Model, batch: &Batch, passes: usize, tokens: usize, budget: usize) -> Passes {
    let cfg = model.config();
    let plain = Passes::plain(model, batch, passes as u64, 2);
    let copying = 2.0 * (cfg.d_model * cfg.d_vocab_out * tokens * cfg.n_layers * cfg.n_heads) as f64;
    let number = if matches!(model.weights(), AnyWeights::F64(_)) { 8 } else { 4 };
    // what the runs of this folder keep, the largest of them
    let kept = [Keep::PATTERN | Keep::KV, Keep::PRE | Keep::Z | Keep::MLP];
    let bytes =
        |len: usize| len * kept.map(|k| k.per_token(cfg, len)).into_iter().fold(0, usize::max) * number;
    let all: usize = batch.rows().iter().map(|r| bytes(r.clean.len())).sum();
    let logits = rayon::current_num_threads() * copying::AT_ONCE.min(tokens) * cfg.d_vocab_out * number;
    Passes {
        flops: plain.flops + copying,
        activation_bytes: all.min(budget.max(bytes(batch.max_len()))) as u64,
        buffer_bytes: plain.buffer_bytes.max(logits as u64),
        ..plain
    }
}
