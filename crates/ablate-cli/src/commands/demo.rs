//! `ablate demo`: the main job on a built-in model whose circuit is known.

use std::path::{Path, PathBuf};

use ablate::case::{Case, handover};
use ablate::effects::{self, Effect, ablate_nodes};
use ablate::files::check_writable;
use ablate::graph::{Circuit, Node, Plan, Positions, Scores, compare, stats};
use ablate::manifest::DataStamp;
use ablate::model::{Model, builtin};
use ablate::page::{Inputs, Page};
use ablate::report::{Base, CircuitPart, Cost, DemoReport, EffectRow, Together, node_scores, result};
use ablate::task::{self, TaskRequest};
use ablate::{Ablation, Error, Metric, Result, Session};
use clap::Args;
use serde_json::{Value, json};

use super::report::Targets;
use crate::app::App;
use crate::lab::{Edit, Lab, Rows};
use crate::outcome::Outcome;
use crate::run::{self, Run};
use crate::table::{Table, number, percent};

/// Run the main job on a built-in model: data, effects of every head and MLP, and the comparison with its known circuit
///
/// Exit status 1 if the known circuit is not what was found.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  ablate demo\n  ablate demo -o report.html")]
pub(crate) struct DemoArgs {
    /// The built-in model; see `ablate models`
    #[arg(default_value = "builtin:ioi")]
    model: String,
    /// Number of rows made; a third is held back
    #[arg(short, long, value_name = "N", default_value_t = 150)]
    n: usize,
    /// Write a page about it too; see `ablate report`
    #[arg(short, long, value_name = "FILE.html")]
    out: Option<PathBuf>,
}

/// The built-in model that was trained, not set by hand.
const TRAINED: &str = "builtin:ioi";

/// Share of the answers that must change for a node to be in the circuit.
const THRESHOLD: f64 = 0.1;

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
    let mut lab = Lab::of(model, rows, Metric::Accuracy)?;
    let test = lab.split_off(1.0 / 3.0, app.globals.seed)?;
    let edit = Edit {
        nodes: lab.graph.senders().filter(|node| *node != Node::Input).collect(),
        ablation: Ablation::parse("resample", app.globals.seed)?,
        positions: Positions::All,
    };
    let mut manifest = lab.manifest(app, Some(&edit));
    manifest.test_data = Some(test.stamp.clone());
    if app.globals.explain {
        let plans: Vec<Plan> =
            edit.nodes.iter().map(|&n| ablate_nodes(&[n], edit.ablation, &edit.positions)).collect();
        return run::explain(app, &lab, manifest, &plans, plans.len());
    }
    let mut run = Run::start(app, manifest, Some(&json!({"name": "demo"})))?;
    let mut bar = app.bar("demo");
    let mut session = run.session(&lab, &mut bar)?;
    let effects = effects::sweep(&mut session, &edit.nodes, edit.ablation, &edit.positions)?;
    let together = together(&mut session, &edit, &found(&edit.nodes, &effects))?;
    let base = lab.base(app, &mut session)?;
    let cost = run.cost(&session, &base);
    let journal = session.into_journal();
    let mut session = lab.session_on(app, &test, &mut bar)?;
    let again = effects::sweep(&mut session, &edit.nodes, edit.ablation, &edit.positions)?;
    drop(session);
    drop(bar);
    let report = compared(&lab, &edit, (&effects, &again), truth, Measured { base, together, cost })?;
    if let Some(path) = &args.out {
        write_page(app, &lab, result("demo", &report, &app.warnings(), run.manifest())?, path)?;
    }
    run.finish("demo", &report, journal)?;
    run.print_head(&report.base)?;
    print(app, &report, lab.model.name() == TRAINED)?;
    Ok(if report.recovered { Outcome::Done } else { Outcome::Failed })
}

/// What was measured beside the effects.
struct Measured {
    base: Base,
    together: Vec<Together>,
    cost: Cost,
}

