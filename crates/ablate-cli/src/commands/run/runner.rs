//! Running the steps of an experiment in their folder, those that are done left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ablate::page::KINDS;
use ablate::report::{Hashed, RunReport, Status, StepReport};
use ablate::{Error, Result, files};
use serde_json::{Value, json};

use super::file::Experiment;
use super::folder::{self, Folder, Hashes, MANIFEST, PROGRESS, files_of, hash, remove, write_if_new};
use super::plan::{self, Places, Reads, Step};
use super::{line, time};
use crate::app::App;
use crate::args::Target;
use crate::commands;
use crate::outcome::{Outcome, in_file};
use crate::printer::{self, STDOUT};
use crate::table::Table;
use crate::tables;

/// See the module. The current folder is the run folder.
pub(super) struct Runner<'a> {
    app: &'a App<'a>,
    experiment: &'a Experiment,
    places: &'a Places,
    steps: Vec<Step>,
    folder: Folder,
    /// The folder as the user names it.
    shown: PathBuf,
    report: RunReport,
    hashes: Hashes,
    ran: usize,
}

impl<'a> Runner<'a> {
    pub(super) fn new(
        app: &'a App<'a>,
        experiment: &'a Experiment,
        places: &'a Places,
        steps: Vec<Step>,
        folder: Folder,
        shown: PathBuf,
    ) -> Result<Self> {
        let mut hashes = Hashes::default();
        let report = RunReport {
            title: experiment.title.clone(),
            program: program(),
            experiment: Hashed {
                name: name_of(&experiment.path),
                hash: Some(blake3::hash(experiment.text.as_bytes()).to_hex().to_string()),
            },
            model: experiment.model.as_deref().map(|m| model(m, places, &mut hashes)).transpose()?,
            files: BTreeMap::new(),
            flags: line(&experiment.flags),
            seed: experiment.seed,
            threads: rayon::current_num_threads(),
            device: app.globals.device.clone(),
            status: Status::Running,
            started: String::new(),
            ended: String::new(),
            seconds: 0.0,
            steps: Vec::new(),
        };
        Ok(Self { app, experiment, places, steps, folder, shown, report, hashes, ran: 0 })
    }

    /// Runs what is to be run; `target` gets the manifest too.
    pub(super) fn run(mut self, target: Option<&Target>) -> Result<Outcome> {
        for (name, (file, _)) in &self.experiment.files {
            let hash = self.hashes.of(&self.places.of_file(file)?)?;
            let stamp = Hashed { name: name_of(Path::new(file)), hash: Some(hash) };
            self.report.files.insert(name.clone(), stamp);
        }
        write_if_new(Path::new("experiment.toml"), &self.experiment.text)?;
        let steps = self.steps.clone();
        self.report.steps = steps.iter().map(waiting).collect();
        for (i, step) in steps.iter().enumerate() {
            let mut step = step.clone();
            if step.name == "report" && !choose_results(&mut step) {
                self.report.steps.truncate(i);
                break;
            }
            self.step(i, &step)?;
        }
        self.finish(target)
    }

    /// One step, unless it is done.
    fn step(&mut self, i: usize, step: &Step) -> Result<()> {
        let inputs = inputs(step, self.experiment, self.places, &mut self.hashes)?;
        let key = key(step, &inputs);
        if let Some(done) = finished(self.folder.before.as_ref(), step, &key)? {
            self.app.printer.status(&format!("{}: done before, nothing has changed", step.name));
            self.report.steps[i] = done;
            return Ok(());
        }
        if self.app.stopped() {
            return self.stop(i, step, Error::Stopped { finished: None });
        }
        let goes_on = self.begin(i, step, key, inputs)?;
        if !goes_on {
            clear(step)?;
        }
        let ended = self.execute(i, step);
        self.ran += 1;
        match ended {
            Ok(()) => self.save(),
            Err(error) => self.stop(i, step, error),
        }
    }

