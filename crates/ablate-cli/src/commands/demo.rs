//! `ablate demo`: the main job on a built-in model whose circuit is known.

use std::path::{Path, PathBuf};

use ablate::effects::{self, ablate_nodes};
use ablate::files::check_writable;
use ablate::graph::{Circuit, Plan, Positions, Scores, compare};
use ablate::manifest::DataStamp;
use ablate::model::{Model, builtin};
use ablate::page::{Inputs, Page};
use ablate::prune::{self, Order, PruneConfig};
use ablate::report::{DemoReport, EffectRow, node_scores, result};
use ablate::task::{self, TaskRequest};
use ablate::{Ablation, Error, Metric, Result};
use clap::Args;
use serde_json::{Value, json};

use super::prune::{Outcomes, held_out, prune_all, report};
use super::report::Targets;
use crate::app::App;
use crate::lab::{Edit, Lab, Rows};
use crate::outcome::Outcome;
use crate::run::{self, Run};
use crate::table::{Table, number, percent};

/// Run the main job on a built-in model: data, effects of every head, pruning, and the comparison with its known circuit
///
/// Exit status 1 if the known circuit is not what was found.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  ablate demo\n  ablate demo -o report.html")]
pub(crate) struct DemoArgs {
    /// The built-in model; see `ablate models`
    #[arg(default_value = "builtin:induction")]
    model: String,
    /// Number of rows made; a third is held back
    #[arg(short, long, value_name = "N", default_value_t = 150)]
    n: usize,
    /// Write a page about it too; see `ablate report`
    #[arg(short, long, value_name = "FILE.html")]
    out: Option<PathBuf>,
}

/// Percent of the full model's score that pruning may lose.
const THRESHOLD: f64 = 10.0;

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &DemoArgs) -> Result<Outcome> {
    let name = args.model.strip_prefix("builtin:").unwrap_or(&args.model);
    let known = builtin::list().iter().map(|m| m.name);
    let truth = builtin::truth(name).ok_or_else(|| Error::unknown("built-in model", name, known))?;
    if let Some(path) = &args.out {
        check_writable(path)?;
    }
    let model = app.load(&format!("builtin:{name}"))?;
    let rows = make_rows(app, &model, args.n)?;
    let mut lab = Lab::of(model, rows, Metric::LogitDiff)?;
    let test = lab.split_off(1.0 / 3.0, app.globals.seed)?;
    let edit = Edit {
        nodes: lab.graph.heads().collect(),
        ablation: Ablation::parse("resample", app.globals.seed)?,
        positions: Positions::All,
    };
    let mut manifest = lab.manifest(app, Some(&edit));
    manifest.test_data = Some(test.stamp.clone());
    if app.globals.explain {
        let plans: Vec<Plan> =
            edit.nodes.iter().map(|&n| ablate_nodes(&[n], edit.ablation, &edit.positions)).collect();
        return run::explain(app, &lab, manifest, &plans, 2 * plans.len());
    }
    let mut run = Run::start(app, manifest, Some(&json!({"name": "demo"})))?;
    let mut bar = app.bar("demo");
    let mut session = run.session(&lab, &mut bar)?;
    let effects = effects::sweep(&mut session, &edit.nodes, edit.ablation, &edit.positions)?;
    let outcome = prune_all(&mut session, config(&edit), 1, app.globals.seed)?;
    let left_out = prune::leave_one_out(&mut session, &outcome.config, outcome.best())?;
    let base = lab.base(app, &mut session)?;
    let cost = run.cost(&session, &base);
    let journal = session.into_journal();
    drop(bar);
    let mut pruned = report(&lab, &outcome, &left_out)?;
    pruned.base = base.clone();
    pruned.cost = cost;
    pruned.test = Some(held_out(app, &lab, &test, &edit, outcome.best())?);
    let scores = node_scores(&lab.graph, &edit.nodes, &effects, false)?;
    let (found, truth) = circuits(&lab, &edit, &outcome, truth)?;
    let confusion = compare::confusion(&truth, &found)?;
    let report = DemoReport {
        base,
        effects: rows_of(&scores),
        prune: pruned,
        truth: truth.names(),
        precision: confusion.precision(),
        recall: confusion.recall(),
        recovered: truth == found,
        cost,
    };
    if let Some(path) = &args.out {
        write_page(app, &lab, result("demo", &report, &app.warnings(), run.manifest())?, path)?;
    }
    run.finish("demo", &report, journal)?;
    run.print_head(&report.base)?;
    print(app, &report)?;
    Ok(if report.recovered { Outcome::Done } else { Outcome::Failed })
}

