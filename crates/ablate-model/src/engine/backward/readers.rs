//! From the gradients of query, key and value vectors to those at the layer's readers, each through its own copy of the
//! norm, and on to the stream.

use std::ops::Range;

use ablate_graph::Kv;
use ablate_tensor::{Into, Matrix, NormAt, Real, View, ops, product};

use super::attention::Slots;
use super::{Pass, Visitor, back, norm_at, scales_of};
use crate::config::Config;
use crate::error::Result;
use crate::weights::LayerWeights;

/// Gradients at the readers of one layer, for a range of rows.
#[derive(Clone, Copy, Debug)]
pub struct Readers<'a, T> {
    /// The layer.
    pub layer: usize,
    /// Rows of the block: `first..first + rows`.
    pub first: usize,
    /// Number of rows.
    pub rows: usize,
    /// Number of readers, in the order of the graph: the heads' slots, then the MLP.
    pub count: usize,
    /// `[count, rows, d_model]`.
    pub values: &'a [T],
}

/// Rows whose readers' gradients are held at once.
const TILE: usize = 256;

/// One reader: which gradient goes back through which columns of a weight.
struct Reader<'a, T> {
    /// Gradients of vectors, rows `stride` apart.
    from: &'a [T],
    /// First column of this reader's vector.
    column: usize,
    stride: usize,
    /// `[d_model, d_head]`: its columns of the weight.
    weight: Matrix<T>,
}

impl<T: Real> Pass<'_, T> {
    /// The layer's readers; `mlp` is the gradient at the MLP's reader at the active rows, already in the stream.
    pub(super) fn read(
        &mut self,
        layer: usize,
        slots: &Slots<T>,
        mlp: Option<&[T]>,
        visitor: &mut dyn Visitor<T>,
    ) -> Result<()> {
        let (ctx, acts) = (self.ctx, self.acts);
        let (cfg, w, kept) = (ctx.cfg, &ctx.weights.layers[layer], &acts.layers[layer]);
        let scale1 = self.plan.freeze_norm.then(|| kept.scale1.clone());
        let scales = scales_of(cfg, &kept.pre, scale1);
        let norm = norm_at(cfg, w.norm1.as_ref(), &kept.pre, &scales, self.frozen);
        let kv = visitor.wants();
        if kv.is_none() || self.params.is_some() {
            self.together(layer, slots, norm.as_ref(), kv.is_none());
        }
        let Some(kv) = kv else { return Ok(()) };
        let sums = match kv {
            Kv::PerQuery => [Vec::new(), Vec::new()],
            Kv::Grouped => [sum_groups(cfg, &slots.k), sum_groups(cfg, &slots.v)],
        };
        let readers = list(cfg, w, slots, &sums, kv);
        let (n, d) = (self.n(), cfg.d_model);
        let count = readers.len() + usize::from(mlp.is_some());
        let mut values = std::mem::take(&mut self.scratch.readers);
        let mut start = 0;
        while start < n {
            let rows = TILE.min(n - start);
            values.resize(count * rows * d, T::ZERO);
            for (reader, out) in readers.iter().zip(values.chunks_exact_mut(rows * d)) {
                self.reader(reader, norm.as_ref(), start..start + rows, out);
            }
            if let Some(g) = mlp {
                let out = &mut values[readers.len() * rows * d..];
                self.scatter(g, start..start + rows, out);
            }
            visitor.readers(&Readers { layer, first: start, rows, count, values: &values })?;
            start += rows;
        }
        self.scratch.readers = values;
        Ok(())
    }

    /// One reader's gradient at `rows`, in `out`, and added to the stream's.
    fn reader(
        &mut self,
        reader: &Reader<'_, T>,
        norm: Option<&NormAt<'_, T>>,
        rows: Range<usize>,
        out: &mut [T],
    ) {
        let d = self.ctx.cfg.d_model;
        let n = rows.len();
        let from = &reader.from[rows.start * reader.stride + reader.column..];
        let a = View::rows(from, n, reader.weight.cols(), reader.stride);
        let weight = View::of(&reader.weight).t();
        let stream = &mut self.dx[rows.start * d..rows.end * d];
        let Some(norm) = norm else {
            product(a, weight, T::ONE, out, d, Into::Replace);
            ops::add(out, stream);
            return;
        };
        let h = &mut self.scratch.h;
        h.resize(n * d, T::ZERO);
        product(a, weight, T::ONE, h, d, Into::Replace);
        let norm =
            NormAt { x: &norm.x[rows.start * d..rows.end * d], scales: &norm.scales[rows.clone()], ..*norm };
        norm.backward_split(h, out, stream);
    }

    /// The MLP reader's gradient at `rows`, zero where it is not active.
    fn scatter(&self, g: &[T], rows: Range<usize>, out: &mut [T]) {
        let d = self.ctx.cfg.d_model;
        out.fill(T::ZERO);
        for (&r, g) in self.active.iter().zip(g.chunks_exact(d)) {
            if rows.contains(&r) {
                out[(r - rows.start) * d..(r - rows.start + 1) * d].copy_from_slice(g);
            }
        }
    }

    /// All slots at once: the stream's gradient (with `stream`) and the parameters'.
    fn together(&mut self, layer: usize, slots: &Slots<T>, norm: Option<&NormAt<'_, T>>, stream: bool) {
        let (cfg, w) = (self.ctx.cfg, &self.ctx.weights.layers[layer]);
        let mut dh = vec![T::ZERO; self.n() * cfg.d_model];
        let (dk, dv) = (sum_groups(cfg, &slots.k), sum_groups(cfg, &slots.v));
        back(&slots.q, &w.q.w, &mut dh, Into::Replace);
        back(&dk, &w.k.w, &mut dh, Into::Add);
        back(&dv, &w.v.w, &mut dh, Into::Add);
        if let (Some(p), Some(h)) = (self.params.as_mut(), &slots.normed) {
            let p = &mut p.layers[layer];
            p.q.add(h, &slots.q);
            p.k.add(h, &dk);
            p.v.add(h, &dv);
            if let Some(norm) = norm {
                p.norm1(norm, &dh);
            }
        }
        if !stream {
            return;
        }
        match norm {
            Some(norm) => {
                let mut g = vec![T::ZERO; dh.len()];
                norm.backward_split(&dh, &mut g, &mut self.dx);
            }
            None => ops::add(&dh, &mut self.dx),
        }
    }
}

