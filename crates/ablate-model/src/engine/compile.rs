//! Plan → steps: every name resolved, every edit sorted to the layer and stage where it acts, all validation done.

use std::sync::Arc;

use ablate_graph::{Node, Plan, Positions, Side, Site, Source};

use super::cuts::{self, CutStep};
use crate::batch::Batch;
use crate::config::{Block, Config};
use crate::error::{Error, Result};

/// The stages of a layer in the order in which they are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The stream before the layer.
    Pre,
    /// Queries, keys, values and patterns.
    Attn,
    /// Head outputs.
    Z,
    /// The attention addend and the stream after it.
    Mid,
    /// Neurons.
    Mlp,
    /// The MLP addend.
    Out,
}

/// A layer and a stage of it; layer `n_layers`, [`Stage::Pre`] is the final norm's input.
pub(super) type At = (usize, Stage);

/// One edit, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When it acts.
    pub at: At,
    /// What it edits.
    pub site: Site,
    /// Its positions for each example; `None` = all.
    pub positions: Option<Arc<Vec<Vec<u32>>>>,
    /// What is put in place.
    pub source: Source,
    /// Factor on the source.
    pub scale: f64,
}

impl Step {
    /// Whether the step edits position `p` of `example`.
    pub fn hits(&self, example: usize, p: usize) -> bool {
        self.positions.as_ref().is_none_or(|at| at[example].contains(&(p as u32)))
    }
}

/// A plan made ready for one model and batch.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Compiled {
    /// Which text is run.
    pub side: Side,
    /// The edits in the order in which they act.
    pub steps: Vec<Step>,
    /// The cut edges.
    pub cuts: Vec<CutStep>,
    /// Whether norm scales are the base run's.
    pub freeze_norm: bool,
}

impl Compiled {
    /// The steps that act at `at`.
    pub fn at(&self, at: At) -> &[Step] {
        let from = self.steps.partition_point(|s| s.at < at);
        let to = self.steps.partition_point(|s| s.at <= at);
        &self.steps[from..to]
    }

    /// What this plan and `base` do not share, each with where a run of this plan that starts from the run of `base`
    /// must start because of it.
    pub(super) fn difference<'a>(&'a self, base: &'a Self) -> Vec<Difference<'a>> {
        let mine = self.steps.iter().filter(|s| !base.steps.contains(s)).map(|s| (s.at, &s.positions));
        let theirs =
            base.steps.iter().filter(|s| !self.steps.contains(s)).map(|s| (undo_at(s), &s.positions));
        let cuts = cuts::difference(&self.cuts, &base.cuts).into_iter().map(|(at, c)| (at, &c.positions));
        mine.chain(theirs).chain(cuts).map(|(at, positions)| Difference { at, positions }).collect()
    }
}

/// Positions of a step for each example; `None` = all.
type PositionsOf<'a> = &'a Option<Arc<Vec<Vec<u32>>>>;

/// Something in which two plans differ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Difference<'a> {
    /// Where it acts.
    pub(super) at: At,
    positions: PositionsOf<'a>,
}

impl Difference<'_> {
    /// First position of `example` at which it acts; `None` when at none.
    pub(super) fn first_position(&self, example: usize) -> Option<usize> {
        self.positions.as_ref().map_or(Some(0), |at| at[example].iter().min().map(|&p| p as usize))
    }
}

/// Where a run must start to be without a step of its base run. The base run kept streams, head outputs and MLP outputs
/// as edited, so what made them is run again.
fn undo_at(step: &Step) -> At {
    match step.at {
        (0, Stage::Pre) => (0, Stage::Pre), // the first stream is always embedded anew
        (layer, Stage::Pre) => (layer - 1, Stage::Attn),
        (layer, Stage::Z) => (layer, Stage::Attn),
        (layer, Stage::Out) => (layer, Stage::Mlp),
        at => at,
    }
}

/// Checks `plan` against the model and the batch and resolves its positions.
pub fn compile(plan: &Plan, cfg: &Config, batch: &Batch) -> Result<Compiled> {
    let mut steps = Vec::with_capacity(plan.edits.len());
    for (i, edit) in plan.edits.iter().enumerate() {
        if matches!(edit.site, Site::Edge(_)) {
            continue; // resolved with the cuts
        }
        let at = stage_of(edit.site, cfg)?;
        if !edit.scale.is_finite() {
            return Err(Error::plan(format!("{:?}: the scale {} is not finite", edit.site, edit.scale)));
        }
        if let Some(other) =
            plan.edits[..i].iter().find(|e| e.site == edit.site && overlap(&e.positions, &edit.positions))
        {
            return Err(Error::plan(format!(
                "{:?} is edited twice ({:?} and {:?})",
                edit.site, other.source, edit.source
            )));
        }
        let positions = resolve(&edit.positions, plan.side, batch)?;
        steps.push(Step { at, site: edit.site, positions, source: edit.source, scale: edit.scale });
    }
    steps.sort_by_key(|s: &Step| (s.at, s.site));
    let cuts = cuts::compile(plan, cfg, batch)?;
    Ok(Compiled { side: plan.side, steps, cuts, freeze_norm: plan.freeze_norm })
}

