//! Readers that see something else than the stream: cut edges in the forward pass. A lane with cuts runs live; at each
//! reader that is cut from senders, the differences of those senders are added to what it reads.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use ablate_graph::{Node, Reader, Site, Slot, Source};
use ablate_tensor::{Into, Real, View, ops, product};

use super::differences::{Differences, List, segments};
use super::{Buffers, Chunk, Context, centre, head_norm};
use crate::config::Block;
use crate::engine::backward::addends;
use crate::engine::compile::{At, Stage};
use crate::engine::cuts::ReaderCut;
use crate::engine::lanes::{JoinAt, RowMap};
use crate::error::{Error, Result};
use crate::weights::{LayerWeights, Linear, NormWeights};

/// Cuts of a plan: which of the differences, and what readers see, by stage.
type PlanCuts = Vec<(usize, BTreeMap<At, Vec<ReaderCut>>)>;

/// The cuts of a chunk.
#[derive(Debug)]
pub(super) struct Mixed<T> {
    /// All positions of every lane.
    full: RowMap,
    /// For each lane.
    lanes: Vec<PlanCuts>,
    differences: Vec<Differences<T>>,
    /// Keys and values of cut readers of the current layer.
    pub(super) slots: Vec<SlotRows<T>>,
    /// Whole addends before their post-norm, where the model has any: `[rows, d_model]` by (layer, is MLP).
    addends: HashMap<(usize, bool), Vec<T>>,
    post_norms: bool,
}

/// The query, key or value vectors of one head that a lane's cut reader sees.
#[derive(Debug)]
pub(super) struct SlotRows<T> {
    pub(super) lane: usize,
    pub(super) slot: Slot,
    /// Query head, or key/value head with `grouped`.
    pub(super) head: usize,
    pub(super) grouped: bool,
    /// `[rows of the lane, d_head]`.
    pub(super) values: Vec<T>,
}

/// What one reader of one lane sees: `[rows of the lane in the current map, d_model]`.
pub(super) struct Seen<T> {
    lane: usize,
    reader: Reader,
    values: Vec<T>,
}

impl<T: Real> Mixed<T> {
    /// The cuts of the lanes' plans; `None` when there are none.
    pub(super) fn new(
        ctx: &Context<'_, T>,
        chunk: &[crate::engine::lanes::Lane],
        full: &RowMap,
    ) -> Option<Self> {
        if chunk.iter().all(|l| ctx.plans.get(l.plan).is_none_or(|p| p.cuts.is_empty())) {
            return None;
        }
        let cfg = ctx.cfg;
        let post_norms = ctx.weights.layers.iter().any(|l| l.post_attn.is_some() || l.post_mlp.is_some());
        let first = chunk.iter().map(|l| l.join.0).min().unwrap_or(0);
        let stages = (first..cfg.n_layers).flat_map(|l| [(l, Stage::Attn), (l, Stage::Mlp)]);
        let stages: Vec<At> = stages.chain([(cfg.n_layers, Stage::Pre)]).collect();
        let mut differences: Vec<Differences<T>> = Vec::new();
        let mut by_plan: HashMap<usize, PlanCuts> = HashMap::new();
        let mut lanes = Vec::with_capacity(chunk.len());
        for (i, lane) in chunk.iter().enumerate() {
            let Some(plan) = ctx.plans.get(lane.plan) else {
                lanes.push(Vec::new());
                continue;
            };
            let cuts = by_plan.entry(lane.plan).or_insert_with(|| {
                let cuts = plan.cuts.iter().map(|cut| {
                    let alike = |d: &Differences<T>| {
                        d.source == cut.source
                            && d.scale.to_bits() == cut.scale.to_bits()
                            && d.graph == cut.graph
                    };
                    let which = differences.iter().position(alike).unwrap_or_else(|| {
                        differences.push(Differences::new(cut.graph, cut.source, cut.scale));
                        differences.len() - 1
                    });
                    let sums =
                        plan.cuts.len() == 1 && !post_norms && has_stream(ctx, cut.source, lane.example);
                    let readers = stages.iter().map(|&at| (at, cut.readers_at(at, sums)));
                    (which, readers.filter(|(_, r)| !r.is_empty()).collect())
                });
                cuts.collect()
            });
            for (which, readers) in cuts.iter() {
                for sender in readers.values().flatten().flat_map(|r| &r.senders) {
                    differences[*which].want(*sender, i, chunk.len());
                }
            }
            lanes.push(cuts.clone());
        }
        let rows = full.pos.len();
        for d in &mut differences {
            d.allocate(rows, cfg.d_model);
        }
        let (slots, addends) = (Vec::new(), HashMap::new());
        Some(Self { full: full.clone(), lanes, differences, slots, addends, post_norms })
    }

