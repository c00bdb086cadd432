//! What heads look at and copy: `ablate/heads`.

use serde_json::Value;

use super::{Material, figure};
use crate::page::figure::{Bar, Bars, Body, Cell, Figure, Heat, Lines, Point, Series, Table, cell, maybe};
use crate::page::read::{Input, list, num, text};

/// Most bars of a figure.
const BARS: usize = 24;
/// Scores of a head, their names, and how they are read.
const SCORES: [(&str, &str, &str); 5] = [
    ("induction", "induction", "Attention to what followed earlier occurrences of the token."),
    ("previous", "previous token", "Attention to the token before."),
    ("duplicate", "duplicate token", "Attention to earlier occurrences of the token."),
    ("copies", "copying", "Share of tokens that the head writes when it attends to them."),
    ("suppresses", "suppression", "Share of tokens that the head speaks against when it attends to them."),
];

/// A grid for each score that the file has, on random tokens before the data's.
pub(super) fn figures(material: &mut Material<'_>) -> Vec<Figure> {
    let mut out = Vec::new();
    for input in material.of_kind("heads") {
        let Some(heads) = material.need(input, &input.value, "heads", "behaviour of heads") else { continue };
        let heads = heads.as_array().map_or(&[][..], Vec::as_slice);
        for (rows, of) in [("random", "random tokens"), ("data", "the data")] {
            for (key, name, how) in SCORES {
                out.extend(grid(input, heads, (rows, key), &format!("Heads by {name} on {of}"), how));
            }
        }
        out.extend(attention(input));
        out.extend(attribution(input));
        out.extend(lens(input));
    }
    out
}

/// Layer and head of a name such as `a3.h5`.
pub(super) fn place(name: &str) -> Option<(usize, usize)> {
    let (layer, head) = name.strip_prefix('a')?.split_once(".h")?;
    Some((layer.parse().ok()?, head.parse().ok()?))
}

fn grid(input: &Input, heads: &[Value], (rows, key): (&str, &str), title: &str, how: &str) -> Option<Figure> {
    let mut table = Table::new(&["head", "score", "std_err", "n"]);
    let mut cells = Vec::new();
    let (mut layers, mut width) = (0, 0);
    for head in heads {
        let name = text(head, "name");
        let score = head.get(rows).and_then(|r| r.get(key)).unwrap_or(&Value::Null);
        let (Some((y, x)), Some(value)) = (place(name), num(score, "value")) else { continue };
        let std_err = num(score, "std_err");
        (layers, width) = (layers.max(y + 1), width.max(x + 1));
        cells.push(Cell { x, y, value, std_err, name: name.to_owned(), marked: false });
        table.row([name.into(), cell(value), maybe(std_err), score.get("n").cloned().unwrap_or_default()]);
    }
    let heat = Heat {
        x_label: "head".into(),
        y_label: "layer".into(),
        value_label: "score".into(),
        x: (0..width).map(|h| h.to_string()).collect(),
        y: (0..layers).map(|l| l.to_string()).collect(),
        cells,
    };
    (!heat.cells.is_empty()).then(|| figure(input, title, how, Body::Heat(heat), table))
}

/// Attention to named positions.
fn attention(input: &Input) -> Option<Figure> {
    let mut table = Table::new(&["head", "to", "attention", "std_err", "times the value's length", "n"]);
    for row in list(&input.value, "attention") {
        let [weight, weighted] = ["weight", "value_weighted"].map(|k| row.get(k).unwrap_or(&Value::Null));
        let n = weight.get("n").cloned().unwrap_or_default();
        let [mean, std_err, long] =
            [num(weight, "value"), num(weight, "std_err"), num(weighted, "value")].map(maybe);
        table.row([text(row, "head").into(), text(row, "to").into(), mean, std_err, long, n]);
    }
    let how =
        "How much heads attend from the place where the answer is read to the named positions of the data.";
    (!table.rows.is_empty()).then(|| figure(input, "Attention to named positions", how, Body::Table, table))
}

/// What nodes add to the logit difference directly.
fn attribution(input: &Input) -> Option<Figure> {
    let mut table = Table::new(&["part", "adds", "std_err"]);
    let mut bars = Vec::new();
    for part in input.value.pointer("/attribution/parts").and_then(Value::as_array).into_iter().flatten() {
        let (name, Some(value)) = (text(part, "name"), num(part, "value")) else { continue };
        let std_err = num(part, "std_err");
        table.row([name.into(), cell(value), maybe(std_err)]);
        bars.push(Bar { name: name.to_owned(), value, std_err, group: String::new() });
    }
    bars.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
    bars.truncate(BARS);
    let body = Body::Bars(Bars { value_label: "logit difference".into(), bars, rules: Vec::new() });
    let how = "What each part writes into the logit difference itself, without what later parts make of it. The largest ones.";
    (!table.rows.is_empty()).then(|| figure(input, "Direct logit attribution", how, body, table))
}

/// The logit difference read off the stream before each layer.
fn lens(input: &Input) -> Option<Figure> {
    let mut table = Table::new(&["layer", "logit difference", "std_err"]);
    let mut points = Vec::new();
    for row in list(&input.value, "lens") {
        let (Some(x), Some(y)) = (num(row, "layer"), num(row, "logit_diff")) else { continue };
        let std_err = num(row, "std_err");
        let band = std_err.map(|e| (y - 1.96 * e, y + 1.96 * e));
        points.push(Point { x, y, band, name: String::new() });
        table.row([cell(x), cell(y), maybe(std_err)]);
    }
    let series = vec![Series { name: "logit difference".into(), group: String::new(), points }];
    let lines = Lines {
        x_label: "before layer".into(),
        y_label: "logit difference".into(),
        series,
        ..Lines::default()
    };
    let how = "What the model would say if the stream went to the logits before this layer.";
    (!table.rows.is_empty()).then(|| figure(input, "Logit lens", how, Body::Lines(lines), table))
}
