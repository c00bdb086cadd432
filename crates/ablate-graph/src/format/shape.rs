//! Which graph a file belongs to: by its `"shape"`, or the smallest one that has its names.

use serde_json::{Value, json};

use crate::circuit::check_same_graph;
use crate::error::{Error, Result};
use crate::format::fields::Field;
use crate::graph::{Graph, GraphShape, Kv};
use crate::node::{Node, Reader};
use crate::spelling;

/// A graph as JSON: its shape and `"kv": "per-query" | "grouped"`.
pub fn shape_value(graph: &Graph) -> Value {
    let shape = graph.shape();
    json!({
        "n_layers": shape.n_layers,
        "n_heads": shape.n_heads,
        "n_kv_heads": shape.n_kv_heads,
        "parallel": shape.parallel,
        "d_model": shape.d_model,
        "has_mlp": shape.has_mlp,
        "kv": match graph.kv() { Kv::PerQuery => "per-query", Kv::Grouped => "grouped" },
    })
}

/// The graph that a file's `"shape"` describes; `None` if it has none.
pub fn graph_of_value(file: &Value) -> Result<Option<Graph>> {
    let Some(shape) = Field::root(file).optional("shape") else { return Ok(None) };
    let count = |key| shape.required(key)?.count();
    let flag = |key| shape.required(key)?.bool();
    let kv = shape.required("kv")?;
    let kv = match kv.str()? {
        "per-query" => Kv::PerQuery,
        "grouped" => Kv::Grouped,
        _ => return Err(kv.wrong("it is neither `per-query` nor `grouped`")),
    };
    let shape = GraphShape {
        n_layers: count("n_layers")?,
        n_heads: count("n_heads")?,
        n_kv_heads: count("n_kv_heads")?,
        parallel: flag("parallel")?,
        d_model: count("d_model")?,
        has_mlp: flag("has_mlp")?,
    };
    Graph::new(shape, kv).map(Some)
}

/// The smallest sequential graph that has all these nodes or edges, for files that name no model.
pub fn graph_of_names<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Result<Graph> {
    let (mut n_layers, mut n_heads, mut n_kv, mut has_mlp) = (0, 0, 0, false);
    for name in names {
        let name = name.as_ref();
        let (sender, reader) = name.split_once("->").map_or((name, None), |(s, r)| (s, Some(r)));
        let ends = [spelling::node(sender), reader.and_then(end_of)];
        for node in ends.into_iter().flatten() {
            n_layers = n_layers.max(node.layer().map_or(0, |layer| layer.saturating_add(1)));
            match node {
                Node::Head { head, .. } => n_heads = n_heads.max(head.saturating_add(1)),
                Node::Mlp { .. } => has_mlp = true,
                _ => {}
            }
        }
        if let Some(Reader::Kv { kv, .. }) = reader.and_then(|text| spelling::reader(text, n_layers)) {
            n_kv = n_kv.max(kv.saturating_add(1));
        }
    }
    if n_kv > 0 {
        n_heads = n_heads.max(1).checked_next_multiple_of(n_kv).unwrap_or(usize::MAX);
    }
    let kv = if n_kv > 0 { Kv::Grouped } else { Kv::PerQuery };
    let n_kv_heads = if n_kv > 0 { n_kv } else { n_heads };
    Graph::new(GraphShape { n_layers, n_heads, n_kv_heads, parallel: false, d_model: 0, has_mlp }, kv)
}

/// The node that the right side of an edge belongs to (of a shared key or value, a head of the same layer).
fn end_of(text: &str) -> Option<Node> {
    match spelling::reader(text, 0)? {
        Reader::Logits => Some(Node::Logits),
        Reader::Mlp { layer } => Some(Node::mlp(layer)),
        Reader::Head { layer, head, .. } => Some(Node::head(layer, head)),
        Reader::Kv { layer, .. } => Some(Node::head(layer, 0)),
    }
}

/// The graph to read a file with: the one given, else the file's own, else the smallest that has its names.
/// A fingerprint or shape in the file must agree with it.
pub(crate) fn graph_for<'a>(
    file: &Value,
    given: Option<&Graph>,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<Graph> {
    let own = graph_of_value(file)?;
    if let (Some(given), Some(own)) = (given, &own) {
        check_same_graph(given, own)?;
    }
    let Some(graph) = given.copied().or(own) else { return graph_of_names(names) };
    match Field::root(file).optional("graph") {
        Some(field) if field.str()? != graph.fingerprint() => Err(Error::GraphMismatch {
            left: field.str()?.to_string(),
            right: format!("{} ({})", graph.fingerprint(), graph.describe()),
        }),
        _ => Ok(graph),
    }
}