    /// Adds the differences of a reader's senders at one row: of `input` to what it sees, of others to their addends.
    fn collect(
        &self,
        which: usize,
        cut: &ReaderCut,
        row: usize,
        value: &mut [T],
        sums: &mut BTreeMap<(usize, bool), Vec<T>>,
    ) {
        let differences = &self.differences[which];
        for (k, &id) in cut.senders.iter().enumerate() {
            let Some(difference) = differences.row(id, row, value.len()) else { continue };
            let weight = cut.weights.get(k).map_or(T::ONE, |w| T::of(*w));
            let key = match differences.graph.node(id) {
                Node::Head { layer, .. } => (layer, false),
                Node::Mlp { layer } => (layer, true),
                _ => {
                    ops::axpy(weight, difference, value);
                    continue;
                }
            };
            ops::axpy(weight, difference, sums.entry(key).or_insert_with(|| vec![T::ZERO; value.len()]));
        }
    }

    /// Keeps one row of a whole addend.
    fn keep(&mut self, layer: usize, is_mlp: bool, row: usize, value: &[T]) {
        let (n, d) = (self.full.pos.len(), value.len());
        let room = self.addends.entry((layer, is_mlp)).or_insert_with(|| vec![T::ZERO; n * d]);
        room[row * d..(row + 1) * d].copy_from_slice(value);
    }
}

/// Whether the stream of a run in which everything is the source is known.
fn has_stream<T: Real>(ctx: &Context<'_, T>, source: Source, example: usize) -> bool {
    let site = Site::ResidPre { layer: ctx.cfg.n_layers };
    source == Source::Zero
        || ctx.sources.get(source).is_some_and(|t| t.value(ctx.cfg, site, ctx.offsets[example]).is_some())
}

/// Adds the stream before stage `at` of a run in which every sender is the source, to zeros.
fn source_stream<T: Real>(
    ctx: &Context<'_, T>,
    source: Source,
    at: At,
    example: usize,
    p: usize,
    out: &mut [T],
) -> Result<()> {
    let (layer, stage) = at;
    let mid = stage == Stage::Mlp && ctx.cfg.block == Block::Sequential;
    if source == Source::Zero {
        let biases = |l: &LayerWeights<T>, both: bool, out: &mut [T]| {
            l.o.b.iter().for_each(|b| ops::add(b, out));
            if both {
                l.mlp.iter().flat_map(|m| &m.down.b).for_each(|b| ops::add(b, out));
            }
        };
        ctx.weights.layers[..layer].iter().for_each(|l| biases(l, true, out));
        if mid {
            biases(&ctx.weights.layers[layer], false, out);
        }
        return Ok(());
    }
    let site = if mid { Site::ResidMid { layer } } else { Site::ResidPre { layer } };
    let value = ctx.sources.get(source).and_then(|t| t.value(ctx.cfg, site, ctx.offsets[example] + p));
    let value = value.ok_or_else(|| Error::plan(format!("there is no stream of {source:?} for {site:?}")))?;
    out.copy_from_slice(value);
    Ok(())
}

