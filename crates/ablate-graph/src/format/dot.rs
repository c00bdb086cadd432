//! A circuit as DOT text for graphviz.

use std::fmt::Write as _;

use crate::circuit::{Circuit, Level, check_same_graph};
use crate::error::Result;
use crate::format::svg::{colour, drawn_edges, drawn_nodes, largest, slot_of};
use crate::scores::Scores;

/// DOT text of a circuit: its nodes, and for an edge circuit its edges coloured by what they feed (query, key,
/// value, or the whole input) and drawn thicker the larger their |score|. A node circuit has no edges of its
/// own, so none are drawn.
pub fn dot(circuit: &Circuit, scores: Option<&Scores>) -> Result<String> {
    if let Some(scores) = scores {
        check_same_graph(circuit.graph(), scores.graph())?;
    }
    let mut text = String::from("digraph circuit {\n  rankdir=BT;\n");
    text.push_str("  node [shape=box, style=rounded, fontname=\"Helvetica\"];\n");
    for node in drawn_nodes(circuit) {
        let _ = writeln!(text, "  \"{node}\";");
    }
    let scores = scores.filter(|scores| scores.level() == Level::Edge);
    let most = largest(circuit, scores);
    for (id, edge) in drawn_edges(circuit) {
        let node = circuit.graph().nodes_of(edge.reader)[0];
        let score = scores.and_then(|scores| scores.of_edge(id)).map(|row| row.score);
        let width = 0.6 + 4.4 * score.map_or(0.0, |score| score.abs() / most);
        let _ = write!(text, "  \"{}\" -> \"{node}\" [color=\"{}\"", edge.sender, colour(edge.reader));
        let _ = write!(text, ", penwidth={width:.2}");
        if let Some(slot) = slot_of(edge.reader) {
            let _ = write!(text, ", label=\"{slot}\"");
        }
        if let Some(score) = score {
            let _ = write!(text, ", tooltip=\"{edge} {score:.4}\"");
        }
        text.push_str("];\n");
    }
    text.push_str("}\n");
    Ok(text)
}
