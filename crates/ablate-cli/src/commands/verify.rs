//! `ablate verify`: whether a circuit does what the model does.

use std::path::PathBuf;

use ablate::curve::mean;
use ablate::graph::{Circuit, Graph, Kv, Level, NodeId, ScoreRow, Scores, compare, roc, stats};
use ablate::report::{Against, Base, Cost, EvaluationReport};
use ablate::verify::{self, Bound, Faithfulness, Frame, Test};
use ablate::{Error, Result, Session};
use clap::Args;
use serde_json::json;

use crate::app::App;
use crate::args::DataArgs;
use crate::edges::EdgeArgs;
use crate::inputs::{self, Input};
use crate::lab::Lab;
use crate::outcome::Outcome;
use crate::run::{self, Run};
use crate::table::{Table, number, percent};

/// Test a circuit: faithfulness, completeness, minimality, random circuits, hypothesis tests, agreement with the truth
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    ablate verify builtin:induction circuit.json data.jsonl --ablation resample --min-faithfulness 0.8\n  \
    ablate verify builtin:induction circuit.json data.jsonl --tests --completeness --minimality --json eval.json\n  \
    ablate verify builtin:induction circuit.json data.jsonl --curve --scores scores.json --against acdc.json")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct VerifyArgs {
    /// Folder, .gguf file, Hugging Face repository or builtin:NAME
    model: String,
    /// Circuit, pruning trace, ACDC result or importances.json
    #[arg(value_name = "CIRCUIT")]
    circuit: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    edge: EdgeArgs,
    /// Fail (exit status 1) when the faithfulness is lower
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    min_faithfulness: Option<f64>,
    /// Take the same members out of circuit and model: random halves, and the worst set that a greedy search finds
    #[arg(long)]
    completeness: bool,
    /// Take each member out of the circuit
    #[arg(long)]
    minimality: bool,
    /// Faithfulness over sizes with MIB's CPR and CMD, ranked by --scores
    #[arg(long, requires = "scores")]
    curve: bool,
    /// Scores for --curve, and for the AUROC of --against
    #[arg(long, value_name = "FILE")]
    scores: Option<PathBuf>,
    /// Hypothesis tests: equivalence, independence, sufficiency, with --minimality also minimality
    #[arg(long)]
    tests: bool,
    /// Random circuits of the same size to compare with
    #[arg(long, value_name = "N", default_value_t = 40)]
    random: usize,
    /// A circuit known to be true: precision and recall of edges and nodes, with --scores AUROC
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

/// Significance of the tests.
const LEVEL: f64 = 0.05;

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &VerifyArgs) -> Result<Outcome> {
    let lab = Lab::open(app, &args.model, &args.data.data, &args.data.rows)?;
    let edit = args.edge.edit(app, &lab)?;
    let graph = args.edge.graph(&lab)?;
    let circuit = circuit_of(inputs::read(&args.circuit, Some(&graph))?, &args.circuit)?;
    let scores = args.scores.as_ref().map(|path| scores_of(path, &graph)).transpose()?;
    let truth = args.against.as_ref().map(|path| truth_of(path, &lab)).transpose()?;
    let frame = Frame::new(&circuit, edit.ablation, edit.positions.clone());
    verify::check(&frame, &circuit)?;
    let manifest = lab.manifest(app, Some(&edit));
    if app.globals.explain {
        let empty = Circuit::empty(&graph, circuit.level());
        let plans = [frame.plan(&circuit), frame.plan(&empty)];
        let count = 2
            + if args.tests { args.random + 1 } else { 0 }
            + if args.minimality { circuit.len() } else { 0 };
        return run::explain(app, &lab, manifest, &plans, count);
    }
    let settings = json!({
        "name": "verify", "circuit": circuit.names(), "random": args.random, "seed": app.globals.seed,
    });
    let mut run = Run::start(app, manifest, Some(&settings))?;
    let mut bar = app.bar("verify");
    let mut session = run.session(&lab, &mut bar)?;
    let found = verify::faithfulness(&mut session, &frame, &circuit, app.globals.seed)?;
    let mut report = begin(&circuit, &frame, &found);
    lab.metric.name().clone_into(&mut report.metric_name);
    measure(&mut session, args, &frame, &circuit, &found, scores.as_ref(), app.globals.seed, &mut report)?;
    report.against = truth.map(|truth| against(&truth, &circuit, scores.as_ref())).transpose()?;
    report.bounds = bounds(args, &found)?;
    report.base = lab.base(app, &mut session)?;
    report.cost = run.cost(&session, &report.base);
    let journal = session.into_journal();
    drop(bar);
    warn(app, &report);
    run.finish("evaluation", &report, journal)?;
    run.print_head(&report.base)?;
    print(app, &report)?;
    print_tests(app, &report)?;
    let passed = report.bounds.iter().all(|b| b.passed);
    Ok(if passed { Outcome::Done } else { Outcome::Failed })
}

