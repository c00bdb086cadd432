//! GPT-NeoX (Pythia).
//!
//! - **Is**: LayerNorm, partial rotary positions, attention and MLP side by side on the same stream (or one after the
//!   other with `use_parallel_residual: false`), GELU, all biases, unembedding of its own.
//! - **File**: `gpt_neox.layers.N.…`, also without `gpt_neox.`; linear maps `[out, in]`; q, k, v in one map, head by head.
//! - **Refused**: nothing.
//! - **Source**: Black et al. 2022, Biderman et al. 2023; Hugging Face `GPTNeoXForCausalLM`.

use serde_json::{Map, Value, json};

use super::write::{Has, activation, object, rope_scaling, rotated, theta};
use super::{Attn, Fields, Layout, Names};
use crate::config::{Block, Config, NormKind, PositionKind};
use crate::error::Result;

/// Settings to configuration and names.
pub(super) fn read(c: &Fields) -> Result<(Config, Names)> {
    let (d_model, n_heads, n_layers) =
        (c.size("hidden_size")?, c.size("num_attention_heads")?, c.layers("num_hidden_layers")?);
    let d_head = c.divide(d_model, n_heads)?;
    let d_vocab = c.size("vocab_size")?;
    let bias = c.flag_or("attention_bias", true)?;
    let config = Config {
        arch: "gpt_neox".into(),
        n_layers,
        d_model,
        n_heads,
        n_kv_heads: n_heads,
        d_head,
        d_mlp: c.size("intermediate_size")?,
        d_vocab,
        d_vocab_out: d_vocab,
        n_ctx: c.size("max_position_embeddings")?,
        norm: NormKind::Layer,
        norm_eps: c.number_or("layer_norm_eps", 1e-5)?,
        act: c.activation("hidden_act", "gelu")?,
        positions: PositionKind::Rotary(c.rope(d_head, 0.25, 10000.0)?),
        block: if c.flag_or("use_parallel_residual", true)? { Block::Parallel } else { Block::Sequential },
        attn_scale: (d_head as f64).powf(-0.5),
        attn_softcap: None,
        final_softcap: None,
        embed_scale: 1.0,
        windows: vec![None; n_layers],
        causal: true,
    };
    Ok((
        config,
        Names { tied: c.flag_or("tie_word_embeddings", false)?, qkv_bias: bias, o_bias: bias, ..NAMES },
    ))
}

/// Configuration to settings.
pub(super) fn write(c: &Config, has: &Has) -> Map<String, Value> {
    object(json!({
        "architectures": ["GPTNeoXForCausalLM"], "hidden_size": c.d_model, "num_attention_heads": c.n_heads,
        "num_hidden_layers": c.n_layers, "intermediate_size": c.d_mlp, "max_position_embeddings": c.n_ctx,
        "layer_norm_eps": c.norm_eps, "hidden_act": activation(c.act, "gelu_new"), "rotary_pct": rotated(c),
        "rotary_emb_base": theta(c), "rope_scaling": rope_scaling(c),
        "use_parallel_residual": c.block == Block::Parallel, "attention_bias": has.qkv_bias || has.o_bias,
    }))
}

const NAMES: Names = Names {
    prefixes: &["gpt_neox.", ""],
    embed: "embed_in.weight",
    pos: None,
    norm_final: Some("final_layer_norm"),
    unembed: "embed_out",
    tied: false,
    unembed_bias: false,
    layer: "layers.{}.",
    norm1: "input_layernorm",
    norm2: "post_attention_layernorm",
    post_attn: None,
    post_mlp: None,
    qk_norm: None,
    attn: Attn::FusedByHead("attention.query_key_value"),
    o: "attention.dense",
    up: "mlp.dense_h_to_4h",
    gate: None,
    down: "mlp.dense_4h_to_h",
    qkv_bias: true,
    o_bias: true,
    mlp_bias: true,
    norm_weight: true,
    norm_bias: true,
    norm_plus_one: false,
    layout: Layout::OutIn,
    rope_permuted: false,
};
