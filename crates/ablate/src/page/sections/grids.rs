//! Grids of activation patching.

use serde_json::Value;

use super::Material;
use crate::page::figure::{Body, Cell, Figure, Heat, Table, cell, maybe};
use crate::page::read::{Input, num, text};

pub(super) fn figures(material: &mut Material<'_>) -> Vec<Figure> {
    let mut out = Vec::new();
    for input in material.of_kind("grid") {
        if let Some(rows) = material.need(input, &input.value, "rows", "the grid") {
            out.extend(grid(input, rows.as_array().map_or(&[], Vec::as_slice)));
        }
    }
    out
}

fn grid(input: &Input, rows: &[Value]) -> Option<Figure> {
    let name = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let (mut x, mut layers): (Vec<String>, usize) = (Vec::new(), 0);
    let mut cells = Vec::new();
    let by_head = rows.iter().any(|r| r.get("head").is_some());
    let across = if by_head { "head" } else { "position" };
    let mut table = Table::new(&["layer", across, "score", "std_err", "metric"]);
    for row in rows {
        let column = row.get(across).map(name)?;
        let (Some(layer), Some(score)) = (row.get("layer").and_then(Value::as_u64), num(row, "score")) else {
            continue;
        };
        let at = x.iter().position(|c| *c == column).unwrap_or_else(|| {
            x.push(column.clone());
            x.len() - 1
        });
        let y = layer as usize;
        layers = layers.max(y + 1);
        let std_err = num(row, "std_err");
        cells.push(Cell { x: at, y, value: score, std_err, name: String::new(), marked: false });
        table.row([layer.into(), column.into(), cell(score), maybe(std_err), maybe(num(row, "metric"))]);
    }
    let (site, direction) = (text(&input.value, "site"), text(&input.value, "direction"));
    let metric = text(&input.value, "metric");
    let (label, how) = match direction {
        "noise" => (
            format!("{metric} lost"),
            "In a clean run, the value of one cell is replaced by the corrupt run's: how much of the behaviour is lost.",
        ),
        _ => (
            format!("{metric} restored"),
            "In a corrupt run, the value of one cell is replaced by the clean run's: how much of the behaviour comes back.",
        ),
    };
    let heat = Heat {
        x_label: across.into(),
        y_label: "layer".into(),
        value_label: label,
        x,
        y: (0..layers).map(|l| l.to_string()).collect(),
        cells,
    };
    (!heat.cells.is_empty()).then(|| Figure {
        id: String::new(),
        title: format!("Patching {site} by layer and {across} ({direction})"),
        how: how.into(),
        source: input.name.clone(),
        body: Body::Heat(heat),
        table,
    })
}
