//! The commands, one file each, equal in shape: arguments, `run`, and how the result is printed.

pub(crate) mod backups;
pub(crate) mod capture;
pub(crate) mod case;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod compress;
pub(crate) mod demo;
pub(crate) mod discover;
pub(crate) mod heads;
pub(crate) mod inspect;
pub(crate) mod interactions;
pub(crate) mod man;
pub(crate) mod models;
pub(crate) mod patch;
pub(crate) mod path;
pub(crate) mod predict;
pub(crate) mod prune;
pub(crate) mod rank_curve;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod scrub;
pub(crate) mod select;
pub(crate) mod signals;
pub(crate) mod sweep;
pub(crate) mod task;
pub(crate) mod verify;
pub(crate) mod view;

use ablate::Result;

use crate::app::App;
use crate::cli::Command;
use crate::outcome::Outcome;

/// Runs a command.
pub(crate) fn run(app: &App<'_>, command: &Command) -> Result<Outcome> {
    match command {
        Command::Demo(args) => demo::run(app, args),
        Command::Models(args) => models::run(app, args),
        Command::Inspect(args) => inspect::run(app, args),
        Command::Predict(args) => predict::run(app, args),
        Command::Task(args) => task::run(app, args),
        Command::Sweep(args) => sweep::run(app, args),
        Command::RankCurve(args) => rank_curve::run(app, args),
        Command::Patch(args) => patch::run(app, args),
        Command::Path(args) => path::run(app, args),
        Command::Discover(args) => discover::run(app, args),
        Command::Select(args) => select::run(app, args),
        Command::Verify(args) => verify::run(app, args),
        Command::Prune(args) => prune::run(app, args),
        Command::Scrub(args) => scrub::run(app, args),
        Command::Compare(args) => compare::run(app, args),
        Command::Report(args) => report::run(app, args),
        Command::Interactions(args) => interactions::run(app, args),
        Command::Signals(args) => signals::run(app, args),
        Command::Backups(args) => backups::run(app, args),
        Command::Heads(args) => heads::run(app, args),
        Command::Capture(args) => capture::run(app, args),
        Command::Compress(args) => compress::run(app, args),
        Command::Case(args) => case::run(app, args),
        Command::Completions(args) => completions::run(app, args),
        Command::Man(args) => man::run(app, args),
        Command::Run(args) => run::run(app, args),
        Command::View(args) => view::run(app, args),
    }
}
