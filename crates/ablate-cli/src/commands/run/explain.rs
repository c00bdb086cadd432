//! `ablate run --explain`: what each step would do, from the commands' own `--explain`, and how long it would take.
//!
//! It is done in a folder that goes away again. Data is made there; steps that read what is not there yet are not explained.

use std::collections::BTreeSet;
use std::path::Path;

use ablate::report::RunReport;
use ablate::run::product_flops;
use ablate::{Error, Result};
use serde_json::{Value, json};

use super::file::Experiment;
use super::folder::{self, Hashes, MANIFEST};
use super::plan::{self, Places, Step};
use super::{enter, line, runner, time};
use crate::app::App;
use crate::args::Target;
use crate::cli::Globals;
use crate::commands;
use crate::outcome::Outcome;
use crate::table::{Table, bytes, si};
use crate::tables;

/// The share of a product's speed that runs reach: what is no product, and products of few rows, take their part.
const EFFICIENCY: f64 = 0.4;

/// What is known of a step before it runs.
#[derive(Debug, Default)]
struct Known {
    name: String,
    plan: String,
    passes: Option<u64>,
    flops: Option<f64>,
    peak: Option<u64>,
}

/// Explains all steps; `place` is the folder they would run in.
pub(super) fn explain(app: &App<'_>, experiment: &Experiment, place: &Path) -> Result<Outcome> {
    let manifest = place.join(MANIFEST);
    let before = if manifest.is_file() { Some(folder::read_manifest(&manifest)?) } else { None };
    let cannot = |source| Error::Write { path: std::env::temp_dir(), source };
    let scratch = tempfile::tempdir().map_err(cannot)?;
    let places = Places::new(experiment, scratch.path())?;
    let steps = plan::plan(experiment, &places)?;
    let target = match &app.globals.json {
        Some(Target::File(path)) => Some(Target::File(plan::absolute(path)?)),
        other => other.clone(),
    };
    if let Some(before) = &before {
        borrow(before, place, scratch.path())?;
    }
    let here = std::env::current_dir().map_err(cannot)?;
    enter(scratch.path())?;
    let known = all(app, experiment, &places, &steps, before.as_ref());
    // the folder that goes away must not be the current one
    enter(&here)?;
    let known = known?;
    let speed = EFFICIENCY * product_flops();
    print(app, &known, speed)?;
    let rows: Vec<Value> = known
        .iter()
        .map(|k| {
            json!({
                "name": k.name, "plan": k.plan, "passes": k.passes, "flops": k.flops, "peak_bytes": k.peak,
                "seconds": k.flops.map(|f| f / speed),
            })
        })
        .collect();
    let manifest = app.manifest(None, ablate::manifest::Conventions::default());
    let text = ablate::report::text(&ablate::report::result(
        "plan",
        &json!({"steps": rows}),
        &app.warnings(),
        &manifest,
    )?);
    match target {
        Some(Target::Stdout) => app.printer.json(&text)?,
        Some(Target::File(path)) => ablate::files::write_atomic(&path, &text)?,
        None => {}
    }
    Ok(Outcome::Done)
}

/// Files of finished steps, so that later ones can be explained: as links where the disk allows it.
fn borrow(before: &RunReport, place: &Path, scratch: &Path) -> Result<()> {
    for file in before.steps.iter().filter(|s| s.status.is_finished()).flat_map(|s| s.outputs.keys()) {
        let inside = Path::new(file).components().all(|c| matches!(c, std::path::Component::Normal(_)));
        let (from, to) = (place.join(file), scratch.join(file));
        if !inside || !from.is_file() {
            continue;
        }
        let fail = |source| Error::Write { path: to.clone(), source };
        std::fs::create_dir_all(to.parent().unwrap_or(scratch)).map_err(fail)?;
        if std::fs::hard_link(&from, &to).is_err() {
            std::fs::copy(&from, &to).map_err(fail)?;
        }
    }
    Ok(())
}

fn all(
    app: &App<'_>,
    experiment: &Experiment,
    places: &Places,
    steps: &[Step],
    before: Option<&RunReport>,
) -> Result<Vec<Known>> {
    let mut hashes = Hashes::default();
    let (mut open, mut known): (BTreeSet<String>, Vec<Known>) = (BTreeSet::new(), Vec::new());
    for step in steps {
        let after: Vec<&str> = step.needs().filter(|name| open.contains(*name)).collect();
        let mut entry = Known { name: step.name.clone(), ..Known::default() };
        if !after.is_empty() || step.name == "report" {
            let mut after = after;
            after.dedup();
            entry.plan = if step.name == "report" {
                "after all".into()
            } else {
                format!("after {}", after.join(", "))
            };
            open.insert(step.name.clone());
            known.push(entry);
            continue;
        }
        let inputs = runner::inputs(step, experiment, places, &mut hashes)?;
        if runner::finished(before, step, &runner::key(step, &inputs))?.is_some() {
            entry.plan = "done before".into();
            known.push(entry);
            continue;
        }
        entry.plan = "to run".into();
        one(app, step, &mut entry)?;
        if !makes_data(step) {
            open.insert(step.name.clone());
        }
        known.push(entry);
    }
    Ok(known)
}

/// Whether a step makes rows.
fn makes_data(step: &Step) -> bool {
    step.words.first().is_some_and(|word| word == "task")
}

/// What a command says itself. Data are made, for they are cheap and the others need them.
fn one(app: &App<'_>, step: &Step, entry: &mut Known) -> Result<()> {
    // what is borrowed may be of an earlier version of the step
    folder::remove(Path::new(&step.result()))?;
    let cli = plan::read(step).map_err(|e| Error::argument(e.to_string(), "report this"))?;
    let globals = Globals { explain: !makes_data(step), ..plan::globals(step, &cli, app.globals) };
    app.printer.note(&format!("{}: ablate {}", step.name, line(&step.words)))?;
    runner::make_folder(step)?;
    let inner = app.step(&globals, app.printer, tables::of(&cli.command), (step.command(), None));
    commands::run(&inner, &cli.command).map_err(|error| {
        let (message, hint) = (format!("step `{}`: {error}", step.name), error.hint());
        Error::Argument { message, hint }
    })?;
    app.printer.line("")?;
    let value: Value =
        std::fs::read(step.result()).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
    let estimate = &value["estimate"];
    let number = |key: &str| estimate[key].as_f64();
    entry.passes = estimate["passes"].as_u64().or_else(|| estimate["plain_rows"].as_u64());
    let scrub = number("plain_flops").zip(number("cell_flops")).map(|(a, b)| a + b);
    entry.flops = number("flops").or(scrub);
    entry.peak = estimate["peak_bytes"].as_u64();
    Ok(())
}

fn print(app: &App<'_>, known: &[Known], speed: f64) -> Result<()> {
    let mut table = Table::new(&["step", "plan", ">passes", ">FLOPs", ">peak memory", ">about"]);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for k in known {
        table.row([
            k.name.clone(),
            k.plan.clone(),
            or_dash(k.passes.map(|p| p.to_string())),
            or_dash(k.flops.map(si)),
            or_dash(k.peak.map(bytes)),
            or_dash(k.flops.map(|f| time(f / speed))),
        ]);
    }
    app.printer.table(&table)?;
    let total: f64 = known.iter().filter_map(|k| k.flops).sum();
    let peak = known.iter().filter_map(|k| k.peak).max();
    app.printer.note(&format!(
        "of what is known now: {} FLOPs, peak memory {}, about {} here; steps after others are known once these are done",
        si(total),
        or_dash(peak.map(bytes)),
        time(total / speed)
    ))
}
