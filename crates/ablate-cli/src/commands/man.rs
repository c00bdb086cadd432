//! `ablate man`: manual pages.

use std::path::PathBuf;

use ablate::manifest::Conventions;
use ablate::{Error, Result, files};
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;
use serde_json::json;

use crate::app::App;
use crate::cli::Cli;
use crate::outcome::Outcome;
use crate::run::Run;
use crate::table::Table;

/// Write manual pages: one of the program, one of each command
///
/// With them in a folder `man1` below a folder of MANPATH (such as ~/.local/share/man/man1), `man ablate-sweep` shows one.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  ablate man -o man1")]
pub(crate) struct ManArgs {
    /// The folder to write; made if it is not there
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &ManArgs) -> Result<Outcome> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    collect(&root, "ablate", &mut pages)?;
    let mut run = Run::start(app, app.manifest(None, Conventions::default()), None)?;
    if !app.globals.explain {
        let made = std::fs::create_dir_all(&args.output);
        made.map_err(|source| Error::Write { path: args.output.clone(), source })?;
        for (name, _, page) in &pages {
            files::write_atomic_bytes(&args.output.join(name), page)?;
        }
    }
    let rows: Vec<_> = pages.iter().map(|(name, about, _)| json!({"file": name, "about": about})).collect();
    run.finish("man", &json!({"folder": args.output.display().to_string(), "pages": rows}), None)?;
    let mut table = Table::new(&["page", "what it is"]);
    for (name, about, _) in &pages {
        table.row([name, about]);
    }
    app.printer.table(&table)?;
    Ok(Outcome::Done)
}

/// A page: its file, its subject, its text.
type Page = (String, String, Vec<u8>);

/// The pages of a command and of its subcommands.
fn collect(command: &Command, name: &str, pages: &mut Vec<Page>) -> Result<()> {
    let file = format!("{name}.1");
    let mut page = Vec::new();
    let man = Man::new(command.clone()).title(name.to_uppercase()).manual("ablate");
    man.render(&mut page).map_err(|source| Error::Write { path: PathBuf::from(&file), source })?;
    let about = command.get_about().map_or_else(String::new, ToString::to_string);
    pages.push((file, about, page));
    for inner in command.get_subcommands() {
        collect(inner, &format!("{name}-{}", inner.get_name()), pages)?;
    }
    Ok(())
}
