//! One part of the model at a time, from what it reads: a head, an MLP, the readout. For methods that put together inputs
//! that no single run has (causal scrubbing, path patching); the same kernels as the forward pass.

use ablate_tensor::{Attention, Into, Real, View, linear, ops, product};

use super::acts::Acts;
use super::backward::addends;
use super::forward::{activation, centre, head_norm, project};
use super::lanes::RowMap;
use super::readout::{Judge, read_out};
use super::source::Sources;
use super::{Compiled, Engine};
use crate::error::Result;
use crate::weights::{LayerWeights, Linear, NormWeights};

/// One sequence of a head's rows: keys at positions `0..keys`, queries at `queries` (ascending, all below `keys`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadRows {
    /// Positions whose outputs are wanted.
    pub queries: Vec<u32>,
    /// Number of keys.
    pub keys: usize,
}

impl<T: Real> Engine<'_, T> {
    /// What attention of `layer` reads when the stream is `x`, `[rows, d_model]`: the stream after the layer's first norm.
    pub fn norm_before_attention(&self, layer: usize, x: &[T]) -> Vec<T> {
        self.normed(self.weights.layers[layer].norm1.as_ref(), x)
    }

    fn normed(&self, norm: Option<&NormWeights<T>>, x: &[T]) -> Vec<T> {
        let mut h = x.to_vec();
        if let Some(norm) = norm {
            let eps = T::of(self.cfg.norm_eps);
            ops::norm(x, &norm.w, norm.b.as_deref(), centre(self.cfg), eps, &mut h, None);
        }
        h
    }

    /// The output `z` of one query head, `[queries of all sequences, d_head]`, from normed inputs of its queries
    /// (`[queries, d_model]`), keys and values (`[keys, d_model]` each), sequence after sequence.
    pub fn head_z(
        &self,
        (layer, head): (usize, usize),
        rows: &[HeadRows],
        [hq, hk, hv]: [&[T]; 3],
    ) -> Vec<T> {
        let cfg = self.cfg;
        let dh = cfg.d_head;
        let (mut q, mut k) = self.queries_and_keys((layer, head), [hq, hk]);
        let v = self.head_values((layer, head), hv);
        let attention = self.attention_of_one(layer);
        let mut z = vec![T::ZERO; hq.len() / cfg.d_model * dh];
        let (mut first_q, mut first_k) = (0, 0);
        for seq in rows {
            if seq.queries.is_empty() {
                first_k += seq.keys;
                continue;
            }
            let at = first_q * dh..(first_q + seq.queries.len()) * dh;
            let keys = first_k * dh..(first_k + seq.keys) * dh;
            self.rotate(seq, &mut q[at.clone()], &mut k[keys.clone()]);
            let mut pattern = vec![T::ZERO; seq.queries.len() * seq.keys];
            attention.pattern(0, &q[at.clone()], &seq.queries, &k[keys.clone()], seq.keys, &mut pattern);
            attention.mix(0, &pattern, &v[keys], seq.keys, &mut z[at]);
            first_q += seq.queries.len();
            first_k += seq.keys;
        }
        z
    }

    /// Queries and keys of one query head from normed inputs, after norm of heads, before rotary embedding.
    fn queries_and_keys(&self, (layer, head): (usize, usize), [hq, hk]: [&[T]; 2]) -> (Vec<T>, Vec<T>) {
        let (cfg, w) = (self.cfg, &self.weights.layers[layer]);
        let mut q = self.slot_columns(&w.q, hq, head * cfg.d_head);
        let mut k = self.slot_columns(&w.k, hk, cfg.kv_of(head) * cfg.d_head);
        head_norm(cfg, w.q_norm.as_ref(), &mut q);
        head_norm(cfg, w.k_norm.as_ref(), &mut k);
        (q, k)
    }

    /// Values of one query head, `[rows, d_head]`, value bias included, from normed inputs.
    pub(super) fn head_values(&self, (layer, head): (usize, usize), hv: &[T]) -> Vec<T> {
        let column = self.cfg.kv_of(head) * self.cfg.d_head;
        self.slot_columns(&self.weights.layers[layer].v, hv, column)
    }

    /// How a single head of `layer` attends.
    fn attention_of_one(&self, layer: usize) -> Attention<T> {
        let cfg = self.cfg;
        Attention {
            heads: 1,
            kv_heads: 1,
            width: cfg.d_head,
            scale: T::of(cfg.attn_scale),
            softcap: cfg.attn_softcap.map(T::of),
            window: cfg.windows[layer],
            causal: cfg.causal,
        }
    }

    /// Rotary embedding of a sequence's queries and keys, where the model has it.
    fn rotate(&self, rows: &HeadRows, q: &mut [T], k: &mut [T]) {
        let dh = self.cfg.d_head;
        let Some(rope) = &self.rope else { return };
        for (q, &p) in q.chunks_exact_mut(dh).zip(&rows.queries) {
            rope.rotate(q, dh, p as usize, false);
        }
        for (p, k) in k.chunks_exact_mut(dh).enumerate() {
            rope.rotate(k, dh, p, false);
        }
    }

    /// The attention of one query head in one sequence, `[queries, keys]`, from normed inputs as [`Engine::head_z`] takes.
    pub fn head_pattern(
        &self,
        (layer, head): (usize, usize),
        rows: &HeadRows,
        [hq, hk]: [&[T]; 2],
    ) -> Vec<T> {
        let (mut q, mut k) = self.queries_and_keys((layer, head), [hq, hk]);
        self.rotate(rows, &mut q, &mut k);
        let mut pattern = vec![T::ZERO; rows.queries.len() * rows.keys];
        self.attention_of_one(layer).pattern(0, &q, &rows.queries, &k, rows.keys, &mut pattern);
        pattern
    }

    /// One head's columns of a query, key or value map, of normed inputs `h`; before norm of heads and rotary embedding.
    fn slot_columns(&self, map: &Linear<T>, h: &[T], column: usize) -> Vec<T> {
        let (d, dh) = (self.cfg.d_model, self.cfg.d_head);
        let rows = h.len() / d;
        let mut out = vec![T::ZERO; rows * dh];
        let columns = map.w.columns(column, dh);
        product(View::rows(h, rows, d, d), View::of(&columns), T::ONE, &mut out, dh, Into::Replace);
        if let Some(b) = &map.b {
            ops::add_bias(&b[column..column + dh], &mut out);
        }
        out
    }

    /// `z · W_O` of one head, `[rows, d_model]`, for `z` of `[rows, d_head]`: its part of the attention addend, before a
    /// post-norm where there is one.
    pub fn head_out(&self, layer: usize, head: usize, z: &[T]) -> Vec<T> {
        let (d, dh) = (self.cfg.d_model, self.cfg.d_head);
        let rows = z.len() / dh;
        let mut out = vec![T::ZERO; rows * d];
        let w = self.weights.layers[layer].o.w.row_range(head * dh, dh);
        product(View::rows(z, rows, dh, dh), View::of(&w), T::ONE, &mut out, d, Into::Replace);
        out
    }

    /// An MLP's output without bias, `[rows, d_model]`, when it reads streams `x`; zeros where the layer has no MLP.
    pub fn mlp_out(&self, layer: usize, x: &[T]) -> Vec<T> {
        let w = &self.weights.layers[layer];
        let mut out = vec![T::ZERO; x.len()];
        let Some(mlp) = &w.mlp else { return out };
        let h = self.normed(w.norm2.as_ref(), x);
        let mut up = vec![T::ZERO; x.len() / self.cfg.d_model * self.cfg.d_mlp];
        project(&h, &mlp.up, &mut up);
        let act = activation(self.cfg.act);
        if let Some(gate) = &mlp.gate {
            let mut g = vec![T::ZERO; up.len()];
            project(&h, gate, &mut g);
            ops::activate_gated(act, &g, &mut up);
        } else {
            ops::activate(act, &mut up);
        }
        linear(&up, &mlp.down.w, &mut out, Into::Replace);
        out
    }

    fn post_norm_of(w: &LayerWeights<T>, is_mlp: bool) -> Option<&NormWeights<T>> {
        if is_mlp { w.post_mlp.as_ref() } else { w.post_attn.as_ref() }
    }

    /// Whether the attention or MLP addend of `layer` passes a norm before it joins the stream.
    pub fn has_post_norm(&self, layer: usize, is_mlp: bool) -> bool {
        Self::post_norm_of(&self.weights.layers[layer], is_mlp).is_some()
    }

    /// What the stream changes by, `[rows, d_model]`, when a whole addend `old` (bias included, before its post-norm)
    /// changes by `change`: `change` itself without a post-norm.
    pub fn addend_change(&self, layer: usize, is_mlp: bool, old: &[T], change: &mut [T]) {
        let Some(post) = Self::post_norm_of(&self.weights.layers[layer], is_mlp) else { return };
        let d = self.cfg.d_model;
        let mut new = old.to_vec();
        ops::add(change, &mut new);
        let new = self.normed(Some(post), &new);
        let old = self.normed(Some(post), old);
        change.fill(T::ZERO);
        for ((new, old), out) in new.chunks_exact(d).zip(old.chunks_exact(d)).zip(change.chunks_exact_mut(d))
        {
            ops::add_difference(new, old, out);
        }
    }

    /// The whole attention or MLP addend of kept activations at some of their rows, bias included, before its post-norm.
    /// The run must have kept [`Keep::Z`](super::Keep::Z) and, for MLPs, [`Keep::MLP`](super::Keep::MLP).
    pub fn whole_addend(&self, acts: &Acts<T>, layer: usize, is_mlp: bool, rows: &[usize]) -> Vec<T> {
        let (attn, mlp) = addends(self.cfg, self.weights, acts, layer, rows);
        if is_mlp { mlp } else { attn }
    }

    /// What the judge says of final streams `x`, `[read positions of all examples, d_model]`.
    ///
    /// # Errors
    /// Values that are not finite.
    pub fn judge_streams(&self, x: &[T], judge: &dyn Judge<T>) -> Result<Vec<f64>> {
        let plan = Compiled::default();
        let (plans, sources) = ([&plan], Sources::new());
        let ctx = self.context(&sources, &plans, &[], &[]);
        let lanes = self.fresh_lanes();
        let map = RowMap::reads(&lanes, &self.reads);
        let mut values = Vec::new();
        read_out(&ctx, &lanes, &map, x, judge, |_, v| values.extend(v))?;
        Ok(values)
    }
}
