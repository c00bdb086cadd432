//! Replacing a part of a node's value: what lies in the span of its first principal components, or what does not.
//!
//! Components are taken for each position after BOS, of the node's values over the inputs (a head's as `hook_result`, an
//! MLP's as `mlp.hook_post`). With `P` the projector on them, `x` the base's value, `c` the ablation input's, and `s` the
//! scale:
//!
//! | | high variance | low variance |
//! |---|---|---|
//! | self | `x + s·Px − Px` | `x + s·(x−Px) − (x−Px)` |
//! | resample | `x + s·Pc − Px` | `x + s·(c−Pc) − (x−Px)` |
//!
//! The notebook that this comes from has, in the place of `Px`, the *number* `Σ ⟨x, d⟩` added to every dimension:
//! [`Subspace::legacy`].

use std::sync::Arc;

use ablate_graph::{Node, Site};
use ablate_model::engine::{Acts, Compiled, Engine, Keep, Sources, Table, TokenLogits};
use ablate_model::model::AnyWeights;
use ablate_model::{Batch, Config, Model, Weights};
use ablate_tensor::{Into, Matrix, Real, View, principal_components, product};

use super::Inputs;
use crate::error::{Error, Result};

/// `[position][component][dimension]`.
pub type Directions = Vec<Vec<Vec<f64>>>;

/// Which part of a node's value is replaced, and by what.
#[derive(Clone, Debug)]
pub struct Subspace {
    /// Number of components.
    pub components: usize,
    /// Whether the part comes from the ablation input (else it is the node's own, scaled).
    pub resample: bool,
    /// Whether the part is what lies in the components (else the rest).
    pub high: bool,
    /// The notebook's form: a number added to all dimensions.
    pub legacy: bool,
    /// Whether the mean is taken off before projecting.
    pub centred: bool,
    /// Directions to use instead of the inputs' own components: for a node, `[position][component][dimension]`,
    /// positions after BOS.
    pub directions: Option<Vec<(Node, Directions)>>,
}

/// The components of a node at one position.
#[derive(Clone, Debug, PartialEq)]
pub struct Components {
    /// `[component][dimension]`, of length 1, the largest entry positive.
    pub directions: Vec<Vec<f64>>,
    /// `[dimension]`.
    pub mean: Vec<f64>,
    /// Variance along each component (over `n − 1`).
    pub variance: Vec<f64>,
}

/// The first `k` components of `node` (all of a node with fewer dimensions) at each position after BOS, over inputs of one length of which each stands as often
/// as `counts` says.
///
/// # Errors
/// More components than inputs.
pub(super) fn components<T: Real>(
    cfg: &Config,
    weights: &Weights<T>,
    acts: &Arc<Vec<Acts<T>>>,
    counts: &[usize],
    node: Node,
    k: usize,
) -> Result<Vec<Components>> {
    let (values, dim) = values(cfg, weights, acts, node)?;
    let len = values.len() / dim / counts.len().max(1);
    (1..len)
        .map(|p| {
            let rows: Vec<f64> = counts
                .iter()
                .enumerate()
                .flat_map(|(i, &n)| std::iter::repeat_n(i, n))
                .flat_map(|i| &values[(i * len + p) * dim..][..dim])
                .map(|x| x.f64())
                .collect();
            let found = principal_components(&rows, dim, k.min(dim));
            let Some((directions, mean, variance)) = found else {
                return Err(Error::argument(
                    format!("{k} components of {} inputs with {dim} dimensions", rows.len() / dim),
                    "ask for fewer components",
                ));
            };
            Ok(Components { directions, mean, variance })
        })
        .collect()
}

/// The directions that were handed over for `node`, with the mean of its `values` at each position after BOS.
fn given<T: Real>(
    all: &[(Node, Directions)],
    node: Node,
    values: &[T],
    dim: usize,
    counts: &[usize],
) -> Result<Vec<Components>> {
    let len = values.len() / dim / counts.len().max(1);
    let found = all.iter().find(|(n, _)| *n == node).map(|(_, positions)| positions);
    let fits = |p: &Directions| p.len() == len - 1 && p.iter().flatten().all(|d| d.len() == dim);
    let Some(positions) = found.filter(|p| fits(p)) else {
        let message =
            format!("there are no directions of {node} for {} positions of {dim} dimensions", len - 1);
        return Err(Error::argument(message, "give directions of every node, or none"));
    };
    let total = counts.iter().sum::<usize>() as f64;
    let mean = |p: usize, j: usize| {
        let at = |i: usize| values[(i * len + p) * dim + j].f64() * counts[i] as f64;
        (0..counts.len()).map(at).sum::<f64>() / total
    };
    Ok(positions
        .iter()
        .enumerate()
        .map(|(p, d)| Components {
            directions: d.clone(),
            mean: (0..dim).map(|j| mean(p + 1, j)).collect(),
            variance: vec![],
        })
        .collect())
}

