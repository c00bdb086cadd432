//! Scores of nodes and edges: heads by layer, the rest as bars.

use std::collections::BTreeSet;

use ablate_graph::{Level, Node, ScoreRow, Scores};
use serde_json::Value;

use super::Material;
use crate::page::figure::{Bar, Bars, Body, Cell, Figure, Heat, Table, cell};
use crate::page::read::{Input, list, num, text};

/// Most bars of a figure.
const BARS: usize = 24;

pub(super) fn figures(material: &mut Material<'_>) -> Vec<Figure> {
    let mut out = Vec::new();
    for input in &material.inputs.files {
        let members = members(material, input);
        if let Some(scores) = &input.scores {
            of_scores(input, scores, &members, &mut out);
        }
        if input.kind == "demo" {
            of_demo(input, &members, &mut out);
        }
    }
    out.extend(super::behaviours::figures(material));
    out
}

/// A circuit whose members are marked: its file, and its nodes by name.
type Marked = Option<(String, BTreeSet<String>)>;

/// The circuit of the same model that is marked in figures: one of nodes before one of edges, then the smallest.
fn members(material: &Material<'_>, input: &Input) -> Marked {
    let ours = material.inputs.circuits().filter(|(file, _)| same_model(file, input));
    let (file, circuit) = ours.min_by_key(|(_, c)| (c.level() == Level::Edge, c.len()))?;
    Some((file.name.clone(), circuit.to_nodes().names().into_iter().collect()))
}

/// What frames mean.
fn frames(members: &Marked) -> String {
    members
        .as_ref()
        .map_or(String::new(), |(file, _)| format!(" Framed heads are in the circuit from {file}."))
}

/// Whether two files are of one model, as far as they say.
pub(in crate::page) fn same_model(a: &Input, b: &Input) -> bool {
    let hash = |i: &Input| i.value.pointer("/manifest/model/hash").and_then(Value::as_str).map(str::to_owned);
    let graph = |i: &Input| {
        let scores = i.scores.as_ref().map(|s| s.graph().fingerprint());
        scores.or_else(|| i.circuit.as_ref().map(ablate_graph::Circuit::fingerprint))
    };
    match (hash(a), hash(b), graph(a), graph(b)) {
        (Some(a), Some(b), _, _) | (_, _, Some(a), Some(b)) => a == b,
        _ => true,
    }
}

/// What the scores are of, in words.
fn what(input: &Input) -> (String, String) {
    let method = input.value.get("method").unwrap_or(&Value::Null);
    let name = text(method, "name");
    let ablation = text(method, "ablation");
    let by = if ablation.is_empty() { String::new() } else { format!(", ablated by {ablation}") };
    let metric = Some(text(&input.value, "metric")).filter(|m| !m.is_empty()).unwrap_or("the metric");
    let title = match name {
        "sweep" => format!("Effect on {metric} of each node alone{by}"),
        "path" => format!("Effect on {metric} of the paths into {}{by}", text(method, "receivers")),
        "" => "Scores".to_owned(),
        other => format!("Scores by {other}{by}"),
    };
    let label = match name {
        "sweep" | "path" => format!("{metric} lost without it"),
        _ => "score".to_owned(),
    };
    (title, label)
}

