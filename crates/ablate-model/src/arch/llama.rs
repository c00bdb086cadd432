//! Llama (also SmolLM2 and most models that call themselves `llama`).
//!
//! - **Is**: RMSNorm, rotary positions, grouped queries, gated MLP with SiLU, biases only where the flags say so.
//! - **File**: `model.layers.N.…`, also without `model.`; linear maps `[out, in]`.
//! - **Refused**: rope scalings other than `linear` and `llama3`.
//! - **Source**: Touvron et al. 2023, Grattafiori et al. 2024; Hugging Face `LlamaForCausalLM`.

use serde_json::{Map, Value, json};

use super::write::{Has, activation, object, rope_scaling, theta};
use super::{Attn, Fields, Layout, Names};
use crate::config::{Block, Config, NormKind, PositionKind};
use crate::error::Result;

/// Settings to configuration and names.
pub(super) fn read(c: &Fields) -> Result<(Config, Names)> {
    let (d_model, n_heads, n_layers) =
        (c.size("hidden_size")?, c.size("num_attention_heads")?, c.layers("num_hidden_layers")?);
    let d_head = match c.opt_size("head_dim")? {
        Some(d_head) => d_head,
        None => c.divide(d_model, n_heads)?,
    };
    let d_vocab = c.size("vocab_size")?;
    let attention_bias = c.flag_or("attention_bias", false)?;
    let config = Config {
        arch: c.opt_text("model_type")?.unwrap_or("llama").into(),
        n_layers,
        d_model,
        n_heads,
        n_kv_heads: c.size_or("num_key_value_heads", n_heads)?,
        d_head,
        d_mlp: c.size("intermediate_size")?,
        d_vocab,
        d_vocab_out: d_vocab,
        n_ctx: c.size("max_position_embeddings")?,
        norm: NormKind::Rms,
        norm_eps: c.number_or("rms_norm_eps", 1e-6)?,
        act: c.activation("hidden_act", "silu")?,
        positions: PositionKind::Rotary(c.rope(d_head, 1.0, 10000.0)?),
        block: Block::Sequential,
        attn_scale: (d_head as f64).powf(-0.5),
        attn_softcap: None,
        final_softcap: None,
        embed_scale: 1.0,
        windows: vec![None; n_layers],
        causal: true,
    };
    let names = Names {
        tied: c.flag_or("tie_word_embeddings", false)?,
        qkv_bias: attention_bias,
        o_bias: attention_bias,
        mlp_bias: c.flag_or("mlp_bias", false)?,
        ..NAMES
    };
    Ok((config, names))
}

/// Configuration to settings.
pub(super) fn write(c: &Config, has: &Has) -> Map<String, Value> {
    let mut map = descendant(c, "LlamaForCausalLM");
    map.insert("attention_bias".into(), Value::from(has.qkv_bias || has.o_bias));
    map.insert("mlp_bias".into(), Value::from(has.mlp_bias));
    map
}

/// The settings that Llama's descendants share; `class` is the name of the class that reads them.
pub(super) fn descendant(c: &Config, class: &str) -> Map<String, Value> {
    object(json!({
        "architectures": [class], "hidden_size": c.d_model, "num_attention_heads": c.n_heads,
        "num_key_value_heads": c.n_kv_heads, "head_dim": c.d_head, "num_hidden_layers": c.n_layers,
        "intermediate_size": c.d_mlp, "max_position_embeddings": c.n_ctx, "rms_norm_eps": c.norm_eps,
        "hidden_act": activation(c.act, "gelu_pytorch_tanh"), "rope_theta": theta(c),
        "rope_scaling": rope_scaling(c),
    }))
}

/// The names that Llama's descendants share.
pub(super) const NAMES: Names = Names {
    prefixes: &["model.", ""],
    embed: "embed_tokens.weight",
    pos: None,
    norm_final: Some("norm"),
    unembed: "lm_head",
    tied: false,
    unembed_bias: false,
    layer: "layers.{}.",
    norm1: "input_layernorm",
    norm2: "post_attention_layernorm",
    post_attn: None,
    post_mlp: None,
    qk_norm: None,
    attn: Attn::Separate(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    o: "self_attn.o_proj",
    up: "mlp.up_proj",
    gate: Some("mlp.gate_proj"),
    down: "mlp.down_proj",
    qkv_bias: false,
    o_bias: false,
    mlp_bias: false,
    norm_weight: true,
    norm_bias: false,
    norm_plus_one: false,
    layout: Layout::OutIn,
    rope_permuted: false,
};
