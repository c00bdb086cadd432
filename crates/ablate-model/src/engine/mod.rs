//! The engine: `Plan` → `run`. One forward pass over lanes (an example under a plan), each starting where its plan
//! first differs from a base run.
//!
//! Where the speed comes from: suffix runs from the first edited layer and position, only the read positions in the
//! last layer, only the logits asked for, many plans in one batch, one single-threaded product on each thread.

mod acts;
pub mod backward;
mod compile;
mod cost;
mod cuts;
mod forward;
mod lanes;
mod parts;
mod paths;
mod readout;
mod source;

use std::sync::Arc;

use ablate_graph::{Cut, Edit, Plan, Positions, Site, Slot};
use ablate_tensor::{Real, RopeTable};
use rayon::prelude::*;

pub use acts::{Acts, Keep, LayerActs};
pub use backward::{AtRows, Gradients, Readers, Rules, Slope, Visitor};
pub use compile::{Compiled, Stage, Step, compile};
pub use cost::Cost;
pub use cuts::CutStep;
pub use parts::HeadRows;
pub use paths::Places;
pub use readout::{AllLogits, Judge, TokenLogits};
pub use source::{Sources, Table};

use self::cost::CutCost;
use self::forward::{Chunk, Context};
use self::lanes::{JoinAt, Lane};
use crate::batch::Batch;
use crate::config::{Block, Config, PositionKind, RopeScaling, RopeStyle};
use crate::error::{Error, Result};
use crate::weights::Weights;

/// A model and a batch, ready to run plans.
#[derive(Debug)]
pub struct Engine<'m, T> {
    cfg: &'m Config,
    weights: &'m Weights<T>,
    batch: &'m Batch,
    rope: Option<RopeTable<T>>,
    offsets: Vec<usize>,
    reads: Vec<Vec<u32>>,
}

/// A finished run whose activations other runs start from.
#[derive(Clone, Debug)]
pub struct Base<T> {
    /// Its plan.
    pub plan: Compiled,
    /// Its activations, in blocks of consecutive examples.
    pub acts: Arc<Vec<Acts<T>>>,
    /// What the judge said: `[total reads, judge width]`, or `[examples, judge width]` where it pools reads.
    pub values: Vec<f64>,
    keep: Keep,
    block_of: Vec<usize>,
}

impl<T> Base<T> {
    /// What was kept.
    pub fn keep(&self) -> Keep {
        self.keep
    }
}

/// Rows of a chunk: enough for products to run at full speed, few enough for their buffers to stay near the processor.
const CHUNK_ROWS: usize = 512;

/// Bytes of differences that a chunk with cut edges may hold.
const CUT_BYTES: usize = 64 << 20;

impl<'m, T: Real> Engine<'m, T> {
    /// An engine that reads what each row says ([`Row::reads`](crate::batch::Row::reads)): the last token, or more.
    pub fn new(cfg: &'m Config, weights: &'m Weights<T>, batch: &'m Batch) -> Self {
        let reads = batch.rows().iter().map(crate::batch::Row::read_positions).collect();
        Self::reading(cfg, weights, batch, reads)
    }

    /// An engine that reads these positions of each row (sorted, without repetition, at least one a row).
    pub fn reading(cfg: &'m Config, weights: &'m Weights<T>, batch: &'m Batch, reads: Vec<Vec<u32>>) -> Self {
        let mut offsets = vec![0];
        for row in batch.rows() {
            offsets.push(offsets[offsets.len() - 1] + row.clean.len());
        }
        let rope = match cfg.positions {
            PositionKind::Rotary(rope) => Some(RopeTable::new(
                &frequencies(&rope),
                batch.max_len(),
                rope.style == RopeStyle::Interleaved,
            )),
            _ => None,
        };
        Self { cfg, weights, batch, rope, offsets, reads }
    }

    /// The batch.
    pub fn batch(&self) -> &Batch {
        self.batch
    }

    /// The model's configuration.
    pub fn config(&self) -> &Config {
        self.cfg
    }

    /// The positions that are read of each row.
    pub fn reads(&self) -> &[Vec<u32>] {
        &self.reads
    }

    /// First batch row of each example, and the number of rows at the end.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// Checks and resolves a plan.
    pub fn compile(&self, plan: &Plan) -> Result<Compiled> {
        compile(plan, self.cfg, self.batch)
    }

