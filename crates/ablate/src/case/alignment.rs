//! The model that hides a case: its shape, and which of its nodes stand for the compiled model's
//! (InterpBench: `make_ll_cfg_for_case`, `build_tracr_base_corr`).

use ablate_graph::Node;
use ablate_model::Config;
use ablate_model::config::Activation;
use ablate_rasp::Compiled;

use super::{compiled, node_of};

/// One sequence of the program: the node of the compiled model that writes it, and the nodes that stand for it in a
/// trained model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aligned {
    /// The sequence's label.
    pub label: String,
    /// The compiled model's node.
    pub compiled: Node,
    /// The trained model's nodes.
    pub trained: Vec<Node>,
}

/// Which nodes of a trained model stand for which of the compiled one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alignment {
    /// One entry a sequence, in the compiled model's canonical order.
    pub entries: Vec<Aligned>,
}

impl Alignment {
    /// The benchmark's: every node stands at its own place, except that case 3's head of layer 1 is head 2. The heads of
    /// `ioi`, which is not the benchmark's, are moved too.
    pub fn new(id: &str, compiled: &Compiled) -> Self {
        let mut entries = Vec::new();
        for (node, labels) in &compiled.truth.nodes {
            let Some(node) = node_of(*node) else { continue };
            let moved = MOVED.iter().find(|(case, layer, _)| *case == id && node == Node::head(*layer, 0));
            let trained = moved.map_or(node, |(_, layer, head)| Node::head(*layer, *head));
            for label in labels {
                entries.push(Aligned { label: label.clone(), compiled: node, trained: vec![trained] });
            }
        }
        Self { entries }
    }

    /// The compiled model standing for itself.
    pub fn identity(compiled: &Compiled) -> Self {
        Self::new("", compiled)
    }

    /// The trained model's nodes that stand for some node: its true circuit's.
    pub fn nodes(&self) -> Vec<Node> {
        let mut nodes: Vec<Node> = self.entries.iter().flat_map(|e| e.trained.iter().copied()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Whether `node` of the trained model is in its true circuit.
    pub fn contains(&self, node: Node) -> bool {
        self.entries.iter().any(|e| e.trained.contains(&node))
    }

    /// The trained model's nodes that stand for the compiled model's `node`.
    pub fn of(&self, node: Node) -> Option<&[Node]> {
        self.entries.iter().find(|e| e.compiled == node).map(|e| &e.trained[..])
    }
}

/// Where the first head of a layer stands, if not at its own place: case, layer, head.
const MOVED: [(&str, usize, usize); 4] = [("3", 1, 2), ("ioi", 0, 2), ("ioi", 2, 1), ("ioi", 3, 3)];

/// By how much the trained model is narrower than the compiled one, where it is not 2.
const RATIOS: [(&str, f64); 14] = [
    ("5", 1.8),
    ("6", 1.2),
    ("7", 1.5),
    ("9", 2.0),
    ("18", 1.6),
    ("21", 1.3),
    ("23", 1.5),
    ("24", 1.2),
    ("25", 1.5),
    ("34", 1.5),
    ("35", 3.0),
    ("36", 2.5),
    ("37", 2.2),
    ("ioi", 1.0),
];

/// Cases whose residual stream is what is made narrower; elsewhere it is the heads.
const NARROW_STREAM: [&str; 15] =
    ["5", "18", "21", "25", "26", "29", "34", "35", "36", "37", "9", "7", "23", "22", "28"];

/// The trained model's shape: at least 2 layers and 4 heads, GELU, no norms.
pub(super) fn config(id: &str, compiled: &Compiled) -> Config {
    let ratio = RATIOS.iter().find(|(case, _)| *case == id).map_or(2.0, |(_, r)| *r);
    let n_heads = compiled.n_heads.max(4);
    let n_layers = compiled.n_layers().max(2);
    let (d_model, d_head) = if NARROW_STREAM.contains(&id) {
        let d_model = ((compiled.d_model() as f64 / ratio).floor() as usize).max(2);
        (d_model, (d_model / n_heads).max(1))
    } else {
        let d_head = ((compiled.key_size as f64 / ratio).floor() as usize).max(1);
        (n_heads * d_head, d_head)
    };
    Config {
        n_layers,
        n_heads,
        n_kv_heads: n_heads,
        d_model,
        d_head,
        d_mlp: 4 * d_model,
        act: Activation::GeluErf,
        attn_scale: 1.0 / (d_head as f64).sqrt(),
        windows: vec![None; n_layers],
        ..compiled::config(compiled)
    }
}
