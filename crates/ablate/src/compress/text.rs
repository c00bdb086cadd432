//! How well a model predicts other text: the share of tokens that it finds most likely, and its mean loss.

use ablate_graph::{Plan, Side};
use ablate_model::engine::{Engine, Judge, Keep, Sources};
use ablate_model::model::{AnyWeights, Model};
use ablate_model::{Batch, Config, Row, Weights};
use ablate_tensor::Real;

use crate::error::{Error, Result};

/// How well next tokens are predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TextScore {
    /// Tokens that were predicted.
    pub tokens: usize,
    /// Share of them that were the most likely one.
    pub accuracy: f64,
    /// Mean of -log probability, in nats.
    pub loss: f64,
}

/// A long text in windows of at most `size` tokens, one after the other, at most `most` of them; what is too short to
/// predict anything in is left out.
pub fn windows(tokens: &[u32], size: usize, most: usize) -> Vec<Vec<u32>> {
    tokens.chunks(size.max(2)).filter(|w| w.len() > 1).take(most).map(<[u32]>::to_vec).collect()
}

/// Predicts every token of each of `texts` but the first.
///
/// # Errors
/// No texts, a text of one token, texts longer than the model's context, tokens that it does not have.
pub fn next_token(model: &Model, texts: &[Vec<u32>]) -> Result<TextScore> {
    if texts.iter().any(|text| text.len() < 2) {
        return Err(Error::argument(
            "a text of one token has no next token to predict",
            "give texts of at least two tokens",
        ));
    }
    let config = model.config();
    let rows = texts.iter().map(|text| Row { clean: text.clone(), ..Row::default() }).collect();
    let batch = Batch::new(rows, vec![String::new()], config.d_vocab, config.n_ctx)?;
    match model.weights() {
        AnyWeights::F32(w) => typed(config, w, &batch),
        AnyWeights::F64(w) => typed(config, w, &batch),
    }
}

fn typed<T: Real>(cfg: &Config, weights: &Weights<T>, batch: &Batch) -> Result<TextScore> {
    let reads = batch.rows().iter().map(|row| (0..row.clean.len() as u32 - 1).collect()).collect();
    let engine = Engine::reading(cfg, weights, batch, reads);
    let plan = engine.compile(&Plan::on(Side::Clean))?;
    let run = engine.base(&plan, &Sources::new(), Keep::NONE, false, &NextToken { batch })?;
    let tokens = run.values.len() / 2;
    let mean = |i: usize| run.values.chunks_exact(2).map(|v| v[i]).sum::<f64>() / tokens.max(1) as f64;
    Ok(TextScore { tokens, accuracy: mean(0), loss: mean(1) })
}

/// Whether the token that follows is the most likely one, and its -log probability.
struct NextToken<'a> {
    batch: &'a Batch,
}

impl<T: Real> Judge<T> for NextToken<'_> {
    fn width(&self) -> usize {
        2
    }

    fn tokens(&self, _example: usize) -> Option<&[u32]> {
        None
    }

    fn judge(&self, example: usize, read: usize, logits: &[T], out: &mut [f64]) {
        let next = self.batch.rows()[example].clean[read + 1] as usize;
        let most = logits.iter().map(|x| x.f64()).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|x| (x.f64() - most).exp()).sum();
        let own = logits[next].f64();
        out[0] = f64::from(u8::from(own >= most));
        out[1] = most + sum.ln() - own;
    }
}
