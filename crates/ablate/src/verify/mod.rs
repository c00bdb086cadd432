//! Whether a circuit does what the model does: faithfulness with intervals, curves over sizes, completeness, minimality,
//! random circuits, and hypothesis tests.
//!
//! Everything outside a circuit is ablated by the frame's source, node outputs are live, dangling edges are not pruned.
//! Circuits of heads never ablate `input` and MLPs; circuits with MLPs among their members ablate the other MLPs too.

mod completeness;
mod curve;
mod hypothesis;
mod minimality;
mod random;

use ablate_graph::rng::Random;
use ablate_graph::{Circuit, Cut, EdgeSet, Graph, Members, Node, NodeSet, Plan, Positions, Side, stats};
use serde::Serialize;

use crate::ablation::Ablation;
use crate::curve::mean;
use crate::effects::ablate_nodes;
use crate::error::{Error, Result};
use crate::session::Session;

pub use completeness::{Completeness, completeness};
pub use curve::{Curve, CurvePoint, curve_of_scores, curve_of_sets};
pub use hypothesis::{Test, equivalence, independence, sufficiency};
pub use minimality::{Member, minimality, minimality_tests};
pub use random::{random_circuit, random_circuits};

/// How circuits are run.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The graph.
    pub graph: Graph,
    /// What stands for everything outside a circuit.
    pub ablation: Ablation,
    /// At which positions.
    pub positions: Positions,
    /// Senders that a circuit of nodes may leave out.
    pub candidates: Vec<Node>,
}

impl Frame {
    /// The frame for circuits like `circuit`: of a circuit of nodes, candidates are the kinds of its members, heads
    /// always.
    pub fn new(circuit: &Circuit, ablation: Ablation, positions: Positions) -> Self {
        let graph = *circuit.graph();
        let mut candidates: Vec<Node> = graph.heads().collect();
        if let Some(nodes) = circuit.nodes() {
            let members: Vec<Node> = nodes.iter().map(|id| graph.node(id)).collect();
            if members.iter().any(|n| matches!(n, Node::Mlp { .. })) {
                candidates.extend(graph.mlps());
            }
            if members.contains(&Node::Input) {
                candidates.push(Node::Input);
            }
            candidates.sort_by_key(|n| graph.node_id(*n));
        }
        Self { graph, ablation, positions, candidates }
    }

    /// The run of a circuit. Nodes of an edge circuit that reach nothing are replaced rather than cut: the same run.
    pub fn plan(&self, circuit: &Circuit) -> Plan {
        match circuit.members() {
            Members::Nodes(members) => {
                let outside = |n: &Node| self.graph.node_id(*n).is_some_and(|id| !members.contains(id));
                let outside: Vec<Node> = self.candidates.iter().copied().filter(outside).collect();
                ablate_nodes(&outside, self.ablation, &self.positions)
            }
            Members::Edges(members) => {
                let edges = members.complement();
                let dead = self.graph.dead(&edges);
                let cut = Cut {
                    graph: self.graph,
                    edges,
                    positions: self.positions.clone(),
                    source: self.ablation.source,
                    scale: self.ablation.scale,
                };
                if cut.edges.is_empty() {
                    return Plan::on(Side::Clean);
                }
                Plan { cuts: vec![cut], ..Plan::on(Side::Clean) }.settled(&dead)
            }
        }
    }

    /// A circuit of these members, of the level of `like`.
    fn of(&self, like: &Circuit, ids: &[u32]) -> Result<Circuit> {
        Ok(Circuit::of_ids(&self.graph, like.level(), ids.iter().copied())?)
    }

    /// The ids that a circuit of the level of `like` may hold or leave out.
    fn pool(&self, like: &Circuit) -> Vec<u32> {
        match like.members() {
            Members::Nodes(_) => {
                self.candidates.iter().filter_map(|n| self.graph.node_id(*n)).map(|id| id.0).collect()
            }
            Members::Edges(_) => (0..self.graph.n_edges() as u32).collect(),
        }
    }