/// What was found, beside what is true; the second of the effects are those on held-out rows.
fn compared(
    lab: &Lab,
    edit: &Edit,
    (effects, again): (&[Effect], &[Effect]),
    truth: Vec<Node>,
    Measured { base, together, cost }: Measured,
) -> Result<DemoReport> {
    let scores = node_scores(&lab.graph, &edit.nodes, effects, false)?;
    let order: Vec<String> = scores.ranked(true).into_iter().map(|row| scores.name(row)).collect();
    let circuit = Circuit::of_nodes(&lab.graph, found(&edit.nodes, effects))?;
    let truth = truth.into_iter().filter(|node| edit.nodes.contains(node));
    let truth = Circuit::of_nodes(&lab.graph, truth)?;
    let confusion = compare::confusion(&truth, &circuit)?;
    Ok(DemoReport {
        base,
        effects: rows_of(&scores, &order),
        threshold: THRESHOLD,
        circuit: CircuitPart::new(&circuit, edit.nodes.len()),
        held_out: rows_of(&node_scores(&lab.graph, &edit.nodes, again, false)?, &order),
        together,
        truth: truth.names(),
        precision: confusion.precision(),
        recall: confusion.recall(),
        recovered: truth == circuit,
        cost,
    })
}

/// The nodes whose effect is above the threshold.
fn found(nodes: &[Node], effects: &[Effect]) -> Vec<Node> {
    let above = |effect: &Effect| stats::mean(&effect.scores).is_some_and(|mean| mean > THRESHOLD);
    nodes.iter().zip(effects).filter(|(_, effect)| above(effect)).map(|(node, _)| *node).collect()
}

/// What is left with all of the circuit ablated, and with all else.
fn together(session: &mut Session<'_, '_>, edit: &Edit, found: &[Node]) -> Result<Vec<Together>> {
    let (inside, outside): (Vec<Node>, Vec<Node>) = edit.nodes.iter().partition(|n| found.contains(n));
    let sets = [("the circuit", inside), ("all else", outside)];
    let plans: Vec<Plan> =
        sets.iter().map(|(_, nodes)| ablate_nodes(nodes, edit.ablation, &edit.positions)).collect();
    let measured = session.evaluate(&plans)?;
    let row = |((name, nodes), values): (&(&str, Vec<Node>), &Vec<f64>)| {
        let (metric, std_err) = stats::mean_and_std_err(values).unwrap_or_default();
        Together { ablated: (*name).to_owned(), nodes: nodes.len(), metric, std_err, n: values.len() }
    };
    Ok(sets.iter().zip(&measured).map(row).collect())
}

/// Sentences whose indirect object differs, or induction prompts: what followed a token the first time follows it again.
fn make_rows(app: &App<'_>, model: &Model, n: usize) -> Result<Rows> {
    if model.name() == TRAINED {
        let data = handover::pairs(&Case::find("ioi")?, n, app.globals.seed)?;
        return Rows::of(
            model,
            data,
            DataStamp { file: "case ioi".to_owned(), of: n, ..DataStamp::default() },
        );
    }
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

/// Effects in this order.
fn rows_of(scores: &Scores, order: &[String]) -> Vec<EffectRow> {
    let row = |row: &ablate::graph::ScoreRow| EffectRow {
        name: scores.name(row),
        score: row.score,
        std_err: row.std_err,
        n: row.n,
    };
    let mut rows: Vec<EffectRow> = scores.rows().iter().map(row).collect();
    rows.sort_by_key(|row| order.iter().position(|name| *name == row.name));
    rows
}

fn print(app: &App<'_>, report: &DemoReport, trained: bool) -> Result<()> {
    let out = &app.printer;
    out.line("1. The share of answers that change when a head or an MLP is ablated alone:")?;
    let mut table = Table::new(&["node", ">score", ">std_err", ">held out", "known circuit"]);
    for (row, held) in report.effects.iter().zip(&report.held_out) {
        let member = if report.truth.contains(&row.name) { "yes" } else { "" };
        table.row([&row.name, &number(row.score), &number(row.std_err), &number(held.score), member]);
    }
    out.table(&table)?;
    let (part, names) = (&report.circuit, report.circuit.members.join(", "));
    out.line(&format!(
        "\n2. More than {} of the answers need {} of {} nodes: {names}",
        percent(100.0 * report.threshold),
        part.size,
        part.of
    ))?;
    let mut table = Table::new(&["ablated together", ">nodes", ">accuracy", ">std_err", ">n"]);
    for row in &report.together {
        let cells = [&row.nodes.to_string(), &number(row.metric), &number(row.std_err), &row.n.to_string()];
        table.row([&row.ablated, cells[0], cells[1], cells[2], cells[3]]);
    }
    out.table(&table)?;
    if trained {
        out.note("training made sure that no other node matters alone; all of them together may")?;
    }
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
