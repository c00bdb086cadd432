//! Scores: one number with its uncertainty for each node or edge that was measured.

use crate::circuit::Level;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::node::{EdgeId, NodeId};
use crate::stats;

/// What was measured of one node or edge.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreRow {
    /// A [`NodeId`] or [`EdgeId`], by the level of the scores.
    pub id: u32,
    /// Importance: above 0 = it supports the behaviour.
    pub score: f64,
    /// The metric of the edited run, mean over examples.
    pub metric: f64,
    /// Standard error of the score.
    pub std_err: f64,
    /// Number of examples; 0 where a foreign file does not say.
    pub n: usize,
    /// The metric of each example, if kept (then `n` values).
    pub per_example: Option<Vec<f64>>,
}

impl ScoreRow {
    /// A row with a score and nothing else.
    pub fn new(id: u32, score: f64) -> Self {
        Self { id, score, metric: 0.0, std_err: 0.0, n: 0, per_example: None }
    }

    /// A row from the score and the metric of every example: means, standard error and count. `None` without
    /// examples or when the lists differ in length.
    pub fn from_examples(id: u32, scores: &[f64], metrics: &[f64]) -> Option<Self> {
        if scores.len() != metrics.len() {
            return None;
        }
        let (score, std_err) = stats::mean_and_std_err(scores)?;
        let metric = stats::mean(metrics)?;
        Some(Self { id, score, metric, std_err, n: scores.len(), per_example: None })
    }
}

/// Scores of some or all nodes, or of some or all edges, of a graph: finite, sorted by id, each at most once.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    graph: Graph,
    level: Level,
    rows: Vec<ScoreRow>,
}

impl Scores {
    /// Checks and sorts rows. Refuses ids outside the graph, repeats, numbers that are not finite and
    /// per-example lists whose length is not `n`.
    pub fn new(graph: &Graph, level: Level, mut rows: Vec<ScoreRow>) -> Result<Self> {
        let total = level.total(graph);
        for row in &rows {
            if row.id as usize >= total {
                return Err(Error::IdOutOfRange { kind: level, id: row.id, total });
            }
            check_row(graph, level, row)?;
        }
        rows.sort_by_key(|row| row.id);
        if let Some(pair) = rows.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(Error::Duplicate { name: level.name(graph, pair[0].id) });
        }
        Ok(Self { graph: *graph, level, rows })
    }

    /// Scores of every node or edge, in id order.
    pub fn from_dense(graph: &Graph, level: Level, scores: &[f64]) -> Result<Self> {
        let total = level.total(graph);
        if scores.len() != total {
            let what = format!("{level} scores and {level}s of the graph");
            return Err(Error::LengthMismatch { what, left: scores.len(), right: total });
        }
        let rows = scores.iter().enumerate().map(|(i, &score)| ScoreRow::new(i as u32, score));
        Self::new(graph, level, rows.collect())
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Node or edge.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The rows, in id order.
    pub fn rows(&self) -> &[ScoreRow] {
        &self.rows
    }

    /// How many are scored.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Nothing is scored.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row of an id.
    pub fn get(&self, id: u32) -> Option<&ScoreRow> {
        self.rows.binary_search_by_key(&id, |row| row.id).ok().map(|i| &self.rows[i])
    }

    /// The row of a node; `None` for edge scores.
    pub fn of_node(&self, id: NodeId) -> Option<&ScoreRow> {
        if self.level == Level::Node { self.get(id.0) } else { None }
    }

    /// The row of an edge; `None` for node scores.
    pub fn of_edge(&self, id: EdgeId) -> Option<&ScoreRow> {
        if self.level == Level::Edge { self.get(id.0) } else { None }
    }

    /// The row of a name; an unknown name is an error, a known one without a score is `None`.
    pub fn of_name(&self, name: &str) -> Result<Option<&ScoreRow>> {
        Ok(self.get(self.level.parse_id(&self.graph, name)?))
    }

    /// The name of a row.
    pub fn name(&self, row: &ScoreRow) -> String {
        self.level.name(&self.graph, row.id)
    }

    /// A score for every id, `missing` where there is none.
    pub fn dense(&self, missing: f64) -> Vec<f64> {
        let mut all = vec![missing; self.level.total(&self.graph)];
        for row in &self.rows {
            all[row.id as usize] = row.score;
        }
        all
    }

    /// Rows from the highest score (or absolute score) to the lowest; ties by id.
    pub fn ranked(&self, absolute: bool) -> Vec<&ScoreRow> {
        let mut rows: Vec<&ScoreRow> = self.rows.iter().collect();
        let key = |row: &ScoreRow| if absolute { row.score.abs() } else { row.score };
        // adding 0 makes -0 equal to 0
        rows.sort_by(|a, b| (key(b) + 0.0).total_cmp(&(key(a) + 0.0)).then(a.id.cmp(&b.id)));
        rows
    }
}

fn check_row(graph: &Graph, level: Level, row: &ScoreRow) -> Result<()> {
    let name = || level.name(graph, row.id);
    let finite = |what: &'static str, value: f64| {
        if value.is_finite() { Ok(()) } else { Err(Error::NotFinite { what, name: name(), value }) }
    };
    finite("score", row.score)?;
    finite("metric", row.metric)?;
    finite("std_err", row.std_err)?;
    let Some(list) = &row.per_example else { return Ok(()) };
    list.iter().try_for_each(|&value| finite("per-example metric", value))?;
    if list.len() == row.n {
        return Ok(());
    }
    Err(Error::LengthMismatch {
        what: format!("per-example metrics and n of `{}`", name()),
        left: list.len(),
        right: row.n,
    })
}
