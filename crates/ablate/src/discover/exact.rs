//! Exact effects: every edge (or node) ablated alone in a run of its own.
//!
//! - **What it computes**: the metric of the clean run minus the metric of the run in which only this edge is cut: its
//!   reader sees the source's value of the sender, everything after is computed live.
//! - **Formula**: `score(u→v) = mean over examples of L(x) − L(x | in_v += source_u − live_u)`.
//! - **Cost**: one suffix run an edge, from the reader's layer; edges into `logits` cost a norm and a dot product.
//! - **When to use**: as the truth that approximate methods are certified against; on small models, or with `--edges` on
//!   some edges of larger ones.
//! - **Differences from the reference**: none.
//! - **Source**: Syed et al. 2023 (arXiv 2310.10348), equation 1; Wang et al. 2022 for the edge as direct path.

use ablate_graph::{Cut, EdgeId, EdgeSet, Graph, Plan, Positions, Side};

use crate::ablation::Ablation;
use crate::effects::{Effect, effect};
use crate::error::Result;
use crate::session::Session;

/// The plan that cuts one edge.
pub fn cut_edge(graph: &Graph, edge: EdgeId, ablation: Ablation, positions: &Positions) -> Plan {
    let cut = Cut {
        graph: *graph,
        edges: EdgeSet::of(graph.n_edges(), [edge]),
        positions: positions.clone(),
        source: ablation.source,
        scale: ablation.scale,
    };
    Plan { cuts: vec![cut], ..Plan::on(Side::Clean) }
}

/// The effect of each edge alone, in the order given.
///
/// # Errors
/// As [`Session::evaluate`].
pub fn exact(
    session: &mut Session<'_, '_>,
    graph: &Graph,
    edges: &[EdgeId],
    ablation: Ablation,
    positions: &Positions,
) -> Result<Vec<Effect>> {
    session.expect(edges.len());
    if let Some(&edge) = edges.first() {
        session.study().prepare(&[cut_edge(graph, edge, ablation, positions)])?;
    }
    let base = session.base(Side::Clean)?;
    let mut out = Vec::with_capacity(edges.len());
    for some in edges.chunks(PLANS) {
        let plans: Vec<Plan> = some.iter().map(|&e| cut_edge(graph, e, ablation, positions)).collect();
        out.extend(session.evaluate(&plans)?.into_iter().map(|m| effect(&base, m)));
    }
    Ok(out)
}

/// Plans that exist at once.
const PLANS: usize = 1024;
