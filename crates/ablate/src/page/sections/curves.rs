//! Curves: nodes removed one after the other, pruning, faithfulness over sizes.

use serde_json::Value;

use super::Material;
use crate::page::figure::{Bar, Bars, Body, Figure, Lines, Point, Rule, Series, Table, cell, maybe};
use crate::page::read::{Input, list, num, text};

/// Standard errors on each side of a mean that hold it with 95 %.
const NORMAL: f64 = 1.96;

pub(super) fn figures(material: &mut Material<'_>) -> Vec<Figure> {
    let mut out = Vec::new();
    let files: Vec<&Input> = material.inputs.files.iter().collect();
    for input in files {
        match input.kind.as_str() {
            "trace" if input.value.get("order").is_some() => prune(material, input, &input.value, &mut out),
            "trace" => removal(material, input, &mut out),
            "evaluation" => faithfulness(input, &mut out),
            _ => {}
        }
    }
    out
}

fn band(y: f64, std_err: Option<f64>, factor: f64) -> Option<(f64, f64)> {
    let half = NORMAL * std_err? * factor.abs();
    (half > 0.0).then_some((y - half, y + half))
}

/// The unedited runs as lines to compare with.
fn rules(value: &Value) -> Vec<Rule> {
    let base = value.get("base").unwrap_or(&Value::Null);
    let rule = |key: &str, name: &str| num(base, key).map(|at| Rule { at, name: name.into() });
    [rule("clean", "full model"), rule("corrupt", "corrupt prompts")].into_iter().flatten().collect()
}

fn removal(material: &mut Material<'_>, input: &Input, out: &mut Vec<Figure>) {
    let Some(steps) = material.need(input, &input.value, "steps", "the removal curve") else { return };
    let base = input.value.get("base").unwrap_or(&Value::Null);
    let mut points = Vec::new();
    if let Some(y) = num(base, "clean") {
        points.push(Point {
            x: 0.0,
            y,
            band: band(y, num(base, "std_err"), 1.0),
            name: "nothing removed".into(),
        });
    }
    let mut table = Table::new(&["removed so far", "removed", "metric", "std_err", "n"]);
    for (i, step) in steps.as_array().into_iter().flatten().enumerate() {
        let Some(y) = num(step, "metric") else { continue };
        let (name, std_err) = (text(step, "removed"), num(step, "std_err"));
        let said = format!("after removing {name}");
        points.push(Point { x: (i + 1) as f64, y, band: band(y, std_err, 1.0), name: said });
        let n = step.get("n").cloned().unwrap_or_default();
        table.row([(i + 1).into(), name.into(), cell(y), maybe(std_err), n]);
    }
    let greedy = text(&input.value, "ranking") == "greedy";
    let metric = text(&input.value, "metric_name");
    out.push(Figure {
        id: String::new(),
        title: format!("{metric} as nodes are removed, the least harmful first"),
        how: format!(
            "{} Band: 95 % of the mean over rows.",
            if greedy { "Nodes are ranked again after each removal." } else { "Nodes are ranked once." }
        ),
        source: input.name.clone(),
        body: Body::Lines(Lines {
            x_label: "nodes removed".into(),
            y_label: metric.into(),
            series: vec![Series { name: metric.into(), group: String::new(), points }],
            rules: rules(&input.value),
            ..Lines::default()
        }),
        table,
    });
}

fn prune(material: &mut Material<'_>, input: &Input, value: &Value, out: &mut Vec<Figure>) {
    let Some(steps) = material.need(input, value, "steps", "the pruning trace") else { return };
    let mut kept = vec![Point { x: 0.0, y: 100.0, band: None, name: "nothing removed".into() }];
    let mut refused = Vec::new();
    let mut table = Table::new(&["test", "pass", "candidate", "metric", "score %", "removed"]);
    for (i, step) in steps.as_array().into_iter().flatten().enumerate() {
        let Some(y) = num(step, "score_percent") else { continue };
        let (name, removed) = (text(step, "candidate"), step.get("removed") == Some(&Value::Bool(true)));
        if removed {
            kept.push(Point { x: kept.len() as f64, y, band: None, name: format!("{name} removed") });
        } else {
            refused.push((i, y, name.to_owned(), kept.len()));
        }
        let pass = step.get("pass").cloned().unwrap_or_default();
        let said = if removed { "yes" } else { "no" };
        table.row([(i + 1).into(), pass, name.into(), maybe(num(step, "metric")), cell(y), said.into()]);
    }
    let tests = kept.len() - 1 + refused.len();
    let point = |(_, y, name, x): (usize, f64, String, usize)| Point {
        x: x as f64,
        y,
        band: None,
        name: format!("{name} is kept: without it"),
    };
    let refused: Vec<Point> = refused.into_iter().map(point).collect();
    let mut rules = vec![Rule { at: 100.0, name: "full model".into() }];
    rules.extend(num(value, "threshold").map(|t| Rule { at: 100.0 - t, name: "threshold".into() }));
    let mut series = vec![Series { name: "nodes removed so far".into(), group: "line".into(), points: kept }];
    if !refused.is_empty() {
        series.push(Series { name: "removals refused".into(), group: "points".into(), points: refused });
    }
    out.push(Figure {
        id: String::new(),
        title: format!("Pruning: score as nodes are removed (order {})", text(value, "order")),
        how: format!("{tests} tests. Line: removals that were kept; points: removals that cost more than the threshold allows."),
        source: input.name.clone(),
        body: Body::Lines(Lines {
            x_label: "nodes removed".into(),
            y_label: "score, % of the full model's".into(),
            series,
            rules,
            ..Lines::default()
        }),
        table,
    });
    left_out(input, value, out);
    survival(input, value, out);
}

