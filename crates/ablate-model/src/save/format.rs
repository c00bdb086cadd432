//! Which Hugging Face format says a model: its own, or one that computes the same and has the biases that it needs.

use super::Has;
use crate::config::{Block, Config, PositionKind};
use crate::error::{Error, Result};

/// What a format can do with heads that are not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heads {
    /// Nothing: the number of heads times their width is the model's width. They can be zeroed.
    Fixed,
    /// Each layer leaves out its own (GPT-2's `pruned_heads`), at least one stays.
    Pruned,
    /// All layers have the same number of heads, which may be any.
    Uniform,
}

/// What the format that a model is saved in can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// What can be done with heads that are not wanted.
    pub heads: Heads,
    /// Whether the MLP's output map can have a bias. (Attention's can in all formats.)
    pub mlp_bias: bool,
}

/// What the format of a model of this configuration can do.
///
/// # Errors
/// An architecture that is never saved.
pub fn abilities(config: &Config) -> Result<Abilities> {
    let (heads, mlp_bias) = match config.arch.as_str() {
        "gpt2" | "builtin" => (Heads::Pruned, true),
        "gpt_neo" | "gpt_neox" | "opt" => (Heads::Fixed, true),
        "phi" | "llama" | "mistral" | "qwen2" | "smollm3" => (Heads::Uniform, true),
        "qwen3" | "gemma2" => (Heads::Uniform, false),
        other => return Err(unknown(other)),
    };
    Ok(Abilities { heads, mlp_bias })
}

fn unknown(arch: &str) -> Error {
    Error::model(arch, "there is no Hugging Face format for it")
        .with_hint("models of these architectures can be saved: gpt2, gpt_neo, gpt_neox, opt, llama, mistral, qwen2, qwen3, smollm3, gemma2, phi")
}

/// The `model_type` that a model is saved as. Mistral and Qwen2 have no bias on the output of attention and MLP: with
/// one they are saved as Llama, which computes the same, or with windows as SmolLM3.
pub(super) fn model_type(config: &Config, has: &Has) -> Result<&'static str> {
    let slides = slides(config);
    let plain = if slides { "smollm3" } else { "llama" };
    Ok(match config.arch.as_str() {
        "gpt2" | "builtin" => "gpt2",
        "gpt_neo" => "gpt_neo",
        "gpt_neox" => "gpt_neox",
        "opt" => "opt",
        "phi" => "phi",
        "qwen3" => "qwen3",
        "gemma2" => "gemma2",
        "smollm3" => "smollm3",
        "mistral" if !has.qkv_bias && !has.new_biases() => "mistral",
        "qwen2" if !has.new_biases() => "qwen2",
        // a GGUF file calls Mistral llama
        "llama" if slides && !has.qkv_bias && !has.new_biases() => "mistral",
        "llama" | "mistral" | "qwen2" => plain,
        other => return Err(unknown(other)),
    })
}

/// Whether some layer's window hides anything from the longest text.
fn slides(config: &Config) -> bool {
    config.windows.iter().flatten().any(|w| *w < config.n_ctx)
}

/// The configuration as format `name` says it: windows as wide as the context are none there.
pub(super) fn normal(config: &Config, name: &str) -> Config {
    let mut config = config.clone();
    if name == "llama" {
        config.windows.fill(None);
    }
    config
}

/// What differs between two configurations, if anything; what an architecture is called does not count.
pub(crate) fn difference(a: &Config, b: &Config) -> Option<&'static str> {
    let close = |x: f64, y: f64| (x - y).abs() <= 1e-9 * x.abs().max(y.abs());
    let shape = |c: &Config| (c.n_layers, c.d_model, c.d_mlp, c.d_vocab, c.d_vocab_out, c.n_ctx);
    let heads = |c: &Config| (c.n_heads, c.n_kv_heads, c.d_head);
    let checks = [
        ("shape", shape(a) == shape(b)),
        ("number and width of heads", heads(a) == heads(b)),
        ("norm", a.norm == b.norm && close(a.norm_eps, b.norm_eps)),
        ("activation function", a.act == b.act),
        ("position embedding", same_positions(a.positions, b.positions)),
        ("order of attention and MLP", a.block == b.block || (a.d_mlp == 0 && b.block == Block::Sequential)),
        ("scale of attention scores", close(a.attn_scale, b.attn_scale)),
        ("soft caps", a.attn_softcap == b.attn_softcap && a.final_softcap == b.final_softcap),
        ("scale of the embedding", close(a.embed_scale, b.embed_scale)),
        ("windows", a.windows == b.windows),
        ("causality", a.causal == b.causal),
    ];
    checks.into_iter().find(|(_, same)| !same).map(|(what, _)| what)
}

fn same_positions(a: PositionKind, b: PositionKind) -> bool {
    a == b
}
