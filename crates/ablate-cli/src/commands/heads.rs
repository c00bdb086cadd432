//! `ablate heads`: where heads look, what they copy, and what they write into the logits.

use std::path::PathBuf;

use ablate::graph::{Graph, Kv, Node};
use ablate::heads::{self, CopyNorm, RandomTokens};
use ablate::manifest::Conventions;
use ablate::model::{Batch, Model};
use ablate::report::{
    self, AttentionRow, AttributionPart, BehaviourPart, ClusterRow, ClustersPart, CopyPart, HeadRow,
    HeadsReport, LensPart, RandomPart,
};
use ablate::run::Passes;
use ablate::{Error, Metric, Result};
use clap::{Args, ValueEnum};

use crate::app::App;
use crate::lab::Rows;
use crate::outcome::Outcome;
use crate::plot::{self, Line};
use crate::run::{self, Run};
use crate::table::{Table, number, percent};

/// The norm that a head reads a token through in copy scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NormArg {
    /// Its own layer's.
    Own,
    /// That of the second block, as in the IOI paper.
    Second,
}

/// Say what heads look at, copy and write: induction, previous and duplicate tokens, attention, attribution, clusters
///
/// Scores on random tokens need no data. With data, also scores on its clean rows, attention from the read position to named
/// positions, direct logit attribution and the logit lens.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  ablate heads builtin:induction --plot\n  \
    ablate heads builtin:induction data.jsonl --by-feature answer --cluster a2.* --top 3")]
pub(crate) struct HeadsArgs {
    /// Folder, .gguf file, Hugging Face repository or builtin:NAME
    model: String,
    /// Data set: JSON lines, auto-circuit JSON or EAP-IG CSV
    #[arg(value_name = "DATA")]
    data: Option<PathBuf>,
    /// Use the first N rows of the data only
    #[arg(long, value_name = "N", requires = "data")]
    rows: Option<usize>,
    /// Rows of random tokens
    #[arg(long, value_name = "N", default_value_t = 4)]
    random_rows: usize,
    /// Different tokens of a random row, said twice: 100, or as many as the context and vocabulary hold
    #[arg(long, value_name = "T")]
    length: Option<usize>,
    /// Tokens that copy scores are taken over
    #[arg(long, value_name = "N", default_value_t = 64)]
    copy_tokens: usize,
    /// A token is copied if it is among the K best of what the head writes
    #[arg(long, value_name = "K", default_value_t = 5)]
    copy_top: usize,
    /// own or second: the norm a head reads tokens through in copy scores
    #[arg(long, value_name = "NORM", value_enum, default_value = "own", hide_possible_values = true)]
    copy_norm: NormArg,
    /// Cluster heads' outputs by group, answer, wrong-answer, length, last-token or token@NAME
    #[arg(long, value_name = "FEATURE", requires = "data")]
    by_feature: Option<String>,
    /// Heads whose outputs are clustered
    #[arg(long, value_name = "SET", default_value = "heads")]
    cluster: String,
    /// Keep the attribution of every row in the result file
    #[arg(long)]
    per_example: bool,
    /// Heads printed for each score; the result file has all
    #[arg(long, value_name = "K", default_value_t = 5)]
    top: usize,
    /// Draw the scores on random tokens by layer and head
    #[arg(long)]
    plot: bool,
}

impl HeadsArgs {
    fn norm(&self) -> CopyNorm {
        if self.copy_norm == NormArg::Second { CopyNorm::Second } else { CopyNorm::Own }
    }
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &HeadsArgs) -> Result<Outcome> {
    let model = app.load(&args.model)?;
    let random = RandomTokens::new(&model, args.random_rows, args.length, app.globals.seed)?;
    let rows = args.data.as_ref().map(|path| Rows::read(app, &model, path, args.rows)).transpose()?;
    if let (Some(feature), Some(rows)) = (&args.by_feature, &rows) {
        // a mistake here is said before anything runs
        cluster_request(args, feature, &model, &rows.batch)?;
    }
    // attribution and lens are of the logit difference
    let labelled = rows.as_ref().filter(|r| Metric::LogitDiff.check(&r.batch).is_ok());
    let mut manifest = app
        .manifest(Some(&model), Conventions::of(&model, labelled.map_or("", |_| Metric::LogitDiff.name())));
    manifest.data = rows.as_ref().map(|r| r.stamp.clone());
    if app.globals.explain {
        let passes = passes(app, args, &model, &random, rows.as_ref());
        return run::explain_passes(app, Some(&model), manifest, passes, None);
    }
    let mut run = Run::start(app, manifest, None)?;
    let mut report = on_random(app, args, &model, &random)?;
    if let Some(rows) = &rows {
        if let Some(doubt) = report::few_rows(rows.batch.len()) {
            app.warn(doubt);
        }
        app.check_stop()?;
        on_data(app, args, &model, rows, &mut report)?;
    }
    run.finish("heads", &report, None)?;
    app.print_conventions(run.manifest())?;
    print(app, args, &report)?;
    if args.plot {
        draw(app, &report, model.config().n_heads)?;
    }
    Ok(Outcome::Done)
}

