//! Predictions, compressed models, shapes: as tables.

use serde_json::Value;

use super::Material;
use crate::page::figure::{Body, Figure, Table, cell, maybe};
use crate::page::read::{Input, list, num, strings, text};

pub(super) fn figures(material: &mut Material<'_>) -> Vec<Figure> {
    let mut out = Vec::new();
    for input in &material.inputs.files {
        match input.kind.as_str() {
            "prediction" => out.push(prediction(input)),
            "compress" => out.push(plain(input, "Compressed model")),
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
