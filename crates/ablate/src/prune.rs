//! Threshold pruning: remove nodes one after the other as long as the rest keeps enough of the full model's score.

use ablate_graph::rng::Random;
use ablate_graph::{Node, Positions, Side};

use crate::ablation::Ablation;
use crate::curve::mean;
use crate::effects::ablate_nodes;
use crate::error::{Error, Result};
use crate::session::Session;

/// In which order candidates are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Last layer first, one pass.
    Backward,
    /// First layer first, one pass.
    Forward,
    /// Forward and backward passes in turn until a round removes nothing.
    ForwardBackward,
    /// Backward and forward passes in turn until a round removes nothing.
    BackwardForward,
    /// A random order of all candidates, drawn by seed, again until a pass removes nothing.
    Random {
        /// Seed.
        seed: u64,
    },
}

impl Order {
    /// Names of the orders.
    pub const NAMES: [&'static str; 5] =
        ["backward", "forward", "forward-backward", "backward-forward", "random"];

    /// The order of this name.
    ///
    /// # Errors
    /// An unknown name, with the known ones.
    pub fn parse(name: &str, seed: u64) -> Result<Self> {
        Ok(match name {
            "backward" => Self::Backward,
            "forward" => Self::Forward,
            "forward-backward" => Self::ForwardBackward,
            "backward-forward" => Self::BackwardForward,
            "random" => Self::Random { seed },
            _ => return Err(Error::unknown("order", name, Self::NAMES)),
        })
    }

    /// The name users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Backward => "backward",
            Self::Forward => "forward",
            Self::ForwardBackward => "forward-backward",
            Self::BackwardForward => "backward-forward",
            Self::Random { .. } => "random",
        }
    }

    /// The candidates of pass `pass`, or `None` when there is no such pass.
    fn pass(self, pass: usize, kept: &[Node]) -> Option<Vec<Node>> {
        let mut nodes = kept.to_vec();
        let backward = match self {
            Self::Backward | Self::Forward if pass > 0 => return None,
            Self::Backward => true,
            Self::Forward => false,
            Self::ForwardBackward => pass % 2 == 1,
            Self::BackwardForward => pass.is_multiple_of(2),
            Self::Random { seed } => {
                Random::new(seed, "prune-order").shuffle(pass as u64, &mut nodes);
                return Some(nodes);
            }
        };
        nodes.sort_by_key(|&n| place(n, backward));
        Some(nodes)
    }
}

/// Sort key: layers ascending or descending; within a layer heads 0.. then the MLP (descending: the MLP first, since it
/// comes after the heads).
fn place(node: Node, backward: bool) -> (i64, u8, usize) {
    let layer = node.layer().map_or(-1, |l| l as i64);
    let (kind, index) = match node {
        Node::Head { head, .. } => (1, head),
        _ => (if backward { 0 } else { 2 }, 0),
    };
    (if backward { -layer } else { layer }, kind, index)
}

/// What is pruned and how.
#[derive(Clone, Debug)]
pub struct PruneConfig {
    /// Candidates.
    pub nodes: Vec<Node>,
    /// What a removed node is replaced by.
    pub ablation: Ablation,
    /// At which positions.
    pub positions: Positions,
    /// Percent of the full model's score that may be lost in all.
    pub threshold: f64,
    /// Also refuse removals that raise the score by as much.
    pub two_sided: bool,
    /// Order of candidates.
    pub order: Order,
}

/// One test.
#[derive(Clone, Debug, PartialEq)]
pub struct PruneStep {
    /// Pass, from 0.
    pub pass: usize,
    /// The node tested.
    pub candidate: Node,
    /// Mean metric without it and without everything removed before.
    pub metric: f64,
    /// The same in percent of the full model's.
    pub score_percent: f64,
    /// Whether it was removed.
    pub removed: bool,
}

/// A pruning run.
#[derive(Clone, Debug, PartialEq)]
pub struct Pruning {
    /// Mean metric of the full model.
    pub full: f64,
    /// Every test.
    pub steps: Vec<PruneStep>,
    /// The nodes that are left, in canonical order.
    pub kept: Vec<Node>,
    /// Metric of the returned set for each example, measured again.
    pub metrics: Vec<f64>,
    /// Its mean in percent of the full model's.
    pub score_percent: f64,
}

