//! Cut edges, resolved: which readers see what instead of which senders, sorted to the layer and stage where it acts.

use std::sync::Arc;

use ablate_graph::{Cut, EdgeSet, Graph, Kv, NodeId, Plan, Positions, Reader, ReaderId, Site, Source};

use super::compile::{At, Stage, resolve};
use crate::batch::Batch;
use crate::config::Config;
use crate::error::{Error, Result};

/// The cut edges of one source, positions and scale.
#[derive(Clone, Debug, PartialEq)]
pub struct CutStep {
    /// The graph whose edges these are.
    pub graph: Graph,
    /// The edges.
    pub edges: EdgeSet,
    /// Positions of the readers' inputs for each example; `None` = all.
    pub positions: Option<Arc<Vec<Vec<u32>>>>,
    /// What the readers see.
    pub source: Source,
    /// Factor on it.
    pub scale: f64,
    /// By edge id, how much of each edge is cut: the reader sees `weight·source + (1 − weight)·live`. `None` = all 1.
    /// Plans do not say this; learned masks set it.
    pub weights: Option<Arc<Vec<f64>>>,
}

/// What one reader sees differently.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ReaderCut {
    pub(super) reader: Reader,
    /// With `kept`: the senders that are seen live, the source stands for all others; else the senders that are cut.
    pub(super) senders: Vec<NodeId>,
    /// Which list it is.
    pub(super) kept: bool,
    /// Weight of each sender of the list; empty = all 1.
    pub(super) weights: Vec<f64>,
}

impl CutStep {
    /// Whether position `p` of `example` is cut.
    pub(super) fn hits(&self, example: usize, p: usize) -> bool {
        self.positions.as_ref().is_none_or(|at| at[example].contains(&(p as u32)))
    }

    /// Whether two steps differ at most in their edges.
    pub(super) fn alike(&self, other: &Self) -> bool {
        self.graph == other.graph
            && self.positions == other.positions
            && self.source == other.source
            && self.scale.to_bits() == other.scale.to_bits()
            && self.weights == other.weights
    }

    /// Where the first of `edges` acts.
    pub(super) fn first_at(&self, edges: &EdgeSet) -> Option<At> {
        let edge = edges.iter().next()?;
        Some(at_of(self.graph.reader(self.graph.ends(edge).1), self.graph.shape().n_layers))
    }

    /// What the readers of stage `at` see differently. The sum of what is kept is used instead of the difference of
    /// what is cut where that is shorter and the source's stream is at hand (`sums`): with almost everything zeroed, a
    /// difference would leave the rounding of large numbers in an almost empty stream.
    pub(super) fn readers_at(&self, at: At, sums: bool) -> Vec<ReaderCut> {
        let graph = self.graph;
        let readers = graph.reader_ids().filter(|&r| at_of(graph.reader(r), graph.shape().n_layers) == at);
        readers.filter_map(|r| self.reader(r, sums)).collect()
    }

    /// What every reader with a cut edge sees differently; `sums` as of [`CutStep::readers_at`].
    pub(super) fn readers(&self, sums: bool) -> Vec<ReaderCut> {
        let mut ids: Vec<ReaderId> = self.edges.iter().map(|e| self.graph.ends(e).1).collect();
        ids.dedup(); // the edges of a reader follow one another
        ids.into_iter().filter_map(|r| self.reader(r, sums)).collect()
    }

    fn reader(&self, id: ReaderId, sums: bool) -> Option<ReaderCut> {
        let (mut cut, mut kept) = (Vec::new(), Vec::new());
        for (sender, edge) in self.graph.in_edges(id).enumerate() {
            if self.edges.contains(edge) { &mut cut } else { &mut kept }.push(NodeId(sender as u32));
        }
        let reader = self.graph.reader(id);
        let weights = self.weights.as_ref().map_or(Vec::new(), |all| {
            let edges = self.graph.in_edges(id).filter(|e| self.edges.contains(*e));
            edges.map(|e| all.get(e.index()).copied().unwrap_or(1.0)).collect()
        });
        let kept_form = sums
            && weights.is_empty()
            && self.positions.is_none()
            && self.scale == 1.0
            && kept.len() < cut.len();
        if cut.is_empty() {
            return None;
        }
        Some(ReaderCut { reader, senders: if kept_form { kept } else { cut }, kept: kept_form, weights })
    }
}