/// A node's values as the benchmark hooks them, `[inputs · positions, dimension]`, and the dimension.
fn values<T: Real>(
    cfg: &Config,
    weights: &Weights<T>,
    acts: &Arc<Vec<Acts<T>>>,
    node: Node,
) -> Result<(Vec<T>, usize)> {
    match node {
        Node::Head { layer, head } => {
            let z: Vec<T> = acts.iter().flat_map(|a| a.layers[layer].z.iter().copied()).collect();
            let zw = cfg.n_heads * cfg.d_head;
            let o = weights.layers[layer].o.w.row_range(head * cfg.d_head, cfg.d_head);
            let rows = z.len() / zw.max(1);
            let mut out = vec![T::ZERO; rows * cfg.d_model];
            let z = View::rows(&z[head * cfg.d_head..], rows, cfg.d_head, zw);
            product(z, View::of(&o), T::ONE, &mut out, cfg.d_model, Into::Replace);
            Ok((out, cfg.d_model))
        }
        Node::Mlp { layer } => {
            Ok((acts.iter().flat_map(|a| a.layers[layer].neurons.iter().copied()).collect(), cfg.d_mlp))
        }
        Node::Input | Node::Logits => {
            Err(Error::argument(format!("{node} has no subspace"), "choose heads and MLPs"))
        }
    }
}

/// What a node adds to the stream, taken apart: its new value is affine in what base and ablation input give.
pub(super) struct Parts<T> {
    site: Site,
    resample: bool,
    len: usize,
    /// The addend of the whole half layer, `[inputs · positions, d_model]`.
    whole: Vec<T>,
    /// The part that is replaced, at every row, as it enters the stream; 0 at BOS.
    part: Vec<T>,
    d_model: usize,
}

impl<T: Real> Parts<T> {
    pub(super) fn new(
        cfg: &Config,
        weights: &Weights<T>,
        acts: &Arc<Vec<Acts<T>>>,
        counts: &[usize],
        node: Node,
        subspace: &Subspace,
    ) -> Result<Self> {
        let (values, dim) = values(cfg, weights, acts, node)?;
        let len = values.len() / dim / counts.len().max(1);
        let components = match &subspace.directions {
            Some(all) => given(all, node, &values, dim, counts)?,
            None => components(cfg, weights, acts, counts, node, subspace.components)?,
        };
        let mut part = vec![T::ZERO; values.len()];
        for (r, (x, out)) in values.chunks_exact(dim).zip(part.chunks_exact_mut(dim)).enumerate() {
            if r % len > 0 {
                subspace.part(x, &components[r % len - 1], out);
            }
        }
        let (site, whole, part) = if let Node::Mlp { layer } = node {
            let whole = acts.iter().flat_map(|a| a.layers[layer].mlp_out.iter().copied()).collect();
            let Some(mlp) = &weights.layers[layer].mlp else {
                return Err(Error::argument(format!("{node} does not exist"), ""));
            };
            let mut out = vec![T::ZERO; part.len() / dim * cfg.d_model];
            ablate_tensor::linear(&part, &mlp.down.w, &mut out, Into::Replace);
            (Site::MlpOut { layer }, whole, out)
        } else {
            let layer = node.layer().unwrap_or(0);
            let whole = acts.iter().flat_map(|a| a.layers[layer].attn_out.iter().copied()).collect();
            (Site::AttnOut { layer }, whole, part)
        };
        Ok(Self { site, resample: subspace.resample, len, whole, part, d_model: cfg.d_model })
    }

    /// The site that takes the new addend.
    pub(super) fn site(&self) -> Site {
        self.site
    }

    /// Whether the ablation input plays no part.
    pub(super) fn of_self(&self) -> bool {
        !self.resample
    }

