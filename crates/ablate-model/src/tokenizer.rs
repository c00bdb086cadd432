//! Text to token ids and back, from `tokenizer.json`, from `vocab.json` and `merges.txt`, or from a GGUF file.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::batch::Codec;
use crate::error::{Error, Result};
use crate::load::{read_object, read_text};

/// What happens at the beginning of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bos {
    /// As the post-processor does.
    Own,
    /// The beginning-of-sequence token is there.
    Yes,
    /// It is not.
    No,
}

/// A tokenizer. Cloning shares it.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    bos: Option<u32>,
    eos: Option<u32>,
    rule: Bos,
    note: &'static str,
    size: usize,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokenizer({} ids, bos {:?}, {})", self.size, self.bos, self.note)
    }
}

impl Tokenizer {
    /// The tokenizer of an HF folder; `None` when it has none. `asked` overrides its own rule about the
    /// beginning-of-sequence token.
    pub fn from_folder(folder: &Path, asked: Option<bool>) -> Result<Option<Self>> {
        let settings = Settings::read(folder)?;
        let (path, [vocab, merges]) =
            (folder.join("tokenizer.json"), ["vocab.json", "merges.txt"].map(|n| folder.join(n)));
        let (path, text) = if path.is_file() {
            let text = read_text(&path)?;
            (path, text)
        } else if vocab.is_file() && merges.is_file() {
            let text = from_vocab(&vocab, &merges, &settings)?;
            (vocab, text)
        } else {
            return Ok(None);
        };
        let mut inner = tokenizers::Tokenizer::from_bytes(text.as_bytes()).map_err(|e| {
            Error::file(&path, format!("is not a tokenizer: {e}")).with_hint(
                "fetch the file again, or export it with a current version of the tokenizers library",
            )
        })?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| Error::file(&path, format!("is not a tokenizer: {e}")))?;
        let bos = match &settings.bos {
            Some(token) => inner.token_to_id(token),
            None => settings.bos_id.filter(|id| inner.id_to_token(*id).is_some()),
        };
        let own = settings.add_bos.map_or(Bos::Own, |add| if add { Bos::Yes } else { Bos::No });
        Self::new(&path, inner, bos, own, asked).map(Some)
    }

    /// A tokenizer from the text of a `tokenizer.json`.
    pub fn from_json(text: &str, bos: Option<u32>) -> Result<Self> {
        let inner = tokenizers::Tokenizer::from_bytes(text.as_bytes())
            .map_err(|e| Error::text(format!("not a tokenizer: {e}")))?;
        Self::new(Path::new("tokenizer.json"), inner, bos, Bos::Own, None)
    }

    /// A tokenizer whose own rule about the beginning-of-sequence token is `own`.
    pub(crate) fn new(
        path: &Path,
        inner: tokenizers::Tokenizer,
        bos: Option<u32>,
        own: Bos,
        asked: Option<bool>,
    ) -> Result<Self> {
        let size = inner.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1);
        if asked == Some(true) && bos.is_none() {
            return Err(Error::file(path, "the tokenizer has no beginning-of-sequence token")
                .with_hint("leave out --bos yes"));
        }
        let rule = match asked {
            Some(true) => Bos::Yes,
            Some(false) => Bos::No,
            // a file that asks for a token it does not have
            None if own == Bos::Yes && bos.is_none() => Bos::Own,
            None => own,
        };
        let mut tokenizer = Self { inner: Arc::new(inner), bos, eos: None, rule, note: "", size };
        let adds = bos.is_some() && tokenizer.encode("")?.first().copied() == bos;
        tokenizer.note = match (asked, adds) {
            (None, true) => "yes (the tokenizer's own rule)",
            (None, false) => "no (the tokenizer's own rule)",
            (Some(_), true) => "yes (as asked)",
            (Some(_), false) => "no (as asked)",
        };
        Ok(tokenizer)
    }

    /// The tokenizer with this end-of-sequence token, which is only handed on.
    #[must_use]
    pub(crate) fn with_eos(mut self, eos: Option<u32>) -> Self {
        self.eos = eos.filter(|id| self.inner.id_to_token(*id).is_some());
        self
    }

    /// The end-of-sequence token, where the file names one.
    pub(crate) fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// `tokenizer.json` and `tokenizer_config.json` of a folder with this tokenizer.
    pub(crate) fn files(&self) -> Result<[(&'static str, String); 2]> {
        let damaged = |e: &dyn fmt::Display| Error::text(format!("cannot be written: {e}"));
        let text = self.inner.to_string(false).map_err(|e| damaged(&e))?;
        let mut json: Value = serde_json::from_str(&text).map_err(|e| damaged(&e))?;
        let name = |id: Option<u32>| id.and_then(|id| self.token(id));
        let mut settings = json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": name(self.bos), "eos_token": name(self.eos),
            "clean_up_tokenization_spaces": false,
        });
        if self.rule != Bos::Own {
            settings["add_bos_token"] = json!(self.rule == Bos::Yes);
        }
        if let (Bos::Yes, Some(bos), Some(id)) = (self.rule, name(self.bos), self.bos)
            && json["post_processor"].is_null()
        {
            let first = json!({"SpecialToken": {"id": &bos, "type_id": 0}});
            let [a, b] = ["A", "B"].map(|x| json!({"Sequence": {"id": x, "type_id": 0}}));
            json["post_processor"] = json!({
                "type": "TemplateProcessing", "single": [&first, &a], "pair": [&first, &a, &b],
                "special_tokens": {&bos: {"id": &bos, "ids": [id], "tokens": [&bos]}},
            });
        }
        Ok([("tokenizer.json", json.to_string()), ("tokenizer_config.json", settings.to_string())])
    }

    /// What happens at the beginning of a text: yes or no, and by whose decision.
    pub fn bos_note(&self) -> &'static str {
        self.note
    }

    /// The hash (blake3, hexadecimal) of the tokenizer's definition and of its rule about the beginning of a text.
    pub fn hash(&self) -> String {
        let text = self.inner.to_string(false).unwrap_or_default();
        let mut hasher = blake3::Hasher::new();
        hasher.update(text.as_bytes());
        hasher.update(self.note.as_bytes());
        hasher.finalize().to_hex().to_string()
    }

    /// The text of one id as it stands in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// What is wrong when this tokenizer is used with a model of `d_vocab` embeddings, if anything.
    pub(crate) fn check_fits(&self, d_vocab: usize) -> std::result::Result<(), String> {
        if self.size <= d_vocab {
            return Ok(());
        }
        Err(format!("the tokenizer has {} ids, but the model only {d_vocab} embeddings", self.size))
    }

    fn ids(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, special)
            .map_err(|e| Error::text(format!("cannot encode {text:?}: {e}")))?;
        Ok(encoding.get_ids().to_vec())
    }
}

