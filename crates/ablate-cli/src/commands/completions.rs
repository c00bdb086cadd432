//! `ablate completions`: completion scripts of shells.

use ablate::manifest::Conventions;
use ablate::{Error, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use crate::app::App;
use crate::cli::Cli;
use crate::outcome::Outcome;
use crate::run::Run;

/// Print a completion script for a shell
///
/// bash: ablate completions bash > ~/.local/share/bash-completion/completions/ablate
/// · zsh: a file named _ablate in a folder of $fpath
/// · fish: ~/.config/fish/completions/ablate.fish
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  ablate completions bash\n  ablate completions zsh")]
pub(crate) struct CompletionsArgs {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL", value_enum, hide_possible_values = true)]
    shell: Shell,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &CompletionsArgs) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ablate", &mut script);
    let script = String::from_utf8(script)
        .map_err(|e| Error::argument(format!("internal: a script that is no text: {e}"), "report this"))?;
    let mut run = Run::start(app, app.manifest(None, Conventions::default()), None)?;
    run.finish("completions", &json!({"shell": args.shell.to_string(), "script": script}), None)?;
    app.printer.line(script.trim_end())?;
    Ok(Outcome::Done)
}
