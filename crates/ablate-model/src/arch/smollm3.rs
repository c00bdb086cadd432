//! SmolLM3.
//!
//! - **Is**: Llama with switches for all biases and a window in the layers that `layer_types` names; also what a model
//!   with windows is saved as when its own format has no place for an output bias.
//! - **File**: as Llama.
//! - **Refused**: layers without rotary positions (`no_rope_layers`), which the released model has in every fourth layer.
//! - **Source**: Hugging Face `SmolLM3ForCausalLM`.

use serde_json::{Map, Value, json};

use super::write::{Has, layer_types, window};
use super::{Fields, Names, llama};
use crate::config::{Config, PositionKind};
use crate::error::Result;

/// Settings to configuration and names.
pub(super) fn read(c: &Fields) -> Result<(Config, Names)> {
    let (mut config, names) = llama::read(c)?;
    let interval = c.size_or("no_rope_layer_interval", 4)?;
    let without = match c.get("no_rope_layers") {
        Some(list) => {
            let list =
                list.as_array().ok_or_else(|| c.error("no_rope_layers should be a list of 0 and 1"))?;
            list.len() != config.n_layers || list.iter().any(|x| x.as_u64() != Some(1))
        }
        None => interval <= config.n_layers,
    };
    if without {
        return Err(c.unsupported("layers without rotary positions (no_rope_layers)"));
    }
    config.positions = PositionKind::Rotary(c.rope(config.d_head, 1.0, 2e6)?);
    if c.flag_or("use_sliding_window", false)? {
        config.windows = c.windows(config.n_layers, c.opt_size("sliding_window")?, |_| true)?;
    }
    Ok((config, Names { tied: c.flag_or("tie_word_embeddings", true)?, ..names }))
}

/// Configuration to settings.
pub(super) fn write(c: &Config, has: &Has) -> Map<String, Value> {
    let mut map = llama::write(c, has);
    map.insert("architectures".into(), json!(["SmolLM3ForCausalLM"]));
    map.insert("no_rope_layers".into(), json!(vec![1; c.n_layers]));
    map.insert("use_sliding_window".into(), json!(window(c).is_some()));
    map.insert("sliding_window".into(), json!(window(c)));
    map.insert("layer_types".into(), json!(layer_types(c)));
    map
}