    /// Notes that a step is begun. Whether it goes on with what an earlier run of the same began.
    fn begin(
        &mut self,
        i: usize,
        step: &Step,
        key: String,
        inputs: BTreeMap<String, String>,
    ) -> Result<bool> {
        let before = self.folder.before.as_ref().and_then(|b| b.steps.iter().find(|s| s.name == step.name));
        let goes_on = before.is_some_and(|b| b.key == key && !b.status.is_finished()) && resumes(step);
        let app = self.app;
        app.printer.status(&format!("{}: {}", step.name, line(&step.template)));
        self.report.steps[i] = StepReport {
            key,
            inputs,
            status: Status::Running,
            started: crate::clock::Clock::new().started(),
            args: step.command(),
            ..waiting(step)
        };
        self.save()?;
        Ok(goes_on)
    }

    /// Runs a step and notes what came of it.
    fn execute(&mut self, i: usize, step: &Step) -> Result<()> {
        let cli = plan::read(step).map_err(|e| Error::argument(e.to_string(), "report this"))?;
        let globals = plan::globals(step, &cli, self.app.globals);
        let out = self.app.printer;
        out.note(&format!("{}: ablate {}", step.name, line(&step.words)))?;
        // of a report only its sentences are printed: the figures are in the page
        let is_report = step.name == "report";
        let inner_out = if is_report { out.muted() } else { out };
        let tables = tables::of(&cli.command);
        let inner = self.app.step(&globals, inner_out, tables, (step.command(), Some(PROGRESS.into())));
        tables::check(&globals, tables)?;
        make_folder(step)?;
        printer::begin_capture();
        let outcome = commands::run(&inner, &cli.command);
        let printed = printer::end_capture();
        remove(Path::new(PROGRESS))?;
        let outcome = outcome.map_err(|error| explained(error, &inner))?;
        for said in printed.lines().take_while(|l| is_report && !l.is_empty()) {
            out.line(said)?;
        }
        out.line("")?;
        if !printed.is_empty() {
            files::write_atomic(Path::new(&step.printed()), &printed)?;
        }
        let entry = &mut self.report.steps[i];
        entry.status = if outcome == Outcome::Failed { Status::Failed } else { Status::Done };
        entry.seconds = inner.clock().seconds();
        entry.ended = inner.clock().ended();
        describe(entry, step)?;
        entry.outputs = outputs(step)?;
        Ok(())
    }

    /// Notes that a step was stopped or could not be done, and says so.
    fn stop(&mut self, i: usize, step: &Step, error: Error) -> Result<()> {
        let stopped = matches!(error, Error::Stopped { .. });
        let entry = &mut self.report.steps[i];
        entry.status = if stopped { Status::Stopped } else { Status::Error };
        entry.ended = self.app.clock().ended();
        if !stopped {
            entry.error = Some(error.to_string());
        }
        self.report.status = entry.status;
        let saved = self.save();
        match &error {
            Error::Write { path, .. } if path.as_os_str() == STDOUT => return Err(error),
            _ => saved?,
        }
        if stopped {
            return Err(Error::argument(
                format!("stopped in the step `{}`; what is finished is kept", step.name),
                "run the same command again to go on from there",
            ));
        }
        Err(Error::Argument { message: format!("step `{}`: {error}", step.name), hint: error.hint() })
    }

    /// Writes the manifest.
    fn save(&mut self) -> Result<()> {
        let steps = &self.report.steps;
        self.report.seconds = steps.iter().map(|s| s.seconds).sum();
        let started = steps.iter().map(|s| &s.started).filter(|s| !s.is_empty()).min();
        self.report.started = started.cloned().unwrap_or_default();
        write_if_new(Path::new(MANIFEST), &folder::manifest_text(&self.report)?)
    }

