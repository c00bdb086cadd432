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
        // a file written by hand has no shape: then the scores' graph is taken
        let larger = edge_scores
            .and_then(|(_, s)| Circuit::of_names(s.graph(), circuit.level(), &circuit.names()).ok());
        let circuit = &larger.unwrap_or_else(|| circuit.clone());
        let graph = draw(circuit, &node_scores, edge_scores);
        let kind = if circuit.level() == Level::Edge { "edges" } else { "nodes" };
        let said = ["/circuit/of", "/prune/circuit/of", "/of"]
            .iter()
            .find_map(|at| input.value.pointer(at)?.as_u64());
        let of = match said {
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
    let from = &graph.edges_from;
    let edges = match (level, from.is_empty()) {
        (Level::Edge, false) => format!("Edges are as wide as their scores in {from}."),
        (Level::Edge, true) => "No file has scores of these edges, so all are drawn alike.".to_owned(),
        (Level::Node, false) => {
            format!("The circuit is of nodes; edges are the largest between its members in {from}.")
        }
        (Level::Node, true) => {
            "The circuit is of nodes, and no file has scores of edges: none are drawn.".to_owned()
        }
    };
    let left_out = match graph.left_out {
        0 => String::new(),
        n => format!(" {n} smaller edges are left out of the drawing."),
    };
    format!(
        "From the input at the bottom to the logits at the top. Choose a node to see its edges, scores and, where the model was \
         run, its attention and what it writes. {edges}{left_out}"
    )
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

/// The node that a reader belongs to. A key or value that several heads share belongs to none.
fn owner(reader: Reader) -> Option<Node> {
    match reader {
        Reader::Logits => Some(Node::Logits),
        Reader::Head { layer, head, .. } => Some(Node::Head { layer, head }),
        Reader::Mlp { layer } => Some(Node::Mlp { layer }),
        Reader::Kv { .. } => None,
    }
}

/// Row and column of a node in the drawing.
fn spot(node: Node, layers: usize, heads: usize) -> (usize, f64) {
    match node {
        Node::Logits => (layers + 1, heads as f64 / 2.0),
        Node::Input => (0, heads as f64 / 2.0),
        Node::Head { layer, head } => (1 + layer, head as f64),
        Node::Mlp { layer } => (1 + layer, heads as f64),
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
    let mut nodes: Vec<Node> =
        members.nodes().into_iter().flat_map(|set| set.iter()).map(|id| graph.node(id)).collect();
    for end in [Node::Input, Node::Logits] {
        if !nodes.contains(&end) {
            nodes.push(end);
        }
    }
    nodes.sort_by_key(|node| graph.node_id(*node).map_or(u32::MAX, |id| id.0));
    let place = |node: Node| nodes.iter().position(|n| *n == node);
    let drawn = edges.iter().filter_map(|&(id, score)| {
        let edge = graph.edge(id);
        let slot = edge.reader.slot().map_or(String::new(), |s| s.letter().to_string());
        Some(GraphEdge { from: place(edge.sender)?, to: place(owner(edge.reader)?)?, slot, score })
    });
    let drawn: Vec<GraphEdge> = drawn.collect();
    let known = |node: &Node| {
        let name = node.to_string();
        let found = node_scores.get(&name);
        let (row, column) = spot(*node, shape.n_layers, shape.n_heads);
        GraphNode { row, column, score: found.map(|f| f.0), std_err: found.and_then(|f| f.1), name }
    };
    GraphFigure {
        layers: shape.n_layers,
        heads: shape.n_heads,
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
    let inside = |node: Node| {
        let end = matches!(node, Node::Input | Node::Logits);
        end || graph.node_id(node).is_some_and(|id| circuit.contains(id.0))
    };
    let rows = scores.rows().iter().filter(|r| {
        let edge = graph.edge(EdgeId(r.id));
        r.score != 0.0 && inside(edge.sender) && owner(edge.reader).is_some_and(inside)
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
