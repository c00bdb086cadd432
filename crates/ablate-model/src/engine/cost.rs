//! What a run will cost, before it is run: floating-point operations of matrix products, and bytes of buffers.

use super::lanes::{JoinAt, Lane};
use crate::config::{Block, Config};

/// The cost of some lanes.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Cost {
    /// Multiplications and additions of all products.
    pub flops: f64,
    /// Token rows that enter at least one layer.
    pub rows: u64,
    /// Lanes: examples × plans.
    pub lanes: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.flops += other.flops;
        self.rows += other.rows;
        self.lanes += other.lanes;
    }
}

/// Operations for one row through the parts of a layer.
struct PerRow {
    q: f64,
    kv: f64,
    o: f64,
    mlp: f64,
}

impl PerRow {
    fn new(cfg: &Config, gated: bool) -> Self {
        let (d, zw, kvw) = (cfg.d_model, cfg.n_heads * cfg.d_head, cfg.n_kv_heads * cfg.d_head);
        let product = |a: usize, b: usize| 2.0 * a as f64 * b as f64;
        let maps = if gated { 3.0 } else { 2.0 };
        Self {
            q: product(d, zw),
            kv: 2.0 * product(d, kvw),
            o: product(zw, d),
            mlp: maps * product(d, cfg.d_mlp),
        }
    }
}

/// Cost of one lane that reads `reads` positions and `logits` logits at each. With `full`, the last layer runs every row.
pub(super) fn lane_cost(
    cfg: &Config,
    gated: bool,
    lane: &Lane,
    reads: usize,
    logits: usize,
    full: bool,
) -> Cost {
    let per = PerRow::new(cfg, gated);
    let n = lane.len() as f64;
    let keys = (lane.start + lane.end) as f64 / 2.0;
    let mut flops = 2.0 * (reads * logits * cfg.d_model) as f64;
    for layer in lane.join.0..cfg.n_layers {
        let rows = if layer + 1 == cfg.n_layers && !full { reads as f64 } else { n };
        let joins = if layer == lane.join.0 { lane.join.1 } else { JoinAt::Pre };
        if joins <= JoinAt::Pre {
            flops += n * per.kv + rows * (per.q + 4.0 * keys * (cfg.n_heads * cfg.d_head) as f64);
        }
        if joins <= JoinAt::Z {
            flops += rows * per.o;
        }
        let mlp = if cfg.block == Block::Parallel { joins <= JoinAt::Pre } else { joins <= JoinAt::Mid };
        if mlp {
            flops += rows * per.mlp;
        }
    }
    let rows = if lane.join.0 < cfg.n_layers { lane.len() as u64 } else { 0 };
    Cost { flops, rows, lanes: 1 }
}
