//! `ablate/heads`: what heads look at, copy and write.

use serde::Serialize;

use crate::heads::{Attention, Attribution, Behaviours, Clusters, Copying, LensRow, PerRow};
use crate::interactions::Measured;

/// Behaviour of heads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeadsReport {
    /// The random rows.
    pub random: RandomPart,
    /// How copy scores are taken.
    pub copying: CopyPart,
    /// Every head, in canonical order.
    pub heads: Vec<HeadRow>,
    /// Attention from the read position to named positions; empty without data or names.
    pub attention: Vec<AttentionRow>,
    /// Direct logit attribution, where rows have answers and wrong answers.
    pub attribution: Option<AttributionPart>,
    /// Logit lens, where rows have answers and wrong answers.
    pub lens: Option<Vec<LensPart>>,
    /// Clusters of outputs, where a feature was named.
    pub clusters: Option<ClustersPart>,
}

/// Random tokens, said twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RandomPart {
    /// Number of rows.
    pub rows: usize,
    /// Different tokens of a row.
    pub length: usize,
    /// Whether they follow a beginning-of-sequence token.
    pub bos: bool,
}

/// How copy scores are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopyPart {
    /// Among how many best tokens its own must be.
    pub top: usize,
    /// `own` or `second`: the norm that a head reads through.
    pub norm: String,
}

/// A head's scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeadRow {
    /// Its name.
    pub name: String,
    /// On random tokens.
    pub random: BehaviourPart,
    /// On the clean rows of the data.
    pub data: Option<BehaviourPart>,
}

/// Scores of a head on some rows; those that no row has are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BehaviourPart {
    /// Attention to what followed earlier occurrences.
    pub induction: Option<ScorePart>,
    /// Attention to the token before.
    pub previous: Option<ScorePart>,
    /// Attention to earlier occurrences.
    pub duplicate: Option<ScorePart>,
    /// Share of tokens that its OV circuit says.
    pub copies: Option<ScorePart>,
    /// Share of tokens that it suppresses.
    pub suppresses: Option<ScorePart>,
}

/// A mean with its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ScorePart {
    /// The mean.
    pub value: f64,
    /// Its standard error.
    pub std_err: f64,
    /// Over how many rows, or tokens for copy scores.
    pub n: usize,
}

impl ScorePart {
    fn of(values: &PerRow) -> Option<Self> {
        values.measured().map(|m| Self { value: m.value, std_err: m.std_err, n: values.0.len() })
    }

    fn new(m: Measured, n: usize) -> Self {
        Self { value: m.value, std_err: m.std_err, n }
    }
}

impl BehaviourPart {
    /// Of head `i`.
    pub fn new(seen: &Behaviours, copying: Option<&Vec<Copying>>, i: usize) -> Self {
        let copied = copying.map(|c| &c[i]);
        Self {
            induction: ScorePart::of(&seen.induction[i]),
            previous: ScorePart::of(&seen.previous[i]),
            duplicate: ScorePart::of(&seen.duplicate[i]),
            copies: copied.and_then(|c| ScorePart::of(&c.copies)),
            suppresses: copied.and_then(|c| ScorePart::of(&c.suppresses)),
        }
    }

    /// The scores with their names.
    pub fn named(&self) -> [(&'static str, Option<ScorePart>); 5] {
        [
            ("induction", self.induction),
            ("previous token", self.previous),
            ("duplicate token", self.duplicate),
            ("copies", self.copies),
            ("suppresses", self.suppresses),
        ]
    }
}

/// Attention of a head to a named position.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AttentionRow {
    /// The head.
    pub head: String,
    /// The named position.
    pub to: String,
    /// Attention.
    pub weight: ScorePart,
    /// Bootstrap interval of 95 %.
    pub interval: [f64; 2],
    /// Attention times the length of the value vector there.
    pub value_weighted: ScorePart,
    /// Bootstrap interval of 95 %.
    pub value_weighted_interval: [f64; 2],
}

impl From<&Attention> for AttentionRow {
    fn from(a: &Attention) -> Self {
        Self {
            head: a.head.to_string(),
            to: a.to.clone(),
            weight: ScorePart::new(a.weight, a.n),
            interval: a.interval,
            value_weighted: ScorePart::new(a.weighted, a.n),
            value_weighted_interval: a.weighted_interval,
        }
    }
}

/// Direct logit attribution.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AttributionPart {
    /// The parts; they sum to the metric.
    pub parts: Vec<AttributionRow>,
    /// The logit difference.
    pub metric: ScorePart,
    /// The largest difference of any row between the metric and the sum.
    pub largest_gap: f64,
}

/// A part's share of the logit difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AttributionRow {
    /// A node, or what is no node.
    pub name: String,
    /// What it adds.
    pub value: f64,
    /// Standard error.
    pub std_err: f64,
    /// Of each row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_example: Option<Vec<f64>>,
}

impl AttributionPart {
    /// With `per_example`, parts keep the values of every row.
    pub fn new(all: &Attribution, per_example: bool) -> Self {
        let part = |(name, values): (&String, &Vec<f64>)| {
            let m = Measured::of(values);
            AttributionRow {
                name: name.clone(),
                value: m.value,
                std_err: m.std_err,
                per_example: per_example.then(|| values.clone()),
            }
        };
        Self {
            parts: all.parts.iter().zip(&all.values).map(part).collect(),
            metric: ScorePart::new(Measured::of(&all.metric), all.metric.len()),
            largest_gap: all.largest_gap(),
        }
    }
}

/// The lens on the stream before a layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LensPart {
    /// Layer; the number of layers stands for the output.
    pub layer: usize,
    /// Logit difference.
    pub logit_diff: f64,
    /// Its standard error.
    pub std_err: f64,
    /// Median rank of the best answer.
    pub rank: f64,
    /// Share of rows whose most likely token is an answer.
    pub accuracy: f64,
}

impl From<&LensRow> for LensPart {
    fn from(row: &LensRow) -> Self {
        Self {
            layer: row.layer,
            logit_diff: row.logit_diff.value,
            std_err: row.logit_diff.std_err,
            rank: row.rank,
            accuracy: row.accuracy,
        }
    }
}

/// Clusters of heads' outputs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClustersPart {
    /// The feature.
    pub feature: String,
    /// Label of each row.
    pub labels: Vec<String>,
    /// The heads.
    pub heads: Vec<ClusterRow>,
}

/// Clusters of a head's outputs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterRow {
    /// The head.
    pub head: String,
    /// Mean silhouette by label.
    pub silhouette: f64,
    /// Share of the variance along two principal components.
    pub explained: [f64; 2],
    /// Each row along them.
    pub points: Vec<[f64; 2]>,
}

impl From<&Clusters> for ClusterRow {
    fn from(c: &Clusters) -> Self {
        Self {
            head: c.head.to_string(),
            silhouette: c.silhouette,
            explained: c.explained,
            points: c.points.clone(),
        }
    }
}
