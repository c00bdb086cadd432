//! The one forward pass. A chunk of lanes goes through the layers together; each lane joins where its plan first
//! differs from the base run, so that the active rows are always a prefix of the chunk's rows.

mod attention;
mod differences;
mod mixed;
mod mlp;

use std::ops::Range;
use std::sync::Arc;

use ablate_graph::{Node, Site, Source};
use ablate_tensor::{Centre, Into, Real, RopeTable, linear, ops};

pub(super) use self::attention::attention_of;
use self::mixed::Mixed;
use crate::batch::Batch;
use crate::config::{Activation, Block, Config, NormKind};
use crate::engine::acts::{Acts, Keep, LayerActs};
use crate::engine::compile::{Compiled, Stage, Step};
use crate::engine::lanes::{JoinAt, Lane, RowMap};
use crate::engine::source::Sources;
use crate::error::{Error, Result};
use crate::weights::{Linear, NormWeights, Weights};

/// Everything that stays the same during a run.
pub(in crate::engine) struct Context<'a, T> {
    pub(in crate::engine) cfg: &'a Config,
    pub(in crate::engine) weights: &'a Weights<T>,
    pub(in crate::engine) rope: Option<&'a RopeTable<T>>,
    pub(in crate::engine) batch: &'a Batch,
    /// First batch row of each example.
    pub(in crate::engine) offsets: &'a [usize],
    pub(in crate::engine) sources: &'a Sources<T>,
    pub(in crate::engine) plans: &'a [&'a Compiled],
    /// Activations of the base run, one block after the other, and each example's block.
    pub(in crate::engine) base: &'a [Acts<T>],
    pub(in crate::engine) block_of: &'a [usize],
    pub(in crate::engine) reads: &'a [Vec<u32>],
}

/// Buffers of a chunk, `[rows, width]` each.
#[derive(Default)]
struct Buffers<T> {
    x: Vec<T>,
    mid: Vec<T>,
    h: Vec<T>,
    q: Vec<T>,
    k: Vec<T>,
    v: Vec<T>,
    z: Vec<T>,
    m: Vec<T>,
    up: Vec<T>,
    gate: Vec<T>,
    scales: Vec<T>,
    /// What MLPs read, where some reader is cut.
    seen: Vec<T>,
}

/// A chunk on its way through the layers.
pub(in crate::engine) struct Chunk<'a, T> {
    ctx: &'a Context<'a, T>,
    lanes: &'a [Lane],
    /// Rows of the current layer; the last layer keeps only read positions after keys and values.
    map: RowMap,
    read_map: RowMap,
    keep: Keep,
    kept: Option<Acts<T>>,
    mixed: Option<Mixed<T>>,
    b: Buffers<T>,
}

impl<'a, T: Real> Chunk<'a, T> {
    /// A chunk of lanes, sorted by where they join. With `full`, every position goes through the last layer.
    pub(in crate::engine) fn new(ctx: &'a Context<'a, T>, lanes: &'a [Lane], full: bool) -> Self {
        let map = RowMap::full(lanes);
        let read_map = if full { map.clone() } else { RowMap::reads(lanes, ctx.reads) };
        let mixed = Mixed::new(ctx, lanes, &map);
        Self { ctx, lanes, map, read_map, keep: Keep::NONE, kept: None, mixed, b: Buffers::default() }
    }

    /// Keeps activations: the lanes must be whole examples in order. `kept` has the room, and layers before the lanes'
    /// join already filled.
    pub(in crate::engine) fn keeping(mut self, keep: Keep, kept: Acts<T>) -> Self {
        self.keep = keep;
        self.kept = Some(kept);
        self
    }

    /// Runs all layers; returns the streams before the final norm at the rows of [`Chunk::final_rows`], and what was kept.
    pub(in crate::engine) fn run(mut self) -> Result<(Vec<T>, RowMap, Option<Acts<T>>)> {
        let (cfg, n) = (self.ctx.cfg, self.map.pos.len());
        let d = cfg.d_model;
        self.b.x = vec![T::ZERO; n * d];
        let first = self.lanes.iter().map(|l| l.join.0).min().unwrap_or(cfg.n_layers);
        for layer in first..cfg.n_layers {
            self.layer(layer)?;
        }
        self.finish()?;
        Ok((self.b.x, self.map, self.kept))
    }

    /// Runs the first `layers` layers only, from the embedding; returns what was kept of them.
    pub(in crate::engine) fn run_first(mut self, layers: usize) -> Result<Option<Acts<T>>> {
        self.b.x = vec![T::ZERO; self.map.pos.len() * self.ctx.cfg.d_model];
        for layer in 0..layers {
            self.layer(layer)?;
        }
        Ok(self.kept)
    }

