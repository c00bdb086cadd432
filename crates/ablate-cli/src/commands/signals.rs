//! `ablate signals`: which information a path carries, by counterfactuals that each change one kind of it.

use std::path::PathBuf;

use ablate::graph::Positions;
use ablate::path::{After, Route, Through};
use ablate::report::{Base, IntervalPart, SeenPart, SignalsReport};
use ablate::signals::{Kind, Question, Whole, signals};
use ablate::task::{self, TaskRequest, Values};
use ablate::{Ablation, Dataset, Error, Metric, Result, Study};
use clap::Args;

use super::backups::interval;
use super::path::{AfterArg, ThroughArg, hops, warn_of_misses};
use crate::app::App;
use crate::lab::{Lab, Rows};
use crate::outcome::Outcome;
use crate::run::{self, Run};
use crate::table::{Table, number};

/// Find out which information a path carries: tokens, positions, distances, order
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    ablate signals builtin:induction --task induction --senders a0.* --receivers 'a2.*<k>' --watch B1\n  \
    ablate signals builtin:induction --task induction --senders a2.* --receivers logits --json s.json\n  \
    ablate signals builtin:induction data.jsonl --senders a0.* --receivers 'a2.*<k>' --share-of metric")]
pub(crate) struct SignalsArgs {
    /// Folder, .gguf file, Hugging Face repository or builtin:NAME
    model: String,
    /// Data sets of the same clean rows, one for each kind of information; --task makes them
    #[arg(value_name = "DATA")]
    data: Vec<PathBuf>,
    /// The task whose corruptions are the kinds of information
    #[arg(long, value_name = "TASK", default_value = "ioi", conflicts_with = "data")]
    task: String,
    /// Options of the task other than its corruption
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "data")]
    options: Vec<String>,
    /// Number of rows
    #[arg(short, long, value_name = "N", default_value_t = 48)]
    n: usize,
    /// Only these corruptions; all of the task unless given
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    kinds: Vec<String>,
    /// Whose outputs are replaced, all together: heads, mlps, all, or names and globs
    #[arg(long, value_name = "SET")]
    senders: String,
    /// At which positions: all, last, or the data's named positions such as S2,end
    #[arg(long, value_name = "POSITIONS", default_value = "all")]
    positions: String,
    /// Where the change arrives: logits, or readers such as `a9.*<q>`. Hops of a longer path follow one another with /
    #[arg(long, value_name = "SET[/SET…]")]
    receivers: String,
    /// none (heads and MLPs between are held) or mlp (MLPs are computed anew)
    #[arg(long, value_name = "RULE", value_enum, default_value = "none", hide_possible_values = true)]
    through: ThroughArg,
    /// recompute (a live run after the receivers) or frozen (their outputs go to the logits under the same rule)
    #[arg(long, value_name = "RULE", value_enum, default_value = "recompute", hide_possible_values = true)]
    after: AfterArg,
    /// Named positions: attention of the last receivers to these is shown
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    watch: Vec<String>,
    /// From where their attention is watched
    #[arg(long, value_name = "POSITION", default_value = "last")]
    from: String,
    /// Shares are of this kind's effect, or of the clean `metric`; the task's own corruption unless given
    #[arg(long, value_name = "KIND|metric")]
    share_of: Option<String>,
    /// A share within ± this is not carried, beyond it is carried
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    bound: f64,
    /// logit-diff, prob-diff, logprob, kl or accuracy
    #[arg(long, value_name = "METRIC", default_value = "logit-diff")]
    metric: String,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &SignalsArgs) -> Result<Outcome> {
    if !(args.bound.is_finite() && args.bound > 0.0) {
        return Err(Error::argument(
            format!("--bound {} is no share", args.bound),
            "0.1 is a tenth of the whole",
        ));
    }
    let metric = Metric::parse(&args.metric)?;
    let model = app.load(&args.model)?;
    let (named, default) = data_sets(app, &model, args)?;
    let kinds: Vec<Kind> =
        named.iter().map(|(name, rows)| Kind { name: name.clone(), batch: rows.batch.clone() }).collect();
    let Some((_, first)) = named.into_iter().next() else {
        return Err(Error::argument("there are no kinds of information", "name data sets, or a --task"));
    };
    let lab = Lab::of(model, first, metric)?;
    let question = question(app, args, &lab, default)?;
    warn_of_misses(app, &question.route, &question.senders, &args.receivers);
    let mut manifest = lab.manifest(app, None);
    manifest.conventions.ablation = Some("resample".into());
    manifest.conventions.scale = Some(1.0);
    manifest.conventions.positions = Some(question.route.positions.to_string());
    if app.globals.explain {
        let plans = [question.route.first_plan(question.senders[0])];
        return run::explain(app, &lab, manifest, &plans, kinds.len());
    }
    let mut run = Run::start(app, manifest, None)?;
    let mut study = Study::new(&lab.model, lab.rows.batch.clone(), lab.setup(app))?;
    let found = signals(&mut study, &kinds, &question)?;
    let base = Base::new(found.clean.clone(), None);
    for doubt in base.doubts(metric) {
        app.warn(doubt);
    }
    if found.rows.iter().any(|r| r.share.is_none()) {
        app.warn("the whole's effect may be 0: there is nothing whose shares could be told");
    }
    let report = SignalsReport {
        senders: question.senders.iter().map(ToString::to_string).collect(),
        receivers: args.receivers.clone(),
        through: format!("{:?}", question.route.through).to_lowercase(),
        after: format!("{:?}", question.route.after).to_lowercase(),
        metric: metric.name().to_owned(),
        share_of: match &question.whole {
            Whole::Kind(kind) => kind.clone(),
            Whole::Metric => "metric".to_owned(),
        },
        bound: args.bound,
        attention: found.attention.iter().map(Into::into).collect(),
        rows: found.rows.iter().map(Into::into).collect(),
        base,
    };
    run.finish("signals", &report, None)?;
    run.print_head(&report.base)?;
    print(app, &args.senders, &report)?;
    Ok(Outcome::Done)
}