/// Prunes once.
///
/// # Errors
/// A full model whose score is 0 or of the wrong sign; as [`Session::evaluate`].
pub fn prune(session: &mut Session<'_, '_>, config: &PruneConfig) -> Result<Pruning> {
    session.study().prepare(&[ablate_nodes(&config.nodes, config.ablation, &config.positions)])?;
    session.restart();
    let full = mean(&session.base(Side::Clean)?);
    if full <= 0.0 {
        return Err(Error::argument(
            format!("the full model's mean metric is {full:.4}: a percentage of it says nothing"),
            "choose data that the model gets right (--filter-correct) or another --metric (kl is 0 for the full model)",
        ));
    }
    let mut kept = config.nodes.clone();
    let mut removed: Vec<Node> = Vec::new();
    let mut steps = Vec::new();
    session.expect(kept.len());
    let mut idle = 0;
    for pass in 0.. {
        let Some(candidates) = config.order.pass(pass, &kept) else { break };
        let before = kept.len();
        prune_pass(session, config, full, pass, &candidates, &mut kept, &mut removed, &mut steps)?;
        // an idle pass leaves the set as it was: the other direction would repeat the same tests
        idle = if kept.len() == before { idle + 1 } else { 0 };
        if idle > 0 || kept.is_empty() {
            break;
        }
    }
    session.restart();
    let metrics = session.evaluate(&[ablate_nodes(&removed, config.ablation, &config.positions)])?.remove(0);
    let score_percent = 100.0 * mean(&metrics) / full;
    kept.sort_by_key(|&n| place(n, false));
    Ok(Pruning { full, steps, kept, metrics, score_percent })
}

#[expect(clippy::too_many_arguments, reason = "the state of one pruning run, private to this file")]
fn prune_pass(
    session: &mut Session<'_, '_>,
    config: &PruneConfig,
    full: f64,
    pass: usize,
    candidates: &[Node],
    kept: &mut Vec<Node>,
    removed: &mut Vec<Node>,
    steps: &mut Vec<PruneStep>,
) -> Result<()> {
    let backward = config.order == Order::Backward;
    for &candidate in candidates {
        let mut set = removed.clone();
        set.push(candidate);
        let plan = ablate_nodes(&set, config.ablation, &config.positions);
        // a single backward pass edits ever earlier layers: the plain run stays the best start
        let metrics = if backward {
            session.evaluate(std::slice::from_ref(&plan))?.remove(0)
        } else {
            session.trial(&plan)?
        };
        let metric = mean(&metrics);
        let score_percent = 100.0 * metric / full;
        let loss = if config.two_sided { (100.0 - score_percent).abs() } else { 100.0 - score_percent };
        let remove = loss < config.threshold;
        steps.push(PruneStep { pass, candidate, metric, score_percent, removed: remove });
        if remove {
            removed.push(candidate);
            kept.retain(|&n| n != candidate);
            if !backward {
                session.accept(&plan);
            }
        }
    }
    Ok(())
}

/// For each kept node: the score in percent when it is removed too.
///
/// # Errors
/// As [`Session::evaluate`].
pub fn leave_one_out(
    session: &mut Session<'_, '_>,
    config: &PruneConfig,
    pruning: &Pruning,
) -> Result<Vec<(Node, f64)>> {
    let removed: Vec<Node> = config.nodes.iter().copied().filter(|n| !pruning.kept.contains(n)).collect();
    let plans: Vec<_> = pruning
        .kept
        .iter()
        .map(|&n| {
            let mut set = removed.clone();
            set.push(n);
            ablate_nodes(&set, config.ablation, &config.positions)
        })
        .collect();
    session.expect(plans.len());
    let metrics = session.evaluate(&plans)?;
    Ok(pruning.kept.iter().zip(metrics).map(|(&n, m)| (n, 100.0 * mean(&m) / pruning.full)).collect())
}