    /// Everything that a circuit of the level of `like` could hold, without the members of `out`.
    fn all_but(&self, like: &Circuit, out: &[u32]) -> Circuit {
        let pool = self.pool(like).into_iter().filter(|id| !out.contains(id));
        let members: Members = match like.members() {
            Members::Nodes(_) => NodeSet::of(self.graph.n_senders(), pool.map(ablate_graph::NodeId)).into(),
            Members::Edges(_) => EdgeSet::of(self.graph.n_edges(), pool.map(ablate_graph::EdgeId)).into(),
        };
        Circuit::new(&self.graph, members).unwrap_or_else(|_| Circuit::full(&self.graph, like.level()))
    }
}

/// The metric of a circuit beside the full and the ablated model's.
#[derive(Clone, Debug, PartialEq)]
pub struct Faithfulness {
    /// Of the clean run, `[examples]`.
    pub clean: Vec<f64>,
    /// Of the run with everything ablated, `[examples]`.
    pub ablated: Vec<f64>,
    /// Of the circuit, `[examples]`.
    pub circuit: Vec<f64>,
    /// `(F(C) − F(∅)) / (F(full) − F(∅))`, means over examples; `None` where full and ablated coincide.
    pub value: Option<f64>,
    /// Bootstrap interval of it over examples, 95%.
    pub interval: Option<(f64, f64)>,
}

/// Full and ablated metrics closer than this say nothing about a circuit between them.
const COINCIDE: f64 = 1e-9;

/// `(circuit − ablated) / (clean − ablated)` of means; `None` where clean and ablated coincide.
pub fn share(clean: f64, ablated: f64, circuit: f64) -> Option<f64> {
    let total = clean - ablated;
    (total.abs() > COINCIDE * (1.0 + clean.abs())).then(|| (circuit - ablated) / total)
}

/// Resamples of a bootstrap interval.
const RESAMPLES: usize = 2000;

/// Runs the circuit, the full and the ablated model.
///
/// # Errors
/// As [`Session::evaluate`].
pub fn faithfulness(
    session: &mut Session<'_, '_>,
    frame: &Frame,
    circuit: &Circuit,
    seed: u64,
) -> Result<Faithfulness> {
    let empty = Circuit::empty(&frame.graph, circuit.level());
    let plans = [frame.plan(circuit), frame.plan(&empty)];
    session.study().prepare(&plans)?;
    let clean = session.base(Side::Clean)?;
    let mut runs = session.evaluate(&plans)?;
    let ablated = runs.pop().unwrap_or_default();
    let circuit = runs.pop().unwrap_or_default();
    let of = |rows: &[usize]| {
        let pick = |v: &[f64]| rows.iter().map(|&r| v[r]).sum::<f64>() / rows.len() as f64;
        share(pick(&clean), pick(&ablated), pick(&circuit)).unwrap_or(f64::NAN)
    };
    let interval = stats::bootstrap(clean.len(), RESAMPLES, 0.95, Random::new(seed, "faithfulness"), of);
    let value = share(mean(&clean), mean(&ablated), mean(&circuit));
    Ok(Faithfulness { interval: interval.filter(|_| value.is_some()), value, clean, ablated, circuit })
}

/// A check that a bound was met.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bound {
    /// What was bounded.
    pub what: String,
    /// Its value.
    pub value: f64,
    /// The bound.
    pub at_least: f64,
    /// Whether it was met.
    pub passed: bool,
}

/// Refuses circuits that cannot be verified.
///
/// # Errors
/// Members that are not candidates of the frame.
pub fn check(frame: &Frame, circuit: &Circuit) -> Result<()> {
    if circuit.graph() != &frame.graph {
        return Err(Error::argument(
            format!(
                "the circuit is of another graph ({}) than the model ({})",
                circuit.graph().describe(),
                frame.graph.describe()
            ),
            "take the model that the circuit was found in",
        ));
    }
    Ok(())
}
