//! The plan of a run: which path of the graph carries what. A plan is a value: printable, comparable, without closures.
//!
//! An empty plan is the plain forward pass. Everything that changes a run is in its plan.

use crate::graph::Graph;
use crate::node::{Edge, Node, Slot};
use crate::set::EdgeSet;

/// Where an edit applies, in the vocabulary of TransformerLens hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// A sender's output for every reader: `input`, a head (edited as `z`, before `W_O`) or an MLP (without output bias).
    Node(Node),
    /// The residual stream before layer `layer` (`hook_resid_pre`); `layer = n_layers` is the stream before the final norm.
    ResidPre {
        /// Layer, from 0.
        layer: usize,
    },
    /// The residual stream between attention and MLP (`hook_resid_mid`); absent in parallel blocks.
    ResidMid {
        /// Layer, from 0.
        layer: usize,
    },
    /// The whole attention addend with its bias, after a post-norm where the architecture has one (`hook_attn_out`).
    AttnOut {
        /// Layer, from 0.
        layer: usize,
    },
    /// The whole MLP addend with its bias, after a post-norm where the architecture has one (`hook_mlp_out`).
    MlpOut {
        /// Layer, from 0.
        layer: usize,
    },
    /// The query, key or value vector of one query head, after bias and query/key norm, before rotary embedding
    /// (`hook_q`, `hook_k`, `hook_v`).
    Slot {
        /// Layer, from 0.
        layer: usize,
        /// Query head, from 0.
        head: usize,
        /// Which vector.
        slot: Slot,
    },
    /// The attention pattern of one query head (`hook_pattern`); positions are query positions.
    Pattern {
        /// Layer, from 0.
        layer: usize,
        /// Query head, from 0.
        head: usize,
    },
    /// One neuron after the activation function (`mlp.hook_post`; the gated product where the MLP is gated).
    Neuron {
        /// Layer, from 0.
        layer: usize,
        /// Neuron, from 0.
        neuron: usize,
    },
    /// One edge: the reader sees the source instead of the sender's live output. Many edges are cut by a [`Cut`].
    Edge(Edge),
}

/// At which token positions an edit applies. Indices count from the first token of each row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Positions {
    /// Every position.
    #[default]
    All,
    /// The last real token of each row.
    Last,
    /// These indices in every row.
    At(Vec<usize>),
    /// Named positions of the data set (`S2`, `end`); each row may have its own index.
    Named(Vec<String>),
}

/// What an edit puts in place of the live value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Zeros.
    Zero,
    /// One vector: the mean over the rows of the mean set and all real positions.
    Mean,
    /// A mean for each position, and for each group where rows have one.
    MeanPositional,
    /// The same row's corrupt run (patching, interchange).
    Resample,
    /// Another row's clean run of the same length, drawn by seed.
    ResampleOther {
        /// Seed of the draw.
        seed: u64,
    },
    /// The same row's clean run (denoising: restores the clean value in a corrupt run).
    Clean,
    /// A table handed to the run beside the plan, by number.
    Given(u32),
}

/// One edit of a plan: at `site` and `positions`, the live value becomes `scale · source`.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// Where.
    pub site: Site,
    /// At which positions.
    pub positions: Positions,
    /// Replaced by what.
    pub source: Source,
    /// Factor on the source.
    pub scale: f64,
}

/// Edges whose readers see `scale · source` instead of the sender's live output of the same run; everything after them
/// is computed from what they see.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// The graph whose edges these are.
    pub graph: Graph,
    /// The edges.
    pub edges: EdgeSet,
    /// At which positions of the reader's input.
    pub positions: Positions,
    /// What the readers see.
    pub source: Source,
    /// Factor on the source.
    pub scale: f64,
}

/// Which text of a pair a run reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Side {
    /// The behaviour under study.
    #[default]
    Clean,
    /// Its counterfactual.
    Corrupt,
}

/// An assignment of sources to paths. The empty plan is the plain forward pass.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Plan {
    /// Which text is run.
    pub side: Side,
    /// The edits; at most one may hit a (site, position).
    pub edits: Vec<Edit>,
    /// The cut edges; at most one cut may hit an (edge, position).
    pub cuts: Vec<Cut>,
    /// Norm scales are those of the unedited run instead of recomputed (`--freeze-norm`).
    pub freeze_norm: bool,
}

impl Plan {
    /// The plain forward pass of the clean text.
    pub fn new() -> Self {
        Self::default()
    }

    /// The plain forward pass of `side`.
    pub fn on(side: Side) -> Self {
        Self { side, ..Self::default() }
    }

    /// Adds an edit at all positions, unscaled.
    #[must_use]
    pub fn replace(self, site: Site, source: Source) -> Self {
        self.edit(Edit { site, positions: Positions::All, source, scale: 1.0 })
    }

    /// Adds an edit.
    #[must_use]
    pub fn edit(mut self, edit: Edit) -> Self {
        self.edits.push(edit);
        self
    }

    /// Adds cut edges, at all positions, unscaled.
    #[must_use]
    pub fn cut(mut self, graph: &Graph, edges: EdgeSet, source: Source) -> Self {
        self.cuts.push(Cut { graph: *graph, edges, positions: Positions::All, source, scale: 1.0 });
        self
    }
}
