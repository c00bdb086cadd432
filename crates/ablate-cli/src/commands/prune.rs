//! `ablate prune`: remove nodes as long as the rest keeps enough of the full model's score.

use std::path::PathBuf;

use ablate::effects::ablate_nodes;
use ablate::graph::{Circuit, Node, Plan, Side, stats};
use ablate::prune::{self, Order, PruneConfig, Pruning};
use ablate::report::{CircuitPart, HeldOut, LeftOut, OrderReport, PruneReport, PruneRow, Survival};
use ablate::{Error, Result, Session};
use clap::Args;
use serde_json::json;

use crate::app::App;
use crate::args::{DataArgs, EditArgs};
use crate::lab::{Edit, Lab, Rows};
use crate::outcome::Outcome;
use crate::plot;
use crate::run::{self, Run};
use crate::table::{Table, number, percent};

/// Remove nodes one after the other while the rest keeps enough of the full model's score
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    ablate prune builtin:induction data.jsonl --ablation mean --test-fraction 0.3 --json a.json\n  \
    ablate prune builtin:induction data.jsonl --ablation zero --order random --orders 5 --json b.json")]
pub(crate) struct PruneArgs {
    /// Folder, .gguf file, Hugging Face repository or builtin:NAME
    model: String,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    edit: EditArgs,
    /// backward, forward, forward-backward, backward-forward or random
    #[arg(long, value_name = "ORDER", default_value = "backward")]
    order: String,
    /// Percent of the full model's score that may be lost in all
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0)]
    threshold: f64,
    /// Refuse removals that raise the score by as much, too
    #[arg(long)]
    two_sided: bool,
    /// With --order random: try N orders and report how often each node survives
    #[arg(long, value_name = "N", default_value_t = 1)]
    orders: u64,
    /// Measure the result on these rows too
    #[arg(long, value_name = "FILE", conflicts_with = "test_fraction")]
    test: Option<PathBuf>,
    /// Hold back this share of the rows and measure the result on them
    #[arg(long, value_name = "SHARE")]
    test_fraction: Option<f64>,
    /// Draw by layer and head what each kept node is worth
    #[arg(long)]
    plot: bool,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &PruneArgs) -> Result<Outcome> {
    check(args)?;
    let mut lab = Lab::open(app, &args.model, &args.data.data, &args.data.rows)?;
    let test = match (&args.test, args.test_fraction) {
        (Some(path), _) => Some(Rows::read(app, &lab.model, path, None)?),
        (None, Some(share)) => Some(lab.split_off(share, app.globals.seed)?),
        (None, None) => None,
    };
    app.set_data_file(&args.data.data);
    let edit = lab.edit(app, &args.edit, "mean-positional")?;
    let mut manifest = lab.manifest(app, Some(&edit));
    manifest.test_data = test.as_ref().map(|rows| rows.stamp.clone());
    if app.globals.explain {
        let plans: Vec<Plan> =
            edit.nodes.iter().map(|&n| ablate_nodes(&[n], edit.ablation, &edit.positions)).collect();
        app.warn("the plan below is for one pass; orders that go on until nothing changes take more");
        return run::explain_with(
            app,
            &lab,
            manifest,
            &plans,
            plans.len() * args.orders as usize,
            args.order != Order::Backward.name(),
        );
    }
    let settings = json!({
        "name": "prune", "order": args.order, "orders": args.orders, "threshold": args.threshold,
        "two_sided": args.two_sided, "nodes": args.edit.nodes,
    });
    let mut run = Run::start(app, manifest, Some(&settings))?;
    let mut bar = app.bar("prune");
    let mut session = run.session(&lab, &mut bar)?;
    let config = config(args, &edit, app.globals.seed)?;
    let outcome = prune_all(&mut session, config, args.orders, app.globals.seed)?;
    let left_out = prune::leave_one_out(&mut session, &outcome.config, outcome.best())?;
    let base = lab.base(app, &mut session)?;
    let cost = run.cost(&session, &base);
    let journal = session.into_journal();
    drop(bar);
    let held_out = test.map(|rows| held_out(app, &lab, &rows, &edit, outcome.best())).transpose()?;
    let mut report = report(&lab, &outcome, &left_out)?;
    report.base = base;
    report.cost = cost;
    report.test = held_out;
    warn(app, &report);
    run.finish("trace", &report, journal)?;
    run.print_head(&report.base)?;
    print(app, &report)?;
    if args.plot {
        draw(app, &lab, &edit, &report)?;
    }
    Ok(Outcome::Done)
}

