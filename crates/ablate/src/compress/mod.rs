//! Compression: a smaller checkpoint in which everything outside a circuit is ablated for good. Heads that are not in it
//! are gone from the file where its format allows, else zero; the mean of what was removed is folded into the output
//! biases, so that the new model computes what the mean-ablated one does.
//!
//! For a head `h` that is removed from layer `l`, with mean `z̄` over all real positions of the mean set,
//! `b_O += z̄·W_O,h`; for a removed MLP, `b_out += m̄`.

mod check;
mod fold;
mod layout;
mod text;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use ablate_graph::{Circuit, Graph, Node, Reader, Side, Source};
use ablate_model::engine::Keep;
use ablate_model::model::{AnyWeights, Model};
use ablate_model::save::{self, Checkpoint, Saved, Stored};
use ablate_model::{Batch, Config, Weights};
use ablate_tensor::Real;

pub use check::largest_gap;
pub use layout::{Fate, LayerReport};
pub use text::{TextScore, next_token, windows};

use self::layout::Layout;
use crate::error::{Error, Result};
use crate::run::means::Means;

/// What is removed, and what stands for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Heads and MLPs.
    pub removed: Vec<Node>,
    /// [`Source::Mean`] or [`Source::Zero`].
    pub source: Source,
    /// Zero heads and MLPs where they are, even where the format could leave them out.
    pub keep_shape: bool,
}

/// A compressed model, ready to be saved.
#[derive(Clone, Debug)]
pub struct Compressed {
    /// Its shape.
    pub config: Config,
    /// Its weights.
    pub weights: AnyWeights,
    /// For each layer the heads that the file leaves out, where its format does that layer by layer.
    pub pruned: Vec<Vec<usize>>,
    /// What became of each layer.
    pub layers: Vec<LayerReport>,
    /// What differs from the mean-ablated model, or is done in an unexpected way; in sentences.
    pub notes: Vec<String>,
}

/// The nodes that are removed so that `circuit` is left: of `candidates` those that are no members; without candidates
/// all heads if the circuit has only heads, all MLPs if it has only MLPs, else both. Of a circuit of edges the nodes
/// that have one are its members. The embedding (`input`), which groups such as `all` hold, always stays.
///
/// # Errors
/// An empty circuit without candidates; candidates without a head or MLP.
pub fn outside(circuit: &Circuit, candidates: Option<&[Node]>) -> Result<Vec<Node>> {
    let graph = circuit.graph();
    let members = members(circuit);
    let parts = |heads: bool, mlps: bool| -> Vec<Node> {
        let heads = graph.heads().filter(|_| heads);
        heads.chain(graph.mlps().filter(|_| mlps)).collect()
    };
    let candidates = if let Some(given) = candidates {
        given.to_vec()
    } else {
        let heads = members.iter().any(|n| matches!(n, Node::Head { .. }));
        let mlps = members.iter().any(|n| matches!(n, Node::Mlp { .. }));
        if !heads && !mlps {
            return Err(Error::argument(
                "the circuit has no head and no MLP, so it does not say what may be removed",
                "name it: --nodes heads, mlps or all removes all of them; or choose a lower threshold",
            ));
        }
        let both = circuit.edges().is_some();
        parts(heads || both, mlps || both)
    };
    let inner: Vec<Node> = candidates.iter().copied().filter(is_inner).collect();
    if let (Some(node), true) = (candidates.first(), inner.is_empty()) {
        return Err(Error::argument(
            format!("{node} cannot be removed from a checkpoint"),
            "candidates are heads and MLPs: take heads, mlps, all or a set of them",
        ));
    }
    let removed: BTreeSet<Node> = inner.into_iter().filter(|n| !members.contains(n)).collect();
    let mut removed: Vec<Node> = removed.into_iter().collect();
    removed.sort_by_key(|n| graph.node_id(*n).map(ablate_graph::NodeId::index));
    Ok(removed)
}

/// Whether a node is a head or an MLP.
fn is_inner(node: &Node) -> bool {
    matches!(node, Node::Head { .. } | Node::Mlp { .. })
}

/// Heads and MLPs of a circuit; of a circuit of edges those at either end of one.
fn members(circuit: &Circuit) -> BTreeSet<Node> {
    let graph = circuit.graph();
    if let Some(nodes) = circuit.nodes() {
        return nodes.iter().map(|id| graph.node(id)).filter(is_inner).collect();
    }
    let edges = circuit.edges().into_iter().flat_map(|edges| edges.iter());
    edges.flat_map(|id| ends(graph, graph.edge(id))).filter(is_inner).collect()
}

/// The nodes at both ends of an edge.
fn ends(graph: &Graph, edge: ablate_graph::Edge) -> Vec<Node> {
    let shape = graph.shape();
    let readers = match edge.reader {
        Reader::Head { layer, head, .. } => vec![Node::head(layer, head)],
        Reader::Kv { layer, kv, .. } => {
            let size = shape.n_heads / shape.n_kv_heads.max(1);
            (kv * size..(kv + 1) * size).map(|head| Node::head(layer, head)).collect()
        }
        Reader::Mlp { layer } => vec![Node::mlp(layer)],
        Reader::Logits => Vec::new(),
    };
    std::iter::once(edge.sender).chain(readers).collect()
}