impl<T: Real> Chunk<'_, T> {
    /// Fills differences of what lanes that join at (`layer`, `at`) take from the base run: all senders before it.
    pub(super) fn differences_at_join(&mut self, layer: usize, at: JoinAt) -> Result<()> {
        let Some(mut mixed) = self.mixed.take() else { return Ok(()) };
        let lanes = self.joining(layer, at);
        let ctx = self.ctx;
        if !lanes.is_empty() {
            let map = &self.map;
            let full = mixed.full.clone();
            for d in &mut mixed.differences {
                let graph = d.graph;
                for node in graph.senders().filter(|&n| before(n, layer, at)) {
                    d.fill(ctx, node, (self.lanes, lanes.clone()), (&full, map), |i, r| {
                        let (acts, local) = ctx.base_of(self.lanes[i].example);
                        let row = acts.row(local, map.pos[r] as usize);
                        let value = acts.value(ctx.cfg, Site::Node(node), row);
                        value.ok_or_else(|| Error::plan("internal: the base run kept no outputs"))
                    })?;
                }
            }
            if mixed.post_norms {
                self.base_addends(&mut mixed, layer, at, lanes);
            }
        }
        self.mixed = Some(mixed);
        Ok(())
    }

    /// Takes whole addends from the base run, for lanes that join after they were computed.
    fn base_addends(&self, mixed: &mut Mixed<T>, layer: usize, at: JoinAt, lanes: Range<usize>) {
        let (ctx, d) = (self.ctx, self.ctx.cfg.d_model);
        let done = layer + usize::from(at > JoinAt::Z);
        for l in 0..done.min(ctx.cfg.n_layers) {
            for i in lanes.clone() {
                let (acts, local) = ctx.base_of(self.lanes[i].example);
                let positions: Vec<usize> = self.map.rows(i).map(|r| self.map.pos[r] as usize).collect();
                let rows: Vec<usize> = positions.iter().map(|&p| acts.row(local, p)).collect();
                let (attn, mlp) = addends(ctx.cfg, ctx.weights, acts, l, &rows);
                for (is_mlp, values) in [(false, attn), (true, mlp)] {
                    for (p, value) in positions.iter().zip(values.chunks_exact(d)) {
                        mixed.keep(l, is_mlp, mixed.full.starts[i] + p - self.lanes[i].start, value);
                    }
                }
            }
        }
    }

    /// Fills differences of `nodes`, computed just now by the first `n` lanes; `place` finds a node's output in a buffer
    /// (`width` numbers a row, from a column).
    pub(super) fn differences_of(
        &mut self,
        nodes: &[Node],
        n: usize,
        place: impl Fn(Node) -> (usize, usize, usize),
        buffer: impl Fn(&Buffers<T>) -> &Vec<T>,
    ) -> Result<()> {
        let Some(mut mixed) = self.mixed.take() else { return Ok(()) };
        let full = mixed.full.clone();
        for d in &mut mixed.differences {
            for &node in nodes {
                let (column, len, width) = place(node);
                d.fill(self.ctx, node, (self.lanes, 0..n), (&full, &self.map), |_, r| {
                    Ok(&buffer(&self.b)[r * width + column..r * width + column + len])
                })?;
            }
        }
        self.mixed = Some(mixed);
        Ok(())
    }

    /// Keeps whole addends before their post-norm, where differences go through one.
    pub(super) fn keep_addend(&mut self, layer: usize, is_mlp: bool, addend: &[T]) {
        let d = self.ctx.cfg.d_model;
        let Some(mixed) = &mut self.mixed else { return };
        for (i, lane) in self.lanes.iter().enumerate() {
            for r in self.map.rows(i).filter(|r| (r + 1) * d <= addend.len()) {
                let to = mixed.full.starts[i] + self.map.pos[r] as usize - lane.start;
                mixed.keep(layer, is_mlp, to, &addend[r * d..(r + 1) * d]);
            }
        }
    }

    /// What the cut readers of the first `n` lanes see at `at`, where the stream is `x` (`[rows, d_model]`).
    pub(super) fn seen(&self, at: At, n: usize, x: impl Fn(&Buffers<T>) -> &[T]) -> Result<Vec<Seen<T>>> {
        let Some(mixed) = &self.mixed else { return Ok(Vec::new()) };
        let d = self.ctx.cfg.d_model;
        let x = x(&self.b);
        let mut out: Vec<Seen<T>> = Vec::new();
        for i in 0..n {
            let first = out.len();
            let rows = self.map.rows(i);
            if mixed.post_norms {
                self.seen_through_post_norms(mixed, i, at, x, &mut out);
                continue;
            }
            for (c, (which, readers)) in mixed.lanes[i].iter().enumerate() {
                let Some(readers) = readers.get(&at).filter(|_| !rows.is_empty()) else { continue };
                let len = rows.len() * d;
                let mut values = Vec::with_capacity(readers.len() * len);
                for reader in readers {
                    // a second cut of the same reader adds to what the first made of the stream
                    let before = out[first..].iter().position(|s| s.reader == reader.reader);
                    match before {
                        Some(k) => values.append(&mut out[first + k].values),
                        None => values.extend_from_slice(&x[rows.start * d..rows.end * d]),
                    }
                }
                self.change(mixed, i, (c, *which), at, readers, &mut values)?;
                for (reader, values) in readers.iter().zip(values.chunks_exact(len)) {
                    let seen = Seen { lane: i, reader: reader.reader, values: values.to_vec() };
                    match out[first..].iter().position(|s| s.reader == reader.reader) {
                        Some(k) => out[first + k] = seen,
                        None => out.push(seen),
                    }
                }
            }
        }
        Ok(out)
    }

    /// Applies one cut to what `readers` of lane `i` see (`[readers, rows, d_model]`).
    fn change(
        &self,
        mixed: &Mixed<T>,
        i: usize,
        (c, which): (usize, usize),
        at: At,
        readers: &[ReaderCut],
        values: &mut [T],
    ) -> Result<()> {
        let (ctx, d, lane) = (self.ctx, self.ctx.cfg.d_model, self.lanes[i]);
        let differences = &mixed.differences[which];
        let cut = &ctx.plans[lane.plan].cuts[c];
        let rows = self.map.rows(i);
        let len = rows.len() * d;
        for (_, values) in readers.iter().zip(values.chunks_exact_mut(len)).filter(|(r, _)| r.kept) {
            values.fill(T::ZERO);
            for (r, out) in rows.clone().zip(values.chunks_exact_mut(d)) {
                source_stream(ctx, cut.source, at, lane.example, self.map.pos[r] as usize, out)?;
            }
        }
        let original = cut.positions.as_ref().map(|_| values.to_vec());
        let lists: Vec<List<'_>> = readers
            .iter()
            .map(|r| List { senders: &r.senders, taken: r.kept, weights: &r.weights })
            .collect();
        for (piece, row) in segments(&self.map, i, mixed.full.starts[i], lane.start) {
            if piece.len() == rows.len() {
                differences.sum(&lists, row, piece.len(), d, values);
                continue;
            }
            let n = piece.len() * d;
            let mut part = vec![T::ZERO; readers.len() * n];
            differences.sum(&lists, row, piece.len(), d, &mut part);
            for (part, values) in part.chunks_exact(n).zip(values.chunks_exact_mut(len)) {
                ops::add(part, &mut values[piece.start * d..piece.end * d]);
            }
        }
        if let Some(original) = original {
            for (values, original) in values.chunks_exact_mut(len).zip(original.chunks_exact(len)) {
                for (k, r) in rows.clone().enumerate() {
                    if !cut.hits(lane.example, self.map.pos[r] as usize) {
                        values[k * d..(k + 1) * d].copy_from_slice(&original[k * d..(k + 1) * d]);
                    }
                }
            }
        }
        Ok(())
    }

    /// Where addends pass a norm before they join the stream, each whole addend is normed again with all cut senders of
    /// a reader replaced, and the difference of the two is what the reader sees.
    fn seen_through_post_norms(&self, mixed: &Mixed<T>, i: usize, at: At, x: &[T], out: &mut Vec<Seen<T>>) {
        let (d, lane, rows) = (self.ctx.cfg.d_model, self.lanes[i], self.map.rows(i));
        let plan = self.ctx.plans[lane.plan];
        let cuts = mixed.lanes[i].iter().enumerate();
        let here: Vec<(usize, usize, &ReaderCut)> = cuts
            .flat_map(|(c, (which, readers))| {
                readers.get(&at).into_iter().flatten().map(move |r| (c, *which, r))
            })
            .collect();
        let mut readers: Vec<Reader> = here.iter().map(|(_, _, r)| r.reader).collect();
        readers.sort_unstable();
        readers.dedup();
        for reader in readers {
            let mut values = x[rows.start * d..rows.end * d].to_vec();
            for (r, value) in rows.clone().zip(values.chunks_exact_mut(d)) {
                let p = self.map.pos[r] as usize;
                let row = mixed.full.starts[i] + p - lane.start;
                let mut sums: BTreeMap<(usize, bool), Vec<T>> = BTreeMap::new();
                for (c, which, cut) in here.iter().filter(|(_, _, cut)| cut.reader == reader) {
                    if plan.cuts[*c].hits(lane.example, p) {
                        mixed.collect(*which, cut, row, value, &mut sums);
                    }
                }
                for (key, sum) in sums {
                    self.add_normed_again(mixed, key, row, sum, value);
                }
            }
            out.push(Seen { lane: i, reader, values });
        }
    }

    /// Adds to `value` what a whole addend's post-norm makes of a change `sum` of the addend.
    fn add_normed_again(
        &self,
        mixed: &Mixed<T>,
        key: (usize, bool),
        row: usize,
        mut sum: Vec<T>,
        value: &mut [T],
    ) {
        let (ctx, d) = (self.ctx, self.ctx.cfg.d_model);
        let w = &ctx.weights.layers[key.0];
        let post = if key.1 { &w.post_mlp } else { &w.post_attn };
        let Some((post, addend)) = post.as_ref().zip(mixed.addends.get(&key)) else {
            return ops::add(&sum, value);
        };
        let addend = &addend[row * d..(row + 1) * d];
        ops::add(addend, &mut sum);
        let mut normed = vec![T::ZERO; 2 * d];
        let (new, old) = normed.split_at_mut(d);
        let eps = T::of(ctx.cfg.norm_eps);
        ops::norm(&sum, &post.w, post.b.as_deref(), centre(ctx.cfg), eps, new, None);
        ops::norm(addend, &post.w, post.b.as_deref(), centre(ctx.cfg), eps, old, None);
        ops::add_difference(new, old, value);
    }

    /// The query, key and value vectors that cut readers of the first `n` lanes see in `layer`, at all rows.
    pub(super) fn cut_slots(
        &mut self,
        layer: usize,
        n: usize,
        w: &LayerWeights<T>,
    ) -> Result<Vec<SlotRows<T>>> {
        let mut seen = self.seen((layer, Stage::Attn), n, |b| &b.x)?;
        seen.sort_by_key(|s| (s.reader, s.lane));
        let (cfg, dh) = (self.ctx.cfg, self.ctx.cfg.d_head);
        let mut out = Vec::with_capacity(seen.len());
        let mut from = 0;
        while from < seen.len() {
            let reader = seen[from].reader;
            let to = from + seen[from..].iter().take_while(|s| s.reader == reader).count();
            let (slot, head, grouped, column) = match reader {
                Reader::Head { head, slot: Slot::Q, .. } => (Slot::Q, head, false, head),
                Reader::Head { head, slot, .. } => (slot, head, false, cfg.kv_of(head)),
                Reader::Kv { kv, slot, .. } => (slot, kv, true, kv),
                Reader::Mlp { .. } | Reader::Logits => {
                    return Err(Error::plan("internal: no reader of attention"));
                }
            };
            let (map, head_weights) = match slot {
                Slot::Q => (&w.q, w.q_norm.as_ref()),
                Slot::K => (&w.k, w.k_norm.as_ref()),
                Slot::V => (&w.v, None),
            };
            let x: Vec<T> = seen[from..to].iter().flat_map(|s| s.values.iter().copied()).collect();
            let h = self.norm_seen(layer, w.norm1.as_ref(), &seen[from..to], x)?;
            let mut values = project_columns(&h, map, column * dh, dh);
            head_norm(cfg, head_weights, &mut values);
            let mut at = 0;
            for s in &seen[from..to] {
                let n = s.values.len() / cfg.d_model * dh;
                let values = values[at..at + n].to_vec();
                out.push(SlotRows { lane: s.lane, slot, head, grouped, values });
                at += n;
            }
            from = to;
        }
        Ok(out)
    }

    /// Norms what readers see, `x` (their rows one after the other), with the base run's scales where they are frozen.
    fn norm_seen(
        &self,
        layer: usize,
        w: Option<&NormWeights<T>>,
        seen: &[Seen<T>],
        x: Vec<T>,
    ) -> Result<Vec<T>> {
        let Some(w) = w else { return Ok(x) };
        let (ctx, cfg) = (self.ctx, self.ctx.cfg);
        let frozen =
            seen.iter().any(|s| ctx.plans.get(self.lanes[s.lane].plan).is_some_and(|p| p.freeze_norm));
        let mut scales = vec![T::ZERO; x.len() / cfg.d_model];
        if frozen {
            let mut k = 0;
            for s in seen {
                let (acts, local) = ctx.base_of(self.lanes[s.lane].example);
                for r in self.map.rows(s.lane) {
                    let scale = acts.layers[layer].scale1.get(acts.row(local, self.map.pos[r] as usize));
                    scales[k] =
                        *scale.ok_or_else(|| Error::plan("internal: the base run kept no norm scales"))?;
                    k += 1;
                }
            }
        }
        let mut h = vec![T::ZERO; x.len()];
        let eps = T::of(cfg.norm_eps);
        ops::norm(&x, &w.w, w.b.as_deref(), centre(cfg), eps, &mut h, Some((&mut scales, frozen)));
        Ok(h)
    }

    /// Writes the queries that cut readers see over those of the stream.
    pub(super) fn write_queries(&mut self, slots: &[SlotRows<T>]) {
        let dh = self.ctx.cfg.d_head;
        let zw = self.ctx.cfg.n_heads * dh;
        for s in slots.iter().filter(|s| s.slot == Slot::Q) {
            for r in self.map.rows(s.lane) {
                let k = self.map.pos[r] as usize - self.lanes[s.lane].start;
                let to = r * zw + s.head * dh;
                self.b.q[to..to + dh].copy_from_slice(&s.values[k * dh..(k + 1) * dh]);
            }
        }
    }

    /// A copy of the first `n` lanes' rows of the MLP's input in which cut readers see what they see; `None` where no
    /// reader is cut.
    pub(super) fn cut_mlp(
        &mut self,
        layer: usize,
        n: usize,
        x: impl Fn(&Buffers<T>) -> &[T],
    ) -> Result<Option<Vec<T>>> {
        let seen = self.seen((layer, Stage::Mlp), n, &x)?;
        if seen.is_empty() {
            return Ok(None);
        }
        let d = self.ctx.cfg.d_model;
        let mut copy = x(&self.b).to_vec();
        for s in seen {
            let rows = self.map.rows(s.lane);
            copy[rows.start * d..rows.end * d].copy_from_slice(&s.values);
        }
        Ok(Some(copy))
    }

    /// Replaces final streams by what cut readers of `logits` see.
    pub(super) fn cut_logits(&mut self) -> Result<()> {
        let (layer, n, d) = (self.ctx.cfg.n_layers, self.lanes.len(), self.ctx.cfg.d_model);
        for s in self.seen((layer, Stage::Pre), n, |b| &b.x)? {
            let rows = self.map.rows(s.lane);
            self.b.x[rows.start * d..rows.end * d].copy_from_slice(&s.values);
        }
        Ok(())
    }
}

/// Whether `node` is computed before a lane joins at (`layer`, `at`).
fn before(node: Node, layer: usize, at: JoinAt) -> bool {
    match node {
        Node::Input => (layer, at) > (0, JoinAt::Pre),
        Node::Head { layer: l, .. } => l < layer || (l == layer && at > JoinAt::Z),
        // an MLP taken over in this layer is met again when its addend joins the stream
        Node::Mlp { layer: l } => l < layer,
        Node::Logits => false,
    }
}

/// Columns `start..start + n` of `x · w + b`.
fn project_columns<T: Real>(x: &[T], map: &Linear<T>, start: usize, n: usize) -> Vec<T> {
    let d = map.w.rows();
    let rows = x.len() / d;
    let mut out = vec![T::ZERO; rows * n];
    let w = map.w.columns(start, n);
    product(View::rows(x, rows, d, d), View::of(&w), T::ONE, &mut out, n, Into::Replace);
    if let Some(b) = &map.b {
        ops::add_bias(&b[start..start + n], &mut out);
    }
    out
}
