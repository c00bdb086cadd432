//! Gradients of the parameters, in the shape of the weights.

use ablate_tensor::{Into, NormAt, Real, View, backward as kernels, ops, product};

use crate::config::{Config, PositionKind};
use crate::weights::{LayerWeights, Linear, NormWeights, Weights};

/// Gradient of a linear map.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinearGradient<T> {
    /// `[in, out]`, row-major.
    pub w: Vec<T>,
    /// `[out]`, where the map has a bias.
    pub b: Option<Vec<T>>,
    /// Number of inputs.
    pub inputs: usize,
}

/// Gradient of a norm's parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NormGradient<T> {
    /// `[d]`.
    pub w: Vec<T>,
    /// `[d]`, where the norm has a bias.
    pub b: Option<Vec<T>>,
}

/// Gradient of an MLP.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MlpGradients<T> {
    /// `[d_model, d_mlp]`.
    pub up: LinearGradient<T>,
    /// `[d_model, d_mlp]`, where the MLP is gated.
    pub gate: Option<LinearGradient<T>>,
    /// `[d_mlp, d_model]`.
    pub down: LinearGradient<T>,
}

/// Gradient of one block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerGradients<T> {
    /// Norm before attention.
    pub norm1: Option<NormGradient<T>>,
    /// Queries.
    pub q: LinearGradient<T>,
    /// Keys.
    pub k: LinearGradient<T>,
    /// Values.
    pub v: LinearGradient<T>,
    /// Output of attention.
    pub o: LinearGradient<T>,
    /// Norm of each query vector.
    pub q_norm: Option<NormGradient<T>>,
    /// Norm of each key vector.
    pub k_norm: Option<NormGradient<T>>,
    /// Norm of the attention addend.
    pub post_attn: Option<NormGradient<T>>,
    /// Norm before the MLP.
    pub norm2: Option<NormGradient<T>>,
    /// The MLP.
    pub mlp: Option<MlpGradients<T>>,
    /// Norm of the MLP addend.
    pub post_mlp: Option<NormGradient<T>>,
}

/// Gradients of all weights. With tied embeddings `embed` and `unembed` hold their own parts: the tied matrix's gradient
/// is `embed` plus the transposed `unembed.w`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gradients<T> {
    /// `[d_vocab, d_model]`.
    pub embed: Vec<T>,
    /// `[n_ctx + offset, d_model]`.
    pub pos: Option<Vec<T>>,
    /// The blocks.
    pub layers: Vec<LayerGradients<T>>,
    /// Norm before the unembedding.
    pub norm_final: Option<NormGradient<T>>,
    /// Unembedding, `[d_model, d_vocab_out]`.
    pub unembed: LinearGradient<T>,
}

impl<T: Real> LinearGradient<T> {
    fn zeros(map: &Linear<T>) -> Self {
        let room = |n| vec![T::ZERO; n];
        let b = map.b.as_ref().map(|b| room(b.len()));
        Self { w: room(map.w.rows() * map.w.cols()), b, inputs: map.w.rows() }
    }

    /// Adds `xᵀ·dout` and the sum of the rows of `dout`.
    pub(super) fn add(&mut self, x: &[T], dout: &[T]) {
        self.add_weight(x, dout);
        if let Some(b) = &mut self.b {
            kernels::add_rows(dout, b);
        }
    }

    fn add_weight(&mut self, x: &[T], dout: &[T]) {
        let width = self.inputs;
        let (n, out) = (x.len() / width.max(1), self.w.len() / width.max(1));
        let (x, dout) = (View::rows(x, n, width, width), View::rows(dout, n, out, out));
        product(x.t(), dout, T::ONE, &mut self.w, out, Into::Add);
    }
}

impl<T: Real> NormGradient<T> {
    fn zeros(norm: &NormWeights<T>) -> Self {
        let room = |n| vec![T::ZERO; n];
        Self { w: room(norm.w.len()), b: norm.b.as_ref().map(|b| room(b.len())) }
    }

    pub(super) fn add(&mut self, at: &NormAt<'_, T>, dout: &[T]) {
        at.parameters(dout, &mut self.w, self.b.as_deref_mut());
    }
}

fn add_norm<T: Real>(norm: &mut Option<NormGradient<T>>, at: &NormAt<'_, T>, dout: &[T]) {
    if let Some(norm) = norm {
        norm.add(at, dout);
    }
}

impl<T: Real> LayerGradients<T> {
    fn zeros(w: &LayerWeights<T>) -> Self {
        let norm = |n: &Option<NormWeights<T>>| n.as_ref().map(NormGradient::zeros);
        Self {
            norm1: norm(&w.norm1),
            q: LinearGradient::zeros(&w.q),
            k: LinearGradient::zeros(&w.k),
            v: LinearGradient::zeros(&w.v),
            o: LinearGradient::zeros(&w.o),
            q_norm: norm(&w.q_norm),
            k_norm: norm(&w.k_norm),
            post_attn: norm(&w.post_attn),
            norm2: norm(&w.norm2),
            mlp: w.mlp.as_ref().map(|m| MlpGradients {
                up: LinearGradient::zeros(&m.up),
                gate: m.gate.as_ref().map(LinearGradient::zeros),
                down: LinearGradient::zeros(&m.down),
            }),
            post_mlp: norm(&w.post_mlp),
        }
    }

