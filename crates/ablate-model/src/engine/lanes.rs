//! Lanes: one example under one plan. A lane joins the forward pass where its plan first differs from the base run, at
//! the first position that differs; everything before is the base run's, exactly.

use crate::batch::Batch;
use crate::config::{Block, Config};

use super::compile::{At, Compiled, Difference, Stage};

/// Where a lane joins: the layer, and what it takes from the base run there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum JoinAt {
    /// The stream before the layer.
    Pre,
    /// The stream before the layer and the head outputs.
    Z,
    /// The stream between attention and MLP.
    Mid,
    /// The stream between attention and MLP, and the MLP's output.
    Out,
}

/// One example under one plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    /// Layer and stage where it joins; layer `n_layers` = only the final norm and the unembedding.
    pub(super) join: (usize, JoinAt),
    /// Index of the plan.
    pub(super) plan: usize,
    /// Index of the example.
    pub(super) example: usize,
    /// First position that is run.
    pub(super) start: usize,
    /// Positions that are run: `start..end`.
    pub(super) end: usize,
}

impl Lane {
    /// Number of positions that are run.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }
}

/// What of a base run's layer a lane that joins at `stage` takes over.
fn join_for((layer, stage): At, block: Block) -> (usize, JoinAt) {
    let at = match stage {
        Stage::Pre | Stage::Attn => JoinAt::Pre,
        Stage::Z | Stage::Mid => JoinAt::Z,
        Stage::Mlp if block == Block::Parallel => JoinAt::Pre,
        Stage::Mlp => JoinAt::Mid,
        Stage::Out => JoinAt::Out,
    };
    (layer, at)
}

/// The lanes of `plans` over all examples; `base` is the plan of the base run.
pub(super) fn lanes(
    cfg: &Config,
    batch: &Batch,
    base: &Compiled,
    plans: &[&Compiled],
    reads: &[Vec<u32>],
) -> Vec<Lane> {
    let mut lanes = Vec::with_capacity(plans.len() * batch.len());
    for (p, plan) in plans.iter().enumerate() {
        let different = plan.difference(base);
        // keys and values of cut readers are not kept, so none of a base run with cuts are used again
        let whole = !cfg.causal || !base.cuts.is_empty();
        for example in 0..batch.len() {
            lanes.push(lane(cfg, batch, whole, &different, reads, (p, example)));
        }
    }
    lanes.sort_by_key(|l| (l.join, l.plan, l.example));
    lanes
}

fn lane(
    cfg: &Config,
    batch: &Batch,
    whole: bool,
    different: &[Difference<'_>],
    reads: &[Vec<u32>],
    (plan, example): (usize, usize),
) -> Lane {
    let last_read = reads[example].iter().max().map_or(0, |&p| p as usize);
    let end = if cfg.causal { last_read + 1 } else { batch.rows()[example].clean.len() };
    let mut start = end;
    let mut join = (cfg.n_layers, JoinAt::Pre);
    for step in different {
        let Some(first) = step.first_position(example).filter(|&p| p < end) else { continue };
        start = start.min(first);
        // the least of where each must join: in parallel blocks a later stage may need an earlier one
        join = join.min(join_for(step.at, cfg.block));
    }
    if start == end {
        join = (cfg.n_layers, JoinAt::Pre); // nothing that is read can differ
        start = last_read;
    }
    let first_read = reads[example].iter().min().map_or(0, |&p| p as usize);
    start = if whole { 0 } else { start.min(first_read) };
    Lane { join, plan, example, start, end }
}

/// The rows of a chunk's lanes in its buffers: where each lane's rows start, and each row's position.
#[derive(Clone, Debug, Default)]
pub(super) struct RowMap {
    /// First row of each lane, and the number of rows at the end.
    pub(super) starts: Vec<usize>,
    /// Position of each row.
    pub(super) pos: Vec<u32>,
}

impl RowMap {
    /// All positions of every lane.
    pub(super) fn full(lanes: &[Lane]) -> Self {
        Self::by(lanes, |lane| (lane.start as u32..lane.end as u32).collect())
    }

    /// Only the positions that are read.
    pub(super) fn reads(lanes: &[Lane], reads: &[Vec<u32>]) -> Self {
        Self::by(lanes, |lane| reads[lane.example].clone())
    }

    fn by(lanes: &[Lane], positions: impl Fn(&Lane) -> Vec<u32>) -> Self {
        let mut map = Self { starts: vec![0], pos: Vec::new() };
        for lane in lanes {
            map.pos.extend(positions(lane));
            map.starts.push(map.pos.len());
        }
        map
    }

    /// Rows of lane `i`.
    pub(super) fn rows(&self, i: usize) -> std::ops::Range<usize> {
        self.starts[i]..self.starts[i + 1]
    }
}

/// Splits lanes (sorted by join) into chunks of about `rows` rows.
pub(super) fn chunks(lanes: &[Lane], rows: usize) -> Vec<&[Lane]> {
    let mut out = Vec::new();
    let (mut from, mut n) = (0, 0);
    for (i, lane) in lanes.iter().enumerate() {
        if n > 0 && n + lane.len() > rows {
            out.push(&lanes[from..i]);
            (from, n) = (i, 0);
        }
        n += lane.len();
    }
    if from < lanes.len() {
        out.push(&lanes[from..]);
    }
    out
}
