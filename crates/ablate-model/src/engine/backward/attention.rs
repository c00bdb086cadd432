//! Backward through attention: post-norm, output projection, pattern, rotary embedding, query/key norms.

use std::ops::Range;

use ablate_graph::{Node, Site};
use ablate_tensor::{Attention, HeadGradient, HeadPass, Into, Real, Short, ShortGradient};

use super::super::compile::Stage;
use super::super::forward::{attention_of, centre, project};
use super::super::lanes::Lane;
use super::{AtRows, NormAt, Pass, Rules, SoftmaxRule, Visitor, back, kernels, norm_again, scales_of};
use crate::config::Config;
use crate::error::Result;
use crate::weights::{Linear, NormWeights};

/// Gradients of the query, key and value vectors before rotary embedding and query/key norms, one for each QUERY head:
/// `[rows, n_heads·d_head]` each.
pub(super) struct Slots<T> {
    pub(super) q: Vec<T>,
    pub(super) k: Vec<T>,
    pub(super) v: Vec<T>,
    /// The layer's normed input, where it was needed.
    pub(super) normed: Option<Vec<T>>,
}

impl<T: Real> Pass<'_, T> {
    pub(super) fn attention(
        &mut self,
        layer: usize,
        lanes: &[Lane],
        visitor: &mut dyn Visitor<T>,
    ) -> Result<Slots<T>> {
        let (cfg, w) = (self.ctx.cfg, &self.ctx.weights.layers[layer]);
        let (dh, zw) = (cfg.d_head, cfg.n_heads * cfg.d_head);
        let da = self.addend(layer);
        let mut dz = vec![T::ZERO; self.active.len() * zw];
        back(&da, &w.o.w, &mut dz, Into::Replace);
        visitor.heads(layer, AtRows { rows: &self.active, values: &dz })?;
        if self.params.is_some() {
            let z = self.gather(&self.acts.layers[layer].z, zw);
            if let Some(p) = self.params.as_mut() {
                p.layers[layer].o.add(&z, &da);
            }
        }
        self.mask((layer, Stage::Z), lanes, &mut dz, zw, |s| match s {
            Site::Node(Node::Head { head, .. }) => Some(head * dh..(head + 1) * dh),
            _ => None,
        });
        let n = self.n() * zw;
        let room = || vec![T::ZERO; n];
        let mut slots = Slots { q: room(), k: room(), v: room(), normed: None };
        let mut first = 0;
        let parts: Vec<Range<usize>> = (0..lanes.len())
            .map(|i| {
                let end = self.acts.offsets[i + 1];
                let start = first;
                first += self.active[first..].partition_point(|&r| r < end);
                start..first
            })
            .collect();
        if !self.short_lanes(layer, &parts, &dz, &mut slots) {
            for (i, part) in parts.into_iter().enumerate() {
                self.lane(layer, i, part, &dz, &mut slots);
            }
        }
        if self.params.is_some() || w.q_norm.is_some() || w.k_norm.is_some() {
            self.head_norms(layer, &mut slots);
        }
        Ok(slots)
    }

    /// The gradient of the attention addend before its post-norm, at the active rows.
    fn addend(&mut self, layer: usize) -> Vec<T> {
        let (cfg, w) = (self.ctx.cfg, &self.ctx.weights.layers[layer]);
        let da = self.gather(&self.dx, cfg.d_model);
        let Some(post) = &w.post_attn else { return da };
        let z = self.gather(&self.acts.layers[layer].z, cfg.n_heads * cfg.d_head);
        let mut addend = vec![T::ZERO; da.len()];
        project(&z, &w.o, &mut addend);
        let scales = scales_of(cfg, &addend, None);
        let frozen = self.rules.freezes_all();
        let at = NormAt { x: &addend, w: &post.w, centre: centre(cfg), scales: &scales, frozen };
        if let Some(p) = self.params.as_mut() {
            p.layers[layer].post_attn(&at, &da);
        }
        let mut g = vec![T::ZERO; da.len()];
        at.backward_split(&da, &mut g, &mut vec![T::ZERO; da.len()]);
        g
    }

    /// Attention of all examples at once, where they are short sequences of one length under the true gradient; `parts`
    /// are their rows in `dz`. Whether that was so.
    fn short_lanes(&self, layer: usize, parts: &[Range<usize>], dz: &[T], slots: &mut Slots<T>) -> bool {
        let (cfg, kept) = (self.ctx.cfg, &self.acts.layers[layer]);
        let zw = cfg.n_heads * cfg.d_head;
        let attention = attention_of(cfg, layer);
        let len = self.acts.offsets[1];
        let positions = |part: &Range<usize>| self.active[part.clone()].iter().map(|&r| self.pos[r]);
        let Some(at) = parts.first().map(|p| positions(p).collect::<Vec<u32>>()) else { return false };
        if self.ctx.rope.is_some()
            || self.rules.softmax != SoftmaxRule::True
            || self.rules.attention_share != 1.0
            || kept.k.len() != self.n() * zw
            || !attention.is_short(len)
            || self.acts.offsets.windows(2).any(|w| w[1] - w[0] != len)
            || parts.iter().any(|p| !positions(p).eq(at.iter().copied()))
        {
            return false;
        }
        let q = self.gather(&kept.q, zw);
        let q_rows: Vec<usize> = parts.iter().map(|p| p.start).collect();
        let k_rows = &self.acts.offsets[..parts.len()];
        let batch = Short { q: &q, k: &kept.k, v: &kept.v, q_rows: &q_rows, k_rows, at: &at, n_keys: len };
        let mut dq = vec![T::ZERO; dz.len()];
        let mut out = ShortGradient { dq: &mut dq, dk: &mut slots.k, dv: &mut slots.v };
        attention.short_backward(&batch, dz, &mut out);
        for (&r, dq) in self.active.iter().zip(dq.chunks_exact(zw)) {
            slots.q[r * zw..(r + 1) * zw].copy_from_slice(dq);
        }
        true
    }

    /// Attention of one example; `active` are its rows in `dz`.
    pub(super) fn lane(&self, layer: usize, i: usize, active: Range<usize>, dz: &[T], slots: &mut Slots<T>) {
        let (cfg, kept) = (self.ctx.cfg, &self.acts.layers[layer]);
        let (dh, zw) = (cfg.d_head, cfg.n_heads * cfg.d_head);
        // keys and values are one for each query head where readers were cut
        let kvw = kept.k.len() / self.n().max(1);
        let rows = self.acts.offsets[i]..self.acts.offsets[i + 1];
        let n_keys = rows.len();
        let at: Vec<u32> = self.active[active.clone()].iter().map(|&r| self.pos[r]).collect();
        let mut k = kept.k[rows.start * kvw..rows.end * kvw].to_vec();
        let v = &kept.v[rows.start * kvw..rows.end * kvw];
        let mut q: Vec<T> = Vec::with_capacity(at.len() * zw);
        for &r in &self.active[active.clone()] {
            q.extend_from_slice(&kept.q[r * zw..(r + 1) * zw]);
        }
        if let Some(rope) = self.ctx.rope {
            k.chunks_exact_mut(kvw).enumerate().for_each(|(p, row)| rope.rotate(row, dh, p, false));
            q.chunks_exact_mut(zw).zip(&at).for_each(|(row, &p)| rope.rotate(row, dh, p as usize, false));
        }
        let attention = Attention { kv_heads: kvw / dh.max(1), ..attention_of(cfg, layer) };
        let mut pattern = vec![T::ZERO; at.len() * n_keys];
        let mut soft = softened(&attention, &self.rules).map(|a| (a, pattern.clone()));
        let mut scratch = Vec::new();
        let mut dq = vec![T::ZERO; at.len() * zw];
        let all = rows.start * zw..rows.end * zw;
        for head in 0..cfg.n_heads {
            attention.pattern(head, &q, &at, &k, n_keys, &mut pattern);
            let dz = &dz[active.start * zw..active.end * zw];
            let jacobian = if let Some((attention, jacobian)) = &mut soft {
                attention.pattern(head, &q, &at, &k, n_keys, jacobian);
                jacobian
            } else {
                &pattern
            };
            let pass = HeadPass { head, q: &q, at: &at, k: &k, v, pattern: &pattern, jacobian, dz };
            let mut out =
                HeadGradient { dq: &mut dq, dk: &mut slots.k[all.clone()], dv: &mut slots.v[all.clone()] };
            attention.backward(&pass, &mut out, &mut scratch);
        }
        let dk = &mut slots.k[all.clone()];
        share(&self.rules, &mut dq, dk, &mut slots.v[all.clone()]);
        if let Some(rope) = self.ctx.rope {
            dq.chunks_exact_mut(zw).zip(&at).for_each(|(row, &p)| rope.rotate(row, dh, p as usize, true));
            let dk = slots.k[all].chunks_exact_mut(zw);
            dk.enumerate().for_each(|(p, row)| rope.rotate(row, dh, p, true));
        }
        for (&r, dq) in self.active[active].iter().zip(dq.chunks_exact(zw)) {
            slots.q[r * zw..(r + 1) * zw].copy_from_slice(dq);
        }
    }

    /// Query/key norms: the vectors before them are computed again.
    fn head_norms(&mut self, layer: usize, slots: &mut Slots<T>) {
        let (ctx, kept) = (self.ctx, &self.acts.layers[layer]);
        let (cfg, w) = (ctx.cfg, &ctx.weights.layers[layer]);
        let frozen = self.plan.freeze_norm.then(|| kept.scale1.clone());
        let mut scales = scales_of(cfg, &kept.pre, frozen);
        let normed = norm_again(cfg, w.norm1.as_ref(), &kept.pre, &mut scales);
        let frozen_all = self.rules.freezes_all();
        let mut params = self.params.as_mut().map(|p| &mut p.layers[layer]);
        if let Some(norm) = &w.q_norm {
            let raw = project_all(cfg, &w.q, &normed);
            let dw = params.as_mut().and_then(|p| p.q_norm.as_mut());
            head_norm_backward(cfg, norm, &raw, (cfg.n_heads, frozen_all), &mut slots.q, dw);
        }
        if let Some(norm) = &w.k_norm {
            let raw = project_all(cfg, &w.k, &normed);
            let dw = params.as_mut().and_then(|p| p.k_norm.as_mut());
            head_norm_backward(cfg, norm, &raw, (cfg.n_kv_heads, frozen_all), &mut slots.k, dw);
        }
        slots.normed = Some(normed);
    }
}

