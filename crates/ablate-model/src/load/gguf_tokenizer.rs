//! The tokenizer inside a GGUF file: byte-level BPE (`gpt2`) and SentencePiece-like BPE with bytes (`llama`).

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::gguf::{Gguf, List};
use crate::error::{Error, Result};
use crate::tokenizer::{Bos, Tokenizer, added_token, byte_level};

/// Token types that are matched whole, before anything is split: control (3) and user-defined (4).
const SPECIAL: [f64; 2] = [3.0, 4.0];

/// The tokenizer of `file`; `None` when it has none.
pub(super) fn read(path: &Path, file: &Gguf, asked: Option<bool>) -> Result<Option<Tokenizer>> {
    let Some(model) = file.fields.opt_text("tokenizer.ggml.model")? else { return Ok(None) };
    let vocab = Vocab::read(path, file)?;
    let pre = file.fields.opt_text("tokenizer.ggml.pre")?.unwrap_or("default");
    let (json, adds) = match model {
        "gpt2" => (vocab.byte_level(path, pre)?, matches!(pre, "llama-bpe" | "llama3" | "llama-v3")),
        "llama" => (vocab.sentence_piece(path, file)?, true),
        other => {
            let hint = "known: gpt2 (byte-level BPE) and llama (SentencePiece BPE)";
            return Err(Error::file(path, format!("unknown tokenizer {other}")).with_hint(hint));
        }
    };
    let inner = tokenizers::Tokenizer::from_bytes(json.to_string())
        .map_err(|e| Error::file(path, format!("its tokenizer is damaged: {e}")))?;
    let bos = match file.fields.opt_size("tokenizer.ggml.bos_token_id")? {
        Some(id) if id < vocab.tokens.len() => Some(id as u32),
        Some(id) => return Err(Error::file(path, format!("bos_token_id {id} is no token"))),
        None => None,
    };
    let own = if file.fields.flag_or("tokenizer.ggml.add_bos_token", adds)? { Bos::Yes } else { Bos::No };
    let eos = file.fields.opt_size("tokenizer.ggml.eos_token_id")?.and_then(|id| u32::try_from(id).ok());
    Ok(Some(Tokenizer::new(path, inner, bos, own, asked)?.with_eos(eos)))
}

/// The lists that describe a vocabulary.
struct Vocab<'a> {
    tokens: &'a [String],
    kinds: &'a [f64],
    scores: &'a [f64],
    merges: &'a [String],
}

impl<'a> Vocab<'a> {
    fn read(path: &Path, file: &'a Gguf) -> Result<Self> {
        let texts = |key: &str| match file.lists.get(key) {
            Some(List::Texts(list)) => Ok(list.as_slice()),
            Some(List::Numbers(_)) => Err(Error::file(path, format!("{key} should be a list of texts"))),
            None => Ok(&[][..]),
        };
        let numbers = |key: &str| match file.lists.get(key) {
            Some(List::Numbers(list)) => Ok(list.as_slice()),
            Some(List::Texts(_)) => Err(Error::file(path, format!("{key} should be a list of numbers"))),
            None => Ok(&[][..]),
        };
        let vocab = Self {
            tokens: texts("tokenizer.ggml.tokens")?,
            kinds: numbers("tokenizer.ggml.token_type")?,
            scores: numbers("tokenizer.ggml.scores")?,
            merges: texts("tokenizer.ggml.merges")?,
        };
        if vocab.tokens.is_empty() {
            return Err(Error::file(path, "tokenizer.ggml.tokens is missing"));
        }
        for (key, n) in [("token_type", vocab.kinds.len()), ("scores", vocab.scores.len())] {
            if n != 0 && n != vocab.tokens.len() {
                let message =
                    format!("tokenizer.ggml.{key} has {n} entries for {} tokens", vocab.tokens.len());
                return Err(Error::file(path, message));
            }
        }
        Ok(vocab)
    }

    /// Token → id, and the tokens that are matched whole.
    fn ids(&self) -> (Map<String, Value>, Vec<Value>) {
        let ids = self.tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
        let whole = self.tokens.iter().enumerate().zip(self.kinds).filter(|(_, kind)| SPECIAL.contains(kind));
        (ids, whole.map(|((id, token), kind)| added_token(token, id as u64, *kind == SPECIAL[0])).collect())
    }

