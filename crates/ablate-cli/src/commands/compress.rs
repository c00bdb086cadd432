//! `ablate compress`: a circuit as a smaller checkpoint.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ablate::compress::{self, Compressed, Request};
use ablate::effects::ablate_nodes;
use ablate::graph::format::parse_json;
use ablate::graph::{Circuit, Node, Plan, Positions, Side, stats};
use ablate::model::save::{self, Saved, Stored};
use ablate::model::{LoadOptions, Model};
use ablate::report::{
    Base, BeforeAfter, CompressReport, HeadCount, LayerRow, MlpCount, Steps, TextReport, TextRow,
};
use ablate::{Error, Metric, Result, Setup, Study, files};
use clap::Args;
use serde_json::Value;

use crate::app::App;
use crate::args::{DataArgs, EditArgs};
use crate::inputs;
use crate::lab::{Edit, Lab};
use crate::outcome::Outcome;
use crate::run::{self, Run};
use crate::table::{Table, bytes, number, percent};

/// Write a smaller checkpoint in which everything outside a circuit is ablated for good
///
/// The folder has config.json, model.safetensors and the tokenizer, and loads here and in transformers. Heads outside
/// the circuit are gone from the file where its format allows, else zero; the mean of what was removed is folded into
/// the output biases. A circuit of heads keeps all MLPs, a circuit of MLPs all heads; of a circuit of edges, the nodes
/// that have one stay.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  ablate compress builtin:induction a.json data.jsonl -o small\n  \
    ablate compress builtin:induction a.json data.jsonl -o zeros --ablation zero --json c.json")]
pub(crate) struct CompressArgs {
    /// Folder, .gguf file, Hugging Face repository or builtin:NAME
    model: String,
    /// Circuit, pruning trace or importances.json
    #[arg(value_name = "CIRCUIT")]
    circuit: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// The folder to write
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Write to a folder that is not empty; a model in it is replaced
    #[arg(long)]
    force: bool,
    /// mean or zero
    #[arg(long, value_name = "SOURCE", default_value = "mean")]
    ablation: String,
    /// What may be removed: heads, mlps, all, or names and globs; without it, what the circuit is made of
    #[arg(long, value_name = "SET")]
    nodes: Option<String>,
    /// Zero heads and MLPs where they are, even where the format could leave them out
    #[arg(long)]
    keep_shape: bool,
    /// Number type of the file: f32, f16, bf16 or f64; without it, that of an f16 or bf16 checkpoint, else f32
    #[arg(long, value_name = "TYPE")]
    store: Option<String>,
    /// Also measure how well the text of FILE is predicted; without it, the corrupt prompts of the data
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &CompressArgs) -> Result<Outcome> {
    let stored = args
        .store
        .as_deref()
        .map(|name| Stored::parse(name).ok_or_else(|| Error::unknown("number type", name, Stored::NAMES)));
    let stored = stored.transpose()?;
    if !app.globals.explain {
        check_folder(&args.output, args.force)?;
    }
    let lab = Lab::open(app, &args.model, &args.data.data, &args.data.rows)?;
    let job = Job::new(app, args, &lab)?;
    let manifest = lab.manifest(app, Some(&job.edit));
    if app.globals.explain {
        let outcome = run::explain(app, &lab, manifest, &[job.plan()], 1)?;
        app.printer.line("")?;
        print_layers(app, &LayerRow::all(&compress::layers(&lab.model, &job.request)?))?;
        return Ok(outcome);
    }
    let mut run = Run::start(app, manifest, None)?;
    if job.request.removed.is_empty() {
        app.warn("the circuit holds every candidate: nothing is removed");
    }
    let texts = texts(app, args, &lab)?;
    let base = {
        let mut bar = app.bar("compress");
        let mut session = lab.session(app, &mut bar, None)?;
        lab.base(app, &mut session)?
    };
    let (set, side) = lab.mean_set();
    let made = compress::compress(&lab.model, set, side, app.globals.memory.0, &job.request)?;
    app.check_stop()?;
    let saved = made.save(&lab.model, &args.output, stored.unwrap_or_else(|| Stored::of(&lab.model)))?;
    app.printer.status(&format!("wrote {}; loading it again", args.output.display()));
    let options = LoadOptions { progress: None, ..app.load_options() };
    let small = Model::load(&args.output.to_string_lossy(), &options)?;
    let report = report(app, &lab, &job, &made, &saved, &small, &base, texts, stored)?;
    let report = CompressReport { folder: args.output.display().to_string(), ..report };
    warn(app, &report);
    run.finish("compress", &report, None)?;
    run.print_head(&base)?;
    print(app, &report)?;
    Ok(Outcome::Done)
}

