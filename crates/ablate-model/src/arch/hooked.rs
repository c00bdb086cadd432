//! HookedTransformer (TransformerLens), and with it the models of InterpBench.
//!
//! - **Is**: whatever its settings say: any norm or none, learned or rotary positions, causal or bidirectional
//!   attention, plain or gated MLPs or none, grouped keys and values.
//! - **File**: settings as a pickled dictionary or `HookedTransformerConfig`, weights head by head in a `.pth` file.
//! - **Refused**: every setting below that changes the forward pass in a way this one cannot, and settings it does not know.
//! - **Source**: Nanda and Bloom 2022; `HookedTransformerConfig`.

use serde_json::Value;

use super::Fields;
use crate::config::{Activation, Block, Config, NormKind, PositionKind, Rope, RopeScaling, RopeStyle};
use crate::error::Result;

/// The architecture's name.
pub(crate) const NAME: &str = "hooked_transformer";

/// Settings that are read.
const READ: [&str; 35] = [
    "n_layers",
    "d_model",
    "n_ctx",
    "d_head",
    "n_heads",
    "d_mlp",
    "act_fn",
    "d_vocab",
    "d_vocab_out",
    "eps",
    "use_attn_scale",
    "attn_scale",
    "use_local_attn",
    "attn_types",
    "window_size",
    "normalization_type",
    "final_rms",
    "attention_dir",
    "attn_only",
    "positional_embedding_type",
    "rotary_dim",
    "rotary_base",
    "rotary_base_local",
    "rotary_adjacent_pairs",
    "use_NTK_by_parts_rope",
    "NTK_by_parts_factor",
    "NTK_by_parts_low_freq_factor",
    "NTK_by_parts_high_freq_factor",
    "NTK_original_ctx_len",
    "parallel_attn_mlp",
    "gated_mlp",
    "n_key_value_heads",
    "attn_scores_soft_cap",
    "output_logits_soft_cap",
    "dtype",
];

/// Settings that do not change what a model with given weights computes: hooks, training, tokenizer, places.
const WITHOUT_EFFECT: [&str; 28] = [
    "model_name",
    "use_attn_result",
    "use_split_qkv_input",
    "use_hook_mlp_in",
    "use_attn_in",
    "ungroup_grouped_query_attention",
    "original_architecture",
    "from_checkpoint",
    "checkpoint_index",
    "checkpoint_label_type",
    "checkpoint_value",
    "tokenizer_name",
    "init_mode",
    "device",
    "n_devices",
    "seed",
    "initializer_range",
    "init_weights",
    "n_params",
    "use_hook_tokens",
    "default_prepend_bos",
    "tokenizer_prepends_bos",
    "trust_remote_code",
    "experts_per_token",
    "relative_attention_max_distance",
    "relative_attention_num_buckets",
    "decoder_start_token_id",
    "tie_word_embeddings",
];

/// Settings that must be off.
const OFF: [&str; 6] = [
    "scale_attn_by_inverse_layer_idx",
    "post_embedding_ln",
    "load_in_4bit",
    "num_experts",
    "use_normalization_before_and_after",
    "use_qk_norm",
];

/// What the settings say beside the configuration: which tensors there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Norms have weights of their own (`LN`, `RMS`), rather than having been folded (`LNPre`, `RMSPre`).
    pub(crate) norm_weights: bool,
    /// MLPs have a gate.
    pub(crate) gated: bool,
    /// Keys and values are stored once for each group of heads (`_W_K`), which may be as many as the heads.
    pub(crate) grouped: bool,
}

/// Settings to configuration.
pub(crate) fn read(c: &Fields) -> Result<(Config, Parts)> {
    refuse(c)?;
    let (n_layers, d_model, d_head) = (c.layers("n_layers")?, c.size("d_model")?, c.size("d_head")?);
    let n_heads = if unset(c, "n_heads")? { c.divide(d_model, d_head)? } else { c.size("n_heads")? };
    let d_vocab = c.size("d_vocab")?;
    let d_vocab_out = if unset(c, "d_vocab_out")? { d_vocab } else { c.size("d_vocab_out")? };
    let attn_only = c.flag_or("attn_only", false)?;
    let (norm, norm_weights) = norm(c)?;
    let causal = match c.opt_text("attention_dir")?.unwrap_or("causal") {
        "causal" => true,
        "bidirectional" => false,
        other => return Err(c.unsupported(&format!("attention_dir {other}"))),
    };
    let parts = Parts {
        norm_weights,
        gated: c.flag_or("gated_mlp", false)?,
        grouped: c.get("n_key_value_heads").is_some(),
    };
    let config = Config {
        arch: NAME.into(),
        n_layers,
        d_model,
        n_heads,
        n_kv_heads: c.size_or("n_key_value_heads", n_heads)?,
        d_head,
        d_mlp: if attn_only { 0 } else { c.size_or("d_mlp", d_model.saturating_mul(4))? },
        d_vocab,
        d_vocab_out,
        n_ctx: c.size("n_ctx")?,
        norm,
        norm_eps: c.number_or("eps", 1e-5)?,
        act: if attn_only { Activation::Relu } else { activation(c)? },
        positions: positions(c, d_head)?,
        block: if c.flag_or("parallel_attn_mlp", false)? { Block::Parallel } else { Block::Sequential },
        attn_scale: attn_scale(c, d_head)?,
        attn_softcap: soft_cap(c, "attn_scores_soft_cap")?,
        final_softcap: soft_cap(c, "output_logits_soft_cap")?,
        embed_scale: 1.0,
        windows: windows(c, n_layers, causal)?,
        causal,
    };
    Ok((config, parts))
}

