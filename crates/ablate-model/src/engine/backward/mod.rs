//! The backward pass, by hand, of the one decoder: from the metric's slope at the logits back through the layers, the
//! last first. A [`Visitor`] is handed the gradient at every reader (each through its own copy of the norm) and at every
//! sender's output while it is there; nothing is stored, so memory does not grow with nodes × tokens.
//!
//! | stage (last to first) | handed to the visitor | shape |
//! |---|---|---|
//! | unembedding, final norm | `logits` | read rows × d_model |
//! | MLP of layer l | `mlp` (its output, before bias and post-norm) | rows × d_model |
//! | heads of layer l | `heads` (their `z`) | rows × (n_heads·d_head) |
//! | norms of layer l | `readers` (every q, k, v and m) | readers × rows × d_model |
//! | embedding | `input` | rows × d_model |
//!
//! Outputs that the run's plan replaced are constants: the gradient at them is handed out, but none flows from them into
//! their own readers.

mod attention;
mod cuts;
mod mlp;
mod params;
mod readers;
mod readout;
mod rules;

use std::ops::Range;

use ablate_graph::{Kv, Node, Site};
use ablate_tensor::{Matrix, NormAt, Real, backward as kernels, ops};

pub use cuts::CutGradients;
pub use params::{Gradients, LayerGradients, LinearGradient, MlpGradients, NormGradient};
pub use readers::Readers;
pub use readout::Slope;
pub use rules::{ActivationRule, NormRule, Rules, SoftmaxRule};

use super::acts::{Acts, Keep};
use super::compile::{At, Compiled, Stage};
use super::forward::{Chunk, Context, centre, own_layers};
use super::lanes::{JoinAt, Lane};
use super::readout::{Judge, read_out};
use super::source::Sources;
use super::{Engine, lanes};
use crate::config::{Block, Config};
use crate::error::{Error, Result};
use crate::weights::{NormWeights, Weights};

/// What a run must keep so that [`Engine::backward`] can start from it.
pub const KEEP: Keep = Keep::BACKWARD;

/// Gradients at some rows of a block.
#[derive(Clone, Copy, Debug)]
pub struct AtRows<'a, T> {
    /// Rows of the block, ascending.
    pub rows: &'a [usize],
    /// Their gradients, one row after the other; zero at rows that are not listed.
    pub values: &'a [T],
}

/// Looks at gradients as the backward pass meets them.
pub trait Visitor<T> {
    /// Which readers' gradients are wanted; `None` = no readers', which saves their products.
    fn wants(&self) -> Option<Kv> {
        None
    }

    /// At the input of the final norm, at the rows that are read.
    fn logits(&mut self, _gradient: AtRows<'_, T>) -> Result<()> {
        Ok(())
    }

    /// At the inputs of a layer's readers, for a range of rows; ranges follow one another.
    fn readers(&mut self, _readers: &Readers<'_, T>) -> Result<()> {
        Ok(())
    }

    /// At the head outputs `z` of a layer.
    fn heads(&mut self, _layer: usize, _gradient: AtRows<'_, T>) -> Result<()> {
        Ok(())
    }

    /// At an MLP's output.
    fn mlp(&mut self, _layer: usize, _gradient: AtRows<'_, T>) -> Result<()> {
        Ok(())
    }

    /// At the embedding, `[rows, d_model]`.
    fn input(&mut self, _gradient: &[T]) -> Result<()> {
        Ok(())
    }
}

/// A visitor that does not look (for parameter gradients).
#[derive(Clone, Copy, Debug, Default)]
pub struct Blind;

impl<T> Visitor<T> for Blind {}

/// A backward pass on its way through the layers of one block.
struct Pass<'a, T> {
    ctx: &'a Context<'a, T>,
    plan: &'a Compiled,
    acts: &'a Acts<T>,
    rules: Rules,
    /// Whether the scales of norms before attention and MLP, and of the final one, are constants.
    frozen: bool,
    /// Position of each row.
    pos: Vec<u32>,
    /// Rows where the gradient of the stream may differ from zero.
    active: Vec<usize>,
    /// Gradient of the stream, `[rows, d_model]`.
    dx: Vec<T>,
    params: Option<&'a mut Gradients<T>>,
    scratch: Scratch<T>,
}

