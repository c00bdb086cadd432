//! Predictions, compressed models, shapes, scored methods: as tables. Training: as lines.

use serde_json::Value;

use super::{Material, figure};
use crate::page::figure::{Body, Figure, Lines, Point, Rule, Series, Table, cell, maybe};
use crate::page::read::{Input, list, num, strings, text};

pub(super) fn figures(material: &mut Material<'_>) -> Vec<Figure> {
    let mut out = Vec::new();
    for input in &material.inputs.files {
        match input.kind.as_str() {
            "prediction" => out.push(prediction(input)),
            "compress" => out.push(plain(input, "Compressed model")),
            "training" => out.extend(training(input)),
            "case-scores" => out.extend(methods(input)),
            "model" => out.push(plain(input, "Shape of the model")),
            _ => {}
        }
    }
    out
}

fn prediction(input: &Input) -> Figure {
    let mut table = Table::new(&["rank", "token", "id", "logit", "probability"]);
    for (i, top) in list(&input.value, "top").iter().enumerate() {
        let id = top.get("id").cloned().unwrap_or_default();
        table.row([
            (i + 1).into(),
            text(top, "token").into(),
            id,
            maybe(num(top, "logit")),
            maybe(num(top, "probability")),
        ]);
    }
    let prompt = strings(&input.value, "texts");
    let how = if prompt.is_empty() {
        "After the last token.".to_owned()
    } else {
        let spaced = prompt.iter().any(|t| t.contains(char::is_whitespace));
        format!("After: {}.", prompt.join(if spaced { "" } else { " " }))
    };
    Figure {
        id: String::new(),
        title: "Most likely next tokens".into(),
        how,
        source: input.name.clone(),
        body: Body::Table,
        table,
    }
}

/// What each epoch reached.
fn training(input: &Input) -> Option<Figure> {
    const REACHED: [(&str, &str); 3] =
        [("accuracy", "accuracy"), ("iia", "interchange accuracy"), ("strict_accuracy", "strict accuracy")];
    let mut table = Table::new(&["epoch", "accuracy", "interchange accuracy", "strict accuracy"]);
    let mut series = REACHED.map(|(_, name)| Series { name: name.into(), ..Series::default() });
    for epoch in list(&input.value, "epochs") {
        let (Some(x), Some(found)) = (num(epoch, "epoch"), epoch.get("validation")) else { continue };
        let values = REACHED.map(|(key, _)| num(found, key));
        for (series, value) in series.iter_mut().zip(values) {
            series.points.extend(value.map(|y| Point { x, y, ..Point::default() }));
        }
        table.row([cell(x)].into_iter().chain(values.map(maybe)).collect::<Vec<_>>());
    }
    let goal = input.value.pointer("/recipe/goal").and_then(Value::as_f64);
    let rules = goal.map(|at| Rule { at, name: "goal".into() }).into_iter().collect();
    let lines = Lines {
        x_label: "epoch".into(),
        y_label: "percent of the test pairs".into(),
        rules,
        ..Lines::default()
    };
    let body = Body::Lines(Lines { series: series.into(), ..lines });
    let title = format!("Training of case {}", text(&input.value, "case"));
    let how = "Of the outputs on test pairs, the share that is the case's: as they are, with nodes of the circuit \
               exchanged, and with nodes outside it exchanged.";
    (!table.rows.is_empty()).then(|| figure(input, &title, how, body, table))
}

/// How well methods found known circuits.
fn methods(input: &Input) -> Option<Figure> {
    const FOUND: [&str; 4] = ["edge_auroc", "edge_auroc_signed", "node_auroc", "edge_precision"];
    let mut table =
        Table::new(&["case", "method", "edge AUROC", "signed", "node AUROC", "edge precision", "seconds"]);
    for row in list(&input.value, "scores") {
        let names = ["case", "method"].map(|key| Value::from(text(row, key)));
        let numbers = FOUND.iter().chain(&["seconds"]).map(|key| maybe(num(row, key)));
        table.row(names.into_iter().chain(numbers).collect::<Vec<_>>());
    }
    let how = "AUROC: the chance that a true edge (or node) has a larger |score| than a false one.";
    (!table.rows.is_empty()).then(|| figure(input, "Methods on known circuits", how, Body::Table, table))
}

/// All plain fields, those of objects with their names joined by dots.
fn plain(input: &Input, title: &str) -> Figure {
    let mut table = Table::new(&["what", "value"]);
    walk(&input.value, "", &mut table);
    Figure {
        id: String::new(),
        title: title.into(),
        how: String::new(),
        source: input.name.clone(),
        body: Body::Table,
        table,
    }
}

fn walk(value: &Value, prefix: &str, table: &mut Table) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            _ if ["format", "version", "manifest", "warnings"].contains(&name.as_str()) => {}
            Value::Object(_) => walk(value, &name, table),
            Value::Number(n) => table.row([name.into(), n.as_f64().map_or(Value::Null, cell)]),
            Value::String(_) | Value::Bool(_) => table.row([name.into(), value.clone()]),
            _ => {}
        }
    }
}
