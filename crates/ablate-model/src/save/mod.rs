//! Saving: from a model in memory to a Hugging Face folder, the counterpart of [`load`](crate::load). The settings are
//! written by the architecture's own table and read back before anything else: what a format cannot say is an error,
//! never a silently different model.

pub(crate) mod file;
mod format;
mod tensors;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use ablate_tensor::Real;
use serde_json::{Map, Value};

pub(crate) use format::difference;
pub use format::{Abilities, Heads, abilities};

use crate::arch::{self, Fields, Has, Names};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::load::read_object;
use crate::model::{AnyWeights, Model};
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;

/// The number type of a written file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Stored {
    /// `f64`.
    F64,
    /// `f32`.
    #[default]
    F32,
    /// `f16`; numbers beyond its range are refused.
    F16,
    /// `bf16`.
    Bf16,
}

impl Stored {
    /// Names that users write.
    pub const NAMES: [&'static str; 4] = ["f64", "f32", "f16", "bf16"];

    /// The type of this name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "f64" => Some(Self::F64),
            "f32" => Some(Self::F32),
            "f16" => Some(Self::F16),
            "bf16" => Some(Self::Bf16),
            _ => None,
        }
    }

    /// The type in which `model` is best kept: that of its file if all of it is f16 or all of it bf16, else `f32`.
    pub fn of(model: &Model) -> Self {
        match model.notes().get("source").map(String::as_str) {
            Some("safetensors (BF16)") => Self::Bf16,
            Some("safetensors (F16)") => Self::F16,
            _ => Self::F32,
        }
    }

    /// The name users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Bytes of one number.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The name in `config.json`.
    fn torch_name(self) -> &'static str {
        match self {
            Self::F64 => "float64",
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }
}

/// What is saved.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint<'a> {
    /// Its shape.
    pub config: &'a Config,
    /// Its weights, of that shape.
    pub weights: &'a AnyWeights,
    /// For each layer the heads that the file leaves out; empty = none. Only for [`Heads::Pruned`].
    pub pruned: &'a [Vec<usize>],
    /// Its tokenizer, written where `origin` is no folder.
    pub tokenizer: Option<&'a Tokenizer>,
    /// A folder whose tokenizer files are copied as they are, and whose special token ids are taken over.
    pub origin: Option<&'a Path>,
}

/// What was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The format's `model_type`.
    pub model_type: String,
    /// Number of weights written.
    pub parameters: u64,
    /// Bytes of `model.safetensors`.
    pub bytes: u64,
    /// Names of the files, in the order written.
    pub files: Vec<String>,
}

/// Files beside the weights that are copied.
const COPIED: [&str; 9] = [
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
];

/// Entries of a `config.json` that say nothing about the forward pass and are taken over.
const TAKEN_OVER: [&str; 3] = ["bos_token_id", "eos_token_id", "pad_token_id"];

/// Writes `checkpoint` to `folder` as `config.json`, `model.safetensors` (numbers as `stored`) and tokenizer files. The
/// folder is made where it is missing; weights and tokenizer files of another model in it are removed. The settings
/// are written last, so that a folder whose writing was cut short is no model.
///
/// # Errors
/// A model that no format can say; numbers beyond the range of `stored`; a folder that cannot be written.
pub fn save(checkpoint: &Checkpoint<'_>, folder: &Path, stored: Stored) -> Result<Saved> {
    let (settings, names) = settings(checkpoint, folder, stored)?;
    if let (Some(Ok(from)), Ok(to)) = (checkpoint.origin.map(Path::canonicalize), folder.canonicalize())
        && from.starts_with(&to)
    {
        return Err(
            Error::file(folder, "holds the model that is being saved").with_hint("write to another folder")
        );
    }
    fs::create_dir_all(folder).map_err(|source| Error::Write { path: folder.into(), source })?;
    clear(folder)?;
    let path = folder.join("model.safetensors");
    let (parameters, bytes) = match checkpoint.weights {
        AnyWeights::F32(w) => weights(checkpoint, w, &names, &path, stored)?,
        AnyWeights::F64(w) => weights(checkpoint, w, &names, &path, stored)?,
    };
    let mut files = vec!["model.safetensors".to_owned()];
    tokenizer(checkpoint, folder, &mut files)?;
    let text = serde_json::to_string_pretty(&Value::Object(settings.clone())).unwrap_or_default();
    file::write(&folder.join("config.json"), |out| out.write_all(format!("{text}\n").as_bytes()))?;
    files.push("config.json".into());
    let model_type = settings.get("model_type").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Saved { model_type, parameters, bytes, files })
}