/// Buffers that are used again in every layer.
#[derive(Default)]
struct Scratch<T> {
    /// Gradients of the readers of a range of rows.
    readers: Vec<T>,
    up: Vec<T>,
    gate: Vec<T>,
    h: Vec<T>,
}

impl<T: Real> Engine<'_, T> {
    /// Runs the whole batch under `plan` as one block and keeps `keep`; from the embedding, or from `base` (a run of
    /// another plan on the same text that kept as much) where the two differ.
    pub fn block(
        &self,
        plan: &Compiled,
        sources: &Sources<T>,
        keep: Keep,
        full: bool,
        base: Option<(&Compiled, &Acts<T>)>,
    ) -> Result<Acts<T>> {
        let plans = [plan];
        let block_of = vec![0; self.batch().len()];
        let mut lanes = self.fresh_lanes();
        let Some((base_plan, acts)) = base else {
            let ctx = self.context(sources, &plans, &[], &block_of);
            let lens: Vec<usize> = self.batch().rows().iter().map(|r| r.clean.len()).collect();
            let room = Acts::new(self.config(), keep, 0, &lens);
            let (_, _, kept) = Chunk::new(&ctx, &lanes, full).keeping(keep, room).run()?;
            return kept.ok_or_else(|| Error::plan("internal: nothing was kept"));
        };
        let ctx = self.context(sources, &plans, std::slice::from_ref(acts), &block_of);
        let joins = lanes::lanes(self.config(), self.batch(), base_plan, &plans, &self.reads);
        let end = (self.config().n_layers, JoinAt::Pre);
        let first = joins.iter().map(|l| l.join).min().unwrap_or(end);
        for lane in &mut lanes {
            lane.join = first;
        }
        let mut kept = acts.clone();
        own_layers(&mut kept, first.0, self.config(), keep);
        let (_, _, kept) = Chunk::new(&ctx, &lanes, full).keeping(keep, kept).run()?;
        kept.ok_or_else(|| Error::plan("internal: nothing was kept"))
    }

    /// What the first `layers` layers give under `plan`, every position, as one block: enough of a run to be the source of
    /// nodes in them.
    pub fn first_layers(
        &self,
        plan: &Compiled,
        sources: &Sources<T>,
        keep: Keep,
        layers: usize,
    ) -> Result<Acts<T>> {
        let plans = [plan];
        let block_of = vec![0; self.batch().len()];
        let lanes = self.fresh_lanes();
        let ctx = self.context(sources, &plans, &[], &block_of);
        let lens: Vec<usize> = self.batch().rows().iter().map(|r| r.clean.len()).collect();
        let room = Acts::new(self.config(), keep, 0, &lens);
        let kept = Chunk::new(&ctx, &lanes, true)
            .keeping(keep, room)
            .run_first(layers.min(self.config().n_layers))?;
        kept.ok_or_else(|| Error::plan("internal: nothing was kept"))
    }

    /// Judges a block that was run whole (see [`Engine::block`]): `[reads, judge width]`.
    pub fn judge_block(&self, plan: &Compiled, acts: &Acts<T>, judge: &dyn Judge<T>) -> Result<Vec<f64>> {
        let plans = [plan];
        let block_of = vec![0; self.batch().len()];
        let sources = Sources::new();
        let ctx = self.context(&sources, &plans, std::slice::from_ref(acts), &block_of);
        let lanes = self.fresh_lanes();
        let (map, x) = readout::read_rows(&ctx, &lanes, acts);
        let mut values = Vec::new();
        read_out(&ctx, &lanes, &map, &x, judge, |_, v| values.extend(v))?;
        Ok(values)
    }

    /// The backward pass of a block that was run under `plan` and kept [`KEEP`]: hands gradients of the summed metric to
    /// `visitor`, adds parameter gradients to `params`, and returns the metric at every read. Examples do not meet, so
    /// each row's gradient is that of its own example. `rules` may put others in the place of local derivatives.
    ///
    /// # Errors
    /// A plan that replaces anything but nodes; a metric that is not finite.
    pub fn backward(
        &self,
        plan: &Compiled,
        acts: &Acts<T>,
        slope: &dyn Slope<T>,
        rules: &Rules,
        visitor: &mut dyn Visitor<T>,
        params: Option<&mut Gradients<T>>,
    ) -> Result<Vec<f64>> {
        check(plan)?;
        let plans = [plan];
        let block_of = vec![0; self.batch().len()];
        let sources = Sources::new();
        let ctx = self.context(&sources, &plans, std::slice::from_ref(acts), &block_of);
        let lanes = self.fresh_lanes();
        let pos = lanes.iter().flat_map(|l| 0..l.end as u32).collect::<Vec<_>>();
        let dx = vec![T::ZERO; pos.len() * self.config().d_model];
        let frozen = rules.norm != NormRule::True || plan.freeze_norm;
        let mut pass = Pass {
            ctx: &ctx,
            plan,
            acts,
            rules: *rules,
            frozen,
            pos,
            active: Vec::new(),
            dx,
            params,
            scratch: Scratch::default(),
        };
        let values = pass.readout(&lanes, slope, visitor)?;
        for layer in (0..self.config().n_layers).rev() {
            pass.layer(layer, &lanes, visitor)?;
        }
        pass.embedding(&lanes, visitor)?;
        Ok(values)
    }
}

