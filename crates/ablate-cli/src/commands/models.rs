//! `ablate models`: what can be loaded.

use ablate::Result;
use ablate::manifest::Conventions;
use ablate::model::{arch, builtin};
use ablate::report::{ModelRow, ModelsReport};
use clap::Args;

use crate::app::App;
use crate::outcome::Outcome;
use crate::run::Run;
use crate::table::Table;

/// List built-in models and the architectures that can be loaded
///
/// A MODEL is a folder with config.json and safetensors, a .gguf file, a Hugging Face repository, or builtin:NAME.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  ablate models")]
pub(crate) struct ModelsArgs {}

/// Runs it.
pub(crate) fn run(app: &App<'_>, _args: &ModelsArgs) -> Result<Outcome> {
    let report = ModelsReport {
        builtin: builtin::list()
            .iter()
            .map(|m| ModelRow { name: format!("builtin:{}", m.name), about: m.about.to_owned() })
            .collect(),
        architectures: arch::known().into_iter().map(str::to_owned).collect(),
    };
    let mut run = Run::start(app, app.manifest(None, Conventions::default()), None)?;
    run.finish("models", &report, None)?;
    let mut table = Table::new(&["model", "what it is"]);
    for row in &report.builtin {
        table.row([row.name.as_str(), &row.about]);
    }
    app.printer.table(&table)?;
    app.printer.note(&format!("architectures read from folders: {}", report.architectures.join(", ")))?;
    Ok(Outcome::Done)
}