    pub(super) fn norm1(&mut self, at: &NormAt<'_, T>, dout: &[T]) {
        add_norm(&mut self.norm1, at, dout);
    }

    pub(super) fn norm2(&mut self, at: &NormAt<'_, T>, dout: &[T]) {
        add_norm(&mut self.norm2, at, dout);
    }

    pub(super) fn post_attn(&mut self, at: &NormAt<'_, T>, dout: &[T]) {
        add_norm(&mut self.post_attn, at, dout);
    }

    pub(super) fn post_mlp(&mut self, at: &NormAt<'_, T>, dout: &[T]) {
        add_norm(&mut self.post_mlp, at, dout);
    }

    /// The MLP's output bias: it is added behind the node, so it has a gradient where the node is replaced.
    pub(super) fn mlp_bias(&mut self, dm: &[T]) {
        if let Some(b) = self.mlp.as_mut().and_then(|m| m.down.b.as_mut()) {
            kernels::add_rows(dm, b);
        }
    }

    /// The MLP's down projection, without its bias.
    pub(super) fn mlp_down(&mut self, neurons: &[T], dm: &[T]) {
        if let Some(mlp) = &mut self.mlp {
            mlp.down.add_weight(neurons, dm);
        }
    }

    /// The maps that read the normed input `h`.
    pub(super) fn mlp_in(&mut self, h: &[T], dup: &[T], dgate: Option<&[T]>) {
        let Some(mlp) = &mut self.mlp else { return };
        mlp.up.add(h, dup);
        if let (Some(gate), Some(dgate)) = (&mut mlp.gate, dgate) {
            gate.add(h, dgate);
        }
    }
}

impl<T: Real> Gradients<T> {
    /// Zeros in the shape of `weights`.
    pub fn zeros(weights: &Weights<T>) -> Self {
        Self {
            embed: vec![T::ZERO; weights.embed.rows() * weights.embed.cols()],
            pos: weights.pos.as_ref().map(|p| vec![T::ZERO; p.rows() * p.cols()]),
            layers: weights.layers.iter().map(LayerGradients::zeros).collect(),
            norm_final: weights.norm_final.as_ref().map(NormGradient::zeros),
            unembed: LinearGradient::zeros(&weights.unembed),
        }
    }

    /// Every list of numbers, in a fixed order: the order of the fields, weights before biases.
    pub fn parts_mut(&mut self) -> Vec<&mut Vec<T>> {
        let mut out = vec![&mut self.embed];
        out.extend(self.pos.as_mut());
        for l in &mut self.layers {
            norm_parts(&mut out, l.norm1.as_mut());
            for map in [&mut l.q, &mut l.k, &mut l.v, &mut l.o] {
                linear_parts(&mut out, Some(map));
            }
            for norm in [&mut l.q_norm, &mut l.k_norm, &mut l.post_attn, &mut l.norm2] {
                norm_parts(&mut out, norm.as_mut());
            }
            if let Some(mlp) = &mut l.mlp {
                linear_parts(&mut out, Some(&mut mlp.up));
                linear_parts(&mut out, mlp.gate.as_mut());
                linear_parts(&mut out, Some(&mut mlp.down));
            }
            norm_parts(&mut out, l.post_mlp.as_mut());
        }
        norm_parts(&mut out, self.norm_final.as_mut());
        linear_parts(&mut out, Some(&mut self.unembed));
        out
    }

    /// Adds the gradients of another part of the data.
    pub fn add(&mut self, mut other: Self) {
        for (mine, theirs) in self.parts_mut().into_iter().zip(other.parts_mut()) {
            ops::add(theirs, mine);
        }
    }

    pub(super) fn norm_final(&mut self, at: &NormAt<'_, T>, dout: &[T]) {
        add_norm(&mut self.norm_final, at, dout);
    }

    /// One logit's slope: one column of the unembedding.
    pub(super) fn unembed_token(&mut self, token: usize, slope: T, normed: &[T]) {
        let vocab = self.unembed.w.len() / normed.len().max(1);
        for (j, x) in normed.iter().enumerate() {
            self.unembed.w[j * vocab + token] += slope * *x;
        }
        if let Some(b) = &mut self.unembed.b {
            b[token] += slope;
        }
    }

    /// The embedding of one token at position `p`.
    pub(super) fn embedding(&mut self, cfg: &Config, token: u32, p: usize, dx: &[T]) {
        let d = cfg.d_model;
        let row = token as usize * d;
        ops::axpy(T::of(cfg.embed_scale), dx, &mut self.embed[row..row + d]);
        if let (Some(pos), PositionKind::Learned { offset }) = (&mut self.pos, cfg.positions) {
            let row = (p + offset) * d;
            ops::add(dx, &mut pos[row..row + d]);
        }
    }
}

fn norm_parts<'a, T>(out: &mut Vec<&'a mut Vec<T>>, norm: Option<&'a mut NormGradient<T>>) {
    if let Some(norm) = norm {
        out.push(&mut norm.w);
        out.extend(norm.b.as_mut());
    }
}

fn linear_parts<'a, T>(out: &mut Vec<&'a mut Vec<T>>, map: Option<&'a mut LinearGradient<T>>) {
    if let Some(map) = map {
        out.push(&mut map.w);
        out.extend(map.b.as_mut());
    }
}
