//! `ablate backups`: which nodes do more once a group is knocked out.

use ablate::backups::{Backups, Knockout, backups};
use ablate::effects::ablate_nodes;
use ablate::graph::stats;
use ablate::report::{BackupsReport, Base, IntervalPart};
use ablate::signals::Estimated;
use ablate::{Ablation, Error, Result};
use clap::Args;

use crate::app::App;
use crate::args::{DataArgs, EditArgs};
use crate::lab::Lab;
use crate::outcome::Outcome;
use crate::run::{self, Run};
use crate::table::{Table, number};

/// Knock out a group and find the nodes that do more without it
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    ablate backups builtin:induction data.jsonl --group a2.h1\n  \
    ablate backups builtin:induction data.jsonl --group a2.h1 --ablation zero --json backups.json")]
pub(crate) struct BackupsArgs {
    /// Folder, .gguf file, Hugging Face repository or builtin:NAME
    model: String,
    #[command(flatten)]
    data: DataArgs,
    /// The nodes that are ablated, all together
    #[arg(long, value_name = "SET")]
    group: String,
    /// How they are ablated: zero, mean, mean-positional, resample or resample-other
    #[arg(long, value_name = "SOURCE", default_value = "mean")]
    ablation: String,
    /// At which positions they are: all, last, indices, or the data's named positions
    #[arg(long, value_name = "POSITIONS", default_value = "all")]
    positions: String,
    /// What a node's output becomes where its direct effect is measured
    #[arg(long, value_name = "SOURCE", default_value = "resample")]
    direct: String,
    /// Whose direct effects are compared: heads, mlps, all, or names and globs
    #[arg(long, value_name = "SET", default_value = "heads")]
    nodes: String,
    /// A backup grows by more than this share of the clean metric
    #[arg(long, value_name = "SHARE", default_value_t = 0.02)]
    bound: f64,
    /// Rows printed, those that grow or shrink most; the result file has all
    #[arg(long, value_name = "K", default_value_t = 12)]
    top: usize,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &BackupsArgs) -> Result<Outcome> {
    if !(args.bound.is_finite() && args.bound >= 0.0) {
        return Err(Error::argument(
            format!("--bound {} is no share", args.bound),
            "0.02 is 2 % of the metric",
        ));
    }
    let lab = Lab::open(app, &args.model, &args.data.data, &args.data.rows)?;
    let edit_of = |nodes: &str, ablation: &str, positions: &str| EditArgs {
        nodes: nodes.into(),
        ablation: Some(ablation.into()),
        scale: 1.0,
        positions: positions.into(),
    };
    let edit = lab.edit(app, &edit_of(&args.group, &args.ablation, &args.positions), "mean")?;
    let direct = Ablation::parse(&args.direct, app.globals.seed)?;
    lab.check_counterfactuals(direct)?;
    let nodes = lab.graph.parse_nodes(&args.nodes)?;
    let knockout = Knockout {
        graph: lab.graph,
        group: edit.nodes.clone(),
        ablation: edit.ablation,
        positions: edit.positions.clone(),
        direct,
        seed: app.globals.seed,
    };
    let manifest = lab.manifest(app, Some(&edit));
    if app.globals.explain {
        let plan = ablate_nodes(&edit.nodes, edit.ablation, &edit.positions);
        return run::explain_with(app, &lab, manifest, &[plan], 2 * nodes.len(), true);
    }
    let settings = serde_json::json!({
        "name": "backups", "group": args.group, "ablation": args.ablation, "positions": args.positions,
        "direct": args.direct, "nodes": args.nodes,
    });
    let mut run = Run::start(app, manifest, Some(&settings))?;
    let mut bar = app.bar("backups");
    let mut session = run.session(&lab, &mut bar)?;
    let found = backups(&mut session, &nodes, &knockout)?;
    let base = lab.base(app, &mut session)?;
    let journal = session.into_journal();
    drop(bar);
    let report = report(app, args, &lab, &knockout, &found, base);
    run.finish("backups", &report, journal)?;
    run.print_head(&report.base)?;
    print(app, args, &report)?;
    Ok(Outcome::Done)
}

fn report(
    app: &App<'_>,
    args: &BackupsArgs,
    lab: &Lab,
    knockout: &Knockout,
    found: &Backups,
    base: Base,
) -> BackupsReport {
    let random = ablate::graph::Random::new(app.globals.seed, "backups");
    let bound = args.bound * base.clean.abs();
    BackupsReport {
        group: knockout.group.iter().map(ToString::to_string).collect(),
        metric: lab.metric.name().to_owned(),
        without: Estimated::of(&found.without, random).into(),
        direct: stats::mean(&found.direct).unwrap_or_default(),
        bound,
        rows: BackupsReport::rows_of(found, bound),
        base,
    }
}

fn print(app: &App<'_>, args: &BackupsArgs, report: &BackupsReport) -> Result<()> {
    let shown = |x: &IntervalPart| [number(x.value), interval(x)];
    let mut table = Table::new(&["what", ">value", "95 % interval"]);
    let [value, range] = shown(&report.without);
    table.row([format!("{} without {}", report.metric, report.group.join(", ")), value, range]);
    table.row(["lost".to_owned(), number(report.base.clean - report.without.value), String::new()]);
    table.row(["the group's direct effect".to_owned(), number(report.direct), String::new()]);
    app.printer.table(&table)?;
    app.printer.line("")?;
    let mut table = Table::new(&["node", ">before", ">after", ">growth", "95 % interval", "verdict"]);
    let mut rows: Vec<_> = report.rows.iter().collect();
    rows.sort_by(|a, b| b.growth.value.abs().total_cmp(&a.growth.value.abs()));
    for row in rows.iter().take(args.top) {
        let [growth, range] = shown(&row.growth);
        let verdict = if row.backup { "backup" } else { "" };
        table.row([
            row.name.clone(),
            number(row.before.value),
            number(row.after.value),
            growth,
            range,
            verdict.to_owned(),
        ]);
    }
    app.printer.table(&table)?;
    let n = report.rows.iter().filter(|r| r.backup).count();
    app.printer.note(&format!(
        "{n} of {} nodes are backups: they grow by more than {}",
        report.rows.len(),
        number(report.bound)
    ))
}

/// An interval in brackets.
pub(super) fn interval(x: &IntervalPart) -> String {
    format!("[{}, {}]", number(x.interval[0]), number(x.interval[1]))
}
