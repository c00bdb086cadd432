//! `ablate case effects`: what each node's value from another input does (seed 001).

use std::collections::BTreeMap;
use std::path::PathBuf;

use ablate::case::effects::{self, Constant, Measure, NodeEffect, Setup};
use ablate::case::subspace::{self, Directions};
use ablate::case::{self, Alignment, Case, Inputs, Subspace};
use ablate::dataset::{Dataset, Prompt};
use ablate::manifest::Conventions;
use ablate::model::Model;
use ablate::report::{CaseEffectRow, CaseReport};
use ablate::run::Passes;
use ablate::{Error, Result};
use clap::{Args, ValueEnum};

use crate::app::App;
use crate::outcome::Outcome;
use crate::run::{self, Run};
use crate::table::{Table, number, percent};

/// The causal effect of each node over all pairs of inputs
///
/// For every pair of a base and an ablation input, the node's value in the run on base becomes scale times its value in
/// the run on the ablation input. Of the positions at which the case's outputs differ, the effect is the share that
/// comes out wrong. Nodes of the true circuit should have 1 at scale 1, the others 0.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  ablate case effects 3\n  \
    ablate case effects 3 --scales 0,0.5,1,2 --plot\n  \
    ablate case effects case3 --case 3 --subspace pca:2 --mode resample-high")]
