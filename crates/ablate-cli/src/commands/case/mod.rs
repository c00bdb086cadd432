//! `ablate case …`: ground truth, models whose circuit is known. One file a subcommand.

mod compile;
mod effects;
mod list;
mod score;
mod train;

use ablate::Result;
use ablate::case::Case;
use clap::{Args, Subcommand};

use crate::app::App;
use crate::outcome::Outcome;

/// Ground truth: compiled and trained models with known circuits
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  ablate case list\n  ablate case effects 3\n  ablate case compile 3 -o case3"
)]
pub(crate) struct CaseArgs {
    #[command(subcommand)]
    command: CaseCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum CaseCommand {
    List(list::ListArgs),
    Compile(compile::CompileArgs),
    Train(train::TrainArgs),
    Effects(effects::EffectsArgs),
    Score(score::ScoreArgs),
}

impl CaseArgs {
    /// As [`crate::tables::of`].
    pub(crate) fn tables(&self) -> &'static [&'static str] {
        match &self.command {
            CaseCommand::List(_) => &["cases"],
            CaseCommand::Compile(_) => &["files"],
            CaseCommand::Train(_) => &["epochs", "alignment"],
            CaseCommand::Effects(_) => &["rows", "lens"],
            CaseCommand::Score(_) => &["scores"],
        }
    }
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &CaseArgs) -> Result<Outcome> {
    match &args.command {
        CaseCommand::List(args) => list::run(app, args),
        CaseCommand::Compile(args) => compile::run(app, args),
        CaseCommand::Train(args) => train::run(app, args),
        CaseCommand::Effects(args) => effects::run(app, args),
        CaseCommand::Score(args) => score::run(app, args),
    }
}

/// The case that `spec` names: an id, or a `.rasp` file.
fn find(spec: &str) -> Result<Case> {
    let path = std::path::Path::new(spec);
    if path.extension().is_some_and(|e| e == "rasp") {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ablate::Error::Read { path: path.to_path_buf(), source })?;
        let name = path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        return Case::parse(&name, &text);
    }
    Case::find(spec)
}
