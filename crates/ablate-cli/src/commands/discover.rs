//! `ablate discover`: score every node or edge, and say how far the scores can be trusted.

use ablate::discover::acdc::{self, AcdcConfig, AcdcResult};
use ablate::discover::certify::{self, Certificate};
use ablate::discover::exact::{cut_edge, exact};
use ablate::discover::{Attribution, Endpoints, Method, attribute, attribution_bytes, attribution_estimate};
use ablate::effects::{Effect, ablate_nodes, sweep};
use ablate::graph::format::{MibFile, ScoresFile};
use ablate::graph::{EdgeId, EdgeSet, Graph, Level, Node, Plan, ScoreRow, Scores};
use ablate::report::{self, Base, Cost};
use ablate::{Error, Metric, Result, Session};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::app::{App, number_bytes};
use crate::args::DataArgs;
use crate::edges::{EdgeArgs, KvArg, edge_set};
use crate::lab::{Edit, Lab};
use crate::outcome::Outcome;
use crate::plot;
use crate::run::{self, Run};
use crate::table::{Table, bytes, number, si};

/// Nodes or edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LevelArg {
    /// Senders.
    Node,
    /// Edges.
    Edge,
}

/// What the result file is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    /// `ablate/scores`.
    Ablate,
    /// MIB's importances.json.
    Mib,
}

/// Score every node or edge by a discovery method, certified against exact effects
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    ablate discover builtin:induction data.jsonl --method eap-ig-inputs --top 8 --json scores.json\n  \
    ablate discover builtin:induction data.jsonl --method exact --edges 'a1.*->logits,a0.*->a1.*<k>'\n  \
    ablate discover builtin:induction data.jsonl --method acdc --threshold 0.05 --json acdc.json")]
pub(crate) struct DiscoverArgs {
    /// Folder, .gguf file, Hugging Face repository or builtin:NAME
    model: String,
    #[command(flatten)]
    data: DataArgs,
    /// How: exact, acdc, or a gradient method (atp, eap, eap-ig-inputs, …; an unknown name lists them)
    #[arg(long, value_name = "METHOD", default_value = "eap-ig-inputs")]
    method: String,
    /// node or edge
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "edge", hide_possible_values = true)]
    level: LevelArg,
    /// Only these edges: pairs such as `a*->logits,m0->a3.*<q>`
    #[arg(long, value_name = "SET")]
    edges: Option<String>,
    #[command(flatten)]
    edge: EdgeArgs,
    /// Steps of integrated gradients
    #[arg(long, value_name = "M", default_value_t = 5)]
    ig_steps: usize,
    /// Which ends of the path are among the steps: right (clean), left or both
    #[arg(long, value_name = "ENDS", default_value = "right")]
    ig_endpoints: String,
    /// Treat norm scales as constants of the gradient
    #[arg(long)]
    freeze_norm: bool,
    /// acdc: remove an edge when the mean metric falls by less
    #[arg(long, value_name = "T", default_value_t = 0.01)]
    threshold: f64,
    /// acdc: evaluations in one batch at most; 1 = one after the other, with the same decisions
    #[arg(long, value_name = "N", default_value_t = 16)]
    speculate: usize,
    /// Compare a gradient method with exact effects of N members; 0 = do not
    #[arg(long, value_name = "N", default_value_t = 60)]
    certify: usize,
    /// Fail (exit status 1) when the certificate's rank correlation is lower
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    min_spearman: Option<f64>,
    /// Write the result file as ablate or mib
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "ablate", hide_possible_values = true)]
    format: FormatArg,
    /// Keep the metric of every example in the result file
    #[arg(long)]
    per_example: bool,
    /// Rows printed, those with the largest |score|; the result file has all
    #[arg(long, value_name = "K", default_value_t = 20)]
    top: usize,
    /// Draw the scores of nodes by layer and head
    #[arg(long)]
    plot: bool,
}

/// What was asked for, resolved.
enum How {
    Exact,
    Acdc,
    Gradients(Method),
}

