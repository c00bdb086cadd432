//! `ablate case score`: how well methods find circuits that are known.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ablate::case::score::{self, Score};
use ablate::case::{Alignment, Case};
use ablate::manifest::Conventions;
use ablate::model::Model;
use ablate::run::Passes;
use ablate::{Error, Observer, Result, files};
use clap::Args;
use serde_json::json;

use crate::app::App;
use crate::outcome::Outcome;
use crate::run::{self, Run};
use crate::table::Table;

/// Score discovery methods on cases: do they find the edges and nodes of the true circuit?
///
/// AUROC is the chance that a true edge (or node) has a larger |score| than a false one; precision is the share of true
/// ones among as many as the circuit has. The query, key and value inputs of a head count as one.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  ablate case score --method acdc,eap --cases 3,13\n  \
    ablate case score --method eap-ig-inputs,random --cases 3,4,13,19,38 --markdown methods.md")]
pub(crate) struct ScoreArgs {
    /// Methods, or all
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "all")]
    method: Vec<String>,
    /// Cases by id, or all that are not trivial
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "3,4,5,13,19,24,33,38")]
    cases: Vec<String>,
    /// A folder with a trained model of each case under its id, instead of compiled models
    #[arg(long, value_name = "DIR")]
    trained: Option<PathBuf>,
    /// Pairs of inputs
    #[arg(short, long, value_name = "N", default_value_t = 100)]
    n: usize,
    /// Write the table of methods as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &ScoreArgs) -> Result<Outcome> {
    let methods = methods(&args.method)?;
    let cases = cases(&args.cases)?;
    if let Some(path) = &args.markdown {
        files::check_writable(path)?;
    }
    let manifest = app.manifest(None, Conventions::default());
    if app.globals.explain {
        app.printer.note(&format!("{} methods on {} cases", methods.len(), cases.len()))?;
        let mut all = Passes::default();
        for case in &cases {
            let (model, _) = subject(app, args, case)?;
            for method in &methods {
                let (seed, threads) = (app.globals.seed, app.threads());
                all = all.then(score::estimate(case, &model, method, args.n, seed, threads)?);
            }
        }
        return run::explain_passes(app, None, manifest, all, None);
    }
    let mut run = Run::start(app, manifest, None)?;
    let mut bar = app.bar("score");
    bar.expect(cases.len() * methods.len());
    let (mut scores, mut silent): (Vec<Score>, Vec<String>) = (Vec::new(), Vec::new());
    for case in &cases {
        let (model, alignment) = subject(app, args, case)?;
        for method in &methods {
            app.check_stop()?;
            match score::score(case, &model, &alignment, method, args.n, app.globals.seed) {
                Ok(Some(found)) => scores.push(found),
                Ok(None) => silent.push(format!("{method} on case {}", case.id())),
                // what the other methods found is not lost
                Err(e) => app.warn(format!("case {}, {method}: {e}", case.id())),
            }
            bar.advance(1, 0);
        }
    }
    drop(bar);
    let why = "needs classes, of which one is right; the case's outputs are numbers";
    if scores.is_empty() {
        let message = match silent.first() {
            Some(first) => format!("nothing could be scored: {first} {why}"),
            None => "nothing could be scored".to_owned(),
        };
        return Err(Error::argument(message, "choose other methods (exact, acdc, eap-ig-inputs) or cases"));
    }
    if let Some(first) = silent.first() {
        app.printer.status(&format!("{} not scored: {first} {why}", silent.len()));
    }
    run.finish("case-scores", &json!({"scores": scores}), None)?;
    print(app, &scores, cases.len())?;
    let table = summary(&scores);
    if let Some(path) = &args.markdown {
        files::write_atomic(path, &markdown(&table))?;
    }
    Ok(Outcome::Done)
}

/// The model of a case that is scored, and where the case's nodes are in it.
fn subject(app: &App<'_>, args: &ScoreArgs, case: &Case) -> Result<(Model, Alignment)> {
    Ok(match &args.trained {
        Some(folder) => (app.load(&folder.join(case.id()).display().to_string())?, case.alignment()),
        None => (case.model(app.globals.dtype)?, Alignment::identity(case.compiled())),
    })
}

fn methods(names: &[String]) -> Result<Vec<&'static str>> {
    if names == ["all"] {
        return Ok(score::methods().collect());
    }
    let find = |name: &String| {
        let found = score::methods().find(|m| m == name);
        found.ok_or_else(|| Error::unknown("method", name, score::methods()))
    };
    names.iter().map(find).collect()
}

/// The cases asked for.
fn cases(names: &[String]) -> Result<Vec<Case>> {
    if names != ["all"] {
        return names.iter().map(|id| super::find(id)).collect();
    }
    let all: Vec<Case> = Case::ids().map(super::find).collect::<Result<_>>()?;
    Ok(all.into_iter().filter(|c| !c.trivial()).collect())
}

fn print(app: &App<'_>, scores: &[Score], cases: usize) -> Result<()> {
    const FEW: usize = 4;
    if cases <= FEW {
        let columns =
            ["case", "method", ">edge AUROC", ">signed", ">node AUROC", ">edge precision", ">true edges"];
        let mut table = Table::new(&columns);
        for s in scores {
            table.row([
                s.case.clone(),
                s.method.clone(),
                text(s.edge_auroc),
                text(s.edge_auroc_signed),
                text(s.node_auroc),
                text(s.edge_precision),
                format!("{} of {}", s.edges.0, s.edges.1),
            ]);
        }
        return app.printer.table(&table);
    }
    let mut table = Table::new(&HEAD);
    for row in summary(scores) {
        table.row(row);
    }
    app.printer.note("medians over cases; the result file (--json) has every case")?;
    app.printer.table(&table)
}

const HEAD: [&str; 8] =
    ["method", ">cases", ">edge AUROC", ">worst", ">signed", ">node AUROC", ">edge precision", ">seconds"];

/// One row a method, the best median first.
fn summary(scores: &[Score]) -> Vec<[String; 8]> {
    let mut by: BTreeMap<&str, Vec<&Score>> = BTreeMap::new();
    for s in scores {
        by.entry(&s.method).or_default().push(s);
    }
    let mut rows: Vec<(f64, [String; 8])> = by
        .into_iter()
        .map(|(method, all)| {
            let of = |f: &dyn Fn(&Score) -> Option<f64>| median(all.iter().filter_map(|s| f(s)).collect());
            let edge = of(&|s| s.edge_auroc);
            let worst = all.iter().filter_map(|s| s.edge_auroc).reduce(f64::min);
            let row = [
                method.to_owned(),
                all.len().to_string(),
                text(edge),
                text(worst),
                text(of(&|s| s.edge_auroc_signed)),
                text(of(&|s| s.node_auroc)),
                text(of(&|s| s.edge_precision)),
                text(of(&|s| Some(s.seconds))),
            ];
            (edge.unwrap_or(-1.0), row)
        })
        .collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1[0].cmp(&b.1[0])));
    rows.into_iter().map(|(_, row)| row).collect()
}

fn text(x: Option<f64>) -> String {
    x.map_or("-".to_owned(), |x| format!("{x:.3}"))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    match n {
        0 => None,
        _ if n % 2 == 1 => Some(values[n / 2]),
        _ => Some(f64::midpoint(values[n / 2 - 1], values[n / 2])),
    }
}

/// The summary as a table of Markdown.
fn markdown(rows: &[[String; 8]]) -> String {
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(HEAD.iter().map(|c| c.trim_start_matches('>')).collect());
    text.push_str(&line(HEAD.iter().map(|c| if c.starts_with('>') { "---:" } else { "---" }).collect()));
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}