    /// What a base run must keep so that a plan with `edit` can start from it.
    pub fn keep_for(&self, edit: &Edit) -> Keep {
        if matches!(edit.site, Site::Edge(_)) {
            let reuse = if edit.positions == Positions::All { Keep::NONE } else { Keep::KV };
            return Keep::EDGES | reuse;
        }
        let keep = match compile::stage_of(edit.site, self.cfg).map_or(Stage::Pre, |at| at.1) {
            Stage::Pre | Stage::Attn => Keep::PRE,
            Stage::Z | Stage::Mid => Keep::PRE | Keep::Z,
            Stage::Mlp => Keep::PRE | Keep::MID,
            Stage::Out => Keep::PRE | Keep::MID | Keep::MLP,
        };
        let parallel = if self.cfg.block == Block::Parallel { Keep::MLP } else { Keep::NONE };
        let reuse = if edit.positions != Positions::All && self.cfg.causal { Keep::KV } else { Keep::NONE };
        keep | parallel | reuse
    }

    /// What a base run must keep so that a plan with `cut` can start from it.
    pub fn keep_for_cut(&self, cut: &Cut) -> Keep {
        let reuse = if cut.positions != Positions::All && self.cfg.causal { Keep::KV } else { Keep::NONE };
        Keep::EDGES | reuse
    }

    /// Runs `plan` over the whole batch from the embedding, keeps `keep` of it, and judges it. With `full`, every
    /// position goes through the last layer (needed for means over positions).
    pub fn base(
        &self,
        plan: &Compiled,
        sources: &Sources<T>,
        keep: Keep,
        full: bool,
        judge: &dyn Judge<T>,
    ) -> Result<Base<T>> {
        if plan.freeze_norm {
            return Err(Error::plan("a base run has no other run whose norm scales it could freeze"));
        }
        check_captured_keys(plan, keep)?;
        let lanes = self.fresh_lanes();
        let rows = Self::rows_per_chunk(self.offsets[self.batch.len()]).min(self.rows_with_cuts(&[plan]));
        let blocks = lanes::chunks(&lanes, rows);
        let plans = [plan];
        let ctx = self.context(sources, &plans, &[], &[]);
        let results: Vec<(Acts<T>, Vec<f64>)> = blocks
            .par_iter()
            .map(|block| {
                let lens: Vec<usize> =
                    block.iter().map(|l| self.batch.rows()[l.example].clean.len()).collect();
                let kept = Acts::new(self.cfg, keep, block[0].example, &lens);
                let chunk = Chunk::new(&ctx, block, full).keeping(keep, kept);
                Self::finish_block(&ctx, chunk, block, judge)
            })
            .collect::<Result<_>>()?;
        Ok(self.assemble(plan, keep, results))
    }

    /// The run of `plan`, starting from `base` where the two differ; keeps what `base` keeps.
    pub fn rebase(
        &self,
        base: &Base<T>,
        plan: &Compiled,
        sources: &Sources<T>,
        judge: &dyn Judge<T>,
    ) -> Result<Base<T>> {
        check_captured_keys(plan, base.keep)?;
        let keep = base.keep;
        let plans = [plan];
        let ctx = self.context(sources, &plans, &base.acts, &base.block_of);
        let lanes = lanes::lanes(self.cfg, self.batch, &base.plan, &plans, &self.reads);
        let mut by_example = lanes;
        by_example.sort_by_key(|l| l.example);
        let blocks: Vec<Vec<Lane>> =
            base.acts.iter().map(|a| by_example[a.first..a.first + a.len()].to_vec()).collect();
        let results: Vec<(Acts<T>, Vec<f64>)> = blocks
            .into_par_iter()
            .zip(base.acts.par_iter())
            .map(|(mut block, acts)| {
                let first = block.iter().map(|l| l.join).min().unwrap_or((self.cfg.n_layers, JoinAt::Pre));
                // whole rows from the first join on, so that everything after it is kept for every position
                for lane in &mut block {
                    lane.join = first;
                    lane.start = 0;
                }
                let mut kept = acts.clone();
                forward::own_layers(&mut kept, first.0, self.cfg, keep);
                let mut values = Vec::new();
                for lanes in lanes::chunks(&block, self.rows_with_cuts(&plans)) {
                    let chunk = Chunk::new(&ctx, lanes, false).keeping(keep, kept);
                    let (acts, some) = Self::finish_block(&ctx, chunk, lanes, judge)?;
                    values.extend(some);
                    kept = acts;
                }
                Ok((kept, values))
            })
            .collect::<Result<_>>()?;
        Ok(self.assemble(plan, keep, results))
    }

