//! From a model to settings, and these to a pickle: the counterpart of [`settings`](super::settings).

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::{SETTINGS, read_settings};
use crate::arch::{Fields, hooked};
use crate::config::{Activation, Block, Config, NormKind, PositionKind, RopeScaling, RopeStyle};
use crate::error::{Error, Result};
use crate::model::{AnyWeights, Model};
use crate::pickle::{Global, Value};
use crate::weights::Weights;

/// The keys of a settings file in the order of TransformerLens 1.19.
const ORDER: [&str; 53] = [
    "n_layers",
    "d_model",
    "n_ctx",
    "d_head",
    "model_name",
    "n_heads",
    "d_mlp",
    "act_fn",
    "d_vocab",
    "eps",
    "use_attn_result",
    "use_attn_scale",
    "use_split_qkv_input",
    "use_hook_mlp_in",
    "use_attn_in",
    "use_local_attn",
    "original_architecture",
    "from_checkpoint",
    "checkpoint_index",
    "checkpoint_label_type",
    "checkpoint_value",
    "tokenizer_name",
    "window_size",
    "attn_types",
    "init_mode",
    "normalization_type",
    "device",
    "n_devices",
    "attention_dir",
    "attn_only",
    "seed",
    "initializer_range",
    "init_weights",
    "scale_attn_by_inverse_layer_idx",
    "positional_embedding_type",
    "final_rms",
    "d_vocab_out",
    "parallel_attn_mlp",
    "rotary_dim",
    "n_params",
    "use_hook_tokens",
    "gated_mlp",
    "default_prepend_bos",
    "dtype",
    "tokenizer_prepends_bos",
    "n_key_value_heads",
    "post_embedding_ln",
    "rotary_base",
    "trust_remote_code",
    "rotary_adjacent_pairs",
    "load_in_4bit",
    "num_experts",
    "experts_per_token",
];

/// The settings as a pickle's value: the usual keys in their usual order, then what else there is.
pub(super) fn pickled(settings: &Map<String, Json>) -> Value {
    let usual = ORDER.iter().filter_map(|key| Some((*key, settings.get(*key)?)));
    let more = settings.iter().map(|(k, v)| (k.as_str(), v)).filter(|(k, _)| !ORDER.contains(k));
    Value::Dict(usual.chain(more).map(|(key, value)| (Value::from(key), unplain(key, value))).collect())
}

fn unplain(key: &str, value: &Json) -> Value {
    match value {
        Json::Null => Value::None,
        Json::Bool(x) => Value::Bool(*x),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(x), _) => Value::Int(x.into()),
            (_, Some(x)) => Value::Int(x.into()),
            _ => Value::Float(n.as_f64().unwrap_or_default()),
        },
        Json::String(text) => match text.strip_prefix("torch.").filter(|_| key == "dtype") {
            Some(name) => Value::Global(Global::new("torch", name)),
            None => Value::Str(text.clone()),
        },
        Json::Array(items) => Value::List(items.iter().map(|v| unplain("", v)).collect()),
        Json::Object(map) => {
            Value::Dict(map.iter().map(|(k, v)| (Value::from(k.as_str()), unplain("", v))).collect())
        }
    }
}

/// The error of a model that the format cannot say.
pub(super) fn cannot(model: &Model, message: String) -> Error {
    Error::model(model.name(), message).with_hint(
        "a HookedTransformer cannot compute what this model computes, so it cannot be written as one",
    )
}

/// The settings of `model` as a HookedTransformer (the 53 keys of InterpBench's files, and more only where the model
/// needs them), read back and compared.
///
/// # Errors
/// A model that a HookedTransformer cannot say.
pub fn settings(model: &Model) -> Result<Map<String, Json>> {
    let c = model.config();
    let mut map = defaults(c);
    let origin = model.origin().map(|folder| folder.join(SETTINGS)).filter(|path| path.is_file());
    if let Some(path) = origin {
        map.extend(read_settings(&path)?);
    }
    let (plain_norms, grouped, gated) = match model.weights() {
        AnyWeights::F32(w) => survey(w),
        AnyWeights::F64(w) => survey(w),
    };
    let grouped = grouped || map.get("n_key_value_heads").is_some_and(|n| !n.is_null());
    map.extend(shape(c));
    map.extend(forward(c));
    let norm = match (c.norm, plain_norms) {
        (NormKind::None, _) => Json::Null,
        (NormKind::Layer, false) => "LN".into(),
        (NormKind::Layer, true) => "LNPre".into(),
        (NormKind::Rms, false) => "RMS".into(),
        (NormKind::Rms, true) => "RMSPre".into(),
    };
    map.insert("normalization_type".into(), norm);
    map.insert("n_key_value_heads".into(), if grouped { c.n_kv_heads.into() } else { Json::Null });
    map.insert("gated_mlp".into(), gated.into());
    let dtype = if model.weights().dtype() == "f64" { "torch.float64" } else { "torch.float32" };
    map.insert("dtype".into(), dtype.into());
    let mlp = if c.d_mlp == 0 { 0 } else { 2 + usize::from(gated) };
    let per_layer = 4 * c.d_model * c.d_head * c.n_heads + mlp * c.d_model * c.d_mlp;
    map.insert("n_params".into(), (c.n_layers * per_layer).into());
    let fields = Fields::new(Path::new(SETTINGS), map.clone());
    let (back, _) = hooked::read(&fields)?;
    match crate::save::difference(c, &back) {
        Some(what) => Err(cannot(model, format!("its {what} cannot be said by a HookedTransformer"))),
        None => Ok(map),
    }
}