/// What is removed, resolved.
struct Job {
    level: String,
    request: Request,
    edit: Edit,
}

impl Job {
    fn new(app: &App<'_>, args: &CompressArgs, lab: &Lab) -> Result<Self> {
        let circuit = circuit(&args.circuit, lab)?;
        let edit = EditArgs {
            nodes: "heads".into(),
            ablation: Some(args.ablation.clone()),
            scale: 1.0,
            positions: "all".into(),
        };
        let mut edit = lab.edit(app, &edit, "mean")?;
        let candidates = match &args.nodes {
            Some(set) => Some(lab.graph.parse_nodes(set)?),
            None => tested(&args.circuit, lab)?,
        };
        edit.nodes = compress::outside(&circuit, candidates.as_deref())?;
        let request = Request {
            removed: edit.nodes.clone(),
            source: edit.ablation.source,
            keep_shape: args.keep_shape,
        };
        // an architecture that is never saved, or a source that is no weight, is told before anything runs
        compress::layers(&lab.model, &request)?;
        if circuit.edges().is_some() {
            app.warn("a checkpoint has nodes, not edges: every node with an edge in the circuit stays whole");
        }
        Ok(Self { level: circuit.level().to_string(), request, edit })
    }

    fn plan(&self) -> Plan {
        ablate_nodes(&self.request.removed, self.edit.ablation, &Positions::All)
    }
}

fn circuit(path: &Path, lab: &Lab) -> Result<Circuit> {
    inputs::read(path, Some(&lab.graph))?.circuit.ok_or_else(|| {
        Error::argument(
            format!("{}: there is no circuit in it", path.display()),
            "a circuit is {\"level\": \"node\", \"members\": [\"a1.h5\", …]}; `ablate prune` makes one",
        )
    })
}

/// The candidates that a pruning trace tested: what is not among them was never up for removal.
fn tested(path: &Path, lab: &Lab) -> Result<Option<Vec<Node>>> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.into(), source })?;
    let Ok(value) = parse_json(&bytes) else { return Ok(None) };
    let steps = value.get("steps").and_then(Value::as_array);
    let steps = steps.filter(|_| value.get("format").and_then(Value::as_str) == Some("ablate/trace"));
    let Some(steps) = steps else { return Ok(None) };
    let mut names: Vec<&str> = steps.iter().filter_map(|s| s.get("candidate")?.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { Ok(None) } else { Ok(Some(lab.graph.parse_nodes(&names.join(","))?)) }
}

/// Refuses a folder that holds something, or that cannot be written.
fn check_folder(folder: &Path, force: bool) -> Result<()> {
    let fail = |source| Error::Write { path: folder.into(), source };
    if folder.is_file() {
        return Err(Error::argument(
            format!("{} is a file", folder.display()),
            "name a folder that is empty or does not exist",
        ));
    }
    let holds = |folder: &Path| std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if !force && holds(folder) {
        return Err(Error::argument(
            format!("{} is not empty", folder.display()),
            "name another folder, or replace the model in it with --force",
        ));
    }
    std::fs::create_dir_all(folder).map_err(fail)?;
    files::check_writable(&folder.join("config.json"))
}