    fn byte_level(&self, path: &Path, pre: &str) -> Result<Value> {
        let mut merges = Vec::with_capacity(self.merges.len());
        for (i, merge) in self.merges.iter().enumerate() {
            let Some((a, b)) = merge.split_once(' ') else {
                return Err(Error::file(path, format!("tokenizer.ggml.merges: entry {i} is not two tokens")));
            };
            merges.push(json!([a, b]));
        }
        if merges.is_empty() {
            return Err(Error::file(path, "tokenizer.ggml.merges is missing"));
        }
        let (ids, added) = self.ids();
        let (split, ignore_merges) = pre_tokenizer(path, pre)?;
        let mut json = byte_level(&ids, &merges, &added, &split, ignore_merges);
        if matches!(pre, "qwen2" | "deepseek-r1-qwen") {
            json["normalizer"] = json!({"type": "NFC"});
        }
        Ok(json)
    }

    /// SentencePiece's BPE: pieces merge in the order of their scores; what is no piece falls into bytes.
    fn sentence_piece(&self, path: &Path, file: &Gguf) -> Result<Value> {
        if self.scores.is_empty() {
            return Err(Error::file(path, "tokenizer.ggml.scores is missing"));
        }
        let (ids, added) = self.ids();
        let unknown = file.fields.opt_size("tokenizer.ggml.unknown_token_id")?.unwrap_or(0);
        let unknown =
            self.tokens.get(unknown).ok_or_else(|| Error::file(path, "unknown_token_id is no token"))?;
        let mut normal = Vec::new();
        let prefix = file.fields.flag_or("tokenizer.ggml.add_space_prefix", true)?;
        if prefix {
            normal.push(json!({"type": "Prepend", "prepend": "▁"}));
        }
        normal.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}));
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if prefix {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null, "pre_tokenizer": null, "post_processor": null,
            "added_tokens": added,
            "normalizer": {"type": "Sequence", "normalizers": normal},
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {"type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
                      "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                      "vocab": ids, "merges": self.piece_merges()},
        }))
    }

    /// Every way to put a piece together from two, best score of the result first.
    fn piece_merges(&self) -> Vec<Value> {
        let ids: HashMap<&str, usize> =
            self.tokens.iter().enumerate().map(|(i, t)| (t.as_str(), i)).collect();
        let mut merges: Vec<(f64, usize, usize)> = Vec::new();
        for (token, score) in self.tokens.iter().zip(self.scores).filter(|(t, _)| t.len() <= 256) {
            let mut here: Vec<_> = token
                .char_indices()
                .skip(1)
                .filter_map(|(at, _)| Some((*score, *ids.get(&token[..at])?, *ids.get(&token[at..])?)))
                .collect();
            here.sort_by_key(|(_, a, b)| (*a, *b));
            merges.extend(here);
        }
        merges.sort_by(|a, b| b.0.total_cmp(&a.0));
        merges.into_iter().map(|(_, a, b)| json!([self.tokens[a], self.tokens[b]])).collect()
    }
}

/// How a text is split before byte-level BPE, by llama.cpp's name for it; and whether whole words that are tokens
/// are taken as such.
fn pre_tokenizer(path: &Path, name: &str) -> Result<(Value, bool)> {
    const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let gpt2 =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let by = |regex: &str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]})
    };
    match name {
        "default" | "gpt-2" | "gpt2" | "olmo" | "phi-2" => Ok((gpt2, false)),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => {
            let digits = json!({"type": "Digits", "individual_digits": true});
            Ok((json!({"type": "Sequence", "pretokenizers": [digits, gpt2]}), false))
        }
        "llama-bpe" | "llama3" | "llama-v3" => Ok((by(LLAMA3), true)),
        "qwen2" | "deepseek-r1-qwen" | "stablelm2" => Ok((by(QWEN2), false)),
        other => {
            let hint = "known: default, gpt-2, smollm, llama-bpe, qwen2 and their like; use the model's Hugging Face folder instead";
            Err(Error::file(path, format!("unknown way to split texts, tokenizer.ggml.pre = {other}"))
                .with_hint(hint))
        }
    }
}