/// Refuses flags that contradict each other.
fn check(args: &PruneArgs) -> Result<()> {
    Order::parse(&args.order, 0)?;
    if args.orders == 0 || (args.orders > 1 && args.order != "random") {
        return Err(Error::argument(
            format!("--orders {} with --order {}", args.orders, args.order),
            "several orders need --order random; one is the default",
        ));
    }
    if !args.threshold.is_finite() || args.threshold < 0.0 {
        return Err(Error::argument(
            format!("--threshold {}", args.threshold),
            "give the percentage of the score that may be lost, such as 10",
        ));
    }
    Ok(())
}

fn config(args: &PruneArgs, edit: &Edit, seed: u64) -> Result<PruneConfig> {
    Ok(PruneConfig {
        nodes: edit.nodes.clone(),
        ablation: edit.ablation,
        positions: edit.positions.clone(),
        threshold: args.threshold,
        two_sided: args.two_sided,
        order: Order::parse(&args.order, seed)?,
    })
}

/// All orders that were run; `best` has the fewest nodes, then the highest score, then the first seed.
pub(super) struct Outcomes {
    pub(super) config: PruneConfig,
    runs: Vec<(u64, Pruning)>,
    best: usize,
}

impl Outcomes {
    pub(super) fn best(&self) -> &Pruning {
        &self.runs[self.best].1
    }
}

/// Prunes by `orders` orders, whose seeds count up from `seed`.
pub(super) fn prune_all(
    session: &mut Session<'_, '_>,
    mut config: PruneConfig,
    orders: u64,
    seed: u64,
) -> Result<Outcomes> {
    let mut runs: Vec<(u64, Pruning)> = Vec::new();
    let mut best = 0;
    let name = config.order.name();
    for i in 0..orders {
        config.order = Order::parse(name, seed.wrapping_add(i))?;
        let run = prune::prune(session, &config)?;
        let better = runs.get(best).is_some_and(|(_, b): &(u64, Pruning)| {
            (run.kept.len(), -run.score_percent) < (b.kept.len(), -b.score_percent)
        });
        if better {
            best = runs.len();
        }
        runs.push((seed.wrapping_add(i), run));
    }
    config.order = Order::parse(name, runs[best].0)?;
    Ok(Outcomes { config, runs, best })
}

/// The result on other rows, with the means that were used to prune.
pub(super) fn held_out(
    app: &App<'_>,
    lab: &Lab,
    rows: &Rows,
    edit: &Edit,
    pruning: &Pruning,
) -> Result<HeldOut> {
    app.set_data_file(std::path::Path::new(&rows.stamp.file));
    let mut bar = app.bar("held-out rows");
    let mut session = lab.session_on(app, rows, &mut bar)?;
    let removed: Vec<Node> = edit.nodes.iter().copied().filter(|n| !pruning.kept.contains(n)).collect();
    let metrics = session.evaluate(&[ablate_nodes(&removed, edit.ablation, &edit.positions)])?.remove(0);
    let full = stats::mean(&session.base(Side::Clean)?).unwrap_or_default();
    let (metric, std_err) = stats::mean_and_std_err(&metrics).unwrap_or_default();
    let score_percent = if full == 0.0 { 0.0 } else { 100.0 * metric / full };
    Ok(HeldOut { n: metrics.len(), full, metric, std_err, score_percent })
}

/// The wire structure of an outcome, without base, cost and held-out rows.
pub(super) fn report(lab: &Lab, outcome: &Outcomes, left_out: &[(Node, f64)]) -> Result<PruneReport> {
    let best = outcome.best();
    let nodes = &outcome.config.nodes;
    let circuit = Circuit::of_nodes(&lab.graph, best.kept.iter().copied())?;
    let (metric, std_err) = stats::mean_and_std_err(&best.metrics).unwrap_or_default();
    let several = outcome.runs.len() > 1;
    let names = |kept: &[Node]| kept.iter().map(ToString::to_string).collect();
    let order = |(seed, run): &(u64, Pruning)| OrderReport {
        seed: *seed,
        members: names(&run.kept),
        size: run.kept.len(),
        metric: stats::mean(&run.metrics).unwrap_or_default(),
        score_percent: run.score_percent,
    };
    let kept = |node: &Node| outcome.runs.iter().filter(|(_, run)| run.kept.contains(node)).count();
    let survival =
        |node: &Node| Survival { name: node.to_string(), kept: kept(node), of: outcome.runs.len() };
    let random = matches!(outcome.config.order, Order::Random { .. });
    Ok(PruneReport {
        order: outcome.config.order.name().to_owned(),
        order_seed: random.then(|| outcome.runs[outcome.best].0),
        threshold: outcome.config.threshold,
        two_sided: outcome.config.two_sided,
        metric_name: lab.metric.name().to_owned(),
        full: best.full,
        base: ablate::report::Base::new(Vec::new(), None),
        steps: best.steps.iter().map(step).collect(),
        circuit: CircuitPart::new(&circuit, nodes.len()),
        metric,
        std_err,
        score_percent: best.score_percent,
        leave_one_out: left_out.iter().map(|(node, score)| left(node, *score, best.score_percent)).collect(),
        test: None,
        orders: if several { outcome.runs.iter().map(order).collect() } else { Vec::new() },
        survival: if several { nodes.iter().map(survival).collect() } else { Vec::new() },
        cost: ablate::report::Cost::default(),
    })
}

