//! Certificates, hypothesis tests, completeness, minimality, agreement with the truth.

use serde_json::Value;

use super::{Material, figure};
use crate::page::figure::{Bar, Bars, Body, Figure, Lines, Point, Rule, Series, Table, cell, maybe};
use crate::page::read::{Input, list, num, strings, text};

/// Most bars of a figure.
const BARS: usize = 30;

pub(super) fn figures(material: &mut Material<'_>) -> Vec<Figure> {
    let mut out = Vec::new();
    for input in &material.inputs.files {
        match input.kind.as_str() {
            "scores" => out.extend(certificate(input)),
            "evaluation" => {
                out.push(summary(input));
                out.extend(tests(input));
                out.extend(random(input));
                out.extend(completeness(input));
                out.extend(minimality(input));
            }
            _ => {}
        }
    }
    out
}

fn certificate(input: &Input) -> Option<Figure> {
    let c = input.value.get("certificate").filter(|c| !c.is_null())?;
    let mut table = Table::new(&["what", "value"]);
    for (key, name) in [
        ("verdict", "verdict"),
        ("sample", "members compared with exact effects"),
        ("spearman", "rank correlation"),
        ("sign_agreement", "share of equal signs"),
        ("pearson", "linear correlation"),
        ("sum_of_input", "sum of the scores out of the input"),
        ("total", "total effect"),
        ("residual", "relative difference of the two"),
    ] {
        let value = c.get(key).cloned().unwrap_or_default();
        table.row([name.into(), value.as_f64().map_or(value, cell)]);
    }
    let how = "Approximate scores beside the exact effects of a sample, in the run that made them.";
    Some(figure(input, "Certificate", how, Body::Table, table))
}

fn summary(input: &Input) -> Figure {
    let v = &input.value;
    let mut table = Table::new(&["what", "value"]);
    let mut row = |name: &str, value: Value| {
        if !value.is_null() {
            table.row([name.into(), value]);
        }
    };
    for (key, name) in [
        ("size", "members"),
        ("of", "of"),
        ("level", "level"),
        ("metric_name", "metric"),
        ("metric", "metric of the circuit"),
        ("std_err", "its standard error"),
        ("clean", "metric of the full model"),
        ("ablated", "metric with everything ablated"),
        ("faithfulness", "faithfulness"),
        ("cpr", "CPR (MIB)"),
        ("cmd", "CMD (MIB)"),
    ] {
        let value = v.get(key).cloned().unwrap_or_default();
        row(name, value.as_f64().map_or(value, cell));
    }
    for (i, end) in list(v, "interval").iter().enumerate() {
        row(if i == 0 { "95 % interval, from" } else { "95 % interval, to" }, maybe(end.as_f64()));
    }
    for (key, value) in v.get("against").and_then(Value::as_object).into_iter().flatten() {
        row(&format!("against the truth: {}", key.replace('_', " ")), maybe(value.as_f64()));
    }
    for bound in list(v, "bounds") {
        let passed = if bound.get("passed") == Some(&Value::Bool(true)) { "passed" } else { "failed" };
        let at_least = num(bound, "at_least").unwrap_or_default();
        row(&format!("{} at least {at_least}", text(bound, "what")), passed.into());
    }
    figure(
        input,
        "The circuit beside the full and the ablated model",
        "Faithfulness: 1 = all of the behaviour, 0 = none.",
        Body::Table,
        table,
    )
}

fn tests(input: &Input) -> Option<Figure> {
    let mut table = Table::new(&["test", "outcome", "p", "statistic", "null hypothesis", "what was found"]);
    for test in list(&input.value, "tests") {
        let passed = if test.get("passed") == Some(&Value::Bool(true)) { "passed" } else { "failed" };
        let [p, statistic] = ["p_value", "statistic"].map(|k| maybe(num(test, k)));
        table.row([
            text(test, "name").into(),
            passed.into(),
            p,
            statistic,
            text(test, "null").into(),
            text(test, "detail").into(),
        ]);
    }
    let how = "Hypothesis tests of Shi et al. 2024 (arXiv 2410.13032).";
    (!table.rows.is_empty()).then(|| figure(input, "Hypothesis tests", how, Body::Table, table))
}

fn random(input: &Input) -> Option<Figure> {
    let mut values: Vec<f64> = list(&input.value, "random").iter().filter_map(Value::as_f64).collect();
    values.sort_by(f64::total_cmp);
    let mut table = Table::new(&["rank", "metric"]);
    for (i, x) in values.iter().enumerate() {
        table.row([(i + 1).into(), cell(*x)]);
    }
    let points = values.iter().enumerate().map(|(i, &y)| Point { x: (i + 1) as f64, y, ..Point::default() });
    let rule = |key: &str, name: &str| num(&input.value, key).map(|at| Rule { at, name: name.into() });
    let rules = [rule("metric", "this circuit"), rule("clean", "full model"), rule("ablated", "all ablated")];
    let series = Series { name: "random circuits".into(), group: "points".into(), points: points.collect() };
    let body = Body::Lines(Lines {
        x_label: "random circuits, from the worst to the best".into(),
        y_label: Some(text(&input.value, "metric_name")).filter(|m| !m.is_empty()).unwrap_or("metric").into(),
        series: vec![series],
        rules: rules.into_iter().flatten().collect(),
        ..Lines::default()
    });
    let how = "Each point is a random circuit of the same size. A good circuit lies far above them, near the full model.";
    (!values.is_empty()).then(|| figure(input, "Random circuits of the same size", how, body, table))
}

fn completeness(input: &Input) -> Option<Figure> {
    let mut table = Table::new(&["set chosen", "removed", "circuit without it", "model without it", "gap"]);
    let mut bars = Vec::new();
    for (i, row) in list(&input.value, "completeness").iter().enumerate() {
        let Some(gap) = num(row, "gap") else { continue };
        let removed = strings(row, "removed");
        let kind = text(row, "kind");
        table.row([
            kind.into(),
            removed.join(" ").into(),
            maybe(num(row, "circuit")),
            maybe(num(row, "model")),
            cell(gap),
        ]);
        if bars.len() < BARS {
            let name = format!("{}. {kind}: {} members", i + 1, removed.len());
            bars.push(Bar { name, value: gap, std_err: None, group: String::new() });
        }
    }
    let body = Body::Bars(Bars { value_label: "gap".into(), bars, rules: Vec::new() });
    let how =
        "The same members taken out of circuit and model: the gap between what is left should be small.";
    (!table.rows.is_empty()).then(|| figure(input, "Completeness", how, body, table))
}

fn minimality(input: &Input) -> Option<Figure> {
    let mut table = Table::new(&["member", "metric without it", "fall"]);
    let mut bars = Vec::new();
    for row in list(&input.value, "minimality") {
        let Some(fall) = num(row, "fall") else { continue };
        let name = text(row, "name");
        table.row([name.into(), maybe(num(row, "metric")), cell(fall)]);
        if bars.len() < BARS {
            bars.push(Bar { name: name.into(), value: fall, std_err: None, group: "in".into() });
        }
    }
    let body = Body::Bars(Bars { value_label: "metric lost without it".into(), bars, rules: Vec::new() });
    let how = "Each member taken out alone: one that costs nothing is not needed.";
    (!table.rows.is_empty()).then(|| figure(input, "Minimality", how, body, table))
}
