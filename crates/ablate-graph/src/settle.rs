//! Plans made smaller without changing what they compute: a node whose every edge to a live reader is cut might as well
//! be replaced for everyone, and what only feeds replaced nodes need not be cut.

use crate::graph::Graph;
use crate::node::{Node, NodeId, ReaderId};
use crate::plan::{Cut, Edit, Plan, Positions, Side, Site};
use crate::set::{EdgeSet, NodeSet};

impl Graph {
    /// The senders from which, without the edges of `cut`, no path leads to `logits`.
    pub fn dead(&self, cut: &EdgeSet) -> NodeSet {
        let mut live = NodeSet::new(self.n_senders());
        let mut visit: Vec<ReaderId> = self.reader_id(crate::node::Reader::Logits).into_iter().collect();
        while let Some(reader) = visit.pop() {
            for edge in self.in_edges(reader).filter(|e| !cut.contains(*e)) {
                let sender = self.ends(edge).0;
                if live.insert(sender) {
                    visit.extend(self.readers_of(self.node(sender)));
                }
            }
        }
        live.complement()
    }
}

impl Plan {
    /// The same run with the `dead` senders replaced by the source of the plan's only cut, and without cut edges into
    /// or out of them. `dead` must be of nodes that [`Graph::dead`] finds. Plans with several cuts, or one at some
    /// positions only, are left as they are.
    #[must_use]
    pub fn settled(&self, dead: &NodeSet) -> Self {
        let [cut] = &self.cuts[..] else { return self.clone() };
        if cut.positions != Positions::All || dead.is_empty() {
            return self.clone();
        }
        let graph = cut.graph;
        let is_dead = |node: Node| graph.node_id(node).is_some_and(|id| dead.contains(id));
        let kept = cut.edges.iter().filter(|&e| {
            let (sender, reader) = graph.ends(e);
            !dead.contains(sender) && !graph.nodes_of(graph.reader(reader)).into_iter().all(is_dead)
        });
        let edges = EdgeSet::of(graph.n_edges(), kept);
        let known = |node: Node| self.edits.iter().any(|e| e.site == Site::Node(node));
        let replaced = dead.iter().map(|id: NodeId| graph.node(id)).filter(|&n| !known(n)).map(|node| Edit {
            site: Site::Node(node),
            positions: Positions::All,
            source: cut.source,
            scale: cut.scale,
        });
        let edits = self.edits.iter().cloned().chain(replaced).collect();
        let cuts = if edges.is_empty() { vec![] } else { vec![Cut { edges, ..cut.clone() }] };
        Self { side: self.side, edits, cuts, freeze_norm: self.freeze_norm }
    }

    /// The plan of a circuit of edges: everything outside `edges` is cut, on the clean text.
    pub fn circuit(graph: &Graph, edges: &EdgeSet, source: crate::plan::Source) -> Self {
        Self::on(Side::Clean).cut(graph, edges.complement(), source)
    }
}
