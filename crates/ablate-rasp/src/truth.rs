//! The true circuit of a compiled model, read off the subspaces its blocks read and write.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::assemble::Slot as LayerBlocks;
use crate::basis::{Direction, Space};
use crate::blocks::ONE;
use crate::value::Value;

/// A part of the model, in canonical order within one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// Token plus position embedding.
    Input,
    /// An attention head.
    Head {
        /// Layer, from 0.
        layer: usize,
        /// Head of the layer, from 0.
        head: usize,
    },
    /// An MLP.
    Mlp {
        /// Layer, from 0.
        layer: usize,
    },
    /// The unembedding.
    Logits,
}

impl Node {
    /// When the node runs: the input first, then the halves of each layer, the logits last.
    fn time(self) -> usize {
        match self {
            Self::Input => 0,
            Self::Head { layer, .. } => 2 * layer + 1,
            Self::Mlp { layer } => 2 * layer + 2,
            Self::Logits => usize::MAX,
        }
    }
}

/// `input`, `a0.h1`, `m0`, `logits`.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => f.write_str("input"),
            Self::Head { layer, head } => write!(f, "a{layer}.h{head}"),
            Self::Mlp { layer } => write!(f, "m{layer}"),
            Self::Logits => f.write_str("logits"),
        }
    }
}

/// Which input of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The query input.
    Q,
    /// The key input.
    K,
    /// The value input.
    V,
}

/// An edge of the circuit and the sequences it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Who writes.
    pub from: Node,
    /// Who reads.
    pub to: Node,
    /// Which input of a head reads.
    pub slot: Option<Slot>,
    /// The names of the directions that carry something from writer to reader, sorted.
    pub via: Vec<String>,
}

/// `m0->a1.h0<q>`.
impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.from, self.to)?;
        match self.slot {
            Some(Slot::Q) => f.write_str("<q>"),
            Some(Slot::K) => f.write_str("<k>"),
            Some(Slot::V) => f.write_str("<v>"),
            None => Ok(()),
        }
    }
}

/// The true circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    /// Every node that computes a part of the program (without `input` and `logits`), with the labels of the
    /// sequences it writes, in canonical order.
    pub nodes: Vec<(Node, Vec<String>)>,
    /// The edges that carry values of the program, ordered by reader, then writer.
    pub edges: Vec<Edge>,
    /// The edges that carry only constants: the direction `one` and the BOS token. They are the same for every
    /// input, so no ablation that keeps BOS at its place can show them; ablation by zero does.
    pub constant_edges: Vec<Edge>,
}

/// What the derivation reads.
pub(crate) struct Parts<'a> {
    pub(crate) slots: &'a [LayerBlocks],
    pub(crate) input: &'a Space,
    pub(crate) output: &'a Space,
}

struct Reader<'a> {
    node: Node,
    slot: Option<Slot>,
    space: &'a Space,
}

impl Truth {
    pub(crate) fn derive(parts: &Parts<'_>, bos: &str) -> Self {
        let bos = Direction::valued("tokens", &Value::Str(bos.to_owned()));
        let is_constant = |d: &Direction| d.name == ONE || *d == bos;
        let (writers, readers) = ports(parts);
        let (mut edges, mut constant_edges) = (vec![], vec![]);
        for reader in &readers {
            for (from, space) in writers.iter().filter(|(w, _)| w.time() < reader.node.time()) {
                let shared = || reader.space.directions().iter().filter(|d| space.index(d).is_some());
                let names = |constant: bool| -> Vec<String> {
                    let names: BTreeSet<&str> =
                        shared().filter(|d| is_constant(d) == constant).map(|d| d.name.as_str()).collect();
                    names.into_iter().map(str::to_owned).collect()
                };
                let edge = |via| Edge { from: *from, to: reader.node, slot: reader.slot, via };
                let (carried, constant) = (names(false), names(true));
                if !carried.is_empty() {
                    edges.push(edge(carried));
                } else if !constant.is_empty() {
                    constant_edges.push(edge(constant));
                }
            }
        }
        Self { nodes: nodes(parts), edges, constant_edges }
    }

