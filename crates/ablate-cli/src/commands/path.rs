//! `ablate path`: what senders do to receivers, along nothing but the paths between them.

use ablate::effects::Effect;
use ablate::graph::{Edge, Graph, Level, Node, NodeId, Positions, Reader, ScoreRow, Scores, Slot};
use ablate::path::{After, Route, Through, path_attention, path_patch};
use ablate::report::{self, Base, node_scores};
use ablate::run::Watch;
use ablate::{Error, Result, Session};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::args::DataArgs;
use crate::edges::EdgeArgs;
use crate::lab::{Edit, Lab};
use crate::outcome::Outcome;
use crate::plot;
use crate::run::{self, Run};
use crate::table::{Table, number};

/// What lies between senders and receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ThroughArg {
    /// Nothing but the stream and norms.
    None,
    /// MLPs too.
    Mlp,
}

/// What follows the receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AfterArg {
    /// Everything after them is computed anew.
    Recompute,
    /// Their outputs reach the logits under the rule of --through.
    Frozen,
}

/// Patch the paths from senders to receivers and measure what that does
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    ablate path builtin:induction data.jsonl --receivers logits --top 5 --plot\n  \
    ablate path builtin:induction data.jsonl --senders a0.* --receivers 'a1.*<k>' --json path.json\n  \
    ablate path builtin:induction data.jsonl --receivers logits --extend 1 --group 1\n  \
    ablate path builtin:induction data.jsonl --receivers 'a2.h1<k>' --attention 'A2->B1' --top 5")]
pub(crate) struct PathArgs {
    /// Folder, .gguf file, Hugging Face repository or builtin:NAME
    model: String,
    #[command(flatten)]
    data: DataArgs,
    /// Whose outputs are replaced, one at a time: heads, mlps, all, or names and globs
    #[arg(long, value_name = "SET", default_value = "heads")]
    senders: String,
    /// Where the change arrives: logits, or readers such as `a9.*<q>,m10`. Hops of a longer path follow one another with /
    #[arg(long, value_name = "SET[/SET…]", default_value = "logits")]
    receivers: String,
    /// none (heads and MLPs between are held) or mlp (MLPs are computed anew)
    #[arg(long, value_name = "RULE", value_enum, default_value = "none", hide_possible_values = true)]
    through: ThroughArg,
    /// recompute (a live run after the receivers) or frozen (their outputs go to the logits under the same rule)
    #[arg(long, value_name = "RULE", value_enum, default_value = "recompute", hide_possible_values = true)]
    after: AfterArg,
    /// Measure the attention of the receiving heads (their mean) from one position to another, such as `end->IO`,
    /// instead of the metric
    #[arg(long, value_name = "QUERY->KEY", conflicts_with = "extend")]
    attention: Option<String>,
    /// Each attention times the norm of the value it moves
    #[arg(long, requires = "attention")]
    value_weighted: bool,
    #[command(flatten)]
    edge: EdgeArgs,
    /// Go N steps backwards: the best senders become a named group, whose q, k and v are the next receivers
    #[arg(long, value_name = "N", default_value_t = 0)]
    extend: usize,
    /// Size of a group with --extend
    #[arg(long, value_name = "K", default_value_t = 3)]
    group: usize,
    /// Keep the metric of every example in the result file
    #[arg(long)]
    per_example: bool,
    /// Rows printed, those with the largest |score|; the result file has all
    #[arg(long, value_name = "K")]
    top: Option<usize>,
    /// Draw the scores by layer and head
    #[arg(long)]
    plot: bool,
}

