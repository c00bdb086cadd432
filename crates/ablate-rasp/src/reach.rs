//! Where it matters what BOS holds.
//!
//! Heads fall back on BOS when they select nothing, so BOS must hold no values. The reference compiler clears
//! only the widths; what a map of a number leaves there, and what two widths of a layer leave there by
//! clearing twice, it ignores. This crate does the same, for equal weights, unless a head could notice.

use crate::graph::{Expr, Graph};
use crate::sop::{Encoding, SopKind};

/// How a node uses another.
enum Use {
    /// As the keys of a selector.
    Key,
    /// As the queries of a selector.
    Query,
    /// As the values of an aggregate.
    Value(Encoding),
    /// Position by position.
    Map,
}

fn uses(graph: &Graph, node: usize) -> impl Iterator<Item = (usize, Use)> {
    graph.nodes.iter().enumerate().flat_map(move |(user, n)| {
        let slots = n.children.iter().enumerate().filter(move |(_, child)| **child == node);
        slots.filter_map(move |(slot, _)| match &n.expr {
            Expr::Selector(_) if slot == 0 => Some((user, Use::Key)),
            Expr::Selector(_) => Some((user, Use::Query)),
            Expr::Sop(sop) => match sop.node().kind {
                SopKind::Aggregate { .. } if slot == 1 => Some((user, Use::Value(sop.encoding()))),
                SopKind::Aggregate { .. } | SopKind::Width(_) => None,
                _ => Some((user, Use::Map)),
            },
        })
    })
}

/// Whether a head later notices a value of `node` at BOS.
pub(crate) fn matters_at_bos(graph: &Graph, node: usize) -> bool {
    let mut seen = vec![[false; 2]; graph.nodes.len()];
    notices(graph, node, true, &mut seen)
}

/// With `at_bos`, whether a value at BOS is noticed; without, whether a value where there should be none is.
fn notices(graph: &Graph, node: usize, at_bos: bool, seen: &mut [[bool; 2]]) -> bool {
    if std::mem::replace(&mut seen[node][usize::from(at_bos)], true) {
        return false;
    }
    uses(graph, node).any(|(user, how)| match how {
        Use::Key | Use::Value(Encoding::Numerical) => true,
        // A query at BOS makes the selector's head write at BOS.
        Use::Query if at_bos => heads_of(graph, user).into_iter().any(|head| notices(graph, head, true, seen)),
        Use::Query => true,
        Use::Value(Encoding::Categorical) => notices(graph, user, false, seen),
        Use::Map => notices(graph, user, at_bos, seen),
    })
}

/// The nodes that compute with a selector.
fn heads_of(graph: &Graph, selector: usize) -> Vec<usize> {
    (0..graph.nodes.len()).filter(|n| graph.nodes[*n].children.contains(&selector)).collect()
}
