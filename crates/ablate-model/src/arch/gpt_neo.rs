//! GPT-Neo.
//!
//! - **Is**: GPT-2's block with attention that is not divided by `sqrt(d_head)`, alternately global and local (a window).
//! - **File**: `transformer.h.N.…`, also without `transformer.`; linear maps `[out, in]`; q, k, v without biases.
//! - **Refused**: attention kinds other than `global` and `local`.
//! - **Source**: Black et al. 2021; Hugging Face `GPTNeoForCausalLM`.

use serde_json::{Map, Value, json};

use super::write::{Has, activation, object, window};
use super::{Attn, Fields, Layout, Names};
use crate::config::{Block, Config, NormKind, PositionKind};
use crate::error::Result;

/// Settings to configuration and names.
pub(super) fn read(c: &Fields) -> Result<(Config, Names)> {
    let (d_model, n_heads, n_layers) =
        (c.size("hidden_size")?, c.size("num_heads")?, c.layers("num_layers")?);
    let d_vocab = c.size("vocab_size")?;
    let config = Config {
        arch: "gpt_neo".into(),
        n_layers,
        d_model,
        n_heads,
        n_kv_heads: n_heads,
        d_head: c.divide(d_model, n_heads)?,
        d_mlp: c.size_or("intermediate_size", 4 * d_model)?,
        d_vocab,
        d_vocab_out: d_vocab,
        n_ctx: c.size("max_position_embeddings")?,
        norm: NormKind::Layer,
        norm_eps: c.number_or("layer_norm_epsilon", 1e-5)?,
        act: c.activation("activation_function", "gelu_new")?,
        positions: PositionKind::Learned { offset: 0 },
        block: Block::Sequential,
        attn_scale: 1.0,
        attn_softcap: None,
        final_softcap: None,
        embed_scale: 1.0,
        windows: windows(c, n_layers)?,
        causal: true,
    };
    Ok((config, Names { tied: c.flag_or("tie_word_embeddings", true)?, ..NAMES }))
}

/// The window of each layer: `attention_layers` names one kind a layer, `attention_types` lists of kinds with a count.
fn windows(c: &Fields, n_layers: usize) -> Result<Vec<Option<usize>>> {
    let window = c.size_or("window_size", 256)?;
    let kinds = match c.opt_texts("attention_layers")? {
        Some(kinds) => kinds,
        None => attention_types(c, n_layers)?,
    };
    if kinds.len() != n_layers {
        return Err(
            c.error(format!("attention kinds for {} layers, but num_layers = {n_layers}", kinds.len()))
        );
    }
    kinds
        .into_iter()
        .map(|kind| match kind {
            "global" => Ok(None),
            "local" => Ok(Some(window)),
            other => Err(c.unsupported(&format!("attention kind {other}"))),
        })
        .collect()
}

fn attention_types(c: &Fields, n_layers: usize) -> Result<Vec<&str>> {
    let wrong = || c.error("attention_types should be a list of [[kind, …], count]");
    let mut kinds = Vec::new();
    for entry in c.get("attention_types").and_then(|v| v.as_array()).ok_or_else(wrong)? {
        let pattern = entry.get(0).and_then(|v| v.as_array()).ok_or_else(wrong)?;
        let count = entry.get(1).and_then(serde_json::Value::as_u64).ok_or_else(wrong)?;
        for _ in 0..count {
            for kind in pattern {
                kinds.push(kind.as_str().ok_or_else(wrong)?);
            }
            if kinds.len() > n_layers || pattern.is_empty() {
                return Err(
                    c.error(format!("attention_types describe more than num_layers = {n_layers} layers"))
                );
            }
        }
    }
    Ok(kinds)
}

/// Configuration to settings.
pub(super) fn write(c: &Config, _has: &Has) -> Map<String, Value> {
    let kinds: Vec<&str> = c.windows.iter().map(|w| if w.is_some() { "local" } else { "global" }).collect();
    // the library that reads this multiplies out `attention_types`
    let types: Vec<Value> = kinds.iter().map(|kind| json!([[kind], 1])).collect();
    object(json!({
        "architectures": ["GPTNeoForCausalLM"], "hidden_size": c.d_model, "num_heads": c.n_heads,
        "num_layers": c.n_layers, "intermediate_size": c.d_mlp, "max_position_embeddings": c.n_ctx,
        "layer_norm_epsilon": c.norm_eps, "activation_function": activation(c.act, "gelu_new"),
        "window_size": window(c).unwrap_or(256), "attention_layers": kinds, "attention_types": types,
    }))
}

const NAMES: Names = Names {
    prefixes: &["transformer.", ""],
    embed: "wte.weight",
    pos: Some("wpe.weight"),
    norm_final: Some("ln_f"),
    unembed: "lm_head",
    tied: true,
    unembed_bias: false,
    layer: "h.{}.",
    norm1: "ln_1",
    norm2: "ln_2",
    post_attn: None,
    post_mlp: None,
    qk_norm: None,
    attn: Attn::Separate(["attn.attention.q_proj", "attn.attention.k_proj", "attn.attention.v_proj"]),
    o: "attn.attention.out_proj",
    up: "mlp.c_fc",
    gate: None,
    down: "mlp.c_proj",
    qkv_bias: false,
    o_bias: true,
    mlp_bias: true,
    norm_weight: true,
    norm_bias: true,
    norm_plus_one: false,
    layout: Layout::OutIn,
    rope_permuted: false,
};
