//! GPT-2.
//!
//! - **Is**: LayerNorm before each sublayer, learned positions, full attention, GELU (tanh), all biases, tied unembedding.
//! - **File**: `transformer.h.N.…`, also without `transformer.`; linear maps `[in, out]`; q, k, v in one map of `3·d_model` columns.
//! - **Refused**: attention scaled by the inverse layer number, cross attention.
//! - **Source**: Radford et al. 2019; Hugging Face `GPT2LMHeadModel`.

use serde_json::{Map, Value, json};

use super::write::{Has, activation, object};
use super::{Attn, Fields, Layout, Names};
use crate::config::{Block, Config, NormKind, PositionKind};
use crate::error::Result;

/// Settings to configuration and names.
pub(super) fn read(c: &Fields) -> Result<(Config, Names)> {
    for what in ["scale_attn_by_inverse_layer_idx", "add_cross_attention"] {
        if c.flag_or(what, false)? {
            return Err(c.unsupported(what));
        }
    }
    let (d_model, n_heads, n_layers) = (c.size("n_embd")?, c.size("n_head")?, c.layers("n_layer")?);
    let d_head = c.divide(d_model, n_heads)?;
    let d_vocab = c.size("vocab_size")?;
    let config = Config {
        arch: "gpt2".into(),
        n_layers,
        d_model,
        n_heads,
        n_kv_heads: n_heads,
        d_head,
        d_mlp: c.size_or("n_inner", 4 * d_model)?,
        d_vocab,
        d_vocab_out: d_vocab,
        n_ctx: c.size("n_positions")?,
        norm: NormKind::Layer,
        norm_eps: c.number_or("layer_norm_epsilon", 1e-5)?,
        act: c.activation("activation_function", "gelu_new")?,
        positions: PositionKind::Learned { offset: 0 },
        block: Block::Sequential,
        attn_scale: if c.flag_or("scale_attn_weights", true)? { (d_head as f64).powf(-0.5) } else { 1.0 },
        attn_softcap: None,
        final_softcap: None,
        embed_scale: 1.0,
        windows: vec![None; n_layers],
        causal: true,
    };
    Ok((config, Names { tied: c.flag_or("tie_word_embeddings", true)?, ..NAMES }))
}

/// Configuration to settings.
pub(super) fn write(c: &Config, has: &Has) -> Map<String, Value> {
    let mut map = object(json!({
        "architectures": ["GPT2LMHeadModel"], "n_embd": c.d_model, "n_head": c.d_model / c.d_head.max(1),
        "n_layer": c.n_layers, "n_inner": c.d_mlp, "n_positions": c.n_ctx, "layer_norm_epsilon": c.norm_eps,
        "activation_function": activation(c.act, "gelu_new"), "scale_attn_weights": c.attn_scale != 1.0,
    }));
    let lists = has.pruned.iter().enumerate().filter(|(_, heads)| !heads.is_empty());
    let pruned: Map<String, Value> = lists.map(|(l, heads)| (l.to_string(), json!(heads))).collect();
    if !pruned.is_empty() {
        map.insert("pruned_heads".into(), Value::Object(pruned));
    }
    map
}

/// The heads that the file leaves out, for each layer; empty when it leaves out none. Each list is sorted and leaves
/// at least one head.
pub(super) fn pruned(c: &Fields, config: &Config) -> Result<Vec<Vec<usize>>> {
    let Some(value) = c.get("pruned_heads") else { return Ok(Vec::new()) };
    let wrong = || c.error("pruned_heads should be lists of heads by layer");
    let mut lists = vec![Vec::new(); config.n_layers];
    for (layer, heads) in value.as_object().ok_or_else(wrong)? {
        let list = layer.parse::<usize>().ok().and_then(|l| lists.get_mut(l));
        let list =
            list.ok_or_else(|| c.error(format!("pruned_heads names layer {layer}, which there is not")))?;
        for head in heads.as_array().ok_or_else(wrong)? {
            let head = head.as_u64().ok_or_else(wrong)? as usize;
            if head >= config.n_heads || list.contains(&head) {
                return Err(
                    c.error(format!("pruned_heads of layer {layer}: head {head} is unknown or there twice"))
                );
            }
            list.push(head);
        }
        if list.len() == config.n_heads {
            return Err(c.error(format!("pruned_heads leaves layer {layer} without a head")));
        }
        list.sort_unstable();
    }
    Ok(if lists.iter().all(Vec::is_empty) { Vec::new() } else { lists })
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
    attn: Attn::Fused("attn.c_attn"),
    o: "attn.c_proj",
    up: "mlp.c_fc",
    gate: None,
    down: "mlp.c_proj",
    qkv_bias: true,
    o_bias: true,
    mlp_bias: true,
    norm_weight: true,
    norm_bias: true,
    norm_plus_one: false,
    layout: Layout::InOut,
    rope_permuted: false,
};
