//! A run from its first check to its result file: where the result goes, the journal that makes it resumable, what it took.

use std::path::{Path, PathBuf};

use ablate::graph::Plan;
use ablate::model::Model;
use ablate::report::{self, Base, Cost};
use ablate::run::Passes;
use ablate::{Journal, Manifest, Observer, Result, Session, files};
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::{App, number_bytes};
use crate::args::Target;
use crate::estimate::{Estimate, parameters, program_bytes};
use crate::lab::Lab;
use crate::outcome::Outcome;
use crate::table::{Table, bytes, number, si};
use crate::tables;

/// See the module.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    app: &'a App<'a>,
    manifest: Manifest,
    journal: Option<Journal>,
}

impl<'a> Run<'a> {
    /// Checks that the result can be written. Of a run with `settings`, the journal is opened.
    pub(crate) fn start(app: &'a App<'a>, manifest: Manifest, settings: Option<&Value>) -> Result<Self> {
        let mut journal = None;
        if let Some(Target::File(path)) = &app.globals.json {
            files::check_writable(path)?;
            if let (Some(settings), false) = (settings, files::is_special(path)) {
                journal = Some(open_journal(app, path, &manifest.fingerprint(settings))?);
            }
        }
        Ok(Self { app, manifest, journal })
    }

    /// A session that writes to the journal.
    pub(crate) fn session<'m, 'o>(
        &mut self,
        lab: &'m Lab,
        observer: &'o mut dyn Observer,
    ) -> Result<Session<'m, 'o>> {
        lab.session(self.app, observer, self.journal.take())
    }

    /// What a session took, held-out rows not counted.
    pub(crate) fn cost(&self, session: &Session<'_, '_>, base: &Base) -> Cost {
        let sides = 1 + u64::from(base.corrupt.is_some());
        let evaluations = session.evaluations();
        let forward = (evaluations + sides) * base.n as u64;
        Cost { forward, backward: 0, evaluations, seconds: self.app.clock().seconds() }
    }

    /// Changes the manifest.
    pub(crate) fn manifest(&mut self) -> &mut Manifest {
        self.manifest.ended = self.app.clock().ended();
        &mut self.manifest
    }

    /// Writes the result of `kind` and removes the journal.
    pub(crate) fn finish(
        &mut self,
        kind: &str,
        body: &impl Serialize,
        journal: Option<Journal>,
    ) -> Result<()> {
        let warnings = self.app.warnings();
        let value = report::result(kind, body, &warnings, self.manifest())?;
        self.write(&value, &report::text(&value), journal)
    }

    /// Writes a result, as `text` says it to the file and `value` to the table, and removes the journal.
    pub(crate) fn write(&self, value: &Value, text: &str, journal: Option<Journal>) -> Result<()> {
        if !self.app.globals.explain {
            tables::write(self.app, value)?;
        }
        match &self.app.globals.json {
            None => Ok(()),
            Some(Target::Stdout) => self.app.printer.json(text),
            Some(Target::File(path)) => {
                files::write_atomic(path, text)?;
                journal.map_or(Ok(()), Journal::remove)
            }
        }
    }

    /// The lines above a table: model, data, conventions and the unedited runs.
    pub(crate) fn print_head(&self, base: &Base) -> Result<()> {
        self.app.print_conventions(&self.manifest)?;
        let corrupt = base.corrupt.map_or(String::new(), |c| format!("; corrupt {}", number(c)));
        self.app.printer.note(&format!(
            "base {} {} ± {}{corrupt}; n {}",
            self.manifest.conventions.metric,
            number(base.clean),
            number(base.std_err),
            base.n
        ))
    }
}

