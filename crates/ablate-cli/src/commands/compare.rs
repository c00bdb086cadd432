//! `ablate compare`: circuits and scores side by side.

use std::path::PathBuf;

use ablate::effects::ablate_nodes;
use ablate::graph::{Circuit, Node, Plan, Scores, Side, compare, stats};
use ablate::manifest::Conventions;
use ablate::report::{Base, ComparisonReport, Measured, PairReport, SetReport};
use ablate::run::Passes;
use ablate::verify::Frame;
use ablate::{Error, Result};
use clap::Args;

use crate::app::App;
use crate::args::{EditArgs, RowArgs};
use crate::inputs::{Input, read};
use crate::lab::{Edit, Lab};
use crate::outcome::Outcome;
use crate::run::{self, Run};
use crate::table::{Table, number, percent};

/// Compare circuits and scores: set algebra, Jaccard, rank correlation; with a model and data, what each set does alone
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  ablate compare a.json b.json\n  ablate compare heads.json all.json\n  \
    ablate compare a.json b.json --model builtin:induction --data data.jsonl --ablation resample")]
pub(crate) struct CompareArgs {
    /// Circuits, scores, pruning traces or importances.json; two or more
    #[arg(required = true, num_args = 2.., value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Measure every set on this model: everything of --nodes outside the set is ablated
    #[arg(long, value_name = "MODEL", requires = "data")]
    model: Option<String>,
    /// The rows to measure on
    #[arg(long, value_name = "DATA", requires = "model")]
    data: Option<PathBuf>,
    #[command(flatten)]
    rows: RowArgs,
    #[command(flatten)]
    edit: EditArgs,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &CompareArgs) -> Result<Outcome> {
    if args.model.is_none() && (args.edit.ablation.is_some() || args.rows.mean_data.is_some()) {
        return Err(Error::argument(
            "--ablation and --mean-data measure circuits, which needs a model",
            "give --model MODEL and --data DATA, or leave them out",
        ));
    }
    let lab = match (&args.model, &args.data) {
        (Some(model), Some(data)) => Some(Lab::open(app, model, data, &args.rows)?),
        _ => None,
    };
    let graph = lab.as_ref().map(|lab| lab.graph);
    let inputs: Vec<Input> =
        args.files.iter().map(|path| read(path, graph.as_ref())).collect::<Result<_>>()?;
    let mut report = ComparisonReport {
        files: inputs.iter().map(|input| input.name.clone()).collect(),
        ..ComparisonReport::default()
    };
    let sets = sets(&inputs, &mut report)?;
    report.agreement = agreements(&inputs)?;
    let edit = lab.as_ref().map(|lab| lab.edit(app, &args.edit, "mean-positional")).transpose()?;
    let manifest = match &lab {
        Some(lab) => lab.manifest(app, edit.as_ref()),
        None => app.manifest(None, Conventions::default()),
    };
    if let (Some(lab), Some(edit), true) = (&lab, &edit, app.globals.explain) {
        let plans = plans(edit, &sets);
        return run::explain(app, lab, manifest, &plans, plans.len());
    }
    if app.globals.explain {
        return run::explain_passes(app, None, manifest, Passes::default(), None);
    }
    let mut run = Run::start(app, manifest, None)?;
    let mut base = None;
    report.sets = match (&lab, &edit) {
        (Some(lab), Some(edit)) => measure(app, lab, edit, &sets, &mut base)?,
        _ => sets.iter().map(|(name, circuit)| set_report(name, circuit, None)).collect(),
    };
    run.finish("comparison", &report, None)?;
    if let Some(base) = &base {
        run.print_head(base)?;
    }
    print(app, &report)?;
    Ok(Outcome::Done)
}

/// Circuits and what set algebra makes of them, by name; Jaccard indices go to the report.
fn sets(inputs: &[Input], report: &mut ComparisonReport) -> Result<Vec<(String, Circuit)>> {
    let mut named: Vec<(String, Circuit)> = Vec::new();
    for input in inputs {
        if let Some(circuit) = &input.circuit {
            named.push((input.name.clone(), circuit.clone()));
        }
    }
    if named.len() < 2 {
        return Ok(named);
    }
    let circuits: Vec<Circuit> = named.iter().map(|(_, c)| c.clone()).collect();
    let all = compare::compare(&circuits)?;
    report.jaccard = all.jaccard;
    let only: Vec<(String, Circuit)> =
        named.iter().zip(all.only).map(|((name, _), circuit)| (format!("only {name}"), circuit)).collect();
    named.push(("intersection".into(), all.intersection));
    named.push(("union".into(), all.union));
    named.extend(only);
    Ok(named)
}

