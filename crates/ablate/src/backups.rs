//! Backups: nodes that do more once others are gone.
//!
//! - **What it computes**: the direct effect of each node on the logits in the plain run and in a run in which a group is
//!   ablated: its output becomes the source's, for the final norm alone.
//! - **Formula**: `before = metric(clean) - metric(clean, node cut)`, `after = metric(without) - metric(without, node cut)`,
//!   `growth = after - before`. Intervals: bootstrap over rows.
//! - **Cost**: a run without the group; then a norm and a few dot products a node, as for path patching.
//! - **Source**: Wang et al. 2022 (arXiv 2211.00593), section 3.4 (backup name movers); McGrath et al. 2023 (the Hydra
//!   effect).

use ablate_graph::{Cut, Edge, EdgeSet, Graph, Node, Plan, Positions, Random, Reader, Side};

use crate::ablation::Ablation;
use crate::effects::ablate_nodes;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::signals::Estimated;

/// What is knocked out, and whose direct effects are compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Knockout {
    /// The graph of the model.
    pub graph: Graph,
    /// The nodes that are ablated.
    pub group: Vec<Node>,
    /// By what.
    pub ablation: Ablation,
    /// At which positions.
    pub positions: Positions,
    /// What a node's output becomes where its direct effect is measured.
    pub direct: Ablation,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// A node before and after.
#[derive(Clone, Debug, PartialEq)]
pub struct Backup {
    /// The node.
    pub node: Node,
    /// Its direct effect in the plain run.
    pub before: Estimated,
    /// Its direct effect without the group.
    pub after: Estimated,
    /// After minus before, paired by row.
    pub growth: Estimated,
}

/// What a knockout does.
#[derive(Clone, Debug, PartialEq)]
pub struct Backups {
    /// The metric without the group, `[rows]`.
    pub without: Vec<f64>,
    /// The direct effect of the whole group in the plain run, `[rows]`.
    pub direct: Vec<f64>,
    /// The nodes, in the order given; those of the group are left out.
    pub rows: Vec<Backup>,
}

/// Compares direct effects of `nodes` with and without the group.
///
/// # Errors
/// An empty group, no nodes beside it; as [`Session::evaluate`].
pub fn backups(session: &mut Session<'_, '_>, nodes: &[Node], knockout: &Knockout) -> Result<Backups> {
    if knockout.group.is_empty() {
        return Err(Error::argument(
            "the group that is knocked out is empty",
            "name nodes: --group a9.h6,a9.h9",
        ));
    }
    let rest: Vec<Node> = nodes.iter().copied().filter(|n| !knockout.group.contains(n)).collect();
    if rest.is_empty() {
        return Err(Error::argument(
            "no nodes are left beside the group",
            "name those that may take over: --nodes heads",
        ));
    }
    let knocked = ablate_nodes(&knockout.group, knockout.ablation, &knockout.positions);
    let mut plain: Vec<Plan> =
        rest.iter().map(|&n| with_cut(Plan::on(Side::Clean), knockout, &[n])).collect();
    let edited: Vec<Plan> = rest.iter().map(|&n| with_cut(knocked.clone(), knockout, &[n])).collect();
    plain.push(with_cut(Plan::on(Side::Clean), knockout, &knockout.group));
    session.study().prepare(&[&plain[..1], &edited[..1]].concat())?;
    session.expect(plain.len() + edited.len() + 1);
    let base = session.base(Side::Clean)?;
    let mut before = session.evaluate(&plain)?;
    let group = before.pop().unwrap_or_default();
    let without = session.trial(&knocked)?;
    session.accept(&knocked);
    let after = session.evaluate(&edited)?;
    session.restart();
    let random = Random::new(knockout.seed, "backups");
    let difference = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a - b).collect() };
    let rows = rest
        .into_iter()
        .zip(before.iter().zip(&after))
        .map(|(node, (b, a))| {
            let (before, after) = (difference(&base, b), difference(&without, a));
            let growth = difference(&after, &before);
            let [before, after, growth] = [&before, &after, &growth].map(|v| Estimated::of(v, random));
            Backup { node, before, after, growth }
        })
        .collect();
    Ok(Backups { direct: difference(&base, &group), without, rows })
}

/// `plan` with the edges from `nodes` to the logits cut.
fn with_cut(mut plan: Plan, knockout: &Knockout, nodes: &[Node]) -> Plan {
    let graph = knockout.graph;
    let edges = nodes.iter().filter_map(|&n| graph.edge_id(Edge { sender: n, reader: Reader::Logits }));
    plan.cuts.push(Cut {
        graph,
        edges: EdgeSet::of(graph.n_edges(), edges),
        positions: Positions::All,
        source: knockout.direct.source,
        scale: knockout.direct.scale,
    });
    plan
}
