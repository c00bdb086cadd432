//! Loading: from what the user names to a [`Model`]. A name is, in this order, `builtin:NAME`, an existing folder, an
//! existing `.gguf` file, or a Hugging Face repository.

mod build;
mod check;
mod dequant;
mod fold;
mod gguf;
mod gguf_tokenizer;
mod hash;
mod hooked;
pub(crate) use hooked::builtin as builtin_hooked;
mod map;
mod safetensors;
mod tensors;

pub(crate) use check::{config as check_config, weights as check_weights};
pub(crate) use hash::weights as hash_weights;
pub(crate) use map::map;
pub(crate) use tensors::Tensors;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::arch::{self, Fields, Names};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::interpbench;
use crate::model::{AnyWeights, Model};
use crate::tokenizer::Tokenizer;

/// The number type a model computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DType {
    /// `f32`.
    #[default]
    F32,
    /// `f64`.
    F64,
    /// Weights rounded to bf16; computed in `f32`.
    Bf16,
}

impl DType {
    /// The name users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Bf16 => "bf16",
        }
    }
}

impl std::str::FromStr for DType {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "f32" => Ok(Self::F32),
            "f64" => Ok(Self::F64),
            "bf16" => Ok(Self::Bf16),
            _ => Err(Error::plan(format!("unknown number type {s}")).with_hint("known: f32, f64, bf16")),
        }
    }
}

/// How far a loading step is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done, such as `loading weights`.
    pub stage: String,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all; 0 where unknown.
    pub total: u64,
}

/// What to tell about progress.
pub type ProgressFn = Arc<dyn Fn(&Progress) + Send + Sync>;

/// How to load a model. The default takes everything as it is stored, in `f32`.
#[derive(Clone, Default)]
pub struct LoadOptions {
    /// Number type.
    pub dtype: DType,
    /// Never use the network.
    pub offline: bool,
    /// Fold norm weights and biases into the linear maps behind them.
    pub fold_norm: bool,
    /// Centre what writes into the residual stream (LayerNorm models) and the unembedding.
    pub center: bool,
    /// Begin texts with the beginning-of-sequence token or not; `None` = as the tokenizer's own configuration says.
    pub bos: Option<bool>,
    /// Called now and then, from any thread.
    pub progress: Option<ProgressFn>,
}

impl fmt::Debug for LoadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions")
            .field("dtype", &self.dtype)
            .field("offline", &self.offline)
            .field("fold_norm", &self.fold_norm)
            .field("center", &self.center)
            .field("bos", &self.bos)
            .finish_non_exhaustive()
    }
}

impl LoadOptions {
    /// Whether weights are rounded to bf16.
    pub(crate) fn rounds(&self) -> bool {
        self.dtype == DType::Bf16
    }

    /// Tells the listener, if there is one.
    pub(crate) fn report(&self, stage: &str, done: u64, total: u64) {
        if let Some(listener) = &self.progress {
            listener(&Progress { stage: stage.into(), done, total });
        }
    }
}

/// The model that `spec` names.
pub(crate) fn load(spec: &str, options: &LoadOptions) -> Result<Model> {
    if let Some(name) = spec.strip_prefix("builtin:") {
        return crate::builtin::load(name, options);
    }
    let path = Path::new(spec);
    if path.is_dir() {
        return load_folder(path, options);
    }
    let is_gguf = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
    if path.is_file() {
        if is_gguf {
            return load_gguf(path, options);
        }
        return Err(Error::file(path, "is not a model").with_hint(
            "a model is a folder with config.json, a .gguf file, a Hugging Face repository, or builtin:NAME",
        ));
    }
    if is_gguf {
        return Err(Error::file(path, "does not exist"));
    }
    // of a path into a folder that is here, something is missing here
    let into_folder =
        spec.matches('/').count() > 1 && spec.split('/').next().is_some_and(|p| Path::new(p).is_dir());
    if crate::hub::is_repository(spec) && !into_folder {
        let folder = crate::hub::fetch(spec, options)?;
        return load_folder(&folder, options).map(|model| model.renamed(spec));
    }
    Err(Error::model(spec, "there is no such folder or file, and this is not the name of a repository")
        .with_hint("a model is a folder with config.json, a .gguf file, a Hugging Face repository such as gpt2 or EleutherAI/pythia-160m, a folder in one such as cybershiptrooper/InterpBench/3, or builtin:NAME"))
}

