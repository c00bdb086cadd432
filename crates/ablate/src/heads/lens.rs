//! The logit lens: what the final norm and the unembedding make of the stream before each layer.

use ablate_graph::{Site, stats};
use ablate_model::engine::Keep;
use ablate_model::model::AnyWeights;
use ablate_model::{Batch, Config, Model, Row, Weights};
use ablate_tensor::{Into, Real, linear, ops};

use super::watch::{Seen, normed, read_at, watch};
use crate::error::Result;
use crate::interactions::Measured;
use crate::metric::Metric;

/// The lens on the stream before a layer; before the last norm for `layer` = number of layers.
#[derive(Clone, Debug, PartialEq)]
pub struct LensRow {
    /// Layer.
    pub layer: usize,
    /// The logit difference.
    pub logit_diff: Measured,
    /// Median over rows of the best answer's rank, 1 = most likely.
    pub rank: f64,
    /// Share of rows whose most likely token is an answer.
    pub accuracy: f64,
}

/// The lens on the last token of the clean rows, layer by layer; the last row is the model's own output.
///
/// # Errors
/// Rows without answers or wrong answers, or with several outputs.
pub fn lens(model: &Model, batch: &Batch, budget: usize) -> Result<Vec<LensRow>> {
    Metric::LogitDiff.check(batch)?;
    match model.weights() {
        AnyWeights::F32(w) => lens_of(model.config(), w, batch, budget),
        AnyWeights::F64(w) => lens_of(model.config(), w, batch, budget),
    }
}

fn lens_of<T: Real>(
    cfg: &Config,
    weights: &Weights<T>,
    batch: &Batch,
    budget: usize,
) -> Result<Vec<LensRow>> {
    // [layers + 1][rows]: logit difference and rank
    let mut found = vec![vec![(0.0, 0.0); batch.len()]; cfg.n_layers + 1];
    watch(cfg, weights, batch, (Keep::PRE, false, budget), |seen: &Seen<'_, T>| {
        let row = &batch.rows()[seen.example];
        let at = read_at(row);
        let mut stream = Vec::with_capacity((cfg.n_layers + 1) * cfg.d_model);
        for layer in 0..=cfg.n_layers {
            stream.extend_from_slice(seen.value(Site::ResidPre { layer }, at)?);
        }
        let logits = unembedded(cfg, weights, &stream);
        for (found, logits) in found.iter_mut().zip(logits.chunks_exact(cfg.d_vocab_out)) {
            found[seen.example] = judged(row, logits);
        }
        Ok(())
    })?;
    let of = |(layer, rows): (usize, Vec<(f64, f64)>)| {
        let (diffs, ranks): (Vec<f64>, Vec<f64>) = rows.into_iter().unzip();
        LensRow {
            layer,
            logit_diff: Measured::of(&diffs),
            rank: stats::median(&ranks).unwrap_or_default(),
            accuracy: ranks.iter().filter(|r| **r == 1.0).count() as f64 / ranks.len().max(1) as f64,
        }
    };
    Ok(found.into_iter().enumerate().map(of).collect())
}

fn unembedded<T: Real>(cfg: &Config, weights: &Weights<T>, stream: &[T]) -> Vec<T> {
    let x = normed(cfg, weights.norm_final.as_ref(), stream);
    let mut logits = vec![T::ZERO; x.len() / cfg.d_model * cfg.d_vocab_out];
    linear(&x, &weights.unembed.w, &mut logits, Into::Replace);
    if let Some(b) = &weights.unembed.b {
        ops::add_bias(b, &mut logits);
    }
    if let Some(cap) = cfg.final_softcap {
        ops::soft_cap(T::of(cap), &mut logits);
    }
    logits
}

/// Logit difference, and rank of the best answer.
fn judged<T: Real>(row: &Row, logits: &[T]) -> (f64, f64) {
    let of = |t: &u32| logits[*t as usize].f64();
    let mean = |tokens: &[u32]| tokens.iter().map(of).sum::<f64>() / tokens.len() as f64;
    let best = row.answers.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
    let better = logits.iter().filter(|x| x.f64() > best).count();
    (mean(&row.answers) - mean(&row.wrong_answers), (better + 1) as f64)
}