/// What becomes of each layer, without running or making anything.
///
/// # Errors
/// As [`compress`].
pub fn layers(model: &Model, request: &Request) -> Result<Vec<LayerReport>> {
    check_request(model, request)?;
    let config = model.config();
    Ok(Layout::new(config, save::abilities(config)?, request).layers)
}

/// Makes the compressed model. Means are taken over `side` of `mean_set`, in runs that keep at most `budget` bytes.
///
/// # Errors
/// Sources other than mean and zero; nodes that the model lacks; weights that are not as stored; an architecture that
/// is never saved; activations that are not finite.
pub fn compress(
    model: &Model,
    mean_set: &Batch,
    side: Side,
    budget: usize,
    request: &Request,
) -> Result<Compressed> {
    check_request(model, request)?;
    let (config, weights, layout, notes) = match model.weights() {
        AnyWeights::F32(w) => {
            let (c, w, layout, notes) = typed(model, w, mean_set, side, budget, request)?;
            (c, AnyWeights::F32(Arc::new(w)), layout, notes)
        }
        AnyWeights::F64(w) => {
            let (c, w, layout, notes) = typed(model, w, mean_set, side, budget, request)?;
            (c, AnyWeights::F64(Arc::new(w)), layout, notes)
        }
    };
    Ok(Compressed { config, weights, pruned: layout.pruned, layers: layout.layers, notes })
}

fn check_request(model: &Model, request: &Request) -> Result<()> {
    if !matches!(request.source, Source::Mean | Source::Zero) {
        return Err(Error::argument(
            "a checkpoint can hold one value for what was removed",
            "take --ablation mean or zero: values by position or by row are no weights",
        ));
    }
    for (note, flag) in [("fold_norm", "--fold-norm"), ("center", "--center")] {
        if model.notes().get(note).is_some_and(|v| v == "true") {
            return Err(Error::argument(
                format!("{flag} changes the weights that would be written"),
                format!("leave {flag} out: weights are compressed as they are stored"),
            ));
        }
    }
    let shape = model.graph_shape();
    let fits = |node: &Node| match *node {
        Node::Head { layer, head } => layer < shape.n_layers && head < shape.n_heads,
        Node::Mlp { layer } => layer < shape.n_layers && shape.has_mlp,
        Node::Input | Node::Logits => false,
    };
    match request.removed.iter().find(|node| !fits(node)) {
        Some(node) => Err(Error::argument(
            format!("{node} cannot be removed from {}", model.name()),
            "only heads and MLPs that the model has can be removed",
        )),
        None => Ok(()),
    }
}

type Made<T> = (Config, Weights<T>, Layout, Vec<String>);

fn typed<T: Real>(
    model: &Model,
    weights: &Weights<T>,
    mean_set: &Batch,
    side: Side,
    budget: usize,
    request: &Request,
) -> Result<Made<T>> {
    let cfg = model.config();
    let abilities = save::abilities(cfg)?;
    let mut layout = Layout::new(cfg, abilities, request);
    let means = match request.source {
        Source::Mean if !request.removed.is_empty() => Some(means(cfg, weights, mean_set, side, budget)?),
        _ => None,
    };
    let (config, weights, notes) = fold::fold(cfg, weights, abilities, &mut layout, means.as_ref())?;
    Ok((config, weights, layout, notes))
}

/// Means of head and MLP outputs.
fn means<T: Real>(
    cfg: &Config,
    weights: &Weights<T>,
    set: &Batch,
    side: Side,
    budget: usize,
) -> Result<Means<T>> {
    let keep = Keep::Z | Keep::MLP;
    let tokens = budget / 2 / (keep.per_token(cfg, set.max_len()).max(1) * size_of::<T>());
    Means::new(cfg, weights, set, side, false, keep, tokens.max(1))
}

impl Compressed {
    /// What is saved: this model with the tokenizer and special tokens of `model`, from which it was made.
    fn checkpoint<'a>(&'a self, model: &'a Model) -> Checkpoint<'a> {
        Checkpoint {
            config: &self.config,
            weights: &self.weights,
            pruned: &self.pruned,
            tokenizer: model.tokenizer(),
            origin: model.origin(),
        }
    }

    /// The `model_type` that it will be saved as; writes nothing.
    ///
    /// # Errors
    /// A model that no Hugging Face format can say.
    pub fn model_type(&self, model: &Model) -> Result<String> {
        Ok(save::check(&self.checkpoint(model))?)
    }

    /// Writes it to `folder`; see [`save::save`].
    ///
    /// # Errors
    /// As [`save::save`].
    pub fn save(&self, model: &Model, folder: &Path, stored: Stored) -> Result<Saved> {
        Ok(save::save(&self.checkpoint(model), folder, stored)?)
    }
}