    /// Number of lanes that have joined at (`layer`, `at`) or before.
    fn joined(&self, layer: usize, at: JoinAt) -> usize {
        self.lanes.partition_point(|l| l.join <= (layer, at))
    }

    /// Lanes that join exactly at (`layer`, `at`).
    fn joining(&self, layer: usize, at: JoinAt) -> Range<usize> {
        self.lanes.partition_point(|l| l.join < (layer, at))..self.joined(layer, at)
    }

    fn layer(&mut self, layer: usize) -> Result<()> {
        let ctx = self.ctx;
        let cfg = ctx.cfg;
        let w = &ctx.weights.layers[layer];
        let parallel = cfg.block == Block::Parallel;
        self.join_pre(layer)?;
        let n_pre = self.joined(layer, JoinAt::Pre);
        self.edit_stream(layer, Stage::Pre, 0..n_pre, |b| &mut b.x)?;
        self.differences_at_join(layer, JoinAt::Pre)?;
        if layer == 0 {
            self.differences_of(&[Node::Input], n_pre, |_| (0, cfg.d_model, cfg.d_model), |b| &b.x)?;
        }
        if n_pre > 0 && self.heads_matter(layer, n_pre) {
            self.attend(layer, n_pre, w)?;
        } else if n_pre > 0 {
            self.skip_attention(layer, n_pre);
        } else if layer + 1 == cfg.n_layers {
            self.compact(0);
        }
        self.take(
            layer,
            JoinAt::Z,
            |acts, l| (&acts.layers[l].pre, &acts.layers[l].z),
            |b| (&mut b.x, &mut b.z),
        )?;
        self.differences_at_join(layer, JoinAt::Z)?;
        let n_z = self.joined(layer, JoinAt::Z);
        self.attention_out(layer, n_z, w)?;
        self.take(layer, JoinAt::Mid, |acts, l| (&acts.layers[l].mid, &[]), |b| (&mut b.mid, &mut b.m))?;
        self.differences_at_join(layer, JoinAt::Mid)?;
        let n_mid = self.joined(layer, JoinAt::Mid);
        if let Some(mlp) = &w.mlp {
            let n = if parallel { n_pre } else { n_mid };
            self.mlp(layer, n, w, mlp)?;
            if parallel {
                self.take_mlp(layer, n_pre..n_z)?;
            }
        }
        self.take(
            layer,
            JoinAt::Out,
            |acts, l| (&acts.layers[l].mid, &acts.layers[l].mlp),
            |b| (&mut b.mid, &mut b.m),
        )?;
        self.differences_at_join(layer, JoinAt::Out)?;
        self.mlp_out(layer, self.joined(layer, JoinAt::Out), w)
    }

    // ---------------------------------------------------------------------------------------------- joining

    /// The stream of lanes that join before a layer: the base run's, or, before the first layer, the embedding (the
    /// base run may have edited its own).
    fn join_pre(&mut self, layer: usize) -> Result<()> {
        if layer > 0 {
            return self.take(
                layer,
                JoinAt::Pre,
                |acts, l| (&acts.layers[l].pre, &[]),
                |b| (&mut b.x, &mut b.m),
            );
        }
        let (d, ctx) = (self.ctx.cfg.d_model, self.ctx);
        for i in self.joining(0, JoinAt::Pre) {
            let tokens = side_tokens(ctx, &self.lanes[i])?;
            for r in self.map.rows(i) {
                let p = self.map.pos[r] as usize;
                embed(ctx.cfg, ctx.weights, tokens[p], p, &mut self.b.x[r * d..(r + 1) * d]);
            }
        }
        Ok(())
    }

