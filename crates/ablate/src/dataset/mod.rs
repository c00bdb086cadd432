//! Data sets of clean/corrupt pairs: the behaviour, its counterfactual, and which tokens are right and wrong.
//!
//! A file is read with [`Dataset::read`] (JSON lines, auto-circuit JSON, EAP-IG CSV), checked with [`Dataset::check`] and made
//! into the token rows that a model runs by [`Dataset::batch`].

mod check;
mod import;
mod jsonl;
mod pair;
mod read;
mod split;

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value};

pub(crate) use check::starts_with_bos;
pub use check::{Limits, Reason, Reject, Report};
pub use pair::{Labels, Pair, Positions, Prompt};
pub use read::Format;
pub use split::{Filtered, Test, Train};

use crate::error::Result;

/// The format name in a data set's first line.
pub const FORMAT: &str = "ablate/dataset";
/// The version of the format that is written, and the only one that is read.
pub const VERSION: u64 = 1;

/// What a data set's first line tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// The task that made the rows.
    pub task: Option<String>,
    /// The seed they were made with.
    pub seed: Option<u64>,
    /// Whether a beginning-of-sequence token was in front when positions were counted. Where a model's tokenizer differs,
    /// the positions of text prompts are moved by one; `None` = positions are taken as they are.
    pub bos: Option<bool>,
    /// Candidates that were rejected when the rows were made, by reason.
    pub rejects: BTreeMap<String, u64>,
    /// Everything else; kept as it is.
    pub extra: BTreeMap<String, Value>,
}

impl Header {
    /// Whether the two prompts of a pair may differ in length: what stands for what is then said by the names of positions.
    /// The header's field `align` is `positions`.
    pub fn aligned_by_names(&self) -> bool {
        self.extra.get("align").is_some_and(|v| v == "positions")
    }

    /// The header as one JSON object with sorted keys: the first line of a data set file.
    pub fn to_json(&self) -> Value {
        let mut o: Map<String, Value> = self.extra.clone().into_iter().collect();
        o.insert("format".into(), FORMAT.into());
        o.insert("version".into(), VERSION.into());
        if let Some(task) = &self.task {
            o.insert("task".into(), task.as_str().into());
        }
        if let Some(seed) = self.seed {
            o.insert("seed".into(), seed.into());
        }
        if let Some(bos) = self.bos {
            o.insert("bos".into(), bos.into());
        }
        if !self.rejects.is_empty() {
            o.insert(
                "rejects".into(),
                self.rejects.iter().map(|(k, &v)| (k.clone(), Value::from(v))).collect(),
            );
        }
        o.sort_keys();
        Value::Object(o)
    }
}

/// Pairs of one task, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dataset {
    /// Where the rows come from.
    pub header: Header,
    /// The rows.
    pub pairs: Vec<Pair>,
}

impl Dataset {
    /// A data set of these pairs, of unknown origin.
    pub fn new(pairs: Vec<Pair>) -> Self {
        Self { header: Header::default(), pairs }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The file's text: header line and one line a row, keys sorted.
    pub fn to_jsonl(&self) -> String {
        let mut text = self.header.to_json().to_string();
        text.push('\n');
        for pair in &self.pairs {
            text.push_str(&pair.to_json().to_string());
            text.push('\n');
        }
        text
    }

    /// Writes [`Dataset::to_jsonl`] to `path`: first to a file beside it, then renamed, so that a full disk leaves no half file.
    pub fn write(&self, path: &Path) -> Result<()> {
        crate::files::write_atomic(path, &self.to_jsonl())
    }

    /// Hash of the rows: blake3 of their lines, keys sorted. The header does not count, so a file with and without one agree.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for pair in &self.pairs {
            hasher.update(pair.to_json().to_string().as_bytes());
            hasher.update(b"\n");
        }
        hasher.finalize().to_hex().to_string()
    }
}