    /// Judges every plan on every example: `[plans, total reads, judge width]`, or `[plans, examples, judge width]` where
    /// the judge pools reads. Plans start from `base` where they differ from its plan; they must read the same side.
    pub fn variants(
        &self,
        base: &Base<T>,
        plans: &[&Compiled],
        sources: &Sources<T>,
        judge: &dyn Judge<T>,
    ) -> Result<Vec<f64>> {
        if let Some(plan) = plans.iter().find(|p| p.side != base.plan.side) {
            return Err(Error::plan(format!(
                "a plan on the {:?} text cannot start from a {:?} run",
                plan.side, base.plan.side
            )));
        }
        if plans.iter().any(|p| p.freeze_norm != plans[0].freeze_norm) {
            return Err(Error::plan("plans with and without frozen norms cannot share one call"));
        }
        let ctx = self.context(sources, plans, &base.acts, &base.block_of);
        let lanes = lanes::lanes(self.cfg, self.batch, &base.plan, plans, &self.reads);
        let total: usize = lanes.iter().map(Lane::len).sum();
        let chunks = lanes::chunks(&lanes, Self::rows_per_chunk(total).min(self.rows_with_cuts(plans)));
        let results: Vec<Vec<(Lane, Vec<f64>)>> = chunks
            .par_iter()
            .map(|chunk| {
                let (x, map, _) = Chunk::new(&ctx, chunk, false).run()?;
                let mut out = Vec::with_capacity(chunk.len());
                readout::read_out(&ctx, chunk, &map, &x, judge, |i, v| out.push((chunk[i], v)))?;
                Ok(out)
            })
            .collect::<Result<_>>()?;
        let (starts, reads) = self.read_starts(judge.pools());
        let width = judge.width();
        let mut values = vec![0.0; plans.len() * reads * width];
        for (lane, v) in results.into_iter().flatten() {
            let start = (lane.plan * reads + starts[lane.example]) * width;
            values[start..start + v.len()].copy_from_slice(&v);
        }
        Ok(values)
    }

    /// What [`Engine::base`] costs; `logits` are asked for at each read position.
    pub fn base_cost(&self, logits: usize, full: bool) -> Cost {
        self.cost(&self.fresh_lanes(), &[], logits, full)
    }

    /// What [`Engine::variants`] costs from a base run of `base`.
    pub fn variants_cost(&self, base: &Compiled, plans: &[&Compiled], logits: usize) -> Cost {
        self.cost(&lanes::lanes(self.cfg, self.batch, base, plans, &self.reads), plans, logits, false)
    }

    fn cost(&self, lanes: &[Lane], plans: &[&Compiled], logits: usize, full: bool) -> Cost {
        let gated =
            self.weights.layers.first().is_some_and(|l| l.mlp.as_ref().is_some_and(|m| m.gate.is_some()));
        let post_norms = self.weights.layers.iter().any(|l| l.post_attn.is_some() || l.post_mlp.is_some());
        let cuts: Vec<CutCost> = plans.iter().map(|p| CutCost::new(self.cfg, post_norms, p)).collect();
        let mut total = Cost::default();
        for lane in lanes {
            let reads = self.reads[lane.example].len();
            total += cost::lane_cost(self.cfg, gated, lane, reads, logits, full);
            total.flops += cuts.get(lane.plan).map_or(0.0, |c| c.of(self.cfg, lane, reads));
        }
        total
    }

    /// Bytes of the buffers of the chunks that run at once, of lanes with `tokens` tokens in all.
    pub fn buffer_bytes(&self, tokens: usize) -> usize {
        let (d, zw, kvw) =
            (self.cfg.d_model, self.cfg.n_heads * self.cfg.d_head, self.cfg.n_kv_heads * self.cfg.d_head);
        let rows = Self::rows_per_chunk(tokens).max(self.batch.max_len());
        let per_row = 5 * d + 2 * zw + 2 * kvw + 2 * self.cfg.d_mlp;
        rayon::current_num_threads() * rows * per_row * size_of::<T>()
    }

    /// First read of each example among all reads (each example is one read where they are pooled), and their number.
    fn read_starts(&self, pooled: bool) -> (Vec<usize>, usize) {
        let mut starts = Vec::with_capacity(self.reads.len());
        let mut n = 0;
        for reads in &self.reads {
            starts.push(n);
            n += if pooled { 1 } else { reads.len() };
        }
        (starts, n)
    }