fn left_out(input: &Input, value: &Value, out: &mut Vec<Figure>) {
    let mut table = Table::new(&["node", "score % without it", "importance"]);
    let mut bars = Vec::new();
    for row in list(value, "leave_one_out") {
        let Some(importance) = num(row, "importance") else { continue };
        bars.push(Bar {
            name: text(row, "name").into(),
            value: importance,
            std_err: None,
            group: "in".into(),
        });
        table.row([text(row, "name").into(), maybe(num(row, "score_percent")), cell(importance)]);
    }
    bars.sort_by(|a, b| b.value.total_cmp(&a.value));
    if !bars.is_empty() {
        out.push(Figure {
            id: String::new(),
            title: "What each member brings to the pruned circuit".into(),
            how: "Percentage points of the score that are lost when it too is removed.".into(),
            source: input.name.clone(),
            body: Body::Bars(Bars { value_label: "percentage points".into(), bars, rules: Vec::new() }),
            table,
        });
    }
}

fn survival(input: &Input, value: &Value, out: &mut Vec<Figure>) {
    let mut table = Table::new(&["node", "kept", "of"]);
    let mut bars = Vec::new();
    for row in list(value, "survival") {
        let (Some(kept), Some(of)) = (num(row, "kept"), num(row, "of")) else { continue };
        if of > 0.0 && kept > 0.0 {
            let group = if kept == of { "in" } else { "out" };
            let name = text(row, "name").to_owned();
            bars.push(Bar { name, value: 100.0 * kept / of, std_err: None, group: group.into() });
        }
        table.row([text(row, "name").into(), cell(kept), cell(of)]);
    }
    bars.sort_by(|a, b| b.value.total_cmp(&a.value));
    if !bars.is_empty() {
        out.push(Figure {
            id: String::new(),
            title: "How often each node survives other orders of pruning".into(),
            how: "Nodes that survive all orders are coloured as members. Those that never do are only in the table.".into(),
            source: input.name.clone(),
            body: Body::Bars(Bars { value_label: "% of orders".into(), bars, rules: Vec::new() }),
            table,
        });
    }
}

fn faithfulness(input: &Input, out: &mut Vec<Figure>) {
    let Some(curve) = input.value.get("curve").filter(|c| !c.is_null()) else { return };
    let total = num(&input.value, "clean").zip(num(&input.value, "ablated")).map_or(0.0, |(c, a)| c - a);
    let mut table = Table::new(&["ranked by", "share", "members", "metric", "std_err", "faithfulness"]);
    let mut series = Vec::new();
    for (key, name) in [("points", "by score"), ("absolute", "by |score|")] {
        let mut points = Vec::new();
        for row in list(curve, key) {
            let (share, metric) = (num(row, "share"), num(row, "metric"));
            let (size, std_err, value) = (num(row, "size"), num(row, "std_err"), num(row, "faithfulness"));
            table.row([name.into(), maybe(share), maybe(size), maybe(metric), maybe(std_err), maybe(value)]);
            if let (Some(x), Some(y)) = (share, value) {
                let band = if total == 0.0 { None } else { band(y, std_err, 1.0 / total) };
                let said = format!("{} members", size.unwrap_or(0.0));
                points.push(Point { x, y, band, name: said });
            }
        }
        series.push(Series { name: name.into(), group: String::new(), points });
    }
    if series.iter().all(|s| s.points.is_empty()) {
        return;
    }
    out.push(Figure {
        id: String::new(),
        title: "Faithfulness over circuit sizes".into(),
        how: "Circuits of the top members at each share of all; 1 = all of the behaviour. Band: 95 % of the mean over rows.".into(),
        source: input.name.clone(),
        body: Body::Lines(Lines {
            x_label: "share of all members (log)".into(),
            y_label: "faithfulness".into(),
            x_log: true,
            series,
            rules: vec![Rule { at: 1.0, name: "full model".into() }, Rule { at: 0.0, name: "all ablated".into() }],
            ..Lines::default()
        }),
        table,
    });
}
