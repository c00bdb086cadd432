//! `ablate/scores` of node effects.

use ablate_graph::format::ScoresFile;
use ablate_graph::{Graph, Level, Node, ScoreRow, Scores};
use serde_json::Value;

use super::{Base, Cost, value};
use crate::effects::Effect;
use crate::error::{Error, Result};
use crate::manifest::Manifest;

/// Scores of `nodes` from their effects; with `per_example`, rows keep the metric of every example.
///
/// # Errors
/// Numbers that are not finite; nodes that are not of the graph.
pub fn node_scores(graph: &Graph, nodes: &[Node], effects: &[Effect], per_example: bool) -> Result<Scores> {
    let row = |(node, effect): (&Node, &Effect)| {
        let id = graph.node_id(*node)?;
        let mut row = ScoreRow::from_examples(id.0, &effect.scores, &effect.metrics)?;
        row.per_example = per_example.then(|| effect.metrics.clone());
        Some(row)
    };
    let rows: Option<Vec<ScoreRow>> = nodes.iter().zip(effects).map(row).collect();
    let rows = rows.ok_or_else(|| Error::argument("internal: a score without rows", "report this"))?;
    Ok(Scores::new(graph, Level::Node, rows)?)
}

/// The file of scores.
///
/// # Errors
/// As [`super::result`].
pub fn scores_file(
    scores: Scores,
    method: Value,
    metric: &str,
    base: &Base,
    cost: &Cost,
    warnings: &[String],
    manifest: &Manifest,
) -> Result<ScoresFile> {
    let mut file = ScoresFile::new(scores);
    file.method = method;
    metric.clone_into(&mut file.metric);
    file.base = value(base)?;
    file.cost = value(cost)?;
    file.manifest = value(manifest)?;
    file.extra.insert("warnings".into(), Value::from(warnings.to_vec()));
    Ok(file)
}