    /// The new addend for every base with the part of ablation input `j`, scaled.
    pub(super) fn table(&self, cfg: &Config, scale: f64, j: usize) -> Table<T> {
        let (d, scale) = (self.d_model, T::of(scale));
        let rows = self.whole.len() / d;
        let lens = vec![self.len; rows / self.len];
        let mut out = self.whole.clone();
        for (r, out) in out.chunks_exact_mut(d).enumerate() {
            let own = &self.part[r * d..(r + 1) * d];
            let from = if self.resample { j * self.len + r % self.len } else { r };
            let new = &self.part[from * d..(from + 1) * d];
            for ((o, own), new) in out.iter_mut().zip(own).zip(new) {
                *o += scale * *new - *own;
            }
        }
        let mut acts = Acts::new(cfg, Keep::NONE, 0, &lens);
        let layer = Arc::make_mut(&mut acts.layers[self.site_layer()]);
        match self.site {
            Site::MlpOut { .. } => layer.mlp_out = out,
            _ => layer.attn_out = out,
        }
        Table::identity(Arc::new(vec![acts]))
    }

    fn site_layer(&self) -> usize {
        match self.site {
            Site::MlpOut { layer } | Site::AttnOut { layer } => layer,
            _ => 0,
        }
    }
}

impl Subspace {
    /// The part of `x` that is replaced.
    fn part<T: Real>(&self, x: &[T], at: &Components, out: &mut [T]) {
        let mean = |i: usize| if self.centred { at.mean[i] } else { 0.0 };
        let centred: Vec<f64> = x.iter().enumerate().map(|(i, x)| x.f64() - mean(i)).collect();
        let mut high = vec![0.0; x.len()];
        for direction in &at.directions {
            let along: f64 = centred.iter().zip(direction).map(|(x, d)| x * d).sum();
            for (h, d) in high.iter_mut().zip(direction) {
                *h += if self.legacy { along } else { along * d };
            }
        }
        for ((out, x), h) in out.iter_mut().zip(&centred).zip(&high) {
            *out = T::of(if self.high { *h } else { x - h });
        }
    }
}

/// What each direction of `node` adds to the outputs if it reaches them as it is: `[position][component][output]`, without
/// the output bias and any norm (the notebook's logit lens; an MLP's directions go through `W_out` first).
///
/// # Errors
/// A node that the model does not have.
pub fn logit_lens(model: &Model, node: Node, at: &[Components]) -> Result<Directions> {
    match model.weights() {
        AnyWeights::F32(w) => lens(w, node, at),
        AnyWeights::F64(w) => lens(w, node, at),
    }
}

fn lens<T: Real>(weights: &Weights<T>, node: Node, at: &[Components]) -> Result<Directions> {
    let down = match node {
        Node::Mlp { layer } => weights.layers.get(layer).and_then(|l| l.mlp.as_ref()).map(|m| &m.down.w),
        _ => None,
    };
    let through = |x: &[T], map: &Matrix<T>| {
        let mut out = vec![T::ZERO; map.cols()];
        ablate_tensor::linear(x, map, &mut out, Into::Replace);
        out
    };
    let direction = |d: &Vec<f64>| {
        let mut x: Vec<T> = d.iter().map(|&x| T::of(x)).collect();
        if let Some(down) = down {
            x = through(&x, down);
        }
        if x.len() != weights.unembed.w.rows() {
            return Err(Error::argument(
                format!("{node} has directions of another width"),
                "choose heads and MLPs",
            ));
        }
        Ok(through(&x, &weights.unembed.w).iter().map(|x| x.f64()).collect())
    };
    at.iter().map(|c| c.directions.iter().map(direction).collect()).collect()
}

/// The first `k` principal components of `node` of `model` at each position after BOS, over these inputs.
///
/// # Errors
/// Inputs of different lengths, more components than inputs or dimensions.
pub fn of_inputs(model: &Model, inputs: &Inputs, node: Node, k: usize) -> Result<Vec<Components>> {
    let batch = inputs.batch(model.config().d_vocab, model.config().n_ctx)?;
    match model.weights() {
        AnyWeights::F32(w) => of_batch(model.config(), w, &batch, node, k),
        AnyWeights::F64(w) => of_batch(model.config(), w, &batch, node, k),
    }
}

fn of_batch<T: Real>(
    cfg: &Config,
    weights: &Weights<T>,
    batch: &Batch,
    node: Node,
    k: usize,
) -> Result<Vec<Components>> {
    let engine = Engine::new(cfg, weights, batch);
    let keep = Keep::Z | Keep::NEURONS;
    let none = TokenLogits { tokens: vec![] };
    let run = engine.base(&Compiled::default(), &Sources::new(), keep, true, &none)?;
    components(cfg, weights, &run.acts, &vec![1; batch.len()], node, k)
}
