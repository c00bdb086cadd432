//! ACDC: automatic circuit discovery by trying to cut one edge after the other.
//!
//! - **What it computes**: readers are visited from last to first and, for each, its senders from last to first. An edge
//!   is removed for good when the metric falls by less than τ beside everything removed before; else it stays.
//! - **Formula**: remove `e` iff `F(kept) − F(kept ∖ e) < τ`, `F` = mean metric (`kl` = −KL(P_clean ‖ P_run)), `F` of the
//!   empty removal = the clean run's.
//! - **Cost**: one suffix run an edge, from the reader's layer; none for edges into a node from which no kept path leads to
//!   the logits (they change nothing). The next edges are evaluated in one batch under guessed decisions; what follows a
//!   wrong guess is thrown away, so the decisions are those of the sequential method.
//! - **Positions**: an edge may be cut at some positions of its reader's input only; elsewhere it is live. Keys and values
//!   of those positions are read by later ones, so a node without kept edges is then not known to be dead: every edge is
//!   run.
//! - **When to use**: for a circuit without a size to choose; the result depends on the order, which is recorded.
//! - **Differences from the reference**: runs of dead nodes are skipped (their edges are removed all the same); peers that
//!   look at the first batch only, or score by the smallest τ, are not followed.
//! - **Source**: Conmy et al. 2023 (arXiv 2304.14997), algorithm 1.

use ablate_graph::{Cut, EdgeId, EdgeSet, Graph, Node, NodeSet, Plan, Positions, ReaderId, Side};

use crate::ablation::Ablation;
use crate::curve::mean;
use crate::error::{Error, Result};
use crate::session::Session;

/// What ACDC is run with.
#[derive(Clone, Debug)]
pub struct AcdcConfig {
    /// The graph whose edges are tried.
    pub graph: Graph,
    /// Largest fall of the mean metric, exclusive, for which an edge is removed; above 0.
    pub threshold: f64,
    /// What readers see instead.
    pub ablation: Ablation,
    /// Positions of the readers' inputs at which edges are cut, and which decisions are about.
    pub positions: Positions,
    /// Edges that are tried; all others stay.
    pub candidates: EdgeSet,
    /// Evaluations in one batch at most; 1 = one after the other.
    pub speculate: usize,
}

/// One decision.
#[derive(Clone, Debug, PartialEq)]
pub struct AcdcStep {
    /// The edge tried.
    pub edge: EdgeId,
    /// Mean metric without it and without everything removed before.
    pub metric: f64,
    /// How much the metric falls.
    pub fall: f64,
    /// Whether it was removed.
    pub removed: bool,
    /// Whether a run was needed: not into nodes that reach nothing any more.
    pub run: bool,
}

/// What ACDC found.
#[derive(Clone, Debug)]
pub struct AcdcResult {
    /// The edges that stay.
    pub kept: EdgeSet,
    /// Every decision, in order.
    pub steps: Vec<AcdcStep>,
    /// Mean metric of the circuit.
    pub metric: f64,
    /// Runs that decisions were taken from.
    pub evaluations: u64,
    /// Runs that a wrong guess made useless.
    pub wasted: u64,
    /// Batches in which the runs were made: what the sequential method needs `evaluations` of.
    pub batches: u64,
}

/// An edge on the list of a batch.
struct Guess {
    edge: EdgeId,
    /// Index of its plan in the batch; `None` = it cannot change anything.
    plan: Option<usize>,
    remove: bool,
}

struct Search<'a> {
    config: &'a AcdcConfig,
    order: Vec<EdgeId>,
    removed: EdgeSet,
    /// Whether the last tried edge out of each sender was removed.
    last: Vec<bool>,
    /// Evaluations in the next batch.
    width: usize,
}

/// Readers from last to first, for each its senders from last to first.
pub fn order(graph: &Graph, candidates: &EdgeSet) -> Vec<EdgeId> {
    let readers = graph.reader_ids().rev();
    readers.flat_map(|r| graph.in_edges(r).rev()).filter(|e| candidates.contains(*e)).collect()
}