fn circuit_of(input: Input, path: &std::path::Path) -> Result<Circuit> {
    let circuit = input.circuit.ok_or_else(|| {
        Error::argument(
            format!("{}: there is no circuit in it", path.display()),
            "make one with `ablate select`, `ablate prune` or `ablate discover --method acdc`",
        )
    })?;
    if circuit.is_empty() {
        return Err(Error::argument(
            format!("{}: the circuit is empty", path.display()),
            "an empty circuit is the ablated model: choose at least one member",
        ));
    }
    Ok(circuit)
}

fn scores_of(path: &std::path::Path, graph: &Graph) -> Result<Scores> {
    inputs::read(path, Some(graph))?.scores.ok_or_else(|| {
        Error::argument(
            format!("{}: there are no scores in it", path.display()),
            "give a result of `ablate discover`",
        )
    })
}

/// The truth is of ungrouped readers, or of the readers that were asked for.
fn truth_of(path: &std::path::Path, lab: &Lab) -> Result<Circuit> {
    let ungrouped = Graph::new(lab.model.graph_shape(), Kv::PerQuery)?;
    circuit_of(inputs::read(path, Some(&ungrouped))?, path)
}

fn begin(circuit: &Circuit, frame: &Frame, found: &Faithfulness) -> EvaluationReport {
    let (metric, std_err) = stats::mean_and_std_err(&found.circuit).unwrap_or_default();
    EvaluationReport {
        metric_name: String::new(),
        size: circuit.len(),
        of: if circuit.level() == Level::Node { frame.candidates.len() } else { circuit.of() },
        level: circuit.level().to_string(),
        metric,
        std_err,
        clean: mean(&found.clean),
        ablated: mean(&found.ablated),
        faithfulness: found.value,
        interval: found.interval,
        per_example: found.circuit.clone(),
        curve: None,
        cpr: None,
        cmd: None,
        tests: Vec::new(),
        completeness: Vec::new(),
        minimality: Vec::new(),
        random: Vec::new(),
        against: None,
        bounds: Vec::new(),
        base: Base::new(found.clean.clone(), None),
        cost: Cost::default(),
    }
}

#[expect(clippy::too_many_arguments, reason = "what the command has resolved")]
fn measure(
    session: &mut Session<'_, '_>,
    args: &VerifyArgs,
    frame: &Frame,
    circuit: &Circuit,
    found: &Faithfulness,
    scores: Option<&Scores>,
    seed: u64,
    report: &mut EvaluationReport,
) -> Result<()> {
    if let (true, Some(scores)) = (args.curve, scores) {
        let curve = verify::curve_of_scores(session, frame, scores, (report.clean, report.ablated))?;
        (report.cpr, report.cmd) = (curve.cpr, curve.cmd);
        report.curve = Some(curve);
    }
    if args.tests {
        report.tests = tests(session, args, frame, circuit, found, seed, &mut report.random)?;
    }
    if args.completeness {
        report.completeness = verify::completeness(session, frame, circuit, 10, 5, seed)?;
    }
    if args.minimality {
        report.minimality = verify::minimality(session, frame, circuit, report.metric)?;
        if args.tests {
            let (members, level) = (&report.minimality, (0.9, LEVEL));
            let test = verify::minimality_tests(session, frame, circuit, members, level, seed)?;
            report.tests.extend(test);
        }
    }
    Ok(())
}

