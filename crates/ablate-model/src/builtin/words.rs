//! The tokenizers of the built-in models: words, separated by white space.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::load::LoadOptions;
use crate::tokenizer::{Bos, Tokenizer};

/// The words of the hand-set models by token id.
pub(super) const WORDS: [&str; 64] = [
    "apple", "arrow", "bell", "bird", "boat", "book", "box", "bread", "bridge", "cat", "chair", "cloud",
    "coat", "coin", "corn", "cup", "desk", "dog", "door", "drum", "eagle", "egg", "fence", "field", "fire",
    "fish", "flag", "fork", "fox", "frog", "gate", "glass", "gold", "hand", "hat", "hill", "horse", "house",
    "ice", "ink", "key", "king", "lake", "lamp", "leaf", "lion", "milk", "moon", "nest", "owl", "paper",
    "pearl", "plum", "rain", "ring", "river", "road", "rose", "salt", "ship", "snow", "stone", "tree",
    "wolf",
];

/// The tokenizer of these words; `bos` is put in front of every text.
pub(super) fn tokenizer(
    name: &str,
    words: &[&str],
    bos: Option<u32>,
    options: &LoadOptions,
) -> Result<Tokenizer> {
    let vocab: Map<String, Value> =
        words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let first = bos.and_then(|id| words.get(id as usize));
    let post_processor = first.map(|word| {
        let first = json!({"SpecialToken": {"id": word, "type_id": 0}});
        let [a, b] = ["A", "B"].map(|x| json!({"Sequence": {"id": x, "type_id": 0}}));
        json!({
            "type": "TemplateProcessing", "single": [&first, &a], "pair": [&first, &a, &b],
            "special_tokens": {*word: {"id": word, "ids": [bos], "tokens": [word]}},
        })
    });
    let text = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": post_processor, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unknown>"},
    })
    .to_string();
    let inner = tokenizers::Tokenizer::from_bytes(text.as_bytes())
        .map_err(|e| Error::model(format!("builtin:{name}"), format!("its tokenizer is broken: {e}")))?;
    Tokenizer::new(Path::new(&format!("builtin:{name}")), inner, bos, Bos::Own, options.bos)
}
