//! How far the saved model is from the run that it should equal.

use ablate_graph::{Plan, Positions, Side, Source};
use ablate_model::engine::{AllLogits, Engine, Keep, Sources};
use ablate_model::model::{AnyWeights, Model};
use ablate_model::{Batch, Config, Weights};
use ablate_tensor::Real;

use super::Request;
use crate::ablation::Ablation;
use crate::effects::ablate_nodes;
use crate::error::{Error, Result};
use crate::run::means::Means;

/// Rows whose logits are held at once.
const ROWS: usize = 16;
/// Bytes that kept activations may take while means are made.
const BUDGET: usize = 256 << 20;

/// The largest difference of a logit after the last token of a row of `batch`: the run of `model` in which what
/// `request` removes is ablated (means over `side` of `mean_set`), against the plain run of `saved`.
///
/// # Errors
/// Models of different vocabularies; values that are not finite.
pub fn largest_gap(
    model: &Model,
    saved: &Model,
    batch: &Batch,
    mean_set: &Batch,
    side: Side,
    request: &Request,
) -> Result<f64> {
    if model.config().d_vocab_out != saved.config().d_vocab_out {
        return Err(Error::argument(
            "the two models have different vocabularies",
            "compare a model with what was made from it",
        ));
    }
    match (model.weights(), saved.weights()) {
        (AnyWeights::F32(a), AnyWeights::F32(b)) => gap(model, a, saved, b, batch, mean_set, side, request),
        (AnyWeights::F32(a), AnyWeights::F64(b)) => gap(model, a, saved, b, batch, mean_set, side, request),
        (AnyWeights::F64(a), AnyWeights::F32(b)) => gap(model, a, saved, b, batch, mean_set, side, request),
        (AnyWeights::F64(a), AnyWeights::F64(b)) => gap(model, a, saved, b, batch, mean_set, side, request),
    }
}

#[expect(clippy::too_many_arguments, reason = "two models and what is asked of them, private to this file")]
fn gap<T: Real, U: Real>(
    model: &Model,
    weights: &Weights<T>,
    saved: &Model,
    saved_weights: &Weights<U>,
    batch: &Batch,
    mean_set: &Batch,
    side: Side,
    request: &Request,
) -> Result<f64> {
    let cfg = model.config();
    let means = match request.source {
        Source::Mean => Some(super::means(cfg, weights, mean_set, side, BUDGET)?),
        _ => None,
    };
    let ablation = Ablation::of(request.source);
    let plan = ablate_nodes(&request.removed, ablation, &Positions::All);
    let rows: Vec<usize> = (0..batch.len()).collect();
    let mut gap = 0.0_f64;
    for some in rows.chunks(ROWS) {
        let part = batch.subset(some);
        let expected = logits(cfg, weights, &part, &plan, means.as_ref())?;
        let found = logits(saved.config(), saved_weights, &part, &Plan::new(), None)?;
        gap = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(gap, f64::max);
    }
    Ok(gap)
}

/// All logits after the last token of each row.
fn logits<T: Real>(
    cfg: &Config,
    weights: &Weights<T>,
    batch: &Batch,
    plan: &Plan,
    means: Option<&Means<T>>,
) -> Result<Vec<f64>> {
    let engine = Engine::new(cfg, weights, batch);
    let mut sources = Sources::new();
    if let Some(means) = means {
        sources.set(Source::Mean, means.table(batch)?);
    }
    let judge = AllLogits { d_vocab_out: cfg.d_vocab_out };
    Ok(engine.base(&engine.compile(plan)?, &sources, Keep::NONE, false, &judge)?.values)
}
