//! Walking a graph in canonical order, its relations, and its fingerprint.

use crate::graph::{Graph, GraphShape, Kv};
use crate::node::{Edge, EdgeId, Node, NodeId, Reader, ReaderId, Slot};
use crate::rng::fnv1a;

impl Graph {
    /// Ids of all senders in canonical order.
    pub fn sender_ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + ExactSizeIterator + use<> {
        (0..self.n_senders() as u32).map(NodeId)
    }

    /// Ids of all readers in canonical order.
    pub fn reader_ids(&self) -> impl DoubleEndedIterator<Item = ReaderId> + ExactSizeIterator + use<> {
        (0..self.n_readers() as u32).map(ReaderId)
    }

    /// Ids of all edges: readers in canonical order, for each its senders in canonical order.
    pub fn edge_ids(&self) -> impl DoubleEndedIterator<Item = EdgeId> + ExactSizeIterator + use<> {
        (0..self.n_edges() as u32).map(EdgeId)
    }

    /// All senders in canonical order: `input, a0.h0, …, m0, a1.h0, …`.
    pub fn senders(&self) -> impl DoubleEndedIterator<Item = Node> + ExactSizeIterator + use<> {
        let graph = *self;
        self.sender_ids().map(move |id| graph.node(id))
    }

    /// All readers in canonical order: `a0.h0<q>, a0.h0<k>, …, m0, …, logits`.
    pub fn readers(&self) -> impl DoubleEndedIterator<Item = Reader> + ExactSizeIterator + use<> {
        let graph = *self;
        self.reader_ids().map(move |id| graph.reader(id))
    }

    /// All edges in the order of their ids.
    pub fn edges(&self) -> impl Iterator<Item = Edge> + use<> {
        let graph = *self;
        self.reader_ids().flat_map(move |id| {
            let reader = graph.reader(id);
            let parents = (0..graph.parents(id) as u32).map(NodeId);
            parents.map(move |sender| Edge { sender: graph.node(sender), reader })
        })
    }

    /// All heads in canonical order.
    pub fn heads(&self) -> impl DoubleEndedIterator<Item = Node> + use<> {
        self.senders().filter(|node| matches!(node, Node::Head { .. }))
    }

    /// All MLPs in canonical order; none when the model has no MLP.
    pub fn mlps(&self) -> impl DoubleEndedIterator<Item = Node> + use<> {
        self.senders().filter(|node| matches!(node, Node::Mlp { .. }))
    }

    /// The readers that see a sender: a suffix of the reader order.
    pub fn children(
        &self,
        sender: NodeId,
    ) -> impl DoubleEndedIterator<Item = ReaderId> + ExactSizeIterator + use<> {
        let (mut low, mut high) = (0, self.n_readers());
        if sender.index() >= self.n_senders() {
            low = high;
        }
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.parents(ReaderId(middle as u32)) > sender.index() {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        (low as u32..self.n_readers() as u32).map(ReaderId)
    }

    /// The edges out of a sender, in the order of their readers.
    pub fn out_edges(&self, sender: NodeId) -> impl DoubleEndedIterator<Item = EdgeId> + use<> {
        let graph = *self;
        self.children(sender).filter_map(move |reader| graph.edge_between(sender, reader))
    }

    /// How many query heads share one key/value head.
    pub fn group_size(&self) -> usize {
        let shape = self.shape();
        shape.n_heads.checked_div(shape.n_kv_heads).unwrap_or(1)
    }

    /// The readers through which a node is computed: three slots of a head (under `--kv grouped` its own query
    /// and its group's key and value), one reader of an MLP or of `logits`, none of `input`.
    pub fn readers_of(&self, node: Node) -> Vec<ReaderId> {
        let readers: Vec<Reader> = match node {
            Node::Input => vec![],
            Node::Logits => vec![Reader::Logits],
            Node::Mlp { layer } => vec![Reader::Mlp { layer }],
            Node::Head { layer, head } => Slot::ALL
                .into_iter()
                .map(|slot| match (self.kv(), slot) {
                    (Kv::PerQuery, _) | (_, Slot::Q) => Reader::Head { layer, head, slot },
                    _ if head >= self.shape().n_heads => Reader::Head { layer, head, slot },
                    _ => Reader::Kv { layer, kv: head / self.group_size(), slot },
                })
                .collect(),
        };
        readers.into_iter().filter_map(|reader| self.reader_id(reader)).collect()
    }

    /// The nodes that a reader feeds: one, or the query heads of a group for a shared key or value.
    pub fn nodes_of(&self, reader: Reader) -> Vec<Node> {
        match reader {
            Reader::Logits => vec![Node::Logits],
            Reader::Mlp { layer } => vec![Node::Mlp { layer }],
            Reader::Head { layer, head, .. } => vec![Node::Head { layer, head }],
            Reader::Kv { layer, kv, .. } => {
                let size = self.group_size();
                let first = kv.saturating_mul(size);
                (first..first.saturating_add(size)).map(|head| Node::Head { layer, head }).collect()
            }
        }
    }

    /// A stable hash (16 hexadecimal digits) of everything that determines names, ids and order, and `d_model`.
    /// The number of key/value heads counts only where readers are grouped.
    pub fn fingerprint(&self) -> String {
        let shape = self.shape();
        let kv = match self.kv() {
            Kv::PerQuery => "per-query".to_string(),
            Kv::Grouped => format!("grouped/{}", shape.n_kv_heads),
        };
        let text = format!(
            "ablate-graph 1 layers={} heads={} kv={kv} parallel={} d_model={} mlp={}",
            shape.n_layers, shape.n_heads, shape.parallel, shape.d_model, shape.has_mlp
        );
        format!("{:016x}", fnv1a(text.as_bytes()))
    }

    /// The shape in words, for messages: `12 layers, 12 heads, d_model 768`.
    pub fn describe(&self) -> String {
        let shape = self.shape();
        let shared = match self.kv() {
            Kv::PerQuery => String::new(),
            Kv::Grouped => format!(", {} shared key/value heads", shape.n_kv_heads),
        };
        let parallel = if shape.parallel { ", parallel blocks" } else { "" };
        let mlp = if shape.has_mlp { "" } else { ", no MLPs" };
        let GraphShape { n_layers, n_heads, d_model, .. } = shape;
        format!("{n_layers} layers, {n_heads} heads, d_model {d_model}{shared}{parallel}{mlp}")
    }
}