/// What a method gives.
struct Found {
    scores: Scores,
    extra: Map<String, Value>,
    certificate: Option<Certificate>,
    backward: u64,
    forward: u64,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &DiscoverArgs) -> Result<Outcome> {
    let how = how(args)?;
    let lab = Lab::open(app, &args.model, &args.data.data, &args.data.rows)?;
    let edit = args.edge.edit(app, &lab)?;
    let graph = args.edge.graph(&lab)?;
    let level = if args.level == LevelArg::Node || args.method == "atp" { Level::Node } else { Level::Edge };
    let edges = edge_set(&graph, args.edges.as_deref())?;
    check(args, &how, level, &edit)?;
    let manifest = lab.manifest(app, Some(&edit));
    if app.globals.explain {
        return explain(app, &lab, manifest, args, (&how, level), (&graph, &edges), &edit);
    }
    let method = settings(args, &edit, level);
    let mut run = Run::start(app, manifest, Some(&method))?;
    let mut bar = app.bar("discover");
    let mut session = run.session(&lab, &mut bar)?;
    let found = match &how {
        How::Exact => exact_scores(&mut session, args, &graph, level, &edges, &edit)?,
        How::Acdc => acdc_scores(&mut session, args, &graph, &edges, &edit)?,
        How::Gradients(method) => {
            gradients(app, &lab, &mut session, args, (*method, level), &graph, &edges, &edit)?
        }
    };
    let base = lab.base(app, &mut session)?;
    warn(app, &found, &base, lab.metric);
    let mut cost = run.cost(&session, &base);
    cost.forward += found.forward;
    cost.backward = found.backward;
    let journal = session.into_journal();
    drop(bar);
    let mut file = report::scores_file(
        found.scores,
        method,
        lab.metric.name(),
        &base,
        &cost,
        &app.warnings(),
        run.manifest(),
    )?;
    file.extra.extend(found.extra);
    if let Some(certificate) = &found.certificate {
        file.extra.insert("certificate".into(), report::value(certificate)?);
    }
    let text = match args.format {
        FormatArg::Ablate => file.write(),
        FormatArg::Mib => MibFile::from_scores(&file.scores, None)?.write(),
    };
    run.write(&file.to_value(), &text, journal)?;
    run.print_head(&base)?;
    print(app, &file, args.top)?;
    if args.plot {
        plot::scores(app, &graph, &file.scores)?;
    }
    print_certificate(app, found.certificate.as_ref(), &cost)?;
    let passed = match (args.min_spearman, &found.certificate) {
        (Some(bound), Some(certificate)) => certificate.passes(bound),
        _ => true,
    };
    Ok(if passed { Outcome::Done } else { Outcome::Failed })
}

fn how(args: &DiscoverArgs) -> Result<How> {
    Ok(match args.method.as_str() {
        "exact" => How::Exact,
        "acdc" => How::Acdc,
        name => {
            let ends = Endpoints::parse(&args.ig_endpoints)?;
            let found = Method::parse(name, args.ig_steps, ends);
            How::Gradients(found.map_err(|e| match e {
                Error::Unknown { .. } => {
                    Error::unknown("method", name, Method::NAMES.into_iter().chain(["exact", "acdc"]))
                }
                other => other,
            })?)
        }
    })
}

/// Refuses flags that contradict each other.
fn check(args: &DiscoverArgs, how: &How, level: Level, edit: &Edit) -> Result<()> {
    let wrong = |what: &str, hint: &str| Err(Error::argument(what, hint));
    match how {
        How::Acdc if level == Level::Node => {
            return wrong(
                "--method acdc works on edges",
                "leave --level out, or use `ablate prune` for nodes",
            );
        }
        How::Gradients(_) if edit.positions != ablate::graph::Positions::All => {
            return wrong(
                "gradient methods score all positions together",
                "leave --positions out, or use --method exact",
            );
        }
        _ => {}
    }
    if level == Level::Edge && args.plot {
        return wrong(
            "--plot draws scores of nodes",
            "take --level node, or draw edges with `ablate select --svg`",
        );
    }
    if level == Level::Node && args.edges.is_some() {
        return wrong("--edges has no use with --level node", "leave one of them out");
    }
    if args.format == FormatArg::Mib && (level == Level::Node || args.edge.kv == KvArg::Grouped) {
        return wrong("importances.json holds edges of ungrouped heads", "use --format ablate");
    }
    if args.min_spearman.is_some() && (args.certify == 0 || !matches!(how, How::Gradients(_))) {
        return wrong("--min-spearman needs a certificate", "use a gradient method and --certify 60");
    }
    Ok(())
}

fn settings(args: &DiscoverArgs, edit: &Edit, level: Level) -> Value {
    json!({
        "name": args.method, "level": level.to_string(), "ablation": edit.ablation.name(),
        "scale": edit.ablation.scale, "positions": edit.positions.to_string(),
        "edges": args.edges.as_deref().unwrap_or("*"), "ig_steps": args.ig_steps,
        "ig_endpoints": args.ig_endpoints, "freeze_norm": args.freeze_norm, "threshold": args.threshold,
        "kv": if args.edge.kv == KvArg::Grouped { "grouped" } else { "per-query" },
    })
}