/// Whether all norms are plain (weight 1, no bias), keys are shared, and MLPs gated.
fn survey<T: ablate_tensor::Real>(w: &Weights<T>) -> (bool, bool, bool) {
    let norms = w.layers.iter().flat_map(|l| [&l.norm1, &l.norm2]).chain([&w.norm_final]).flatten();
    let plain = norms.into_iter().all(|n| n.b.is_none() && n.w.iter().all(|x| *x == T::ONE));
    let grouped = w.layers.iter().any(|l| l.k.w.cols() != l.q.w.cols());
    let gated = w.layers.iter().any(|l| l.mlp.as_ref().is_some_and(|m| m.gate.is_some()));
    (plain, grouped, gated)
}

/// Settings that do not matter to the forward pass, as InterpBench's trainer leaves them.
fn defaults(c: &Config) -> Map<String, Json> {
    object(json!({
        "model_name": "custom", "use_attn_result": true, "use_split_qkv_input": true, "use_hook_mlp_in": true,
        "use_attn_in": false, "original_architecture": null, "from_checkpoint": false, "checkpoint_index": null,
        "checkpoint_label_type": null, "checkpoint_value": null, "tokenizer_name": null, "init_mode": "gpt2",
        "device": "cpu", "n_devices": 1, "seed": 0, "initializer_range": 0.8 / (c.d_model as f64).sqrt(),
        "init_weights": true, "scale_attn_by_inverse_layer_idx": false, "final_rms": false,
        "use_hook_tokens": false, "default_prepend_bos": true, "tokenizer_prepends_bos": null,
        "post_embedding_ln": false, "trust_remote_code": false, "load_in_4bit": false, "num_experts": null,
        "experts_per_token": null,
    }))
}

/// The sizes.
fn shape(c: &Config) -> Map<String, Json> {
    object(json!({
        "n_layers": c.n_layers, "d_model": c.d_model, "n_ctx": c.n_ctx, "d_head": c.d_head, "n_heads": c.n_heads,
        "d_mlp": if c.d_mlp == 0 { Json::Null } else { c.d_mlp.into() }, "attn_only": c.d_mlp == 0,
        "d_vocab": c.d_vocab, "d_vocab_out": c.d_vocab_out,
    }))
}

/// What selects the forward pass.
fn forward(c: &Config) -> Map<String, Json> {
    let act = match c.act {
        Activation::GeluErf => "gelu",
        Activation::GeluTanh => "gelu_new",
        Activation::Silu => "silu",
        Activation::Relu => "relu",
    };
    let window = c.windows.iter().copied().flatten().next();
    let kinds = |w: &Option<usize>| if w.is_some() { "local" } else { "global" };
    let types: Vec<_> = c.windows.iter().map(kinds).collect();
    let (positions, rope) = match c.positions {
        PositionKind::Learned { .. } => ("standard", None),
        PositionKind::Rotary(rope) => ("rotary", Some(rope)),
        PositionKind::None => ("none", None),
    };
    let theta = rope.map_or(10000.0, |r| r.theta);
    let base = if theta.fract() == 0.0 && theta < 1e15 { json!(theta as u64) } else { json!(theta) };
    let mut map = object(json!({
        "act_fn": act, "eps": c.norm_eps, "use_attn_scale": c.attn_scale != 1.0 || c.d_head == 1,
        "use_local_attn": window.is_some(), "window_size": window,
        "attn_types": if window.is_some() { json!(types) } else { Json::Null },
        "attention_dir": if c.causal { "causal" } else { "bidirectional" },
        "parallel_attn_mlp": c.block == Block::Parallel, "positional_embedding_type": positions,
        "rotary_dim": rope.map(|r| r.rot_dim), "rotary_base": base,
        "rotary_adjacent_pairs": rope.is_some_and(|r| r.style == RopeStyle::Interleaved),
    }));
    let usual = (c.d_head as f64).powf(-0.5);
    if c.attn_scale != 1.0 && (c.attn_scale - usual).abs() > 1e-9 * usual {
        map.insert("attn_scale".into(), json!(1.0 / c.attn_scale));
    }
    for (key, cap) in [("attn_scores_soft_cap", c.attn_softcap), ("output_logits_soft_cap", c.final_softcap)]
    {
        if let Some(cap) = cap {
            map.insert(key.into(), json!(cap));
        }
    }
    if let Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context }) =
        rope.map(|r| r.scaling)
    {
        map.extend(object(json!({
            "use_NTK_by_parts_rope": true, "NTK_by_parts_factor": factor,
            "NTK_by_parts_low_freq_factor": low_freq_factor, "NTK_by_parts_high_freq_factor": high_freq_factor,
            "NTK_original_ctx_len": original_context as u64,
        })));
    }
    map
}

fn object(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(map) => map,
        _ => Map::new(),
    }
}
