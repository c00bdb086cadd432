//! `ablate/grid`: activation patching by layer and position or head.

use serde::Serialize;
use serde_json::Value;

use super::{Base, Cost};

/// A grid.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GridReport {
    /// What was patched.
    pub site: String,
    /// `denoise` or `noise`.
    pub direction: String,
    /// The two axes.
    pub by: Vec<String>,
    /// The metric's name.
    pub metric: String,
    /// The unedited runs.
    pub base: Base,
    /// One row a cell, layers first.
    pub rows: Vec<GridRow>,
    /// What it took.
    pub cost: Cost,
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GridRow {
    /// Layer.
    pub layer: usize,
    /// Position: an index, or a name of the data set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Value>,
    /// Query head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<usize>,
    /// Mean metric of the patched run.
    pub metric: f64,
    /// How much of the behaviour the cell carries: denoising, metric - corrupt; noising, clean - metric.
    pub score: f64,
    /// Standard error of the score.
    pub std_err: f64,
    /// Number of rows.
    pub n: usize,
}
