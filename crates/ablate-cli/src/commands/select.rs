//! `ablate select`: from scores to a circuit.

use std::path::PathBuf;

use ablate::graph::format::{self, CircuitFile, MibFile};
use ablate::graph::{Circuit, Level, Scores, select};
use ablate::manifest::Conventions;
use ablate::{Error, Result, files};
use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use crate::app::App;
use crate::args::Target;
use crate::commands::discover::FormatArg;
use crate::inputs;
use crate::outcome::Outcome;
use crate::run::Run;
use crate::table::{Table, number};

/// Choose a circuit from scores
#[derive(Clone, Debug, Args)]
#[command(
    group(ArgGroup::new("rule").required(true).args(["top", "threshold", "greedy"])),
    after_help = "Examples:\n  \
    ablate select scores.json --top 8 --absolute --prune -o circuit.json\n  \
    ablate select scores.json --threshold 0.05 -o large.json --svg circuit.svg\n  \
    ablate select scores.json --greedy 6 --absolute --format mib -o importances.json"
)]
pub(crate) struct SelectArgs {
    /// File of scores
    scores: PathBuf,
    /// The N highest scores
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// Scores of at least T
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    threshold: Option<f64>,
    /// N edges, the best first among those that lead to the logits through edges chosen before
    #[arg(long, value_name = "N")]
    greedy: Option<usize>,
    /// Rank by |score|
    #[arg(long)]
    absolute: bool,
    /// Leave out edges that are on no path from input to logits
    #[arg(long)]
    prune: bool,
    /// Write the circuit
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write --out as ablate (a circuit) or mib (importances.json: scores and circuit)
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "ablate", hide_possible_values = true)]
    format: FormatArg,
    /// Draw the circuit in Graphviz's language
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,
    /// Draw the circuit
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &SelectArgs) -> Result<Outcome> {
    for path in [&args.out, &args.dot, &args.svg].into_iter().flatten() {
        files::check_writable(path)?;
    }
    let input = inputs::read(&args.scores, None)?;
    let scores = input.scores.ok_or_else(|| {
        Error::argument(
            format!("{}: there are no scores in it", args.scores.display()),
            "give a result of `ablate sweep`, `ablate discover` or MIB's importances.json",
        )
    })?;
    let chosen = choose(args, &scores)?;
    let circuit = if args.prune { chosen.prune() } else { chosen.clone() };
    if circuit.is_empty() {
        let why = if chosen.is_empty() {
            "nothing was chosen"
        } else {
            "no chosen edge is on a path to the logits"
        };
        return Err(Error::argument(
            format!("the circuit is empty: {why}"),
            "choose more: a larger --top, or a lower --threshold",
        ));
    }
    let dangling = chosen.len() - chosen.prune().len();
    if dangling > 0 && !args.prune {
        app.warn(format!("{dangling} edges are on no path from input to logits (--prune leaves them out)"));
    }
    let manifest = app.manifest(None, Conventions::default());
    let mut file = CircuitFile::new(circuit.clone());
    file.manifest = ablate::report::value(&manifest)?;
    file.extra.insert("scores".into(), json!(args.scores.display().to_string()));
    let text = file.write();
    if let Some(path) = &args.out {
        let text = match args.format {
            FormatArg::Ablate => text.clone(),
            FormatArg::Mib => MibFile::from_scores(&scores, Some(&circuit))?.write(),
        };
        files::write_atomic(path, &text)?;
    }
    let run = Run::start(app, manifest, None)?;
    let mut value = file.to_value();
    value["members"] = members(&circuit, &scores);
    run.write(&value, &text, None)?;
    if let Some(path) = &args.dot {
        files::write_atomic(path, &format::dot(&circuit, Some(&scores))?)?;
    }
    if let Some(path) = &args.svg {
        files::write_atomic(path, &format::svg(&circuit, Some(&scores))?)?;
    }
    if app.globals.json != Some(Target::Stdout) {
        print(app, &circuit, &scores)?;
    }
    Ok(Outcome::Done)
}

fn choose(args: &SelectArgs, scores: &Scores) -> Result<Circuit> {
    Ok(match (args.top, args.threshold, args.greedy) {
        (Some(n), _, _) => select::top_n(scores, n, args.absolute)?,
        (_, Some(t), _) => select::threshold(scores, t, args.absolute)?,
        (_, _, Some(n)) => select::greedy(scores, n, args.absolute)?,
        _ => return Err(Error::argument("no rule to choose by", "give --top, --threshold or --greedy")),
    })
}

/// The circuit's members with their scores, the best first.
fn members(circuit: &Circuit, scores: &Scores) -> Value {
    let inside = scores.ranked(true).into_iter().filter(|r| circuit.contains(r.id));
    inside.map(|r| json!({"name": scores.name(r), "score": r.score})).collect()
}

fn print(app: &App<'_>, circuit: &Circuit, scores: &Scores) -> Result<()> {
    const SHOWN: usize = 20;
    let mut table = Table::new(&["member", ">score"]);
    let inside: Vec<_> = scores.ranked(true).into_iter().filter(|r| circuit.contains(r.id)).collect();
    for row in inside.iter().take(SHOWN) {
        table.row([scores.name(row), number(row.score)]);
    }
    app.printer.table(&table)?;
    let more = inside.len().saturating_sub(SHOWN);
    let kind = if circuit.level() == Level::Edge { "edges" } else { "nodes" };
    let nodes = circuit.to_nodes().len();
    let rest = if more > 0 { format!("{more} more; ") } else { String::new() };
    let of_nodes =
        if circuit.level() == Level::Edge { format!(", from {nodes} nodes") } else { String::new() };
    app.printer.note(&format!("{rest}{} of {} {kind}{of_nodes}", circuit.len(), circuit.of()))
}