/// Other text: which, and its tokens.
type Texts = Option<(String, Vec<Vec<u32>>)>;

fn texts(app: &App<'_>, args: &CompressArgs, lab: &Lab) -> Result<Texts> {
    /// Tokens of a window, and how many windows.
    const WINDOW: (usize, usize) = (128, 64);
    let config = lab.model.config();
    if let Some(path) = &args.text {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
        let codec = lab.model.codec().ok_or_else(|| {
            Error::argument(
                format!("{} has no tokenizer, so --text cannot be read", lab.model.name()),
                "leave it out",
            )
        })?;
        let texts = compress::windows(&codec.encode(&text)?, WINDOW.0.min(config.n_ctx), WINDOW.1);
        if texts.is_empty() {
            return Err(Error::argument(
                format!("{}: the text is too short", path.display()),
                "give a text of at least two tokens",
            ));
        }
        return Ok(Some((path.display().to_string(), texts)));
    }
    let rows = lab.rows.batch.rows().iter().filter_map(|row| row.corrupt.clone());
    let mut texts: Vec<Vec<u32>> = rows.filter(|text| text.len() > 1).collect();
    texts.sort_unstable();
    texts.dedup();
    if texts.is_empty() {
        app.warn("no other text is measured: the data have no corrupt prompts, and there is no --text FILE");
        return Ok(None);
    }
    Ok(Some(("corrupt prompts of the data".into(), texts)))
}

#[expect(clippy::too_many_arguments, reason = "everything that was done, private to this file")]
fn report(
    app: &App<'_>,
    lab: &Lab,
    job: &Job,
    made: &Compressed,
    saved: &Saved,
    small: &Model,
    base: &Base,
    texts: Texts,
    stored: Option<Stored>,
) -> Result<CompressReport> {
    let (set, side) = lab.mean_set();
    let rows = &lab.rows.batch;
    let stored = stored.unwrap_or_else(|| Stored::of(&lab.model));
    let before = save::parameters(&lab.model);
    let text = |(what, texts): (String, Vec<Vec<u32>>)| -> Result<TextReport> {
        let (old, new) = (compress::next_token(&lab.model, &texts)?, compress::next_token(small, &texts)?);
        Ok(TextReport { what, tokens: old.tokens, before: old.into(), after: new.into() })
    };
    let metric = steps(app, lab, job, small, lab.metric)?;
    app.check_stop()?;
    Ok(CompressReport {
        folder: String::new(),
        files: saved.files.clone(),
        model_type: saved.model_type.clone(),
        stored: stored.name().to_owned(),
        level: job.level.clone(),
        removed: job.request.removed.iter().map(Node::to_string).collect(),
        parameters: BeforeAfter { before, after: saved.parameters },
        bytes: BeforeAfter { before: save::stored_bytes(&lab.model), after: Some(saved.bytes) },
        bytes_same_type: BeforeAfter {
            before: before * stored.bytes(),
            after: saved.parameters * stored.bytes(),
        },
        heads: HeadCount::of(&made.layers, lab.model.config().n_heads),
        mlps: MlpCount::of(&made.layers),
        layers: LayerRow::all(&made.layers),
        metric_name: lab.metric.name().to_owned(),
        metric: Steps { before: base.clean, ..metric },
        accuracy: steps(app, lab, job, small, Metric::Accuracy)?,
        largest_logit_gap: compress::largest_gap(&lab.model, small, rows, set, side, &job.request)?,
        text: texts.map(text).transpose()?,
        rows_per_second: speed(app, lab, small)?,
        notes: notes(lab, made, saved, stored),
    })
}

