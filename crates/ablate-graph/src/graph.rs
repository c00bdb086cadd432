//! The graph of a model: which senders, readers and edges exist, and their ids.
//!
//! Everything is arithmetic on the shape, so a [`Graph`] is a small copyable value. Because readers only read
//! what was written before them, the senders a reader sees are always a *prefix* of the sender order.

use crate::error::{Error, Result};
use crate::node::{Edge, EdgeId, Node, NodeId, Reader, ReaderId, Slot};

/// More layers, or heads in a layer, than this are refused before anything is multiplied.
const MAX_COUNT: usize = 1 << 20;

/// The numbers of a model that determine its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GraphShape {
    /// Number of blocks.
    pub n_layers: usize,
    /// Query heads in a layer.
    pub n_heads: usize,
    /// Key/value heads in a layer (`n_heads` without grouping); divides `n_heads`.
    pub n_kv_heads: usize,
    /// Attention and MLP of one block read the same residual: heads of layer `l` are not parents of `m_l`.
    pub parallel: bool,
    /// Width of the residual stream (identifies the model; no node depends on it).
    pub d_model: usize,
    /// Blocks have an MLP; if not, there are no `m` nodes.
    pub has_mlp: bool,
}

/// Who reads keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Kv {
    /// Every query head reads its own copy: `a3.h5<k>`.
    #[default]
    PerQuery,
    /// One reader for each key/value head (`--kv grouped`): `a3.kv1<k>`. In a layer the order is every `<q>`,
    /// then `kv0<k>, kv0<v>, kv1<k>, …`.
    Grouped,
}

/// A model's graph. Ids follow the canonical order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Graph {
    shape: GraphShape,
    kv: Kv,
}

impl Graph {
    /// The graph of a shape. Refuses head counts that do not divide and graphs with more than `u32::MAX` edges.
    pub fn new(shape: GraphShape, kv: Kv) -> Result<Self> {
        let GraphShape { n_layers, n_heads, n_kv_heads, .. } = shape;
        if n_heads > 0 && (n_kv_heads == 0 || n_heads % n_kv_heads != 0) {
            let why = format!("{n_heads} query heads cannot share {n_kv_heads} key/value heads");
            return Err(Error::Shape { why });
        }
        if n_layers > MAX_COUNT || n_heads > MAX_COUNT {
            return Err(Error::Shape { why: format!("{n_layers} layers of {n_heads} heads") });
        }
        let graph = Self { shape, kv };
        let edges = graph.edges_before_layer(n_layers) + graph.n_senders() as u128;
        if edges > u32::MAX as u128 {
            return Err(Error::Shape { why: format!("{edges} edges are more than ids") });
        }
        Ok(graph)
    }

    /// The shape.
    pub fn shape(&self) -> GraphShape {
        self.shape
    }

    /// Who reads keys and values.
    pub fn kv(&self) -> Kv {
        self.kv
    }

    /// Number of senders.
    pub fn n_senders(&self) -> usize {
        1 + self.shape.n_layers * self.senders_per_layer()
    }

    /// Number of readers.
    pub fn n_readers(&self) -> usize {
        self.shape.n_layers * self.readers_per_layer() + 1
    }

    /// Number of edges.
    pub fn n_edges(&self) -> usize {
        self.edges_before_layer(self.shape.n_layers) as usize + self.n_senders()
    }

    fn senders_per_layer(&self) -> usize {
        self.shape.n_heads + usize::from(self.shape.has_mlp)
    }

    fn attention_readers(&self) -> usize {
        match self.kv {
            Kv::PerQuery => 3 * self.shape.n_heads,
            Kv::Grouped => self.shape.n_heads + 2 * self.shape.n_kv_heads,
        }
    }

    fn readers_per_layer(&self) -> usize {
        self.attention_readers() + usize::from(self.shape.has_mlp)
    }

    /// Senders that an MLP sees beyond those its block's heads see.
    fn mlp_extra(&self) -> usize {
        if self.shape.parallel || !self.shape.has_mlp { 0 } else { self.shape.n_heads }
    }

    fn senders_before_layer(&self, layer: usize) -> usize {
        1 + layer * self.senders_per_layer()
    }

    fn edges_before_layer(&self, layer: usize) -> u128 {
        let (l, r) = (layer as u128, self.readers_per_layer() as u128);
        let s = self.senders_per_layer() as u128;
        l * (r + self.mlp_extra() as u128) + r * s * (l * l.saturating_sub(1) / 2)
    }

    /// The id of a sender; `None` for `logits` and for nodes that this graph does not have.
    pub fn node_id(&self, node: Node) -> Option<NodeId> {
        let GraphShape { n_layers, n_heads, has_mlp, .. } = self.shape;
        let index = match node {
            Node::Input => 0,
            Node::Head { layer, head } if layer < n_layers && head < n_heads => {
                self.senders_before_layer(layer) + head
            }
            Node::Mlp { layer } if layer < n_layers && has_mlp => self.senders_before_layer(layer) + n_heads,
            _ => return None,
        };
        Some(NodeId(index as u32))
    }

