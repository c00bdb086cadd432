//! A circuit as a layered SVG: `input` at the bottom, `logits` at the top, a row of heads and a row for the MLP of
//! each layer between them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::circuit::{Circuit, Level, Members, check_same_graph};
use crate::error::Result;
use crate::node::{Edge, EdgeId, Node, Reader, Slot};
use crate::scores::Scores;

/// Width and height of a node's box.
const BOX: (f64, f64) = (64.0, 24.0);
/// Distance of neighbours in a row, and of rows.
const STEP: (f64, f64) = (80.0, 58.0);
/// Space around the drawing; edges that pass by nodes bow out into the sides.
const MARGIN: (f64, f64) = (96.0, 24.0);

/// A self-contained SVG of a circuit. Edges are coloured by what they feed (query blue, key orange, value green,
/// the whole input grey), thicker the larger their |score|, dashed where the score is negative; every node and
/// edge names itself on hovering. A node circuit has no edges of its own, so none are drawn.
pub fn svg(circuit: &Circuit, scores: Option<&Scores>) -> Result<String> {
    if let Some(scores) = scores {
        check_same_graph(circuit.graph(), scores.graph())?;
    }
    let places = places(circuit);
    let most = |at: fn(&(f64, f64)) -> f64| places.values().map(at).fold(0.0, f64::max);
    let (width, height) = (most(|p| p.0) + BOX.0 / 2.0 + MARGIN.0, most(|p| p.1) + BOX.1 / 2.0 + MARGIN.1);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         width=\"{width:.0}\" height=\"{height:.0}\" font-family=\"Helvetica, Arial, sans-serif\" \
         font-size=\"12\" role=\"img\">\n<title>{} of {} {}s</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        circuit.len(),
        circuit.of(),
        circuit.level()
    );
    put_edges(circuit, scores.filter(|scores| scores.level() == Level::Edge), &places, &mut text);
    let of_nodes = scores.filter(|scores| scores.level() == Level::Node);
    for (node, &(x, y)) in &places {
        put_node(circuit, of_nodes, *node, (x, y), &mut text);
    }
    text.push_str("</svg>\n");
    Ok(text)
}

fn put_edges(
    circuit: &Circuit,
    scores: Option<&Scores>,
    places: &BTreeMap<Node, (f64, f64)>,
    text: &mut String,
) {
    let most = largest(circuit, scores);
    let opacity = if circuit.len() > 400 { 0.25 } else { 0.7 };
    let _ = writeln!(text, "<g fill=\"none\" stroke-opacity=\"{opacity}\">");
    for (id, edge) in drawn_edges(circuit) {
        let node = circuit.graph().nodes_of(edge.reader)[0];
        let (Some(&(x0, y0)), Some(&(x1, y1))) = (places.get(&edge.sender), places.get(&node)) else {
            continue;
        };
        let shift = slot_of(edge.reader).map_or(0.0, |slot| (f64::from(slot as u8) - 1.0) * BOX.0 / 4.0);
        let curve = curve((x0, y0 - BOX.1 / 2.0), (x1 + shift, y1 + BOX.1 / 2.0), id);
        let score = scores.and_then(|scores| scores.of_edge(id)).map(|row| row.score);
        let stroke = 0.8 + 3.2 * score.map_or(0.0, |score| score.abs() / most);
        let dash = if score.is_some_and(|score| score < 0.0) { " stroke-dasharray=\"5 3\"" } else { "" };
        let value = score.map_or(String::new(), |score| format!(" {score:.4}"));
        let _ = writeln!(
            text,
            "<path d=\"{curve}\" stroke=\"{}\" stroke-width=\"{stroke:.2}\"{dash}>\
             <title>{}{value}</title></path>",
            colour(edge.reader),
            escaped(&edge.to_string()),
        );
    }
    text.push_str("</g>\n");
}

/// A curve upwards from one box to another. One that passes rows in between bows to a side, the more the longer.
fn curve((x0, y0): (f64, f64), (x1, y1): (f64, f64), id: EdgeId) -> String {
    let rise = y0 - y1;
    let passed = (rise / STEP.1).floor().max(0.0);
    let side = if id.0.is_multiple_of(2) { 1.0 } else { -1.0 };
    let bow = if (x1 - x0).abs() > STEP.0 { 0.0 } else { side * (24.0 * passed).min(110.0) };
    let bend = rise.max(STEP.1 / 2.0) * 0.4;
    let (c0, c1) = ((x0 + bow, y0 - bend), (x1 + bow, y1 + bend));
    format!("M{x0:.1} {y0:.1}C{:.1} {:.1} {:.1} {:.1} {x1:.1} {y1:.1}", c0.0, c0.1, c1.0, c1.1)
}

