//! Settings back into a `config.json`: what the architectures' `write` functions share.

use serde_json::{Map, Value, json};

use crate::config::{Activation, Config, PositionKind, Rope, RopeScaling};

/// What a checkpoint has beside what its [`Config`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Has {
    /// The unembedding is the embedding.
    pub(crate) tied: bool,
    /// Queries, keys or values have biases.
    pub(crate) qkv_bias: bool,
    /// Attention's output map has a bias.
    pub(crate) o_bias: bool,
    /// The MLP's maps have biases.
    pub(crate) mlp_bias: bool,
    /// There is a norm before the unembedding.
    pub(crate) norm_final: bool,
    /// For each layer the heads that the file leaves out (GPT-2).
    pub(crate) pruned: Vec<Vec<usize>>,
}

/// The object `value`; empty for anything else.
pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The name of an activation function; `tanh` is what the architecture calls the tanh approximation.
pub(super) fn activation(act: Activation, tanh: &'static str) -> &'static str {
    match act {
        Activation::GeluErf => "gelu",
        Activation::GeluTanh => tanh,
        Activation::Silu => "silu",
        Activation::Relu => "relu",
    }
}

/// The rotary embedding, where there is one.
pub(super) fn rope(c: &Config) -> Option<Rope> {
    match c.positions {
        PositionKind::Rotary(rope) => Some(rope),
        PositionKind::Learned { .. } | PositionKind::None => None,
    }
}

/// Base of the rotary frequencies.
pub(super) fn theta(c: &Config) -> f64 {
    rope(c).map_or(10000.0, |rope| rope.theta)
}

/// Share of a head that rotates.
pub(super) fn rotated(c: &Config) -> f64 {
    rope(c).map_or(1.0, |rope| rope.rot_dim as f64 / c.d_head.max(1) as f64)
}

/// Rescaling of the rotary frequencies.
pub(super) fn rope_scaling(c: &Config) -> Value {
    match rope(c).map_or(RopeScaling::None, |rope| rope.scaling) {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor, "original_max_position_embeddings": original_context as u64,
        }),
    }
}

/// The one width of all sliding windows.
pub(super) fn window(c: &Config) -> Option<usize> {
    c.windows.iter().copied().flatten().next()
}

/// The kind of attention of each layer.
pub(super) fn layer_types(c: &Config) -> Vec<&'static str> {
    let kind = |w: &Option<usize>| if w.is_some() { "sliding_attention" } else { "full_attention" };
    c.windows.iter().map(kind).collect()
}
