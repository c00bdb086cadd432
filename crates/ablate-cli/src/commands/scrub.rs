//! `ablate scrub`: whether a hypothesis about the model is enough for its behaviour.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ablate::dataset::Limits;
use ablate::model::Row;
use ablate::report::{Base, Cost, ScrubNode, ScrubReport, ScrubSize, ScrubValue};
use ablate::scrub::{Hypothesis, Labels, Measured, Recovered, Scrub, ScrubCost, ScrubSetup, recovered};
use ablate::task::{self, Options, TaskRequest};
use ablate::verify::Bound;
use ablate::{Error, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::app::App;
use crate::args::DataArgs;
use crate::lab::Lab;
use crate::outcome::Outcome;
use crate::run::Run;
use crate::table::{Table, bytes, number, si};

/// Test a hypothesis by causal scrubbing: swap every input that should not matter
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    ablate scrub builtin:induction induction.toml data.jsonl --min-recovered 0.9\n  \
    ablate scrub builtin:induction induction.toml data.jsonl --show-rows 2 --json scrub.json\n  \
    ablate scrub builtin:induction induction.toml data.jsonl --explain")]
pub(crate) struct ScrubArgs {
    /// Folder, .gguf file, Hugging Face repository or builtin:NAME
    model: String,
    /// The hypothesis, a TOML file
    #[arg(value_name = "HYPOTHESIS")]
    hypothesis: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// Fail (exit status 1) when less is recovered
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    min_recovered: Option<f64>,
    /// Print what was drawn for the first N rows
    #[arg(long, value_name = "N", default_value_t = 0)]
    show_rows: usize,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &ScrubArgs) -> Result<Outcome> {
    let hypothesis = Hypothesis::read(&args.hypothesis)?;
    let lab = Lab::open(app, &args.model, &args.data.data, &args.data.rows)?;
    if args.data.rows.mean_data.is_some() {
        return Err(Error::argument(
            "--mean-data has no use with scrub",
            "rows are drawn, nothing is averaged",
        ));
    }
    let setup = ScrubSetup { metric: lab.metric, seed: app.globals.seed, budget: app.globals.memory.0 };
    let task = |n: usize, seed: u64| fresh(&lab, n, seed);
    let known = lab.rows.dataset.header.task.is_some();
    let batch = lab.rows.batch.clone();
    let task: Option<&ablate::scrub::TaskRows<'_>> = if known { Some(&task) } else { None };
    let scrub = Scrub::new(&lab.model, batch, hypothesis, setup, task)?;
    let cost = scrub.cost()?;
    let mut run = Run::start(app, lab.manifest(app, None), None)?;
    for warning in &scrub.draws().warnings {
        app.warn(warning.clone());
    }
    if app.globals.explain {
        run.finish("plan", &json!({"estimate": estimate(&cost)}), None)?;
        app.print_conventions(run.manifest())?;
        print_tree(app, &scrub)?;
        app.printer.line("")?;
        print_cost(app, &cost)?;
        return Ok(Outcome::Done);
    }
    app.printer.status(&cost_line(&cost));
    let mut bar = app.bar("scrub");
    let measured = scrub.run(&mut bar)?;
    drop(bar);
    let r = recovered(&measured.scrubbed, &measured.original, &measured.baseline, app.globals.seed);
    let base = Base::new(measured.original.clone(), None);
    doubts(app, &r, &base.doubts(lab.metric));
    let mut report = begin(&scrub, &cost, measured, &r, base);
    lab.metric.name().clone_into(&mut report.metric_name);
    report.bounds = bounds(args, r.share)?;
    report.cost.seconds = app.clock().seconds();
    run.finish("scrub", &report, None)?;
    app.print_conventions(run.manifest())?;
    print_tree(app, &scrub)?;
    app.printer.line("")?;
    print(app, &report)?;
    for row in 0..args.show_rows.min(lab.rows.batch.len()) {
        app.printer.line("")?;
        print_rows(app, &lab, &scrub, row)?;
    }
    let passed = report.bounds.iter().all(|b| b.passed);
    Ok(if passed { Outcome::Done } else { Outcome::Failed })
}

/// What is doubtful about a result.
fn doubts(app: &App<'_>, r: &Recovered, of_base: &[String]) {
    if r.share.is_none() {
        app.warn("original and baseline have the same metric: what is recovered says nothing");
    }
    if r.interval.is_some_and(|(low, high)| high - low > 0.5) {
        app.warn("the interval of what is recovered is wide: take more rows");
    }
    for doubt in of_base {
        app.warn(doubt.clone());
    }
}

/// The result, but for the metric's name, bounds and time.
fn begin(scrub: &Scrub<'_>, cost: &ScrubCost, measured: Measured, r: &Recovered, base: Base) -> ScrubReport {
    ScrubReport {
        title: scrub.hypothesis().title.clone(),
        metric_name: String::new(),
        labels: if scrub.hypothesis().labels == Labels::Pinned { "pinned" } else { "resampled" }.to_owned(),
        baseline_name: scrub.hypothesis().baseline.to_string(),
        scrubbed: ScrubValue::new(measured.scrubbed),
        original: ScrubValue::new(measured.original),
        baseline: ScrubValue::new(measured.baseline),
        recovered: r.share,
        interval: r.interval,
        nodes: nodes(scrub),
        added: added(scrub),
        size: ScrubSize {
            plain_rows: cost.plain_rows,
            cells: cost.cells,
            width: cost.width,
            flops: cost.plain_flops + cost.cell_flops,
            blocks: cost.blocks,
        },
        bounds: Vec::new(),
        cost: Cost { forward: cost.plain_rows as u64, backward: 0, evaluations: 3, seconds: 0.0 },
        base,
    }
}

/// Rows of the task that made the data, with its options.
fn fresh(lab: &Lab, n: usize, seed: u64) -> Result<Vec<(Row, String)>> {
    let header = &lab.rows.dataset.header;
    let name = header.task.as_deref().unwrap_or_default();
    let given = header.extra.get("options").and_then(Value::as_object);
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let options: Options = given.into_iter().flatten().map(|(k, v)| (k.clone(), text(v))).collect();
    let request = TaskRequest { n, seed, options: &options, codec: lab.model.codec() };
    let data = task::find(name)?.generate(&request)?;
    let config = lab.model.config();
    let limits = Limits { d_vocab: config.d_vocab, n_ctx: config.n_ctx };
    let batch = data.batch(lab.model.codec(), limits)?;
    let group = |row: &Row| batch.groups().get(row.group).cloned().unwrap_or_default();
    Ok(batch.rows().iter().map(|row| (row.clone(), group(row))).collect())
}

fn bounds(args: &ScrubArgs, share: Option<f64>) -> Result<Vec<Bound>> {
    let Some(at_least) = args.min_recovered else { return Ok(Vec::new()) };
    let value = share.ok_or_else(|| {
        Error::argument(
            "--min-recovered: original and baseline have the same metric",
            "take rows that show the behaviour, or another baseline",
        )
    })?;
    Ok(vec![Bound { what: "recovered".into(), value, at_least, passed: value >= at_least }])
}

fn nodes(scrub: &Scrub<'_>) -> Vec<ScrubNode> {
    let (h, tree, draws) = (scrub.hypothesis(), scrub.tree(), scrub.draws());
    let node = |&i: &usize| {
        let (claim, drawn) = (&h.claims[i], &draws.claims[i]);
        let above = tree.parent[i].map_or(draws.reference, |p| draws.claims[p].rows);
        let rows = draws.sets.rows(drawn.rows);
        let leaf = tree.is_leaf(i);
        ScrubNode {
            name: claim.name.clone(),
            parent: claim.parent.clone(),
            depth: tree.depth[i],
            paths: claim.paths.iter().map(ToString::to_string).collect(),
            components: scrub.ends(i).into_iter().map(str::to_owned).collect(),
            sampler: claim.sampler.to_string(),
            others: (!leaf).then(|| claim.others.to_string()),
            own: rows.iter().zip(draws.sets.rows(above)).filter(|(a, b)| a == b).count(),
            fewest: drawn.fewest,
            rows: rows.to_vec(),
            other_rows: (!leaf).then(|| draws.sets.rows(drawn.own).to_vec()),
        }
    };
    tree.order.iter().map(node).collect()
}

/// Rows that are not clean rows of the data, by number.
fn added(scrub: &Scrub<'_>) -> BTreeMap<u32, Vec<u32>> {
    let universe = scrub.universe();
    (universe.sources() as u32..universe.len() as u32).map(|i| (i, universe.row(i).clean.clone())).collect()
}

fn print_tree(app: &App<'_>, scrub: &Scrub<'_>) -> Result<()> {
    if !scrub.hypothesis().title.is_empty() {
        app.printer.note(&scrub.hypothesis().title)?;
    }
    let mut table = Table::new(&["node", "paths", "rows", "others", ">same row", ">fewest"]);
    for node in nodes(scrub) {
        let paths = if node.paths.is_empty() { "everything".to_owned() } else { node.paths.join(", ") };
        table.row([
            "  ".repeat(node.depth) + &node.name,
            paths,
            node.sampler,
            node.others.unwrap_or_else(|| "-".into()),
            node.own.to_string(),
            node.fewest.map_or("-".into(), |n| n.to_string()),
        ]);
    }
    app.printer.table(&table)
}

fn print(app: &App<'_>, report: &ScrubReport) -> Result<()> {
    let mut table = Table::new(&["what", ">value"]);
    let mut row = |what: &str, value: String| table.row([what.to_owned(), value]);
    let mean = |v: &ScrubValue| format!("{} ± {}", number(v.mean), number(v.std_err));
    row(&format!("scrubbed {}", report.metric_name), mean(&report.scrubbed));
    row("original", mean(&report.original));
    row(&format!("baseline: {}", report.baseline_name), mean(&report.baseline));
    let interval = report.interval.map_or(String::new(), |(l, h)| format!(" [{}, {}]", number(l), number(h)));
    row("recovered [95%]", report.recovered.map_or("undefined".into(), number) + &interval);
    for bound in &report.bounds {
        let verdict = if bound.passed { "passed" } else { "FAILED" };
        row(&format!("{} ≥ {}", bound.what, bound.at_least), verdict.into());
    }
    app.printer.table(&table)
}

fn estimate(cost: &ScrubCost) -> Value {
    json!({
        "rows": cost.rows, "plain_rows": cost.plain_rows, "plain_flops": cost.plain_flops, "cells": cost.cells,
        "width": cost.width, "cell_flops": cost.cell_flops, "blocks": cost.blocks, "activation_bytes": cost.bytes,
    })
}

fn cost_line(cost: &ScrubCost) -> String {
    format!(
        "{} plain runs of a row, {} components under assignments of their own, for {} rows: {} FLOPs",
        cost.plain_rows,
        cost.cells,
        cost.rows,
        si(cost.plain_flops + cost.cell_flops)
    )
}

fn print_cost(app: &App<'_>, cost: &ScrubCost) -> Result<()> {
    let mut table = Table::new(&["what", ">how much"]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("rows", cost.rows.to_string());
    row("plain runs of a row", cost.plain_rows.to_string());
    row("their FLOPs", si(cost.plain_flops));
    row("(component, assignment) pairs beside them", cost.cells.to_string());
    row("most assignments of one component", cost.width.to_string());
    row("their FLOPs, for all rows", si(cost.cell_flops));
    row("blocks", cost.blocks.to_string());
    row("activations", bytes(cost.bytes as u64));
    app.printer.table(&table)
}

/// What was drawn for one reference row, as a tree.
fn print_rows(app: &App<'_>, lab: &Lab, scrub: &Scrub<'_>, row: usize) -> Result<()> {
    let (universe, draws, tree) = (scrub.universe(), scrub.draws(), scrub.tree());
    let mut table = Table::new(&["node", ">row", "feature", "text"]);
    for &i in &tree.order {
        let claim = &scrub.hypothesis().claims[i];
        let mut add = |name: String, set: u32, feature: Option<&ablate::scrub::Feature>| -> Result<()> {
            let id = draws.sets.rows(set)[row];
            let value = feature.map(|f| universe.feature(f, id)).transpose()?;
            let shown = if (id as usize) < universe.sources() { id.to_string() } else { "new".to_owned() };
            table.row([
                name,
                shown,
                value.map_or("-".into(), |v| v.to_string()),
                text(lab, universe.row(id)),
            ]);
            Ok(())
        };
        let indent = "  ".repeat(tree.depth[i]);
        let drawn = &draws.claims[i];
        add(format!("{indent}{}", claim.name), drawn.rows, claim.sampler.feature())?;
        if !tree.is_leaf(i) {
            add(format!("{indent}  (others)"), drawn.own, claim.others.feature())?;
        }
    }
    app.printer.note(&format!("row {row}"))?;
    app.printer.table(&table)
}

/// A row as text, or its token ids.
fn text(lab: &Lab, row: &Row) -> String {
    let decoded = lab.model.codec().and_then(|c| c.decode(&row.clean).ok());
    decoded.map_or_else(|| format!("{:?}", row.clean), |t| t.replace('\n', "\\n"))
}
