//! `ablate sweep`: the effect of every node, one at a time.

use ablate::Result;
use ablate::effects::{self, ablate_nodes};
use ablate::graph::{Plan, Scores};
use ablate::report::{self, node_scores};
use clap::Args;
use serde_json::json;

use crate::app::App;
use crate::args::{DataArgs, EditArgs};
use crate::lab::Lab;
use crate::outcome::Outcome;
use crate::plot;
use crate::run::{self, Run};
use crate::table::{Table, number};

/// Measure the effect of ablating each node alone
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    ablate sweep builtin:induction data.jsonl --ablation resample --top 5 --plot --json heads.json\n  \
    ablate sweep builtin:induction data.jsonl --nodes all --positions B1,end --json all.json")]
pub(crate) struct SweepArgs {
    /// Folder, .gguf file, Hugging Face repository or builtin:NAME
    model: String,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    edit: EditArgs,
    /// Keep the metric of every example in the result file
    #[arg(long)]
    per_example: bool,
    /// Rows printed, those with the largest |score|; the result file has all
    #[arg(long, value_name = "K")]
    top: Option<usize>,
    /// Draw the scores by layer and head
    #[arg(long)]
    plot: bool,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &SweepArgs) -> Result<Outcome> {
    let lab = Lab::open(app, &args.model, &args.data.data, &args.data.rows)?;
    let edit = lab.edit(app, &args.edit, "mean-positional")?;
    let manifest = lab.manifest(app, Some(&edit));
    if app.globals.explain {
        let plans: Vec<Plan> =
            edit.nodes.iter().map(|&n| ablate_nodes(&[n], edit.ablation, &edit.positions)).collect();
        return run::explain(app, &lab, manifest, &plans, plans.len());
    }
    let method = json!({
        "name": "sweep", "ablation": edit.ablation.name(), "scale": edit.ablation.scale,
        "positions": edit.positions.to_string(), "nodes": args.edit.nodes,
    });
    let mut run = Run::start(app, manifest, Some(&method))?;
    let mut bar = app.bar("sweep");
    let mut session = run.session(&lab, &mut bar)?;
    let effects = effects::sweep(&mut session, &edit.nodes, edit.ablation, &edit.positions)?;
    let base = lab.base(app, &mut session)?;
    let cost = run.cost(&session, &base);
    let journal = session.into_journal();
    drop(bar);
    let scores = node_scores(&lab.graph, &edit.nodes, &effects, args.per_example)?;
    if scores.rows().iter().all(|row| row.score.abs() <= 2.0 * row.std_err) {
        app.warn("no effect is larger than twice its standard error");
    }
    let file = report::scores_file(
        scores,
        method,
        lab.metric.name(),
        &base,
        &cost,
        &app.warnings(),
        run.manifest(),
    )?;
    run.write(&file.to_value(), &file.write(), journal)?;
    run.print_head(&base)?;
    print(app, &file.scores, args.top)?;
    if args.plot {
        plot::scores(app, &lab.graph, &file.scores)?;
    }
    Ok(Outcome::Done)
}

fn print(app: &App<'_>, scores: &Scores, top: Option<usize>) -> Result<()> {
    let mut table = Table::new(&["name", ">metric", ">score", ">std_err", ">n"]);
    let ranked = scores.ranked(true);
    for row in ranked.iter().take(top.unwrap_or(usize::MAX)) {
        table.row([
            scores.name(row),
            number(row.metric),
            number(row.score),
            number(row.std_err),
            row.n.to_string(),
        ]);
    }
    app.printer.table(&table)?;
    match top {
        Some(top) if top < ranked.len() => app.printer.note(&format!("{} more", ranked.len() - top)),
        _ => Ok(()),
    }
}
