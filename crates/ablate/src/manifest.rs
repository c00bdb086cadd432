//! How a result was made: what stands in every result file beside the result, so that a file alone is enough to run it again.

use std::collections::BTreeMap;

use ablate_model::Model;
use serde::Serialize;
use serde_json::{Value, json};

/// The model of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelStamp {
    /// Its name: folder, file, repository or `builtin:NAME`.
    pub name: String,
    /// Hash of its weights.
    pub hash: String,
    /// Hash of its tokenizer.
    pub tokenizer: Option<String>,
    /// Decisions of loading.
    pub notes: BTreeMap<String, String>,
}

impl ModelStamp {
    /// The stamp of a loaded model.
    pub fn of(model: &Model) -> Self {
        Self {
            name: model.name().to_owned(),
            hash: model.hash().to_owned(),
            tokenizer: model.tokenizer_hash(),
            notes: model.notes().clone(),
        }
    }
}

/// The rows of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DataStamp {
    /// The file, as the user named it.
    pub file: String,
    /// Hash of the rows that were used.
    pub hash: String,
    /// Number of rows used.
    pub rows: usize,
    /// Number of rows in the file.
    pub of: usize,
    /// Whether only rows that the model gets right were used.
    pub filtered: bool,
    /// The task that made them.
    pub task: Option<String>,
}

/// The choices behind a number. Everything that is not said here is as docs/CONVENTIONS.md says.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Conventions {
    /// What is measured.
    pub metric: String,
    /// What an ablated part is replaced by.
    pub ablation: Option<String>,
    /// Factor on it.
    pub scale: Option<f64>,
    /// Over which rows means are taken.
    pub mean_set: Option<String>,
    /// At which positions.
    pub positions: Option<String>,
    /// Where outputs are read, where that is not the last token of every row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reads: Option<String>,
    /// `recomputed` or `frozen`.
    pub norms: String,
    /// What output biases do.
    pub output_biases: String,
    /// Beginning-of-sequence token.
    pub bos: String,
    /// `as stored`, or what was folded.
    pub weights: String,
}

impl Conventions {
    /// Those of a model and a metric, without ablation.
    pub fn of(model: &Model, metric: &str) -> Self {
        let note = |name: &str| model.notes().get(name).map_or("", String::as_str);
        let folded: Vec<&str> = [("fold_norm", "norms folded"), ("center", "centred")]
            .into_iter()
            .filter(|(name, _)| note(name) == "true")
            .map(|(_, text)| text)
            .collect();
        Self {
            metric: metric.to_owned(),
            norms: "recomputed".to_owned(),
            output_biases: "kept".to_owned(),
            bos: note("bos").to_owned(),
            weights: if folded.is_empty() { "as stored".to_owned() } else { folded.join(", ") },
            ..Self::default()
        }
    }

    /// All in one line, as every command prints it.
    pub fn line(&self) -> String {
        let mut parts = Vec::new();
        if !self.metric.is_empty() {
            let at = self.reads.as_deref().unwrap_or("the last token");
            parts.push(format!("metric {} at {at}, higher = more of the behaviour", self.metric));
            parts.push("score = base - edited, above 0 = supports it".to_owned());
        }
        if let Some(ablation) = &self.ablation {
            let scale = self.scale.filter(|s| *s != 1.0).map_or(String::new(), |s| format!("{s} × "));
            let set = self.mean_set.as_ref().map_or(String::new(), |s| format!(" over {s}"));
            let at = self.positions.as_ref().map_or(String::new(), |p| format!(" at {p} positions"));
            parts.push(format!("ablated = {scale}{ablation}{set}{at}"));
        }
        if !self.norms.is_empty() {
            parts.push(format!("norms {}", self.norms));
        }
        if !self.output_biases.is_empty() {
            parts.push(format!("output biases {}", self.output_biases));
        }
        parts.push(format!("weights {}", self.weights));
        parts.push(format!("bos: {}", self.bos));
        parts.join("; ")
    }
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Manifest {
    /// Name and version of the program.
    pub program: String,
    /// The command line.
    pub command: Vec<String>,
    /// The model, where there is one.
    pub model: Option<ModelStamp>,
    /// The data, where there are any.
    pub data: Option<DataStamp>,
    /// The rows that means were taken over, where they are others.
    pub mean_data: Option<DataStamp>,
    /// Held-out rows.
    pub test_data: Option<DataStamp>,
    /// Seed of every random choice.
    pub seed: u64,
    /// Number type.
    pub dtype: String,
    /// Where it was computed.
    pub device: String,
    /// Threads.
    pub threads: usize,
    /// The choices behind the numbers.
    pub conventions: Conventions,
    /// When it was started, in UTC.
    pub started: String,
    /// When it was done, in UTC.
    pub ended: String,
}

impl Manifest {
    /// A name of everything that decides the numbers of a run with these `settings`: two runs with one fingerprint may share
    /// finished variants. File names, the command line and times do not count.
    pub fn fingerprint(&self, settings: &Value) -> String {
        let data = |stamp: &Option<DataStamp>| stamp.as_ref().map(|d| d.hash.clone());
        let model = self.model.as_ref().map(|m| json!([m.hash, m.tokenizer, m.notes]));
        let parts = json!([
            self.program,
            model,
            data(&self.data),
            data(&self.mean_data),
            self.seed,
            self.dtype,
            self.device,
            self.threads,
            self.conventions,
            settings
        ]);
        blake3::hash(parts.to_string().as_bytes()).to_hex().to_string()
    }
}