/// A metric before, ablated and after.
fn steps(app: &App<'_>, lab: &Lab, job: &Job, small: &Model, metric: Metric) -> Result<Steps> {
    let mean = |values: &[f64]| stats::mean(values).unwrap_or_default();
    let setup = Setup { metric, ..lab.setup(app) };
    let rows = &lab.rows.batch;
    let mut old = Study::new(&lab.model, rows.clone(), setup.clone())?;
    let before = mean(&old.base(Side::Clean)?);
    let ablated = mean(&old.evaluate(&[job.plan()])?.remove(0));
    // the divergence of the new model from itself says nothing: there is no old run in it
    let after = if metric.compares() {
        ablated
    } else {
        mean(&Study::new(small, rows.clone(), setup)?.base(Side::Clean)?)
    };
    Ok(Steps { before, ablated, after })
}

/// Rows a second of plain runs over the data, in turn, the best of each.
fn speed(app: &App<'_>, lab: &Lab, small: &Model) -> Result<Option<BeforeAfter<f64>>> {
    const ROUNDS: usize = 3;
    const SECONDS: f64 = 0.2;
    if app.clock().pinned() {
        return Ok(None);
    }
    let rows = &lab.rows.batch;
    let once = |model: &Model| -> Result<f64> {
        let (start, mut runs) = (Instant::now(), 0);
        while runs == 0 || start.elapsed().as_secs_f64() < SECONDS {
            Study::new(model, rows.clone(), lab.setup(app))?.base(Side::Clean)?;
            runs += 1;
        }
        Ok((runs * rows.len()) as f64 / start.elapsed().as_secs_f64())
    };
    let mut best = BeforeAfter { before: 0.0_f64, after: 0.0_f64 };
    for _ in 0..ROUNDS {
        best.before = best.before.max(once(&lab.model)?);
        best.after = best.after.max(once(small)?);
        app.check_stop()?;
    }
    Ok(Some(best))
}

fn notes(lab: &Lab, made: &Compressed, saved: &Saved, stored: Stored) -> Vec<String> {
    let arch = lab.model.config().arch.as_str();
    let mut notes = made.notes.clone();
    if saved.model_type != arch {
        notes.push(format!(
            "the model was {arch} and is written as {}, which computes the same{}",
            saved.model_type,
            if arch == "builtin" { "" } else { " and has the biases that are needed" }
        ));
    }
    if made.layers.iter().any(|l| l.mlp == compress::Fate::Constant) {
        notes.push(format!(
            "{arch} has no bias on an MLP's output: MLPs that are removed are replaced by ones that give their mean \
             whatever they read"
        ));
    }
    if !made.pruned.is_empty() {
        notes.push(
            "the file leaves out heads by pruned_heads, which transformers 4 reads; for readers that do not know it, \
             use --keep-shape"
                .into(),
        );
    }
    notes.extend(bottleneck(lab, made));
    if save::stored_bytes(&lab.model).is_some_and(|before| before < saved.bytes) {
        let smaller = if stored.bytes() > 2 { "; --store bf16 is smaller" } else { "" };
        notes.push(format!(
            "the old file holds fewer bytes a number than the new one, in {}{smaller}",
            stored.name()
        ));
    }
    if made.config.n_heads != lab.model.config().n_heads {
        notes.push("heads have new numbers: the table shows which old head stands where".into());
    }
    notes
}

/// Why heads that could leave the file are still in it, if some are.
fn bottleneck(lab: &Lab, made: &Compressed) -> Option<String> {
    let zeroed: usize = made.layers.iter().map(|l| l.zeroed).sum();
    let uniform = save::abilities(lab.model.config()).is_ok_and(|a| a.heads == save::Heads::Uniform);
    if zeroed == 0 || !uniform {
        return None;
    }
    let kept: Vec<usize> = made.layers.iter().map(|l| l.heads.iter().flatten().count()).collect();
    let most = kept.iter().copied().max()?;
    let layers: Vec<String> = (0..kept.len()).filter(|&l| kept[l] == most).map(|l| l.to_string()).collect();
    Some(format!(
        "this format has one number of heads for all layers, so those that keep most ({most} heads: layer {}) decide \
         for all",
        layers.join(", ")
    ))
}