/// Checks that `checkpoint` can be saved, without writing anything; the format's `model_type`.
///
/// # Errors
/// A model that no format can say.
pub fn check(checkpoint: &Checkpoint<'_>) -> Result<String> {
    let (settings, names) = settings(checkpoint, Path::new("."), Stored::F32)?;
    match checkpoint.weights {
        AnyWeights::F32(w) => tensors::check(w, &names),
        AnyWeights::F64(w) => tensors::check(w, &names),
    }
    .map_err(|message| Error::model(&checkpoint.config.arch, message))?;
    Ok(settings.get("model_type").and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// Number of weights of a model, an unembedding that is the embedding counted once, and Phi's one norm of a layer.
pub fn parameters(model: &Model) -> u64 {
    let one_norm = model.config().arch == "phi";
    match model.weights() {
        AnyWeights::F32(w) => tensors::parameters(w, one_norm),
        AnyWeights::F64(w) => tensors::parameters(w, one_norm),
    }
}

/// Bytes of the weights of `model` in the files that it was loaded from; `None` for models of no file.
pub fn stored_bytes(model: &Model) -> Option<u64> {
    let origin = model.origin()?;
    if origin.is_file() {
        return fs::metadata(origin).ok().map(|m| m.len());
    }
    for name in ["model.safetensors", crate::interpbench::WEIGHTS] {
        if let Ok(meta) = fs::metadata(origin.join(name)) {
            return Some(meta.len());
        }
    }
    let shards = fs::read_dir(origin).ok()?.filter_map(std::result::Result::ok);
    let shards = shards.filter(|e| e.path().extension().is_some_and(|x| x == "safetensors"));
    Some(shards.filter_map(|e| fs::metadata(e.path()).ok()).map(|m| m.len()).sum())
}

/// The `config.json` of a checkpoint, and where its weights go; read back and compared.
fn settings(
    checkpoint: &Checkpoint<'_>,
    folder: &Path,
    stored: Stored,
) -> Result<(Map<String, Value>, Names)> {
    let config = checkpoint.config;
    let mut has = match checkpoint.weights {
        AnyWeights::F32(w) => tensors::survey(w),
        AnyWeights::F64(w) => tensors::survey(w),
    };
    has.pruned = checkpoint.pruned.to_vec();
    let name = format::model_type(config, &has)?;
    let written = format::normal(config, name);
    let cannot = |message: String| {
        Error::model(&config.arch, message)
            .with_hint("no Hugging Face format computes what this model computes, so it cannot be saved")
    };
    let mut map = arch::write(name, &written, &has)
        .ok_or_else(|| cannot(format!("architecture {name} cannot be written")))?;
    map.insert("torch_dtype".into(), Value::from(stored.torch_name()));
    extras(checkpoint, &mut map)?;
    let fields = Fields::new(&folder.join("config.json"), map.clone());
    let (back, names) = arch::read(&fields)?;
    if let Some(what) = format::difference(&written, &back) {
        return Err(cannot(format!("its {what} cannot be said by a {name} config.json")));
    }
    if arch::pruned(&fields, &back)? != has.pruned {
        return Err(cannot(format!("heads cannot be left out of a {name} file")));
    }
    Ok((map, names))
}

/// Special token ids: of the folder that the model is from, else of its tokenizer.
fn extras(checkpoint: &Checkpoint<'_>, map: &mut Map<String, Value>) -> Result<()> {
    let path = checkpoint.origin.map(|folder| folder.join("config.json")).filter(|p| p.is_file());
    if let Some(path) = path {
        let old = read_object(&path)?;
        for key in TAKEN_OVER {
            if let Some(value) = old.get(key) {
                map.insert(key.into(), value.clone());
            }
        }
        return Ok(());
    }
    let tokenizer = checkpoint.tokenizer;
    map.insert("bos_token_id".into(), Value::from(tokenizer.and_then(crate::Codec::bos)));
    map.insert("eos_token_id".into(), Value::from(tokenizer.and_then(Tokenizer::eos)));
    map.insert("pad_token_id".into(), Value::Null);
    Ok(())
}

fn weights<T: Real>(
    checkpoint: &Checkpoint<'_>,
    w: &Weights<T>,
    names: &Names,
    path: &Path,
    stored: Stored,
) -> Result<(u64, u64)> {
    tensors::check(w, names).map_err(|message| Error::model(&checkpoint.config.arch, message))?;
    let list = tensors::tensors(checkpoint.config, w, names, checkpoint.pruned);
    file::safetensors(path, &list, stored)
}

/// Removes the weights and tokenizer files of another model.
fn clear(folder: &Path) -> Result<()> {
    let old: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(|source| Error::Read { path: folder.into(), source })?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            name.ends_with(".safetensors")
                || name.ends_with(".safetensors.index.json")
                || name == "config.json"
                || COPIED.contains(&name.as_str())
        })
        .collect();
    for path in old {
        fs::remove_file(&path).map_err(|source| Error::Write { path, source })?;
    }
    Ok(())
}

/// Copies the tokenizer files of a folder, or writes those of a tokenizer.
fn tokenizer(checkpoint: &Checkpoint<'_>, folder: &Path, files: &mut Vec<String>) -> Result<()> {
    if let Some(origin) = checkpoint.origin.filter(|o| o.is_dir()) {
        for name in COPIED {
            let (from, to) = (origin.join(name), folder.join(name));
            if from.is_file() {
                let bytes = fs::read(&from).map_err(|source| Error::Read { path: from, source })?;
                file::write(&to, |out| out.write_all(&bytes))?;
                files.push(name.into());
            }
        }
        return Ok(());
    }
    let Some(tokenizer) = checkpoint.tokenizer else { return Ok(()) };
    for (name, text) in tokenizer.files()? {
        file::write(&folder.join(name), |out| out.write_all(text.as_bytes()))?;
        files.push(name.into());
    }
    Ok(())
}

impl Has {
    /// Whether any map has a bias that Llama's plain form lacks.
    fn new_biases(&self) -> bool {
        self.o_bias || self.mlp_bias
    }
}