fn of_scores(input: &Input, scores: &Scores, members: &Marked, out: &mut Vec<Figure>) {
    let (title, label) = what(input);
    let table = table(scores, members);
    let figure = |title: String, how: &str, body: Body| Figure {
        id: String::new(),
        title,
        how: how.into(),
        source: input.name.clone(),
        body,
        table: table.clone(),
    };
    match scores.level() {
        Level::Node => {
            if let Some(heat) = heat(scores, members, &label) {
                let how = format!("Each cell is a head.{}", frames(members));
                out.push(figure(title.clone(), &how, Body::Heat(heat)));
            }
            let other: Vec<&ScoreRow> = scores
                .rows()
                .iter()
                .filter(|r| !matches!(scores.graph().node(ablate_graph::NodeId(r.id)), Node::Head { .. }))
                .collect();
            if !other.is_empty() {
                let how = "Nodes that are no heads, from the input upwards.";
                let bars = Bars {
                    value_label: label.clone(),
                    bars: bars(scores, &other, members),
                    rules: Vec::new(),
                };
                out.push(figure(format!("{title}: input and MLPs"), how, Body::Bars(bars)));
            }
        }
        Level::Edge => {
            if let Some(heat) = strongest(scores, members, &label) {
                let how = format!(
                    "Each cell is a head: the score of the strongest edge out of it.{}",
                    frames(members)
                );
                out.push(figure(format!("{title}: strongest edge of each head"), &how, Body::Heat(heat)));
            }
        }
    }
    let ranked = scores.ranked(true);
    let top = &ranked[..ranked.len().min(BARS)];
    if top.iter().any(|r| r.score != 0.0) {
        let kind = if scores.level() == Level::Edge { "edges" } else { "nodes" };
        let bars = Bars { value_label: label, bars: bars(scores, top, members), rules: Vec::new() };
        let how = format!(
            "The {} with the largest scores of {}. Whiskers: 95 % of the mean over rows.",
            top.len(),
            ranked.len()
        );
        out.push(figure(format!("{title}: largest {kind}"), &how, Body::Bars(bars)));
    }
}

fn table(scores: &Scores, members: &Marked) -> Table {
    let mut table = Table::new(&["name", "score", "std_err", "metric", "n", "in circuit"]);
    for row in scores.ranked(true) {
        let name = scores.name(row);
        let inside = if is_in(scores, row, &name, members) { "yes" } else { "" };
        table.row([
            name.into(),
            cell(row.score),
            cell(row.std_err),
            cell(row.metric),
            row.n.into(),
            inside.into(),
        ]);
    }
    table
}

fn has(members: &Marked, name: &str) -> bool {
    members.as_ref().is_some_and(|(_, names)| names.contains(name))
}

/// Whether the circuit has nodes of this kind at all: one of heads leaves input and MLPs as they are. Edges are always in or out.
fn could_be_in(members: &Marked, name: &str) -> bool {
    let kind = |name: &str| name.chars().next();
    let alike = |names: &BTreeSet<String>| names.iter().any(|n| kind(n) == kind(name));
    members.as_ref().is_some_and(|(_, names)| name.contains("->") || alike(names))
}

/// Of a node: whether it is a member; of an edge: whether both of its ends are.
fn is_in(scores: &Scores, row: &ScoreRow, name: &str, members: &Marked) -> bool {
    match scores.level() {
        Level::Node => has(members, name),
        Level::Edge => {
            let edge = scores.graph().edge(ablate_graph::EdgeId(row.id));
            let reader = edge.reader.to_string();
            let to = reader.split('<').next().unwrap_or_default();
            has(members, &edge.sender.to_string()) && (to == "logits" || has(members, to))
        }
    }
}

fn bars(scores: &Scores, rows: &[&ScoreRow], members: &Marked) -> Vec<Bar> {
    let bar = |row: &&ScoreRow| {
        let name = scores.name(row);
        let group = match (!could_be_in(members, &name), is_in(scores, row, &name, members)) {
            (true, _) => "",
            (_, true) => "in",
            _ => "out",
        };
        let std_err = (row.std_err > 0.0).then_some(row.std_err);
        Bar { name, value: row.score, std_err, group: group.into() }
    };
    rows.iter().map(bar).collect()
}

/// Names of layers and heads of the graph.
fn axes(scores: &Scores, label: &str) -> Heat {
    let shape = scores.graph().shape();
    Heat {
        x_label: "head".into(),
        y_label: "layer".into(),
        value_label: label.into(),
        x: (0..shape.n_heads).map(|h| h.to_string()).collect(),
        y: (0..shape.n_layers).map(|l| l.to_string()).collect(),
        cells: Vec::new(),
    }
}