/// Refuses plans whose edits the backward pass does not know as constants.
fn check(plan: &Compiled) -> Result<()> {
    let other = plan.steps.iter().find(|s| !matches!(s.site, Site::Node(_)));
    other.map_or(Ok(()), |step| {
        Err(Error::plan(format!("gradients flow through plans that replace nodes, not {:?}", step.site)))
    })
}

impl<T: Real> Pass<'_, T> {
    /// Number of rows.
    fn n(&self) -> usize {
        self.pos.len()
    }

    fn layer(&mut self, layer: usize, lanes: &[Lane], visitor: &mut dyn Visitor<T>) -> Result<()> {
        let parallel = self.ctx.cfg.block == Block::Parallel;
        let mlp = self.mlp(layer, lanes, visitor)?;
        if let (Some(g), false) = (&mlp, parallel) {
            self.add_active(g);
        }
        let slots = self.attention(layer, lanes, visitor)?;
        if let (Some(g), true) = (&mlp, parallel) {
            self.add_active(g);
        }
        self.read(layer, &slots, mlp.as_deref(), visitor)?;
        self.active = (0..self.n()).collect();
        Ok(())
    }

    /// Adds gradients at the active rows to the stream's.
    fn add_active(&mut self, g: &[T]) {
        let d = self.ctx.cfg.d_model;
        for (&r, g) in self.active.iter().zip(g.chunks_exact(d)) {
            ops::add(g, &mut self.dx[r * d..(r + 1) * d]);
        }
    }

    /// The active rows of `x`, `width` wide.
    fn gather(&self, x: &[T], width: usize) -> Vec<T> {
        if self.active.len() == self.n() {
            return x.to_vec();
        }
        self.active.iter().flat_map(|&r| &x[r * width..(r + 1) * width]).copied().collect()
    }

    /// Sets the gradient of replaced outputs to zero: `place` tells columns of `values` (rows `width` wide, at the active
    /// rows) for the sites that it knows.
    fn mask(
        &self,
        at: At,
        lanes: &[Lane],
        values: &mut [T],
        width: usize,
        place: impl Fn(Site) -> Option<Range<usize>>,
    ) {
        for step in self.plan.at(at) {
            let Some(columns) = place(step.site) else { continue };
            for (i, &r) in self.active.iter().enumerate() {
                let local = self.acts.offsets.partition_point(|&o| o <= r) - 1;
                if step.hits(lanes[local].example, self.pos[r] as usize) {
                    values[i * width..(i + 1) * width][columns.clone()].fill(T::ZERO);
                }
            }
        }
    }

    fn embedding(&mut self, lanes: &[Lane], visitor: &mut dyn Visitor<T>) -> Result<()> {
        visitor.input(&self.dx)?;
        let d = self.ctx.cfg.d_model;
        let mut dx = std::mem::take(&mut self.dx);
        self.mask((0, Stage::Pre), lanes, &mut dx, d, |s| (s == Site::Node(Node::Input)).then_some(0..d));
        let Some(params) = self.params.as_mut() else { return Ok(()) };
        for (lane, start) in lanes.iter().zip(&self.acts.offsets) {
            let tokens = super::forward::side_tokens(self.ctx, lane)?;
            for (p, &token) in tokens.iter().enumerate() {
                params.embedding(self.ctx.cfg, token, p, &dx[(start + p) * d..(start + p + 1) * d]);
            }
        }
        Ok(())
    }
}

