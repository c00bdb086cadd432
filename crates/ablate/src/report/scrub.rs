//! `ablate/scrub`: what a hypothesis recovers, and what was drawn for each of its nodes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Base, Cost};
use crate::verify::Bound;

/// A node of the hypothesis.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScrubNode {
    /// Its name.
    pub name: String,
    /// The node it is below.
    pub parent: Option<String>,
    /// Number of nodes above it.
    pub depth: usize,
    /// Its paths, as written.
    pub paths: Vec<String>,
    /// Components at which they begin.
    pub components: Vec<String>,
    /// How its rows are drawn.
    pub sampler: String,
    /// How rows are drawn for what is below none of its children; `null` of a leaf.
    pub others: Option<String>,
    /// Of the reference rows, how many drew their parent's row itself.
    pub own: usize,
    /// Candidates of the reference row that has fewest; `null` where nothing is chosen.
    pub fewest: Option<usize>,
    /// The row drawn for each reference row: numbers of rows of the data, from 0; larger ones are in `added`.
    pub rows: Vec<u32>,
    /// The same for what is below none of its children; `null` of a leaf.
    pub other_rows: Option<Vec<u32>>,
}

/// Mean and standard error of a metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScrubValue {
    /// Mean over rows.
    pub mean: f64,
    /// Its standard error.
    pub std_err: f64,
    /// Of every row.
    pub per_example: Vec<f64>,
}

impl ScrubValue {
    /// Of the metric of every row.
    pub fn new(per_example: Vec<f64>) -> Self {
        let (mean, std_err) = ablate_graph::stats::mean_and_std_err(&per_example).unwrap_or_default();
        Self { mean, std_err, per_example }
    }
}

/// What a scrub computed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ScrubSize {
    /// Rows run plainly.
    pub plain_rows: usize,
    /// (component, assignment) pairs beside them.
    pub cells: usize,
    /// The most assignments of one component.
    pub width: usize,
    /// Floating-point operations of all products.
    pub flops: f64,
    /// Parts that the rows were evaluated in.
    pub blocks: usize,
}

/// A scrub.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScrubReport {
    /// What the hypothesis says.
    pub title: String,
    /// The metric's name.
    pub metric_name: String,
    /// `pinned` or `resampled`.
    pub labels: String,
    /// What 0 % recovered is.
    pub baseline_name: String,
    /// The metric under the hypothesis.
    pub scrubbed: ScrubValue,
    /// Of the plain model.
    pub original: ScrubValue,
    /// Of the baseline.
    pub baseline: ScrubValue,
    /// `(scrubbed − baseline) / (original − baseline)`; `null` where original and baseline coincide.
    pub recovered: Option<f64>,
    /// Bootstrap interval of it, 95%.
    pub interval: Option<(f64, f64)>,
    /// The nodes, parents first.
    pub nodes: Vec<ScrubNode>,
    /// Rows drawn that are not clean rows of the data: their tokens, by number.
    pub added: BTreeMap<u32, Vec<u32>>,
    /// What was computed.
    pub size: ScrubSize,
    /// Bounds that were asked for.
    pub bounds: Vec<Bound>,
    /// The unedited runs.
    pub base: Base,
    /// What it took.
    pub cost: Cost,
}
