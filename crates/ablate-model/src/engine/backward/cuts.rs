//! The backward pass of a run with weighed cuts: every reader `v` saw `Σ_u (1 − w_uv)·live_u + w_uv·source_u`.
//!
//! The gradient of a reader's input goes to each sender's live output with the factor `1 − w_uv`, and the metric's
//! derivative by the weight is `⟨g_v, source_u − live_u⟩`. There is no one gradient of the stream: each sender has its
//! own, `[senders, rows, d_model]`, filled from the last reader to the first.

use std::ops::Range;
use std::sync::Arc;

use ablate_graph::{Graph, Node, Reader, ReaderId, Site, Slot, Source};
use ablate_tensor::{Into, NormAt, Real, View, ops, product};

use super::super::acts::{Acts, LayerActs};
use super::super::compile::Compiled;
use super::super::cuts::CutStep;
use super::super::forward::{Context, centre, head_norm};
use super::super::lanes::Lane;
use super::super::source::Sources;
use super::attention::Slots;
use super::readout::Slope;
use super::rules::Rules;
use super::{Blind, Engine, Pass, Scratch, back, kernels, norm_again, norm_at, scales_of};
use crate::config::Block;
use crate::error::{Error, Result};
use crate::weights::{Linear, NormWeights};

/// What a weighed run's metric depends on, summed over its examples.
#[derive(Clone, Debug, PartialEq)]
pub struct CutGradients {
    /// The metric of every read.
    pub values: Vec<f64>,
    /// d metric / d weight of each edge, `[edges]`; with respect to a mask `1 − weight`, the negative of it.
    pub weights: Vec<f64>,
    /// d metric / d source of each sender (scaled, and as it enters the stream), `[senders, d_model]`.
    pub sources: Vec<f64>,
}

/// Differences and gradients of senders, `[senders, rows, d_model]` each.
struct Streams<'a, T> {
    step: &'a CutStep,
    graph: Graph,
    rows: usize,
    d: usize,
    /// Source minus live.
    difference: Vec<T>,
    /// Gradient of the live output.
    gradient: Vec<T>,
    out: CutGradients,
}

impl<T: Real> Engine<'_, T> {
    /// The backward pass of a block that was run under a plan of one cut with weights (or without: all 1), at all
    /// positions, and that kept [`KEEP`](super::KEEP).
    ///
    /// # Errors
    /// A plan of another kind; a model whose attention or MLP outputs pass a norm (Gemma 2): there a sender has no share of
    /// its own in the stream. A missing source; a metric that is not finite.
    pub fn backward_cuts(
        &self,
        plan: &Compiled,
        sources: &Sources<T>,
        acts: &Acts<T>,
        slope: &dyn Slope<T>,
    ) -> Result<CutGradients> {
        let step = check(self, plan)?;
        let plans = [plan];
        let block_of = vec![0; self.batch().len()];
        let ctx = self.context(sources, &plans, std::slice::from_ref(acts), &block_of);
        let lanes = self.fresh_lanes();
        let mut streams = Streams::new(&ctx, step, acts)?;
        let cfg = self.config();
        let logits = step.graph.n_readers() - 1;
        // a copy of the run in which readers' own inputs take the place of the stream
        let mut seen = acts.clone();
        seen.last = streams.seen(&acts.last, logits..logits + 1);
        let first = Pass::bare(&ctx, plan, &seen, &lanes);
        let (values, g, reads) = first.start(&lanes, slope)?;
        streams.out.values = values;
        streams.give(&g, logits..logits + 1);
        for layer in (0..cfg.n_layers).rev() {
            let active = if layer + 1 == cfg.n_layers { reads.clone() } else { (0..streams.rows).collect() };
            streams.mlp(&ctx, plan, &mut seen, &lanes, layer, &active)?;
            streams.attention(&ctx, plan, &mut seen, &lanes, layer, &active);
        }
        Ok(streams.out)
    }
}

