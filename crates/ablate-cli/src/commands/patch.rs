//! `ablate patch`: activation patching by layer and position or head.

use ablate::graph::{Positions, stats};
use ablate::grid::{self, Axis, Cell, Direction, GridSite};
use ablate::report::{GridReport, GridRow};
use ablate::{Error, Result};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::app::App;
use crate::args::DataArgs;
use crate::lab::Lab;
use crate::outcome::Outcome;
use crate::plot::{self, Line};
use crate::run::{self, Run};
use crate::table::{Table, number};

/// Patch activations between the clean and the corrupt run, over a grid of places
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  ablate patch builtin:induction data.jsonl --site resid-pre --by layer,position\n  \
    ablate patch builtin:induction data.jsonl --site head-out --by layer,head --direction noise"
)]
pub(crate) struct PatchArgs {
    /// Folder, .gguf file, Hugging Face repository or builtin:NAME
    model: String,
    #[command(flatten)]
    data: DataArgs,
    /// resid-pre, resid-mid, attn-out, mlp-out, head-out, q, k, v or pattern
    #[arg(long, value_name = "SITE")]
    site: String,
    /// The grid: layer,position or layer,head
    #[arg(long, value_name = "AXES", default_value = "layer,position")]
    by: By,
    /// The positions of the grid: indices such as 0,2, or the data's names such as S2,end; all unless given
    #[arg(long, value_name = "POSITIONS")]
    positions: Option<String>,
    /// denoise = clean values into the corrupt run; noise = corrupt values into the clean run
    #[arg(long, value_name = "DIRECTION", default_value = "denoise")]
    direction: Way,
    /// Draw the grid
    #[arg(long)]
    plot: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    #[value(name = "layer,position")]
    Position,
    #[value(name = "layer,head")]
    Head,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    Denoise,
    Noise,
}

impl Way {
    fn direction(self) -> Direction {
        match self {
            Self::Denoise => Direction::Denoise,
            Self::Noise => Direction::Noise,
        }
    }
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &PatchArgs) -> Result<Outcome> {
    let site = GridSite::parse(&args.site)?;
    let lab = Lab::open(app, &args.model, &args.data.data, &args.data.rows)?;
    if !lab.rows.has_corrupt() {
        return Err(Error::argument(
            "patching needs the corrupt prompt of every row",
            "add `corrupt` to the data",
        ));
    }
    let config = lab.model.config();
    let axis = axis(&lab, args)?;
    let manifest = lab.manifest(app, None);
    if app.globals.explain {
        let plans = grid::plans(config, site, args.direction.direction(), &axis)?;
        return run::explain(app, &lab, manifest, &plans, plans.len());
    }
    let by = if args.by == By::Head { "head" } else { "position" };
    let way = if args.direction == Way::Noise { "noise" } else { "denoise" };
    let settings = json!({"name": "patch", "site": site.name(), "by": by, "direction": way, "positions": args.positions});
    let mut run = Run::start(app, manifest, Some(&settings))?;
    let mut bar = app.bar("patch");
    let mut session = run.session(&lab, &mut bar)?;
    let cells = grid::patch_grid(&mut session, config, site, args.direction.direction(), &axis)?;
    let base = lab.base(app, &mut session)?;
    let report = GridReport {
        site: site.name().to_owned(),
        direction: way.to_owned(),
        by: vec!["layer".to_owned(), by.to_owned()],
        metric: lab.metric.name().to_owned(),
        rows: cells.iter().map(|cell| row(cell, &axis)).collect(),
        cost: run.cost(&session, &base),
        base,
    };
    let journal = session.into_journal();
    drop(bar);
    run.finish("grid", &report, journal)?;
    run.print_head(&report.base)?;
    print(app, &report, &axis)?;
    if args.plot {
        draw(app, &report, &axis)?;
    }
    Ok(Outcome::Done)
}

fn axis(lab: &Lab, args: &PatchArgs) -> Result<Axis> {
    match (args.by, args.positions.as_deref()) {
        (By::Head, None) => Ok(Axis::Head(lab.model.config().n_heads)),
        (By::Head, Some(_)) => Err(Error::argument(
            "--positions has no use with --by layer,head",
            "a grid by head patches all positions: take --by layer,position, or leave --positions out",
        )),
        (By::Position, None) => Ok(Axis::positions(&lab.rows.batch)?),
        (By::Position, Some(text)) => Ok(match lab.positions(text)? {
            Positions::All => Axis::positions(&lab.rows.batch)?,
            Positions::Last => Axis::Position(vec![Positions::Last]),
            Positions::At(at) => Axis::Position(at.into_iter().map(|p| Positions::At(vec![p])).collect()),
            Positions::Named(names) => {
                Axis::Position(names.into_iter().map(|n| Positions::Named(vec![n])).collect())
            }
        }),
    }
}

fn row(cell: &Cell, axis: &Axis) -> GridRow {
    let (score, std_err) = stats::mean_and_std_err(&cell.scores).unwrap_or_default();
    let label = axis.label(cell.column);
    let position = label.parse::<u64>().map_or_else(|_| Value::from(label.as_str()), Value::from);
    let by_head = matches!(axis, Axis::Head(_));
    GridRow {
        layer: cell.layer,
        position: (!by_head).then_some(position),
        head: by_head.then_some(cell.column),
        metric: stats::mean(&cell.metrics).unwrap_or_default(),
        score,
        std_err,
        n: cell.scores.len(),
    }
}

/// Two strips a layer.
fn draw(app: &App<'_>, report: &GridReport, axis: &Axis) -> Result<()> {
    let line = |rows: &[GridRow]| Line { cells: rows.iter().map(|r| Some(r.score)).collect(), apart: None };
    let lines: Vec<Line> = report.rows.chunks(axis.len().max(1)).map(line).collect();
    let across = if matches!(axis, Axis::Head(_)) { "heads across" } else { "positions across" };
    plot::strips(app, across, "left above 0, right below", &lines)
}

/// Scores, a line a layer.
fn print(app: &App<'_>, report: &GridReport, axis: &Axis) -> Result<()> {
    let kind = if matches!(axis, Axis::Head(_)) { "h" } else { "@" };
    let labels: Vec<String> = (0..axis.len()).map(|i| format!(">{kind}{}", axis.label(i))).collect();
    let columns: Vec<&str> = std::iter::once(">layer").chain(labels.iter().map(String::as_str)).collect();
    let mut table = Table::new(&columns);
    for line in report.rows.chunks(axis.len().max(1)) {
        let layer = line.first().map_or(0, |row| row.layer).to_string();
        table.row(std::iter::once(layer).chain(line.iter().map(|row| number(row.score))));
    }
    let what = if report.direction == "noise" { "clean - metric" } else { "metric - corrupt" };
    app.printer.note(&format!(
        "{} by {}, {}: score = {what}",
        report.site,
        report.by.join(","),
        report.direction
    ))?;
    app.printer.table(&table)
}
