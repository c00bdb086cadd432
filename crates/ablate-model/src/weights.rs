//! The weights of a model in canonical form. Matrices are `[in, out]` views, so that a layer computes `x · W + b`;
//! they may look into a memory-mapped file.

use ablate_tensor::{Matrix, Real};

/// A linear map `x · w + b`.
#[derive(Clone, Debug)]
pub struct Linear<T> {
    /// `[in, out]`.
    pub w: Matrix<T>,
    /// `[out]`.
    pub b: Option<Vec<T>>,
}

/// A norm's parameters; kind and epsilon are in the [`Config`](crate::config::Config).
#[derive(Clone, Debug)]
pub struct NormWeights<T> {
    /// `[d]`; for Gemma the stored weight plus 1.
    pub w: Vec<T>,
    /// `[d]`.
    pub b: Option<Vec<T>>,
}

/// An MLP. Without gate: `act(x·up)·down`; with gate: `(act(x·gate) ⊙ x·up)·down`.
#[derive(Clone, Debug)]
pub struct MlpWeights<T> {
    /// `[d_model, d_mlp]`.
    pub up: Linear<T>,
    /// `[d_model, d_mlp]`, where the MLP is gated.
    pub gate: Option<Linear<T>>,
    /// `[d_mlp, d_model]`.
    pub down: Linear<T>,
}

/// One block.
#[derive(Clone, Debug)]
pub struct LayerWeights<T> {
    /// Norm before attention.
    pub norm1: Option<NormWeights<T>>,
    /// `[d_model, n_heads·d_head]`, heads one after the other.
    pub q: Linear<T>,
    /// `[d_model, n_kv_heads·d_head]`.
    pub k: Linear<T>,
    /// `[d_model, n_kv_heads·d_head]`.
    pub v: Linear<T>,
    /// `[n_heads·d_head, d_model]`.
    pub o: Linear<T>,
    /// Norm of each query vector, `[d_head]` (Qwen3).
    pub q_norm: Option<NormWeights<T>>,
    /// Norm of each key vector, `[d_head]` (Qwen3).
    pub k_norm: Option<NormWeights<T>>,
    /// Norm of the attention addend before it joins the stream (Gemma 2).
    pub post_attn: Option<NormWeights<T>>,
    /// Norm before the MLP.
    pub norm2: Option<NormWeights<T>>,
    /// The MLP, where the model has any.
    pub mlp: Option<MlpWeights<T>>,
    /// Norm of the MLP addend before it joins the stream (Gemma 2).
    pub post_mlp: Option<NormWeights<T>>,
}

/// All weights of a model.
#[derive(Clone, Debug)]
pub struct Weights<T> {
    /// Token embedding `[d_vocab, d_model]`; rows are contiguous.
    pub embed: Matrix<T>,
    /// Learned positions `[n_ctx + offset, d_model]`.
    pub pos: Option<Matrix<T>>,
    /// The blocks.
    pub layers: Vec<LayerWeights<T>>,
    /// Norm before the unembedding.
    pub norm_final: Option<NormWeights<T>>,
    /// Unembedding `[d_model, d_vocab_out]`; with tied embeddings the transposed view of `embed`.
    pub unembed: Linear<T>,
}

impl<T: Real> Linear<T> {
    /// A map without bias.
    pub fn new(w: Matrix<T>) -> Self {
        Self { w, b: None }
    }
}
