//! Tests of loading: architectures, files, tokenizers, hostile input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::print_stdout)]

mod builtin;
mod cuts;
mod engine;
mod gguf;
mod ground;
mod hooked;
mod hostile;
mod hub;
mod load;
mod naive;
mod pickles;
mod pth;
mod save;
mod tokenizer;
mod writer;

use std::path::{Path, PathBuf};

/// The tiny checkpoints with logits of the reference.
pub(crate) fn golden(arch: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ablate-testkit/golden/tiny").join(arch)
}

/// Token sequences and the reference's logits at every position.
pub(crate) fn sequences(arch: &str) -> Vec<(Vec<u32>, Vec<Vec<f64>>)> {
    let text = std::fs::read_to_string(golden(arch).join("logits.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let read = |v: &serde_json::Value| {
        (
            serde_json::from_value(v["tokens"].clone()).unwrap(),
            serde_json::from_value(v["logits"].clone()).unwrap(),
        )
    };
    json["sequences"].as_array().unwrap().iter().map(read).collect()
}

/// Every architecture with a tiny checkpoint.
pub(crate) const ARCHS: [&str; 11] =
    ["gpt2", "gpt_neo", "gpt_neox", "opt", "llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma2", "phi"];