    fn finish(mut self, target: Option<&Target>) -> Result<Outcome> {
        let failed = self.report.steps.iter().any(|s| s.status == Status::Failed);
        self.report.status = if failed { Status::Failed } else { Status::Done };
        self.report.ended = self.report.steps.iter().map(|s| s.ended.clone()).max().unwrap_or_default();
        self.save()?;
        match target {
            Some(Target::Stdout) => self.app.printer.json(&folder::manifest_text(&self.report)?)?,
            Some(Target::File(path)) => files::write_atomic(path, &folder::manifest_text(&self.report)?)?,
            None => {}
        }
        self.print()?;
        Ok(if failed { Outcome::Failed } else { Outcome::Done })
    }

    fn print(&self) -> Result<()> {
        let out = &self.app.printer;
        let mut table = Table::new(&["step", "status", ">time", "result"]);
        for step in &self.report.steps {
            let result = step.result.clone().unwrap_or_default();
            table.row([step.name.clone(), step.status.name().to_owned(), time(step.seconds), result]);
        }
        out.table(&table)?;
        let done = self.report.steps.len() - self.ran;
        out.note(&format!("in {}: {} steps run, {done} were done before", self.shown.display(), self.ran))?;
        if Path::new("report.html").exists() {
            out.note(&format!("report: {}", self.shown.join("report.html").display()))?;
        }
        Ok(())
    }
}

/// The program, in manifests and keys.
pub(super) fn program() -> String {
    format!("ablate {}", env!("CARGO_PKG_VERSION"))
}

/// The last part of a path: manifests hold no paths of a machine.
fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
}

fn model(spec: &str, places: &Places, hashes: &mut Hashes) -> Result<Hashed> {
    Ok(match &places.model {
        Some(path) => Hashed { name: name_of(path), hash: Some(hashes.of(path)?) },
        None => Hashed { name: spec.to_owned(), hash: None },
    })
}

fn waiting(step: &Step) -> StepReport {
    StepReport { name: step.name.clone(), command: line(&step.template), ..StepReport::default() }
}

/// Hashes of what a step reads, by the names it has in the file.
pub(super) fn inputs(
    step: &Step,
    experiment: &Experiment,
    places: &Places,
    hashes: &mut Hashes,
) -> Result<BTreeMap<String, String>> {
    let mut inputs = BTreeMap::new();
    for reads in &step.reads {
        let (name, hash) = match reads {
            Reads::Model => match (&places.model, &experiment.model) {
                (Some(path), _) => ("model".to_owned(), hashes.of(path)?),
                (None, spec) => ("model".to_owned(), spec.clone().unwrap_or_default()),
            },
            Reads::File(name) => {
                let file = experiment.files.get(name).map_or("", |(file, _)| file.as_str());
                (name.clone(), hashes.of(&places.of_file(file)?)?)
            }
            Reads::Step(_, path) => (path.display().to_string(), hash(path)?),
        };
        inputs.insert(name, hash);
    }
    Ok(inputs)
}

/// The name of a step with all that decides its result: its command as the file says it with the flags of all steps, what it
/// reads, and the program.
pub(super) fn key(step: &Step, inputs: &BTreeMap<String, String>) -> String {
    // places of files do not count, only what is in them
    let template = &step.template;
    let more = step.words.get(template.len()..).unwrap_or_default();
    let parts = json!([program(), step.name, template, more, inputs]);
    blake3::hash(parts.to_string().as_bytes()).to_hex().to_string()
}

/// What an earlier run notes about a step that need not be run again: it has this key, and its files are as it left them.
pub(super) fn finished(before: Option<&RunReport>, step: &Step, key: &str) -> Result<Option<StepReport>> {
    let entry = before.and_then(|b| b.steps.iter().find(|s| s.name == step.name));
    let Some(entry) = entry.filter(|e| e.key == key && e.status.is_finished()) else { return Ok(None) };
    for (file, was) in &entry.outputs {
        let path = Path::new(file);
        if !path.is_file() || hash(path)? != *was {
            return Ok(None);
        }
    }
    Ok(Some(entry.clone()))
}

/// Whether a command goes on with what it left in its own folder; of results there are journals.
fn resumes(step: &Step) -> bool {
    step.words.first().is_some_and(|w| w == "case") && step.words.get(1).is_some_and(|w| w == "train")
}

