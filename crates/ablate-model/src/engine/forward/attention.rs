//! Attention of a chunk: queries, keys and values, patterns, head outputs, and the stream after attention.

use std::sync::Arc;

use ablate_graph::{Node, Site, Slot};
use ablate_tensor::{Attention, Real, Short, ops};

use super::{Chunk, centre, head_norm, project, put, resize};
use crate::config::Config;
use crate::engine::acts::Keep;
use crate::engine::compile::Stage;
use crate::engine::lanes::RowMap;
use crate::error::{Error, Result};
use crate::weights::LayerWeights;

impl<T: Real> Chunk<'_, T> {
    pub(super) fn attend(&mut self, layer: usize, n_pre: usize, w: &LayerWeights<T>) -> Result<()> {
        let cfg = self.ctx.cfg;
        let (d, zw, kvw) = (cfg.d_model, cfg.n_heads * cfg.d_head, cfg.n_kv_heads * cfg.d_head);
        let rows = self.map.starts[n_pre];
        self.keep_rows(n_pre, d, |b| &b.x, |a| &mut Arc::make_mut(&mut a.layers[layer]).pre, Keep::PRE);
        resize(&mut self.b.h, rows * d);
        self.norm(layer, n_pre, w.norm1.as_ref(), 1, |b| &b.x[..rows * d])?;
        resize(&mut self.b.k, rows * kvw);
        resize(&mut self.b.v, rows * kvw);
        project(&self.b.h, &w.k, &mut self.b.k);
        project(&self.b.h, &w.v, &mut self.b.v);
        head_norm(cfg, w.k_norm.as_ref(), &mut self.b.k);
        self.keep_rows(n_pre, kvw, |b| &b.k, |a| &mut Arc::make_mut(&mut a.layers[layer]).k, Keep::KV);
        self.keep_rows(n_pre, kvw, |b| &b.v, |a| &mut Arc::make_mut(&mut a.layers[layer]).v, Keep::KV);
        let slots = self.cut_slots(layer, n_pre, w)?;
        let all = self.map.clone();
        if layer + 1 == cfg.n_layers {
            self.compact(n_pre);
        }
        let rows = self.map.starts[n_pre];
        resize(&mut self.b.q, rows * zw);
        self.b.h.truncate(rows * d);
        project(&self.b.h, &w.q, &mut self.b.q);
        head_norm(cfg, w.q_norm.as_ref(), &mut self.b.q);
        self.write_queries(&slots);
        if let Some(mixed) = &mut self.mixed {
            mixed.slots = slots;
        }
        self.edit_rows(
            layer,
            Stage::Attn,
            0..n_pre,
            |site| match site {
                Site::Slot { head, slot: Slot::Q, .. } => Some((head * cfg.d_head, zw)),
                _ => None,
            },
            |b| &mut b.q,
        )?;
        self.keep_rows(n_pre, zw, |b| &b.q, |a| &mut Arc::make_mut(&mut a.layers[layer]).q, Keep::Q);
        resize(&mut self.b.z, self.map.starts[n_pre] * zw);
        if !self.attend_short(layer, n_pre, &all) {
            for i in 0..n_pre {
                self.attend_lane(layer, i, &all)?;
            }
        }
        Ok(())
    }

    /// Attention of all lanes at once, where they are short sequences of one length and nothing but whole heads is edited:
    /// whether that was so.
    fn attend_short(&mut self, layer: usize, n_pre: usize, all: &RowMap) -> bool {
        let (ctx, cfg) = (self.ctx, self.ctx.cfg);
        let Some(first) = self.lanes.first().filter(|_| n_pre > 1) else { return false };
        let attention = attention_of(cfg, layer);
        let at = self.map.pos[self.map.rows(0)].to_vec();
        let plain = |i: usize| {
            let lane = &self.lanes[i];
            lane.start == 0
                && lane.end == first.end
                && self.map.pos[self.map.rows(i)] == at[..]
                && ctx.plans.get(lane.plan).is_none_or(|p| p.at((layer, Stage::Attn)).is_empty())
        };
        let cut = self.mixed.as_ref().is_some_and(|m| !m.slots.is_empty());
        if ctx.rope.is_some()
            || cut
            || self.keep.has(Keep::PATTERN)
            || !attention.is_short(first.end)
            || !(0..n_pre).all(plain)
        {
            return false;
        }
        let (q_rows, k_rows): (Vec<usize>, Vec<usize>) =
            (0..n_pre).map(|i| (self.map.rows(i).start, all.rows(i).start)).unzip();
        let (q, k, v) = (&self.b.q[..], &self.b.k[..], &self.b.v[..]);
        let batch = Short { q, k, v, q_rows: &q_rows, k_rows: &k_rows, at: &at, n_keys: first.end };
        attention.short(&batch, &mut self.b.z);
        true
    }

    /// The stream goes past attention: every lane replaces every head.
    pub(super) fn skip_attention(&mut self, layer: usize, n_pre: usize) {
        let cfg = self.ctx.cfg;
        let d = cfg.d_model;
        self.keep_rows(n_pre, d, |b| &b.x, |a| &mut Arc::make_mut(&mut a.layers[layer]).pre, Keep::PRE);
        self.b.h.clear();
        if layer + 1 == cfg.n_layers {
            self.compact(n_pre);
        }
        resize(&mut self.b.z, self.map.starts[n_pre] * cfg.n_heads * cfg.d_head);
    }

    /// Keys and values of one lane, edited, before rotary embedding, and the number of heads they are laid out for:
    /// positions before the lane's start come from the base run.
    fn keys_and_values(&self, layer: usize, i: usize, all: &RowMap) -> Result<(Vec<T>, Vec<T>, usize)> {
        let ctx = self.ctx;
        let cfg = ctx.cfg;
        let (kvw, dh) = (cfg.n_kv_heads * cfg.d_head, cfg.d_head);
        let lane = self.lanes[i];
        let n_keys = lane.end;
        let own = all.rows(i);
        let mut k = Vec::with_capacity(n_keys * kvw);
        let mut v = Vec::with_capacity(n_keys * kvw);
        if lane.start > 0 {
            let (acts, local) = ctx.base_of(lane.example);
            let prefix = acts.row(local, 0) * kvw..acts.row(local, lane.start) * kvw;
            let layer_acts = &acts.layers[layer];
            let missing = || Error::plan("internal: the base run kept no keys and values");
            k.extend_from_slice(layer_acts.k.get(prefix.clone()).ok_or_else(missing)?);
            v.extend_from_slice(layer_acts.v.get(prefix).ok_or_else(missing)?);
        }
        k.extend_from_slice(&self.b.k[own.start * kvw..own.end * kvw]);
        v.extend_from_slice(&self.b.v[own.start * kvw..own.end * kvw]);
        let steps = ctx.plans.get(lane.plan).map_or(&[][..], |p| p.at((layer, Stage::Attn)));
        let cut = self.mixed.iter().flat_map(|m| &m.slots).filter(|s| s.lane == i && s.slot != Slot::Q);
        let mut kv_heads = cfg.n_kv_heads;
        let single = cut.clone().any(|s| !s.grouped)
            || steps.iter().any(|s| matches!(s.site, Site::Slot { slot: Slot::K | Slot::V, .. }));
        if cfg.grouped() && single {
            k = spread(cfg, &k);
            v = spread(cfg, &v);
            kv_heads = cfg.n_heads;
        }
        for s in cut {
            let buffer = if s.slot == Slot::K { &mut k } else { &mut v };
            // a shared head that was spread is written for each of its query heads
            let copies: Vec<usize> = match (s.grouped, kv_heads == cfg.n_kv_heads) {
                (true, false) => (0..cfg.n_heads).filter(|&h| cfg.kv_of(h) == s.head).collect(),
                _ => vec![s.head],
            };
            for head in copies {
                for (row, p) in s.values.chunks_exact(dh).zip(lane.start..) {
                    let start = (p * kv_heads + head) * dh;
                    buffer[start..start + dh].copy_from_slice(row);
                }
            }
        }
        for step in steps {
            let (buffer, head) = match step.site {
                Site::Slot { head, slot: Slot::K, .. } => (&mut k, head),
                Site::Slot { head, slot: Slot::V, .. } => (&mut v, head),
                _ => continue,
            };
            for p in lane.start..lane.end {
                if step.hits(lane.example, p) {
                    let start = (p * kv_heads + head) * dh;
                    put(ctx, step, lane.example, p, &mut buffer[start..start + dh])?;
                }
            }
        }
        Ok((k, v, kv_heads))
    }

    /// Keeps the pattern of one head of a lane, when asked for.
    fn keep_pattern(&mut self, layer: usize, head: usize, i: usize, pattern: &[T]) {
        let lane = self.lanes[i];
        if !self.keep.has(Keep::PATTERN) {
            return;
        }
        let Some(kept) = &mut self.kept else { return };
        let local = lane.example - kept.first;
        let len = kept.offsets[local + 1] - kept.offsets[local];
        let start = kept.pattern_offsets[local] + head * len * len;
        let out = &mut Arc::make_mut(&mut kept.layers[layer]).pattern[start..start + len * len];
        for (row, &p) in pattern.chunks_exact(lane.end).zip(&self.map.pos[self.map.rows(i)]) {
            out[p as usize * len..p as usize * len + lane.end].copy_from_slice(row);
        }
    }

    /// Attention of one lane.
    fn attend_lane(&mut self, layer: usize, i: usize, all: &RowMap) -> Result<()> {
        let ctx = self.ctx;
        let cfg = ctx.cfg;
        let (zw, dh) = (cfg.n_heads * cfg.d_head, cfg.d_head);
        let lane = self.lanes[i];
        let n_keys = lane.end;
        let (mut k, v, kv_heads) = self.keys_and_values(layer, i, all)?;
        let steps = ctx.plans.get(lane.plan).map_or(&[][..], |p| p.at((layer, Stage::Attn)));
        let rows = self.map.rows(i);
        if let Some(rope) = ctx.rope {
            for (p, row) in k.chunks_exact_mut(kv_heads * dh).enumerate() {
                rope.rotate(row, dh, p, false);
            }
            for r in rows.clone() {
                rope.rotate(&mut self.b.q[r * zw..(r + 1) * zw], dh, self.map.pos[r] as usize, false);
            }
        }
        let attention = Attention { kv_heads, ..attention_of(cfg, layer) };
        let at = self.map.pos[rows.clone()].to_vec();
        let mut pattern = vec![T::ZERO; at.len() * n_keys];
        for head in 0..cfg.n_heads {
            let q = &self.b.q[rows.start * zw..rows.end * zw];
            attention.pattern(head, q, &at, &k, n_keys, &mut pattern);
            for step in steps.iter().filter(|s| matches!(s.site, Site::Pattern { head: h, .. } if h == head))
            {
                for (row, &p) in pattern.chunks_exact_mut(n_keys).zip(&at) {
                    if step.hits(lane.example, p as usize) {
                        put(ctx, step, lane.example, p as usize, row)?;
                    }
                }
            }
            let z = &mut self.b.z[rows.start * zw..rows.end * zw];
            attention.mix(head, &pattern, &v, n_keys, z);
            self.keep_pattern(layer, head, i, &pattern);
        }
        Ok(())
    }

    /// The norm of the whole attention addend, where there is one.
    fn post_attention(&mut self, layer: usize, rows: usize, w: &LayerWeights<T>) {
        let cfg = self.ctx.cfg;
        let Some(post) = &w.post_attn else { return };
        let whole = self.b.mid[..rows * cfg.d_model].to_vec();
        self.keep_addend(layer, false, &whole);
        let out = &mut self.b.mid[..rows * cfg.d_model];
        ops::norm(&whole, &post.w, post.b.as_deref(), centre(cfg), T::of(cfg.norm_eps), out, None);
    }

    /// Head outputs → attention addend → the stream after attention, in `mid`.
    pub(super) fn attention_out(&mut self, layer: usize, n: usize, w: &LayerWeights<T>) -> Result<()> {
        let cfg = self.ctx.cfg;
        let (d, dh, zw) = (cfg.d_model, cfg.d_head, cfg.n_heads * cfg.d_head);
        let rows = self.map.starts[n];
        if n > 0 {
            self.edit_rows(
                layer,
                Stage::Z,
                0..n,
                |site| match site {
                    Site::Node(Node::Head { head, .. }) => Some((head * dh, zw)),
                    _ => None,
                },
                |b| &mut b.z,
            )?;
            self.keep_rows(n, zw, |b| &b.z, |a| &mut Arc::make_mut(&mut a.layers[layer]).z, Keep::Z);
            let heads: Vec<Node> = (0..cfg.n_heads).map(|head| Node::Head { layer, head }).collect();
            let place = |node| match node {
                Node::Head { head, .. } => (head * dh, dh, zw),
                _ => (0, zw, zw),
            };
            self.differences_of(&heads, n, place, |b| &b.z)?;
        }
        let total = self.map.pos.len();
        resize(&mut self.b.mid, total * d);
        if n == 0 {
            return Ok(());
        }
        let out = &mut self.b.mid[..rows * d];
        project(&self.b.z[..rows * zw], &w.o, out);
        self.post_attention(layer, rows, w);
        self.edit_rows(
            layer,
            Stage::Mid,
            0..n,
            |site| matches!(site, Site::AttnOut { .. }).then_some((0, d)),
            |b| &mut b.mid,
        )?;
        self.keep_rows(
            n,
            d,
            |b| &b.mid,
            |a| &mut Arc::make_mut(&mut a.layers[layer]).attn_out,
            Keep::ATTN_OUT,
        );
        ops::add(&self.b.x[..rows * d], &mut self.b.mid[..rows * d]);
        self.edit_rows(
            layer,
            Stage::Mid,
            0..n,
            |site| matches!(site, Site::ResidMid { .. }).then_some((0, d)),
            |b| &mut b.mid,
        )?;
        self.keep_rows(n, d, |b| &b.mid, |a| &mut Arc::make_mut(&mut a.layers[layer]).mid, Keep::MID);
        Ok(())
    }
}

/// How the heads of a layer attend.
pub(in crate::engine) fn attention_of<T: Real>(cfg: &Config, layer: usize) -> Attention<T> {
    Attention {
        heads: cfg.n_heads,
        kv_heads: cfg.n_kv_heads,
        width: cfg.d_head,
        scale: T::of(cfg.attn_scale),
        softcap: cfg.attn_softcap.map(T::of),
        window: cfg.windows[layer],
        causal: cfg.causal,
    }
}

/// Keys or values of grouped heads, one copy for each query head.
fn spread<T: Real>(cfg: &Config, x: &[T]) -> Vec<T> {
    let dh = cfg.d_head;
    let mut out = Vec::with_capacity(x.len() / cfg.n_kv_heads * cfg.n_heads);
    for row in x.chunks_exact(cfg.n_kv_heads * dh) {
        for h in 0..cfg.n_heads {
            let kv = cfg.kv_of(h);
            out.extend_from_slice(&row[kv * dh..(kv + 1) * dh]);
        }
    }
    out
}
