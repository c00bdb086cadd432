//! `ablate report`: result files as one page.

use std::path::{Path, PathBuf};

use ablate::dataset::Dataset;
use ablate::files::{check_writable, write_atomic, write_atomic_bytes};
use ablate::manifest::{Conventions, DataStamp};
use ablate::model::Model;
use ablate::page::{Figure, Inputs, Live, Page, draw, live};
use ablate::run::Passes;
use ablate::{Error, Result};
use clap::Args;
use serde_json::json;

use crate::app::App;
use crate::lab::Rows;
use crate::outcome::Outcome;
use crate::run::{self, Run};
use crate::table::{Table, bytes};

/// Make one page of result files: verdict, figures, tests, and how to run it again
///
/// The page is a single HTML file that needs no network. Texts of prompts and files are never markup in it.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  ablate report heads.json circuit.json -o report.html\n  \
    ablate report heads.json circuit.json --markdown report.md --figures figures\n  \
    ablate report heads.json circuit.json -o report.html --model builtin:induction --data data.jsonl --prompts 2")]
pub(crate) struct ReportArgs {
    /// Result files of any commands, as `--json FILE` writes them
    #[arg(required = true, value_name = "RUN.json")]
    files: Vec<PathBuf>,
    /// The page
    #[arg(short, long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    /// The same as Markdown
    #[arg(long, value_name = "FILE.md")]
    markdown: Option<PathBuf>,
    /// Every figure as SVG and PNG into this folder
    #[arg(long, value_name = "DIR")]
    figures: Option<PathBuf>,
    /// Run this model for attention patterns and the logits that nodes add
    #[arg(long, value_name = "MODEL", requires = "data")]
    model: Option<String>,
    /// On the clean prompts of this data set
    #[arg(long, value_name = "DATA", requires = "model")]
    data: Option<PathBuf>,
    /// On that many of its rows, the first ones
    #[arg(long, value_name = "N", default_value_t = 3, requires = "model")]
    prompts: usize,
}

/// Where parts of a page go.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Targets<'a> {
    pub(crate) html: Option<&'a Path>,
    pub(crate) markdown: Option<&'a Path>,
    pub(crate) figures: Option<&'a Path>,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &ReportArgs) -> Result<Outcome> {
    let targets = targets(args)?;
    let inputs = Inputs::read(&args.files)?;
    let mut manifest = app.manifest(None, Conventions::default());
    let (mut looked, mut plan_of, mut passes) = (None, None, Passes::default());
    if let (Some(spec), Some(data)) = (&args.model, &args.data) {
        let model = app.load(spec)?;
        same_model(&inputs, &model)?;
        let rows = Rows::read(app, &model, data, Some(args.prompts))?;
        manifest = app.manifest(Some(&model), Conventions::of(&model, ""));
        manifest.data = Some(rows.stamp.clone());
        if app.globals.explain {
            let nodes = live::nodes_of_interest(&inputs).len();
            app.printer.note(&format!(
                "passes of {} prompts: one for patterns, one plain, one without each of {nodes} nodes",
                rows.batch.len()
            ))?;
            let logits = model.config().d_vocab_out;
            passes = Passes::plain(&model, &rows.batch, nodes as u64 + 2, logits);
            plan_of = Some(model);
        } else {
            looked = Some(look(app, &model, &rows, &inputs)?);
        }
    }
    let page = Page::new(&inputs, looked);
    if app.globals.explain {
        app.printer.table(&contents(&page))?;
        app.printer.line("")?;
        return run::explain_passes(app, plan_of.as_ref(), manifest, passes, None);
    }
    let mut run = Run::start(app, manifest, None)?;
    let written = write(&page, targets)?;
    let figures: Vec<_> =
        page.figures().map(|f| json!({"id": f.id, "kind": f.body.kind(), "title": f.title})).collect();
    let body = json!({
        "written": written.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "headline": page.headline, "statements": page.statements, "doubts": page.doubts, "missing": page.missing, "figures": figures,
    });
    run.finish("report", &body, None)?;
    print(app, &page, &written)?;
    Ok(Outcome::Done)
}

/// What is to be written, checked.
fn targets(args: &ReportArgs) -> Result<Targets<'_>> {
    let targets = Targets {
        html: args.out.as_deref(),
        markdown: args.markdown.as_deref(),
        figures: args.figures.as_deref(),
    };
    if targets.html.is_none() && targets.markdown.is_none() && targets.figures.is_none() {
        return Err(Error::argument(
            "there is nothing to write",
            "give -o report.html, --markdown report.md or --figures DIR",
        ));
    }
    if args.prompts == 0 {
        return Err(Error::argument("--prompts 0 looks at nothing", "ask for at least one prompt"));
    }
    for path in [targets.html, targets.markdown].into_iter().flatten() {
        if args.files.iter().any(|file| file == path) {
            return Err(Error::argument(
                format!("{} is one of the result files", path.display()),
                "write the page to another file",
            ));
        }
        check_writable(path)?;
    }
    Ok(targets)
}

