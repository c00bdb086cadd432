//! `ablate case train`: a model that hides a case.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ablate::case::train::{Epoch, Recipe, Sampling, Schedule, Trainer};
use ablate::case::{Case, handover};
use ablate::manifest::Conventions;
use ablate::report::TrainingReport;
use ablate::{Error, Observer, Result, files};
use clap::{Args, ValueEnum};

use crate::app::App;
use crate::outcome::Outcome;
use crate::run::{self, Run};
use crate::table::{Table, number, percent};

/// Train an ordinary transformer that keeps a case's circuit at known nodes (strict IIT)
///
/// Writes a folder in InterpBench's format, with the data and the true circuit beside it. A run that is stopped goes on
/// where it was when the same command is given again, to the same weights.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  ablate case train 3 -o case3\n  ablate case train 11 -o case11 --epochs 2 --inputs 1000"
)]
pub(crate) struct TrainArgs {
    /// The case: an id, or a .rasp file
    case: String,
    /// The folder to write
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Most epochs
    #[arg(long, value_name = "N", default_value_t = 500)]
    epochs: usize,
    /// Pairs of a batch
    #[arg(long, value_name = "N", default_value_t = 256)]
    batch: usize,
    /// Step size
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    rate: f64,
    /// How the step size goes on: halved when 30 epochs bring nothing (plateau), or in a line to --final-rate
    #[arg(long, value_enum, default_value_t = ScheduleArg::Constant)]
    schedule: ScheduleArg,
    /// Step size of the last epoch of a linear schedule
    #[arg(long, value_name = "RATE", default_value_t = 2e-4)]
    final_rate: f64,
    /// Weight of the IIT loss
    #[arg(long, value_name = "W", default_value_t = 1.0)]
    iit: f64,
    /// Weight of the behaviour loss
    #[arg(long, value_name = "W", default_value_t = 1.0)]
    behaviour: f64,
    /// Weight of the strict loss (applied twice, as the benchmark's code does); the benchmark's for the case unless given
    #[arg(long, value_name = "W")]
    strict: Option<f64>,
    /// Which nodes outside the circuit a strict step exchanges: one, each with probability 1/2, or all
    #[arg(long, value_enum, default_value_t = SamplingArg::Individual)]
    strict_sampling: SamplingArg,
    /// Accuracy, interchange accuracy and strict accuracy at which to stop, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 99.5)]
    goal: f64,
    /// Most inputs
    #[arg(long, value_name = "N", default_value_t = 120_000)]
    inputs: usize,
}

/// Which nodes a strict step exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SamplingArg {
    Individual,
    SampleAll,
    All,
}

impl From<SamplingArg> for Sampling {
    fn from(arg: SamplingArg) -> Self {
        match arg {
            SamplingArg::Individual => Self::Individual,
            SamplingArg::SampleAll => Self::SampleAll,
            SamplingArg::All => Self::All,
        }
    }
}

/// How the step size goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ScheduleArg {
    Constant,
    Plateau,
    Linear,
}

impl From<ScheduleArg> for Schedule {
    fn from(arg: ScheduleArg) -> Self {
        match arg {
            ScheduleArg::Constant => Self::Constant,
            ScheduleArg::Plateau => Self::Plateau,
            ScheduleArg::Linear => Self::Linear,
        }
    }
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &TrainArgs) -> Result<Outcome> {
    let case = super::find(&args.case)?;
    let recipe = recipe(app, args, &case);
    std::fs::create_dir_all(&args.output)
        .map_err(|source| Error::Write { path: args.output.clone(), source })?;
    let checkpoint = args.output.join("training.checkpoint");
    files::check_writable(&checkpoint)?;
    let manifest = app.manifest(None, Conventions::default());
    let mut trainer = start(app, &case, &recipe, &checkpoint)?;
    if app.globals.explain {
        let line = format!(
            "at most {} epochs of {} batches of {} pairs, three steps each",
            recipe.epochs,
            trainer.batches(),
            recipe.batch
        );
        app.printer.note(&line)?;
        return run::explain_passes(app, Some(&trainer.model()?), manifest, trainer.estimate()?, None);
    }
    let mut run = Run::start(app, manifest, None)?;
    train(app, &mut trainer, &checkpoint)?;
    let model = trainer.model()?;
    handover::write(&args.output, &case, &model, &case.alignment(), &handover::training_meta(&recipe), 100)?;
    let report = TrainingReport {
        case: case.id().to_owned(),
        recipe,
        reached: trainer.reached(),
        epochs: trainer.history().to_vec(),
        alignment: alignment(&case),
    };
    run.finish("training", &report, None)?;
    print(app, &report)?;
    if !report.reached {
        app.warn(format!("the goal of {}% was not reached: more --epochs, or another --seed", args.goal));
    }
    Ok(Outcome::Done)
}

