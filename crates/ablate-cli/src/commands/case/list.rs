//! `ablate case list`: the benchmark's cases.

use ablate::Result;
use ablate::case::Case;
use ablate::graph::Level;
use ablate::manifest::Conventions;
use ablate::report::{CaseRow, CasesReport};
use clap::Args;
use rayon::prelude::*;

use crate::app::App;
use crate::outcome::Outcome;
use crate::run::Run;
use crate::table::Table;

/// List the cases: task, vocabulary, length, and the compiled model with its true circuit
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  ablate case list\n  ablate case list 3 13 --json -")]
pub(crate) struct ListArgs {
    /// Cases, by id or as .rasp files; all of the benchmark unless given
    cases: Vec<String>,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &ListArgs) -> Result<Outcome> {
    let ids: Vec<String> =
        if args.cases.is_empty() { Case::ids().map(str::to_owned).collect() } else { args.cases.clone() };
    let cases: Vec<CaseRow> = ids.par_iter().map(|id| row(&super::find(id)?)).collect::<Result<_>>()?;
    let report = CasesReport { cases };
    let mut run = Run::start(app, app.manifest(None, Conventions::default()), None)?;
    run.finish("cases", &report, None)?;
    let columns =
        ["id", "task", ">tokens", ">length", "causal", "output", ">layers", ">heads", ">nodes", ">edges", ""];
    let mut table = Table::new(&columns);
    for c in &report.cases {
        let output =
            if c.output == "numerical" { "number".to_owned() } else { format!("{} classes", c.outputs) };
        table.row([
            c.id.clone(),
            shortened(&c.task),
            c.vocabulary.len().to_string(),
            c.length.to_string(),
            if c.causal { "yes" } else { "no" }.to_owned(),
            output,
            c.layers.to_string(),
            c.heads.to_string(),
            c.nodes.len().to_string(),
            c.edges.len().to_string(),
            if c.trivial { "trivial" } else { "" }.to_owned(),
        ]);
    }
    app.printer.table(&table)?;
    app.printer.note(
        "length counts BOS; nodes and edges are those that compute the program, read off the weights",
    )?;
    Ok(Outcome::Done)
}

fn row(case: &Case) -> Result<CaseRow> {
    let compiled = case.compiled();
    Ok(CaseRow {
        id: case.id().to_owned(),
        task: case.task().to_owned(),
        vocabulary: case.program().vocabulary.iter().map(ToString::to_string).collect(),
        length: compiled.n_ctx(),
        causal: compiled.causal,
        output: if case.categorical() { "categorical" } else { "numerical" }.to_owned(),
        outputs: compiled.d_out(),
        layers: compiled.n_layers(),
        heads: compiled.n_heads,
        d_head: compiled.key_size,
        d_model: compiled.d_model(),
        d_mlp: compiled.d_mlp,
        nodes: case.circuit(Level::Node)?.names(),
        edges: case.circuit(Level::Edge)?.names(),
        trivial: case.trivial(),
    })
}

/// At most 60 characters.
fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    let kept: String = text.chars().take(MOST - 1).collect();
    format!("{}…", kept.trim_end())
}
