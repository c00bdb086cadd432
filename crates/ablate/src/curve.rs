//! Removal curves: ablate nodes one after the other, the least harmful first.

use ablate_graph::{Node, Plan, Positions, Side};

use crate::ablation::Ablation;
use crate::effects::ablate_nodes;
use crate::error::Result;
use crate::session::Session;

/// How the order of removal is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranking {
    /// Effects of single ablations, ranked once.
    Once,
    /// Every round measures each remaining node beside all removed ones and removes the least harmful.
    Greedy,
}

/// One step of a removal curve.
#[derive(Clone, Debug, PartialEq)]
pub struct CurveStep {
    /// Removed in this step, beside all earlier ones.
    pub removed: Node,
    /// Metric of each example after it.
    pub metrics: Vec<f64>,
}

/// The plan of step `i`: exactly the first `i + 1` nodes of `order` are ablated.
pub fn step_plan(order: &[Node], i: usize, ablation: Ablation, positions: &Positions) -> Plan {
    ablate_nodes(&order[..=i], ablation, positions)
}

/// The removal curve of `nodes`.
///
/// # Errors
/// As [`Session::evaluate`].
pub fn rank_curve(
    session: &mut Session<'_, '_>,
    nodes: &[Node],
    ablation: Ablation,
    positions: &Positions,
    ranking: Ranking,
) -> Result<Vec<CurveStep>> {
    session.study().prepare(&[ablate_nodes(nodes, ablation, positions)])?;
    session.base(Side::Clean)?;
    match ranking {
        Ranking::Once => once(session, nodes, ablation, positions),
        Ranking::Greedy => greedy(session, nodes, ablation, positions),
    }
}

fn once(
    session: &mut Session<'_, '_>,
    nodes: &[Node],
    ablation: Ablation,
    positions: &Positions,
) -> Result<Vec<CurveStep>> {
    session.expect(2 * nodes.len());
    let singles: Vec<Plan> = nodes.iter().map(|&n| ablate_nodes(&[n], ablation, positions)).collect();
    let means: Vec<f64> = session.evaluate(&singles)?.iter().map(|m| mean(m)).collect();
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by(|&a, &b| means[b].total_cmp(&means[a]).then(a.cmp(&b)));
    let order: Vec<Node> = order.into_iter().map(|i| nodes[i]).collect();
    let plans: Vec<Plan> = (0..order.len()).map(|i| step_plan(&order, i, ablation, positions)).collect();
    let metrics = session.evaluate(&plans)?;
    Ok(order.into_iter().zip(metrics).map(|(removed, metrics)| CurveStep { removed, metrics }).collect())
}

fn greedy(
    session: &mut Session<'_, '_>,
    nodes: &[Node],
    ablation: Ablation,
    positions: &Positions,
) -> Result<Vec<CurveStep>> {
    let n = nodes.len();
    session.expect(n * (n + 1) / 2);
    let mut left: Vec<Node> = nodes.to_vec();
    let mut removed: Vec<Node> = Vec::new();
    let mut steps = Vec::with_capacity(n);
    while !left.is_empty() {
        let plans: Vec<Plan> = left
            .iter()
            .map(|&candidate| {
                let mut set = removed.clone();
                set.push(candidate);
                ablate_nodes(&set, ablation, positions)
            })
            .collect();
        let metrics = session.evaluate(&plans)?;
        let best = (0..left.len()).fold(0, |b, i| if mean(&metrics[i]) > mean(&metrics[b]) { i } else { b });
        let node = left.remove(best);
        removed.push(node);
        session.accept(&plans[best]);
        steps.push(CurveStep { removed: node, metrics: metrics[best].clone() });
    }
    session.restart();
    Ok(steps)
}

/// Mean of a list that is not empty.
pub fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}