fn agreements(inputs: &[Input]) -> Result<Vec<PairReport>> {
    let scored: Vec<(&str, &Scores)> =
        inputs.iter().filter_map(|i| Some((i.name.as_str(), i.scores.as_ref()?))).collect();
    let mut rows = Vec::new();
    for (i, (a, left)) in scored.iter().enumerate() {
        for (b, right) in &scored[i + 1..] {
            let pair = compare::agreement(left, right, false)?;
            rows.push(PairReport {
                a: (*a).to_owned(),
                b: (*b).to_owned(),
                n: pair.n,
                spearman: pair.spearman,
                kendall: pair.kendall,
                pearson: pair.pearson,
                sign_agreement: pair.sign_agreement,
            });
        }
    }
    Ok(rows)
}

/// For each set, the plan that ablates every candidate (of edges: every edge) outside it.
fn plans(edit: &Edit, sets: &[(String, Circuit)]) -> Vec<Plan> {
    let plan = |(_, circuit): &(String, Circuit)| {
        let Some(members) = circuit.nodes() else {
            return Frame::new(circuit, edit.ablation, edit.positions.clone()).plan(circuit);
        };
        let graph = circuit.graph();
        let inside = |node: &Node| graph.node_id(*node).is_some_and(|id| members.contains(id));
        let outside: Vec<Node> = edit.nodes.iter().copied().filter(|node| !inside(node)).collect();
        ablate_nodes(&outside, edit.ablation, &edit.positions)
    };
    sets.iter().map(plan).collect()
}

fn measure(
    app: &App<'_>,
    lab: &Lab,
    edit: &Edit,
    sets: &[(String, Circuit)],
    measured_base: &mut Option<Base>,
) -> Result<Vec<SetReport>> {
    let plans = plans(edit, sets);
    let mut bar = app.bar("compare");
    let mut session = lab.session(app, &mut bar, None)?;
    session.expect(plans.len());
    let metrics = session.evaluate(&plans)?;
    let full = stats::mean(&session.base(Side::Clean)?).unwrap_or_default();
    let base = lab.base(app, &mut session)?;
    *measured_base = Some(base);
    let measured = |values: &[f64]| {
        let (metric, std_err) = stats::mean_and_std_err(values).unwrap_or_default();
        let score_percent = (full > 0.0).then(|| 100.0 * metric / full);
        Measured { metric, std_err, score_percent, n: values.len() }
    };
    let rows = sets.iter().zip(&metrics);
    Ok(rows.map(|((name, circuit), values)| set_report(name, circuit, Some(measured(values)))).collect())
}

fn set_report(name: &str, circuit: &Circuit, measured: Option<Measured>) -> SetReport {
    SetReport { name: name.to_owned(), members: circuit.names(), size: circuit.len(), measured }
}

fn print(app: &App<'_>, report: &ComparisonReport) -> Result<()> {
    if !report.sets.is_empty() {
        let mut table = Table::new(&["set", ">size", ">metric", ">std_err", ">score", "members"]);
        for set in &report.sets {
            let measured = set.measured;
            let cell = |f: &dyn Fn(Measured) -> Option<String>| measured.and_then(f).unwrap_or_default();
            table.row([
                set.name.clone(),
                set.size.to_string(),
                cell(&|m| Some(number(m.metric))),
                cell(&|m| Some(number(m.std_err))),
                cell(&|m| m.score_percent.map(percent)),
                shortened(&set.members),
            ]);
        }
        app.printer.table(&table)?;
    }
    if !report.jaccard.is_empty() {
        app.printer.line("")?;
        let circuits = report.sets.iter().take(report.jaccard.len()).map(|s| s.name.clone());
        let columns: Vec<String> =
            std::iter::once("jaccard".to_owned()).chain(circuits.clone().map(|n| format!(">{n}"))).collect();
        let mut table = Table::new(&columns.iter().map(String::as_str).collect::<Vec<_>>());
        for (name, row) in circuits.zip(&report.jaccard) {
            table.row(std::iter::once(name).chain(row.iter().map(|x| number(*x))));
        }
        app.printer.table(&table)?;
    }
    if !report.agreement.is_empty() {
        app.printer.line("")?;
        let mut table =
            Table::new(&["scores", "and", ">n", ">spearman", ">kendall", ">pearson", ">same sign"]);
        for pair in &report.agreement {
            let [s, k, p] = [pair.spearman, pair.kendall, pair.pearson].map(number);
            let sign = percent(100.0 * pair.sign_agreement);
            table.row([pair.a.clone(), pair.b.clone(), pair.n.to_string(), s, k, p, sign]);
        }
        app.printer.table(&table)?;
    }
    Ok(())
}

/// The first few names.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let first = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    if names.len() > SHOWN { format!("{first},… ({} more)", names.len() - SHOWN) } else { first }
}
