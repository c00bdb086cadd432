//! Circuits in layers, and trees.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::Drawn;
use super::paint::{GREY, IN, Ink, OUT, Pen, colour, shown};
use crate::page::figure::{GraphFigure, Tree, TreeNode};

/// Height between two levels.
const LEVEL: i32 = 54;
/// Width of a node with its space.
const NODE: i32 = 66;
const TOP: i32 = 70;

/// The nodes of each row that has any, from the top.
fn rows_of(graph: &GraphFigure) -> Vec<Vec<usize>> {
    let mut used: Vec<usize> = graph.nodes.iter().map(|n| n.row).collect();
    used.sort_unstable();
    used.dedup();
    let of = |row: &usize| (0..graph.nodes.len()).filter(|i| graph.nodes[*i].row == *row).collect();
    used.iter().rev().map(of).collect()
}

/// Most heads of a layer that get a column each; where there are more, nodes are spread over their row.
const COLUMNS: usize = 14;

pub(super) fn size(graph: &GraphFigure) -> (u32, u32) {
    let rows = rows_of(graph);
    let widest = rows.iter().map(Vec::len).max().unwrap_or(1);
    let columns = if graph.heads <= COLUMNS { graph.heads + 1 } else { widest };
    ((NODE * columns as i32 + 60).max(640) as u32, (TOP + LEVEL * rows.len() as i32 + 20) as u32)
}

pub(super) fn graph<B: DrawingBackend>(graph: &GraphFigure, area: &DrawingArea<B, Shift>, pen: Pen) -> Drawn
where
    B::ErrorType: 'static,
{
    let (width, _) = size(graph);
    let mut at = vec![(0, 0); graph.nodes.len()];
    for (row, nodes) in rows_of(graph).iter().enumerate() {
        for (i, &node) in nodes.iter().enumerate() {
            let share = if graph.heads <= COLUMNS {
                (graph.nodes[node].column + 0.5) / (graph.heads as f64 + 1.0)
            } else {
                (i as f64 + 1.0) / (nodes.len() as f64 + 1.0)
            };
            let x = 20.0 + share * (f64::from(width) - 40.0);
            at[node] = (x.round() as i32, TOP + LEVEL * row as i32 + 16);
        }
    }
    let most = graph.edges.iter().filter_map(|e| e.score).fold(0.0_f64, |m, s| m.max(s.abs()));
    for edge in &graph.edges {
        let share = edge.score.filter(|_| most > 0.0).map_or(0.4, |s| s.abs() / most);
        let line = match edge.score {
            Some(s) if s < 0.0 => OUT,
            Some(_) => IN,
            None => GREY,
        };
        let (from, to) = (at[edge.from], at[edge.to]);
        if from.1 == to.1 {
            // a head and the MLP of its own layer
            pen.line(
                area,
                &[(from.0 + 28, from.1), (to.0 - 28, to.1)],
                line.mix(0.25 + 0.7 * share),
                1 + (3.0 * share) as u32,
            )?;
            continue;
        }
        pen.line(
            area,
            &[(from.0, from.1 - 11), (to.0, to.1 + 11)],
            line.mix(0.25 + 0.7 * share),
            1 + (3.0 * share) as u32,
        )?;
    }
    let most = graph.nodes.iter().filter_map(|n| n.score).fold(0.0_f64, |m, s| m.max(s.abs()));
    for (node, &(x, y)) in graph.nodes.iter().zip(&at) {
        let (fill, share) = node
            .score
            .map_or((WHITE, 0.0), |s| (colour(s, most), if most > 0.0 { s.abs() / most } else { 0.0 }));
        let (w, h) = (NODE - 10, 22);
        pen.rect(area, (x - w / 2, y - h / 2), (w, h), fill.filled())?;
        pen.rect(area, (x - w / 2, y - h / 2), (w, h), GREY.stroke_width(pen.0 as u32))?;
        let ink = if share > 0.6 { WHITE } else { BLACK };
        let ink = Ink { colour: ink, size: 11, ..Ink::label() }.at(HPos::Center, VPos::Center);
        pen.text(area, &node.name, (x, y), &ink)?;
    }
    Ok(())
}

fn rows(node: &TreeNode) -> i32 {
    1 + node.children.iter().map(rows).sum::<i32>()
}

pub(super) fn tree_size(tree: &Tree) -> (u32, u32) {
    (900, (TOP + 26 * rows(&tree.root) + 20) as u32)
}

pub(super) fn tree<B: DrawingBackend>(tree: &Tree, area: &DrawingArea<B, Shift>, pen: Pen) -> Drawn
where
    B::ErrorType: 'static,
{
    let mut y = TOP;
    branch(&tree.root, 24, &mut y, area, pen)
}

fn branch<B: DrawingBackend>(
    node: &TreeNode,
    x: i32,
    y: &mut i32,
    area: &DrawingArea<B, Shift>,
    pen: Pen,
) -> Drawn
where
    B::ErrorType: 'static,
{
    let own = *y;
    let name = shown(&node.name, 40);
    let said = if node.text.is_empty() { name } else { format!("{name}  ({})", shown(&node.text, 70)) };
    pen.text(area, &said, (x, own), &Ink::label().at(HPos::Left, VPos::Center))?;
    for child in &node.children {
        *y += 26;
        let at = *y;
        pen.line(area, &[(x + 4, own + 9), (x + 4, at), (x + 20, at)], GREY.to_rgba(), 1)?;
        branch(child, x + 26, y, area, pen)?;
    }
    Ok(())
}