/// Induction prompts: what followed a token the first time follows it again.
fn make_rows(app: &App<'_>, model: &Model, n: usize) -> Result<Rows> {
    let options = task::parse_options(&["corruption=no-repeat"])?;
    let request = TaskRequest { n, seed: app.globals.seed, options: &options, codec: model.codec() };
    let data = task::find("induction")?.generate(&request)?;
    Rows::of(model, data, DataStamp { file: "task induction".to_owned(), of: n, ..DataStamp::default() })
}

/// The page of the demo, with the model's attention on two prompts.
fn write_page(app: &App<'_>, lab: &Lab, value: Value, path: &Path) -> Result<()> {
    let mut inputs = Inputs::default();
    inputs.add_value("demo", value);
    let rows = super::report::first_rows(&lab.model, &lab.rows.dataset, 2)?;
    let looked = super::report::look(app, &lab.model, &rows, &inputs)?;
    let page = Page::new(&inputs, Some(looked));
    super::report::write(&page, Targets { html: Some(path), ..Targets::default() })?;
    app.printer.status(&format!("written to {}", path.display()));
    Ok(())
}

fn config(edit: &Edit) -> PruneConfig {
    PruneConfig {
        nodes: edit.nodes.clone(),
        ablation: edit.ablation,
        positions: edit.positions.clone(),
        threshold: THRESHOLD,
        two_sided: false,
        order: Order::Backward,
    }
}

/// What was found, and what is true of the candidates.
fn circuits(
    lab: &Lab,
    edit: &Edit,
    outcome: &Outcomes,
    truth: Vec<ablate::graph::Node>,
) -> Result<(Circuit, Circuit)> {
    let found = Circuit::of_nodes(&lab.graph, outcome.best().kept.iter().copied())?;
    let truth = truth.into_iter().filter(|node| edit.nodes.contains(node));
    Ok((found, Circuit::of_nodes(&lab.graph, truth)?))
}

fn rows_of(scores: &Scores) -> Vec<EffectRow> {
    let row = |row: &ablate::graph::ScoreRow| EffectRow {
        name: scores.name(row),
        score: row.score,
        std_err: row.std_err,
        n: row.n,
    };
    scores.ranked(true).into_iter().map(row).collect()
}

fn print(app: &App<'_>, report: &DemoReport) -> Result<()> {
    let out = &app.printer;
    out.line("1. The effect of every head, ablated alone:")?;
    let mut table = Table::new(&["head", ">score", ">std_err", ">n", "known circuit"]);
    for row in &report.effects {
        let member = if report.truth.contains(&row.name) { "yes" } else { "" };
        table.row([&row.name, &number(row.score), &number(row.std_err), &row.n.to_string(), member]);
    }
    out.table(&table)?;
    let (pruned, names) = (&report.prune, report.prune.circuit.members.join(", "));
    out.line(&format!(
        "\n2. Heads removed from the last to the first while at least {} of the score is kept: {} of {} are left: {names}",
        percent(100.0 - pruned.threshold),
        pruned.circuit.size,
        pruned.circuit.of
    ))?;
    let mut table = Table::new(&["rows", ">n", ">metric", ">score"]);
    table.row([
        "pruned on",
        &pruned.base.n.to_string(),
        &number(pruned.metric),
        &percent(pruned.score_percent),
    ]);
    if let Some(test) = &pruned.test {
        table.row(["held out", &test.n.to_string(), &number(test.metric), &percent(test.score_percent)]);
    }
    out.table(&table)?;
    let share = |x: Option<f64>| x.map_or("-".to_owned(), |x| percent(100.0 * x));
    out.line(&format!(
        "\n3. The known circuit is {}: precision {}, recall {}",
        report.truth.join(", "),
        share(report.precision),
        share(report.recall)
    ))?;
    out.line(if report.recovered {
        "\nThe known circuit was recovered exactly."
    } else {
        "\nThe known circuit was NOT recovered."
    })
}