fn put_node(circuit: &Circuit, scores: Option<&Scores>, node: Node, (x, y): (f64, f64), text: &mut String) {
    let fill = match node {
        Node::Head { .. } => "#e8f0fb",
        Node::Mlp { .. } => "#f4ecf7",
        Node::Input | Node::Logits => "#eeeeee",
    };
    let row = scores.and_then(|scores| scores.of_node(circuit.graph().node_id(node)?));
    let value = row.map_or(String::new(), |row| format!(" {:.4}", row.score));
    let (left, top) = (x - BOX.0 / 2.0, y - BOX.1 / 2.0);
    let _ = writeln!(
        text,
        "<g><title>{node}{value}</title><rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{}\" height=\"{}\" rx=\"5\" \
         fill=\"{fill}\" stroke=\"#555555\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{node}</text></g>",
        BOX.0,
        BOX.1,
        y + 4.0
    );
}

/// The middle of each node's box: rows from the top (`logits`) down, each centred.
fn places(circuit: &Circuit) -> BTreeMap<Node, (f64, f64)> {
    let mut rows: BTreeMap<(usize, usize), Vec<Node>> = BTreeMap::new();
    for node in drawn_nodes(circuit) {
        let row = match node {
            Node::Input => (0, 0),
            Node::Head { layer, .. } => (layer + 1, 0),
            Node::Mlp { layer } => (layer + 1, 1),
            Node::Logits => (usize::MAX, 0),
        };
        rows.entry(row).or_default().push(node);
    }
    let widest = rows.values().map(Vec::len).max().unwrap_or(1);
    let middle = MARGIN.0 + BOX.0 / 2.0 + STEP.0 * (widest - 1) as f64 / 2.0;
    let mut places = BTreeMap::new();
    for (i, nodes) in rows.values().rev().enumerate() {
        for (k, node) in nodes.iter().enumerate() {
            let x = middle + STEP.0 * (k as f64 - (nodes.len() - 1) as f64 / 2.0);
            places.insert(*node, (x, MARGIN.1 + BOX.1 / 2.0 + STEP.1 * i as f64));
        }
    }
    places
}

/// The nodes to draw in canonical order: members, or both ends of every edge; always `input` and `logits`.
pub(crate) fn drawn_nodes(circuit: &Circuit) -> Vec<Node> {
    let graph = circuit.graph();
    let mut seen = circuit.to_nodes().nodes().cloned().unwrap_or_else(|| crate::NodeSet::new(0));
    seen.extend(graph.node_id(Node::Input));
    for (_, edge) in drawn_edges(circuit) {
        seen.extend(graph.node_id(graph.nodes_of(edge.reader)[0]));
    }
    seen.iter().map(|id| graph.node(id)).chain([Node::Logits]).collect()
}

/// The edges to draw with their ids; none for a node circuit. A shared key or value is drawn at the first head
/// of its group.
pub(crate) fn drawn_edges(circuit: &Circuit) -> Vec<(EdgeId, Edge)> {
    match circuit.members() {
        Members::Nodes(_) => Vec::new(),
        Members::Edges(edges) => edges.iter().map(|id| (id, circuit.graph().edge(id))).collect(),
    }
}

/// The largest |score| of a member edge, 1 if there is none.
pub(crate) fn largest(circuit: &Circuit, scores: Option<&Scores>) -> f64 {
    let rows = scores.into_iter().flat_map(Scores::rows).filter(|row| circuit.contains(row.id));
    let most = rows.map(|row| row.score.abs()).fold(0.0, f64::max);
    if most > 0.0 { most } else { 1.0 }
}

/// The slot of a head's reader.
pub(crate) fn slot_of(reader: Reader) -> Option<Slot> {
    match reader {
        Reader::Head { slot, .. } | Reader::Kv { slot, .. } => Some(slot),
        Reader::Mlp { .. } | Reader::Logits => None,
    }
}

/// Colours that stay apart for colour-blind readers.
pub(crate) fn colour(reader: Reader) -> &'static str {
    match slot_of(reader) {
        Some(Slot::Q) => "#0072b2",
        Some(Slot::K) => "#d55e00",
        Some(Slot::V) => "#009e73",
        None => "#555555",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