/// The one cut of a plan that the pass knows.
fn check<'p, T: Real>(engine: &Engine<'_, T>, plan: &'p Compiled) -> Result<&'p CutStep> {
    let post = engine.weights.layers.iter().any(|l| l.post_attn.is_some() || l.post_mlp.is_some());
    if post {
        return Err(Error::Plan {
            message: format!(
                "{} norms what heads and MLPs write: edges have no weights there",
                engine.cfg.arch
            ),
            hint: Some("use eap-ig-inputs, relp or gim".into()),
        });
    }
    match &plan.cuts[..] {
        [step] if plan.steps.is_empty() && step.positions.is_none() && !plan.freeze_norm => Ok(step),
        _ => Err(Error::plan("gradients by weights need a plan of one cut at all positions and no edits")),
    }
}

impl<'a, T: Real> Pass<'a, T> {
    fn bare(ctx: &'a Context<'a, T>, plan: &'a Compiled, acts: &'a Acts<T>, lanes: &[Lane]) -> Self {
        let pos = lanes.iter().flat_map(|l| 0..l.end as u32).collect::<Vec<_>>();
        let dx = vec![T::ZERO; pos.len() * ctx.cfg.d_model];
        let rules = Rules::default();
        let scratch = Scratch::default();
        Self { ctx, plan, acts, rules, frozen: false, pos, active: Vec::new(), dx, params: None, scratch }
    }

    /// The metric, the gradient at the reader `logits` (`[rows, d_model]`), and the rows that are read.
    fn start(mut self, lanes: &[Lane], slope: &dyn Slope<T>) -> Result<(Vec<f64>, Vec<T>, Vec<usize>)> {
        let values = self.readout(lanes, slope, &mut Blind)?;
        Ok((values, self.dx, self.active))
    }
}

impl<'a, T: Real> Streams<'a, T> {
    /// Differences from what a run kept.
    fn new(ctx: &Context<'_, T>, step: &'a CutStep, acts: &Acts<T>) -> Result<Self> {
        let (graph, d, rows) = (step.graph, ctx.cfg.d_model, acts.offsets[acts.len()]);
        let senders = graph.n_senders();
        let mut difference = vec![T::ZERO; senders * rows * d];
        let scale = T::of(step.scale);
        let mut small = Vec::new();
        for (node, out) in graph.senders().zip(difference.chunks_exact_mut((rows * d).max(1))) {
            let site = Site::Node(node);
            let width = if matches!(node, Node::Head { .. }) { ctx.cfg.d_head } else { d };
            small.clear();
            for r in 0..rows {
                let missing = || Error::plan(format!("there is no value of {:?} for {node}", step.source));
                let live = acts.value(ctx.cfg, site, r).ok_or_else(missing)?;
                let at = small.len();
                small.extend(live.iter().map(|x| -*x));
                if step.source != Source::Zero {
                    let table = ctx.sources.get(step.source).ok_or_else(missing)?;
                    let value = table.value(ctx.cfg, site, r).filter(|v| v.len() == width);
                    ops::axpy(scale, value.ok_or_else(missing)?, &mut small[at..]);
                }
            }
            match node {
                Node::Head { layer, head } => {
                    let w = ctx.weights.layers[layer].o.w.row_range(head * width, width);
                    let a = View::rows(&small, rows, width, width);
                    product(a, View::of(&w), T::ONE, out, d, Into::Replace);
                }
                _ => out.copy_from_slice(&small),
            }
        }
        let gradient = vec![T::ZERO; difference.len()];
        let out = CutGradients {
            values: Vec::new(),
            weights: vec![0.0; graph.n_edges()],
            sources: vec![0.0; senders * d],
        };
        Ok(Self { step, graph, rows, d, difference, gradient, out })
    }

    /// Weights of the edges into some readers of one stage, `[readers, senders before them]`, and that number of senders.
    fn weights(&self, readers: Range<usize>) -> (Vec<T>, usize) {
        let senders = self.graph.parents(ReaderId(readers.start as u32));
        let mut out = Vec::with_capacity(readers.len() * senders);
        for reader in readers {
            for edge in self.graph.in_edges(ReaderId(reader as u32)) {
                let cut = self.step.edges.contains(edge);
                let weight = self.step.weights.as_ref().and_then(|w| w.get(edge.index())).copied();
                out.push(if cut { T::of(weight.unwrap_or(1.0)) } else { T::ZERO });
            }
        }
        (out, senders)
    }