fn project_all<T: Real>(cfg: &Config, map: &Linear<T>, normed: &[T]) -> Vec<T> {
    let mut raw = vec![T::ZERO; normed.len() / cfg.d_model * map.w.cols()];
    project(normed, map, &mut raw);
    raw
}

/// Gradient through the norm of each head's vector; `raw` has `raw_heads` heads a row, `d` one for each query head.
pub(super) fn head_norm_backward<T: Real>(
    cfg: &Config,
    norm: &NormWeights<T>,
    raw: &[T],
    (raw_heads, frozen): (usize, bool),
    d: &mut [T],
    mut dw: Option<&mut super::NormGradient<T>>,
) {
    let (dh, heads) = (cfg.d_head, cfg.n_heads);
    let mut scale = [T::ZERO];
    let (mut g, mut unused) = (vec![T::ZERO; dh], vec![T::ZERO; dh]);
    for (raw, d) in raw.chunks_exact(raw_heads * dh).zip(d.chunks_exact_mut(heads * dh)) {
        for (h, d) in d.chunks_exact_mut(dh).enumerate() {
            let own = h * raw_heads / heads;
            let x = &raw[own * dh..(own + 1) * dh];
            kernels::norm_scales(x, dh, centre(cfg), T::of(cfg.norm_eps), &mut scale);
            let at = NormAt { x, w: &norm.w, centre: centre(cfg), scales: &scale, frozen };
            if let Some(dw) = &mut dw {
                dw.add(&at, d);
            }
            at.backward_split(d, &mut g, &mut unused);
            d.copy_from_slice(&g);
        }
    }
}

/// The attention whose pattern stands for the true one in the softmax's Jacobian, where that is another.
fn softened<T: Real>(attention: &Attention<T>, rules: &Rules) -> Option<Attention<T>> {
    let SoftmaxRule::Temperature(t) = rules.softmax else { return None };
    let t = T::of(t);
    Some(Attention { scale: attention.scale / t, softcap: attention.softcap.map(|c| c / t), ..*attention })
}

/// Gradients of queries, keys and values as the rules share them out.
fn share<T: Real>(rules: &Rules, dq: &mut [T], dk: &mut [T], dv: &mut [T]) {
    if rules.softmax == SoftmaxRule::Frozen {
        dq.fill(T::ZERO);
        dk.fill(T::ZERO);
    }
    if rules.attention_share != 1.0 {
        let share = T::of(rules.attention_share);
        for x in dv {
            *x *= share;
        }
        // through both products
        for x in dq.iter_mut().chain(dk) {
            *x *= share * share;
        }
    }
}
