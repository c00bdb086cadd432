//! Circuits as layered graphs.

use std::collections::BTreeMap;

use ablate_graph::{Circuit, EdgeId, Level, Node, Reader, Scores};

use super::Material;
use super::nodes::same_model;
use crate::page::figure::{Body, Figure, GraphEdge, GraphFigure, GraphNode, Table, maybe};
use crate::page::read::{Input, Inputs, list, num, text};

/// Most edges drawn.
const EDGES: usize = 300;
/// Edges drawn between the members of a circuit of nodes.
const BETWEEN: usize = 60;

pub(super) fn figures(material: &mut Material<'_>) -> Vec<Figure> {
    let mut out: Vec<Figure> = Vec::new();
    for (input, circuit) in material.inputs.circuits() {
        let node_scores = node_scores(material.inputs, input);
        let edge_scores = edge_scores(material.inputs, input);
        let graph = draw(circuit, &node_scores, edge_scores);
        let kind = if circuit.level() == Level::Edge { "edges" } else { "nodes" };
        let of = match input.value.pointer("/circuit/of").and_then(serde_json::Value::as_u64) {
            Some(of) => of as usize,
            None => circuit.of(),
        };
        out.push(Figure {
            id: String::new(),
            title: format!("{}: {} of {of} {kind}", input.name, circuit.len()),
            how: how(&graph, circuit.level()),
            source: input.name.clone(),
            table: table(circuit, &node_scores, edge_scores.map(|(_, s)| s)),
            body: Body::Graph(graph),
        });
    }
    out
}

fn how(graph: &GraphFigure, level: Level) -> String {
    let mut how =
        "From the input at the bottom to the logits at the top. Choose a node to see its edges".to_owned();
    how.push_str(", scores and, where the model was run, its attention and what it writes. ");
    match (level, graph.edges_from.is_empty()) {
        (Level::Edge, false) => {
            how.push_str(&format!("Edges are as wide as their scores in {}. ", graph.edges_from))
        }
        (Level::Edge, true) => how.push_str("No file has scores of these edges, so all are drawn alike. "),
        (Level::Node, false) => how.push_str(&format!(
            "The circuit is of nodes; edges are the largest between its members in {}. ",
            graph.edges_from
        )),
        (Level::Node, true) => {
            how.push_str("The circuit is of nodes, and no file has scores of edges: none are drawn. ")
        }
    }
    if graph.left_out > 0 {
        how.push_str(&format!("{} smaller edges are left out of the drawing.", graph.left_out));
    }
    how.trim_end().to_owned()
}

/// Scores of nodes of the same model by name, the first file that has any.
fn node_scores(inputs: &Inputs, of: &Input) -> BTreeMap<String, (f64, Option<f64>)> {
    let sweep = |i: &&Input| i.value.pointer("/method/name").and_then(|v| v.as_str()) == Some("sweep");
    let node = |i: &&Input| {
        same_model(i, of) && i.scores.as_ref().is_some_and(|s| s.level() == Level::Node && !s.is_empty())
    };
    let mut files: Vec<&Input> = inputs.files.iter().filter(node).collect();
    files.sort_by_key(|i| !sweep(i));
    let mut found = BTreeMap::new();
    for scores in files.iter().filter_map(|i| i.scores.as_ref()) {
        for row in scores.rows() {
            found.entry(scores.name(row)).or_insert((row.score, (row.std_err > 0.0).then_some(row.std_err)));
        }
    }
    if found.is_empty() {
        for row in list(&of.value, "effects") {
            if let Some(score) = num(row, "score") {
                found.insert(text(row, "name").to_owned(), (score, num(row, "std_err")));
            }
        }
    }
    found
}

/// Scores of edges of the same model: of the file itself, of the one that the circuit names, or of the first one.
fn edge_scores<'a>(inputs: &'a Inputs, of: &Input) -> Option<(&'a str, &'a Scores)> {
    let named = text(&of.value, "scores").trim_end_matches(".json").to_owned();
    let edges = |i: &&Input| same_model(i, of) && i.scores.as_ref().is_some_and(|s| s.level() == Level::Edge);
    let mut files: Vec<&Input> = inputs.files.iter().filter(edges).collect();
    files.sort_by_key(|i| (i.name != of.name, i.name != named));
    files.first().and_then(|i| Some((i.name.as_str(), i.scores.as_ref()?)))
}

/// The place of a reader in the drawing: its node, or `logits` as none. A key or value that several heads share has none.
fn owner(reader: Reader) -> Option<Option<Node>> {
    match reader {
        Reader::Logits => Some(None),
        Reader::Head { layer, head, .. } => Some(Some(Node::Head { layer, head })),
        Reader::Mlp { layer } => Some(Some(Node::Mlp { layer })),
        Reader::Kv { .. } => None,
    }
}

