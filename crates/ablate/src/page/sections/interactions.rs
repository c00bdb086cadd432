//! Interactions: coefficients of sets of nodes.

use serde_json::Value;

use super::Material;
use crate::page::figure::{Bar, Bars, Body, Cell, Figure, Heat, Table, cell, maybe};
use crate::page::read::{Input, list, num, strings, text};

/// Most bars of a figure.
const BARS: usize = 24;

pub(super) fn figures(material: &mut Material<'_>) -> Vec<Figure> {
    let mut out = Vec::new();
    for input in material.of_kind("interactions") {
        let Some(terms) = material.need(input, &input.value, "terms", "interactions") else { continue };
        let terms = terms.as_array().map_or(&[][..], Vec::as_slice);
        out.extend(bars(input, terms));
        out.extend(pairs(input, terms, "coefficient", "Interaction of pairs"));
        out.extend(shown(input));
        let naive = list(&input.value, "pairs");
        out.extend(pairs(
            input,
            naive,
            "naive",
            "Naive interaction of pairs: effect of both minus the sum of their effects",
        ));
    }
    out
}

fn bars(input: &Input, terms: &[Value]) -> Option<Figure> {
    let mut table = Table::new(&["nodes", "degree", "coefficient"]);
    let mut rows: Vec<Bar> = Vec::new();
    for term in terms {
        let (nodes, Some(value)) = (strings(term, "nodes"), num(term, "coefficient")) else { continue };
        let name = if nodes.is_empty() { "constant".to_owned() } else { nodes.join(" × ") };
        table.row([name.clone().into(), nodes.len().into(), cell(value)]);
        rows.push(Bar { name, value, std_err: num(term, "std_err"), group: String::new() });
    }
    rows.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
    rows.truncate(BARS);
    let residual = num(&input.value, "residual").map_or(String::new(), |r| {
        format!(" What the terms do not explain: {}.", crate::page::figure::number(r))
    });
    (!rows.is_empty()).then(|| Figure {
        id: String::new(),
        title: "Terms of the interaction".into(),
        how: format!("The largest coefficients: of one node its own effect, of several what they do only together.{residual}"),
        source: input.name.clone(),
        body: Body::Bars(Bars { value_label: "coefficient".into(), bars: rows, rules: Vec::new() }),
        table,
    })
}

/// What the pairs show, where the file says it.
fn shown(input: &Input) -> Option<Figure> {
    let mut table = Table::new(&[
        "node",
        "and",
        "shows",
        "backup",
        "joint",
        "naive",
        "std_err",
        "first alone",
        "second alone",
    ]);
    for pair in list(&input.value, "pairs").iter().filter(|p| p.get("shows").is_some()) {
        let nodes = strings(pair, "nodes");
        let [first, second] = [0, 1].map(|i| nodes.get(i).cloned().unwrap_or_default());
        let alone = [0, 1].map(|i| maybe(list(pair, "alone").get(i).and_then(Value::as_f64)));
        let [joint, naive, std_err] = ["joint", "naive", "std_err"].map(|key| maybe(num(pair, key)));
        let head = [
            first.into(),
            second.into(),
            text(pair, "shows").into(),
            text(pair, "backup").into(),
            joint,
            naive,
            std_err,
        ];
        table.row(head.into_iter().chain(alone));
    }
    (!table.rows.is_empty()).then(|| Figure {
        id: String::new(),
        title: "What pairs show".into(),
        how: "Whether two nodes are independent, do the same (redundant), stand in for each other (backup), or need each other (series).".into(),
        source: input.name.clone(),
        body: Body::Table,
        table,
    })
}

/// A grid of pairs; the diagonal holds single nodes.
fn pairs(input: &Input, terms: &[Value], key: &str, title: &str) -> Option<Figure> {
    let mut names: Vec<String> = Vec::new();
    let mut found: Vec<(Vec<String>, f64)> = Vec::new();
    for term in terms {
        let (nodes, Some(value)) = (strings(term, "nodes"), num(term, key)) else { continue };
        if (1..=2).contains(&nodes.len()) {
            for node in nodes.iter().filter(|n| !names.contains(n)).cloned().collect::<Vec<_>>() {
                names.push(node);
            }
            found.push((nodes, value));
        }
    }
    if !found.iter().any(|(nodes, _)| nodes.len() == 2) {
        return None;
    }
    let place = |name: &String| names.iter().position(|n| n == name).unwrap_or(0);
    let mut table = Table::new(&["node", "and", key]);
    let mut cells = Vec::new();
    for (nodes, value) in &found {
        let (a, b) = (place(&nodes[0]), place(nodes.last().unwrap_or(&nodes[0])));
        let mut add =
            |x, y| cells.push(Cell { x, y, value: *value, name: nodes.join(" × "), ..Cell::default() });
        add(a, b);
        if a != b {
            add(b, a);
        }
        let second = nodes.get(1).cloned().unwrap_or_default();
        table.row([nodes[0].clone().into(), second.into(), cell(*value)]);
    }
    Some(Figure {
        id: String::new(),
        title: title.into(),
        how: "How far what both do together differs from the sum of what each does alone; 0: they are independent. The diagonal holds single nodes where they are known.".into(),
        source: input.name.clone(),
        body: Body::Heat(Heat {
            x_label: "node".into(),
            y_label: "node".into(),
            value_label: key.into(),
            x: names.clone(),
            y: names,
            cells,
        }),
        table,
    })
}
