//! Activations of a run: what was kept of it, for a contiguous range of examples.

use std::ops::BitOr;
use std::sync::Arc;

use ablate_graph::{Node, Site, Slot};
use ablate_tensor::Real;

use crate::config::Config;

/// Which activations a run keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Keep(u16);

impl Keep {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The stream before each layer and before the final norm, `[rows, d_model]`.
    pub const PRE: Self = Self(1);
    /// Head outputs before `W_O`, `[rows, n_heads·d_head]`.
    pub const Z: Self = Self(1 << 1);
    /// The stream between attention and MLP, `[rows, d_model]`.
    pub const MID: Self = Self(1 << 2);
    /// MLP outputs without bias, `[rows, d_model]`.
    pub const MLP: Self = Self(1 << 3);
    /// Keys and values before rotary embedding, `[rows, n_kv_heads·d_head]` each.
    pub const KV: Self = Self(1 << 4);
    /// Queries before rotary embedding, `[rows, n_heads·d_head]`.
    pub const Q: Self = Self(1 << 5);
    /// Attention patterns, `[n_heads, len, len]` for each example.
    pub const PATTERN: Self = Self(1 << 6);
    /// The whole attention addend, `[rows, d_model]`.
    pub const ATTN_OUT: Self = Self(1 << 7);
    /// The whole MLP addend, `[rows, d_model]`.
    pub const MLP_OUT: Self = Self(1 << 8);
    /// Neurons after the activation function, `[rows, d_mlp]`.
    pub const NEURONS: Self = Self(1 << 9);
    /// Norm scales, `[rows]` for each norm.
    pub const SCALES: Self = Self(1 << 10);
    /// The MLP's hidden layer before the activation function, `[rows, d_mlp]`, and its gate where it has one.
    pub const HIDDEN: Self = Self(1 << 11);
    /// What the backward pass starts from.
    pub const BACKWARD: Self = Self(
        Self::PRE.0
            | Self::Z.0
            | Self::MID.0
            | Self::MLP.0
            | Self::KV.0
            | Self::Q.0
            | Self::SCALES.0
            | Self::HIDDEN.0,
    );

    /// What cut edges need of the runs that they take live and source values from.
    pub const EDGES: Self = Self(Self::PRE.0 | Self::Z.0 | Self::MID.0 | Self::MLP.0);

    /// Whether anything in `other` is kept.
    pub fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether everything in `other` is kept.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What must be kept so that a run can serve as the source of `site`.
    pub fn source_of(site: Site) -> Self {
        match site {
            Site::Node(Node::Input | Node::Logits) | Site::ResidPre { .. } => Self::PRE,
            Site::Node(Node::Head { .. }) => Self::Z,
            Site::Node(Node::Mlp { .. }) => Self::MLP,
            Site::ResidMid { .. } => Self::MID,
            Site::AttnOut { .. } => Self::ATTN_OUT,
            Site::MlpOut { .. } => Self::MLP_OUT,
            Site::Slot { slot: Slot::Q, .. } => Self::Q,
            Site::Slot { .. } => Self::KV,
            Site::Pattern { .. } => Self::PATTERN,
            Site::Neuron { .. } => Self::NEURONS,
            Site::Edge(_) => Self::EDGES,
        }
    }

    /// Numbers kept for one token of a row with `len` tokens.
    pub fn per_token(self, cfg: &Config, len: usize) -> usize {
        let (d, z, kv) = (cfg.d_model, cfg.n_heads * cfg.d_head, cfg.n_kv_heads * cfg.d_head);
        let table = [
            (Self::PRE, d),
            (Self::Z, z),
            (Self::MID, d),
            (Self::MLP, d),
            (Self::KV, 2 * kv),
            (Self::Q, z),
            (Self::PATTERN, cfg.n_heads * len),
            (Self::ATTN_OUT, d),
            (Self::MLP_OUT, d),
            (Self::NEURONS, cfg.d_mlp),
            (Self::SCALES, 2),
            (Self::HIDDEN, 2 * cfg.d_mlp),
        ];
        let layer: usize = table.iter().filter(|(flag, _)| self.has(*flag)).map(|(_, n)| n).sum();
        layer * cfg.n_layers + if self.has(Self::PRE) { d } else { 0 }
    }
}

