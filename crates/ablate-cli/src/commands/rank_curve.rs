//! `ablate rank-curve`: nodes removed one after the other, the least harmful first.

use ablate::Result;
use ablate::curve::{self, CurveStep, Ranking};
use ablate::effects::ablate_nodes;
use ablate::graph::{Plan, stats};
use ablate::report::{CurveReport, CurveRow};
use clap::Args;
use serde_json::json;

use crate::app::App;
use crate::args::{DataArgs, EditArgs};
use crate::lab::Lab;
use crate::outcome::Outcome;
use crate::plot;
use crate::run::{self, Run};
use crate::table::{Table, number};

/// Remove nodes one after the other, the least harmful first, and measure after each
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  ablate rank-curve builtin:induction data.jsonl --ablation mean\n  \
    ablate rank-curve builtin:induction data.jsonl --nodes a0.*,a2.* --greedy --json curve.json")]
pub(crate) struct RankCurveArgs {
    /// Folder, .gguf file, Hugging Face repository or builtin:NAME
    model: String,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    edit: EditArgs,
    /// Rank again after every removal instead of once
    #[arg(long)]
    greedy: bool,
    /// Draw the curve
    #[arg(long)]
    plot: bool,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &RankCurveArgs) -> Result<Outcome> {
    let lab = Lab::open(app, &args.model, &args.data.data, &args.data.rows)?;
    let edit = lab.edit(app, &args.edit, "zero")?;
    let manifest = lab.manifest(app, Some(&edit));
    let (ranking, name) = if args.greedy { (Ranking::Greedy, "greedy") } else { (Ranking::Once, "once") };
    if app.globals.explain {
        let n = edit.nodes.len();
        let steps = (0..n).map(|i| curve::step_plan(&edit.nodes, i, edit.ablation, &edit.positions));
        let singles = edit.nodes.iter().map(|&node| ablate_nodes(&[node], edit.ablation, &edit.positions));
        let plans: Vec<Plan> = singles.chain(steps).collect();
        let count = if args.greedy { n * (n + 1) / 2 } else { 2 * n };
        return run::explain_with(app, &lab, manifest, &plans, count, args.greedy);
    }
    let settings = json!({
        "name": "rank-curve", "ranking": name, "ablation": edit.ablation.name(), "scale": edit.ablation.scale,
        "positions": edit.positions.to_string(), "nodes": args.edit.nodes,
    });
    let mut run = Run::start(app, manifest, Some(&settings))?;
    let mut bar = app.bar("rank-curve");
    let mut session = run.session(&lab, &mut bar)?;
    let steps = curve::rank_curve(&mut session, &edit.nodes, edit.ablation, &edit.positions, ranking)?;
    let base = lab.base(app, &mut session)?;
    let report = CurveReport {
        ranking: name.to_owned(),
        metric_name: lab.metric.name().to_owned(),
        steps: steps.iter().map(row).collect(),
        cost: run.cost(&session, &base),
        base,
    };
    let journal = session.into_journal();
    drop(bar);
    run.finish("trace", &report, journal)?;
    run.print_head(&report.base)?;
    print(app, &report)?;
    if args.plot {
        let values: Vec<f64> = report.steps.iter().map(|s| s.metric).collect();
        plot::curve(app, "the metric, step after step", &values)?;
    }
    Ok(Outcome::Done)
}

fn row(step: &CurveStep) -> CurveRow {
    let (metric, std_err) = stats::mean_and_std_err(&step.metrics).unwrap_or_default();
    CurveRow { removed: step.removed.to_string(), metric, std_err, n: step.metrics.len() }
}

fn print(app: &App<'_>, report: &CurveReport) -> Result<()> {
    let mut table = Table::new(&[">step", "removed", ">metric", ">std_err", ">n"]);
    for (i, row) in report.steps.iter().enumerate() {
        table.row([
            (i + 1).to_string(),
            row.removed.clone(),
            number(row.metric),
            number(row.std_err),
            row.n.to_string(),
        ]);
    }
    app.printer.table(&table)
}