    /// Copies what the lanes that join at (`layer`, `at`) take from the base run.
    fn take(
        &mut self,
        layer: usize,
        at: JoinAt,
        from: impl Fn(&'a Acts<T>, usize) -> (&'a [T], &'a [T]),
        to: impl Fn(&mut Buffers<T>) -> (&mut Vec<T>, &mut Vec<T>),
    ) -> Result<()> {
        let joining = self.joining(layer, at);
        if joining.is_empty() {
            return Ok(());
        }
        let ctx = self.ctx;
        let rows_end = self.map.starts[joining.end];
        for i in joining {
            let lane = &self.lanes[i];
            let (acts, local) = ctx.base_of(lane.example);
            let (src1, src2) = from(acts, layer);
            let (dst1, dst2) = to(&mut self.b);
            for r in self.map.rows(i) {
                let row = acts.row(local, self.map.pos[r] as usize);
                copy_row(src1, row, dst1, r, rows_end, acts)?;
                if !src2.is_empty() {
                    copy_row(src2, row, dst2, r, rows_end, acts)?;
                }
            }
        }
        Ok(())
    }

    /// In parallel blocks the MLP of lanes that join after attention is the base run's.
    fn take_mlp(&mut self, layer: usize, lanes: Range<usize>) -> Result<()> {
        let ctx = self.ctx;
        let rows_end = self.map.starts[lanes.end];
        for i in lanes {
            let (acts, local) = ctx.base_of(self.lanes[i].example);
            for r in self.map.rows(i) {
                let row = acts.row(local, self.map.pos[r] as usize);
                copy_row(&acts.layers[layer].mlp, row, &mut self.b.m, r, rows_end, acts)?;
            }
        }
        Ok(())
    }

    /// In the last layer, after keys and values, only read positions go on: moves the rows of the first `joined` lanes.
    fn compact(&mut self, joined: usize) {
        if self.map.pos.len() == self.read_map.pos.len() {
            return;
        }
        let old = std::mem::replace(&mut self.map, self.read_map.clone());
        let width = self.ctx.cfg.d_model;
        for buffer in [&mut self.b.x, &mut self.b.h] {
            if buffer.is_empty() {
                continue;
            }
            let mut to = 0;
            for i in 0..joined {
                for r in self.map.rows(i) {
                    let from = old.starts[i] + old.pos[old.rows(i)].partition_point(|&p| p < self.map.pos[r]);
                    buffer.copy_within(from * width..(from + 1) * width, to * width);
                    to += 1;
                }
            }
        }
        self.b.x.truncate(self.map.pos.len() * width);
    }

    /// The final stream: lanes that run no layer join, edits of the stream before the final norm act.
    fn finish(&mut self) -> Result<()> {
        let cfg = self.ctx.cfg;
        let d = cfg.d_model;
        let layer = cfg.n_layers;
        let joining = self.joining(layer, JoinAt::Pre);
        self.compact(joining.start);
        let ctx = self.ctx;
        for i in joining {
            let (acts, local) = ctx.base_of(self.lanes[i].example);
            for r in self.map.rows(i) {
                let row = acts.row(local, self.map.pos[r] as usize);
                let src = acts
                    .last
                    .get(row * d..(row + 1) * d)
                    .ok_or_else(|| Error::plan("internal: the base run kept no final stream"))?;
                self.b.x[r * d..(r + 1) * d].copy_from_slice(src);
            }
        }
        self.differences_at_join(layer, JoinAt::Pre)?;
        self.edit_stream(layer, Stage::Pre, 0..self.lanes.len(), |b| &mut b.x)?;
        let n = self.lanes.len();
        self.keep_rows(n, d, |b| &b.x, |a| &mut a.last, Keep::PRE);
        self.cut_logits()
    }

    // ---------------------------------------------------------------------------------------------- pieces

    /// Normalises the rows of the first `n` lanes into `h`; `which` selects the kept scales.
    fn norm(
        &mut self,
        layer: usize,
        n: usize,
        w: Option<&NormWeights<T>>,
        which: u8,
        x: impl Fn(&Buffers<T>) -> &[T],
    ) -> Result<()> {
        let ctx = self.ctx;
        let cfg = ctx.cfg;
        let d = cfg.d_model;
        let mut h = std::mem::take(&mut self.b.h);
        let Some(w) = w else {
            h.copy_from_slice(x(&self.b));
            self.b.h = h;
            return Ok(());
        };
        let rows = self.map.starts[n];
        let mut scales = std::mem::take(&mut self.b.scales);
        resize(&mut scales, rows);
        let frozen = self.lanes[..n].iter().any(|l| ctx.plans.get(l.plan).is_some_and(|p| p.freeze_norm));
        if frozen {
            for i in 0..n {
                let (acts, local) = ctx.base_of(self.lanes[i].example);
                let table = if which == 1 { &acts.layers[layer].scale1 } else { &acts.layers[layer].scale2 };
                for r in self.map.rows(i) {
                    let row = acts.row(local, self.map.pos[r] as usize);
                    scales[r] = *table
                        .get(row)
                        .ok_or_else(|| Error::plan("internal: the base run kept no norm scales"))?;
                }
            }
        }
        ops::norm(
            x(&self.b),
            &w.w,
            w.b.as_deref(),
            centre(cfg),
            T::of(cfg.norm_eps),
            &mut h,
            Some((&mut scales, frozen)),
        );
        debug_assert_eq!(h.len(), rows * d);
        self.b.h = h;
        self.b.scales = scales;
        self.keep_rows(
            n,
            1,
            |b| &b.scales,
            |a| {
                let layer = Arc::make_mut(&mut a.layers[layer]);
                if which == 1 { &mut layer.scale1 } else { &mut layer.scale2 }
            },
            Keep::SCALES,
        );
        Ok(())
    }

    /// Whether some lane of the first `n` replaces `node` at some position only, or not at all.
    fn matters(&self, node: Node, at: (usize, Stage), n: usize) -> bool {
        self.lanes[..n].iter().any(|lane| {
            let steps = self.ctx.plans.get(lane.plan).map_or(&[][..], |p| p.at(at));
            !steps.iter().any(|s| s.site == Site::Node(node) && s.positions.is_none())
        })
    }

    /// Whether any head's output is used: not when every lane replaces them all, as runs of small circuits do.
    fn heads_matter(&self, layer: usize, n: usize) -> bool {
        let inside = Keep::KV | Keep::Q | Keep::PATTERN | Keep::SCALES;
        self.keep.any(inside)
            || (0..self.ctx.cfg.n_heads)
                .any(|head| self.matters(Node::Head { layer, head }, (layer, Stage::Z), n))
    }

    /// Copies rows of the first `n` lanes from a buffer into what is kept, when `flag` says so.
    fn keep_rows(
        &mut self,
        n: usize,
        width: usize,
        from: impl Fn(&Buffers<T>) -> &Vec<T>,
        to: impl Fn(&mut Acts<T>) -> &mut Vec<T>,
        flag: Keep,
    ) {
        if !self.keep.has(flag) {
            return;
        }
        let Some(mut kept) = self.kept.take() else { return };
        let starts: Vec<usize> =
            self.lanes[..n].iter().map(|l| kept.offsets[l.example - kept.first]).collect();
        let src = from(&self.b);
        let dst = to(&mut kept);
        for (i, start) in starts.into_iter().enumerate() {
            for r in self.map.rows(i) {
                let row = start + self.map.pos[r] as usize;
                dst[row * width..(row + 1) * width].copy_from_slice(&src[r * width..(r + 1) * width]);
            }
        }
        self.kept = Some(kept);
    }

    /// Applies edits of the whole stream (or of `input`) at (`layer`, `stage`).
    fn edit_stream(
        &mut self,
        layer: usize,
        stage: Stage,
        lanes: Range<usize>,
        buffer: impl Fn(&mut Buffers<T>) -> &mut Vec<T>,
    ) -> Result<()> {
        let d = self.ctx.cfg.d_model;
        self.edit_rows(
            layer,
            stage,
            lanes,
            |site| matches!(site, Site::ResidPre { .. } | Site::Node(Node::Input)).then_some((0, d)),
            buffer,
        )
    }

    /// Applies the steps at (`layer`, `stage`) whose site `place` knows: first column and width of a buffer row.
    fn edit_rows(
        &mut self,
        layer: usize,
        stage: Stage,
        lanes: Range<usize>,
        place: impl Fn(Site) -> Option<(usize, usize)>,
        buffer: impl Fn(&mut Buffers<T>) -> &mut Vec<T>,
    ) -> Result<()> {
        let ctx = self.ctx;
        for i in lanes {
            let lane = self.lanes[i];
            let Some(plan) = ctx.plans.get(lane.plan) else { continue };
            for step in plan.at((layer, stage)) {
                let Some((column, width)) = place(step.site) else { continue };
                let n = site_width(ctx.cfg, step.site);
                for r in self.map.rows(i) {
                    let p = self.map.pos[r] as usize;
                    if step.hits(lane.example, p) {
                        let start = r * width + column;
                        put(ctx, step, lane.example, p, &mut buffer(&mut self.b)[start..start + n])?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl<'a, T> Context<'a, T> {
    /// The base activations of an example and its index in them.
    fn base_of(&self, example: usize) -> (&'a Acts<T>, usize) {
        let acts = &self.base[self.block_of[example]];
        (acts, example - acts.first)
    }
}

/// Number of numbers that `site` holds at one position.
pub(in crate::engine) fn site_width(cfg: &Config, site: Site) -> usize {
    match site {
        Site::Node(Node::Head { .. }) | Site::Slot { .. } => cfg.d_head,
        Site::Neuron { .. } => 1,
        _ => cfg.d_model,
    }
}

/// Writes a step's source value over `out`.
fn put<T: Real>(ctx: &Context<'_, T>, step: &Step, example: usize, p: usize, out: &mut [T]) -> Result<()> {
    if step.source == Source::Zero {
        out.fill(T::ZERO);
        return Ok(());
    }
    let missing = || Error::plan(format!("there is no value of {:?} for {:?}", step.source, step.site));
    let table = ctx.sources.get(step.source).ok_or_else(missing)?;
    let value = table.value(ctx.cfg, step.site, ctx.offsets[example] + p).ok_or_else(missing)?;
    if value.len() < out.len() {
        return Err(missing());
    }
    ops::scale_into(T::of(step.scale), value, out);
    Ok(())
}

pub(in crate::engine) fn side_tokens<'a, T>(ctx: &Context<'a, T>, lane: &Lane) -> Result<&'a [u32]> {
    let row = &ctx.batch.rows()[lane.example];
    match ctx.plans.get(lane.plan).map(|p| p.side).unwrap_or_default() {
        ablate_graph::Side::Clean => Ok(&row.clean),
        ablate_graph::Side::Corrupt => row.corrupt.as_deref().ok_or_else(|| Error::Row {
            row: lane.example,
            message: "the row has no corrupt text".into(),
            hint: Some("use zero or mean ablation, or a task with counterfactuals".into()),
        }),
    }
}

/// Token plus position embedding of one token.
pub(in crate::engine) fn embed<T: Real>(cfg: &Config, w: &Weights<T>, token: u32, p: usize, out: &mut [T]) {
    w.embed.copy_row(token as usize, out);
    if cfg.embed_scale != 1.0 {
        let scale = T::of(cfg.embed_scale);
        for x in out.iter_mut() {
            *x *= scale;
        }
    }
    if let (Some(table), crate::config::PositionKind::Learned { offset }) = (&w.pos, cfg.positions) {
        for (j, x) in out.iter_mut().enumerate() {
            *x += table.get(p + offset, j);
        }
    }
}

/// `out = x · w + b`.
pub(in crate::engine) fn project<T: Real>(x: &[T], map: &Linear<T>, out: &mut [T]) {
    linear(x, &map.w, out, Into::Replace);
    if let Some(b) = &map.b {
        ops::add_bias(b, out);
    }
}

pub(in crate::engine) fn head_norm<T: Real>(cfg: &Config, w: Option<&NormWeights<T>>, x: &mut Vec<T>) {
    if let Some(w) = w {
        let mut out = vec![T::ZERO; x.len()];
        ops::norm(x, &w.w, w.b.as_deref(), centre(cfg), T::of(cfg.norm_eps), &mut out, None);
        *x = out;
    }
}

pub(in crate::engine) fn centre(cfg: &Config) -> Centre {
    if cfg.norm == NormKind::Layer { Centre::Mean } else { Centre::None }
}

pub(in crate::engine) fn activation(act: Activation) -> ops::Act {
    match act {
        Activation::GeluErf => ops::Act::GeluErf,
        Activation::GeluTanh => ops::Act::GeluTanh,
        Activation::Silu => ops::Act::Silu,
        Activation::Relu => ops::Act::Relu,
    }
}

fn resize<T: Real>(v: &mut Vec<T>, n: usize) {
    v.resize(n, T::ZERO);
}

fn copy_row<T: Real>(
    src: &[T],
    row: usize,
    dst: &mut Vec<T>,
    r: usize,
    rows_end: usize,
    acts: &Acts<T>,
) -> Result<()> {
    let rows = acts.offsets[acts.len()].max(1);
    let width = src.len() / rows;
    if width == 0 {
        return Err(Error::plan("internal: the base run did not keep what a plan needs"));
    }
    if dst.len() < rows_end * width {
        dst.resize(rows_end * width, T::ZERO);
    }
    dst[r * width..(r + 1) * width].copy_from_slice(&src[row * width..(row + 1) * width]);
    Ok(())
}

/// Makes the kept activations from layer `first` on this run's own: that layer's are copied (a lane may join in its
/// middle), those after it are new.
pub(in crate::engine) fn own_layers<T: Real>(acts: &mut Acts<T>, first: usize, cfg: &Config, keep: Keep) {
    let (rows, patterns) = (acts.offsets[acts.len()], acts.pattern_offsets[acts.len()]);
    for (l, layer) in acts.layers.iter_mut().enumerate().skip(first) {
        let own = if l == first { (**layer).clone() } else { LayerActs::new(cfg, keep, rows, patterns) };
        *layer = Arc::new(own);
    }
}
