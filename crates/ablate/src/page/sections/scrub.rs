//! Causal scrubbing: the hypothesis as a tree, and what is left of the behaviour.

use serde_json::Value;

use super::Material;
use crate::page::figure::{Bar, Bars, Body, Figure, Table, Tree, TreeNode, cell, maybe, number};
use crate::page::read::{Input, num, text};

/// What is no node of a tree.
const APART: [&str; 9] =
    ["format", "version", "manifest", "warnings", "base", "cost", "per_example", "children", "shape"];

pub(super) fn figures(material: &mut Material<'_>) -> Vec<Figure> {
    let mut out = Vec::new();
    for input in material.of_kind("scrub") {
        out.extend(means(input));
        out.push(numbers(input));
        match tree(&input.value) {
            Some(root) => {
                let mut table = Table::new(&["depth", "node", "what"]);
                flatten(&root, 0, &mut table);
                out.push(Figure {
                    id: String::new(),
                    title: "The hypothesis".into(),
                    how: "From the output at the top to what it is claimed to depend on.".into(),
                    source: input.name.clone(),
                    body: Body::Tree(Tree { root }),
                    table,
                });
            }
            None => {
                material.need(input, &Value::Null, "tree", "the tree of the hypothesis");
            }
        }
    }
    out
}

/// The metric of the scrubbed and the plain model and of the baseline.
fn means(input: &Input) -> Option<Figure> {
    let mut table = Table::new(&["run", "metric", "std_err"]);
    let mut bars = Vec::new();
    for key in ["original", "scrubbed", "baseline"] {
        let value = input.value.get(key).unwrap_or(&Value::Null);
        let Some(mean) = num(value, "mean") else { continue };
        let std_err = num(value, "std_err");
        table.row([key.into(), cell(mean), maybe(std_err)]);
        bars.push(Bar { name: key.into(), value: mean, std_err, group: String::new() });
    }
    let label = Some(text(&input.value, "metric_name")).filter(|m| !m.is_empty()).unwrap_or("metric");
    let body = Body::Bars(Bars { value_label: label.into(), bars, rules: Vec::new() });
    (!table.rows.is_empty()).then(|| Figure {
        id: String::new(),
        title: "The scrubbed model between the plain one and the baseline".into(),
        how: "A hypothesis that explains everything leaves the metric as it is. Whiskers: 95 % of the mean over rows.".into(),
        source: input.name.clone(),
        body,
        table,
    })
}

/// The numbers of a scrub's file.
fn numbers(input: &Input) -> Figure {
    let mut table = Table::new(&["what", "value"]);
    for (key, value) in
        input.value.as_object().into_iter().flatten().filter(|(k, _)| !APART.contains(&k.as_str()))
    {
        match value {
            Value::Number(n) => table.row([key.clone().into(), n.as_f64().map_or(Value::Null, cell)]),
            Value::String(_) | Value::Bool(_) => table.row([key.clone().into(), value.clone()]),
            _ => {}
        }
    }
    Figure {
        id: String::new(),
        title: "What is left when only what the hypothesis names is kept".into(),
        how: "Everything that the hypothesis calls irrelevant is replaced by other inputs' values.".into(),
        source: input.name.clone(),
        body: Body::Table,
        table,
    }
}

/// The first tree in a value: an object with `children`, or a list of nodes that name their parents.
fn tree(value: &Value) -> Option<TreeNode> {
    let holders = ["tree", "hypothesis", "root", "nodes"];
    for held in holders.iter().filter_map(|key| value.get(key)) {
        match held {
            Value::Object(map) if map.contains_key("children") || map.contains_key("name") => {
                return Some(node(held));
            }
            Value::Object(_) => {
                if let Some(found) = tree(held) {
                    return Some(found);
                }
            }
            Value::Array(rows) if !rows.is_empty() => return of_rows(rows),
            _ => {}
        }
    }
    None
}

fn name(value: &Value) -> String {
    ["name", "node", "id"].iter().map(|k| text(value, k)).find(|t| !t.is_empty()).unwrap_or("?").to_owned()
}

/// All plain fields of a node in one line; of long lists, the beginning.
fn said(value: &Value) -> String {
    const SHOWN: usize = 12;
    let plain = |(key, value): (&String, &Value)| match value {
        _ if ["name", "id", "children", "parent", "depth"].contains(&key.as_str()) => None,
        Value::Number(n) => Some(format!("{key} {}", n.as_f64().map_or_else(|| n.to_string(), number))),
        Value::String(s) => Some(format!("{key} {s}")),
        Value::Bool(b) => Some(format!("{key} {b}")),
        Value::Array(items) if items.iter().all(Value::is_string) && !items.is_empty() => {
            let all: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            let more = all.len().saturating_sub(SHOWN);
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            Some(format!("{key} {}{rest}", all[..all.len() - more].join(", ")))
        }
        _ => None,
    };
    value.as_object().into_iter().flatten().filter_map(plain).collect::<Vec<_>>().join("; ")
}

fn node(value: &Value) -> TreeNode {
    let children = value.get("children").and_then(Value::as_array).into_iter().flatten();
    TreeNode { name: name(value), text: said(value), children: children.map(node).collect() }
}

/// Rows that name their parent; those without one are roots. Rows whose parent is below them would never be reached.
fn of_rows(rows: &[Value]) -> Option<TreeNode> {
    let is_root = |row: &&Value| text(row, "parent").is_empty();
    let roots: Vec<TreeNode> = rows.iter().filter(is_root).map(|row| with_children(row, rows, 0)).collect();
    match roots.len() {
        0 => None,
        1 => roots.into_iter().next(),
        _ => Some(TreeNode { name: "hypothesis".into(), text: String::new(), children: roots }),
    }
}

fn with_children(row: &Value, rows: &[Value], depth: usize) -> TreeNode {
    const DEEPEST: usize = 64;
    let own = name(row);
    let below = rows.iter().filter(|r| depth < DEEPEST && text(r, "parent") == own);
    let mut out = node(row);
    out.children.extend(below.map(|r| with_children(r, rows, depth + 1)));
    out
}

fn flatten(node: &TreeNode, depth: usize, table: &mut Table) {
    table.row([depth.into(), node.name.clone().into(), node.text.clone().into()]);
    for child in &node.children {
        flatten(child, depth + 1, table);
    }
}