fn warn(app: &App<'_>, report: &CompressReport) {
    const LARGE: f64 = 0.01;
    if report.largest_logit_gap > LARGE {
        app.warn(format!(
            "the file's logits differ from the ablated run's by up to {}: {}",
            number(report.largest_logit_gap),
            if report.stored == "f32" || report.stored == "f64" {
                "see the notes below"
            } else {
                "its number type rounds; --store f32 is exact"
            }
        ));
    }
    if !report.removed.is_empty() && report.parameters.after >= report.parameters.before {
        app.warn(
            "the file has as many weights as before: what was removed is zeros, see the notes and the table",
        );
    }
    if report.metric_name == "kl" {
        app.warn("--metric kl compares with the old model: for the new one it is that of the ablated run");
    }
}

fn print(app: &App<'_>, report: &CompressReport) -> Result<()> {
    let mut table = Table::new(&["what", ">before", ">ablated", ">after"]);
    let mut row = |what: &str, before: String, ablated: String, after: String| {
        table.row([what.to_owned(), before, ablated, after]);
    };
    let none = String::new;
    row("parameters", report.parameters.before.to_string(), none(), report.parameters.after.to_string());
    let size = |n: Option<u64>| n.map_or("-".into(), bytes);
    row("weights on disk", size(report.bytes.before), none(), size(report.bytes.after));
    let same = report.bytes_same_type;
    row(&format!("weights in {}", report.stored), bytes(same.before), none(), bytes(same.after));
    let (heads, mlps) = (report.heads, report.mlps);
    row("heads", heads.of.to_string(), none(), heads.kept.to_string());
    row("MLPs", mlps.of.to_string(), none(), mlps.kept.to_string());
    let metric = report.metric;
    row(&report.metric_name, number(metric.before), number(metric.ablated), number(metric.after));
    let share = |x: f64| percent(100.0 * x);
    let accuracy = report.accuracy;
    row("accuracy", share(accuracy.before), share(accuracy.ablated), share(accuracy.after));
    if let Some(text) = &report.text {
        let TextRow { accuracy, loss } = text.before;
        row("next tokens of other text", share(accuracy), none(), share(text.after.accuracy));
        row("their mean loss", number(loss), none(), number(text.after.loss));
    }
    if let Some(speed) = report.rows_per_second {
        let cell = |x: f64| format!("{x:.1}");
        row("rows a second", cell(speed.before), none(), cell(speed.after));
    }
    app.printer.table(&table)?;
    app.printer.line("")?;
    app.printer.note(&format!(
        "heads: {} kept, {} not in the file, {} zeros; MLPs: {} kept, {} not in the file, {} zeros, {} constant",
        heads.kept, heads.removed, heads.zeroed, mlps.kept, mlps.removed, mlps.zeroed, mlps.constant
    ))?;
    app.printer.note(&format!(
        "largest difference of a logit, ablated run and {} loaded again: {:.1e}",
        report.folder, report.largest_logit_gap
    ))?;
    if let Some(text) = &report.text {
        app.printer.note(&format!("other text: {}, {} tokens", text.what, text.tokens))?;
    }
    for note in &report.notes {
        app.printer.note(note)?;
    }
    app.printer.line("")?;
    print_layers(app, &report.layers)
}

fn print_layers(app: &App<'_>, layers: &[LayerRow]) -> Result<()> {
    let mut table =
        Table::new(&[">layer", ">heads", ">not in file", ">zeros", "MLP", "old heads in their places"]);
    for layer in layers {
        let places: Vec<&str> = layer.heads.iter().map(|h| h.as_deref().unwrap_or("-")).collect();
        table.row([
            layer.layer.to_string(),
            layer.heads.iter().flatten().count().to_string(),
            layer.removed.to_string(),
            layer.zeroed.to_string(),
            layer.mlp.clone(),
            places.join(" "),
        ]);
    }
    app.printer.table(&table)
}