/// Scales of a norm's rows: those kept of the run, or computed again.
fn scales_of<T: Real>(cfg: &Config, x: &[T], kept: Option<Vec<T>>) -> Vec<T> {
    kept.filter(|k| !k.is_empty()).unwrap_or_else(|| {
        let mut scales = vec![T::ZERO; x.len() / cfg.d_model];
        kernels::norm_scales(x, cfg.d_model, centre(cfg), T::of(cfg.norm_eps), &mut scales);
        scales
    })
}

/// A norm at rows `x`, `None` where the model has none there.
fn norm_at<'a, T: Real>(
    cfg: &Config,
    w: Option<&'a NormWeights<T>>,
    x: &'a [T],
    scales: &'a [T],
    frozen: bool,
) -> Option<NormAt<'a, T>> {
    w.map(|w| NormAt { x, w: &w.w, centre: centre(cfg), scales, frozen })
}

/// The output of the norm that `at` describes.
fn norm_again<T: Real>(cfg: &Config, w: Option<&NormWeights<T>>, x: &[T], scales: &mut [T]) -> Vec<T> {
    let Some(w) = w else { return x.to_vec() };
    let mut out = vec![T::ZERO; x.len()];
    let eps = T::of(cfg.norm_eps);
    ops::norm(x, &w.w, w.b.as_deref(), centre(cfg), eps, &mut out, Some((scales, true)));
    out
}

/// `out (=|+=) dout · wᵀ`.
fn back<T: Real>(dout: &[T], w: &Matrix<T>, out: &mut [T], into: ablate_tensor::Into) {
    ablate_tensor::linear(dout, &w.transposed(), out, into);
}

/// The Jacobian of a post-norm times changes of the addend: what a change `dir` of an addend before the norm
/// does to the stream. `addend` is the whole addend before the norm; `frozen` makes its scale a constant.
pub fn post_norm_tangent<T: Real>(
    cfg: &Config,
    w: &NormWeights<T>,
    addend: &[T],
    frozen: bool,
    dir: &mut [T],
) {
    let scales = scales_of(cfg, addend, None);
    let at = NormAt { x: addend, w: &w.w, centre: centre(cfg), scales: &scales, frozen };
    at.tangent(dir);
}

/// The attention addend before its post-norm, and the MLP's, at these rows of a block.
pub fn addends<T: Real>(
    cfg: &Config,
    weights: &Weights<T>,
    acts: &Acts<T>,
    layer: usize,
    rows: &[usize],
) -> (Vec<T>, Vec<T>) {
    let (w, kept) = (&weights.layers[layer], &acts.layers[layer]);
    let (d, zw) = (cfg.d_model, cfg.n_heads * cfg.d_head);
    let z: Vec<T> = rows.iter().flat_map(|&r| &kept.z[r * zw..(r + 1) * zw]).copied().collect();
    let mut attn = vec![T::ZERO; rows.len() * d];
    super::forward::project(&z, &w.o, &mut attn);
    let mut mlp = Vec::new();
    if let Some(m) = &w.mlp {
        mlp = rows.iter().flat_map(|&r| &kept.mlp[r * d..(r + 1) * d]).copied().collect();
        if let Some(b) = &m.down.b {
            ops::add_bias(b, &mut mlp);
        }
    }
    (attn, mlp)
}
