//! Certification: approximate scores against exact effects of a sample, in the run that made them.

use ablate_graph::{EdgeId, Graph, Level, Node, NodeId, Plan, Positions, Random, Scores, Side, stats};
use serde::Serialize;

use super::exact::cut_edge;
use crate::ablation::Ablation;
use crate::curve::mean;
use crate::effects::ablate_nodes;
use crate::error::Result;
use crate::session::Session;

/// How far scores agree with exact effects on a sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Certificate {
    /// Members of the sample: half of them drawn from the largest |score|, half from all.
    pub sample: usize,
    /// Spearman's rank correlation with the exact effects; `None` when one side is constant.
    pub spearman: Option<f64>,
    /// Share of members whose sign agrees, of those whose exact effect is not negligible.
    pub sign_agreement: Option<f64>,
    /// Pearson correlation.
    pub pearson: Option<f64>,
    /// Sum of the scores out of `input`, or of all its readers' share: what a method that keeps the total must give.
    pub sum_of_input: Option<f64>,
    /// The total effect: metric of the clean run minus metric of the run on the source's input.
    pub total: Option<f64>,
    /// `|sum − total| / |total|`.
    pub residual: Option<f64>,
    /// What that means, in a sentence.
    pub verdict: String,
}

/// Sampled ids: the first half among the largest tenth by |score|, the rest among all, drawn by seed without repetition.
pub fn sample(scores: &Scores, n: usize, seed: u64) -> Vec<u32> {
    let ranked: Vec<u32> = scores.ranked(true).iter().map(|r| r.id).collect();
    let random = Random::new(seed, "certify");
    let top = (ranked.len() / 10).max(n).min(ranked.len());
    let mut out = Vec::with_capacity(n);
    for (part, (pool, want)) in [(&ranked[..top], n / 2), (&ranked[..], n)].into_iter().enumerate() {
        let mut pool = pool.to_vec();
        random.shuffle(part as u64, &mut pool);
        for id in pool {
            if out.len() < want.min(ranked.len()) && !out.contains(&id) {
                out.push(id);
            }
        }
    }
    out.sort_unstable();
    out
}

/// The plan that ablates one member.
fn plan(graph: &Graph, level: Level, id: u32, ablation: Ablation) -> Plan {
    match level {
        Level::Edge => cut_edge(graph, EdgeId(id), ablation, &Positions::All),
        Level::Node => ablate_nodes(&[graph.node(NodeId(id))], ablation, &Positions::All),
    }
}

/// Compares `scores` with the exact effects of `n` members.
///
/// # Errors
/// As [`Session::evaluate`].
pub fn certify(
    session: &mut Session<'_, '_>,
    scores: &Scores,
    ablation: Ablation,
    n: usize,
    seed: u64,
) -> Result<Certificate> {
    let (graph, level) = (*scores.graph(), scores.level());
    let ids = sample(scores, n, seed);
    let mut plans: Vec<Plan> = ids.iter().map(|&id| plan(&graph, level, id, ablation)).collect();
    // the run whose input is the source's: everything follows from it
    plans.push(ablate_nodes(&[Node::Input], ablation, &Positions::All));
    session.study().prepare(&plans)?;
    let base = mean(&session.base(Side::Clean)?);
    let effects: Vec<f64> = session.evaluate(&plans)?.iter().map(|m| base - mean(m)).collect();
    let (total, effects) = effects.split_last().map_or((0.0, &[][..]), |(t, e)| (*t, e));
    let mine: Vec<f64> = ids.iter().map(|&id| scores.get(id).map_or(0.0, |r| r.score)).collect();
    let largest = effects.iter().fold(0.0_f64, |m, e| m.max(e.abs()));
    let matter = effects.iter().zip(&mine).filter(|(e, _)| e.abs() > 1e-3 * largest && largest > 0.0);
    let (agree, of) = matter.fold((0, 0), |(a, n), (e, s)| (a + usize::from(e * s > 0.0), n + 1));
    let spearman = stats::spearman(&mine, effects).ok();
    let sign_agreement = (of > 0).then(|| f64::from(agree as u32) / f64::from(of as u32));
    let sum = sum_of_input(scores);
    let residual = sum.filter(|_| total.abs() > 0.0).map(|s| (s - total).abs() / total.abs());
    Ok(Certificate {
        sample: ids.len(),
        spearman,
        sign_agreement,
        pearson: stats::pearson(&mine, effects).ok(),
        sum_of_input: sum,
        total: sum.map(|_| total),
        residual,
        verdict: verdict(spearman, sign_agreement),
    })
}

/// Sum of the scores of what `input` does, when all of it was scored.
fn sum_of_input(scores: &Scores) -> Option<f64> {
    let graph = scores.graph();
    let input = graph.node_id(Node::Input)?;
    match scores.level() {
        Level::Node => scores.of_node(input).map(|r| r.score),
        Level::Edge => graph.out_edges(input).map(|e| scores.of_edge(e).map(|r| r.score)).sum(),
    }
}

/// Ranks below this are not to be trusted.
const WEAK: f64 = 0.6;
/// Ranks above this can be.
const STRONG: f64 = 0.9;

fn verdict(spearman: Option<f64>, sign: Option<f64>) -> String {
    match (spearman, sign) {
        (Some(r), Some(s)) if r >= STRONG && s >= STRONG => "the ranking can be trusted on this data".into(),
        (Some(r), Some(s)) if r >= WEAK && s >= WEAK => {
            "roughly right: check members near the cut with `--method exact --edges …`".into()
        }
        (Some(_), Some(_)) => {
            "not to be trusted here: use exact, or integrated gradients with more steps".into()
        }
        _ => "nothing to compare: the sampled effects are all the same".into(),
    }
}

impl Certificate {
    /// Whether ranks and signs agree at least as well as asked.
    pub fn passes(&self, spearman: f64) -> bool {
        self.spearman.is_some_and(|r| r >= spearman)
    }
}