/// The kinds with their rows, and the one that shares are of unless said otherwise.
fn data_sets(
    app: &App<'_>,
    model: &ablate::model::Model,
    args: &SignalsArgs,
) -> Result<(Vec<(String, Rows)>, String)> {
    if !args.data.is_empty() {
        let mut all = Vec::with_capacity(args.data.len());
        for path in &args.data {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            all.push((stem, Rows::read(app, model, path, None)?));
        }
        let first = all[0].0.clone();
        return Ok((all, first));
    }
    let task = task::find(&args.task)?;
    let corruption = task.options().iter().find(|o| o.name == "corruption");
    let Some((Values::Words(words), default)) = corruption.map(|o| (o.values, o.default)) else {
        let with = task::all().iter().filter(|t| t.options().iter().any(|o| o.name == "corruption"));
        return Err(Error::argument(
            format!("task {} has one kind of corruption only", task.name()),
            format!("tasks with several: {}", with.map(|t| t.name()).collect::<Vec<_>>().join(", ")),
        ));
    };
    let mut options = task::parse_options(&args.options)?;
    if options.contains_key("corruption") {
        return Err(Error::argument("--set corruption=… has no use here", "--kinds says which are taken"));
    }
    let mut all = Vec::new();
    for word in words.iter().filter(|w| args.kinds.is_empty() || args.kinds.iter().any(|k| k == *w)) {
        options.insert("corruption".into(), (*word).into());
        let codec = model.codec();
        let data: Dataset =
            task.generate(&TaskRequest { n: args.n, seed: app.globals.seed, options: &options, codec })?;
        let stamp = ablate::manifest::DataStamp {
            file: format!("task {}", task.name()),
            of: data.len(),
            ..Default::default()
        };
        all.push(((*word).to_owned(), Rows::of(model, data, stamp)?));
    }
    if let Some(kind) = args.kinds.iter().find(|k| !words.contains(&k.as_str())) {
        return Err(Error::argument(
            format!("task {} has no corruption {kind}", task.name()),
            format!("it has {}", words.join(", ")),
        ));
    }
    Ok((all, default.to_owned()))
}