/// A group of heads found on the way backwards.
#[derive(Clone, Debug, Serialize)]
struct Group {
    name: String,
    reaches: String,
    members: Vec<String>,
    scores: Vec<f64>,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &PathArgs) -> Result<Outcome> {
    let lab = Lab::open(app, &args.model, &args.data.data, &args.data.rows)?;
    let edit = args.edge.edit(app, &lab)?;
    let graph = args.edge.graph(&lab)?;
    let senders = lab.graph.parse_nodes(&args.senders)?;
    let route = Route {
        graph,
        hops: hops(&graph, &args.receivers)?,
        through: if args.through == ThroughArg::Mlp { Through::Mlp } else { Through::None },
        after: if args.after == AfterArg::Frozen { After::Frozen } else { After::Recompute },
        positions: edit.positions.clone(),
        ablation: edit.ablation,
    };
    route.check()?;
    warn_of_misses(app, &route, &senders, &args.receivers);
    let watch =
        args.attention.as_deref().map(|text| attention(&lab, text, args.value_weighted)).transpose()?;
    let mut manifest = lab.manifest(app, Some(&edit));
    if let Some((watch, key)) = &watch {
        let weighted = if watch.weighted { "value-weighted " } else { "" };
        manifest.conventions.metric = format!("{weighted}attention {}->{key}", watch.query);
        manifest.conventions.reads = Some(watch.query.to_string());
    }
    if app.globals.explain {
        let plans: Vec<_> = senders.iter().map(|&n| route.first_plan(n)).collect();
        return run::explain(app, &lab, manifest, &plans, plans.len());
    }
    let method = method(args, &route, &edit);
    let mut run = Run::start(app, manifest, Some(&method))?;
    let mut bar = app.bar("path");
    let mut session = run.session(&lab, &mut bar)?;
    let (effects, base) = measure(app, &lab, &mut session, (&senders[..], &route), watch.as_ref())?;
    let scores = node_scores(&lab.graph, &senders, &effects, args.per_example)?;
    let groups = extend(&mut session, &senders, &route, &scores, args)?;
    let cost = run.cost(&session, &base);
    let journal = session.into_journal();
    drop(bar);
    let mut file = report::scores_file(
        scores,
        method,
        &run.manifest().conventions.metric.clone(),
        &base,
        &cost,
        &app.warnings(),
        run.manifest(),
    )?;
    file.extra.insert("receivers".into(), json!(args.receivers));
    file.extra.insert("through".into(), file.method["through"].clone());
    file.extra.insert("after".into(), file.method["after"].clone());
    file.extra.insert("groups".into(), report::value(&groups)?);
    run.write(&file.to_value(), &file.write(), journal)?;
    run.print_head(&base)?;
    print(app, &file.scores, args.top)?;
    if args.plot {
        plot::scores(app, &lab.graph, &file.scores)?;
    }
    print_groups(app, &groups)?;
    Ok(Outcome::Done)
}

/// What was asked, as the result file says it.
fn method(args: &PathArgs, route: &Route, edit: &Edit) -> serde_json::Value {
    json!({
        "name": "path", "receivers": args.receivers, "through": format!("{:?}", route.through).to_lowercase(),
        "after": format!("{:?}", route.after).to_lowercase(), "ablation": edit.ablation.name(),
        "scale": edit.ablation.scale, "positions": edit.positions.to_string(), "senders": args.senders,
        "attention": args.attention, "value_weighted": args.value_weighted,
    })
}

/// The effects of the senders, and the unedited run's metric: attention where it is watched.
fn measure(
    app: &App<'_>,
    lab: &Lab,
    session: &mut Session<'_, '_>,
    (senders, route): (&[Node], &Route),
    watch: Option<&(Watch, Positions)>,
) -> Result<(Vec<Effect>, Base)> {
    if let Some((watch, key)) = watch {
        let (clean, effects) = path_attention(session, senders, route, watch, key)?;
        return Ok((effects, Base::new(clean, None)));
    }
    let effects = path_patch(session, senders, route)?;
    Ok((effects, lab.base(app, session)?))
}

/// From where attention is watched, and to where: `end->IO`.
fn attention(lab: &Lab, text: &str, weighted: bool) -> Result<(Watch, Positions)> {
    let Some((query, key)) = text.split_once("->") else {
        return Err(Error::argument(
            format!("--attention {text}: there is no arrow"),
            "write QUERY->KEY with two positions, as in end->IO",
        ));
    };
    Ok((Watch { query: lab.positions(query.trim())?, weighted }, lab.positions(key.trim())?))
}

/// Says where no path is: what comes later is not read.
pub(super) fn warn_of_misses(app: &App<'_>, route: &Route, senders: &[Node], receivers: &str) {
    if route.misses(senders) {
        let names: Vec<String> = senders.iter().take(4).map(ToString::to_string).collect();
        let more = if senders.len() > 4 { ", …" } else { "" };
        app.warn(format!(
            "no path leads from {}{more} to {receivers}, which read only what comes before them: the effect is 0",
            names.join(", ")
        ));
    }
}

/// The hops of a path: sets of readers with slashes between.
pub(super) fn hops(graph: &Graph, text: &str) -> Result<Vec<Vec<Reader>>> {
    text.split('/').map(|hop| Ok(graph.parse_readers(hop.trim())?)).collect()
}