fn tests(
    session: &mut Session<'_, '_>,
    args: &VerifyArgs,
    frame: &Frame,
    circuit: &Circuit,
    found: &Faithfulness,
    seed: u64,
    random: &mut Vec<f64>,
) -> Result<Vec<Test>> {
    let mut tests = vec![verify::equivalence(&found.clean, &found.circuit, 0.1, LEVEL)];
    let rest = frame.plan(&circuit.complement());
    let without = session.evaluate(&[rest])?.remove(0);
    tests.push(verify::independence(&without, &found.clean, 1000, LEVEL, seed));
    if args.random > 0 {
        let runs = verify::random_circuits(session, frame, circuit, args.random, seed)?;
        let distance =
            |run: &[f64]| mean(&run.iter().zip(&found.clean).map(|(a, b)| (a - b).abs()).collect::<Vec<_>>());
        let distances: Vec<f64> = runs.iter().map(|r| distance(r)).collect();
        *random = runs.iter().map(|r| mean(r)).collect();
        tests.push(verify::sufficiency(distance(&found.circuit), &distances, 0.9, LEVEL));
    }
    Ok(tests)
}

/// Precision, recall and AUROC of edges and nodes.
fn against(truth: &Circuit, circuit: &Circuit, scores: Option<&Scores>) -> Result<Against> {
    let mut out = Against::default();
    let edges = circuit.level() == Level::Edge && truth.level() == Level::Edge;
    if edges {
        let counts = compare::confusion(truth, circuit)?;
        (out.edge_precision, out.edge_recall) = (counts.precision(), counts.recall());
    }
    let (true_nodes, nodes) = (truth.prune().to_nodes(), circuit.to_nodes());
    let counts = compare::confusion(&true_nodes, &nodes)?;
    (out.node_precision, out.node_recall) = (counts.precision(), counts.recall());
    let Some(scores) = scores else { return Ok(out) };
    if scores.level() == Level::Edge && truth.level() == Level::Edge {
        out.edge_auroc = roc::roc(truth, scores, true).ok().map(|r| r.auc);
        out.edge_auroc_mib = roc::mib_roc(truth, scores).ok().map(|r| r.auc);
    }
    out.node_auroc = roc::roc(&true_nodes, &node_scores(scores)?, true).ok().map(|r| r.auc);
    Ok(out)
}

/// Each node's score: of edges, the largest |score| out of it.
fn node_scores(scores: &Scores) -> Result<Scores> {
    if scores.level() == Level::Node {
        return Ok(scores.clone());
    }
    let graph = scores.graph();
    let rows = graph.sender_ids().map(|id: NodeId| {
        let out = graph.out_edges(id).filter_map(|e| scores.of_edge(e)).map(|r| r.score.abs());
        ScoreRow::new(id.0, out.fold(0.0, f64::max))
    });
    Ok(Scores::new(graph, Level::Node, rows.collect())?)
}

fn bounds(args: &VerifyArgs, found: &Faithfulness) -> Result<Vec<Bound>> {
    let Some(at_least) = args.min_faithfulness else { return Ok(Vec::new()) };
    if !at_least.is_finite() {
        return Err(Error::argument(format!("--min-faithfulness {at_least}"), "give a number such as 0.8"));
    }
    let value = found.value.ok_or_else(|| {
        Error::argument(
            "the full and the ablated model have the same metric: faithfulness says nothing",
            "choose an --ablation that breaks the behaviour, or data whose corrupt prompts differ more",
        )
    })?;
    Ok(vec![Bound { what: "faithfulness".into(), value, at_least, passed: value >= at_least }])
}

fn warn(app: &App<'_>, report: &EvaluationReport) {
    if report.faithfulness.is_none() {
        app.warn("the full and the ablated model have the same metric: faithfulness says nothing");
    }
    if report.interval.is_some_and(|(low, high)| high - low > 0.5) {
        app.warn("the interval of the faithfulness is wide: take more rows");
    }
    if report.random.iter().any(|m| (m - report.clean).abs() < (report.metric - report.clean).abs()) {
        app.warn("some random circuit of the same size is nearer to the model");
    }
}

