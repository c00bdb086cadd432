//! Qwen3.
//!
//! - **Is**: Llama with an RMSNorm of every query and key vector before rotation; windows as Qwen2; `head_dim` of its own (128).
//! - **File**: as Llama, and `self_attn.{q,k}_norm`.
//! - **Refused**: as Llama.
//! - **Source**: Yang et al. 2025; Hugging Face `Qwen3ForCausalLM`.

use serde_json::{Map, Value};

use super::write::Has;
use super::{Fields, Names, llama, qwen2};
use crate::config::{Config, PositionKind};
use crate::error::Result;

/// Settings to configuration and names.
pub(super) fn read(c: &Fields) -> Result<(Config, Names)> {
    let (mut config, names) = llama::read(c)?;
    config.d_head = c.size_or("head_dim", 128)?;
    config.attn_scale = (config.d_head as f64).powf(-0.5);
    config.positions = PositionKind::Rotary(c.rope(config.d_head, 1.0, 10000.0)?);
    config.windows = qwen2::windows(c, config.n_layers)?;
    Ok((config, Names { qk_norm: Some(["self_attn.q_norm", "self_attn.k_norm"]), mlp_bias: false, ..names }))
}

/// Configuration to settings.
pub(super) fn write(c: &Config, has: &Has) -> Map<String, Value> {
    let mut map = llama::descendant(c, "Qwen3ForCausalLM");
    map.insert("attention_bias".into(), Value::from(has.qkv_bias || has.o_bias));
    qwen2::with_windows(c, &mut map);
    map
}