/// Where a reader reads.
pub(super) fn at_of(reader: Reader, n_layers: usize) -> At {
    match reader {
        Reader::Head { layer, .. } | Reader::Kv { layer, .. } => (layer, Stage::Attn),
        Reader::Mlp { layer } => (layer, Stage::Mlp),
        Reader::Logits => (n_layers, Stage::Pre),
    }
}

/// Checks and resolves the cut edges of `plan`, those written as edits of one edge included.
pub(super) fn compile(plan: &Plan, cfg: &Config, batch: &Batch) -> Result<Vec<CutStep>> {
    let singles = plan.edits.iter().filter_map(|e| match e.site {
        Site::Edge(edge) => Some((edge, e)),
        _ => None,
    });
    let mut cuts = plan.cuts.clone();
    for (edge, edit) in singles {
        let kv = if matches!(edge.reader, Reader::Kv { .. }) { Kv::Grouped } else { Kv::PerQuery };
        let graph = Graph::new(cfg.graph_shape(), kv).map_err(|e| Error::plan(e.to_string()))?;
        let id = graph.edge_id(edge);
        let id = id.ok_or_else(|| Error::plan(format!("{edge} is not an edge of this model")))?;
        cuts.push(Cut {
            graph,
            edges: EdgeSet::of(graph.n_edges(), [id]),
            positions: edit.positions.clone(),
            source: edit.source,
            scale: edit.scale,
        });
    }
    for (i, cut) in cuts.iter().enumerate() {
        if cut.graph.shape() != cfg.graph_shape() {
            return Err(Error::plan(format!(
                "the cut edges are of another graph ({}) than the model ({})",
                cut.graph.describe(),
                Graph::new(cfg.graph_shape(), cut.graph.kv())
                    .map_or_else(|e| e.to_string(), |g| g.describe())
            )));
        }
        if !cut.scale.is_finite() {
            return Err(Error::plan(format!("the scale {} of the cut edges is not finite", cut.scale)));
        }
        let clash = cuts[..i].iter().find(|c| {
            c.graph.kv() != cut.graph.kv()
                || (overlap(&c.positions, &cut.positions) && !c.edges.is_disjoint(&cut.edges))
        });
        if clash.is_some() {
            return Err(Error::plan("an edge is cut twice, or grouped and ungrouped readers are mixed"));
        }
    }
    let cuts = cuts.into_iter().filter(|c| !c.edges.is_empty());
    cuts.map(|cut| {
        Ok(CutStep {
            positions: resolve(&cut.positions, plan.side, batch)?,
            graph: cut.graph,
            edges: cut.edges,
            source: cut.source,
            scale: cut.scale,
            weights: None,
        })
    })
    .collect()
}

fn overlap(a: &Positions, b: &Positions) -> bool {
    match (a, b) {
        (Positions::At(a), Positions::At(b)) => a.iter().any(|p| b.contains(p)),
        _ => true,
    }
}

/// Where a run with the cuts of `mine` must start because they differ from those of `theirs`, each with the positions
/// that it may differ at.
pub(super) fn difference<'a>(mine: &'a [CutStep], theirs: &'a [CutStep]) -> Vec<(At, &'a CutStep)> {
    let mut out = Vec::new();
    let none = EdgeSet::new(0);
    for step in mine {
        let other = theirs.iter().find(|t| t.alike(step)).map_or(&none, |t| &t.edges);
        out.extend(step.first_at(&step.edges.symmetric_difference(other)).map(|at| (at, step)));
    }
    for step in theirs.iter().filter(|t| !mine.iter().any(|m| m.alike(t))) {
        out.extend(step.first_at(&step.edges).map(|at| (at, step)));
    }
    out
}
