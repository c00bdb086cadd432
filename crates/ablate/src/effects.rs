//! Effects of single nodes: one plan a node, evaluated together.

use ablate_graph::{Edit, Node, Plan, Positions, Side, Site};

use crate::ablation::Ablation;
use crate::error::Result;
use crate::session::Session;

/// The effect of one edit on every example.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// Metric of the edited run, `[examples]`.
    pub metrics: Vec<f64>,
    /// Metric of the plain run minus metric of the edited run, `[examples]`: above 0 = the part supports the behaviour.
    pub scores: Vec<f64>,
}

/// The plan that ablates `nodes` at `positions`.
pub fn ablate_nodes(nodes: &[Node], ablation: Ablation, positions: &Positions) -> Plan {
    nodes.iter().fold(Plan::new(), |plan, &node| {
        plan.edit(Edit {
            site: Site::Node(node),
            positions: positions.clone(),
            source: ablation.source,
            scale: ablation.scale,
        })
    })
}

/// Effects of ablating each node alone, in the order given.
///
/// # Errors
/// As [`Session::evaluate`].
pub fn sweep(
    session: &mut Session<'_, '_>,
    nodes: &[Node],
    ablation: Ablation,
    positions: &Positions,
) -> Result<Vec<Effect>> {
    let plans: Vec<Plan> = nodes.iter().map(|&n| ablate_nodes(&[n], ablation, positions)).collect();
    session.study().prepare(&plans)?;
    session.expect(plans.len());
    let base = session.base(Side::Clean)?;
    let metrics = session.evaluate(&plans)?;
    Ok(metrics.into_iter().map(|metrics| effect(&base, metrics)).collect())
}

/// The effect of a run against a base.
pub(crate) fn effect(base: &[f64], metrics: Vec<f64>) -> Effect {
    let scores = base.iter().zip(&metrics).map(|(b, m)| b - m).collect();
    Effect { metrics, scores }
}
