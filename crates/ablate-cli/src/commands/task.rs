//! `ablate task`: data sets from templates.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ablate::dataset::Dataset;
use ablate::manifest::Conventions;
use ablate::report::TaskReport;
use ablate::run::Passes;
use ablate::task::{self, Task, TaskRequest, Values};
use ablate::{Error, Result, files};
use clap::Args;
use serde_json::json;

use crate::app::App;
use crate::outcome::Outcome;
use crate::run::{self, Run};
use crate::table::Table;

/// Make a data set of clean/corrupt pairs
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  ablate task --list\n  \
    ablate task induction --model builtin:induction -n 60 --set corruption=no-repeat -o data.jsonl\n  \
    ablate task ioi --model models/gpt2 -n 100 --seed 0 -o ioi.jsonl")]
pub(crate) struct TaskArgs {
    /// The task; see --list
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// The model the rows are for: its tokenizer decides which words are one token
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Number of rows
    #[arg(short, long, value_name = "N", default_value_t = 100)]
    n: usize,
    /// The file to write; standard output unless given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// An option of the task; see --list
    #[arg(long = "set", value_name = "KEY=VALUE")]
    options: Vec<String>,
    /// List tasks and their options
    #[arg(long, conflicts_with_all = ["output", "model"])]
    list: bool,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &TaskArgs) -> Result<Outcome> {
    let Some(name) = args.name.as_deref().filter(|_| !args.list) else {
        return list(app, args.name.as_deref());
    };
    let task = task::find(name)?;
    let options = task::parse_options(&args.options)?;
    let model = args.model.as_deref().map(|spec| app.load(spec)).transpose()?;
    let conventions = model.as_ref().map_or_else(Conventions::default, |m| Conventions::of(m, ""));
    let manifest = app.manifest(model.as_ref(), conventions);
    if let Some(path) = &args.output {
        files::check_writable(path)?;
    } else if app.globals.json == Some(crate::args::Target::Stdout) {
        return Err(Error::argument(
            "rows and --json - cannot both go to standard output",
            "write the rows to a file: -o FILE",
        ));
    }
    if app.globals.explain {
        app.printer.note(&format!("{} rows of {}: {}", args.n, task.name(), task.about()))?;
        return run::explain_passes(app, model.as_ref(), manifest, Passes::default(), None);
    }
    let mut run = Run::start(app, manifest, None)?;
    let codec = model.as_ref().and_then(|m| m.codec());
    let request = TaskRequest { n: args.n, seed: app.globals.seed, options: &options, codec };
    let data = task.generate(&request)?;
    let report = report(task, args, &data);
    match &args.output {
        Some(path) => {
            data.write(path)?;
            print(app, &report)?;
        }
        None => app.printer.json(&data.to_jsonl())?,
    }
    run.finish("task", &report, None)?;
    Ok(Outcome::Done)
}

fn report(task: &dyn Task, args: &TaskArgs, data: &Dataset) -> TaskReport {
    let mut groups: BTreeMap<String, u64> = BTreeMap::new();
    for pair in &data.pairs {
        *groups.entry(pair.group.clone().unwrap_or_default()).or_default() += 1;
    }
    TaskReport {
        task: task.name().to_owned(),
        file: args.output.as_ref().map(|p| p.display().to_string()),
        rows: data.len(),
        hash: data.hash(),
        rejects: data.header.rejects.clone(),
        groups,
    }
}

fn print(app: &App<'_>, report: &TaskReport) -> Result<()> {
    let mut table = Table::new(&["what", ">rows"]);
    table.row([format!("written to {}", report.file.as_deref().unwrap_or("-")), report.rows.to_string()]);
    for (reason, n) in &report.rejects {
        table.row([format!("rejected: {reason}"), n.to_string()]);
    }
    for (group, n) in report.groups.iter().filter(|(g, _)| !g.is_empty()) {
        table.row([format!("group {group}"), n.to_string()]);
    }
    app.printer.table(&table)
}

/// All tasks, or the options of one.
fn list(app: &App<'_>, name: Option<&str>) -> Result<Outcome> {
    let tasks: Vec<&dyn Task> = match name {
        Some(name) => vec![task::find(name)?],
        None => task::all().to_vec(),
    };
    let values = |values: &Values| match values {
        Values::Words(words) => words.join(", "),
        Values::Number(min, max) => format!("{min} to {max}"),
    };
    let entry = |task: &&dyn Task| {
        let option = |o: &task::OptionSpec| json!({"option": o.name, "values": values(&o.values), "default": o.default, "about": o.about});
        let options: Vec<_> = task.options().iter().map(option).collect();
        json!({"task": task.name(), "about": task.about(), "options": options})
    };
    let entries: Vec<_> = tasks.iter().map(entry).collect();
    let mut run = Run::start(app, app.manifest(None, Conventions::default()), None)?;
    run.finish("tasks", &json!({"tasks": entries}), None)?;
    let mut table = Table::new(&["task", "option", "values", "default", "what it is"]);
    for task in tasks {
        table.row([task.name(), "", "", "", task.about()]);
        for option in task.options() {
            table.row(["", option.name, &values(&option.values), option.default, option.about]);
        }
    }
    app.printer.table(&table)?;
    Ok(Outcome::Done)
}