impl BitOr for Keep {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What was kept of one layer; empty vectors were not kept. Rows are the tokens of a block's examples, one after the other.
#[derive(Clone, Debug, Default)]
pub struct LayerActs<T> {
    /// See [`Keep::PRE`].
    pub pre: Vec<T>,
    /// See [`Keep::Q`].
    pub q: Vec<T>,
    /// See [`Keep::KV`].
    pub k: Vec<T>,
    /// See [`Keep::KV`].
    pub v: Vec<T>,
    /// See [`Keep::PATTERN`].
    pub pattern: Vec<T>,
    /// See [`Keep::Z`].
    pub z: Vec<T>,
    /// See [`Keep::ATTN_OUT`].
    pub attn_out: Vec<T>,
    /// See [`Keep::MID`].
    pub mid: Vec<T>,
    /// What the activation function reads where the MLP has no gate, else what the gate multiplies. See [`Keep::HIDDEN`].
    pub up: Vec<T>,
    /// What the activation function reads where the MLP has a gate; kept when it is computed.
    pub gate: Vec<T>,
    /// See [`Keep::NEURONS`].
    pub neurons: Vec<T>,
    /// See [`Keep::MLP`].
    pub mlp: Vec<T>,
    /// See [`Keep::MLP_OUT`].
    pub mlp_out: Vec<T>,
    /// Scales of the norm before attention, see [`Keep::SCALES`].
    pub scale1: Vec<T>,
    /// Scales of the norm before the MLP.
    pub scale2: Vec<T>,
}

/// What was kept of a run, for the examples `first..first + len()`.
#[derive(Clone, Debug)]
pub struct Acts<T> {
    /// First example.
    pub first: usize,
    /// Row where each example starts, and the number of rows at the end.
    pub offsets: Vec<usize>,
    /// Where each example's patterns start.
    pub pattern_offsets: Vec<usize>,
    /// The layers.
    pub layers: Vec<Arc<LayerActs<T>>>,
    /// The stream before the final norm, `[rows, d_model]`, with [`Keep::PRE`].
    pub last: Vec<T>,
    /// Scales of the final norm.
    pub scale_last: Vec<T>,
}

impl<T: Real> Acts<T> {
    /// Room for what `keep` says of examples with these numbers of tokens.
    pub fn new(cfg: &Config, keep: Keep, first: usize, lens: &[usize]) -> Self {
        let (offsets, pattern_offsets) = offsets(cfg, lens);
        let rows = offsets[lens.len()];
        let layer = Arc::new(LayerActs::new(cfg, keep, rows, pattern_offsets[lens.len()]));
        let last_width = if keep.has(Keep::PRE) { cfg.d_model } else { 0 };
        let scale_rows = if keep.has(Keep::SCALES) { rows } else { 0 };
        Self {
            first,
            offsets,
            pattern_offsets,
            layers: (0..cfg.n_layers).map(|_| Arc::new((*layer).clone())).collect(),
            last: vec![T::ZERO; rows * last_width],
            scale_last: vec![T::ZERO; scale_rows],
        }
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are no examples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row of a local example's position.
    pub fn row(&self, local: usize, p: usize) -> usize {
        self.offsets[local] + p
    }

    /// The value of `site` at `row`; `None` when it was not kept or the site has no value of its own (edges).
    pub fn value(&self, cfg: &Config, site: Site, row: usize) -> Option<&[T]> {
        let (d, dh) = (cfg.d_model, cfg.d_head);
        let zw = cfg.n_heads * dh;
        let kvw = cfg.n_kv_heads * dh;
        let get = |v: &'_ Vec<T>, width: usize, from: usize, n: usize| -> Option<std::ops::Range<usize>> {
            let start = row * width + from;
            (start + n <= v.len()).then_some(start..start + n)
        };
        let layer = |l: usize| self.layers.get(l);
        match site {
            Site::Node(Node::Input) => layer(0).and_then(|a| get(&a.pre, d, 0, d).map(|r| &a.pre[r])),
            Site::Node(Node::Head { layer: l, head }) => {
                layer(l).and_then(|a| get(&a.z, zw, head * dh, dh).map(|r| &a.z[r]))
            }
            Site::Node(Node::Mlp { layer: l }) => {
                layer(l).and_then(|a| get(&a.mlp, d, 0, d).map(|r| &a.mlp[r]))
            }
            Site::ResidPre { layer: l } if l == self.layers.len() => {
                get(&self.last, d, 0, d).map(|r| &self.last[r])
            }
            Site::ResidPre { layer: l } => layer(l).and_then(|a| get(&a.pre, d, 0, d).map(|r| &a.pre[r])),
            Site::ResidMid { layer: l } => layer(l).and_then(|a| get(&a.mid, d, 0, d).map(|r| &a.mid[r])),
            Site::AttnOut { layer: l } => {
                layer(l).and_then(|a| get(&a.attn_out, d, 0, d).map(|r| &a.attn_out[r]))
            }
            Site::MlpOut { layer: l } => {
                layer(l).and_then(|a| get(&a.mlp_out, d, 0, d).map(|r| &a.mlp_out[r]))
            }
            Site::Slot { layer: l, head, slot } => layer(l).and_then(|a| match slot {
                Slot::Q => get(&a.q, zw, head * dh, dh).map(|r| &a.q[r]),
                Slot::K => get(&a.k, kvw, cfg.kv_of(head) * dh, dh).map(|r| &a.k[r]),
                Slot::V => get(&a.v, kvw, cfg.kv_of(head) * dh, dh).map(|r| &a.v[r]),
            }),
            Site::Pattern { layer: l, head } => {
                layer(l).and_then(|a| self.pattern_row(&a.pattern, head, row))
            }
            Site::Neuron { layer: l, neuron } => {
                layer(l).and_then(|a| get(&a.neurons, cfg.d_mlp, neuron, 1).map(|r| &a.neurons[r]))
            }
            Site::Node(Node::Logits) | Site::Edge(_) => None,
        }
    }