fn level(node: Option<Node>, layers: usize) -> usize {
    match node {
        None | Some(Node::Logits) => 2 * layers + 1,
        Some(Node::Input) => 0,
        Some(Node::Head { layer, .. }) => 1 + 2 * layer,
        Some(Node::Mlp { layer }) => 2 + 2 * layer,
    }
}

fn draw(
    circuit: &Circuit,
    node_scores: &BTreeMap<String, (f64, Option<f64>)>,
    scores: Option<(&str, &Scores)>,
) -> GraphFigure {
    let graph = circuit.graph();
    let score = |id: EdgeId| scores.and_then(|(_, s)| s.of_edge(id)).map(|r| r.score);
    let mut edges: Vec<(EdgeId, Option<f64>)> = match circuit.edges() {
        Some(edges) => edges.iter().map(|id| (id, score(id))).collect(),
        None => between(circuit, scores.map(|(_, s)| s)),
    };
    let all = edges.len();
    let most = if circuit.level() == Level::Edge { EDGES } else { BETWEEN };
    edges.sort_by(|a, b| {
        b.1.unwrap_or(0.0).abs().total_cmp(&a.1.unwrap_or(0.0).abs()).then(a.0.0.cmp(&b.0.0))
    });
    edges.truncate(most);
    edges.sort_by_key(|(id, _)| id.0);
    let shape = graph.shape();
    let members = circuit.to_nodes();
    let mut nodes: Vec<(usize, Option<Node>)> = Vec::new();
    for id in members.nodes().into_iter().flat_map(|set| set.iter()) {
        nodes.push((level(Some(graph.node(id)), shape.n_layers), Some(graph.node(id))));
    }
    for end in [Some(Node::Input), None] {
        if !nodes.iter().any(|(_, n)| *n == end) {
            nodes.push((level(end, shape.n_layers), end));
        }
    }
    nodes.sort_by_key(|(at, node)| (*at, node.and_then(|n| graph.node_id(n)).map_or(u32::MAX, |id| id.0)));
    let place = |node: Option<Node>| nodes.iter().position(|(_, n)| *n == node);
    let drawn = edges.iter().filter_map(|&(id, score)| {
        let edge = graph.edge(id);
        let slot = edge.reader.slot().map_or(String::new(), |s| s.letter().to_string());
        Some(GraphEdge { from: place(Some(edge.sender))?, to: place(owner(edge.reader)?)?, slot, score })
    });
    let drawn: Vec<GraphEdge> = drawn.collect();
    let known = |(at, node): &(usize, Option<Node>)| {
        let name = node.map_or("logits".to_owned(), |n| n.to_string());
        let found = node_scores.get(&name);
        GraphNode { level: *at, score: found.map(|f| f.0), std_err: found.and_then(|f| f.1), name }
    };
    GraphFigure {
        layers: shape.n_layers,
        left_out: if circuit.level() == Level::Edge { all - drawn.len() } else { 0 },
        edges_from: scores.filter(|_| !drawn.is_empty()).map_or(String::new(), |(name, _)| name.to_owned()),
        nodes: nodes.iter().map(known).collect(),
        edges: drawn,
    }
}

/// Scored edges whose ends are both members, or `input` and `logits`.
fn between(circuit: &Circuit, scores: Option<&Scores>) -> Vec<(EdgeId, Option<f64>)> {
    let graph = circuit.graph();
    let Some(scores) = scores.filter(|s| s.graph() == graph) else { return Vec::new() };
    let inside = |node: Option<Node>| {
        node.is_none_or(|n| n == Node::Input || graph.node_id(n).is_some_and(|id| circuit.contains(id.0)))
    };
    let rows = scores.rows().iter().filter(|r| {
        let edge = graph.edge(EdgeId(r.id));
        r.score != 0.0 && inside(Some(edge.sender)) && owner(edge.reader).is_some_and(inside)
    });
    rows.map(|r| (EdgeId(r.id), Some(r.score))).collect()
}

fn table(circuit: &Circuit, nodes: &BTreeMap<String, (f64, Option<f64>)>, edges: Option<&Scores>) -> Table {
    let mut table = Table::new(&["member", "score", "std_err"]);
    for (id, name) in circuit.ids().into_iter().zip(circuit.names()) {
        let known = match circuit.level() {
            Level::Node => nodes.get(&name).copied(),
            Level::Edge => edges.and_then(|s| s.of_edge(EdgeId(id))).map(|r| (r.score, Some(r.std_err))),
        };
        table.row([name.into(), maybe(known.map(|k| k.0)), maybe(known.and_then(|k| k.1))]);
    }
    table
}
