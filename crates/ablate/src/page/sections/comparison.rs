//! Circuits and scores side by side.

use serde_json::Value;

use super::{Material, figure};
use crate::page::figure::{Bar, Bars, Body, Cell, Figure, Heat, Table, cell, maybe};
use crate::page::read::{Input, list, num, strings, text};

pub(super) fn figures(material: &mut Material<'_>) -> Vec<Figure> {
    let mut out = Vec::new();
    for input in material.of_kind("comparison") {
        out.extend(sets(input));
        out.extend(jaccard(input));
        out.extend(agreement(input));
    }
    out
}

fn sets(input: &Input) -> Option<Figure> {
    let rows = list(&input.value, "sets");
    let mut table = Table::new(&["set", "size", "metric", "std_err", "score %", "members"]);
    let measured = rows.iter().any(|r| r.get("measured").is_some());
    let mut bars = Vec::new();
    for row in rows {
        let m = row.get("measured").unwrap_or(&Value::Null);
        let size = num(row, "size");
        let members = strings(row, "members").join(" ");
        let name = text(row, "name");
        table.row([
            name.into(),
            maybe(size),
            maybe(num(m, "metric")),
            maybe(num(m, "std_err")),
            maybe(num(m, "score_percent")),
            members.into(),
        ]);
        let (value, std_err) = if measured { (num(m, "metric"), num(m, "std_err")) } else { (size, None) };
        bars.extend(value.map(|value| Bar { name: name.into(), value, std_err, group: String::new() }));
    }
    let (label, how) = if measured {
        (
            "metric of the set alone",
            "What each set does when everything else is ablated. Whiskers: 95 % of the mean over rows.",
        )
    } else {
        ("members", "How many members each set has.")
    };
    let body = Body::Bars(Bars { value_label: label.into(), bars, rules: Vec::new() });
    (!rows.is_empty()).then(|| figure(input, "Circuits and their common parts", how, body, table))
}

fn jaccard(input: &Input) -> Option<Figure> {
    let rows = list(&input.value, "jaccard");
    let names: Vec<String> =
        list(&input.value, "sets").iter().take(rows.len()).map(|s| text(s, "name").to_owned()).collect();
    let mut table = Table::new(&["circuit", "and", "jaccard"]);
    let mut cells = Vec::new();
    for (y, row) in rows.iter().enumerate() {
        for (x, value) in row.as_array().into_iter().flatten().enumerate() {
            if let (Some(value), Some(a), Some(b)) = (value.as_f64(), names.get(y), names.get(x)) {
                cells.push(Cell { x, y, value, ..Cell::default() });
                table.row([a.clone().into(), b.clone().into(), cell(value)]);
            }
        }
    }
    let heat = Heat {
        x_label: "circuit".into(),
        y_label: "circuit".into(),
        value_label: "Jaccard index".into(),
        x: names.clone(),
        y: names,
        cells,
    };
    let how = "Members in common, of all members of both: 1 = the same circuit, 0 = nothing in common.";
    (!heat.cells.is_empty()).then(|| figure(input, "Overlap of circuits", how, Body::Heat(heat), table))
}

fn agreement(input: &Input) -> Option<Figure> {
    let rows = list(&input.value, "agreement");
    let mut table = Table::new(&["scores", "and", "n", "spearman", "kendall", "pearson", "same sign"]);
    for row in rows {
        let [n, s, k, p, sign] =
            ["n", "spearman", "kendall", "pearson", "sign_agreement"].map(|key| maybe(num(row, key)));
        table.row([text(row, "a").into(), text(row, "b").into(), n, s, k, p, sign]);
    }
    let how = "Correlations of the scores that both files have.";
    (!rows.is_empty()).then(|| figure(input, "Agreement of scores", how, Body::Table, table))
}