/// Runs ACDC.
///
/// # Errors
/// A threshold that is not above 0; as [`Session::evaluate`].
pub fn acdc(session: &mut Session<'_, '_>, config: &AcdcConfig) -> Result<AcdcResult> {
    if !(config.threshold.is_finite() && config.threshold > 0.0) {
        return Err(Error::argument(
            format!("the threshold {} is not above 0", config.threshold),
            "edges that change nothing could never be removed: take a small number such as 0.01",
        ));
    }
    let graph = config.graph;
    session.study().prepare(&[plan(
        config,
        &EdgeSet::full(graph.n_edges()),
        &NodeSet::new(graph.n_senders()),
    )])?;
    let mut search = Search {
        config,
        order: order(&graph, &config.candidates),
        removed: EdgeSet::new(graph.n_edges()),
        last: vec![true; graph.n_senders()],
        width: config.speculate.clamp(1, 4),
    };
    session.expect(search.order.len());
    let mut current = mean(&session.base(Side::Clean)?);
    let mut result = AcdcResult {
        kept: EdgeSet::full(graph.n_edges()),
        steps: Vec::with_capacity(search.order.len()),
        metric: current,
        evaluations: 0,
        wasted: 0,
        batches: 0,
    };
    let mut at = 0;
    while at < search.order.len() {
        let (guesses, plans) = search.batch(at);
        let metrics = session.evaluate(&plans)?;
        result.batches += u64::from(!plans.is_empty());
        let metrics: Vec<f64> = metrics.iter().map(|m| mean(m)).collect();
        let taken = search.decide(&guesses, &metrics, &mut current, &mut result);
        at += taken;
        search.adapt(taken == guesses.len());
    }
    result.kept = search.removed.complement();
    result.metric = current;
    Ok(result)
}

/// The run without `removed`, whose dead nodes are known.
fn plan(config: &AcdcConfig, removed: &EdgeSet, dead: &NodeSet) -> Plan {
    let cut = Cut {
        graph: config.graph,
        edges: removed.clone(),
        positions: config.positions.clone(),
        source: config.ablation.source,
        scale: config.ablation.scale,
    };
    Plan { cuts: vec![cut], ..Plan::on(Side::Clean) }.settled(dead)
}

impl Search<'_> {
    /// The next edges under guessed decisions, and the plans of those that need a run.
    fn batch(&self, at: usize) -> (Vec<Guess>, Vec<Plan>) {
        let graph = self.config.graph;
        let mut assumed = self.removed.clone();
        let mut dead = NodeSet::new(graph.n_senders());
        let mut reader: Option<(ReaderId, bool)> = None;
        let (mut guesses, mut plans) = (Vec::new(), Vec::new());
        for &edge in &self.order[at..] {
            let (sender, into) = graph.ends(edge);
            if reader.is_none_or(|(r, _)| r != into) {
                if self.config.positions == Positions::All {
                    dead = graph.dead(&assumed);
                }
                let nodes = graph.nodes_of(graph.reader(into));
                let is_dead = |n: Node| graph.node_id(n).is_some_and(|id| dead.contains(id));
                reader = Some((into, nodes.into_iter().all(is_dead)));
            }
            if reader.is_some_and(|(_, is_dead)| is_dead) {
                assumed.insert(edge);
                guesses.push(Guess { edge, plan: None, remove: true });
                continue;
            }
            if plans.len() == self.width {
                break;
            }
            let mut cut = assumed.clone();
            cut.insert(edge);
            plans.push(plan(self.config, &cut, &dead));
            let remove = self.last[sender.index()];
            if remove {
                assumed = cut;
            }
            guesses.push(Guess { edge, plan: Some(plans.len() - 1), remove });
        }
        (guesses, plans)
    }

    /// Takes decisions as long as the guesses before them were right; returns how many.
    fn decide(
        &mut self,
        guesses: &[Guess],
        metrics: &[f64],
        current: &mut f64,
        result: &mut AcdcResult,
    ) -> usize {
        for (i, guess) in guesses.iter().enumerate() {
            let metric = guess.plan.map_or(*current, |p| metrics[p]);
            let fall = *current - metric;
            let removed = guess.plan.is_none() || fall < self.config.threshold;
            let run = guess.plan.is_some();
            result.steps.push(AcdcStep { edge: guess.edge, metric, fall, removed, run });
            result.evaluations += u64::from(run);
            if removed {
                self.removed.insert(guess.edge);
                *current = metric;
            }
            self.last[self.config.graph.ends(guess.edge).0.index()] = removed;
            if removed != guess.remove {
                result.wasted += guesses[i + 1..].iter().filter(|g| g.plan.is_some()).count() as u64;
                return i + 1;
            }
        }
        guesses.len()
    }

    fn adapt(&mut self, right: bool) {
        let most = self.config.speculate.max(1);
        self.width = if right { (2 * self.width).min(most) } else { (self.width / 2).max(1) };
    }
}
