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
use ablate_model::Row;

use crate::ablation::Ablation;
use crate::effects::{Effect, effect};
use crate::error::{Error, Result};
use crate::run::Watch;
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

    /// Whether none of `senders` is read by the first hop: their effect is 0 whatever they say.
    pub fn misses(&self, senders: &[Node]) -> bool {
        senders.iter().all(|&sender| self.edges(sender).is_empty())
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
        let groups: Vec<Vec<Node>> = senders.iter().map(|&s| vec![s]).collect();
        let metrics = session.study().paths(&groups, route)?;
        session.advance(senders.len());
        metrics
    };
    let base = session.base(Side::Clean)?;
    Ok(metrics.into_iter().map(|m| effect(&base, m)).collect())
}

/// What each sender does, one at a time along `route`, to the attention that the heads of the last hop (their mean) pay from
/// the position `watch` names to `key`: the attention in the clean run, `[rows]`, and the effects. The path ends in the
/// heads' patterns, so nothing after them is run; in each of the heads only the inputs that the last hop names change.
///
/// # Errors
/// As [`Session::evaluate`] and [`Route::check`]; a last hop that is not of heads; positions that are not one of each row.
pub fn path_attention(
    session: &mut Session<'_, '_>,
    senders: &[Node],
    route: &Route,
    watch: &Watch,
    key: &Positions,
) -> Result<(Vec<f64>, Vec<Effect>)> {
    session.expect(senders.len());
    let rows = session.study().batch().rows().iter().enumerate();
    let keys = rows.map(|(i, row)| one_position(row, key, i)).collect::<Result<Vec<usize>>>()?;
    let groups: Vec<Vec<Node>> = senders.iter().map(|&s| vec![s]).collect();
    let seen = session.study().attend(&groups, route, watch)?;
    session.advance(senders.len());
    let at = |patterns: &[Vec<f64>]| -> Vec<f64> {
        patterns.iter().zip(&keys).map(|(p, &k)| p.get(k).copied().unwrap_or_default()).collect()
    };
    let clean = at(&seen.clean);
    let effects = seen.patched.iter().map(|p| effect(&clean, at(p))).collect();
    Ok((clean, effects))
}

/// The one position of a row that `positions` names.
fn one_position(row: &Row, positions: &Positions, i: usize) -> Result<usize> {
    let last = row.clean.len() - 1;
    let found = match positions {
        Positions::Last => Some(last),
        Positions::At(at) => at.first().copied().filter(|p| at.len() == 1 && *p <= last),
        Positions::Named(names) if names.len() == 1 => {
            let named = row.positions.iter().find(|(n, _)| *n == names[0]).map(|(_, p)| *p);
            named.or((names[0] == "end").then_some(last))
        }
        Positions::Named(_) | Positions::All => None,
    };
    found.ok_or_else(|| Error::Row {
        row: i,
        message: format!("`{positions}` is not one position of the row"),
        hint: Some(
            "attention goes from one position to one: name last, an index, or a named position".into(),
        ),
    })
}
