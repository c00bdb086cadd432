//! Paths by delta arithmetic: what a change of one sender's output does to what later readers see, without running the
//! model again. Heads between are held at the base run; MLPs between are held or computed anew. A change reaches a
//! reader as a sum, so the direct path to the logits costs a norm and a few dot products.

use std::sync::Arc;

use ablate_graph::{Node, Positions, Reader, Side, Site, Source};
use ablate_tensor::{Attention, Into, Real, View, linear, ops, product};

use super::acts::Acts;
use super::backward::addends;
use super::compile::resolve;
use super::forward::{activation, centre, head_norm, project, site_width};
use super::readout::{Judge, read_out};
use super::source::Sources;
use super::{Base, Engine};
use crate::config::Block;
use crate::error::{Error, Result};
use crate::weights::{LayerWeights, Linear};

/// Some positions of some examples of a batch: `(example, position)`, a row of numbers for each.
pub type Places = [(u32, u32)];

impl<T: Real> Base<T> {
    /// The activations of `example` and its index in them.
    fn of(&self, example: u32) -> (&Acts<T>, usize) {
        let acts = &self.acts[self.block_of[example as usize]];
        (acts, example as usize - acts.first)
    }

    /// The kept value of `site` at each of `places`, one row after the other.
    fn values(&self, engine: &Engine<'_, T>, site: Site, places: &Places) -> Result<Vec<T>> {
        let mut out = Vec::new();
        for &(example, p) in places {
            let (acts, local) = self.of(example);
            let value = acts.value(engine.cfg, site, acts.row(local, p as usize));
            out.extend_from_slice(
                value.ok_or_else(|| Error::plan(format!("internal: {site} was not kept")))?,
            );
        }
        Ok(out)
    }
}