    /// What readers of one stage see where the stream is `x` (`[rows, d_model]`): `[readers, rows, d_model]`.
    fn seen(&self, x: &[T], readers: Range<usize>) -> Vec<T> {
        let size = self.rows * self.d;
        let n = readers.len();
        let (weights, senders) = self.weights(readers);
        let mut out = Vec::with_capacity(n * size);
        (0..n).for_each(|_| out.extend_from_slice(x));
        let values = View::rows(&self.difference, senders, size, size);
        product(View::rows(&weights, n, senders, senders), values, T::ONE, &mut out, size, Into::Add);
        out
    }

    /// Takes the gradients at readers of one stage (`[readers, rows, d_model]`) to weights, sources and senders.
    fn give(&mut self, g: &[T], readers: Range<usize>) {
        let (size, n, d) = (self.rows * self.d, readers.len(), self.d);
        let (mut weights, senders) = self.weights(readers.clone());
        let view = View::rows(g, n, size, size);
        let mut products = vec![T::ZERO; n * senders];
        let difference = View::rows(&self.difference, senders, size, size);
        product(view, difference.t(), T::ONE, &mut products, senders, Into::Replace);
        for (reader, products) in readers.zip(products.chunks_exact(senders.max(1))) {
            for (edge, p) in self.graph.in_edges(ReaderId(reader as u32)).zip(products) {
                self.out.weights[edge.index()] += p.f64();
            }
        }
        for (g, weights) in g.chunks_exact(size.max(1)).zip(weights.chunks_exact(senders.max(1))) {
            let mut sum = vec![T::ZERO; d];
            kernels::add_rows(g, &mut sum);
            for (out, w) in self.out.sources.chunks_exact_mut(d).zip(weights) {
                out.iter_mut().zip(&sum).for_each(|(o, x)| *o += w.f64() * x.f64());
            }
        }
        for w in &mut weights {
            *w = T::ONE - *w;
        }
        let live = View::rows(&weights, n, senders, senders);
        product(live.t(), view, T::ONE, &mut self.gradient, size, Into::Add);
    }

    /// The gradient of a sender's output at some rows.
    fn at_rows(&self, node: Node, rows: &[usize]) -> Vec<T> {
        let Some(id) = self.graph.node_id(node) else { return vec![T::ZERO; rows.len() * self.d] };
        let all = &self.gradient[id.index() * self.rows * self.d..(id.index() + 1) * self.rows * self.d];
        rows.iter().flat_map(|&r| &all[r * self.d..(r + 1) * self.d]).copied().collect()
    }

    /// Readers of a layer: those of attention, and that of the MLP.
    fn readers(&self, layer: usize) -> (Range<usize>, Range<usize>) {
        let shape = self.graph.shape();
        let mlp = usize::from(shape.has_mlp);
        let per_layer = (self.graph.n_readers() - 1) / shape.n_layers.max(1);
        let start = layer * per_layer;
        (start..start + per_layer - mlp, start + per_layer - mlp..start + per_layer)
    }

    fn mlp(
        &mut self,
        ctx: &Context<'_, T>,
        plan: &Compiled,
        seen: &mut Acts<T>,
        lanes: &[Lane],
        layer: usize,
        active: &[usize],
    ) -> Result<()> {
        let (_, reader) = self.readers(layer);
        if reader.is_empty() {
            return Ok(());
        }
        let own = Arc::make_mut(&mut seen.layers[layer]);
        let parallel = ctx.cfg.block == Block::Parallel;
        let stream = if parallel { &mut own.pre } else { &mut own.mid };
        let x = self.seen(stream, reader.clone());
        let live = std::mem::replace(stream, x);
        let mut pass = Pass::bare(ctx, plan, seen, lanes);
        pass.active = active.to_vec();
        let dm = self.at_rows(Node::mlp(layer), active);
        for (&r, g) in active.iter().zip(dm.chunks_exact(self.d)) {
            pass.dx[r * self.d..(r + 1) * self.d].copy_from_slice(g);
        }
        let g = pass.mlp(layer, lanes, &mut Blind)?.unwrap_or_default();
        let mut all = vec![T::ZERO; self.rows * self.d];
        for (&r, g) in active.iter().zip(g.chunks_exact(self.d)) {
            all[r * self.d..(r + 1) * self.d].copy_from_slice(g);
        }
        self.give(&all, reader);
        let own = Arc::make_mut(&mut seen.layers[layer]);
        if parallel {
            own.pre = live;
        } else {
            own.mid = live;
        }
        Ok(())
    }