    /// The circuit at the granularity of `edges.pkl` of an InterpBench folder: token and position embedding
    /// apart, and the inner steps of heads and MLPs as edges of their own.
    pub fn hook_edges(&self, n_layers: usize) -> Vec<(String, String)> {
        let mut edges = BTreeSet::new();
        for edge in &self.edges {
            let to = match edge.to {
                Node::Head { layer, head } => {
                    let letter = slot_letter(edge.slot);
                    format!("blocks.{layer}.hook_{letter}_input[{head}]")
                }
                Node::Mlp { layer } => format!("blocks.{layer}.hook_mlp_in"),
                Node::Logits | Node::Input => {
                    format!("blocks.{}.hook_resid_post", n_layers.saturating_sub(1))
                }
            };
            for from in sender_hooks(edge) {
                edges.insert((from, to.clone()));
            }
        }
        for (node, _) in &self.nodes {
            match node {
                Node::Head { layer, head } => {
                    for letter in ['q', 'k', 'v'] {
                        let inner = format!("blocks.{layer}.attn.hook_{letter}[{head}]");
                        edges.insert((format!("blocks.{layer}.hook_{letter}_input[{head}]"), inner.clone()));
                        edges.insert((inner, format!("blocks.{layer}.attn.hook_result[{head}]")));
                    }
                }
                Node::Mlp { layer } => {
                    edges.insert((
                        format!("blocks.{layer}.hook_mlp_in"),
                        format!("blocks.{layer}.hook_mlp_out"),
                    ));
                }
                Node::Input | Node::Logits => {}
            }
        }
        edges.into_iter().collect()
    }
}

fn slot_letter(slot: Option<Slot>) -> char {
    match slot {
        Some(Slot::Q) => 'q',
        Some(Slot::K) => 'k',
        _ => 'v',
    }
}

fn sender_hooks(edge: &Edge) -> Vec<String> {
    match edge.from {
        Node::Input => {
            let hook = |name: &str| if name == "indices" { "hook_pos_embed" } else { "hook_embed" };
            edge.via.iter().map(|name| hook(name).to_owned()).collect()
        }
        Node::Head { layer, head } => vec![format!("blocks.{layer}.attn.hook_result[{head}]")],
        Node::Mlp { layer } => vec![format!("blocks.{layer}.hook_mlp_out")],
        Node::Logits => vec![],
    }
}

/// Who writes which directions, and who reads which, each in canonical order.
fn ports<'a>(parts: &Parts<'a>) -> (Vec<(Node, &'a Space)>, Vec<Reader<'a>>) {
    let mut writers = vec![(Node::Input, parts.input)];
    let mut readers = vec![];
    for (layer, slot) in parts.slots.iter().enumerate() {
        for (head, block) in slot.heads.iter().enumerate() {
            let node = Node::Head { layer, head };
            writers.push((node, &block.ov.to));
            let spaces = [(Slot::Q, &block.qk.from), (Slot::K, &block.qk.to), (Slot::V, &block.ov.from)];
            readers.extend(spaces.map(|(slot, space)| Reader { node, slot: Some(slot), space }));
        }
        if let Some(mlp) = &slot.mlp {
            let node = Node::Mlp { layer };
            writers.push((node, &mlp.second.to));
            readers.push(Reader { node, slot: None, space: &mlp.first.from });
        }
    }
    readers.push(Reader { node: Node::Logits, slot: None, space: parts.output });
    (writers, readers)
}

fn nodes(parts: &Parts<'_>) -> Vec<(Node, Vec<String>)> {
    let mut nodes: BTreeMap<(usize, Node), Vec<String>> = BTreeMap::new();
    for (layer, slot) in parts.slots.iter().enumerate() {
        let heads = slot.heads.iter().enumerate();
        let written = heads
            .map(|(head, block)| (Node::Head { layer, head }, &block.ov.to))
            .chain(slot.mlp.iter().map(|mlp| (Node::Mlp { layer }, &mlp.second.to)));
        for (node, space) in written {
            let names: BTreeSet<String> = space.directions().iter().map(|d| d.name.clone()).collect();
            nodes.insert((node.time(), node), names.into_iter().collect());
        }
    }
    nodes.into_iter().map(|((_, node), names)| (node, names)).collect()
}