/// What it would take.
fn passes(
    app: &App<'_>,
    args: &HeadsArgs,
    model: &Model,
    random: &RandomTokens,
    rows: Option<&Rows>,
) -> Passes {
    let budget = app.globals.memory.0;
    // behaviours and copying; with data also attention, attribution, its metric, the lens and clusters
    let first = heads::estimate(model, &random.batch, 2, args.copy_tokens, budget);
    let more = 6 + usize::from(args.by_feature.is_some());
    rows.map_or(first, |rows| first.then(heads::estimate(model, &rows.batch, more, args.copy_tokens, budget)))
}

/// Scores on random tokens.
fn on_random(app: &App<'_>, args: &HeadsArgs, model: &Model, random: &RandomTokens) -> Result<HeadsReport> {
    let (cfg, budget) = (model.config(), app.globals.memory.0);
    let starts = vec![random.start; random.batch.len()];
    let seen = heads::behaviours(model, &random.batch, &starts, budget)?;
    app.check_stop()?;
    let tokens = heads::own_random(random, args.copy_tokens, app.globals.seed);
    let copied = if cfg.d_vocab == cfg.d_vocab_out {
        Some(heads::copying(model, &random.batch, &tokens, (args.norm(), args.copy_top), budget)?)
    } else {
        app.warn("no copy scores: the outputs of this model are not its input tokens");
        None
    };
    let row = |i: usize| HeadRow {
        name: Node::head(i / cfg.n_heads, i % cfg.n_heads).to_string(),
        random: BehaviourPart::new(&seen, copied.as_ref(), i),
        data: None,
    };
    Ok(HeadsReport {
        random: RandomPart { rows: random.batch.len(), length: random.length, bos: random.start > 0 },
        copying: CopyPart {
            top: args.copy_top,
            norm: if args.copy_norm == NormArg::Second { "second" } else { "own" }.to_owned(),
        },
        heads: (0..cfg.n_layers * cfg.n_heads).map(row).collect(),
        attention: Vec::new(),
        attribution: None,
        lens: None,
        clusters: None,
    })
}

/// What the data adds.
fn on_data(
    app: &App<'_>,
    args: &HeadsArgs,
    model: &Model,
    rows: &Rows,
    report: &mut HeadsReport,
) -> Result<()> {
    let (batch, budget, seed) = (&rows.batch, app.globals.memory.0, app.globals.seed);
    let seen = heads::behaviours(model, batch, &heads::starts(model, batch), budget)?;
    let tokens = heads::own_answers(batch, args.copy_tokens, seed);
    let copied = if tokens.is_empty() || model.config().d_vocab != model.config().d_vocab_out {
        None
    } else {
        Some(heads::copying(model, batch, &tokens, (args.norm(), args.copy_top), budget)?)
    };
    for (i, head) in report.heads.iter_mut().enumerate() {
        head.data = Some(BehaviourPart::new(&seen, copied.as_ref(), i));
    }
    app.check_stop()?;
    let attention = heads::attention_to(model, batch, seed, budget)?;
    report.attention = attention.iter().map(AttentionRow::from).collect();
    match Metric::LogitDiff.check(batch) {
        Ok(()) => {
            let parts = heads::attribution(model, batch, budget)?;
            report.attribution = Some(AttributionPart::new(&parts, args.per_example));
            report.lens = Some(heads::lens(model, batch, budget)?.iter().map(LensPart::from).collect());
        }
        Err(e) => app.warn(format!("no attribution and no logit lens: {e}")),
    }
    app.check_stop()?;
    report.clusters = clusters(app, args, model, batch)?;
    Ok(())
}