pub(crate) struct EffectsArgs {
    /// A case's compiled model by its id, or the folder of a model of the case
    #[arg(value_name = "ID|DIR")]
    model: String,
    /// The case of a model in a folder
    #[arg(long, value_name = "ID")]
    case: Option<String>,
    /// Inputs: the clean rows of a data set of token ids, BOS first
    #[arg(long, value_name = "DATA")]
    inputs: Option<PathBuf>,
    /// Number of inputs that are drawn where none are given; all pairs of them are run
    #[arg(short, long, value_name = "N", default_value_t = 100)]
    n: usize,
    /// resample, mean (at each position) or zero; of the last two there is one effect, of all outputs that were right
    #[arg(long, value_name = "SOURCE", value_enum, default_value = "resample")]
    ablation: Source,
    /// Factors on the value put in place
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "1",
        allow_negative_numbers = true
    )]
    scales: Vec<f64>,
    /// Replace only a part of the value: pca:K = what lies in its first K principal components, or what does not
    #[arg(long, value_name = "pca:K", value_parser = components)]
    subspace: Option<usize>,
    /// Which part, and whether it comes from the node's own value or from the ablation input's
    #[arg(long, value_name = "MODE", value_enum, requires = "subspace")]
    mode: Option<Mode>,
    /// The notebook's form of the projection: a number added to every dimension
    #[arg(long, requires = "subspace")]
    legacy: bool,
    /// Take the mean off before projecting
    #[arg(long, requires = "subspace")]
    centred: bool,
    /// What counts: wrong outputs, kl or kl-self (divergences, of classes)
    #[arg(long, value_enum, default_value = "wrong")]
    measure: MeasureArg,
    /// Average over batches of so many pairs, as the benchmark's code does, instead of over all pairs
    #[arg(long, value_name = "PAIRS")]
    batch: Option<usize>,
    /// Print what each node's principal components would add to the outputs, position by position (logit lens)
    #[arg(long, requires = "subspace")]
    lens: bool,
    /// Draw the effects as bars
    #[arg(long)]
    plot: bool,
    /// Write the effects against the scales as a figure
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Source {
    Resample,
    Mean,
    Zero,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    SelfLow,
    SelfHigh,
    ResampleLow,
    ResampleHigh,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MeasureArg {
    Wrong,
    Kl,
    KlSelf,
}

fn components(text: &str) -> std::result::Result<usize, String> {
    let k = text.strip_prefix("pca:").and_then(|k| k.parse().ok()).filter(|k| *k > 0);
    k.ok_or_else(|| format!("`{text}`: write pca:2 for the first two principal components"))
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &EffectsArgs) -> Result<Outcome> {
    let (case, model, alignment) = subject(app, args)?;
    let nodes = case::nodes(model.config());
    if args.scales.iter().any(|s| !s.is_finite()) {
        return Err(Error::argument("a scale is not finite", "give numbers: --scales 0,0.5,1"));
    }
    let inputs = match &args.inputs {
        Some(path) => given(app, &case, path)?,
        None => Inputs::drawn(&case, args.n, app.globals.seed)?,
    };
    let manifest = app.manifest(Some(&model), Conventions::default());
    if app.globals.explain {
        let (n, scales) = (inputs.len(), args.scales.len());
        let line = format!("at most {} nodes x {scales} scales x {n} x {n} pairs of inputs", nodes.len());
        app.printer.note(&line)?;
        let config = model.config();
        let batch = inputs.batch(config.d_vocab, config.n_ctx)?;
        // an input is run once for each input whose value it gets
        let times = if args.ablation == Source::Resample { n } else { 1 };
        let runs = 1 + nodes.len() * scales * times;
        let passes = Passes::plain(&model, &batch, runs as u64, config.d_vocab_out);
        return run::explain_passes(app, Some(&model), manifest, passes, None);
    }
    let mut run = Run::start(app, manifest, None)?;
    let right = effects::right(&case, &model, &inputs)?;
    let accuracy = 100.0 * right.iter().filter(|r| **r).count() as f64 / right.len().max(1) as f64;
    if accuracy < 99.0 {
        app.warn(format!("the model gives the case's output at only {accuracy:.1}% of positions"));
    }
    let found = measure(app, args, &case, &model, &nodes, &inputs)?;
    let mut report = report(args, &case, &alignment, &inputs, accuracy, &found);
    if let Some(k) = args.subspace.filter(|_| args.lens) {
        report.lens = Some(lens(&model, &nodes, &inputs, k)?);
    }
    run.finish("case", &report, None)?;
    print(app, args, &report)?;
    if let Some(path) = &args.svg {
        ablate::files::write_atomic(path, &ablate::case::figure::effects(&report)?)?;
    }
    Ok(Outcome::Done)
}

/// The case, the model, and where the case's nodes are in it.
fn subject(app: &App<'_>, args: &EffectsArgs) -> Result<(Case, Model, Alignment)> {
    match &args.case {
        Some(id) => {
            let case = super::find(id)?;
            let alignment = case.alignment();
            Ok((case, app.load(&args.model)?, alignment))
        }
        None if std::path::Path::new(&args.model).is_dir() => Err(Error::argument(
            format!("{}: of which case is this a model?", args.model),
            "say it: --case ID",
        )),
        None => {
            let case = super::find(&args.model)?;
            let model = case.model(app.globals.dtype)?;
            let alignment = Alignment::identity(case.compiled());
            Ok((case, model, alignment))
        }
    }
}

/// The clean rows of a data set.
fn given(app: &App<'_>, case: &Case, path: &std::path::Path) -> Result<Inputs> {
    app.set_data_file(path);
    let data = Dataset::read(path)?;
    let ids = data.pairs.iter().enumerate().map(|(row, pair)| match &pair.clean {
        Prompt::Tokens(ids) => Ok(ids.clone()),
        Prompt::Text(_) => Err(Error::Row {
            row,
            message: "the row is text, but a case has no tokenizer".to_owned(),
            hint: Some("give token ids: clean_tokens".to_owned()),
        }),
    });
    Inputs::of(case, ids.collect::<Result<_>>()?)
}

fn measure(
    app: &App<'_>,
    args: &EffectsArgs,
    case: &Case,
    model: &Model,
    nodes: &[ablate::graph::Node],
    inputs: &Inputs,
) -> Result<Vec<NodeEffect>> {
    if args.ablation != Source::Resample {
        let constant = if args.ablation == Source::Zero { Constant::Zero } else { Constant::Mean };
        return effects::ablate(case, model, nodes, inputs, constant);
    }
    let subspace = args.subspace.map(|components| {
        let mode = args.mode.unwrap_or(Mode::ResampleHigh);
        Subspace {
            components,
            resample: matches!(mode, Mode::ResampleLow | Mode::ResampleHigh),
            high: matches!(mode, Mode::SelfHigh | Mode::ResampleHigh),
            legacy: args.legacy,
            centred: args.centred,
            directions: None,
        }
    });
    let measure = match args.measure {
        MeasureArg::Wrong => Measure::Wrong,
        MeasureArg::Kl => Measure::Kl,
        MeasureArg::KlSelf => Measure::KlSelf,
    };
    let setup = Setup { scales: args.scales.clone(), subspace, measure, batch: args.batch };
    let mut bar = app.bar("effects");
    let mut found = Vec::with_capacity(nodes.len());
    ablate::Observer::expect(&mut bar, nodes.len());
    for node in nodes {
        app.check_stop()?;
        found.extend(effects::resample(case, model, &[*node], inputs, &setup)?);
        ablate::Observer::advance(&mut bar, 1, 0);
    }
    Ok(found)
}

/// The logit lens of every node's components.
fn lens(
    model: &Model,
    nodes: &[ablate::graph::Node],
    inputs: &Inputs,
    components: usize,
) -> Result<BTreeMap<String, Directions>> {
    let of = |node: &ablate::graph::Node| {
        let found = subspace::of_inputs(model, inputs, *node, components)?;
        Ok((node.to_string(), subspace::logit_lens(model, *node, &found)?))
    };
    nodes.iter().map(of).collect()
}

fn report(
    args: &EffectsArgs,
    case: &Case,
    alignment: &Alignment,
    inputs: &Inputs,
    accuracy: f64,
    found: &[NodeEffect],
) -> CaseReport {
    let scales: Vec<String> = if args.ablation == Source::Resample {
        args.scales.iter().map(ToString::to_string).collect()
    } else {
        vec!["1".to_owned()]
    };
    let row = |e: &NodeEffect| CaseEffectRow {
        node: e.node.to_string(),
        status: if alignment.contains(e.node) { "in_circuit" } else { "not_in_circuit" }.to_owned(),
        effects: scales.iter().cloned().zip(e.effects.iter().copied()).collect::<BTreeMap<_, _>>(),
    };
    let mut rows: Vec<CaseEffectRow> = found.iter().map(row).collect();
    rows.sort_by(|a, b| a.status.cmp(&b.status));
    let name = |v: Option<clap::builder::PossibleValue>| v.map_or(String::new(), |v| v.get_name().to_owned());
    let mut ablation = name(args.ablation.to_possible_value());
    if let Some(k) = args.subspace {
        let mode = name(args.mode.unwrap_or(Mode::ResampleHigh).to_possible_value());
        ablation = format!("{mode} of pca:{k}{}", if args.legacy { " (legacy)" } else { "" });
    }
    CaseReport {
        case: case.id().to_owned(),
        ablation,
        measure: name(args.measure.to_possible_value()),
        inputs: inputs.len(),
        accuracy,
        rows,
        lens: None,
    }
}

fn print(app: &App<'_>, args: &EffectsArgs, report: &CaseReport) -> Result<()> {
    let scales: Vec<String> = report.rows.first().map_or(vec![], |r| sorted(r.effects.keys()));
    let mut columns = vec!["node".to_owned(), "status".to_owned()];
    columns.extend(scales.iter().map(|s| format!(">x{s}")));
    columns.extend(args.plot.then(|| "plot".to_owned()));
    let mut table = Table::new(&columns.iter().map(String::as_str).collect::<Vec<_>>());
    for row in &report.rows {
        let mut cells = vec![row.node.clone(), row.status.replace('_', " ")];
        cells.extend(scales.iter().map(|s| number(row.effects[s])));
        if args.plot {
            cells.push(scales.iter().map(|s| bar(row.effects[s])).collect());
        }
        table.row(cells);
    }
    app.printer.note(&format!(
        "case {}; {}; {} of all pairs of {} inputs; clean outputs right {}",
        report.case,
        report.ablation,
        report.measure,
        report.inputs,
        percent(report.accuracy)
    ))?;
    app.printer.table(&table)?;
    match &report.lens {
        Some(lens) => print_lens(app, lens),
        None => Ok(()),
    }
}

/// One row a node, position and component; positions count from BOS.
fn print_lens(app: &App<'_>, lens: &BTreeMap<String, Directions>) -> Result<()> {
    const SHOWN: usize = 8;
    let mut table = Table::new(&["node", ">position", ">component", "added to the outputs"]);
    for (node, positions) in lens {
        for (p, components) in positions.iter().enumerate() {
            for (c, outputs) in components.iter().enumerate() {
                let shown: Vec<String> = outputs.iter().take(SHOWN).map(|x| format!("{x:+.3}")).collect();
                let more = if outputs.len() > SHOWN { " …" } else { "" };
                let line = format!("{}{more}", shown.join(" "));
                table.row([node.clone(), (p + 1).to_string(), (c + 1).to_string(), line]);
            }
        }
    }
    app.printer.line("")?;
    app.printer.table(&table)
}

/// Scales as numbers, ascending.
fn sorted<'a>(keys: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut keys: Vec<String> = keys.cloned().collect();
    keys.sort_by(|a, b| {
        let number = |s: &String| s.parse::<f64>().unwrap_or(0.0);
        number(a).total_cmp(&number(b))
    });
    keys
}

/// An eighth-block bar for a share.
fn bar(share: f64) -> char {
    const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    BLOCKS[(share.clamp(0.0, 1.0) * 8.0).round() as usize]
}
