//! Result files: one wire structure a kind of result. These are what other programs hold on to; the types inside the library may
//! change without them. Every file is an object with `format`, `version`, the fields of its kind, `warnings` and `manifest`; keys
//! are sorted, numbers finite.

mod capture;
mod case;
mod comparison;
mod compress;
mod demo;
mod evaluation;
mod experiment;
mod grid;
mod heads;
mod interactions;
mod model;
mod predict;
mod scores;
mod scrub;
mod signals;
mod task;
mod trace;

use ablate_graph::{format, stats};
use serde::Serialize;
use serde_json::{Map, Value};

pub use capture::{CaptureReport, CaptureRow};
pub use case::{CaseEffectRow, CaseReport, CaseRow, CasesReport, TrainingReport};
pub use comparison::{ComparisonReport, Measured, PairReport, SetReport};
pub use compress::{BeforeAfter, CompressReport, HeadCount, LayerRow, MlpCount, Steps, TextReport, TextRow};
pub use demo::{DemoReport, EffectRow, Together};
pub use evaluation::{Against, EvaluationReport};
pub use experiment::{Hashed, RunReport, Status, StepReport};
pub use grid::{GridReport, GridRow};
pub use heads::{
    AttentionRow, AttributionPart, AttributionRow, BehaviourPart, ClusterRow, ClustersPart, CopyPart,
    HeadRow, HeadsReport, LensPart, RandomPart, ScorePart,
};
pub use interactions::{IndexRow, IndicesPart, InteractionsReport, PairRow, TermRow};
pub use model::{InspectReport, ModelRow, ModelsReport};
pub use predict::{At, PredictReport, TopToken};
pub use scores::{node_scores, scores_file};
pub use scrub::{ScrubNode, ScrubReport, ScrubSize, ScrubValue};
pub use signals::{BackupRow, BackupsReport, IntervalPart, SeenPart, SignalRow, SignalsReport};
pub use task::TaskReport;
pub use trace::{
    CircuitPart, CurveReport, CurveRow, HeldOut, LeftOut, OrderReport, PruneReport, PruneRow, Survival,
};

use crate::error::{Error, Result};
use crate::manifest::Manifest;

/// The metric of the unedited runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Base {
    /// Mean over the clean prompts.
    pub clean: f64,
    /// Its standard error.
    pub std_err: f64,
    /// Mean over the corrupt prompts, where all rows have one.
    pub corrupt: Option<f64>,
    /// Number of rows.
    pub n: usize,
    /// The metric of every clean prompt.
    pub per_example: Vec<f64>,
    /// The metric of every corrupt prompt.
    pub corrupt_per_example: Option<Vec<f64>>,
}

impl Base {
    /// From the metric of every row.
    pub fn new(clean: Vec<f64>, corrupt: Option<Vec<f64>>) -> Self {
        let (mean, std_err) = stats::mean_and_std_err(&clean).unwrap_or_default();
        Self {
            clean: mean,
            std_err,
            corrupt: corrupt.as_deref().and_then(stats::mean),
            n: clean.len(),
            per_example: clean,
            corrupt_per_example: corrupt,
        }
    }

    /// What makes results on these rows doubtful, in sentences. `limits` = whether the metric is 0 or negative by nature (`kl`).
    pub fn doubts(&self, metric: crate::Metric) -> Vec<String> {
        let mut doubts = Vec::new();
        doubts.extend(few_rows(self.n));
        if metric.compares() {
            return doubts;
        }
        let wrong = self.per_example.iter().filter(|x| **x <= 0.0).count();
        if matches!(metric, crate::Metric::LogitDiff | crate::Metric::ProbDiff) && 2 * wrong >= self.n {
            doubts.push(format!(
                "the model gets {wrong} of {} rows wrong: it hardly does the task (--filter-correct keeps the others)",
                self.n
            ));
        }
        if let Some(corrupt) = &self.corrupt_per_example {
            let gaps: Vec<f64> = self.per_example.iter().zip(corrupt).map(|(a, b)| a - b).collect();
            let (gap, error) = stats::mean_and_std_err(&gaps).unwrap_or_default();
            if gap.abs() <= 2.0 * error {
                doubts.push(format!(
                    "clean and corrupt hardly differ ({gap:.4} ± {error:.4}): there is little behaviour to find"
                ));
            }
        }
        doubts
    }
}

/// Fewer rows than this are pointed out.
const FEW_ROWS: usize = 20;

/// What makes results on `n` rows doubtful, where these are few.
pub fn few_rows(n: usize) -> Option<String> {
    let rows = if n == 1 { "row" } else { "rows" };
    (n < FEW_ROWS).then(|| format!("only {n} {rows}: standard errors are rough, take at least {FEW_ROWS}"))
}

/// What a result took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Forward runs of one example each, base runs included.
    pub forward: u64,
    /// Backward runs of one example each.
    pub backward: u64,
    /// Edited runs over all rows.
    pub evaluations: u64,
    /// Seconds from start to end.
    pub seconds: f64,
}

/// The JSON of a result: the header of its kind, its fields, warnings and manifest.
///
/// # Errors
/// Numbers that are not finite.
pub fn result(kind: &str, body: &impl Serialize, warnings: &[String], manifest: &Manifest) -> Result<Value> {
    let mut map = format::header(kind);
    map.extend(object(body)?);
    map.insert("warnings".into(), Value::from(warnings.to_vec()));
    map.insert("manifest".into(), value(manifest)?);
    Ok(Value::Object(map))
}

/// The text of a result file.
pub fn text(value: &Value) -> String {
    format::write_json(value)
}

/// A wire structure as JSON.
///
/// # Errors
/// As [`result`].
pub fn value(body: &impl Serialize) -> Result<Value> {
    serde_json::to_value(body).map_err(|e| Error::argument(format!("internal: {e}"), "report this"))
}

fn object(body: &impl Serialize) -> Result<Map<String, Value>> {
    match value(body)? {
        Value::Object(map) => Ok(map),
        _ => Err(Error::argument("internal: a result that is no object", "report this")),
    }
}
