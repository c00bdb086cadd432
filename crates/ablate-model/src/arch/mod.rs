//! Architectures. Each is a table: how its `config.json` becomes a [`Config`], and under which names its file keeps
//! the weights. There are no forward passes here; there is one for all in the engine.
//!
//! To add one: a file beside these with the same headings, a line in `TABLE`, a tiny checkpoint with logits in the
//! test kit.

mod fields;
mod gemma2;
mod gguf;
mod gpt2;
mod gpt_neo;
mod gpt_neox;
pub(crate) mod hooked;
mod llama;
mod mistral;
mod opt;
mod phi;
mod qwen2;
mod qwen3;
mod smollm3;
mod write;

pub(crate) use fields::Fields;
pub(crate) use gguf::{known as known_gguf, read as read_gguf};
pub(crate) use write::Has;

use serde_json::{Map, Value};

use crate::config::Config;
use crate::error::{Error, Result};

/// How the linear maps of a file lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Layout {
    /// `[out, in]`, as `torch.nn.Linear`.
    #[default]
    OutIn,
    /// `[in, out]`, as GPT-2's `Conv1D`.
    InOut,
}

/// How the file keeps query, key and value maps; names without `.weight`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attn {
    /// Three maps: q, k, v.
    Separate([&'static str; 3]),
    /// One map whose outputs are all queries, then all keys, then all values.
    Fused(&'static str),
    /// One map whose outputs are, head by head, its query, key and value (GPT-NeoX).
    FusedByHead(&'static str),
}

/// Where a file keeps the weights. Names of linear maps and norms are without `.weight` and `.bias`; those of a
/// block are without [`Names::layer`] before them.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of a file format")]
pub(crate) struct Names {
    /// What may stand before every name; the first under which the embedding is found is used for all.
    pub(crate) prefixes: &'static [&'static str],
    /// Token embedding.
    pub(crate) embed: &'static str,
    /// Learned positions.
    pub(crate) pos: Option<&'static str>,
    /// Last norm.
    pub(crate) norm_final: Option<&'static str>,
    /// Unembedding, never behind a prefix.
    pub(crate) unembed: &'static str,
    /// Whether the unembedding is the embedding, unless the file holds another one.
    pub(crate) tied: bool,
    /// Whether the unembedding has a bias.
    pub(crate) unembed_bias: bool,
    /// What stands before every name of a block; `{}` is its number.
    pub(crate) layer: &'static str,
    /// Norm before attention.
    pub(crate) norm1: &'static str,
    /// Norm before the MLP (Phi: the same as before attention).
    pub(crate) norm2: &'static str,
    /// Norm after attention.
    pub(crate) post_attn: Option<&'static str>,
    /// Norm after the MLP.
    pub(crate) post_mlp: Option<&'static str>,
    /// Norms of queries and of keys.
    pub(crate) qk_norm: Option<[&'static str; 2]>,
    /// Query, key and value maps.
    pub(crate) attn: Attn,
    /// Output map of attention.
    pub(crate) o: &'static str,
    /// MLP: input map.
    pub(crate) up: &'static str,
    /// MLP: gate.
    pub(crate) gate: Option<&'static str>,
    /// MLP: output map.
    pub(crate) down: &'static str,
    /// Whether queries, keys and values have biases.
    pub(crate) qkv_bias: bool,
    /// Whether attention's output map has a bias.
    pub(crate) o_bias: bool,
    /// Whether the MLP's maps have biases.
    pub(crate) mlp_bias: bool,
    /// Whether norms have weights at all (otherwise they are 1).
    pub(crate) norm_weight: bool,
    /// Whether norms have biases.
    pub(crate) norm_bias: bool,
    /// Whether norms multiply by their stored weight plus 1.
    pub(crate) norm_plus_one: bool,
    /// How linear maps lie.
    pub(crate) layout: Layout,
    /// Whether queries and keys are stored in the order of interleaved rotation (GGUF's Llama).
    pub(crate) rope_permuted: bool,
}

/// An architecture: the name its files give, and the functions that read and write their settings.
struct Arch {
    name: &'static str,
    read: fn(&Fields) -> Result<(Config, Names)>,
    write: fn(&Config, &Has) -> Map<String, Value>,
}

const TABLE: [Arch; 11] = [
    Arch { name: "gpt2", read: gpt2::read, write: gpt2::write },
    Arch { name: "gpt_neo", read: gpt_neo::read, write: gpt_neo::write },
    Arch { name: "gpt_neox", read: gpt_neox::read, write: gpt_neox::write },
    Arch { name: "opt", read: opt::read, write: opt::write },
    Arch { name: "llama", read: llama::read, write: llama::write },
    Arch { name: "mistral", read: mistral::read, write: mistral::write },
    Arch { name: "qwen2", read: qwen2::read, write: qwen2::write },
    Arch { name: "qwen3", read: qwen3::read, write: qwen3::write },
    Arch { name: "gemma2", read: gemma2::read, write: gemma2::write },
    Arch { name: "phi", read: phi::read, write: phi::write },
    Arch { name: "smollm3", read: smollm3::read, write: smollm3::write },
];

/// The `model_type`s that can be loaded from a folder.
pub fn known() -> Vec<&'static str> {
    TABLE.iter().map(|a| a.name).collect()
}

/// Configuration and names for the settings of a `config.json`.
pub(crate) fn read(fields: &Fields) -> Result<(Config, Names)> {
    let list = known().join(", ");
    let Some(name) = fields.opt_text("model_type")? else {
        return Err(fields.error("model_type is missing").with_hint(format!("known architectures: {list}")));
    };
    let Some(arch) = TABLE.iter().find(|a| a.name == name) else {
        return Err(fields
            .error(format!("unknown architecture {name}"))
            .with_hint(format!("known architectures: {list}")));
    };
    (arch.read)(fields)
}

/// The `config.json` of architecture `name` for this configuration; `None` for an unknown name. What the architecture
/// cannot say is left out: read it back and compare.
pub(crate) fn write(name: &str, config: &Config, has: &Has) -> Option<Map<String, Value>> {
    let arch = TABLE.iter().find(|a| a.name == name)?;
    let mut map = (arch.write)(config, has);
    map.insert("model_type".into(), Value::from(name));
    map.insert("vocab_size".into(), Value::from(config.d_vocab));
    map.insert("tie_word_embeddings".into(), Value::from(has.tied));
    Some(map)
}

/// The heads that a file leaves out, for each layer; empty when it leaves out none.
pub(crate) fn pruned(fields: &Fields, config: &Config) -> Result<Vec<Vec<usize>>> {
    if config.arch == "gpt2" {
        return gpt2::pruned(fields, config);
    }
    match fields.get("pruned_heads").and_then(Value::as_object) {
        Some(lists) if !lists.is_empty() => Err(fields.unsupported("pruned_heads of this architecture")),
        _ => Ok(Vec::new()),
    }
}

/// An error that says which architectures can be read from a GGUF file.
pub(crate) fn unknown_gguf(path: &std::path::Path, name: &str) -> Error {
    Error::file(path, format!("unknown GGUF architecture {name}"))
        .with_hint(format!("known in GGUF files: {}", known_gguf().join(", ")))
}
