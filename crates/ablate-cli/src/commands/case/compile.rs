//! `ablate case compile`: a case's compiled model as a folder.

use std::path::PathBuf;

use ablate::Result;
use ablate::case::{Alignment, handover};
use ablate::manifest::Conventions;
use ablate::run::Passes;
use clap::Args;
use serde_json::json;

use crate::app::App;
use crate::outcome::Outcome;
use crate::run::{self, Run};
use crate::table::Table;

/// Write a case's compiled model, with data and its true circuit beside it
///
/// The folder is a MODEL for every command. `truth.json` is the true circuit's edges, `nodes.json` its nodes, `data.jsonl`
/// pairs of inputs whose outputs differ, `labels.json` what each direction of the stream, token and output stands for.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  ablate case compile 3 -o case3\n  ablate case compile program.rasp -o mine -n 200"
)]
pub(crate) struct CompileArgs {
    /// The case: an id, or a .rasp file
    case: String,
    /// The folder to write
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Number of data rows
    #[arg(short, long, value_name = "N", default_value_t = 100)]
    n: usize,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &CompileArgs) -> Result<Outcome> {
    let case = super::find(&args.case)?;
    let model = case.model(app.globals.dtype)?;
    let manifest = app.manifest(Some(&model), Conventions::default());
    if app.globals.explain {
        app.printer.note(&format!("case {}: {}", case.id(), case.task()))?;
        return run::explain_passes(app, Some(&model), manifest, Passes::default(), None);
    }
    let mut run = Run::start(app, manifest, None)?;
    let alignment = Alignment::identity(case.compiled());
    let meta = json!({"case": case.id(), "compiled": true});
    let written = handover::write(&args.output, &case, &model, &alignment, &meta, args.n)?;
    run.finish("compiled", &json!({"case": case.id(), "files": written}), None)?;
    let mut table = Table::new(&["file", "what it is"]);
    for (file, what) in handover::FILES {
        table.row([args.output.join(file).display().to_string(), what.to_owned()]);
    }
    app.printer.table(&table)?;
    let c = model.config();
    app.printer.note(&format!(
        "{} layers, {} heads of width {}, stream {}, MLP {}",
        c.n_layers, c.n_heads, c.d_head, c.d_model, c.d_mlp
    ))?;
    Ok(Outcome::Done)
}