    fn attention(
        &mut self,
        ctx: &Context<'_, T>,
        plan: &Compiled,
        seen: &mut Acts<T>,
        lanes: &[Lane],
        layer: usize,
        active: &[usize],
    ) {
        let (cfg, w) = (ctx.cfg, &ctx.weights.layers[layer]);
        let (dh, zw, size) = (cfg.d_head, cfg.n_heads * cfg.d_head, (self.rows * self.d).max(1));
        let (readers, _) = self.readers(layer);
        let x = self.seen(&seen.layers[layer].pre, readers.clone());
        let own = Arc::make_mut(&mut seen.layers[layer]);
        spread(self.rows * zw, own);
        let list: Vec<One<'_, T>> =
            readers.clone().filter_map(|r| One::new(ctx, self.graph.reader(ReaderId(r as u32)))).collect();
        let mut normed = Vec::with_capacity(list.len());
        for (one, x) in list.iter().zip(x.chunks_exact(size)) {
            let (raw, scales) = one.raw(ctx, w.norm1.as_ref(), x);
            let mut vector = raw.clone();
            head_norm(cfg, one.norm, &mut vector);
            let to = match one.slot {
                Slot::Q => None, // kept as the reader saw it
                Slot::K => Some(&mut own.k),
                Slot::V => Some(&mut own.v),
            };
            if let Some(to) = to {
                for (to, from) in to.chunks_exact_mut(zw).zip(vector.chunks_exact(dh)) {
                    for head in one.heads.clone() {
                        to[head * dh..(head + 1) * dh].copy_from_slice(from);
                    }
                }
            }
            normed.push((raw, scales));
        }
        let dz = self.heads(ctx, layer, active);
        let room = || vec![T::ZERO; self.rows * zw];
        let mut slots = Slots { q: room(), k: room(), v: room(), normed: None };
        let mut pass = Pass::bare(ctx, plan, seen, lanes);
        pass.active = active.to_vec();
        let mut first = 0;
        for i in 0..lanes.len() {
            let end = pass.acts.offsets[i + 1];
            let count = active[first..].partition_point(|&r| r < end);
            pass.lane(layer, i, first..first + count, &dz, &mut slots);
            first += count;
        }
        let mut g = vec![T::ZERO; x.len()];
        for (((one, x), (raw, scales)), g) in
            list.iter().zip(x.chunks_exact(size)).zip(&normed).zip(g.chunks_exact_mut(size))
        {
            one.backward(ctx, &slots, raw, (w.norm1.as_ref(), x, scales), g);
        }
        self.give(&g, readers);
    }

    /// The gradients of a layer's head outputs `z` at some rows, `[rows, n_heads·d_head]`.
    fn heads(&self, ctx: &Context<'_, T>, layer: usize, active: &[usize]) -> Vec<T> {
        let (cfg, d) = (ctx.cfg, self.d);
        let (dh, zw) = (cfg.d_head, cfg.n_heads * cfg.d_head);
        let mut dz = vec![T::ZERO; active.len() * zw];
        for head in 0..cfg.n_heads {
            let da = self.at_rows(Node::head(layer, head), active);
            let map = ctx.weights.layers[layer].o.w.row_range(head * dh, dh);
            let a = View::rows(&da, active.len(), d, d);
            product(a, View::of(&map).t(), T::ONE, &mut dz[head * dh..], zw, Into::Replace);
        }
        dz
    }
}

/// Room for keys and values of each query head.
fn spread<T: Real>(n: usize, own: &mut LayerActs<T>) {
    own.k = vec![T::ZERO; n];
    own.v = vec![T::ZERO; n];
}

