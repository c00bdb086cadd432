//! Attention patterns of the plain run.

use ablate_graph::{Node, Plan, Side, Site};
use ablate_model::engine::{Engine, Judge, Keep, Sources, TokenLogits};
use ablate_model::{Batch, Config, Weights};
use ablate_tensor::Real;

use crate::error::{Error, Result};

/// Patterns of `heads` on the clean texts of `batch`: `[heads][examples][len × len]`.
pub(super) fn of<T: Real>(
    cfg: &Config,
    weights: &Weights<T>,
    batch: &Batch,
    heads: &[Node],
) -> Result<Vec<Vec<Vec<f64>>>> {
    let engine = Engine::new(cfg, weights, batch);
    let plan = engine.compile(&Plan::on(Side::Clean))?;
    // one logit is enough: the run is made for its patterns
    let judge = TokenLogits { tokens: vec![0] };
    let run = engine.base(&plan, &Sources::new(), Keep::PATTERN, true, &judge as &dyn Judge<T>)?;
    let mut out = Vec::with_capacity(heads.len());
    for head in heads {
        let Node::Head { layer, head } = *head else {
            return Err(Error::argument(
                format!("{head} is no head: only heads attend"),
                "name heads such as a0.h1",
            ));
        };
        let mut examples = Vec::with_capacity(batch.len());
        for acts in run.acts.iter() {
            for local in 0..acts.len() {
                let mut pattern = Vec::new();
                for row in acts.offsets[local]..acts.offsets[local + 1] {
                    let site = Site::Pattern { layer, head };
                    let values = acts.value(cfg, site, row).ok_or_else(|| {
                        Error::argument(
                            format!("the model has no head a{layer}.h{head}"),
                            "give the model that the files are of",
                        )
                    })?;
                    pattern.extend(values.iter().map(|x| x.f64()));
                }
                if pattern.iter().any(|x| !x.is_finite()) {
                    return Err(Error::argument(
                        format!("the attention of a{layer}.h{head} is not finite"),
                        "look at the model's weights, or take --dtype f64",
                    ));
                }
                examples.push(pattern);
            }
        }
        out.push(examples);
    }
    Ok(out)
}