/// The model in a folder of Hugging Face's or InterpBench's form.
fn load_folder(folder: &Path, options: &LoadOptions) -> Result<Model> {
    let path = folder.join("config.json");
    if !path.is_file() {
        if folder.join(interpbench::SETTINGS).is_file() {
            return hooked::load(folder, options);
        }
        let hint = "a model folder needs config.json, *.safetensors and, for texts, tokenizer.json; or, as InterpBench has it, ll_model_cfg.pkl and ll_model.pth";
        return Err(Error::file(folder, "holds no config.json").with_hint(hint));
    }
    let fields = Fields::new(&path, read_object(&path)?);
    let (config, names) = arch::read(&fields)?;
    check_config(&config).map_err(|m| Error::file(&path, m))?;
    let tensors = safetensors::open_folder(folder)?;
    let tokenizer = Tokenizer::from_folder(folder, options.bos)?;
    let pruned = arch::pruned(&fields, &config)?;
    let parts = Parts {
        name: file_name(folder),
        source: "safetensors",
        path,
        config,
        names,
        pruned,
        tensors,
        tokenizer,
    };
    parts.finish(options).map(|model| model.with_origin(folder))
}

/// The model in a GGUF file.
fn load_gguf(path: &Path, options: &LoadOptions) -> Result<Model> {
    let file = gguf::open(path)?;
    let (config, names) = arch::read_gguf(&file.fields, &file.tensors)?;
    check_config(&config).map_err(|m| Error::file(path, m))?;
    let tokenizer = gguf_tokenizer::read(path, &file, options.bos)?;
    let name = path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
    let parts = Parts {
        name,
        source: "GGUF",
        path: path.into(),
        config,
        names,
        pruned: Vec::new(),
        tensors: file.tensors,
        tokenizer,
    };
    parts.finish(options).map(|model| model.with_origin(path))
}

/// What the formats have in common once their headers are read.
struct Parts {
    name: String,
    source: &'static str,
    path: PathBuf,
    config: Config,
    names: Names,
    pruned: Vec<Vec<usize>>,
    tensors: Tensors,
    tokenizer: Option<Tokenizer>,
}

impl Parts {
    fn finish(self, options: &LoadOptions) -> Result<Model> {
        let (config, names, tensors) = (&self.config, &self.names, &self.tensors);
        if let Some(tokenizer) = &self.tokenizer {
            tokenizer.check_fits(config.d_vocab).map_err(|m| {
                Error::file(&self.path, m).with_hint("the tokenizer belongs to another model")
            })?;
        }
        let (weights, ignored) = match options.dtype {
            DType::F64 => {
                let (mut w, ignored) = build::build::<f64>(tensors, config, names, &self.pruned, options)?;
                change(config, &mut w, options);
                (AnyWeights::F64(Arc::new(w)), ignored)
            }
            DType::F32 | DType::Bf16 => {
                let (mut w, ignored) = build::build::<f32>(tensors, config, names, &self.pruned, options)?;
                change(config, &mut w, options);
                (AnyWeights::F32(Arc::new(w)), ignored)
            }
        };
        let mut notes = notes(&format!("{} ({})", self.source, tensors.kinds().join(", ")), options);
        if !self.pruned.is_empty() {
            let count: usize = self.pruned.iter().map(Vec::len).sum();
            notes.insert("pruned heads".to_owned(), format!("{count} heads are not in the file and are 0"));
        }
        if !ignored.is_empty() {
            tracing::warn!(
                "{}: {} tensors are not part of the model and are ignored: {}",
                self.path.display(),
                ignored.len(),
                ignored.join(", ")
            );
            notes.insert("ignored tensors".to_owned(), ignored.join(", "));
        }
        let mut model = Model::from_parts(&self.name, self.config, weights, self.tokenizer)?;
        model.add_notes(notes);
        model.set_loading_bytes(tensors.converted());
        Ok(model)
    }
}

/// What was decided when a model of this source was loaded.
fn notes(source: &str, options: &LoadOptions) -> BTreeMap<String, String> {
    let rounded = if options.rounds() { " (weights rounded to bf16, computed in f32)" } else { "" };
    let notes = [
        ("source", source.to_owned()),
        ("fold_norm", options.fold_norm.to_string()),
        ("center", options.center.to_string()),
        ("dtype", format!("{}{rounded}", options.dtype.name())),
    ];
    notes.map(|(key, value)| (key.to_owned(), value)).into()
}

pub(crate) fn change<T: ablate_tensor::Real>(
    config: &Config,
    weights: &mut crate::Weights<T>,
    options: &LoadOptions,
) {
    if options.fold_norm {
        fold::fold_norm(weights);
    }
    if options.center {
        fold::center(config, weights);
    }
}

fn file_name(path: &Path) -> String {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    full.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
}

/// The text of a file.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })
}

/// The JSON object in a file.
pub(crate) fn read_object(path: &Path) -> Result<serde_json::Map<String, Value>> {
    match serde_json::from_str(&read_text(path)?) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::file(path, "is not a JSON object")),
        Err(e) => Err(Error::file(path, format!("is not JSON: {e}"))),
    }
}