fn heat(scores: &Scores, members: &Marked, label: &str) -> Option<Heat> {
    let mut heat = axes(scores, label);
    let heads = heat.x.len();
    for row in scores.rows() {
        let (x, y) = match scores.graph().node(ablate_graph::NodeId(row.id)) {
            Node::Head { layer, head } => (head, layer),
            Node::Mlp { layer } => (heads, layer),
            _ => continue,
        };
        let name = scores.name(row);
        let (marked, std_err) = (has(members, &name), (row.std_err > 0.0).then_some(row.std_err));
        heat.cells.push(Cell { x, y, value: row.score, std_err, name, marked });
    }
    if heat.cells.iter().any(|cell| cell.x == heads) {
        heat.x.push("MLP".into());
    }
    (heat.cells.len() > 1).then_some(heat)
}

/// Of each head the edge with the largest |score| out of it.
fn strongest(scores: &Scores, members: &Marked, label: &str) -> Option<Heat> {
    let mut heat = axes(scores, label);
    let mut best: std::collections::BTreeMap<(usize, usize), &ScoreRow> = std::collections::BTreeMap::new();
    for row in scores.rows() {
        if let Node::Head { layer, head } = scores.graph().edge(ablate_graph::EdgeId(row.id)).sender {
            let old = best.entry((layer, head)).or_insert(row);
            if row.score.abs() > old.score.abs() {
                *old = row;
            }
        }
    }
    for ((layer, head), row) in best {
        let marked = has(members, &Node::Head { layer, head }.to_string());
        let std_err = (row.std_err > 0.0).then_some(row.std_err);
        heat.cells.push(Cell {
            x: head,
            y: layer,
            value: row.score,
            std_err,
            name: scores.name(row),
            marked,
        });
    }
    (heat.cells.len() > 1).then_some(heat)
}

/// The effects of `ablate demo`.
fn of_demo(input: &Input, members: &Marked, out: &mut Vec<Figure>) {
    let mut heat = Heat {
        x_label: "head".into(),
        y_label: "layer".into(),
        value_label: "share of answers that change without it".into(),
        ..Heat::default()
    };
    let mut table = Table::new(&["name", "score", "std_err", "n", "in circuit"]);
    let rows = list(&input.value, "effects");
    let places = || rows.iter().filter_map(|row| super::behaviours::place(text(row, "name")));
    let heads = places().map(|(_, head)| head + 1).max().unwrap_or(0);
    let mut layers = 0;
    for row in rows {
        let (name, score, std_err) = (text(row, "name"), num(row, "score"), num(row, "std_err"));
        let mlp = || Some((name.strip_prefix('m')?.parse().ok()?, heads));
        let place = super::behaviours::place(name).or_else(mlp);
        let (Some((y, x)), Some(value)) = (place, score) else { continue };
        layers = layers.max(y + 1);
        let marked = has(members, name);
        heat.cells.push(Cell { x, y, value, std_err, name: name.to_owned(), marked });
        let inside = if marked { "yes" } else { "" };
        let n = row.get("n").cloned().unwrap_or_default();
        table.row([name.into(), cell(value), std_err.map_or(Value::Null, cell), n, inside.into()]);
    }
    heat.x = (0..heads).map(|h| h.to_string()).collect();
    if heat.cells.iter().any(|cell| cell.x == heads) {
        heat.x.push("MLP".into());
    }
    heat.y = (0..layers).map(|l| l.to_string()).collect();
    if !heat.cells.is_empty() {
        out.push(Figure {
            id: String::new(),
            title: "Effect of each node alone".into(),
            how: "Each cell is a head or an MLP. Framed ones are in the circuit that was found.".into(),
            source: input.name.clone(),
            body: Body::Heat(heat),
            table,
        });
    }
}