/// The label of every row, and the heads whose outputs are clustered.
fn cluster_request(
    args: &HeadsArgs,
    feature: &str,
    model: &Model,
    batch: &Batch,
) -> Result<(Vec<String>, Vec<Node>)> {
    let nodes = Graph::new(model.graph_shape(), Kv::PerQuery)?.parse_nodes(&args.cluster)?;
    if let Some(node) = nodes.iter().find(|n| !matches!(n, Node::Head { .. })) {
        return Err(Error::argument(format!("--cluster: {node} is no head"), "name heads, such as a9.*"));
    }
    let labels = heads::labels(batch, feature)?;
    if labels.iter().enumerate().all(|(i, a)| !labels[..i].contains(a)) {
        return Err(Error::argument(
            format!("--by-feature {feature}: every row has its own"),
            "clusters need rows that share a label",
        ));
    }
    Ok((labels, nodes))
}

fn clusters(app: &App<'_>, args: &HeadsArgs, model: &Model, batch: &Batch) -> Result<Option<ClustersPart>> {
    let Some(feature) = &args.by_feature else { return Ok(None) };
    let (labels, nodes) = cluster_request(args, feature, model, batch)?;
    let found = heads::clusters(model, batch, &nodes, &labels, app.globals.memory.0)?;
    let heads = found.iter().map(ClusterRow::from).collect();
    Ok(Some(ClustersPart { feature: feature.clone(), labels, heads }))
}

/// A number with four decimals: what is below them does not matter for these.
fn fixed(x: f64) -> String {
    let text = format!("{x:.4}");
    if text == "-0.0000" { "0.0000".to_owned() } else { text }
}

/// The `top` rows with the largest value.
fn best<R>(rows: Vec<R>, top: usize, size: impl Fn(&R) -> f64) -> Vec<R> {
    let mut rows = rows;
    // stable: ties stay in canonical order
    rows.sort_by(|a, b| size(b).total_cmp(&size(a)));
    rows.truncate(top);
    rows
}

fn print(app: &App<'_>, args: &HeadsArgs, report: &HeadsReport) -> Result<()> {
    let random = &report.random;
    app.printer.note(&format!(
        "random: {} rows of {} different tokens, said twice{}; a token is copied if it is among the {} best of what a head writes",
        random.rows,
        random.length,
        if random.bos { " after a beginning-of-sequence token" } else { "" },
        report.copying.top
    ))?;
    print_behaviours(app, args.top, report)?;
    if !report.attention.is_empty() {
        print_attention(app, args.top, &report.attention)?;
    }
    if let Some(parts) = &report.attribution {
        print_attribution(app, args.top, parts)?;
    }
    if let Some(lens) = &report.lens {
        app.printer.line("")?;
        let mut table =
            Table::new(&[">before layer", ">logit-diff", ">std_err", ">rank of answer", ">accuracy"]);
        for row in lens {
            table.row([
                if row.layer + 1 == lens.len() { "(output)".to_owned() } else { row.layer.to_string() },
                fixed(row.logit_diff),
                fixed(row.std_err),
                format!("{}", row.rank),
                percent(100.0 * row.accuracy),
            ]);
        }
        app.printer.table(&table)?;
    }
    match &report.clusters {
        Some(part) => print_clusters(app, args.top, part),
        None => Ok(()),
    }
}

/// A strip a layer for every score on random tokens.
fn draw(app: &App<'_>, report: &HeadsReport, n_heads: usize) -> Result<()> {
    for (kind, (name, _)) in BehaviourPart::default().named().into_iter().enumerate() {
        let value = |head: &HeadRow| head.random.named()[kind].1.map(|s| s.value);
        let line = |heads: &[HeadRow]| Line { cells: heads.iter().map(value).collect(), apart: None };
        let lines: Vec<Line> = report.heads.chunks(n_heads).map(line).collect();
        if lines.iter().any(|l| l.cells.iter().any(Option::is_some)) {
            plot::strips(app, &format!("{name}, heads across"), "", &lines)?;
        }
    }
    Ok(())
}