fn rows_of(ids: impl Iterator<Item = u32>, effects: &[Effect], keep: bool) -> Option<Vec<ScoreRow>> {
    let row = |(id, effect): (u32, &Effect)| {
        let mut row = ScoreRow::from_examples(id, &effect.scores, &effect.metrics)?;
        row.per_example = keep.then(|| effect.metrics.clone());
        Some(row)
    };
    ids.zip(effects).map(row).collect()
}

fn exact_scores(
    session: &mut Session<'_, '_>,
    args: &DiscoverArgs,
    graph: &Graph,
    level: Level,
    edges: &EdgeSet,
    edit: &Edit,
) -> Result<Found> {
    let rows = if level == Level::Node {
        let nodes: Vec<Node> = graph.senders().collect();
        let effects = sweep(session, &nodes, edit.ablation, &edit.positions)?;
        rows_of(0..nodes.len() as u32, &effects, args.per_example)
    } else {
        let ids: Vec<EdgeId> = edges.iter().collect();
        let effects = exact(session, graph, &ids, edit.ablation, &edit.positions)?;
        rows_of(ids.iter().map(|e| e.0), &effects, args.per_example)
    };
    let rows = rows.ok_or_else(|| Error::argument("internal: a score without rows", "report this"))?;
    let scores = Scores::new(graph, level, rows)?;
    Ok(Found { scores, extra: Map::new(), certificate: None, backward: 0, forward: 0 })
}

fn acdc_scores(
    session: &mut Session<'_, '_>,
    args: &DiscoverArgs,
    graph: &Graph,
    edges: &EdgeSet,
    edit: &Edit,
) -> Result<Found> {
    let config = AcdcConfig {
        graph: *graph,
        threshold: args.threshold,
        ablation: edit.ablation,
        positions: edit.positions.clone(),
        candidates: edges.clone(),
        speculate: args.speculate,
    };
    let result = acdc::acdc(session, &config)?;
    let n = session.study().batch().len();
    let rows = result.steps.iter().map(|s| ScoreRow {
        id: s.edge.0,
        score: s.fall,
        metric: s.metric,
        std_err: 0.0,
        n,
        per_example: None,
    });
    let scores = Scores::new(graph, Level::Edge, rows.collect())?;
    Ok(Found { scores, extra: acdc_part(graph, &result), certificate: None, backward: 0, forward: 0 })
}

/// The circuit, every decision and the counts.
fn acdc_part(graph: &Graph, result: &AcdcResult) -> Map<String, Value> {
    let members: Vec<String> = result.kept.iter().map(|e| graph.edge(e).to_string()).collect();
    let steps: Vec<Value> = result
        .steps
        .iter()
        .map(|s| json!([graph.edge(s.edge).to_string(), s.metric, s.fall, s.removed, s.run]))
        .collect();
    let mut extra = Map::new();
    extra.insert("circuit".into(), json!({"level": "edge", "size": members.len(), "members": members}));
    extra.insert("steps".into(), json!(steps));
    extra.insert("step_columns".into(), json!(["edge", "metric", "fall", "removed", "run"]));
    extra.insert(
        "acdc".into(),
        json!({"order": "readers last to first, for each its senders last to first", "metric": result.metric,
               "evaluations": result.evaluations, "wasted": result.wasted, "batches": result.batches,
               "passes_saved": result.evaluations.saturating_sub(result.batches)}),
    );
    extra
}

#[expect(clippy::too_many_arguments, reason = "what the command has resolved")]
fn gradients(
    app: &App<'_>,
    lab: &Lab,
    session: &mut Session<'_, '_>,
    args: &DiscoverArgs,
    (method, level): (Method, Level),
    graph: &Graph,
    edges: &EdgeSet,
    edit: &Edit,
) -> Result<Found> {
    let setup = setup(lab, args, edit, graph, level);
    let need = attribution_bytes(
        lab.model.config(),
        graph,
        lab.rows.batch.max_len(),
        setup.chunk_rows,
        app.threads(),
        number_bytes(app.globals.dtype) as usize,
    );
    app.printer.status(&format!("{} takes about {} beside the weights", args.method, bytes(need)));
    let got = attribute(&lab.model, &lab.rows.batch, method, &setup)?;
    let mut scores = got.scores;
    if level == Level::Edge && edges.len() < graph.n_edges() {
        let rows = scores.rows().iter().filter(|r| edges.contains(EdgeId(r.id))).cloned();
        scores = Scores::new(graph, level, rows.collect())?;
    }
    let certificate = if args.certify == 0 {
        None
    } else {
        Some(certify::certify(session, &scores, edit.ablation, args.certify, app.globals.seed)?)
    };
    let (backward, forward) = (got.cost.backward, got.cost.forward);
    Ok(Found { scores, extra: Map::new(), certificate, backward, forward })
}

