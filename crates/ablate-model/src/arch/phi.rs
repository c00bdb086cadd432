//! Phi (1, 1.5, 2).
//!
//! - **Is**: attention and MLP side by side behind one shared LayerNorm, partial rotary positions, GELU (tanh), all
//!   biases, unembedding of its own with a bias.
//! - **File**: `model.layers.N.…`, also without `model.`; linear maps `[out, in]`; the one norm fills both slots.
//! - **Refused**: `qk_layernorm`.
//! - **Source**: Li et al. 2023; Hugging Face `PhiForCausalLM`.

use serde_json::{Map, Value, json};

use super::write::{Has, activation, object, rope_scaling, rotated, theta};
use super::{Attn, Fields, Layout, Names};
use crate::config::{Block, Config, NormKind, PositionKind};
use crate::error::Result;

/// Settings to configuration and names.
pub(super) fn read(c: &Fields) -> Result<(Config, Names)> {
    if c.flag_or("qk_layernorm", false)? {
        return Err(c.unsupported("qk_layernorm"));
    }
    let (d_model, n_heads, n_layers) =
        (c.size("hidden_size")?, c.size("num_attention_heads")?, c.layers("num_hidden_layers")?);
    let d_head = match c.opt_size("head_dim")? {
        Some(d_head) => d_head,
        None => c.divide(d_model, n_heads)?,
    };
    let d_vocab = c.size("vocab_size")?;
    let config = Config {
        arch: "phi".into(),
        n_layers,
        d_model,
        n_heads,
        n_kv_heads: c.size_or("num_key_value_heads", n_heads)?,
        d_head,
        d_mlp: c.size("intermediate_size")?,
        d_vocab,
        d_vocab_out: d_vocab,
        n_ctx: c.size("max_position_embeddings")?,
        norm: NormKind::Layer,
        norm_eps: c.number_or("layer_norm_eps", 1e-5)?,
        act: c.activation("hidden_act", "gelu_new")?,
        positions: PositionKind::Rotary(c.rope(d_head, 0.5, 10000.0)?),
        block: Block::Parallel,
        attn_scale: (d_head as f64).powf(-0.5),
        attn_softcap: None,
        final_softcap: None,
        embed_scale: 1.0,
        windows: vec![None; n_layers],
        causal: true,
    };
    Ok((config, Names { tied: c.flag_or("tie_word_embeddings", false)?, ..NAMES }))
}

/// Configuration to settings.
pub(super) fn write(c: &Config, _has: &Has) -> Map<String, Value> {
    object(json!({
        "architectures": ["PhiForCausalLM"], "hidden_size": c.d_model, "num_attention_heads": c.n_heads,
        "num_key_value_heads": c.n_kv_heads, "head_dim": c.d_head, "num_hidden_layers": c.n_layers,
        "intermediate_size": c.d_mlp, "max_position_embeddings": c.n_ctx, "layer_norm_eps": c.norm_eps,
        "hidden_act": activation(c.act, "gelu_new"), "partial_rotary_factor": rotated(c), "rope_theta": theta(c),
        "rope_scaling": rope_scaling(c), "qk_layernorm": false,
    }))
}

const NAMES: Names = Names {
    prefixes: &["model.", ""],
    embed: "embed_tokens.weight",
    pos: None,
    norm_final: Some("final_layernorm"),
    unembed: "lm_head",
    tied: false,
    unembed_bias: true,
    layer: "layers.{}.",
    norm1: "input_layernorm",
    norm2: "input_layernorm",
    post_attn: None,
    post_mlp: None,
    qk_norm: None,
    attn: Attn::Separate(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    o: "self_attn.dense",
    up: "mlp.fc1",
    gate: None,
    down: "mlp.fc2",
    qkv_bias: true,
    o_bias: true,
    mlp_bias: true,
    norm_weight: true,
    norm_bias: true,
    norm_plus_one: false,
    layout: Layout::OutIn,
    rope_permuted: false,
};