/// The layer's attention readers in the order of the graph.
fn list<'s, T: Real>(
    cfg: &Config,
    w: &LayerWeights<T>,
    slots: &'s Slots<T>,
    sums: &'s [Vec<T>; 2],
    kv: Kv,
) -> Vec<Reader<'s, T>> {
    let (dh, zw, kvw) = (cfg.d_head, cfg.n_heads * cfg.d_head, cfg.n_kv_heads * cfg.d_head);
    let query =
        |h: usize| Reader { from: &slots.q, column: h * dh, stride: zw, weight: w.q.w.columns(h * dh, dh) };
    let pair = [(&slots.k, &sums[0], &w.k), (&slots.v, &sums[1], &w.v)];
    let mut out = Vec::with_capacity(3 * cfg.n_heads);
    match kv {
        Kv::PerQuery => {
            for h in 0..cfg.n_heads {
                out.push(query(h));
                out.extend(pair.map(|(d, _, map)| Reader {
                    from: d,
                    column: h * dh,
                    stride: zw,
                    weight: map.w.columns(cfg.kv_of(h) * dh, dh),
                }));
            }
        }
        Kv::Grouped => {
            out.extend((0..cfg.n_heads).map(query));
            for g in 0..cfg.n_kv_heads {
                out.extend(pair.map(|(_, sum, map)| Reader {
                    from: sum,
                    column: g * dh,
                    stride: kvw,
                    weight: map.w.columns(g * dh, dh),
                }));
            }
        }
    }
    out
}

fn sum_groups<T: Real>(cfg: &Config, d: &[T]) -> Vec<T> {
    if !cfg.grouped() {
        return d.to_vec();
    }
    let (dh, zw) = (cfg.d_head, cfg.n_heads * cfg.d_head);
    let mut out = vec![T::ZERO; d.len() / cfg.n_heads * cfg.n_kv_heads];
    for (d, out) in d.chunks_exact(zw).zip(out.chunks_exact_mut(cfg.n_kv_heads * dh)) {
        for (h, d) in d.chunks_exact(dh).enumerate() {
            let kv = cfg.kv_of(h);
            ops::add(d, &mut out[kv * dh..(kv + 1) * dh]);
        }
    }
    out
}
