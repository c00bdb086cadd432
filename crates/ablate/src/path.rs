//! Path patching: what a sender's other value does when it travels only along a path of the graph.
//!
//! - **What it computes**: the sender's output becomes the source's; the change reaches the receivers without passing
//!   other heads, and MLPs between only with [`Through::Mlp`]. With [`After::Recompute`] the last receivers' inputs are
//!   patched in an otherwise live clean run (step D of the IOI paper); with [`After::Frozen`] their new outputs reach the
//!   logits under the same rule. Chains of several hops hold everything that is not on the path.
//! - **Formula**: `in_r(patched) = in_r(clean) + Δ_r`, `Δ_r = Δ_sender + Σ (MLP(in + Δ) - MLP(in))` over MLPs between; norms
//!   are computed anew on the sum. `score = metric(clean) - metric(patched)`.
//! - **Cost**: to the logits a norm and a dot product a sender; into heads a suffix run from the receivers' layer.
//! - **Differences from the reference**: none in step D; TransformerLens's own path patching freezes norm scales.
//! - **Source**: Wang et al. 2022 (arXiv 2211.00593), section 3.1 and appendix B; Goldowsky-Dill et al. 2023.

use ablate_graph::{Cut, EdgeSet, Graph, Node, Plan, Positions, Reader, Side};

use crate::ablation::Ablation;
use crate::effects::{Effect, effect};
use crate::error::{Error, Result};
use crate::session::Session;

/// What lies between a sender and its receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Through {
    /// Heads and MLPs are held: only the stream and norms carry the change.
    #[default]
    None,
    /// Heads are held, MLPs are computed anew.
    Mlp,
}

/// What happens after the receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum After {
    /// Everything after them is computed anew.
    #[default]
    Recompute,
    /// Their new outputs reach the logits under the same rule as the sender reached them.
    Frozen,
}

/// A path: where it starts, the groups of readers it passes, and the rules on the way. Without hops it ends at `logits`.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The graph whose readers these are.
    pub graph: Graph,
    /// Readers passed, group by group; [`Reader::Logits`] alone = directly to the logits.
    pub hops: Vec<Vec<Reader>>,
    /// What lies between.
    pub through: Through,
    /// What comes after the last hop.
    pub after: After,
    /// Positions at which the sender is replaced.
    pub positions: Positions,
    /// What it is replaced by.
    pub ablation: Ablation,
}

impl Route {
    /// Checks that hops are not empty, follow one another and end where a path can end.
    ///
    /// # Errors
    /// A hop that is empty, comes after `logits`, or mixes `logits` with others.
    pub fn check(&self) -> Result<()> {
        for (i, hop) in self.hops.iter().enumerate() {
            let logits = hop.contains(&Reader::Logits);
            if hop.is_empty() || (logits && (hop.len() > 1 || i + 1 < self.hops.len())) {
                return Err(Error::argument(
                    format!("hop {} of the path is empty, or goes on after logits", i + 1),
                    "name receivers like a9.h6<q>,a9.h9<q>; logits can only be the end",
                ));
            }
        }
        Ok(())
    }

    /// The hops before `logits`.
    pub(crate) fn inner(&self) -> Vec<&[Reader]> {
        self.hops.iter().map(Vec::as_slice).filter(|h| *h != [Reader::Logits]).collect()
    }

    /// The plan that cuts the edges from `sender` to the first hop: the path itself where it is one set of edges.
    pub fn first_plan(&self, sender: Node) -> Plan {
        let cut = Cut {
            graph: self.graph,
            edges: self.edges(sender),
            positions: self.positions.clone(),
            source: self.ablation.source,
            scale: self.ablation.scale,
        };
        Plan { cuts: vec![cut], ..Plan::on(Side::Clean) }
    }

    /// Whether the path is one set of edges.
    fn is_edges(&self) -> bool {
        let inner = self.inner().len();
        self.through == Through::None
            && (inner == 0 || (inner == 1 && self.after == After::Recompute && self.hops.len() == 1))
    }

    /// The edges from `sender` to the only hop.
    fn edges(&self, sender: Node) -> EdgeSet {
        let logits = [Reader::Logits];
        let inner = self.inner();
        let readers = inner.first().copied().unwrap_or(&logits);
        let id = |r: &Reader| self.graph.edge_between(self.graph.node_id(sender)?, self.graph.reader_id(*r)?);
        EdgeSet::of(self.graph.n_edges(), readers.iter().filter_map(id))
    }
}

/// The effect of each sender along `route`, one sender at a time.
///
/// # Errors
/// As [`Session::evaluate`] and [`Route::check`].
pub fn path_patch(session: &mut Session<'_, '_>, senders: &[Node], route: &Route) -> Result<Vec<Effect>> {
    route.check()?;
    session.expect(senders.len());
    let metrics = if route.is_edges() {
        let plans: Vec<Plan> = senders.iter().map(|&s| route.first_plan(s)).collect();
        session.study().prepare(&plans)?;
        session.evaluate(&plans)?
    } else {
        let metrics = session.study().paths(senders, route)?;
        session.advance(senders.len());
        metrics
    };
    let base = session.base(Side::Clean)?;
    Ok(metrics.into_iter().map(|m| effect(&base, m)).collect())
}
