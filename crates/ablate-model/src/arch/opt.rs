//! OPT.
//!
//! - **Is**: LayerNorm before each sublayer, learned positions from row 2 on, full attention, ReLU, all biases, tied unembedding.
//! - **File**: `model.decoder.layers.N.…`, also `decoder.…` and bare; linear maps `[out, in]`.
//! - **Refused**: norms after the sublayer (the 350m model), embeddings of another width than the model.
//! - **Source**: Zhang et al. 2022; Hugging Face `OPTForCausalLM`.

use serde_json::{Map, Value, json};

use super::write::{Has, activation, object};
use super::{Attn, Fields, Layout, Names};
use crate::config::{Block, Config, NormKind, PositionKind};
use crate::error::Result;

/// Settings to configuration and names.
pub(super) fn read(c: &Fields) -> Result<(Config, Names)> {
    let (d_model, n_heads, n_layers) =
        (c.size("hidden_size")?, c.size("num_attention_heads")?, c.layers("num_hidden_layers")?);
    if !c.flag_or("do_layer_norm_before", true)? {
        return Err(c.unsupported("do_layer_norm_before: false"));
    }
    if c.size_or("word_embed_proj_dim", d_model)? != d_model {
        return Err(c.unsupported("word_embed_proj_dim different from hidden_size"));
    }
    let d_head = c.divide(d_model, n_heads)?;
    let d_vocab = c.size("vocab_size")?;
    let bias = c.flag_or("enable_bias", true)?;
    let affine = c.flag_or("layer_norm_elementwise_affine", true)?;
    let config = Config {
        arch: "opt".into(),
        n_layers,
        d_model,
        n_heads,
        n_kv_heads: n_heads,
        d_head,
        d_mlp: c.size("ffn_dim")?,
        d_vocab,
        d_vocab_out: d_vocab,
        n_ctx: c.size("max_position_embeddings")?,
        norm: NormKind::Layer,
        norm_eps: 1e-5,
        act: c.activation("activation_function", "relu")?,
        positions: PositionKind::Learned { offset: 2 },
        block: Block::Sequential,
        attn_scale: (d_head as f64).powf(-0.5),
        attn_softcap: None,
        final_softcap: None,
        embed_scale: 1.0,
        windows: vec![None; n_layers],
        causal: true,
    };
    let names = Names {
        tied: c.flag_or("tie_word_embeddings", true)?,
        norm_final: NAMES
            .norm_final
            .filter(|_| !matches!(c.flag_or("_remove_final_layer_norm", false), Ok(true))),
        qkv_bias: bias,
        o_bias: bias,
        mlp_bias: bias,
        norm_weight: affine,
        norm_bias: affine,
        ..NAMES
    };
    Ok((config, names))
}

/// Configuration to settings.
pub(super) fn write(c: &Config, has: &Has) -> Map<String, Value> {
    object(json!({
        "architectures": ["OPTForCausalLM"], "hidden_size": c.d_model, "word_embed_proj_dim": c.d_model,
        "num_attention_heads": c.n_heads, "num_hidden_layers": c.n_layers, "ffn_dim": c.d_mlp,
        "max_position_embeddings": c.n_ctx, "activation_function": activation(c.act, "gelu_new"),
        "do_layer_norm_before": true, "enable_bias": has.qkv_bias || has.o_bias || has.mlp_bias,
        "layer_norm_elementwise_affine": true, "_remove_final_layer_norm": !has.norm_final,
    }))
}

const NAMES: Names = Names {
    prefixes: &["model.decoder.", "decoder.", ""],
    embed: "embed_tokens.weight",
    pos: Some("embed_positions.weight"),
    norm_final: Some("final_layer_norm"),
    unembed: "lm_head",
    tied: true,
    unembed_bias: false,
    layer: "layers.{}.",
    norm1: "self_attn_layer_norm",
    norm2: "final_layer_norm",
    post_attn: None,
    post_mlp: None,
    qk_norm: None,
    attn: Attn::Separate(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    o: "self_attn.out_proj",
    up: "fc1",
    gate: None,
    down: "fc2",
    qkv_bias: true,
    o_bias: true,
    mlp_bias: true,
    norm_weight: true,
    norm_bias: true,
    norm_plus_one: false,
    layout: Layout::OutIn,
    rope_permuted: false,
};
