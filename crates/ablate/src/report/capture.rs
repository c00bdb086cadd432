//! `ablate/capture`: activations in files.

use serde::Serialize;

/// What was captured and where it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaptureReport {
    /// The folder, or the one file.
    pub output: String,
    /// `npy` or `safetensors`.
    pub form: String,
    /// `clean` or `corrupt`: the text that was run.
    pub side: String,
    /// The positions, as they were asked for.
    pub positions: String,
    /// Number of rows.
    pub rows: usize,
    /// Tokens of the longest row: how long padded axes are.
    pub longest: usize,
    /// Tokens of the shortest row.
    pub shortest: usize,
    /// Bytes of all arrays.
    pub bytes: u64,
    /// The arrays, activations in the order of computation.
    pub arrays: Vec<CaptureRow>,
}

/// An array.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaptureRow {
    /// The name of its hook, or `tokens`, `lengths`, `positions`.
    pub name: String,
    /// Its file, from the folder that the report is in.
    pub file: String,
    /// The names of its axes.
    pub axes: Vec<String>,
    /// Their lengths.
    pub shape: Vec<usize>,
    /// The type of its numbers: `F32`, `F64` or `I64`.
    pub dtype: String,
}
