//! Which information a path carries.
//!
//! - **What it computes**: a group of senders is run, together and along one path, on counterfactuals that each change one
//!   kind of information and keep the others: which tokens, where they stand, how far apart, in which order. What changes
//!   at the end of the path is what the path carried.
//! - **Formula**: `effect = metric(clean) - metric(patched)`; `share = mean effect / mean effect of the whole`, where the whole
//!   is a kind that leaves no information, or the clean metric itself. Intervals: paired bootstrap over rows.
//! - **Verdict**: carried when the share's interval lies beyond ± bound, not carried when it lies within, else open.
//! - **Positions**: an activation replaces that of the same named position, also where the two texts differ in length.
//! - **Source**: Wang et al. 2022 (arXiv 2211.00593), appendix A; Redwood Research's REMIX, day 5.

use ablate_graph::{Node, Positions, Random, Side, stats};
use ablate_model::{Batch, Row};

use crate::error::{Error, Result};
use crate::path::Route;
use crate::run::{Attended, Study, Watch};

/// Draws of a bootstrap.
const DRAWS: usize = 2000;

/// A kind of information: counterfactuals of the same clean rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// Its name.
    pub name: String,
    /// The rows.
    pub batch: Batch,
}

/// What shares are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whole {
    /// The effect of this kind.
    Kind(String),
    /// The clean metric.
    Metric,
}

/// A path, and what is asked about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Senders, replaced together.
    pub senders: Vec<Node>,
    /// The path; its ablation should be resample.
    pub route: Route,
    /// Where attention is watched from; `None` = it is not.
    pub query: Option<Positions>,
    /// Named positions whose attention is wanted.
    pub keys: Vec<String>,
    /// What shares are of.
    pub whole: Whole,
    /// Shares below this say that nothing is carried.
    pub bound: f64,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// Whether a path carries a kind of information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The share's interval lies beyond the bound.
    Carried,
    /// It lies within.
    NotCarried,
    /// It reaches over the bound.
    Open,
}

impl Verdict {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Carried => "carried",
            Self::NotCarried => "not carried",
            Self::Open => "open",
        }
    }

    /// The verdict on an interval.
    pub fn of(interval: (f64, f64), bound: f64) -> Self {
        let (low, high) = interval;
        if low > bound || high < -bound {
            Self::Carried
        } else if low >= -bound && high <= bound {
            Self::NotCarried
        } else {
            Self::Open
        }
    }
}

/// A mean with its bootstrap interval of 95 %.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimated {
    /// The mean.
    pub mean: f64,
    /// The interval.
    pub interval: (f64, f64),
}

impl Estimated {
    /// Of values; zeros of none.
    pub fn of(values: &[f64], random: Random) -> Self {
        let mean = stats::mean(values).unwrap_or_default();
        let interval = stats::bootstrap_mean(values, DRAWS, 0.95, random).unwrap_or((mean, mean));
        Self { mean, interval }
    }
}

/// Attention to a named position.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The position's name.
    pub key: String,
    /// Attention to where it stands in the clean text.
    pub there: Estimated,
    /// To the index that it has in the other text: where a code of absolute positions would point. Rows that have it.
    pub same_index: Option<Estimated>,
    /// To the index as far before the query as in the other text: where a code of distances would point.
    pub same_distance: Option<Estimated>,
}

/// What one kind of information does.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// The kind.
    pub name: String,
    /// The metric with the path patched, `[rows]`.
    pub metrics: Vec<f64>,
    /// Clean metric minus that.
    pub effect: Estimated,
    /// The effect as a share of the whole, with its interval; `None` where the whole may be 0.
    pub share: Option<Estimated>,
    /// What follows; `None` without a share.
    pub verdict: Option<Verdict>,
    /// Attention with the path patched.
    pub attention: Vec<Seen>,
}

/// All kinds, and the clean run.
#[derive(Clone, Debug, PartialEq)]
pub struct Signals {
    /// The clean metric, `[rows]`.
    pub clean: Vec<f64>,
    /// Attention in the clean run.
    pub attention: Vec<Seen>,
    /// The kinds, in the order given.
    pub rows: Vec<Signal>,
}