fn print_behaviours(app: &App<'_>, top: usize, report: &HeadsReport) -> Result<()> {
    let mut table = Table::new(&["score", "on", ">rank", "head", ">value", ">std_err", ">n"]);
    for kind in 0..BehaviourPart::default().named().len() {
        for on in ["random", "data"] {
            let mut rows = Vec::new();
            for head in &report.heads {
                let part = if on == "random" { Some(&head.random) } else { head.data.as_ref() };
                let (name, score) = part.map_or(("", None), |p| p.named()[kind]);
                rows.extend(score.map(|s| (name, &head.name, s)));
            }
            for (rank, (name, head, s)) in best(rows, top, |r| r.2.value).into_iter().enumerate() {
                let value = if kind < 3 { fixed(s.value) } else { percent(100.0 * s.value) };
                let error = if kind < 3 { fixed(s.std_err) } else { percent(100.0 * s.std_err) };
                let rank = (rank + 1).to_string();
                table.row([name, on, &rank, head, &value, &error, &s.n.to_string()]);
            }
        }
    }
    app.printer.table(&table)
}

fn print_attention(app: &App<'_>, top: usize, rows: &[AttentionRow]) -> Result<()> {
    app.printer.line("")?;
    let mut table = Table::new(&[
        "attends to",
        ">rank",
        "head",
        ">weight",
        "95 % interval",
        ">value-weighted",
        "95 % interval",
        ">n",
    ]);
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !names.contains(&row.to.as_str()) {
            names.push(&row.to);
        }
    }
    let interval = |i: [f64; 2]| format!("{} to {}", fixed(i[0]), fixed(i[1]));
    for name in names {
        let of: Vec<&AttentionRow> = rows.iter().filter(|r| r.to == name).collect();
        for (rank, row) in best(of, top, |r| r.weight.value).into_iter().enumerate() {
            table.row([
                name.to_owned(),
                (rank + 1).to_string(),
                row.head.clone(),
                fixed(row.weight.value),
                interval(row.interval),
                fixed(row.value_weighted.value),
                interval(row.value_weighted_interval),
                row.weight.n.to_string(),
            ]);
        }
    }
    app.printer.table(&table)
}

fn print_attribution(app: &App<'_>, top: usize, parts: &AttributionPart) -> Result<()> {
    app.printer.line("")?;
    let mut table = Table::new(&["adds to logit-diff", ">value", ">std_err"]);
    let nodes = parts.parts.iter().filter(|p| !p.name.contains(' ')).collect();
    for part in best(nodes, 2 * top, |p| p.value.abs()) {
        table.row([part.name.clone(), fixed(part.value), fixed(part.std_err)]);
    }
    for part in parts.parts.iter().filter(|p| p.name.contains(' ') && p.value != 0.0) {
        table.row([part.name.clone(), fixed(part.value), fixed(part.std_err)]);
    }
    let sum: f64 = parts.parts.iter().map(|p| p.value).sum();
    table.row(["sum of all parts".to_owned(), fixed(sum), fixed(parts.metric.std_err)]);
    app.printer.table(&table)?;
    app.printer.note(&format!(
        "logit-diff {}; largest difference of any row from the sum of its parts {}",
        number(parts.metric.value),
        number(parts.largest_gap)
    ))
}

fn print_clusters(app: &App<'_>, top: usize, part: &ClustersPart) -> Result<()> {
    app.printer.line("")?;
    let mut labels: Vec<&String> = part.labels.iter().collect();
    labels.sort_unstable();
    labels.dedup();
    app.printer.note(&format!(
        "clusters of heads' outputs at the read position by {}, {} labels",
        part.feature,
        labels.len()
    ))?;
    let mut table = Table::new(&[">rank", "head", ">silhouette", ">variance along PC 1", ">PC 2"]);
    for (rank, row) in
        best(part.heads.iter().collect(), top, |r: &&ClusterRow| r.silhouette).into_iter().enumerate()
    {
        table.row([
            (rank + 1).to_string(),
            row.head.clone(),
            fixed(row.silhouette),
            percent(100.0 * row.explained[0]),
            percent(100.0 * row.explained[1]),
        ]);
    }
    app.printer.table(&table)
}
