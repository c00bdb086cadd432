//! Mistral.
//!
//! - **Is**: Llama with attention limited to a sliding window in every layer (4096 where the file does not say).
//! - **File**: as Llama.
//! - **Refused**: as Llama.
//! - **Source**: Jiang et al. 2023; Hugging Face `MistralForCausalLM`.

use serde_json::{Map, Value, json};

use super::write::{Has, window};
use super::{Fields, Names, llama};
use crate::config::Config;
use crate::error::Result;

/// Settings to configuration and names.
pub(super) fn read(c: &Fields) -> Result<(Config, Names)> {
    let (mut config, names) = llama::read(c)?;
    let window = if c.has("sliding_window") { c.opt_size("sliding_window")? } else { Some(4096) };
    config.windows = c.windows(config.n_layers, window, |_| true)?;
    Ok((config, Names { qkv_bias: false, o_bias: false, mlp_bias: false, ..names }))
}

/// Configuration to settings.
pub(super) fn write(c: &Config, _has: &Has) -> Map<String, Value> {
    let mut map = llama::descendant(c, "MistralForCausalLM");
    map.insert("sliding_window".into(), json!(window(c)));
    map
}
