//! Qwen2 and Qwen2.5.
//!
//! - **Is**: Llama with biases on queries, keys and values; with `use_sliding_window` a window in the layers from
//!   `max_window_layers` on (or as `layer_types` says).
//! - **File**: as Llama.
//! - **Refused**: as Llama.
//! - **Source**: Yang et al. 2024; Hugging Face `Qwen2ForCausalLM`.

use serde_json::{Map, Value, json};

use super::write::{Has, layer_types, window};
use super::{Fields, Names, llama};
use crate::config::Config;
use crate::error::Result;

/// Settings to configuration and names.
pub(super) fn read(c: &Fields) -> Result<(Config, Names)> {
    let (mut config, names) = llama::read(c)?;
    config.windows = windows(c, config.n_layers)?;
    Ok((config, Names { qkv_bias: true, o_bias: false, mlp_bias: false, ..names }))
}

/// The window of each layer.
pub(super) fn windows(c: &Fields, n_layers: usize) -> Result<Vec<Option<usize>>> {
    if !c.flag_or("use_sliding_window", false)? {
        return Ok(vec![None; n_layers]);
    }
    let window = if c.has("sliding_window") { c.opt_size("sliding_window")? } else { Some(4096) };
    let first = c.size_or("max_window_layers", 28)?;
    c.windows(n_layers, window, |l| l >= first)
}

/// Configuration to settings.
pub(super) fn write(c: &Config, _has: &Has) -> Map<String, Value> {
    let mut map = llama::descendant(c, "Qwen2ForCausalLM");
    with_windows(c, &mut map);
    map
}

/// Adds the windows of the layers.
pub(super) fn with_windows(c: &Config, map: &mut Map<String, Value>) {
    let sliding = window(c).is_some();
    map.insert("use_sliding_window".into(), Value::from(sliding));
    map.insert("sliding_window".into(), json!(window(c)));
    map.insert("max_window_layers".into(), Value::from(if sliding { 0 } else { c.n_layers }));
    map.insert("layer_types".into(), json!(layer_types(c)));
}