/// Goes backwards from the first ranking: the best senders become receivers, one slot at a time.
fn extend(
    session: &mut Session<'_, '_>,
    senders: &[Node],
    route: &Route,
    scores: &Scores,
    args: &PathArgs,
) -> Result<Vec<Group>> {
    let mut groups = Vec::new();
    if args.extend == 0 {
        return Ok(groups);
    }
    if args.group == 0 {
        return Err(Error::argument("--group 0", "a group needs at least one member"));
    }
    let (mut group, mut nodes) = best(scores, args.group, "group 1".into(), args.receivers.clone());
    groups.push(group);
    let mut hops = route.hops.clone();
    for step in 0..args.extend {
        let mut ranked: Vec<(Slot, Scores)> = Vec::new();
        for slot in Slot::ALL {
            let readers = nodes.iter().filter_map(|n| reader_of(&route.graph, *n, slot));
            let mut longer = vec![readers.collect::<Vec<_>>()];
            if longer[0].is_empty() {
                continue;
            }
            longer.extend(hops.iter().cloned());
            if longer[longer.len() - 1] != [Reader::Logits] {
                longer.push(vec![Reader::Logits]);
            }
            let route = Route { hops: longer, after: After::Frozen, ..route.clone() };
            let before: Vec<Node> = senders.iter().copied().filter(|n| can_reach(&route, *n)).collect();
            if before.is_empty() {
                continue;
            }
            let effects = path_patch(session, &before, &route)?;
            ranked.push((slot, node_scores(scores.graph(), &before, &effects, false)?));
        }
        let strength = |s: &Scores| s.ranked(true).first().map_or(0.0, |r| r.score.abs());
        let top = ranked.into_iter().max_by(|a, b| strength(&a.1).total_cmp(&strength(&b.1)));
        let Some((slot, scores)) = top else { break };
        let reaches = format!("group {} <{}>", step + 1, slot.letter());
        let mut first: Vec<Reader> = nodes.iter().filter_map(|n| reader_of(&route.graph, *n, slot)).collect();
        first.sort();
        hops.insert(0, first);
        (group, nodes) = best(&scores, args.group, format!("group {}", step + 2), reaches);
        groups.push(group);
    }
    Ok(groups)
}

fn reader_of(graph: &Graph, node: Node, slot: Slot) -> Option<Reader> {
    let readers = graph.readers_of(node).into_iter().map(|id| graph.reader(id));
    readers.into_iter().find(|r| r.slot() == Some(slot))
}

/// Whether a sender is read by one of the first hop's readers.
fn can_reach(route: &Route, node: Node) -> bool {
    let edge = |r: &Reader| route.graph.edge_id(Edge { sender: node, reader: *r });
    route.hops.first().is_some_and(|hop| hop.iter().any(|r| edge(r).is_some()))
}

fn best(scores: &Scores, n: usize, name: String, reaches: String) -> (Group, Vec<Node>) {
    let top: Vec<&ScoreRow> = scores.ranked(true).into_iter().take(n).collect();
    let group = Group {
        name,
        reaches,
        members: top.iter().map(|r| scores.name(r)).collect(),
        scores: top.iter().map(|r| r.score).collect(),
    };
    let nodes = top.iter().map(|r| scores.graph().node(NodeId(r.id)));
    (group, nodes.filter(|n| matches!(n, Node::Head { .. })).collect())
}

fn print(app: &App<'_>, scores: &Scores, top: Option<usize>) -> Result<()> {
    debug_assert_eq!(scores.level(), Level::Node);
    let mut table = Table::new(&["sender", ">metric", ">score", ">std_err", ">n"]);
    let ranked = scores.ranked(true);
    for row in ranked.iter().take(top.unwrap_or(usize::MAX)) {
        let [metric, score, error] = [row.metric, row.score, row.std_err].map(number);
        table.row([scores.name(row), metric, score, error, row.n.to_string()]);
    }
    app.printer.table(&table)?;
    match top {
        Some(top) if top < ranked.len() => app.printer.note(&format!("{} more", ranked.len() - top)),
        _ => Ok(()),
    }
}

fn print_groups(app: &App<'_>, groups: &[Group]) -> Result<()> {
    if groups.is_empty() {
        return Ok(());
    }
    app.printer.line("")?;
    let mut table = Table::new(&["group", "reaches", "members"]);
    for group in groups {
        let members = group.members.iter().zip(&group.scores).map(|(m, s)| format!("{m} {}", number(*s)));
        table.row([group.name.clone(), group.reaches.clone(), members.collect::<Vec<_>>().join(", ")]);
    }
    app.printer.table(&table)
}
