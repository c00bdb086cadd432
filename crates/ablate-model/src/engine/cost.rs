//! What a run will cost, before it is run: floating-point operations of matrix products, and bytes of buffers.

use std::collections::BTreeMap;

use ablate_graph::{Node, NodeId, Reader, Source};

use super::compile::{At, Compiled, Stage};
use super::cuts::{ReaderCut, at_of};
use super::lanes::{JoinAt, Lane};
use crate::config::{Block, Config};

/// The cost of some lanes.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Cost {
    /// Multiplications and additions of all products, and of the sums that cut readers see.
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

/// Operations that cut edges ask for at one row, beside those of the pass itself.
#[derive(Debug)]
struct Work {
    /// Layer of the reader that asks for it: a lane that joins after it does without.
    layer: usize,
    /// Whether only rows that are read are computed.
    reads: bool,
    flops: f64,
}

/// What the cut edges of one plan cost: differences of senders, their sums, and queries, keys and values of readers. MLPs
/// and the unembedding are not run twice: their input is replaced.
#[derive(Debug, Default)]
pub(super) struct CutCost {
    works: Vec<Work>,
    /// Operations a row and a layer before the join: addends that are computed again because a norm follows them.
    again: f64,
}

/// A source, its scale and a sender: what is computed once for all readers.
type Key = (Source, u64, NodeId);

impl CutCost {
    pub(super) fn new(cfg: &Config, post_norms: bool, plan: &Compiled) -> Self {
        let sums = plan.cuts.len() == 1 && !post_norms;
        let mut needed: BTreeMap<Key, usize> = BTreeMap::new();
        let mut stages: Vec<((Source, u64), At, Vec<ReaderCut>)> = Vec::new();
        for cut in &plan.cuts {
            let key = (cut.source, cut.scale.to_bits());
            let mut by_stage: BTreeMap<At, Vec<ReaderCut>> = BTreeMap::new();
            for reader in cut.readers(sums) {
                let at = at_of(reader.reader, cfg.n_layers);
                for sender in &reader.senders {
                    let last = needed.entry((key.0, key.1, *sender)).or_default();
                    *last = at.0.max(*last);
                }
                by_stage.entry(at).or_default().push(reader);
            }
            stages.extend(by_stage.into_iter().map(|(at, readers)| (key, at, readers)));
        }
        let graph = plan.cuts.first().map(|c| c.graph);
        let mut works: Vec<Work> = needed
            .iter()
            .filter_map(|(&(_, _, id), &layer)| match graph?.node(id) {
                Node::Head { layer: own, .. } => {
                    let flops = 2.0 * (cfg.d_head * cfg.d_model) as f64;
                    Some(Work { layer, reads: own + 1 == cfg.n_layers, flops })
                }
                _ => None, // what others write into the stream is their output
            })
            .collect();
        for (key, at, readers) in &stages {
            let places = needed.keys().filter(|k| (k.0, k.1) == *key).count();
            works.push(stage_work(cfg, post_norms, *at, readers, places));
        }
        let again = if post_norms && !stages.is_empty() {
            2.0 * (cfg.n_heads * cfg.d_head * cfg.d_model) as f64
        } else {
            0.0
        };
        Self { works, again }
    }

    /// Operations for a lane that reads `reads` positions.
    pub(super) fn of(&self, cfg: &Config, lane: &Lane, reads: usize) -> f64 {
        let (n, reads) = (lane.len() as f64, reads as f64);
        // after attention of the last layer there are no other rows
        let after = lane.join.0 + usize::from(lane.join.1 > JoinAt::Pre) >= cfg.n_layers;
        let n = if after { reads } else { n };
        let works = self.works.iter().filter(|w| w.layer >= lane.join.0);
        works.map(|w| if w.reads { reads } else { n } * w.flops).sum::<f64>()
            + n * self.again * lane.join.0 as f64
    }
}

/// Operations for what readers of one stage see, `places` senders being different for some reader of the plan.
fn stage_work(cfg: &Config, post_norms: bool, at: At, readers: &[ReaderCut], places: usize) -> Work {
    let total: usize = readers.iter().map(|r| r.senders.len()).sum();
    // few senders are added one by one, many as one product (`Differences::sum`)
    let added = if post_norms || total * 6 < readers.len() * places { total } else { readers.len() * places };
    let projected = readers.iter().filter(|r| matches!(r.reader, Reader::Head { .. } | Reader::Kv { .. }));
    let flops = 2.0 * (added * cfg.d_model + projected.count() * cfg.d_model * cfg.d_head) as f64;
    let (layer, stage) = at;
    // attention of the last layer still needs the keys and values of every row
    Work { layer, reads: layer + 1 >= cfg.n_layers && stage != Stage::Attn, flops }
}
