//! `ablate run`: an experiment, several commands as one file that can be run again.

mod explain;
mod file;
pub(crate) mod folder;
mod plan;
mod runner;

use std::path::{Path, PathBuf};

use ablate::model::DType;
use ablate::{Error, Result, files};
use clap::Args;

use self::file::{Experiment, Instead};
use self::folder::Folder;
use self::plan::{Places, Step};
use crate::app::App;
use crate::args::Target;
use crate::outcome::Outcome;
use crate::table::Table;

/// Run an experiment: several commands, described in a file
///
/// Results, what was printed, a manifest and a report go to a folder. What is done and unchanged is not run again; an
/// experiment that was stopped or killed goes on where it was. Exit status 1 if a check of a step failed.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  ablate run experiment.toml\n  ablate run experiment.toml -o again --explain\n  \
    ablate run experiment.toml --list"
)]
pub(crate) struct RunArgs {
    /// The experiment, a TOML file
    #[arg(value_name = "EXPERIMENT")]
    experiment: PathBuf,
    /// The run folder; beside the experiment's file and named after it unless given
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Run it on this model instead
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Make so many rows of data instead
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rows: Option<u64>,
    /// Check the file, and print the command of every step
    #[arg(long)]
    list: bool,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &RunArgs) -> Result<Outcome> {
    check(app)?;
    let instead = Instead { model: args.model.clone(), rows: args.rows };
    let experiment = Experiment::read(&args.experiment, &instead)?;
    let place = place(args)?;
    let places = Places::new(&experiment, &place)?;
    let steps = plan::plan(&experiment, &places)?;
    if args.list {
        return list(app, &steps);
    }
    check_files(&experiment, &places)?;
    if app.globals.explain {
        return explain::explain(app, &experiment, &place);
    }
    let target = match &app.globals.json {
        Some(Target::File(path)) => {
            files::check_writable(path)?;
            Some(Target::File(plan::absolute(path)?))
        }
        other => other.clone(),
    };
    // as the user would name it, and as it is found from inside
    let shown = args.output.clone().unwrap_or_else(|| default_place(&args.experiment));
    let folder = Folder::open(&place)?;
    enter(&place)?;
    runner::Runner::new(app, &experiment, &places, steps, folder, shown)?.run(target.as_ref())
}

/// Flags that change numbers stand in the file, so that the file alone is enough to run it again.
fn check(app: &App<'_>) -> Result<()> {
    let g = app.globals;
    let given = [
        (g.seed != 0, "--seed", "seed = 1"),
        (g.dtype != DType::F32, "--dtype", "flags = \"--dtype f64\""),
        (g.bos.is_some(), "--bos", "flags = \"--bos yes\""),
        (g.fold_norm, "--fold-norm", "flags = \"--fold-norm\""),
        (g.center, "--center", "flags = \"--center\""),
    ];
    match given.into_iter().find(|(given, _, _)| *given) {
        None => Ok(()),
        Some((_, flag, line)) => Err(Error::argument(
            format!("{flag} belongs to the experiment"),
            format!("write {line} in its file"),
        )),
    }
}

fn default_place(experiment: &Path) -> PathBuf {
    experiment.with_extension("")
}

/// The run folder, absolute.
fn place(args: &RunArgs) -> Result<PathBuf> {
    let place = args.output.clone().unwrap_or_else(|| default_place(&args.experiment));
    if place == args.experiment {
        return Err(Error::argument(
            "the experiment's file has no ending to leave out",
            "name a folder: -o DIR",
        ));
    }
    plan::absolute(&place)
}

/// Steps run in their folder: their results name files as seen from there, whatever folder `ablate` was called in.
fn enter(folder: &Path) -> Result<()> {
    std::env::set_current_dir(folder).map_err(|source| Error::Read { path: folder.into(), source })
}

/// What steps read from outside is there.
fn check_files(experiment: &Experiment, places: &Places) -> Result<()> {
    let at = ablate::toml_file::TomlText { path: &experiment.path, text: &experiment.text };
    for (name, (file, start)) in &experiment.files {
        if !places.has_file(file) {
            let hint = "files are looked for beside the experiment's file";
            return Err(at.wrong(*start, Some(name), format!("there is no file {file}"), Some(hint.into())));
        }
    }
    let Some(model) = &experiment.model else { return Ok(()) };
    let is_file = model.starts_with(['.', '/']) || Path::new(model).extension().is_some_and(|e| e == "gguf");
    if places.model.is_none() && is_file {
        let hint = "models are looked for beside the experiment's file (of --model, from here); scripts/fetch-smollm2.sh \
                    fetches SmolLM2-135M to models/";
        return Err(Error::argument(format!("there is no model {model}"), hint));
    }
    Ok(())
}

/// Every step's command line.
fn list(app: &App<'_>, steps: &[Step]) -> Result<Outcome> {
    let mut table = Table::new(&["step", "reads", "command"]);
    for step in steps {
        let mut needs: Vec<&str> = step.needs().collect();
        needs.dedup();
        let needs = if needs.is_empty() { "-".to_owned() } else { needs.join(",") };
        table.row([step.name.clone(), needs, line(&step.words)]);
    }
    app.printer.table(&table)?;
    Ok(Outcome::Done)
}

/// Words as one would type them.
fn line(words: &[String]) -> String {
    let plain =
        |w: &str| !w.is_empty() && w.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:,=@{}%+".contains(c));
    let quoted =
        words.iter().map(|w| if plain(w) { w.clone() } else { format!("'{}'", w.replace('\'', "'\\''")) });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Whole seconds; a few are not worth a number (the manifest has them).
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => "< 10 s".to_owned(),
        s if s < 120.0 => format!("{s:.0} s"),
        s => format!("{:.0} min", s / 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn words_are_shown_as_a_shell_reads_them() {
        let words = ["task", "a b", "it's", ""].map(str::to_owned);
        assert_eq!(line(&words), r"task 'a b' 'it'\''s' ''");
    }
}
