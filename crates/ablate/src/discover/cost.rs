//! What an attribution run takes, before it is run.

use ablate_graph::{Graph, Level, Source};
use ablate_model::engine::Keep;
use ablate_model::{Batch, Config, Model};

use super::run::learns_constants;
use super::{Attribution, Cost, Method, Point};
use crate::run::Passes;

/// Runs of one row each that `method` makes on `rows` rows, forward and backward; what certifies it is not counted.
pub fn attribution_passes(cfg: &Config, method: Method, setup: &Attribution, rows: usize) -> Cost {
    let n = rows as u64;
    let others = method.compares()
        && !learns_constants(method, setup)
        && matches!(
            setup.ablation.source,
            Source::Resample | Source::Given(_) | Source::ResampleOther { .. }
        );
    let mut cost = Cost { forward: n + if others { n } else { 0 }, backward: 0 };
    match method {
        Method::EapGp { steps } => {
            let path = steps.saturating_sub(1) as u64;
            cost.forward += n * path;
            cost.backward += n * (steps as u64 + path);
        }
        _ if method.learns() => {
            let learning = setup.learning_of(method);
            let of_step = (learning.batch.min(rows) * learning.steps) as u64;
            cost.forward += of_step;
            cost.backward += of_step;
        }
        _ if method.compares() => {
            let points = method.points(cfg);
            cost.forward +=
                n * points.iter().filter(|(p, _)| matches!(p, Point::Mixed { .. })).count() as u64;
            cost.backward += n * points.len() as u64;
        }
        _ => {}
    }
    cost
}

/// What `method` will take on `batch` with edges of `graph`, by [`attribution_passes`] and [`attribution_bytes`]: a backward
/// pass counts as two forward ones, and each adds the products of senders with readers.
pub fn attribution_estimate(
    model: &Model,
    batch: &Batch,
    graph: &Graph,
    method: Method,
    setup: &Attribution,
    (threads, number): (usize, usize),
) -> Passes {
    let cfg = model.config();
    let cost = attribution_passes(cfg, method, setup, batch.len());
    let once = Passes::plain(model, batch, 1, 2);
    let tokens: usize = batch.rows().iter().map(|r| r.clean.len()).sum();
    let rows = batch.len().max(1) as f64;
    let products = match setup.level {
        Level::Edge => 2.0 * tokens as f64 * (cfg.d_model * graph.n_edges()) as f64,
        Level::Node => 0.0,
    };
    let passes = cost.forward + 2 * cost.backward;
    Passes {
        passes,
        flops: once.flops / rows * passes as f64 + products / rows * cost.backward as f64,
        activation_bytes: attribution_bytes(cfg, graph, batch.max_len(), setup.chunk_rows, threads, number),
        buffer_bytes: once.buffer_bytes,
    }
}

/// Bytes of activations, differences and gradients that attribution on edges holds at once: for every thread a chunk of
/// `chunk_rows` tokens with its runs, the senders' differences in the stream and one layer's readers' gradients. It does
/// not grow with the number of examples.
pub fn attribution_bytes(
    cfg: &Config,
    graph: &Graph,
    len: usize,
    chunk_rows: usize,
    threads: usize,
    number: usize,
) -> u64 {
    let rows = chunk_rows.max(len);
    let runs = Keep::BACKWARD.per_token(cfg, len) + 2 * (Keep::PRE | Keep::Z | Keep::MLP).per_token(cfg, len);
    let readers = 3 * cfg.n_heads + 1;
    let streamed = (graph.n_senders() + readers + 8) * cfg.d_model + 4 * cfg.d_mlp;
    (threads * rows * (runs + streamed) * number) as u64
}
