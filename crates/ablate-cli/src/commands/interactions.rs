//! `ablate interactions`: what nodes do together that they do not do one by one.

use std::path::PathBuf;

use ablate::graph::Plan;
use ablate::interactions::{self as inter, Design, Fit, Formula, Losses};
use ablate::manifest::Conventions;
use ablate::report::{self, InteractionsReport};
use ablate::{Error, Result};
use clap::Args;
use serde_json::json;

use crate::app::App;
use crate::args::{EditArgs, RowArgs};
use crate::lab::Lab;
use crate::outcome::Outcome;
use crate::run::{self, Run};
use crate::table::{Table, number, percent};

/// Ablate every subset of some nodes and fit the loss by terms of single nodes, pairs and so on
///
/// The loss is the negative of the metric, so a term above 0 = ablating these nodes together hurts. Up to 12 nodes all
/// subsets are run, of more some are drawn.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  ablate interactions --formula '(r1 & r2) | s' --degree 2\n  \
    ablate interactions builtin:induction data.jsonl --nodes a0.h2,a1.h0,a2.h1 --ablation mean\n  \
    ablate interactions builtin:induction data.jsonl --nodes a0.*,a2.* --runs 60 --degree 2")]
pub(crate) struct InteractionsArgs {
    /// Folder, .gguf file, Hugging Face repository or builtin:NAME
    #[arg(required_unless_present = "formula")]
    model: Option<String>,
    /// Data set: JSON lines, auto-circuit JSON or EAP-IG CSV
    #[arg(value_name = "DATA", required_unless_present = "formula")]
    data: Option<PathBuf>,
    /// Instead of a model: a loss of 0 or 1 in names that say what is ablated, with & | ^ ! and parentheses
    #[arg(long, value_name = "FORMULA", conflicts_with_all = [
        "model", "data", "metric", "rows", "filter_correct", "mean_data", "nodes", "ablation", "scale", "positions",
    ])]
    formula: Option<String>,
    /// Most nodes of a term
    #[arg(long, value_name = "D", default_value_t = 2)]
    degree: usize,
    /// Run only N subsets: those of at most D (and 2) nodes, their complements, and random ones
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// Rows printed of each table, those of the largest terms; the result file has all
    #[arg(long, value_name = "K")]
    top: Option<usize>,
    #[command(flatten)]
    row: RowArgs,
    #[command(flatten)]
    edit: EditArgs,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &InteractionsArgs) -> Result<Outcome> {
    match (&args.formula, &args.model, &args.data) {
        (Some(formula), _, _) => of_formula(app, args, formula),
        (None, Some(model), Some(data)) => of_model(app, args, &Lab::open(app, model, data, &args.row)?),
        _ => Err(Error::argument("a model without data", "name both, or give --formula")),
    }
}

fn of_formula(app: &App<'_>, args: &InteractionsArgs, text: &str) -> Result<Outcome> {
    let formula = Formula::parse(text)?;
    let names = formula.names();
    let design = Design::new(names.len(), args.degree, args.runs, app.globals.seed)?;
    let mut run = Run::start(app, app.manifest(None, Conventions::default()), None)?;
    app.printer.note(&format!(
        "formula {text}: a name is 1 where that part is ablated, the value is the loss; {} of 2^{} subsets",
        design.subsets.len(),
        names.len()
    ))?;
    if app.globals.explain {
        let estimate = json!({"plans": design.subsets.len(), "passes": 0});
        run.finish("plan", &json!({"estimate": estimate, "first": []}), None)?;
        return app.printer.note("no model is run").map(|()| Outcome::Done);
    }
    let losses = Losses::of_formula(&formula, design);
    let (fit, pairs) = fitted(&losses, args.degree)?;
    let report = InteractionsReport::new(text.to_owned(), names, &losses, &fit, &pairs, true);
    run.finish("interactions", &report, None)?;
    print(app, &report, args.top)?;
    Ok(Outcome::Done)
}

