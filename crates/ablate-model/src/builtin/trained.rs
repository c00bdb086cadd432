//! `builtin:ioi`: a small transformer that was trained, not set by hand, and whose circuit is known all the same.
//!
//! It says the indirect object after sentences such as "when Mary and John went park John gave ring to", and was
//! trained by strict interchange intervention training to keep the steps of a program at known nodes:
//! the command in `assets/ioi/README.md`; its nodes and edges are in `truth.json` beside it.

use std::collections::BTreeMap;

use ablate_graph::{Edge, Graph, Kv, Node};
use serde_json::Value;

use super::words;
use crate::error::Result;
use crate::load::{LoadOptions, builtin_hooked};
use crate::model::Model;

/// The words by token id.
pub(super) const WORDS: [&str; 22] = [
    "Anna", "John", "Mary", "Paul", "Rose", "and", "book", "cup", "drum", "gave", "met", "park", "ring",
    "school", "shop", "then", "to", "went", "when", "zoo", "|BOS|", "|PAD|",
];

const BOS: u32 = 20;
const SETTINGS: &[u8] = include_bytes!("../../assets/ioi/ll_model_cfg.pkl");
const WEIGHTS: &[u8] = include_bytes!("../../assets/ioi/ll_model.pth");
const TRUTH: &str = include_str!("../../assets/ioi/truth.json");

/// The model.
pub(super) fn load(name: &str, options: &LoadOptions) -> Result<Model> {
    let tokenizer = words::tokenizer(name, &WORDS, Some(BOS), options)?;
    let name = format!("builtin:{name}");
    let (config, weights) = builtin_hooked(&name, SETTINGS, WEIGHTS, options)?;
    let mut model = Model::from_parts(&name, config, weights, Some(tokenizer))?;
    let note = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    model.add_notes(BTreeMap::from([
        note("source", "builtin"),
        note("dtype", options.dtype.name()),
        note("fold_norm", &options.fold_norm.to_string()),
        note("center", &options.center.to_string()),
    ]));
    Ok(model)
}

/// See [`super::truth_edges`].
pub(super) fn truth_edges() -> Vec<Edge> {
    let value: Value = serde_json::from_str(TRUTH).unwrap_or_default();
    let names = value["members"].as_array().map_or(&[][..], |names| names);
    let Some(graph) = graph() else { return Vec::new() };
    let id = |name: &Value| graph.parse_edges(name.as_str()?).ok()?.first().copied();
    let mut ids: Vec<_> = names.iter().filter_map(id).collect();
    ids.sort_unstable();
    ids.into_iter().map(|id| graph.edge(id)).collect()
}

/// See [`super::truth`].
pub(super) fn truth() -> Vec<Node> {
    let mut nodes: Vec<Node> = truth_edges().iter().map(|e| e.sender).filter(|n| *n != Node::Input).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// See [`super::token_edges`]: no node of this model only knows where it is.
pub(super) fn token_edges() -> Vec<Edge> {
    truth_edges()
}

fn graph() -> Option<Graph> {
    let model = load("ioi", &LoadOptions::default()).ok()?;
    Graph::new(model.graph_shape(), Kv::PerQuery).ok()
}
