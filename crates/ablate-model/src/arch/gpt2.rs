//! GPT-2.
//!
//! - **Is**: LayerNorm before each sublayer, learned positions, full attention, GELU (tanh), all biases, tied unembedding.
//! - **File**: `transformer.h.N.…`, also without `transformer.`; linear maps `[in, out]`; q, k, v in one map of `3·d_model` columns.
//! - **Refused**: attention scaled by the inverse layer number, cross attention.
//! - **Source**: Radford et al. 2019; Hugging Face `GPT2LMHeadModel`.

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