fn recipe(app: &App<'_>, args: &TrainArgs, case: &Case) -> Recipe {
    let base = Recipe::of(case.id());
    Recipe {
        epochs: args.epochs,
        batch: args.batch,
        rate: args.rate,
        schedule: args.schedule.into(),
        final_rate: args.final_rate,
        iit: args.iit,
        behaviour: args.behaviour,
        strict: args.strict.unwrap_or(base.strict),
        sampling: args.strict_sampling.into(),
        goal: args.goal,
        inputs: args.inputs,
        seed: app.globals.seed,
        ..base
    }
}

/// The run from its start, or from where an earlier one stopped.
fn start<'c>(app: &App<'_>, case: &'c Case, recipe: &Recipe, checkpoint: &Path) -> Result<Trainer<'c>> {
    let Ok(bytes) = std::fs::read(checkpoint) else { return Trainer::new(case, recipe.clone()) };
    if bytes.is_empty() {
        return Trainer::new(case, recipe.clone());
    }
    if let Some(trainer) = Trainer::resume(case, recipe.clone(), checkpoint, &bytes)? {
        app.printer.status(&format!("{} epochs are there from an earlier run", trainer.history().len()));
        return Ok(trainer);
    }
    app.printer.warning("the run of another case or recipe was thrown away");
    Trainer::new(case, recipe.clone())
}

fn train(app: &App<'_>, trainer: &mut Trainer<'_>, checkpoint: &Path) -> Result<()> {
    while !trainer.finished() {
        let number = trainer.history().len() + 1;
        let mut bar = app.bar(&format!("epoch {number}"));
        bar.expect(trainer.batches());
        let epoch = trainer.epoch(&mut |_| {
            bar.advance(1, 0);
            bar.stopped()
        })?;
        drop(bar);
        app.printer.status(&line(&epoch));
        files::write_atomic_bytes(checkpoint, &trainer.to_bytes())?;
    }
    Ok(())
}

fn line(e: &Epoch) -> String {
    let v = &e.validation;
    format!(
        "epoch {}: accuracy {}, interchange {}, strict {}",
        e.epoch,
        percent(v.accuracy),
        percent(v.iia),
        percent(v.strict_accuracy)
    )
}

/// The trained model's nodes of each sequence.
fn alignment(case: &Case) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in case.alignment().entries {
        all.entry(entry.label).or_default().extend(entry.trained.iter().map(ToString::to_string));
    }
    all
}

fn print(app: &App<'_>, report: &TrainingReport) -> Result<()> {
    let columns =
        [">epoch", ">IIT loss", ">strict loss", ">behaviour loss", ">accuracy", ">interchange", ">strict"];
    let mut table = Table::new(&columns);
    let skip = report.epochs.len().saturating_sub(10);
    for e in report.epochs.iter().skip(skip) {
        table.row([
            e.epoch.to_string(),
            number(e.iit_loss),
            number(e.strict_loss),
            number(e.behaviour_loss),
            percent(e.validation.accuracy),
            percent(e.validation.iia),
            percent(e.validation.strict_accuracy),
        ]);
    }
    app.printer.table(&table)?;
    for (label, nodes) in &report.alignment {
        app.printer.note(&format!("{label} is at {}", nodes.join(", ")))?;
    }
    Ok(())
}