impl<T: Real> Engine<'_, T> {
    /// What the stream changes by, `[places, d_model]`, when the output of `node` becomes `scale · source` there.
    ///
    /// # Errors
    /// A source without a value for the node; a base run that kept less than [`Keep::EDGES`](super::Keep::EDGES).
    pub fn sender_change(
        &self,
        base: &Base<T>,
        sources: &Sources<T>,
        node: Node,
        (source, scale): (Source, f64),
        places: &Places,
    ) -> Result<Vec<T>> {
        let site = Site::Node(node);
        let width = site_width(self.cfg, site);
        let mut change = base.values(self, site, places)?;
        for (out, &(example, p)) in change.chunks_exact_mut(width).zip(places) {
            let mut new = vec![T::ZERO; width];
            if source != Source::Zero {
                let row = self.offsets[example as usize] + p as usize;
                let value = sources.get(source).and_then(|t| t.value(self.cfg, site, row));
                let value = value.filter(|v| v.len() == width);
                let value =
                    value.ok_or_else(|| Error::plan(format!("there is no value of {source} for {node}")))?;
                ops::scale_into(T::of(scale), value, &mut new);
            }
            ops::axpy(-T::ONE, out, &mut new);
            out.copy_from_slice(&new);
        }
        if let Node::Head { layer, head } = node {
            change = self.head_out(layer, head, &change);
        }
        self.through_post_norm(base, node, places, &mut change)?;
        Ok(change)
    }

    /// `z · W_O` of one head for rows of `z`.
    fn head_out(&self, layer: usize, head: usize, z: &[T]) -> Vec<T> {
        let (d, dh) = (self.cfg.d_model, self.cfg.d_head);
        let rows = z.len() / dh;
        let mut out = vec![T::ZERO; rows * d];
        let w = self.weights.layers[layer].o.w.row_range(head * dh, dh);
        product(View::rows(z, rows, dh, dh), View::of(&w), T::ONE, &mut out, d, Into::Replace);
        out
    }

    /// The change of a whole addend, summed over its parts, becomes what the addend's post-norm, where there is one, makes
    /// of it. `node` says which addend.
    ///
    /// # Errors
    /// As [`Engine::sender_change`].
    pub fn through_post_norm(
        &self,
        base: &Base<T>,
        node: Node,
        places: &Places,
        change: &mut [T],
    ) -> Result<()> {
        let Some(layer) = node.layer() else { return Ok(()) };
        let w = &self.weights.layers[layer];
        let is_mlp = matches!(node, Node::Mlp { .. });
        let Some(post) = (if is_mlp { &w.post_mlp } else { &w.post_attn }) else { return Ok(()) };
        let (d, eps) = (self.cfg.d_model, T::of(self.cfg.norm_eps));
        for (change, &(example, p)) in change.chunks_exact_mut(d).zip(places) {
            let (acts, local) = base.of(example);
            let (attn, mlp) = addends(self.cfg, self.weights, acts, layer, &[acts.row(local, p as usize)]);
            let old = if is_mlp { mlp } else { attn };
            let mut new = old.clone();
            ops::add(change, &mut new);
            let mut normed = vec![T::ZERO; 2 * d];
            let (a, b) = normed.split_at_mut(d);
            ops::norm(&new, &post.w, post.b.as_deref(), centre(self.cfg), eps, a, None);
            ops::norm(&old, &post.w, post.b.as_deref(), centre(self.cfg), eps, b, None);
            change.fill(T::ZERO);
            ops::add_difference(a, b, change);
        }
        Ok(())
    }

    /// What `to` sees differently, `[places, d_model]`, when the stream changes by `changes` where their nodes write into
    /// it. Heads are held at the base run; so are MLPs, unless `through_mlps`.
    ///
    /// # Errors
    /// As [`Engine::sender_change`].
    pub fn carry(
        &self,
        base: &Base<T>,
        places: &Places,
        changes: &[(Node, Vec<T>)],
        to: Reader,
        through_mlps: bool,
    ) -> Result<Vec<T>> {
        let mut delta = vec![T::ZERO; places.len() * self.cfg.d_model];
        let mut begun = false;
        let mut add = |delta: &mut [T], wanted: &dyn Fn(Node) -> bool| {
            let some: Vec<_> = changes.iter().filter(|(node, _)| wanted(*node)).collect();
            for (_, change) in &some {
                ops::add(change, delta);
            }
            begun |= !some.is_empty();
            begun
        };
        add(&mut delta, &|n| n == Node::Input);
        let parallel = self.cfg.block == Block::Parallel;
        let heads_of = |layer: usize| move |n: Node| matches!(n, Node::Head { layer: l, .. } if l == layer);
        let (end, mid) = match to {
            Reader::Head { layer, .. } | Reader::Kv { layer, .. } => (layer, false),
            Reader::Mlp { layer } => (layer, !parallel),
            Reader::Logits => (self.cfg.n_layers, false),
        };
        for layer in 0..end {
            let heads = heads_of(layer);
            let met = if parallel { add(&mut delta, &|_| false) } else { add(&mut delta, &heads) };
            let mut own = None;
            if through_mlps && met && self.cfg.d_mlp > 0 {
                own = Some(self.mlp_change(base, places, layer, &delta)?);
            }
            if parallel {
                add(&mut delta, &heads);
            }
            if let Some(change) = &own {
                ops::add(change, &mut delta);
            }
            add(&mut delta, &|n| n == Node::Mlp { layer });
        }
        if mid {
            add(&mut delta, &heads_of(end));
        }
        Ok(delta)
    }

    /// What an MLP's addend changes by, `[places, d_model]`, when what it reads changes by `delta`.
    ///
    /// # Errors
    /// As [`Engine::sender_change`].
    pub fn mlp_change(&self, base: &Base<T>, places: &Places, layer: usize, delta: &[T]) -> Result<Vec<T>> {
        let w = &self.weights.layers[layer];
        let Some(mlp) = &w.mlp else { return Ok(vec![T::ZERO; delta.len()]) };
        let parallel = self.cfg.block == Block::Parallel;
        let site = if parallel { Site::ResidPre { layer } } else { Site::ResidMid { layer } };
        let mut x = base.values(self, site, places)?;
        ops::add(delta, &mut x);
        let mut h = x.clone();
        if let Some(norm) = &w.norm2 {
            let eps = T::of(self.cfg.norm_eps);
            ops::norm(&x, &norm.w, norm.b.as_deref(), centre(self.cfg), eps, &mut h, None);
        }
        let mut up = vec![T::ZERO; places.len() * self.cfg.d_mlp];
        project(&h, &mlp.up, &mut up);
        let act = activation(self.cfg.act);
        if let Some(gate) = &mlp.gate {
            let mut g = vec![T::ZERO; up.len()];
            project(&h, gate, &mut g);
            ops::activate_gated(act, &g, &mut up);
        } else {
            ops::activate(act, &mut up);
        }
        let mut out = vec![T::ZERO; x.len()];
        linear(&up, &mlp.down.w, &mut out, Into::Replace);
        let node = Node::Mlp { layer };
        ops::axpy(-T::ONE, &base.values(self, Site::Node(node), places)?, &mut out);
        self.through_post_norm(base, node, places, &mut out)?;
        Ok(out)
    }

    /// What one head's part of the attention addend changes by, `[positions of the example, d_model]`, when what its query,
    /// key and value inputs see changes by `inputs` (`[positions, d_model]` each, `None` = as in the base run). The sum of
    /// a layer's heads becomes a change of the stream by [`Engine::through_post_norm`].
    ///
    /// # Errors
    /// As [`Engine::sender_change`].
    pub fn head_change(
        &self,
        base: &Base<T>,
        example: u32,
        (layer, head): (usize, usize),
        inputs: [Option<&[T]>; 3],
    ) -> Result<Vec<T>> {
        let (cfg, w) = (self.cfg, &self.weights.layers[layer]);
        let dh = cfg.d_head;
        let n = self.batch.rows()[example as usize].clean.len();
        let places: Vec<(u32, u32)> = (0..n as u32).map(|p| (example, p)).collect();
        let x = base.values(self, Site::ResidPre { layer }, &places)?;
        let kv = cfg.kv_of(head);
        let vector = |input: Option<&[T]>, map: &Linear<T>, column: usize| {
            let mut x = x.clone();
            if let Some(change) = input {
                ops::add(change, &mut x);
            }
            self.slot_vector(w, &x, map, column * dh)
        };
        let mut q = vector(inputs[0], &w.q, head);
        let mut k = vector(inputs[1], &w.k, kv);
        let v = vector(inputs[2], &w.v, kv);
        head_norm(cfg, w.q_norm.as_ref(), &mut q);
        head_norm(cfg, w.k_norm.as_ref(), &mut k);
        if let Some(rope) = &self.rope {
            for p in 0..n {
                rope.rotate(&mut q[p * dh..(p + 1) * dh], dh, p, false);
                rope.rotate(&mut k[p * dh..(p + 1) * dh], dh, p, false);
            }
        }
        let attention = Attention {
            heads: 1,
            kv_heads: 1,
            width: dh,
            scale: T::of(cfg.attn_scale),
            softcap: cfg.attn_softcap.map(T::of),
            window: cfg.windows[layer],
            causal: cfg.causal,
        };
        let at: Vec<u32> = (0..n as u32).collect();
        let mut pattern = vec![T::ZERO; n * n];
        attention.pattern(0, &q, &at, &k, n, &mut pattern);
        let mut z = vec![T::ZERO; n * dh];
        attention.mix(0, &pattern, &v, n, &mut z);
        let node = Node::Head { layer, head };
        ops::axpy(-T::ONE, &base.values(self, Site::Node(node), &places)?, &mut z);
        Ok(self.head_out(layer, head, &z))
    }

    /// One head's query, key or value vectors of streams `x`, before norm of heads and rotary embedding.
    fn slot_vector(&self, w: &LayerWeights<T>, x: &[T], map: &Linear<T>, column: usize) -> Vec<T> {
        let (d, dh) = (self.cfg.d_model, self.cfg.d_head);
        let mut h = x.to_vec();
        if let Some(norm) = &w.norm1 {
            let eps = T::of(self.cfg.norm_eps);
            ops::norm(x, &norm.w, norm.b.as_deref(), centre(self.cfg), eps, &mut h, None);
        }
        let rows = x.len() / d;
        let mut out = vec![T::ZERO; rows * dh];
        let columns = map.w.columns(column, dh);
        product(View::rows(&h, rows, d, d), View::of(&columns), T::ONE, &mut out, dh, Into::Replace);
        if let Some(b) = &map.b {
            ops::add_bias(&b[column..column + dh], &mut out);
        }
        out
    }

    /// The embeddings of the base run, `[places, d_model]`.
    ///
    /// # Errors
    /// As [`Engine::sender_change`].
    pub fn input_of(&self, base: &Base<T>, places: &Places) -> Result<Vec<T>> {
        base.values(self, Site::Node(Node::Input), places)
    }

    /// The positions in each row that `positions` names; `None` = all.
    ///
    /// # Errors
    /// Positions that a row lacks.
    pub fn positions(&self, positions: &Positions, side: Side) -> Result<Option<Arc<Vec<Vec<u32>>>>> {
        resolve(positions, side, self.batch)
    }

    /// The positions that are read, of all examples.
    pub fn read_places(&self) -> Vec<(u32, u32)> {
        let reads = self.reads.iter().enumerate();
        reads.flat_map(|(e, reads)| reads.iter().map(move |&p| (e as u32, p))).collect()
    }

    /// What the judge says when the final streams of the base run change by `change` (`[read places, d_model]`).
    ///
    /// # Errors
    /// Values that are not finite.
    pub fn judge_changed(&self, base: &Base<T>, change: &[T], judge: &dyn Judge<T>) -> Result<Vec<f64>> {
        let site = Site::ResidPre { layer: self.cfg.n_layers };
        let mut x = base.values(self, site, &self.read_places())?;
        ops::add(change, &mut x);
        let (plans, sources) = ([&base.plan], Sources::new());
        let ctx = self.context(&sources, &plans, &base.acts, &base.block_of);
        let lanes = self.fresh_lanes();
        let map = super::lanes::RowMap::reads(&lanes, &self.reads);
        let mut values = Vec::new();
        read_out(&ctx, &lanes, &map, &x, judge, |_, v| values.extend(v))?;
        Ok(values)
    }
}
