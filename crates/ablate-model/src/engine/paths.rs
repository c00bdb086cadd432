//! Paths by delta arithmetic: what a change of one sender's output does to what later readers see, without running the
//! model again. Heads between are held at the base run; MLPs between are held or computed anew. A change reaches a
//! reader as a sum, so the direct path to the logits costs a norm and a few dot products.

use std::sync::Arc;

use ablate_graph::{Node, Positions, Reader, Side, Site, Source};
use ablate_tensor::{Real, ops};

use super::acts::Acts;
use super::compile::resolve;
use super::forward::site_width;
use super::parts::HeadRows;
use super::readout::Judge;
use super::source::Sources;
use super::{Base, Engine};
use crate::config::Block;
use crate::error::{Error, Result};

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
        source: (Source, f64),
        places: &Places,
    ) -> Result<Vec<T>> {
        let mut change = self.node_change(base, sources, node, source, places)?;
        self.through_post_norm(base, node, places, &mut change)?;
        Ok(change)
    }

    /// [`Engine::sender_change`] before a post-norm of the whole addend.
    fn node_change(
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
        Ok(change)
    }

    /// What the stream changes by when the outputs of several nodes become `scale · source` at once: each change, of
    /// `[places, d_model]`, with the node where it is written. Heads of a layer write one addend, so they are summed.
    ///
    /// # Errors
    /// As [`Engine::sender_change`].
    pub fn senders_change(
        &self,
        base: &Base<T>,
        sources: &Sources<T>,
        nodes: &[Node],
        source: (Source, f64),
        places: &Places,
    ) -> Result<Vec<(Node, Vec<T>)>> {
        let mut sorted = nodes.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut out: Vec<(Node, Vec<T>)> = Vec::new();
        for node in sorted {
            let change = self.node_change(base, sources, node, source, places)?;
            match out.last_mut() {
                Some((Node::Head { layer: last, .. }, sum)) if matches!(node, Node::Head { layer, .. } if layer == *last) =>
                {
                    ops::add(&change, sum);
                }
                _ => out.push((node, change)),
            }
        }
        for (node, change) in &mut out {
            self.through_post_norm(base, *node, places, change)?;
        }
        Ok(out)
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
        let is_mlp = matches!(node, Node::Mlp { .. });
        if !self.has_post_norm(layer, is_mlp) {
            return Ok(());
        }
        let mut old = Vec::with_capacity(change.len());
        for &(example, p) in places {
            let (acts, local) = base.of(example);
            old.extend(self.whole_addend(acts, layer, is_mlp, &[acts.row(local, p as usize)]));
        }
        self.addend_change(layer, is_mlp, &old, change);
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
        if self.weights.layers[layer].mlp.is_none() {
            return Ok(vec![T::ZERO; delta.len()]);
        }
        let parallel = self.cfg.block == Block::Parallel;
        let site = if parallel { Site::ResidPre { layer } } else { Site::ResidMid { layer } };
        let mut x = base.values(self, site, places)?;
        ops::add(delta, &mut x);
        let mut out = self.mlp_out(layer, &x);
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
        let (places, seen) = self.head_inputs(base, example, layer, inputs)?;
        let n = places.len();
        let rows = [HeadRows { queries: (0..n as u32).collect(), keys: n }];
        let mut z = self.head_z((layer, head), &rows, seen.each_ref().map(Vec::as_slice));
        let node = Node::Head { layer, head };
        ops::axpy(-T::ONE, &base.values(self, Site::Node(node), &places)?, &mut z);
        Ok(self.head_out(layer, head, &z))
    }

    /// What a head's query, key and value maps read at all positions of an example, with their places.
    #[expect(clippy::type_complexity, reason = "places and three inputs")]
    fn head_inputs(
        &self,
        base: &Base<T>,
        example: u32,
        layer: usize,
        inputs: [Option<&[T]>; 3],
    ) -> Result<(Vec<(u32, u32)>, [Vec<T>; 3])> {
        let n = self.batch.rows()[example as usize].clean.len();
        let places: Vec<(u32, u32)> = (0..n as u32).map(|p| (example, p)).collect();
        let x = base.values(self, Site::ResidPre { layer }, &places)?;
        let seen = inputs.map(|input| {
            let mut x = x.clone();
            if let Some(change) = input {
                ops::add(change, &mut x);
            }
            self.norm_before_attention(layer, &x)
        });
        Ok((places, seen))
    }

    /// One head's attention from position `query` of an example to each of its positions, when what its query, key and
    /// value inputs see changes by `inputs` as in [`Engine::head_change`]. With `weighted`, each probability times the
    /// Euclidean norm of the value it moves, value bias included.
    ///
    /// # Errors
    /// As [`Engine::sender_change`].
    pub fn head_attention(
        &self,
        base: &Base<T>,
        (example, query): (u32, u32),
        (layer, head): (usize, usize),
        inputs: [Option<&[T]>; 3],
        weighted: bool,
    ) -> Result<Vec<f64>> {
        let (places, [q, k, v]) = self.head_inputs(base, example, layer, inputs)?;
        let (d, at) = (self.cfg.d_model, query as usize);
        let rows = HeadRows { queries: vec![query], keys: places.len() };
        let pattern = self.head_pattern((layer, head), &rows, [&q[at * d..(at + 1) * d], &k]);
        if !weighted {
            return Ok(pattern.iter().map(|a| a.f64()).collect());
        }
        let values = self.head_values((layer, head), &v);
        let norms = values.chunks_exact(self.cfg.d_head);
        let norms = norms.map(|v| v.iter().map(|x| x.f64() * x.f64()).sum::<f64>().sqrt());
        Ok(pattern.iter().zip(norms).map(|(a, norm)| a.f64() * norm).collect())
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
        self.judge_streams(&x, judge)
    }
}