    fn context<'a>(
        &'a self,
        sources: &'a Sources<T>,
        plans: &'a [&'a Compiled],
        base: &'a [Acts<T>],
        block_of: &'a [usize],
    ) -> Context<'a, T> {
        Context {
            cfg: self.cfg,
            weights: self.weights,
            rope: self.rope.as_ref(),
            batch: self.batch,
            offsets: &self.offsets,
            sources,
            plans,
            base,
            block_of,
            reads: &self.reads,
        }
    }

    fn fresh_lanes(&self) -> Vec<Lane> {
        let rows = self.batch.rows().iter().enumerate();
        rows.map(|(example, row)| Lane {
            join: (0, JoinAt::Pre),
            plan: 0,
            example,
            start: 0,
            end: row.clean.len(),
        })
        .collect()
    }

    /// Chunks small enough that every thread has work.
    fn rows_per_chunk(total: usize) -> usize {
        let threads = rayon::current_num_threads().max(1);
        if total >= 4 * CHUNK_ROWS * threads {
            return CHUNK_ROWS;
        }
        let parts = threads * total.div_ceil(CHUNK_ROWS * threads).max(1);
        total.div_ceil(parts).max(1)
    }

    /// Rows of a chunk whose lanes hold differences of the senders that readers are cut from.
    fn rows_with_cuts(&self, plans: &[&Compiled]) -> usize {
        let senders =
            plans.iter().flat_map(|p| &p.cuts).map(|c| c.edges.len().min(c.graph.n_senders())).max();
        match senders {
            None => usize::MAX,
            Some(n) if n <= 4 => CHUNK_ROWS / 2,
            Some(n) => (CUT_BYTES / (n * self.cfg.d_model * size_of::<T>())).clamp(32, CHUNK_ROWS / 2),
        }
    }

    fn finish_block(
        ctx: &Context<'_, T>,
        chunk: Chunk<'_, T>,
        block: &[Lane],
        judge: &dyn Judge<T>,
    ) -> Result<(Acts<T>, Vec<f64>)> {
        let (x, map, kept) = chunk.run()?;
        let mut values = Vec::new();
        readout::read_out(ctx, block, &map, &x, judge, |_, v| values.extend(v))?;
        let mut kept = kept.ok_or_else(|| Error::plan("internal: nothing was kept"))?;
        if !kept.scale_last.is_empty() {
            readout::keep_scales(ctx, block, &map, &x, &mut kept);
        }
        Ok((kept, values))
    }

    fn assemble(&self, plan: &Compiled, keep: Keep, results: Vec<(Acts<T>, Vec<f64>)>) -> Base<T> {
        let mut block_of = vec![0; self.batch.len()];
        let mut values = Vec::new();
        let mut acts = Vec::with_capacity(results.len());
        for (b, (block, v)) in results.into_iter().enumerate() {
            block_of[block.first..block.first + block.len()].fill(b);
            acts.push(block);
            values.extend(v);
        }
        Base { plan: plan.clone(), acts: Arc::new(acts), values, keep, block_of }
    }
}

/// Edited keys and values are not kept, so a run that keeps keys and values may not edit them.
fn check_captured_keys(plan: &Compiled, keep: Keep) -> Result<()> {
    let edits = plan.steps.iter().any(|s| matches!(s.site, Site::Slot { slot: Slot::K | Slot::V, .. }));
    if edits && keep.has(Keep::KV) {
        return Err(Error::plan("a base run that edits keys or values cannot keep them"));
    }
    Ok(())
}

/// Angle of pair `i` at position 1, after rescaling.
pub(crate) fn frequencies(rope: &crate::config::Rope) -> Vec<f64> {
    let n = rope.rot_dim as f64;
    let plain = (0..rope.rot_dim / 2).map(|i| rope.theta.powf(-2.0 * i as f64 / n));
    match rope.scaling {
        RopeScaling::None => plain.collect(),
        RopeScaling::Linear { factor } => plain.map(|f| f / factor).collect(),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => plain
            .map(|f| {
                let wavelength = 2.0 * std::f64::consts::PI / f;
                let blend =
                    (original_context / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let blend = blend.clamp(0.0, 1.0);
                (1.0 - blend) * f / factor + blend * f
            })
            .collect(),
    }
}