fn print(app: &App<'_>, report: &EvaluationReport) -> Result<()> {
    let mut table = Table::new(&["what", ">value"]);
    let mut row = |what: &str, value: String| table.row([what.to_owned(), value]);
    row("members", format!("{} of {} ({} level)", report.size, report.of, report.level));
    row("circuit", format!("{} ± {}", number(report.metric), number(report.std_err)));
    row("full model", number(report.clean));
    row("everything ablated", number(report.ablated));
    let interval = report.interval.map_or(String::new(), |(l, h)| format!(" [{}, {}]", number(l), number(h)));
    row("faithfulness [95%]", report.faithfulness.map_or("undefined".into(), number) + &interval);
    if let Some(curve) = &report.curve {
        let show = |x: Option<f64>| x.map_or("undefined".into(), number);
        row("CPR (MIB; anchored)", format!("{}; {}", show(curve.cpr), show(curve.cpr_anchored)));
        row("CMD (MIB; anchored)", format!("{}; {}", show(curve.cmd), show(curve.cmd_anchored)));
    }
    for bound in &report.bounds {
        let verdict = if bound.passed { "passed" } else { "FAILED" };
        row(&format!("{} ≥ {}", bound.what, bound.at_least), verdict.into());
    }
    if let Some(a) = &report.against {
        let show = |x: Option<f64>| x.map_or("-".into(), |x| percent(100.0 * x));
        row("edges: precision, recall", format!("{}, {}", show(a.edge_precision), show(a.edge_recall)));
        row("nodes: precision, recall", format!("{}, {}", show(a.node_precision), show(a.node_recall)));
        let auroc = [a.edge_auroc, a.edge_auroc_mib, a.node_auroc].map(|x| x.map_or("-".into(), number));
        row("AUROC: edges, edges (MIB), nodes", auroc.join(", "));
    }
    app.printer.table(&table)?;
    let Some(curve) = &report.curve else { return Ok(()) };
    app.printer.line("")?;
    let mut table = Table::new(&[">share", ">size", ">metric", ">faithfulness", ">by |score|"]);
    for (a, b) in curve.points.iter().zip(&curve.absolute) {
        let show = |x: Option<f64>| x.map_or("undefined".into(), number);
        table.row([
            a.share.to_string(),
            a.size.to_string(),
            number(a.metric),
            show(a.faithfulness),
            show(b.faithfulness),
        ]);
    }
    app.printer.table(&table)
}

fn print_tests(app: &App<'_>, report: &EvaluationReport) -> Result<()> {
    const SHOWN: usize = 10;
    if !report.tests.is_empty() {
        app.printer.line("")?;
        let mut table = Table::new(&["test", "verdict", ">statistic", ">p", "found"]);
        for test in &report.tests {
            let verdict = if test.passed { "passed" } else { "failed" };
            let [s, p] = [test.statistic, test.p_value].map(number);
            table.row([test.name.to_owned(), verdict.to_owned(), s, p, test.detail.clone()]);
        }
        app.printer.table(&table)?;
    }
    if !report.completeness.is_empty() {
        app.printer.line("")?;
        let mut table = Table::new(&["taken out of both", ">circuit", ">model", ">gap", "members"]);
        for row in report.completeness.iter().take(SHOWN) {
            let [c, m, g] = [row.circuit, row.model, row.gap].map(number);
            let first: Vec<&str> = row.removed.iter().take(4).map(String::as_str).collect();
            let more =
                if row.removed.len() > 4 { format!(",… ({})", row.removed.len()) } else { String::new() };
            table.row([row.kind.to_owned(), c, m, g, first.join(",") + &more]);
        }
        app.printer.table(&table)?;
    }
    if !report.minimality.is_empty() {
        app.printer.line("")?;
        let mut table = Table::new(&["member taken out", ">metric", ">fall"]);
        for row in report.minimality.iter().take(SHOWN) {
            table.row([row.name.clone(), number(row.metric), number(row.fall)]);
        }
        app.printer.table(&table)?;
        if report.minimality.len() > SHOWN {
            app.printer.note(&format!("{} more members", report.minimality.len() - SHOWN))?;
        }
    }
    Ok(())
}