fn of_model(app: &App<'_>, args: &InteractionsArgs, lab: &Lab) -> Result<Outcome> {
    let edit = lab.edit(app, &args.edit, "mean-positional")?;
    let names: Vec<String> = edit.nodes.iter().map(ToString::to_string).collect();
    let design = Design::new(names.len(), args.degree, args.runs, app.globals.seed)?;
    let manifest = lab.manifest(app, Some(&edit));
    if app.globals.explain {
        let plan = |&s: &u64| inter::subset_plan(&edit.nodes, s, edit.ablation, &edit.positions);
        // the plan of no ablation is the base run; the first that says something goes first
        let plans: Vec<Plan> = design.subsets.iter().skip(1).map(plan).collect();
        return run::explain(app, lab, manifest, &plans, plans.len());
    }
    let settings = json!({
        "name": "interactions", "ablation": edit.ablation.name(), "scale": edit.ablation.scale,
        "positions": edit.positions.to_string(), "nodes": names,
    });
    let mut run = Run::start(app, manifest, Some(&settings))?;
    let mut bar = app.bar("interactions");
    let mut session = run.session(lab, &mut bar)?;
    let losses = inter::measure(&mut session, &edit.nodes, design, edit.ablation, &edit.positions)?;
    let base = lab.base(app, &mut session)?;
    let cost = run.cost(&session, &base);
    let journal = session.into_journal();
    drop(bar);
    let (fit, pairs) = fitted(&losses, args.degree)?;
    let loss = format!("-{}", lab.metric.name());
    let mut report = InteractionsReport::new(loss, &names, &losses, &fit, &pairs, false);
    (report.base, report.cost) = (Some(base.clone()), Some(cost));
    run.finish("interactions", &report, journal)?;
    run.print_head(&base)?;
    app.printer.note(&format!(
        "loss = {}: a term above 0 = ablating these nodes together hurts; {} of 2^{} subsets",
        report.loss,
        report.runs,
        names.len()
    ))?;
    print(app, &report, args.top)?;
    Ok(Outcome::Done)
}

fn fitted(losses: &Losses, degree: usize) -> Result<(Fit, Vec<inter::Pair>)> {
    let fit = inter::fit(losses, degree)?;
    let pairs = inter::pairs(losses, &fit)?;
    Ok((fit, pairs))
}

/// Rows of which the largest are printed, in the order they have.
fn largest<R>(rows: &[R], top: Option<usize>, size: impl Fn(&R) -> f64) -> Vec<&R> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| size(&rows[b]).abs().total_cmp(&size(&rows[a]).abs()).then(a.cmp(&b)));
    order.truncate(top.unwrap_or(usize::MAX));
    order.sort_unstable();
    order.into_iter().map(|i| &rows[i]).collect()
}

/// Nodes of a term; of the constant, `1`.
fn name(nodes: &[String]) -> String {
    if nodes.is_empty() { "1".to_owned() } else { nodes.join(" ") }
}

fn error(std_err: Option<f64>) -> String {
    std_err.map_or("-".to_owned(), number)
}

fn print(app: &App<'_>, report: &InteractionsReport, top: Option<usize>) -> Result<()> {
    let out = &app.printer;
    let mut table = Table::new(&["term", ">coefficient", ">std_err"]);
    for term in largest(&report.terms, top, |t| t.coefficient) {
        table.row([name(&term.nodes), number(term.coefficient), error(term.std_err)]);
    }
    out.table(&table)?;
    let explained =
        report.explained.map_or(String::new(), |x| format!("; {} of the variance", percent(100.0 * x)));
    out.note(&format!(
        "residual {} (sum of squares over {} runs){explained}",
        number(report.residual),
        report.runs
    ))?;
    if !report.pairs.is_empty() {
        out.line("")?;
        let mut table =
            Table::new(&["pair", ">alone", ">alone", ">naive", ">std_err", ">joint", ">std_err", "shows"]);
        for pair in largest(&report.pairs, top, |p| p.joint) {
            let backup = pair.backup.as_ref().map_or(String::new(), |b| format!(" ({b})"));
            table.row([
                name(&pair.nodes),
                number(pair.alone[0]),
                number(pair.alone[1]),
                number(pair.naive),
                error(pair.std_err),
                number(pair.joint),
                error(pair.joint_std_err),
                format!("{}{backup}", pair.shows),
            ]);
        }
        out.table(&table)?;
    }
    print_indices(app, report, top)
}

fn print_indices(app: &App<'_>, report: &InteractionsReport, top: Option<usize>) -> Result<()> {
    let Some(indices) = &report.indices else {
        return app.printer.note("no Möbius terms and Shapley values: they need all subsets, that is at most 12 nodes without --runs");
    };
    app.printer.line("")?;
    let of = |rows: &[report::IndexRow], nodes: &[String]| {
        rows.iter().find(|row| row.nodes == nodes).map_or(String::new(), |row| number(row.value))
    };
    let (taylor, faith) =
        (format!(">Shapley-Taylor {}", indices.order), format!(">Faith-Shap {}", indices.order));
    let mut table = Table::new(&["nodes", ">Möbius", ">Shapley", &taylor, &faith]);
    for row in largest(&indices.shapley_taylor, top, |r| r.value) {
        table.row([
            name(&row.nodes),
            of(&indices.mobius, &row.nodes),
            of(&indices.shapley, &row.nodes),
            number(row.value),
            of(&indices.faith_shap, &row.nodes),
        ]);
    }
    app.printer.table(&table)
}