fn question(app: &App<'_>, args: &SignalsArgs, lab: &Lab, default: String) -> Result<Question> {
    let route = Route {
        graph: lab.graph,
        hops: hops(&lab.graph, &args.receivers)?,
        through: if args.through == ThroughArg::Mlp { Through::Mlp } else { Through::None },
        after: if args.after == AfterArg::Frozen { After::Frozen } else { After::Recompute },
        positions: lab.positions(&args.positions)?,
        ablation: Ablation::parse("resample", app.globals.seed)?,
    };
    route.check()?;
    lab.check_counterfactuals(route.ablation)?;
    let whole = match args.share_of.as_deref() {
        Some("metric") => Whole::Metric,
        Some(kind) => Whole::Kind(kind.to_owned()),
        None => Whole::Kind(default),
    };
    let query: Option<Positions> =
        if args.watch.is_empty() { None } else { Some(lab.positions(&args.from)?) };
    let senders = lab.graph.parse_nodes(&args.senders)?;
    if senders.is_empty() {
        return Err(Error::argument(
            format!("--senders {} names no node", args.senders),
            "name heads or MLPs",
        ));
    }
    Ok(Question {
        senders,
        route,
        query,
        keys: args.watch.clone(),
        whole,
        bound: args.bound,
        seed: app.globals.seed,
    })
}

/// More senders than this are named by their set.
const NAMED: usize = 6;

fn print(app: &App<'_>, senders: &str, report: &SignalsReport) -> Result<()> {
    let n = report.senders.len();
    let senders = if n > NAMED { format!("{n} nodes ({senders})") } else { report.senders.join(", ") };
    app.printer.note(&format!(
        "{senders} together -> {}, through {}, after {}; shares are of {}, bound {}",
        report.receivers, report.through, report.after, report.share_of, report.bound
    ))?;
    let mut columns =
        vec!["what changes", ">metric", ">score", "95 % interval", ">share", "95 % interval", "verdict"];
    let names: Vec<String> = report.attention.iter().map(|a| format!(">looks at {}", a.to)).collect();
    columns.extend(names.iter().map(String::as_str));
    let mut table = Table::new(&columns);
    let looks = |parts: &[SeenPart]| parts.iter().map(|p| number(p.weight.value)).collect::<Vec<_>>();
    let nothing = [String::new(), String::new(), String::new(), String::new(), String::new()];
    let first = ["nothing".to_owned(), number(report.base.clean)];
    table.row(first.into_iter().chain(nothing).chain(looks(&report.attention)));
    for row in &report.rows {
        let share = |x: &IntervalPart| [number(x.value), interval(x)];
        let [share, range] = row.share.as_ref().map_or_else(Default::default, share);
        let verdict = row.verdict.clone().unwrap_or_default();
        let cells = [
            row.kind.clone(),
            number(row.metric),
            number(row.score.value),
            interval(&row.score),
            share,
            range,
            verdict,
        ];
        table.row(cells.into_iter().chain(looks(&row.attention)));
    }
    app.printer.table(&table)?;
    print_pointed(app, report)
}

/// Where a code of positions would make them look.
fn print_pointed(app: &App<'_>, report: &SignalsReport) -> Result<()> {
    let moved = |p: &&SeenPart| p.same_index.is_some() || p.same_distance.is_some();
    if !report.rows.iter().any(|r| r.attention.iter().any(|p| moved(&p))) {
        return Ok(());
    }
    app.printer.line("")?;
    let columns = [
        "what changes",
        "position",
        ">looks at it",
        "95 % interval",
        ">at its other index",
        ">at its other distance",
    ];
    let mut table = Table::new(&columns);
    for row in &report.rows {
        for part in row.attention.iter().filter(moved) {
            let other = |x: &Option<IntervalPart>| x.as_ref().map_or_else(String::new, |x| number(x.value));
            table.row([
                row.kind.clone(),
                part.to.clone(),
                number(part.weight.value),
                interval(&part.weight),
                other(&part.same_index),
                other(&part.same_distance),
            ]);
        }
    }
    app.printer.table(&table)?;
    app.printer.note(
        "a code of absolute positions would point to the index in the other text, one of distances to as far before the end",
    )
}