fn warn(app: &App<'_>, found: &Found, base: &Base, metric: Metric) {
    match &found.certificate {
        Some(c) if !c.passes(0.6) => app.warn(format!("the certificate says: {}", c.verdict)),
        None if found.backward > 0 => app.warn("not certified: --certify 60 compares with exact effects"),
        _ => {}
    }
    if metric.compares() && found.backward > 0 {
        let flat = found.scores.rows().iter().all(|r| r.score.abs() < 1e-9);
        if flat && base.clean.abs() < 1e-9 {
            app.warn(format!(
                "at the clean run the gradient of {metric} is 0: take an integrated-gradients method, or logit-diff"
            ));
        }
    }
}

fn explain(
    app: &App<'_>,
    lab: &Lab,
    manifest: ablate::Manifest,
    args: &DiscoverArgs,
    (how, level): (&How, Level),
    (graph, edges): (&Graph, &EdgeSet),
    edit: &Edit,
) -> Result<Outcome> {
    const LOOKED_AT: usize = 512;
    let plans: Vec<Plan> = match level {
        Level::Node => graph.senders().map(|n| ablate_nodes(&[n], edit.ablation, &edit.positions)).collect(),
        Level::Edge => {
            let ids: Vec<EdgeId> = edges.iter().collect();
            let step = ids.len().div_ceil(LOOKED_AT).max(1);
            ids.iter().step_by(step).map(|&e| cut_edge(graph, e, edit.ablation, &edit.positions)).collect()
        }
    };
    let count = if level == Level::Node { graph.n_senders() } else { edges.len() };
    let How::Gradients(method) = how else { return run::explain(app, lab, manifest, &plans, count) };
    let number = number_bytes(app.globals.dtype) as usize;
    let setup = setup(lab, args, edit, graph, level);
    let of = (app.threads(), number);
    let gradients = attribution_estimate(&lab.model, &lab.rows.batch, graph, *method, &setup, of);
    let checked = args.certify.min(count);
    if checked == 0 {
        return run::explain_passes(app, Some(&lab.model), manifest, gradients, None);
    }
    app.printer.note(&format!(
        "{}: {} passes (a backward one counts as two), {} FLOPs, {}; the plans are its certificate's, the sums are of both",
        method.name(),
        gradients.passes,
        si(gradients.flops),
        bytes(gradients.activation_bytes)
    ))?;
    run::explain_after(app, lab, manifest, gradients, &plans, checked)
}

/// How a gradient method is run.
fn setup(lab: &Lab, args: &DiscoverArgs, edit: &Edit, graph: &Graph, level: Level) -> Attribution {
    let (mean_set, mean_side) = lab.mean_set();
    Attribution {
        metric: lab.metric,
        ablation: edit.ablation,
        mean_set: Some(mean_set.clone()),
        mean_side,
        level,
        kv: graph.kv(),
        freeze_norm: args.freeze_norm,
        per_example: args.per_example,
        ..Attribution::default()
    }
}

fn print(app: &App<'_>, file: &ScoresFile, top: usize) -> Result<()> {
    let scores = &file.scores;
    let mut table = Table::new(&["name", ">score", ">std_err", ">n"]);
    let ranked = scores.ranked(true);
    for row in ranked.iter().take(top) {
        table.row([scores.name(row), number(row.score), number(row.std_err), row.n.to_string()]);
    }
    app.printer.table(&table)?;
    if let Some(circuit) = file.extra.get("circuit") {
        let of = &file.extra["acdc"];
        app.printer.note(&format!(
            "{} edges stay; {} evaluations in {} batches ({} wasted on wrong guesses); metric {}",
            circuit["size"],
            of["evaluations"],
            of["batches"],
            of["wasted"],
            number(of["metric"].as_f64().unwrap_or_default())
        ))?;
    }
    if top < ranked.len() {
        app.printer.note(&format!("{} more", ranked.len() - top))?;
    }
    Ok(())
}

fn print_certificate(app: &App<'_>, certificate: Option<&Certificate>, cost: &Cost) -> Result<()> {
    let Some(c) = certificate else { return Ok(()) };
    let show = |x: Option<f64>| x.map_or_else(|| "-".to_owned(), number);
    app.printer.line("")?;
    let mut table = Table::new(&["certified against exact effects", ">value"]);
    table.row(["members".to_owned(), c.sample.to_string()]);
    table.row(["rank correlation (Spearman)".to_owned(), show(c.spearman)]);
    table.row(["same sign".to_owned(), show(c.sign_agreement)]);
    table.row(["sum of what input does".to_owned(), show(c.sum_of_input)]);
    table.row(["total effect".to_owned(), show(c.total)]);
    app.printer.table(&table)?;
    app.printer
        .note(&format!("{}; {} forward and {} backward passes", c.verdict, cost.forward, cost.backward))
}
