//! The parts of a transformer's graph: senders, readers and their ids.
//!
//! A *sender* writes into the residual stream (`input`, every head, every MLP). A *reader* reads a sum of
//! senders (the query, key and value input of every head, every MLP, `logits`).

/// What of an attention head reads the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// The query input, `<q>`.
    Q,
    /// The key input, `<k>`.
    K,
    /// The value input, `<v>`.
    V,
}

impl Slot {
    /// The three slots in canonical order.
    pub const ALL: [Self; 3] = [Self::Q, Self::K, Self::V];

    /// The letter of the slot: `q`, `k` or `v`.
    pub fn letter(self) -> char {
        match self {
            Self::Q => 'q',
            Self::K => 'k',
            Self::V => 'v',
        }
    }
}

/// A node of the graph: a sender, or the `logits` that only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Node {
    /// Token embedding plus position embedding.
    Input,
    /// Output `z·W_O` of one attention head, without the output bias.
    Head {
        /// Layer, from 0.
        layer: usize,
        /// Query head within the layer, from 0.
        head: usize,
    },
    /// Output of one MLP, without its output bias.
    Mlp {
        /// Layer, from 0.
        layer: usize,
    },
    /// The final norm and unembedding.
    Logits,
}

impl Node {
    /// Shorthand for [`Node::Head`].
    pub fn head(layer: usize, head: usize) -> Self {
        Self::Head { layer, head }
    }

    /// Shorthand for [`Node::Mlp`].
    pub fn mlp(layer: usize) -> Self {
        Self::Mlp { layer }
    }

    /// The layer of a head or MLP; `None` for `input` and `logits`.
    pub fn layer(self) -> Option<usize> {
        match self {
            Self::Head { layer, .. } | Self::Mlp { layer } => Some(layer),
            Self::Input | Self::Logits => None,
        }
    }
}

/// One reader of the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reader {
    /// The query, key or value input of one query head (with grouped-query attention each query head reads its own copy).
    Head {
        /// Layer, from 0.
        layer: usize,
        /// Query head within the layer, from 0.
        head: usize,
        /// Which input.
        slot: Slot,
    },
    /// The key or value input of one key/value group (`--kv grouped`), `a3.kv1<k>`.
    Kv {
        /// Layer, from 0.
        layer: usize,
        /// Key/value head within the layer, from 0.
        kv: usize,
        /// [`Slot::K`] or [`Slot::V`].
        slot: Slot,
    },
    /// The input of one MLP.
    Mlp {
        /// Layer, from 0.
        layer: usize,
    },
    /// The input of the final norm.
    Logits,
}

impl Reader {
    /// Which vector of a head it makes; `None` for MLPs and `logits`.
    pub fn slot(self) -> Option<Slot> {
        match self {
            Self::Head { slot, .. } | Self::Kv { slot, .. } => Some(slot),
            Self::Mlp { .. } | Self::Logits => None,
        }
    }
}

impl Reader {
    /// The layer of a head or MLP reader; `None` for `logits`.
    pub fn layer(self) -> Option<usize> {
        match self {
            Self::Head { layer, .. } | Self::Kv { layer, .. } | Self::Mlp { layer } => Some(layer),
            Self::Logits => None,
        }
    }
}

/// A path of one hop: a reader sees a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edge {
    /// Who writes.
    pub sender: Node,
    /// Who reads.
    pub reader: Reader,
}

/// Dense index of a sender in canonical order `input, a0.h0 …, m0, a1.h0 …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// Dense index of a reader in canonical order `a0.h0<q>, a0.h0<k>, a0.h0<v>, a0.h1<q> …, m0, …, logits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReaderId(pub u32);

/// Dense index of an edge: readers in canonical order, for each its senders in canonical order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeId(pub u32);

impl NodeId {
    /// The id as an array index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl ReaderId {
    /// The id as an array index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl EdgeId {
    /// The id as an array index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
