//! Connectivity of circuits: pruning of dangling edges, and conversion between node and edge circuits.

use crate::circuit::{Circuit, Members};
use crate::graph::Graph;
use crate::node::{Node, Reader};
use crate::set::{EdgeSet, NodeSet};

impl Circuit {
    /// Without dangling edges: an edge survives if its sender is reached from `input` by kept edges and its
    /// reader reaches `logits` by kept edges (any slot of a head feeds its output). The result is the set of
    /// edges on some kept path from `input` to `logits`. A node circuit has no dangling members.
    #[must_use]
    pub fn prune(&self) -> Self {
        let Members::Edges(kept) = self.members() else { return self.clone() };
        let graph = self.graph();
        let reached = reached_from_input(graph, kept);
        let reaches = reaches_logits(graph, kept);
        let mut pruned = EdgeSet::new(graph.n_edges());
        let feeding = graph.reader_ids().filter(|id| feeds_any(graph, graph.reader(*id), &reaches));
        for reader in feeding {
            let live = graph.in_edges(reader).zip(&reached).filter(|(_, live)| **live);
            pruned.extend(live.map(|(edge, _)| edge).filter(|edge| kept.contains(*edge)));
        }
        Self::of_edges(graph, pruned)
    }

    /// The edge circuit that runs the same: every outgoing edge of a member. An edge circuit stays as it is.
    #[must_use]
    pub fn to_edges(&self) -> Self {
        let Members::Nodes(nodes) = self.members() else { return self.clone() };
        let graph = self.graph();
        let mut edges = EdgeSet::new(graph.n_edges());
        for node in nodes {
            edges.extend(graph.out_edges(node));
        }
        Self::of_edges(graph, edges)
    }

    /// The senders with at least one kept outgoing edge (after [`Circuit::prune`] these are the nodes on kept
    /// paths). A node circuit stays as it is.
    #[must_use]
    pub fn to_nodes(&self) -> Self {
        let Members::Edges(edges) = self.members() else { return self.clone() };
        let graph = self.graph();
        let nodes = NodeSet::of(graph.n_senders(), edges.iter().map(|edge| graph.ends(edge).0));
        Self::of_sets(graph, Members::Nodes(nodes))
    }

    fn of_edges(graph: &Graph, edges: EdgeSet) -> Self {
        Self::of_sets(graph, Members::Edges(edges))
    }
}

/// For each sender, whether kept edges lead to it from `input`.
fn reached_from_input(graph: &Graph, kept: &EdgeSet) -> Vec<bool> {
    let mut reached = vec![false; graph.n_senders()];
    reached[0] = true;
    // readers come before what they feed, and a reader's senders are complete when it is visited
    for reader in graph.reader_ids() {
        let fed = graph.in_edges(reader).zip(&reached).any(|(edge, &live)| live && kept.contains(edge));
        if fed {
            for node in graph.nodes_of(graph.reader(reader)) {
                if let Some(id) = graph.node_id(node) {
                    reached[id.index()] = true;
                }
            }
        }
    }
    reached
}

/// For each sender, whether kept edges lead from it to `logits`.
fn reaches_logits(graph: &Graph, kept: &EdgeSet) -> Vec<bool> {
    let mut reaches = vec![false; graph.n_senders()];
    for reader in graph.reader_ids().rev() {
        if feeds_any(graph, graph.reader(reader), &reaches) {
            for (edge, live) in graph.in_edges(reader).zip(&mut reaches) {
                *live |= kept.contains(edge);
            }
        }
    }
    reaches
}

/// Whether a reader feeds a node of the list; `logits` is always there.
fn feeds_any(graph: &Graph, reader: Reader, live: &[bool]) -> bool {
    graph.nodes_of(reader).into_iter().any(|node| match node {
        Node::Logits => true,
        _ => graph.node_id(node).is_some_and(|id| live[id.index()]),
    })
}