/// Whether two position sets may share a position in some row.
fn overlap(a: &Positions, b: &Positions) -> bool {
    match (a, b) {
        (Positions::At(a), Positions::At(b)) => a.iter().any(|p| b.contains(p)),
        (Positions::Named(a), Positions::Named(b)) => a.iter().any(|p| b.contains(p)),
        _ => true,
    }
}

/// Where `site` acts, or why it does not exist in this model.
pub(super) fn stage_of(site: Site, cfg: &Config) -> Result<At> {
    let missing = |what: String| {
        Err(Error::plan(format!(
            "{what}: the model has {} layers, {} heads and {} neurons a layer",
            cfg.n_layers, cfg.n_heads, cfg.d_mlp
        )))
    };
    let layer_ok = |l: usize| l < cfg.n_layers;
    let head_ok = |l: usize, h: usize| l < cfg.n_layers && h < cfg.n_heads;
    Ok(match site {
        Site::Node(Node::Input) => (0, Stage::Pre),
        Site::Node(Node::Logits) => {
            return Err(Error::plan("logits is a reader: it has no output to replace"));
        }
        Site::Node(Node::Head { layer, head }) if head_ok(layer, head) => (layer, Stage::Z),
        Site::ResidPre { layer } if layer <= cfg.n_layers => (layer, Stage::Pre),
        Site::ResidMid { .. } if cfg.block == Block::Parallel => {
            return Err(Error::Plan {
                message: format!(
                    "{} has parallel blocks: there is no stream between attention and MLP",
                    cfg.arch
                ),
                hint: Some("use resid-pre, attn-out or mlp-out".into()),
            });
        }
        Site::ResidMid { layer } | Site::AttnOut { layer } if layer_ok(layer) => (layer, Stage::Mid),
        Site::Node(Node::Mlp { layer }) | Site::MlpOut { layer } if layer_ok(layer) && cfg.d_mlp > 0 => {
            (layer, Stage::Out)
        }
        Site::Slot { layer, head, .. } | Site::Pattern { layer, head } if head_ok(layer, head) => {
            (layer, Stage::Attn)
        }
        Site::Neuron { layer, neuron } if layer_ok(layer) && neuron < cfg.d_mlp => (layer, Stage::Mlp),
        Site::Edge(edge) => cuts::at_of(edge.reader, cfg.n_layers),
        other => return missing(format!("{other:?} does not exist")),
    })
}

pub(super) fn resolve(
    positions: &Positions,
    side: Side,
    batch: &Batch,
) -> Result<Option<Arc<Vec<Vec<u32>>>>> {
    let rows = batch.rows();
    let at = match positions {
        Positions::All => return Ok(None),
        Positions::Last => rows.iter().map(|r| vec![r.clean.len() as u32 - 1]).collect(),
        Positions::At(at) => {
            if let Some((i, r)) =
                rows.iter().enumerate().find(|(_, r)| at.iter().any(|&p| p >= r.clean.len()))
            {
                let p = at.iter().max().copied().unwrap_or(0);
                return Err(Error::Row {
                    row: i,
                    message: format!("position {p} does not exist: the row has {} tokens", r.clean.len()),
                    hint: Some(
                        "positions count from 0; use named positions for rows of different lengths".into(),
                    ),
                });
            }
            rows.iter().map(|_| at.iter().map(|&p| p as u32).collect()).collect()
        }
        Positions::Named(names) => {
            let mut all = Vec::with_capacity(rows.len());
            for (i, row) in rows.iter().enumerate() {
                let at: Result<Vec<u32>> = names.iter().map(|name| named(row, side, name, i)).collect();
                all.push(at?);
            }
            all
        }
    };
    Ok(Some(Arc::new(at)))
}

fn named(row: &crate::batch::Row, side: Side, name: &str, i: usize) -> Result<u32> {
    let table = if side == Side::Corrupt && !row.corrupt_positions.is_empty() {
        &row.corrupt_positions
    } else {
        &row.positions
    };
    if let Some((_, p)) = table.iter().find(|(n, _)| n == name) {
        return Ok(*p as u32);
    }
    if name == "end" {
        return Ok(row.clean.len() as u32 - 1);
    }
    let known: Vec<&str> = table.iter().map(|(n, _)| n.as_str()).collect();
    Err(Error::Row {
        row: i,
        message: format!("there is no position named {name}"),
        hint: Some(format!(
            "known positions: {}",
            if known.is_empty() { "end".into() } else { known.join(", ") }
        )),
    })
}
