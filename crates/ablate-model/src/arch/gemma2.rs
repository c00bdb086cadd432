//! Gemma 2.
//!
//! - **Is**: Llama with norms (weight + 1) also after each sublayer, embeddings times `sqrt(d_model)`, soft caps on
//!   attention scores and logits, a window in every other layer, `query_pre_attn_scalar` for the scale, GELU (tanh).
//! - **File**: as Llama, and `{pre,post}_feedforward_layernorm`; tied unembedding.
//! - **Refused**: bidirectional attention.
//! - **Source**: Gemma Team 2024; Hugging Face `Gemma2ForCausalLM`. There the embedding factor is rounded to the
//!   weights' type; here it is exact.

use serde_json::{Map, Value, json};

use super::write::{Has, activation, layer_types, window};
use super::{Fields, Names, llama};
use crate::config::{Config, PositionKind};
use crate::error::Result;

/// Settings to configuration and names.
pub(super) fn read(c: &Fields) -> Result<(Config, Names)> {
    if c.flag_or("use_bidirectional_attention", false)? {
        return Err(c.unsupported("use_bidirectional_attention"));
    }
    let (mut config, names) = llama::read(c)?;
    config.d_head = c.size_or("head_dim", 256)?;
    config.positions = PositionKind::Rotary(c.rope(config.d_head, 1.0, 10000.0)?);
    config.act = match c.get("hidden_activation") {
        Some(_) => c.activation("hidden_activation", "gelu_pytorch_tanh")?,
        None => c.activation("hidden_act", "gelu_pytorch_tanh")?,
    };
    let scalar = c.number_or("query_pre_attn_scalar", 256.0)?;
    if scalar <= 0.0 {
        return Err(c.error(format!("query_pre_attn_scalar = {scalar} should be positive")));
    }
    config.attn_scale = scalar.powf(-0.5);
    config.attn_softcap = cap(c, "attn_logit_softcapping", 50.0)?;
    config.final_softcap = cap(c, "final_logit_softcapping", 30.0)?;
    config.embed_scale = (config.d_model as f64).sqrt();
    let window = if c.has("sliding_window") { c.opt_size("sliding_window")? } else { Some(4096) };
    config.windows = c.windows(config.n_layers, window, |l| l % 2 == 0)?;
    let names = Names {
        tied: c.flag_or("tie_word_embeddings", true)?,
        norm2: "pre_feedforward_layernorm",
        post_attn: Some("post_attention_layernorm"),
        post_mlp: Some("post_feedforward_layernorm"),
        mlp_bias: false,
        norm_plus_one: true,
        ..names
    };
    Ok((config, names))
}

/// Configuration to settings.
pub(super) fn write(c: &Config, has: &Has) -> Map<String, Value> {
    let mut map = llama::descendant(c, "Gemma2ForCausalLM");
    map.insert("attention_bias".into(), Value::from(has.qkv_bias || has.o_bias));
    map.insert("hidden_activation".into(), Value::from(activation(c.act, "gelu_pytorch_tanh")));
    map.insert("query_pre_attn_scalar".into(), json!(whole(c.attn_scale.powi(-2))));
    map.insert("attn_logit_softcapping".into(), json!(c.attn_softcap));
    map.insert("final_logit_softcapping".into(), json!(c.final_softcap));
    map.insert("sliding_window".into(), json!(window(c)));
    map.insert("layer_types".into(), json!(layer_types(c)));
    map
}

/// A number that should be whole, and misses it by rounding at most.
fn whole(x: f64) -> Value {
    if (x - x.round()).abs() < 1e-6 * x.abs() { json!(x.round() as u64) } else { json!(x) }
}

/// A soft cap: null = none, absent = the default.
fn cap(c: &Fields, key: &str, default: f64) -> Result<Option<f64>> {
    if !c.has(key) {
        return Ok(Some(default));
    }
    let cap = c.opt_number(key)?;
    if cap.is_some_and(|x| x <= 0.0) {
        return Err(c.error(format!("{key} should be positive or null")));
    }
    Ok(cap)
}
