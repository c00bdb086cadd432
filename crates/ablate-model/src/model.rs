//! A loaded model: configuration, weights, tokenizer, and what was decided when it was loaded. It never changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ablate_graph::GraphShape;

use crate::batch::Codec;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::load::{self, LoadOptions};
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;

/// Weights in one of the two number types.
#[derive(Clone, Debug)]
pub enum AnyWeights {
    /// In `f32` (also for bf16, which is rounded weights computed in `f32`).
    F32(Arc<Weights<f32>>),
    /// In `f64`.
    F64(Arc<Weights<f64>>),
}

impl AnyWeights {
    /// `f32` or `f64`.
    pub fn dtype(&self) -> &'static str {
        match self {
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
        }
    }
}

/// A model. Cloning shares the weights.
#[derive(Clone, Debug)]
pub struct Model {
    name: String,
    config: Config,
    weights: AnyWeights,
    tokenizer: Option<Tokenizer>,
    notes: BTreeMap<String, String>,
    origin: Option<PathBuf>,
    loading_bytes: u64,
    hash: OnceLock<String>,
}

impl Model {
    /// Loads what `spec` names: `builtin:NAME`, a folder with `config.json` and safetensors or with `ll_model_cfg.pkl`
    /// and `ll_model.pth` (InterpBench), a `.gguf` file, or a Hugging Face repository or a folder in one, `organisation/name/folder` (the local cache first).
    pub fn load(spec: &str, options: &LoadOptions) -> Result<Self> {
        load::load(spec, options)
    }

    /// A model of these parts, after checking that they fit together.
    pub fn from_parts(
        name: &str,
        config: Config,
        weights: AnyWeights,
        tokenizer: Option<Tokenizer>,
    ) -> Result<Self> {
        load::check_config(&config).map_err(|m| Error::model(name, m))?;
        let fits = match &weights {
            AnyWeights::F32(w) => load::check_weights(&config, w),
            AnyWeights::F64(w) => load::check_weights(&config, w),
        };
        fits.map_err(|m| Error::model(name, m))?;
        if let Some(tokenizer) = &tokenizer {
            tokenizer.check_fits(config.d_vocab).map_err(|m| Error::model(name, m))?;
        }
        let mut notes = BTreeMap::new();
        notes.insert("dtype".to_owned(), weights.dtype().to_owned());
        notes.insert("fold_norm".to_owned(), "false".to_owned());
        notes.insert("center".to_owned(), "false".to_owned());
        let bos = tokenizer.as_ref().map_or("no tokenizer", Tokenizer::bos_note);
        notes.insert("bos".to_owned(), bos.to_owned());
        Ok(Self {
            name: name.to_owned(),
            config,
            weights,
            tokenizer,
            notes,
            origin: None,
            loading_bytes: 0,
            hash: OnceLock::new(),
        })
    }

    /// The model's name: its folder, file or repository.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The numbers that determine its graph of senders and readers.
    pub fn graph_shape(&self) -> GraphShape {
        self.config.graph_shape()
    }

    /// Its weights.
    pub fn weights(&self) -> &AnyWeights {
        &self.weights
    }

    /// Its tokenizer, where it has one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// Its tokenizer as text to ids and back.
    pub fn codec(&self) -> Option<&dyn Codec> {
        self.tokenizer.as_ref().map(|t| t as &dyn Codec)
    }

    /// The hash (blake3, hexadecimal) of its weights' names, shapes and numbers as loaded; the same for the same
    /// numbers whatever file they came from, in `f32` or `f64`. Computed at the first call.
    pub fn hash(&self) -> &str {
        self.hash.get_or_init(|| match &self.weights {
            AnyWeights::F32(w) => load::hash_weights(w),
            AnyWeights::F64(w) => load::hash_weights(w),
        })
    }

    /// The hash of its tokenizer's definition.
    pub fn tokenizer_hash(&self) -> Option<String> {
        self.tokenizer.as_ref().map(Tokenizer::hash)
    }

    /// Decisions of loading, by name: `source` (format and number types), `dtype`, `fold_norm`, `center`, `bos`,
    /// and `ignored tensors` where the file has some that are no part of the model.
    pub fn notes(&self) -> &BTreeMap<String, String> {
        &self.notes
    }

    /// The folder or `.gguf` file that it was loaded from; `None` for built-in models and for models made of parts.
    pub fn origin(&self) -> Option<&Path> {
        self.origin.as_deref()
    }

    /// The model, loaded from `path`.
    #[must_use]
    pub(crate) fn with_origin(mut self, path: &Path) -> Self {
        self.origin = Some(path.to_path_buf());
        self
    }

    /// Bytes of files that were in memory beside the weights while these were converted from them; 0 for weights that
    /// are used where they lie in the file.
    pub fn loading_bytes(&self) -> u64 {
        self.loading_bytes
    }

    /// Sets [`Model::loading_bytes`].
    pub(crate) fn set_loading_bytes(&mut self, bytes: u64) {
        self.loading_bytes = bytes;
    }

    /// Adds to the notes.
    pub(crate) fn add_notes(&mut self, notes: BTreeMap<String, String>) {
        self.notes.extend(notes);
    }

    /// The model under another name.
    #[must_use]
    pub(crate) fn renamed(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }
}