fn step(step: &prune::PruneStep) -> PruneRow {
    PruneRow {
        pass: step.pass,
        candidate: step.candidate.to_string(),
        metric: step.metric,
        score_percent: step.score_percent,
        removed: step.removed,
    }
}

fn left(node: &Node, score_percent: f64, whole: f64) -> LeftOut {
    LeftOut { name: node.to_string(), score_percent, importance: whole - score_percent }
}

fn warn(app: &App<'_>, report: &PruneReport) {
    if report.circuit.size == report.circuit.of {
        app.warn("nothing could be removed: raise --threshold or take another --ablation");
    }
    if report.circuit.size == 0 {
        app.warn("everything could be removed: the behaviour does not need these nodes");
    }
    let torn = report.survival.iter().filter(|s| s.kept > 0 && s.kept < s.of).count();
    if torn > 0 {
        app.warn(format!(
            "{torn} nodes stay in some orders and go in others: the circuit depends on the order of removal"
        ));
    }
    if let Some(test) = &report.test
        && test.score_percent < report.score_percent - report.threshold.max(5.0)
    {
        app.warn(format!(
            "the circuit keeps {} on held-out rows, but {} on the rows it was found on",
            percent(test.score_percent),
            percent(report.score_percent)
        ));
    }
}

fn print(app: &App<'_>, report: &PruneReport) -> Result<()> {
    let seed = report.order_seed.map_or(String::new(), |s| format!(" (seed {s})"));
    app.printer.note(&format!(
        "order {}{seed}, threshold {}{}; {} tests",
        report.order,
        percent(report.threshold),
        if report.two_sided { " either way" } else { "" },
        report.steps.len()
    ))?;
    let mut table = Table::new(&["circuit", ">of rows", ">nodes", ">metric", ">std_err", ">score"]);
    let nodes = format!("{} of {}", report.circuit.size, report.circuit.of);
    let line = |name: &str, n: usize, metric: f64, std_err: f64, score: f64| {
        [name.to_owned(), n.to_string(), nodes.clone(), number(metric), number(std_err), percent(score)]
    };
    table.row(line("kept", report.base.n, report.metric, report.std_err, report.score_percent));
    if let Some(test) = &report.test {
        table.row(line("kept, held-out rows", test.n, test.metric, test.std_err, test.score_percent));
    }
    app.printer.table(&table)?;
    if !report.leave_one_out.is_empty() {
        app.printer.line("")?;
        let survival = |name: &str| {
            let row = report.survival.iter().find(|s| s.name == name);
            row.map_or(String::new(), |s| format!("{}/{}", s.kept, s.of))
        };
        let mut table = Table::new(&["node", ">score without it", ">importance", ">survives"]);
        let mut rows: Vec<&LeftOut> = report.leave_one_out.iter().collect();
        rows.sort_by(|a, b| b.importance.total_cmp(&a.importance));
        for row in rows {
            let (without, importance) = (percent(row.score_percent), percent(row.importance));
            table.row([row.name.clone(), without, importance, survival(&row.name)]);
        }
        app.printer.table(&table)?;
    }
    print_orders(app, report)
}

/// Percent of the score that goes with each kept node; 0 for the removed ones.
fn draw(app: &App<'_>, lab: &Lab, edit: &Edit, report: &PruneReport) -> Result<()> {
    let of = |node: Node| {
        let name = node.to_string();
        let kept = report.leave_one_out.iter().find(|row| row.name == name);
        kept.map(|row| row.importance).or_else(|| edit.nodes.contains(&node).then_some(0.0))
    };
    plot::nodes(app, &lab.graph, "percent of the score lost without it, right: gained; · = removed", of)
}

fn print_orders(app: &App<'_>, report: &PruneReport) -> Result<()> {
    if report.orders.is_empty() {
        return Ok(());
    }
    app.printer.line("")?;
    let mut table = Table::new(&[">seed", ">nodes", ">metric", ">score", "members"]);
    for order in &report.orders {
        let (size, metric) = (order.size.to_string(), number(order.metric));
        table.row([
            order.seed.to_string(),
            size,
            metric,
            percent(order.score_percent),
            order.members.join(","),
        ]);
    }
    app.printer.table(&table)
}