/// Refuses a model that is not the one that the files are of.
fn same_model(inputs: &Inputs, model: &Model) -> Result<()> {
    let hashes: Vec<&str> =
        inputs.files.iter().filter_map(|f| f.value.pointer("/manifest/model/hash")?.as_str()).collect();
    if hashes.is_empty() || hashes.contains(&model.hash()) {
        return Ok(());
    }
    Err(Error::argument(
        format!("none of the files is of the model {}", model.name()),
        "give the model that made them, loaded in the same way (--fold-norm, --center, --dtype)",
    ))
}

/// Runs the model on the rows for what a page shows of it.
pub(crate) fn look(app: &App<'_>, model: &Model, rows: &Rows, inputs: &Inputs) -> Result<Live> {
    let nodes = live::nodes_of_interest(inputs);
    app.printer.status(&format!("looking at {} nodes on {} prompts", nodes.len(), rows.batch.len()));
    live::look(model, &rows.batch, &nodes, app.globals.memory.0)
}

/// The first rows, for the prompts of a page.
pub(crate) fn first_rows(model: &Model, dataset: &Dataset, n: usize) -> Result<Rows> {
    let some = dataset.subset(&(0..n.min(dataset.len())).collect::<Vec<_>>())?;
    Rows::of(model, some, DataStamp::default())
}

/// Writes a page; what was written, with its size.
pub(crate) fn write(page: &Page, targets: Targets<'_>) -> Result<Vec<(String, usize)>> {
    let mut written = Vec::new();
    if let Some(path) = targets.html {
        let text = page.html()?;
        write_atomic(path, &text)?;
        written.push((path.display().to_string(), text.len()));
    }
    if let Some(folder) = targets.figures {
        std::fs::create_dir_all(folder).map_err(|source| Error::Write { path: folder.into(), source })?;
        for figure in page.figures().filter(|f| draw::drawable(f)) {
            written.extend(write_figure(figure, folder)?);
        }
    }
    if let Some(path) = targets.markdown {
        let link = targets.figures.map(|folder| {
            let beside = path.parent().and_then(|p| folder.strip_prefix(p).ok());
            beside.unwrap_or(folder).display().to_string().replace('\\', "/")
        });
        let text = page.markdown(link.as_deref());
        write_atomic(path, &text)?;
        written.push((path.display().to_string(), text.len()));
    }
    Ok(written)
}

fn write_figure(figure: &Figure, folder: &Path) -> Result<[(String, usize); 2]> {
    let (svg, png) = (draw::svg(figure)?, draw::png(figure)?);
    let [vector, pixels] = ["svg", "png"].map(|ending| folder.join(format!("{}.{ending}", figure.id)));
    write_atomic(&vector, &svg)?;
    write_atomic_bytes(&pixels, &png)?;
    Ok([(vector.display().to_string(), svg.len()), (pixels.display().to_string(), png.len())])
}

fn contents(page: &Page) -> Table {
    let mut table = Table::new(&["figure", "kind", "from", "title"]);
    for figure in page.figures() {
        table.row([
            figure.id.clone(),
            figure.body.kind().to_owned(),
            plain(&figure.source),
            plain(&figure.title),
        ]);
    }
    table
}

/// Text of a file, without anything that a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn print(app: &App<'_>, page: &Page, written: &[(String, usize)]) -> Result<()> {
    let out = &app.printer;
    out.line(&format!("{}: {}", page.headline.tone.word(), plain(&page.headline.text)))?;
    for statement in page.statements.iter().chain(&page.doubts) {
        out.line(
            &format!(
                "- {}: {} ({})",
                statement.tone.word(),
                plain(&statement.text),
                plain(&statement.source)
            )
            .replace(" ()", ""),
        )?;
    }
    out.line("")?;
    out.table(&contents(page))?;
    for missing in &page.missing {
        out.note(&format!("missing: {}: {}", plain(&missing.what), plain(&missing.why)))?;
    }
    match written {
        [one] => out.note(&format!("written to {}, {}", one.0, bytes(one.1 as u64))),
        many => out.note(&format!("{} files written", many.len())),
    }
}
