//! `ablate/model` and `ablate/models`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// A model's shape.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InspectReport {
    /// Its name.
    pub name: String,
    /// Hash of its weights.
    pub hash: String,
    /// Settings by name.
    pub config: BTreeMap<String, Value>,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes they take as loaded.
    pub weight_bytes: u64,
    /// Fingerprint of the graph.
    pub graph: String,
    /// Number of senders, readers and edges, and of heads and MLPs.
    pub counts: BTreeMap<String, u64>,
    /// The tokenizer, where there is one.
    pub tokenizer: Option<BTreeMap<String, Value>>,
    /// Decisions of loading.
    pub notes: BTreeMap<String, String>,
}

/// The models and architectures that can be loaded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelsReport {
    /// Models inside the program.
    pub builtin: Vec<ModelRow>,
    /// Architectures that are read from folders.
    pub architectures: Vec<String>,
}

/// A model inside the program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelRow {
    /// What to write on the command line.
    pub name: String,
    /// What it is.
    pub about: String,
}