/// One reader of attention.
struct One<'a, T> {
    /// The query heads that score or mix its vectors: one, or those of its group.
    heads: Range<usize>,
    slot: Slot,
    /// `[d_model, d_head]`: its columns of the weight, and their bias.
    map: Linear<T>,
    /// Norm of its vectors.
    norm: Option<&'a NormWeights<T>>,
}

impl<'a, T: Real> One<'a, T> {
    /// `None` for readers that are not attention's.
    fn new(ctx: &Context<'a, T>, reader: Reader) -> Option<Self> {
        let (cfg, group) = (ctx.cfg, ctx.cfg.n_heads / ctx.cfg.n_kv_heads.max(1));
        let (layer, heads, kv, slot) = match reader {
            Reader::Head { layer, head, slot } => (layer, head..head + 1, cfg.kv_of(head), slot),
            Reader::Kv { layer, kv, slot } => (layer, kv * group..(kv + 1) * group, kv, slot),
            Reader::Mlp { .. } | Reader::Logits => return None,
        };
        let (w, dh) = (&ctx.weights.layers[layer], cfg.d_head);
        let (map, own, norm) = match slot {
            Slot::Q => (&w.q, heads.start, w.q_norm.as_ref()),
            Slot::K => (&w.k, kv, w.k_norm.as_ref()),
            Slot::V => (&w.v, kv, None),
        };
        let b = map.b.as_ref().map(|b| b[own * dh..(own + 1) * dh].to_vec());
        Some(Self { heads, slot, map: Linear { w: map.w.columns(own * dh, dh), b }, norm })
    }

    /// Its vectors before their norm, from what it saw, and the scales of the norm of that.
    fn raw(&self, ctx: &Context<'_, T>, norm: Option<&NormWeights<T>>, x: &[T]) -> (Vec<T>, Vec<T>) {
        let mut scales = scales_of(ctx.cfg, x, None);
        let h = norm_again(ctx.cfg, norm, x, &mut scales);
        let mut raw = vec![T::ZERO; x.len() / ctx.cfg.d_model * ctx.cfg.d_head];
        super::super::forward::project(&h, &self.map, &mut raw);
        (raw, scales)
    }

    /// The gradient at what it saw, from those of its vectors as scored.
    fn backward(
        &self,
        ctx: &Context<'_, T>,
        slots: &Slots<T>,
        raw: &[T],
        (norm, x, scales): (Option<&NormWeights<T>>, &[T], &[T]),
        g: &mut [T],
    ) {
        let (cfg, dh) = (ctx.cfg, ctx.cfg.d_head);
        let from = match self.slot {
            Slot::Q => &slots.q,
            Slot::K => &slots.k,
            Slot::V => &slots.v,
        };
        let zw = cfg.n_heads * dh;
        let mut vector = vec![T::ZERO; from.len() / zw * dh];
        for (v, r) in vector.chunks_exact_mut(dh).zip(from.chunks_exact(zw)) {
            for head in self.heads.clone() {
                ops::axpy(T::ONE, &r[head * dh..(head + 1) * dh], v);
            }
        }
        if let Some(w) = self.norm {
            let mut scale = [T::ZERO];
            let (mut one, mut unused) = (vec![T::ZERO; dh], vec![T::ZERO; dh]);
            for (x, v) in raw.chunks_exact(dh).zip(vector.chunks_exact_mut(dh)) {
                kernels::norm_scales(x, dh, centre(cfg), T::of(cfg.norm_eps), &mut scale);
                let at = NormAt { x, w: &w.w, centre: centre(cfg), scales: &scale, frozen: false };
                at.backward_split(v, &mut one, &mut unused);
                v.copy_from_slice(&one);
            }
        }
        match norm_at(cfg, norm, x, scales, false) {
            Some(norm) => {
                let mut h = vec![T::ZERO; g.len()];
                back(&vector, &self.map.w, &mut h, Into::Replace);
                norm.backward_split(&h, g, &mut vec![T::ZERO; h.len()]);
            }
            None => back(&vector, &self.map.w, g, Into::Replace),
        }
    }
}
