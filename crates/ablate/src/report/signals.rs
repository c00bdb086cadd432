//! `ablate/signals`: which information a path carries. `ablate/backups`: direct effects with and without a group.

use serde::Serialize;

use super::Base;
use crate::backups::{Backup, Backups};
use crate::signals::{Estimated, Seen, Signal};

/// A mean with its bootstrap interval of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct IntervalPart {
    /// The mean.
    pub value: f64,
    /// The interval.
    pub interval: [f64; 2],
}

impl From<Estimated> for IntervalPart {
    fn from(e: Estimated) -> Self {
        Self { value: e.mean, interval: [e.interval.0, e.interval.1] }
    }
}

/// Attention to a named position.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeenPart {
    /// The position's name.
    pub to: String,
    /// Attention to where it stands.
    pub weight: IntervalPart,
    /// Attention to the index that it has in the other text.
    pub same_index: Option<IntervalPart>,
    /// Attention to as far before the query as in the other text.
    pub same_distance: Option<IntervalPart>,
}

impl From<&Seen> for SeenPart {
    fn from(s: &Seen) -> Self {
        Self {
            to: s.key.clone(),
            weight: s.there.into(),
            same_index: s.same_index.map(Into::into),
            same_distance: s.same_distance.map(Into::into),
        }
    }
}

/// One kind of information.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SignalRow {
    /// Its name.
    pub kind: String,
    /// Mean metric with the path patched.
    pub metric: f64,
    /// Clean metric minus that.
    pub score: IntervalPart,
    /// The score as a share of the whole.
    pub share: Option<IntervalPart>,
    /// `carried`, `not carried` or `open`.
    pub verdict: Option<String>,
    /// Attention with the path patched.
    pub attention: Vec<SeenPart>,
    /// The metric of every row.
    pub metric_per_example: Vec<f64>,
}

impl From<&Signal> for SignalRow {
    fn from(s: &Signal) -> Self {
        Self {
            kind: s.name.clone(),
            metric: ablate_graph::stats::mean(&s.metrics).unwrap_or_default(),
            score: s.effect.into(),
            share: s.share.map(Into::into),
            verdict: s.verdict.map(|v| v.name().to_owned()),
            attention: s.attention.iter().map(Into::into).collect(),
            metric_per_example: s.metrics.clone(),
        }
    }
}

/// Which information a path carries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SignalsReport {
    /// Senders, replaced together.
    pub senders: Vec<String>,
    /// The path's receivers, hop after hop.
    pub receivers: String,
    /// `none` or `mlp`.
    pub through: String,
    /// `recompute` or `frozen`.
    pub after: String,
    /// Name of the metric.
    pub metric: String,
    /// The kind that shares are of, or `metric`.
    pub share_of: String,
    /// Shares below this say that nothing is carried.
    pub bound: f64,
    /// The clean metric.
    pub base: Base,
    /// Attention in the clean run.
    pub attention: Vec<SeenPart>,
    /// The kinds.
    pub rows: Vec<SignalRow>,
}

/// A node's direct effect with and without the group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackupRow {
    /// The node.
    pub name: String,
    /// In the plain run.
    pub before: IntervalPart,
    /// Without the group.
    pub after: IntervalPart,
    /// After minus before.
    pub growth: IntervalPart,
    /// Whether it is a backup: the growth's interval lies above the bound.
    pub backup: bool,
}

impl BackupRow {
    /// Of a node; `bound` is in units of the metric.
    pub fn new(b: &Backup, bound: f64) -> Self {
        let [before, after, growth] = [b.before, b.after, b.growth].map(Into::into);
        Self { name: b.node.to_string(), before, after, growth, backup: b.growth.interval.0 > bound }
    }
}

/// What knocking out a group does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackupsReport {
    /// The group.
    pub group: Vec<String>,
    /// Name of the metric.
    pub metric: String,
    /// The metric of the unedited runs.
    pub base: Base,
    /// The metric without the group.
    pub without: IntervalPart,
    /// What the group's direct effects sum to in the plain run; compare with base minus `without`.
    pub direct: f64,
    /// Growth above this makes a backup, in units of the metric.
    pub bound: f64,
    /// The nodes, in canonical order.
    pub rows: Vec<BackupRow>,
}

impl BackupsReport {
    /// The rows of a knockout.
    pub fn rows_of(found: &Backups, bound: f64) -> Vec<BackupRow> {
        found.rows.iter().map(|b| BackupRow::new(b, bound)).collect()
    }
}