/// Refuses what cannot be computed, and settings that are not known and not plainly off.
fn refuse(c: &Fields) -> Result<()> {
    for what in OFF {
        if c.get(what).is_some_and(|v| *v != Value::Bool(false)) {
            return Err(c.unsupported(what));
        }
    }
    let known = |key: &str| [&READ[..], &WITHOUT_EFFECT, &OFF].iter().any(|list| list.contains(&key));
    match c.entries().find(|(key, value)| !known(key) && !value.is_null() && **value != Value::Bool(false)) {
        Some((key, value)) => Err(c
            .error(format!("has a setting {key} = {value} that is not known"))
            .with_hint("it may change the forward pass; if it does not, set it to None and save again")),
        None => Ok(()),
    }
}

/// Whether a size is left to its default, which the format writes as -1.
fn unset(c: &Fields, key: &str) -> Result<bool> {
    Ok(c.get(key).is_none() || c.opt_number(key)? == Some(-1.0))
}

/// Kind of the norms, and whether they have weights.
fn norm(c: &Fields) -> Result<(NormKind, bool)> {
    let kind = match c.opt_text("normalization_type")? {
        // the format's own default is LN; None must be said
        None if !c.has("normalization_type") => (NormKind::Layer, true),
        None => (NormKind::None, false),
        Some("LN") => (NormKind::Layer, true),
        Some("LNPre") => (NormKind::Layer, false),
        Some("RMS") => (NormKind::Rms, true),
        Some("RMSPre") => (NormKind::Rms, false),
        Some(other) => return Err(c.unsupported(&format!("normalization_type {other}"))),
    };
    if kind.0 == NormKind::Layer && c.flag_or("final_rms", false)? {
        return Err(c.unsupported("final_rms with LayerNorm"));
    }
    Ok(kind)
}

fn activation(c: &Fields) -> Result<Activation> {
    match c.opt_text("act_fn")? {
        Some("gelu") => Ok(Activation::GeluErf),
        Some("gelu_new" | "gelu_fast" | "gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
        Some("silu") => Ok(Activation::Silu),
        Some("relu") => Ok(Activation::Relu),
        Some(other) => Err(c
            .unsupported(&format!("act_fn {other}"))
            .with_hint("known: relu, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, silu")),
        None => {
            Err(c.error("act_fn is missing").with_hint("a model with MLPs has one, such as gelu or relu"))
        }
    }
}

fn positions(c: &Fields, d_head: usize) -> Result<PositionKind> {
    match c.opt_text("positional_embedding_type")?.unwrap_or("standard") {
        "standard" => Ok(PositionKind::Learned { offset: 0 }),
        "none" => Ok(PositionKind::None),
        "rotary" => {
            let adjacent = c.flag_or("rotary_adjacent_pairs", false)?;
            if c.get("rotary_base_local").is_some() && c.flag_or("use_local_attn", false)? {
                return Err(c.unsupported("rotary_base_local"));
            }
            let scaling = if c.flag_or("use_NTK_by_parts_rope", false)? {
                RopeScaling::Llama3 {
                    factor: c.number_or("NTK_by_parts_factor", 8.0)?,
                    low_freq_factor: c.number_or("NTK_by_parts_low_freq_factor", 1.0)?,
                    high_freq_factor: c.number_or("NTK_by_parts_high_freq_factor", 4.0)?,
                    original_context: c.number_or("NTK_original_ctx_len", 8192.0)?,
                }
            } else {
                RopeScaling::None
            };
            Ok(PositionKind::Rotary(Rope {
                theta: c.number_or("rotary_base", 10000.0)?,
                rot_dim: c.size_or("rotary_dim", d_head)?,
                style: if adjacent { RopeStyle::Interleaved } else { RopeStyle::Halves },
                scaling,
            }))
        }
        other => Err(c.unsupported(&format!("positional_embedding_type {other}"))),
    }
}

/// The factor on attention scores; the format stores what they are divided by.
fn attn_scale(c: &Fields, d_head: usize) -> Result<f64> {
    if !c.flag_or("use_attn_scale", true)? {
        return Ok(1.0);
    }
    let usual = (d_head as f64).powf(-0.5);
    match c.opt_number("attn_scale")? {
        None | Some(-1.0) => Ok(usual),
        // a root that was rounded on its way is still the root
        Some(x) if (x * usual - 1.0).abs() < 1e-6 => Ok(usual),
        Some(x) if x > 0.0 => Ok(1.0 / x),
        Some(x) => Err(c.error(format!("attn_scale = {x} should be positive"))),
    }
}

/// A soft cap; -1 is none.
fn soft_cap(c: &Fields, key: &str) -> Result<Option<f64>> {
    Ok(c.opt_number(key)?.filter(|x| *x > 0.0))
}

/// The width of each layer's window. A bidirectional model does not apply its masks.
fn windows(c: &Fields, n_layers: usize, causal: bool) -> Result<Vec<Option<usize>>> {
    if !c.flag_or("use_local_attn", false)? || !causal {
        return Ok(vec![None; n_layers]);
    }
    let window = c.size("window_size")?;
    let types = c.opt_texts("attn_types")?.ok_or_else(|| c.error("attn_types is missing"))?;
    if types.len() < n_layers {
        return Err(c.error(format!("attn_types has {} entries for {n_layers} layers", types.len())));
    }
    let one = |kind: &&str| match *kind {
        "global" => Ok(None),
        "local" => Ok(Some(window)),
        other => Err(c.unsupported(&format!("attention type {other}"))),
    };
    types[..n_layers].iter().map(one).collect()
}