/// The journal of the result file `path`.
fn open_journal(app: &App<'_>, path: &Path, fingerprint: &str) -> Result<Journal> {
    let mut name = path.as_os_str().to_owned();
    name.push(".journal");
    let journal = Journal::open(&PathBuf::from(name), fingerprint)?;
    // not among the warnings of the result: a run that was stopped and resumed gives the same bytes
    if journal.replaced() {
        app.printer.warning("the journal of another run was thrown away: model, data or settings differ");
    }
    if !journal.is_empty() {
        app.printer.status(&format!("{} finished variants are there from an earlier run", journal.len()));
    }
    Ok(journal)
}

/// Prints what a run would do, instead of doing it.
pub(crate) fn explain(
    app: &App<'_>,
    lab: &Lab,
    manifest: Manifest,
    plans: &[Plan],
    count: usize,
) -> Result<Outcome> {
    explain_with(app, lab, manifest, plans, count, false)
}

/// As [`explain`]; `trials` says whether runs are kept to go on from them.
pub(crate) fn explain_with(
    app: &App<'_>,
    lab: &Lab,
    manifest: Manifest,
    plans: &[Plan],
    count: usize,
    trials: bool,
) -> Result<Outcome> {
    let estimate = Estimate::new(app, lab, plans, count, trials)?;
    explained(app, manifest, &estimate, plans, count)
}

/// As [`explain`], for plans that come after other runs: the sums are of both.
pub(crate) fn explain_after(
    app: &App<'_>,
    lab: &Lab,
    manifest: Manifest,
    before: Passes,
    plans: &[Plan],
    count: usize,
) -> Result<Outcome> {
    let estimate = Estimate::new(app, lab, plans, count, false)?.after(before);
    explained(app, manifest, &estimate, plans, count)
}

fn explained(
    app: &App<'_>,
    manifest: Manifest,
    estimate: &Estimate,
    plans: &[Plan],
    count: usize,
) -> Result<Outcome> {
    let mut run = Run::start(app, manifest, None)?;
    let texts: Vec<String> = plans.iter().take(1).map(Plan::explain).collect();
    run.finish("plan", &json!({"estimate": report::value(estimate)?, "first": texts}), None)?;
    app.print_conventions(&run.manifest)?;
    app.printer.table(&estimate.table())?;
    if let Some(first) = plans.first() {
        app.printer.line(&format!("\nfirst of {count} plans: {}", first.explain().trim_end()))?;
    }
    Ok(Outcome::Done)
}

/// Prints what runs without plans would take, instead of making them; `model` is what is loaded for them, `files` the bytes
/// that are written.
pub(crate) fn explain_passes(
    app: &App<'_>,
    model: Option<&Model>,
    manifest: Manifest,
    passes: Passes,
    files: Option<u64>,
) -> Result<Outcome> {
    let weights = model.map_or(0, |m| parameters(m) * number_bytes(app.globals.dtype));
    let loading = model.map_or(0, Model::loading_bytes);
    let running = passes.activation_bytes + passes.buffer_bytes;
    let peak = program_bytes(model) + weights + running.max(loading);
    let estimate = json!({
        "passes": passes.passes, "flops": passes.flops, "weight_bytes": weights,
        "activation_bytes": passes.activation_bytes, "buffer_bytes": passes.buffer_bytes, "file_bytes": files,
        "peak_bytes": peak,
    });
    let has_data = manifest.data.is_some();
    let mut run = Run::start(app, manifest, None)?;
    run.finish("plan", &json!({"estimate": estimate, "first": []}), None)?;
    if has_data {
        app.print_conventions(&run.manifest)?;
    }
    let mut table = Table::new(&["what", ">how much"]);
    if let Some(files) = files {
        table.row(["files", &bytes(files)]);
    }
    table.row(["passes of one row", &passes.passes.to_string()]);
    table.row(["FLOPs", &si(passes.flops)]);
    table.row(["weights", &bytes(weights)]);
    table.row(["activations, at most", &bytes(passes.activation_bytes)]);
    table.row(["buffers", &bytes(passes.buffer_bytes)]);
    table.row(["peak memory", &bytes(peak)]);
    app.printer.table(&table)?;
    Ok(Outcome::Done)
}
