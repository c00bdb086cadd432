//! A compiled program as a model of the engine.

use std::sync::Arc;

use ablate_model::config::{Activation, Block, NormKind, PositionKind};
use ablate_model::model::AnyWeights;
use ablate_model::weights::{LayerWeights, Linear, MlpWeights};
use ablate_model::{Config, DType, Model, Weights};
use ablate_rasp::{Compiled, Layer};
use ablate_tensor::{Matrix, Real};

use crate::error::Result;

/// The architecture that compiled and trained models have: TransformerLens' `HookedTransformer`.
pub(super) const ARCH: &str = "hooked_transformer";

/// The compiled model's shape.
pub(super) fn config(compiled: &Compiled) -> Config {
    let n_layers = compiled.n_layers();
    Config {
        arch: ARCH.to_owned(),
        n_layers,
        d_model: compiled.d_model(),
        n_heads: compiled.n_heads,
        n_kv_heads: compiled.n_heads,
        d_head: compiled.key_size,
        d_mlp: compiled.d_mlp,
        d_vocab: compiled.d_vocab(),
        d_vocab_out: compiled.d_out(),
        n_ctx: compiled.n_ctx(),
        norm: NormKind::None,
        norm_eps: 1e-5,
        act: Activation::Relu,
        positions: PositionKind::Learned { offset: 0 },
        block: Block::Sequential,
        attn_scale: 1.0 / (compiled.key_size as f64).sqrt(),
        attn_softcap: None,
        final_softcap: None,
        embed_scale: 1.0,
        windows: vec![None; n_layers],
        causal: compiled.causal,
    }
}

/// The compiled model.
pub(super) fn model(id: &str, compiled: &Compiled, dtype: DType) -> Result<Model> {
    let weights = match dtype {
        DType::F64 => AnyWeights::F64(Arc::new(weights::<f64>(compiled))),
        DType::F32 | DType::Bf16 => AnyWeights::F32(Arc::new(weights::<f32>(compiled))),
    };
    Ok(Model::from_parts(&format!("case {id}"), config(compiled), weights, None)?)
}

fn weights<T: Real>(compiled: &Compiled) -> Weights<T> {
    Weights {
        embed: matrix(&compiled.token_embedding),
        pos: Some(matrix(&compiled.position_embedding)),
        layers: compiled.layers.iter().map(layer).collect(),
        norm_final: None,
        unembed: Linear::new(matrix(&compiled.unembedding)),
    }
}

fn layer<T: Real>(layer: &Layer) -> LayerWeights<T> {
    let side_by_side = |of: fn(&ablate_rasp::Head) -> &ablate_rasp::Matrix| {
        let maps: Vec<_> = layer.heads.iter().map(of).collect();
        let (rows, cols) = maps.first().map_or((0, 0), |m| (m.rows.len(), m.cols.len()));
        let data =
            (0..rows).flat_map(|i| maps.iter().flat_map(move |m| (0..cols).map(move |j| T::of(m.at(i, j)))));
        Linear::new(Matrix::row_major(data.collect(), rows, cols * maps.len()))
    };
    let below: Vec<T> = layer.heads.iter().flat_map(|h| h.w_o.data.iter().map(|&x| T::of(x))).collect();
    let d_model = layer.w_in.rows.len();
    let o_rows = below.len() / d_model.max(1);
    LayerWeights {
        norm1: None,
        q: side_by_side(|h| &h.w_q),
        k: side_by_side(|h| &h.w_k),
        v: side_by_side(|h| &h.w_v),
        o: Linear::new(Matrix::row_major(below, o_rows, d_model)),
        q_norm: None,
        k_norm: None,
        post_attn: None,
        norm2: None,
        mlp: Some(MlpWeights {
            up: Linear::new(matrix(&layer.w_in)),
            gate: None,
            down: Linear::new(matrix(&layer.w_out)),
        }),
        post_mlp: None,
    }
}

fn matrix<T: Real>(m: &ablate_rasp::Matrix) -> Matrix<T> {
    Matrix::row_major(m.data.iter().map(|&x| T::of(x)).collect(), m.rows.len(), m.cols.len())
}