impl Codec for Tokenizer {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.ids(text, true)?;
        let Some(bos) = self.bos else { return Ok(ids) };
        match self.rule {
            Bos::Yes if ids.first() != Some(&bos) => ids.insert(0, bos),
            Bos::No if ids.first() == Some(&bos) && self.ids(text, false)?.first() != Some(&bos) => {
                ids.remove(0);
            }
            Bos::Own | Bos::Yes | Bos::No => {}
        }
        Ok(ids)
    }

    fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        self.ids(text, false)
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        if let Some(id) = ids.iter().find(|id| self.inner.id_to_token(**id).is_none()) {
            return Err(Error::text(format!("there is no token {id}"))
                .with_hint(format!("ids are below {}", self.size)));
        }
        self.inner.decode(ids, false).map_err(|e| Error::text(format!("cannot decode: {e}")))
    }

    fn vocab_size(&self) -> usize {
        self.size
    }

    fn bos(&self) -> Option<u32> {
        self.bos
    }
}

/// What the files beside `tokenizer.json` say.
#[derive(Debug, Default)]
struct Settings {
    bos: Option<String>,
    bos_id: Option<u32>,
    add_bos: Option<bool>,
    add_prefix_space: bool,
    special: Vec<String>,
}

impl Settings {
    fn read(folder: &Path) -> Result<Self> {
        let mut settings = Self::default();
        let path = folder.join("tokenizer_config.json");
        let own = if path.is_file() { Some(read_object(&path)?) } else { None };
        if let Some(map) = &own {
            settings.add_bos = map.get("add_bos_token").and_then(Value::as_bool);
            settings.add_prefix_space = map.get("add_prefix_space").and_then(Value::as_bool).unwrap_or(false);
        }
        let path = folder.join("special_tokens_map.json");
        let special = if path.is_file() { read_object(&path)? } else { Map::new() };
        let maps = [own.as_ref(), Some(&special)];
        settings.bos = maps.iter().flatten().find_map(|m| content(m.get("bos_token")?));
        for key in ["bos_token", "eos_token", "unk_token", "pad_token"] {
            settings.special.extend(maps.iter().flatten().find_map(|m| content(m.get(key)?)));
        }
        settings.special.sort();
        settings.special.dedup();
        let path = folder.join("config.json");
        if own.is_none() && path.is_file() {
            settings.bos_id = read_object(&path)?
                .get("bos_token_id")
                .and_then(Value::as_u64)
                .and_then(|id| u32::try_from(id).ok());
        }
        Ok(settings)
    }
}

/// The text of a token that is given as text or as an object with `content`.
fn content(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(String::from)
}

/// The `tokenizer.json` that GPT-2's two files stand for.
fn from_vocab(vocab: &Path, merges: &Path, settings: &Settings) -> Result<String> {
    let ids = read_object(vocab)?;
    if let Some((token, id)) =
        ids.iter().find(|(_, id)| id.as_u64().is_none_or(|id| id > u64::from(u32::MAX)))
    {
        return Err(Error::file(vocab, format!("token {token:?} has the id {id}")));
    }
    let text = read_text(merges)?;
    let mut pairs = Vec::new();
    for (i, line) in text
        .lines()
        .enumerate()
        .filter(|(i, line)| !(line.is_empty() || *i == 0 && line.starts_with("#version")))
    {
        let Some((a, b)) = line.split_once(' ') else {
            return Err(Error::file(merges, format!("line {}: a merge is two tokens", i + 1)));
        };
        pairs.push(json!([a, b]));
    }
    let usual = ["<|endoftext|>".to_owned()];
    let special: Vec<&String> =
        settings.special.iter().chain(&usual).filter(|t| ids.contains_key(*t)).collect();
    let added: Vec<Value> =
        special.iter().map(|t| added_token(t, ids[t.as_str()].as_u64().unwrap_or(0), true)).collect();
    let split = json!({"type": "ByteLevel", "add_prefix_space": settings.add_prefix_space, "trim_offsets": true, "use_regex": true});
    Ok(byte_level(&ids, &pairs, &added, &split, false).to_string())
}

/// An entry of `added_tokens`.
pub(crate) fn added_token(content: &str, id: u64, special: bool) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": special})
}

/// The `tokenizer.json` of a byte-level BPE.
pub(crate) fn byte_level(
    vocab: &Map<String, Value>,
    merges: &[Value],
    added: &[Value],
    split: &Value,
    ignore_merges: bool,
) -> Value {
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": added, "pre_tokenizer": split, "decoder": bytes,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
                  "fuse_unk": false, "byte_fallback": false, "ignore_merges": ignore_merges, "vocab": vocab, "merges": merges},
    })
}