/// Patches the path by each kind's counterfactuals. `study` has the clean rows; its counterfactuals are replaced.
///
/// # Errors
/// Kinds of other clean rows; a whole that is no kind; positions that rows lack; as [`Study::paths`].
pub fn signals(study: &mut Study<'_>, kinds: &[Kind], question: &Question) -> Result<Signals> {
    if question.senders.is_empty() {
        return Err(Error::argument("there are no senders", "name heads or MLPs that the path starts from"));
    }
    if let Whole::Kind(name) = &question.whole
        && !kinds.iter().any(|k| k.name == *name)
    {
        return Err(Error::unknown("kind of information", name, kinds.iter().map(|k| k.name.as_str())));
    }
    let random = Random::new(question.seed, "signals");
    let group = [question.senders.clone()];
    let watch = question.query.clone().map(|query| Watch { query, weighted: false });
    let mut measured = Vec::with_capacity(kinds.len());
    let mut plain: Option<Vec<Vec<f64>>> = None;
    for kind in kinds {
        study.set_donors(&kind.batch)?;
        let metrics = study.paths(&group, &question.route)?.remove(0);
        let mut patterns = None;
        if let Some(watch) = &watch {
            let Attended { clean, mut patched } = study.attend(&group, &question.route, watch)?;
            plain.get_or_insert(clean);
            patterns = patched.pop();
        }
        measured.push((metrics, patterns));
    }
    let clean = study.base(Side::Clean)?;
    let effects: Vec<Vec<f64>> = measured.iter().map(|(m, _)| differences(&clean, m)).collect();
    let whole = match &question.whole {
        Whole::Metric => &clean,
        Whole::Kind(name) => &effects[kinds.iter().position(|k| k.name == *name).unwrap_or_default()],
    };
    let mut rows = Vec::with_capacity(kinds.len());
    for (i, (kind, (metrics, patterns))) in kinds.iter().zip(measured).enumerate() {
        let share = share_of(&effects[i], whole, random.fork(1));
        let attention = match &patterns {
            Some(p) => seen(kind.batch.rows(), p, question, true, random.fork(2))?,
            None => Vec::new(),
        };
        rows.push(Signal {
            name: kind.name.clone(),
            metrics,
            effect: Estimated::of(&effects[i], random),
            share,
            verdict: share.map(|s| Verdict::of(s.interval, question.bound)),
            attention,
        });
    }
    let attention = match &plain {
        Some(p) => seen(study.batch().rows(), p, question, false, random.fork(2))?,
        None => Vec::new(),
    };
    Ok(Signals { clean, attention, rows })
}

fn differences(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// The ratio of two means with its paired bootstrap interval; `None` where the whole's own interval reaches 0.
fn share_of(effect: &[f64], whole: &[f64], random: Random) -> Option<Estimated> {
    let (low, high) = Estimated::of(whole, random).interval;
    if low <= 0.0 && high >= 0.0 {
        return None;
    }
    let ratio = |rows: &[usize]| {
        let sum = |v: &[f64]| rows.iter().map(|&r| v[r]).sum::<f64>();
        sum(effect) / sum(whole)
    };
    let all: Vec<usize> = (0..effect.len()).collect();
    let interval = stats::bootstrap(effect.len(), DRAWS, 0.95, random, ratio)?;
    Some(Estimated { mean: ratio(&all), interval })
}

/// Named positions of the counterfactual.
fn other_positions(row: &Row) -> &[(String, usize)] {
    match &row.moved {
        Some(moved) => &moved.positions,
        None if row.corrupt_positions.is_empty() => &row.positions,
        None => &row.corrupt_positions,
    }
}

fn find(positions: &[(String, usize)], name: &str) -> Option<usize> {
    positions.iter().find(|(n, _)| n == name).map(|(_, p)| *p)
}

/// Attention to the keys, of patterns `[rows][keys]`; with `moved`, also to where the other text's positions would point.
fn seen(
    rows: &[Row],
    patterns: &[Vec<f64>],
    question: &Question,
    moved: bool,
    random: Random,
) -> Result<Vec<Seen>> {
    let mut out = Vec::with_capacity(question.keys.len());
    for name in &question.keys {
        let [mut there, mut index, mut distance] = [const { Vec::new() }; 3];
        let mut differs = false;
        for (i, (row, pattern)) in rows.iter().zip(patterns).enumerate() {
            let own = find(&row.positions, name).ok_or_else(|| Error::Row {
                row: i,
                message: format!("there is no position named {name}"),
                hint: Some("every row needs the named positions whose attention is asked for".into()),
            })?;
            there.push(pattern[own]);
            let len = row.moved.as_ref().map_or(row.clean.len(), |m| m.tokens.len());
            let Some(other) = find(other_positions(row), name).filter(|_| moved) else { continue };
            differs |= other != own || len != row.clean.len();
            index.extend(pattern.get(other));
            // both texts are read at their last token
            let before = (row.clean.len() + other).checked_sub(len);
            distance.extend(before.and_then(|p| pattern.get(p)));
        }
        let maybe = |v: &[f64]| (differs && !v.is_empty()).then(|| Estimated::of(v, random));
        out.push(Seen {
            key: name.clone(),
            there: Estimated::of(&there, random),
            same_index: maybe(&index),
            same_distance: maybe(&distance),
        });
    }
    Ok(out)
}