/// Removes what an earlier run of the step left; its journal stays, and knows itself whether it fits.
fn clear(step: &Step) -> Result<()> {
    for path in own(step) {
        remove(&path)?;
    }
    Ok(())
}

/// What a step may write: its result, what it prints, its product and its folder.
fn own(step: &Step) -> Vec<PathBuf> {
    let mut all = vec![step.result(), step.printed(), step.product.clone(), step.name.clone()];
    if step.name == "report" {
        all.push("report.md".to_owned());
    }
    all.sort();
    all.dedup();
    all.into_iter().map(PathBuf::from).collect()
}

/// The step's folder, where its command names files in it.
pub(super) fn make_folder(step: &Step) -> Result<()> {
    let inside = format!("{}/", step.name);
    for word in step.words.iter().filter(|w| w.starts_with(&inside)) {
        let path = Path::new(word);
        let parent = path.parent().unwrap_or(path);
        std::fs::create_dir_all(parent).map_err(|source| Error::Write { path: parent.into(), source })?;
    }
    Ok(())
}

fn outputs(step: &Step) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for path in own(step) {
        for file in files_of(&path)? {
            all.insert(file.display().to_string(), hash(&file)?);
        }
    }
    Ok(all)
}

/// What the manifest takes over from a step's result.
fn describe(entry: &mut StepReport, step: &Step) -> Result<()> {
    let (result, printed) = (step.result(), step.printed());
    if Path::new(&printed).is_file() {
        entry.printed = Some(printed);
    }
    let Ok(bytes) = std::fs::read(&result) else { return Ok(()) };
    let wrong = |e: serde_json::Error| Error::argument(format!("internal: {result}: {e}"), "report this");
    let value: Value = serde_json::from_slice(&bytes).map_err(wrong)?;
    let warnings = value.get("warnings").and_then(Value::as_array).into_iter().flatten();
    entry.warnings = warnings.filter_map(Value::as_str).map(str::to_owned).collect();
    let manifest = &value["manifest"];
    entry.made_with = json!({
        "model": manifest["model"], "data": manifest["data"], "seed": manifest["seed"], "dtype": manifest["dtype"],
        "conventions": manifest["conventions"],
    });
    entry.result = Some(result);
    Ok(())
}

/// Leaves results that a report does not show out of its command; false if none is left.
fn choose_results(step: &mut Step) -> bool {
    let shown = |file: &str| -> bool {
        let value: Option<Value> = std::fs::read(file).ok().and_then(|b| serde_json::from_slice(&b).ok());
        let format = value.as_ref().and_then(|v| v.get("format")).and_then(Value::as_str);
        // importances.json has no format
        value.is_some()
            && format.is_none_or(|f| f.strip_prefix("ablate/").is_some_and(|k| KINDS.contains(&k)))
    };
    let mut left = false;
    let (mut words, mut template) = (Vec::new(), Vec::new());
    let mut dropped = Vec::new();
    for (word, text) in step.words.iter().zip(step.template.iter().map(Some).chain(std::iter::repeat(None))) {
        let is_result = text
            .is_some_and(|t| t.starts_with('{') && *word == format!("{}.json", t.trim_matches(['{', '}'])));
        if is_result && !shown(word) {
            dropped.push(PathBuf::from(word));
            continue;
        }
        left |= is_result;
        words.push(word.clone());
        template.extend(text.cloned());
    }
    (step.words, step.template) = (words, template);
    step.reads.retain(|r| !matches!(r, Reads::Step(_, path) if dropped.contains(path)));
    left
}

/// An error of a step, with the file that its rows are of.
fn explained(error: Error, app: &App<'_>) -> Error {
    match &error {
        Error::Row { .. } | Error::Model(_) => {
            let message = in_file(&error, app.data_file().as_deref());
            Error::Argument { message, hint: error.hint() }
        }
        _ => error,
    }
}