    /// The sender of an id. An id that is not of this graph gives `logits`, which is no sender.
    pub fn node(&self, id: NodeId) -> Node {
        if id.index() >= self.n_senders() {
            return Node::Logits;
        }
        let Some(i) = id.index().checked_sub(1) else { return Node::Input };
        let (layer, k) = (i / self.senders_per_layer(), i % self.senders_per_layer());
        if k < self.shape.n_heads { Node::head(layer, k) } else { Node::mlp(layer) }
    }

    /// The id of a reader; `None` if this graph does not have it.
    pub fn reader_id(&self, reader: Reader) -> Option<ReaderId> {
        let layer = match reader {
            Reader::Logits => return Some(ReaderId(self.n_readers() as u32 - 1)),
            Reader::Head { layer, .. } | Reader::Kv { layer, .. } | Reader::Mlp { layer } => layer,
        };
        if layer >= self.shape.n_layers {
            return None;
        }
        let base = layer * self.readers_per_layer();
        self.reader_in_layer(reader).map(|k| ReaderId((base + k) as u32))
    }

    fn reader_in_layer(&self, reader: Reader) -> Option<usize> {
        let GraphShape { n_heads, n_kv_heads, has_mlp, .. } = self.shape;
        match (reader, self.kv) {
            (Reader::Head { head, slot, .. }, Kv::PerQuery) if head < n_heads => {
                Some(3 * head + slot as usize)
            }
            (Reader::Head { head, slot: Slot::Q, .. }, Kv::Grouped) if head < n_heads => Some(head),
            (Reader::Kv { kv, slot: slot @ (Slot::K | Slot::V), .. }, Kv::Grouped) if kv < n_kv_heads => {
                Some(n_heads + 2 * kv + usize::from(slot == Slot::V))
            }
            (Reader::Mlp { .. }, _) if has_mlp => Some(self.attention_readers()),
            _ => None,
        }
    }

    /// The reader of an id. An id that is not of this graph gives `logits`, the last reader.
    pub fn reader(&self, id: ReaderId) -> Reader {
        if id.index() + 1 >= self.n_readers() {
            return Reader::Logits;
        }
        let (layer, k) = (id.index() / self.readers_per_layer(), id.index() % self.readers_per_layer());
        let n_heads = self.shape.n_heads;
        if k >= self.attention_readers() {
            return Reader::Mlp { layer };
        }
        match self.kv {
            Kv::PerQuery => Reader::Head { layer, head: k / 3, slot: Slot::ALL[k % 3] },
            Kv::Grouped if k < n_heads => Reader::Head { layer, head: k, slot: Slot::Q },
            Kv::Grouped => {
                let slot = if (k - n_heads).is_multiple_of(2) { Slot::K } else { Slot::V };
                Reader::Kv { layer, kv: (k - n_heads) / 2, slot }
            }
        }
    }

    /// How many senders a reader sees: exactly those with an id below this number.
    pub fn parents(&self, reader: ReaderId) -> usize {
        match self.reader(reader) {
            Reader::Logits => self.n_senders(),
            Reader::Mlp { layer } => self.senders_before_layer(layer) + self.mlp_extra(),
            Reader::Head { layer, .. } | Reader::Kv { layer, .. } => self.senders_before_layer(layer),
        }
    }

    /// The id of the first edge into a reader; the reader's edges follow one another.
    fn first_edge(&self, reader: ReaderId) -> usize {
        let per_layer = self.readers_per_layer();
        if reader.index() + 1 >= self.n_readers() {
            return self.edges_before_layer(self.shape.n_layers) as usize;
        }
        let (layer, k) = (reader.index() / per_layer, reader.index() % per_layer);
        self.edges_before_layer(layer) as usize + k * self.senders_before_layer(layer)
    }

    /// The edges into a reader, in the order of their senders.
    pub fn in_edges(
        &self,
        reader: ReaderId,
    ) -> impl DoubleEndedIterator<Item = EdgeId> + ExactSizeIterator + use<> {
        let first = self.first_edge(reader) as u32;
        (first..first + self.parents(reader) as u32).map(EdgeId)
    }

    /// The edge from a sender to a reader; `None` if the reader does not see the sender.
    pub fn edge_between(&self, sender: NodeId, reader: ReaderId) -> Option<EdgeId> {
        let known = reader.index() < self.n_readers() && sender.index() < self.parents(reader);
        known.then(|| EdgeId((self.first_edge(reader) + sender.index()) as u32))
    }

    /// The id of an edge; `None` if it is impossible in this graph.
    pub fn edge_id(&self, edge: Edge) -> Option<EdgeId> {
        self.edge_between(self.node_id(edge.sender)?, self.reader_id(edge.reader)?)
    }

    /// Sender and reader of an edge. An id that is not of this graph gives the last edge.
    pub fn ends(&self, edge: EdgeId) -> (NodeId, ReaderId) {
        let e = edge.index().min(self.n_edges() - 1);
        let (mut low, mut high) = (0, self.n_readers());
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if self.first_edge(ReaderId(middle as u32)) <= e { low = middle } else { high = middle }
        }
        let reader = ReaderId(low as u32);
        (NodeId((e - self.first_edge(reader)) as u32), reader)
    }

    /// The edge of an id. An id that is not of this graph gives the last edge.
    pub fn edge(&self, id: EdgeId) -> Edge {
        let (sender, reader) = self.ends(id);
        Edge { sender: self.node(sender), reader: self.reader(reader) }
    }
}
