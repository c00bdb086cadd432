//! What an attribution run takes, before it is run.

use ablate_graph::Graph;
use ablate_model::Config;
use ablate_model::engine::Keep;

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
