//! What cut edges change: for each sender that a reader is cut from, its source value minus its live output, in the
//! coordinates of the stream, `[senders, rows of the chunk, d_model]`.

use std::collections::BTreeMap;
use std::ops::Range;

use ablate_graph::{Graph, Node, NodeId, Site, Source};
use ablate_tensor::{Into, Real, View, ops, product};

use super::Context;
use crate::engine::lanes::{Lane, RowMap};
use crate::error::{Error, Result};

/// Senders whose differences are summed: with `taken`, subtracted; weights are empty where they are all 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct List<'a> {
    pub(super) senders: &'a [NodeId],
    pub(super) taken: bool,
    pub(super) weights: &'a [f64],
}

impl List<'_> {
    /// Each sender's factor.
    fn factors<T: Real>(&self) -> impl Iterator<Item = (NodeId, T)> {
        let sign = if self.taken { -T::ONE } else { T::ONE };
        let weight = move |k: usize| self.weights.get(k).map_or(sign, |w| sign * T::of(*w));
        self.senders.iter().enumerate().map(move |(k, id)| (*id, weight(k)))
    }
}

/// Differences of one source, for the lanes of a chunk.
#[derive(Debug)]
pub(super) struct Differences<T> {
    pub(super) graph: Graph,
    pub(super) source: Source,
    pub(super) scale: f64,
    /// Where each sender stands in `values`; `None` = no reader needs it.
    place: Vec<Option<usize>>,
    /// Which lanes need each sender, until there are places.
    wanted: BTreeMap<NodeId, Vec<bool>>,
    /// Which lanes need each place.
    lanes: Vec<Vec<bool>>,
    /// Rows of the chunk.
    rows: usize,
    values: Vec<T>,
}

impl<T: Real> Differences<T> {
    pub(super) fn new(graph: Graph, source: Source, scale: f64) -> Self {
        let place = vec![None; graph.n_senders()];
        Self {
            graph,
            source,
            scale,
            place,
            wanted: BTreeMap::new(),
            lanes: Vec::new(),
            rows: 0,
            values: Vec::new(),
        }
    }

    /// Notes that lane `i` of `n` needs `sender`.
    pub(super) fn want(&mut self, sender: NodeId, i: usize, n: usize) {
        self.wanted.entry(sender).or_insert_with(|| vec![false; n])[i] = true;
    }

    /// Makes room for `rows` rows of width `d`. Places are in the order of the senders, so that sums are always added up
    /// in the same order.
    pub(super) fn allocate(&mut self, rows: usize, d: usize) {
        for (sender, lanes) in std::mem::take(&mut self.wanted) {
            self.place[sender.index()] = Some(self.lanes.len());
            self.lanes.push(lanes);
        }
        self.rows = rows;
        self.values = vec![T::ZERO; self.lanes.len() * rows * d];
    }

    /// Computes the difference of `node` for those of `lanes` that need it; `live` hands out the live output of a lane
    /// at a row of the map `now`. `full` is the map that rows of the values follow.
    pub(super) fn fill<'l>(
        &mut self,
        ctx: &Context<'_, T>,
        node: Node,
        (all, lanes): (&[Lane], Range<usize>),
        (full, now): (&RowMap, &RowMap),
        live: impl Fn(usize, usize) -> Result<&'l [T]>,
    ) -> Result<()>
    where
        T: 'l,
    {
        let Some(place) = self.graph.node_id(node).and_then(|id| self.place[id.index()]) else {
            return Ok(());
        };
        let d = ctx.cfg.d_model;
        let width = super::site_width(ctx.cfg, Site::Node(node));
        let mut small = Vec::new();
        for i in lanes {
            if !self.lanes[place][i] {
                continue;
            }
            small.clear();
            for r in now.rows(i) {
                let at = small.len();
                small.resize(at + width, T::ZERO);
                self.source_into(ctx, node, all[i].example, now.pos[r] as usize, &mut small[at..])?;
                ops::axpy(-T::ONE, live(i, r)?, &mut small[at..]);
            }
            let start = full.starts[i];
            let first = all[i].start;
            let out = &mut self.values[place * self.rows * d..(place + 1) * self.rows * d];
            for (from, to) in segments(now, i, start, first) {
                let piece = &small[from.start * width..from.end * width];
                let out = &mut out[to * d..(to + from.len()) * d];
                match node {
                    Node::Head { layer, head } => {
                        let w = ctx.weights.layers[layer].o.w.row_range(head * width, width);
                        let a = View::rows(piece, from.len(), width, width);
                        product(a, View::of(&w), T::ONE, out, d, Into::Replace);
                    }
                    _ => out.copy_from_slice(piece),
                }
            }
        }
        Ok(())
    }

    fn source_into(
        &self,
        ctx: &Context<'_, T>,
        node: Node,
        example: usize,
        p: usize,
        out: &mut [T],
    ) -> Result<()> {
        if self.source == Source::Zero {
            return Ok(());
        }
        let site = Site::Node(node);
        let value =
            ctx.sources.get(self.source).and_then(|t| t.value(ctx.cfg, site, ctx.offsets[example] + p));
        let value = value.filter(|v| v.len() == out.len());
        let value =
            value.ok_or_else(|| Error::plan(format!("there is no value of {:?} for {node}", self.source)))?;
        ops::scale_into(T::of(self.scale), value, out);
        Ok(())
    }

    /// Adds to `out` (`[lists, n·d]`, contiguous) the sum of each list's differences at rows `row..row + n`, or takes
    /// it away.
    pub(super) fn sum(&self, lists: &[List<'_>], row: usize, n: usize, d: usize, out: &mut [T]) {
        let places = self.lanes.len();
        let total: usize = lists.iter().map(|l| l.senders.len()).sum();
        let stride = self.rows * d;
        if places == 0 || total == 0 {
            return;
        }
        if total * 6 < lists.len() * places {
            for (list, out) in lists.iter().zip(out.chunks_exact_mut(n * d)) {
                for (id, factor) in list.factors() {
                    let Some(place) = self.place[id.index()] else { continue };
                    ops::axpy(factor, &self.values[place * stride + row * d..][..n * d], out);
                }
            }
            return;
        }
        let mut mask = vec![T::ZERO; lists.len() * places];
        for (list, mask) in lists.iter().zip(mask.chunks_exact_mut(places)) {
            for (id, factor) in list.factors() {
                if let Some(place) = self.place[id.index()] {
                    mask[place] = factor;
                }
            }
        }
        let values = View::rows(&self.values[row * d..], places, n * d, stride);
        product(View::rows(&mask, lists.len(), places, places), values, T::ONE, out, n * d, Into::Add);
    }

    /// The difference of one sender at one row.
    pub(super) fn row(&self, sender: NodeId, row: usize, d: usize) -> Option<&[T]> {
        let place = self.place[sender.index()]?;
        Some(&self.values[(place * self.rows + row) * d..][..d])
    }
}

/// Pieces of lane `i`'s rows of `now` that are contiguous in the full map: rows within the lane, and first full row.
pub(super) fn segments(now: &RowMap, i: usize, start: usize, first: usize) -> Vec<(Range<usize>, usize)> {
    let rows = now.rows(i);
    let mut out: Vec<(Range<usize>, usize)> = Vec::new();
    for (k, r) in rows.enumerate() {
        let to = start + now.pos[r] as usize - first;
        match out.last_mut() {
            Some((piece, at)) if *at + piece.len() == to => piece.end = k + 1,
            _ => out.push((k..k + 1, to)),
        }
    }
    out
}
