//! Reading a data set file in any of the formats, told apart by name and content.

use std::path::Path;

use serde_json::Value;

use super::{
    Dataset, import,
    jsonl::{self, Fields, Place},
};
use crate::error::{At, Error, Result};

/// The formats of data set files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The project's own: one JSON object a line.
    JsonLines,
    /// auto-circuit: one JSON object with a list `prompts`.
    AutoCircuit,
    /// EAP-IG: columns `clean,corrupted,correct_idx,incorrect_idx`.
    EapIgCsv,
}

impl Format {
    /// The format of a file with this name and content: `.csv` is a table, JSON is told apart by what is in it.
    pub fn of(path: &Path, text: &str) -> Self {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        let first = text.lines().find(|l| !l.trim().is_empty()).unwrap_or_default().trim();
        let named_json = matches!(extension.as_str(), "json" | "jsonl" | "ndjson");
        if extension == "csv"
            || (!named_json && !first.starts_with('{') && first.contains("clean") && first.contains(','))
        {
            return Self::EapIgCsv;
        }
        match serde_json::from_str::<Fields>(first) {
            Ok(fields) if !fields.0.iter().any(|(k, _)| k == "prompts") => Self::JsonLines,
            Ok(_) => Self::AutoCircuit,
            // an object over several lines
            Err(e)
                if e.is_eof()
                    && serde_json::from_str::<Value>(text).is_ok_and(|v| v.get("prompts").is_some()) =>
            {
                Self::AutoCircuit
            }
            Err(_) if extension == "json" => Self::AutoCircuit,
            Err(_) => Self::JsonLines,
        }
    }
}

impl Dataset {
    /// Reads a data set file. The format follows from its name and content (see [`Format::of`]).
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
        Self::parse(path, &bytes, None)
    }

    /// Reads the content of a data set file; `path` is for error messages and, without `format`, for [`Format::of`].
    pub fn parse(path: &Path, bytes: &[u8], format: Option<Format>) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let line = bytes[..e.valid_up_to()].split(|&b| b == b'\n').count();
            Place { path, at: Some(At::Line(line)) }.error(
                None,
                "not UTF-8 text",
                "data sets are text: JSON lines, JSON or CSV",
            )
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match format.unwrap_or_else(|| Format::of(path, text)) {
            Format::JsonLines => jsonl::parse(path, text),
            Format::AutoCircuit => import::auto_circuit(path, text),
            Format::EapIgCsv => import::eap_ig(path, text),
        }
    }
}