    fn pattern_row<'a>(&self, pattern: &'a [T], head: usize, row: usize) -> Option<&'a [T]> {
        let local = self.offsets.partition_point(|&o| o <= row) - 1;
        let len = self.offsets[local + 1] - self.offsets[local];
        let start = self.pattern_offsets[local] + (head * len + row - self.offsets[local]) * len;
        pattern.get(start..start + len)
    }
}

/// Where examples of these lengths start: rows, and pattern numbers.
pub(super) fn offsets(cfg: &Config, lens: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut rows = vec![0];
    let mut patterns = vec![0];
    for &n in lens {
        rows.push(rows[rows.len() - 1] + n);
        patterns.push(patterns[patterns.len() - 1] + cfg.n_heads * n * n);
    }
    (rows, patterns)
}

impl<T: Real> LayerActs<T> {
    /// Room for what `keep` says.
    pub(super) fn new(cfg: &Config, keep: Keep, rows: usize, patterns: usize) -> Self {
        let room = |flag: Keep, n: usize| if keep.has(flag) { vec![T::ZERO; n] } else { Vec::new() };
        let (d, zw, kvw) = (cfg.d_model, cfg.n_heads * cfg.d_head, cfg.n_kv_heads * cfg.d_head);
        Self {
            pre: room(Keep::PRE, rows * d),
            q: room(Keep::Q, rows * zw),
            k: room(Keep::KV, rows * kvw),
            v: room(Keep::KV, rows * kvw),
            pattern: room(Keep::PATTERN, patterns),
            z: room(Keep::Z, rows * zw),
            attn_out: room(Keep::ATTN_OUT, rows * d),
            mid: room(Keep::MID, rows * d),
            up: room(Keep::HIDDEN, rows * cfg.d_mlp),
            gate: Vec::new(),
            neurons: room(Keep::NEURONS, rows * cfg.d_mlp),
            mlp: room(Keep::MLP, rows * d),
            mlp_out: room(Keep::MLP_OUT, rows * d),
            scale1: room(Keep::SCALES, rows),
            scale2: room(Keep::SCALES, rows),
        }
    }
}
