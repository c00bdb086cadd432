//! Effects against scales of models whose circuit is known.

use super::Material;
use crate::page::figure::{Body, Figure, Lines, Point, Series, Table, maybe};
use crate::page::read::text;

pub(super) fn figures(material: &mut Material<'_>) -> Vec<Figure> {
    let mut out = Vec::new();
    for input in material.of_kind("case") {
        let Some(rows) = material.need(input, &input.value, "rows", "effects") else { continue };
        let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
        let effects = |row: &serde_json::Value| -> Vec<(f64, f64)> {
            let map = row.get("effects").and_then(|e| e.as_object());
            let mut points: Vec<(f64, f64)> =
                map.into_iter().flatten().filter_map(|(s, e)| Some((s.parse().ok()?, e.as_f64()?))).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            points
        };
        let mut scales: Vec<f64> = rows.iter().flat_map(|r| effects(r).into_iter().map(|p| p.0)).collect();
        scales.sort_by(f64::total_cmp);
        scales.dedup();
        let names: Vec<String> = scales.iter().map(ToString::to_string).collect();
        let columns: Vec<&str> =
            ["node", "status"].into_iter().chain(names.iter().map(String::as_str)).collect();
        let mut table = Table::new(&columns);
        let mut series = Vec::new();
        for row in rows {
            let points = effects(row);
            let value = |s: &f64| maybe(points.iter().find(|p| p.0 == *s).map(|p| p.1));
            let head = [text(row, "node").into(), text(row, "status").into()];
            table.row(head.into_iter().chain(scales.iter().map(value)));
            let group = if text(row, "status") == "in_circuit" { "in" } else { "out" };
            let place = |x: f64| scales.iter().position(|s| *s == x).unwrap_or(0) as f64;
            let points =
                points.iter().map(|&(x, y)| Point { x: place(x), y, band: None, name: String::new() });
            series.push(Series {
                name: text(row, "node").into(),
                group: group.into(),
                points: points.collect(),
            });
        }
        out.push(Figure {
            id: String::new(),
            title: format!(
                "Case {}: effect of each node by scale ({})",
                text(&input.value, "case"),
                text(&input.value, "ablation")
            ),
            how: "One line a node, coloured by whether it is in the true circuit. Scales are evenly spaced."
                .into(),
            source: input.name.clone(),
            body: Body::Lines(Lines {
                x_label: "scale of the value put in place".into(),
                y_label: format!("effect ({})", text(&input.value, "measure")),
                x_names: names,
                series,
                ..Lines::default()
            }),
            table,
        });
    }
    out
}
