//! `--table`: the rows of a result as Parquet, Arrow or CSV.

use ablate::table::{RESULT, Table};
use ablate::{Error, Result, files};
use serde_json::Value;

use crate::app::App;
use crate::args::Target;
use crate::cli::{Command, Globals};

/// The tables of a command's results. The main one is the first of those that a result has rows for; `result`, all of it in
/// one row, is there in any case.
pub(crate) fn of(command: &Command) -> &'static [&'static str] {
    match command {
        Command::Demo(_) => &["effects", "held_out", "together"],
        Command::Models(_) => &["builtin", "architectures"],
        Command::Inspect(_) => &[RESULT, "config", "counts", "tokenizer", "notes"],
        Command::Predict(_) => &["positions.top", "top"],
        Command::Task(_) => &["tasks", "tasks.options", "groups", "rejects"],
        Command::Sweep(_) => &["scores"],
        Command::RankCurve(_) | Command::Run(_) => &["steps"],
        Command::Patch(_) | Command::Backups(_) => &["rows"],
        Command::Path(_) => &["scores", "groups"],
        Command::Prune(_) => &["leave_one_out", "steps", "orders", "survival"],
        Command::Discover(_) => &["scores", "steps"],
        Command::Select(_) => &["members"],
        Command::Verify(_) => &[
            RESULT,
            "curve.points",
            "curve.absolute",
            "tests",
            "completeness",
            "minimality",
            "random",
            "bounds",
        ],
        Command::Scrub(_) => &[RESULT, "nodes", "bounds"],
        Command::Compare(_) => &["sets", "jaccard", "agreement"],
        Command::Interactions(_) => &[
            "terms",
            "pairs",
            "indices.mobius",
            "indices.shapley",
            "indices.shapley_taylor",
            "indices.faith_shap",
        ],
        Command::Heads(_) => &["heads", "attention", "attribution.parts", "lens", "clusters.heads"],
        Command::Signals(_) => &["rows", "attention"],
        Command::Capture(_) => &["arrays"],
        Command::Report(_) => &["figures", "statements", "doubts", "missing"],
        Command::Compress(_) => &["layers"],
        Command::Case(args) => args.tables(),
        Command::Completions(_) | Command::View(_) => &[],
        Command::Man(_) => &["pages"],
    }
}

/// Checks, before anything runs, that the table asked for is one of the command's and can be written.
pub(crate) fn check(globals: &Globals, tables: &'static [&'static str]) -> Result<()> {
    let Some(target) = &globals.table else { return Ok(()) };
    if let Some(name) = &target.name
        && name != RESULT
        && !tables.contains(&name.as_str())
    {
        return Err(Error::unknown("table", name, tables.iter().copied().chain([RESULT])));
    }
    if matches!(&globals.json, Some(Target::File(path)) if *path == target.path) {
        return Err(Error::argument(
            format!("--json and --table both write {}", target.path.display()),
            "give them different names",
        ));
    }
    files::check_writable(&target.path)
}

/// Writes the table that was asked for.
pub(crate) fn write(app: &App<'_>, result: &Value) -> Result<()> {
    let Some(target) = &app.globals.table else { return Ok(()) };
    let table = match &target.name {
        Some(name) => Table::of(result, name),
        None => Table::main(result, app.tables),
    };
    let Some(table) = table else {
        let there: Vec<&str> =
            app.tables.iter().copied().filter(|name| Table::of(result, name).is_some()).collect();
        return Err(Error::argument(
            format!("this result has no table `{}`", target.name.as_deref().unwrap_or(RESULT)),
            format!("it has {}", there.join(", ")),
        ));
    };
    if table.rows == 0 {
        app.warn(format!(
            "the table {} has no rows, so {} has no columns",
            table.name,
            target.path.display()
        ));
    }
    files::write_atomic_bytes(&target.path, &table.bytes(target.form)?)?;
    let rows = if table.rows == 1 { "row" } else { "rows" };
    app.printer.status(&format!(
        "table {}, {} {rows}, written to {}",
        table.name,
        table.rows,
        target.path.display()
    ));
    Ok(())
}
