//! How well discovery methods find known circuits.
//!
//! Edges are compared as the benchmark compares them: the query, key and value inputs of a head are one input (an edge's score
//! is the largest of its slots'), and the edge from input to logits is left out. A node's score is the largest of its
//! edges'. True edges and nodes that carry the same in all inputs (positions, the length of inputs that are all equally long) are
//! left out: no replacement by another input's value can show them.
//!
//! Methods that need labels get the class of each position whose output changes, against the class that the corrupt input
//! has there; the others compare all positions' outputs with the clean run's (`kl`, or `mse` of numbers).

use std::collections::{BTreeMap, BTreeSet};

use ablate_graph::roc::auroc;
use ablate_graph::{Circuit, EdgeSet, Graph, Kv, Level, Node, Reader, Side, Source, stats};
use ablate_model::model::AnyWeights;
use ablate_model::{Batch, Model, Row};
use serde::Serialize;

use super::labels::argmax;
use super::{Alignment, Case, Inputs, handover};
use crate::ablation::Ablation;
use crate::discover::acdc::{AcdcConfig, acdc};
use crate::discover::exact::exact;
use crate::discover::{Attribution, Endpoints, Learning, Method, attribute, attribution_estimate};
use crate::error::{Error, Result};
use crate::metric::Metric;
use crate::run::{Passes, Setup, Study};
use crate::session::{Session, Silent};

/// Thresholds of ACDC: an edge's score is the largest at which it stays.
const THRESHOLDS: [f64; 10] = [1e-4, 1e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0];

/// Most rows with labels.
const LABELLED: usize = 300;

/// Methods that can be scored, those without gradients first; `atp` scores nodes as `eap` scores their edges.
pub fn methods() -> impl Iterator<Item = &'static str> {
    ["exact", "acdc"].into_iter().chain(Method::NAMES.into_iter().filter(|m| *m != "atp"))
}

/// How a method did on a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// The case.
    pub case: String,
    /// The method.
    pub method: String,
    /// Area under the ROC curve of edges by |score|: the chance that a true edge is above a false one.
    pub edge_auroc: Option<f64>,
    /// The same by signed score, as some published numbers have it.
    pub edge_auroc_signed: Option<f64>,
    /// The same of heads and MLPs.
    pub node_auroc: Option<f64>,
    /// Of the edges with the largest |score|, as many as the circuit has: the share that is true. It is precision and
    /// recall at once.
    pub edge_precision: Option<f64>,
    /// The same of nodes.
    pub node_precision: Option<f64>,
    /// True edges and all edges.
    pub edges: (usize, usize),
    /// Seconds.
    pub seconds: f64,
}

/// Scores `method` on a model of `case`; `None` where the method cannot say anything: gradients at the clean run of a metric
/// that has its optimum there.
///
/// # Errors
/// An unknown method; a model that is none of the case.
pub fn score(
    case: &Case,
    model: &Model,
    alignment: &Alignment,
    method: &str,
    pairs: usize,
    seed: u64,
) -> Result<Option<Score>> {
    super::check_fits(case, model)?;
    if !methods().any(|m| m == method) {
        return Err(Error::unknown("method", method, methods()));
    }
    let start = std::time::Instant::now();
    let Some(found) = scores(case, model, method, pairs, seed)? else { return Ok(None) };
    let seconds = start.elapsed().as_secs_f64();
    let graph = Graph::new(model.graph_shape(), Kv::PerQuery)?;
    let truth = handover::circuit(case, model, alignment, Level::Edge)?;
    let moving = Moving::new(case, pairs, seed)?;
    let shown = handover::circuit_of(case, model, alignment, |edge| moving.edge(case, edge))?;
    let fixed: Vec<Node> = moving.fixed_nodes(case, alignment);
    let status = |node: Node| (!fixed.contains(&node)).then(|| alignment.contains(node));
    let (edges, nodes) = match found {
        Found::Edges(scores) => {
            let merged = merge(&graph, &scores, &truth, &shown);
            let nodes = of_nodes(&merged, &status);
            (merged.into_values().filter_map(|(s, t)| Some((s, t?))).collect(), nodes)
        }
        Found::Nodes(scores) => {
            (Vec::new(), scores.into_iter().filter_map(|(n, s)| Some((s.abs(), status(n)?))).collect())
        }
    };
    let absolute: Vec<(f64, bool)> = edges.iter().map(|(s, t): &(f64, bool)| (s.abs(), *t)).collect();
    let (edge_auroc, node_auroc) = (auroc(&absolute), auroc(&nodes));
    Ok(Some(Score {
        case: case.id().to_owned(),
        method: method.to_owned(),
        edge_auroc,
        edge_auroc_signed: auroc(&edges),
        node_auroc,
        edge_precision: edge_auroc.map(|_| precision(&absolute)),
        node_precision: node_auroc.map(|_| precision(&nodes)),
        edges: (edges.iter().filter(|r| r.1).count(), edges.len()),
        seconds,
    }))
}

/// What [`score`] takes. ACDC runs at most every edge at every threshold, the others as they say themselves.
///
/// # Errors
/// As [`score`].
pub fn estimate(
    case: &Case,
    model: &Model,
    method: &str,
    pairs: usize,
    seed: u64,
    threads: usize,
) -> Result<Passes> {
    let graph = Graph::new(model.graph_shape(), Kv::PerQuery)?;
    let logits = model.config().d_vocab_out;
    let edges = graph.n_edges() as u64;
    Ok(match method {
        "exact" => Passes::plain(model, &batch(case, pairs, seed)?, 2 + edges, logits),
        "acdc" => {
            let runs = 2 + THRESHOLDS.len() as u64 * edges;
            Passes::plain(model, &batch(case, pairs, seed)?, runs, logits)
        }
        name => {
            let method = Method::parse(name, 5, Endpoints::Right)?;
            let Some((batch, metric)) = rows(case, method, pairs, seed)? else {
                return Ok(Passes::default());
            };
            let level = method.only_level().unwrap_or(Level::Edge);
            let setup = Attribution { metric, level, seed, ..Attribution::default() };
            let number = if matches!(model.weights(), AnyWeights::F64(_)) { 8 } else { 4 };
            attribution_estimate(model, &batch, &graph, method, &setup, (threads, number))
        }
    })
}

/// The rows on which a gradient method is scored, with the metric; `None` where it cannot say anything.
fn rows(case: &Case, method: Method, pairs: usize, seed: u64) -> Result<Option<(Batch, Metric)>> {
    let labelled = matches!(
        method,
        Method::Eap | Method::Relp | Method::Gim | Method::Hisp { .. } | Method::InformationFlowRoutes
    );
    Ok(match (labelled, case.categorical()) {
        (true, false) => None,
        (true, true) => Some((labels(case, pairs, seed)?, Metric::LogitDiff)),
        (false, true) => Some((batch(case, pairs, seed)?, Metric::Kl)),
        (false, false) => Some((batch(case, pairs, seed)?, Metric::Mse)),
    })
}

/// What a method scores.
enum Found {
    /// By edge id.
    Edges(Vec<(u32, f64)>),
    /// Heads and MLPs.
    Nodes(Vec<(Node, f64)>),
}

fn scores(case: &Case, model: &Model, method: &str, pairs: usize, seed: u64) -> Result<Option<Found>> {
    let metric = if case.categorical() { Metric::Kl } else { Metric::Mse };
    let graph = Graph::new(model.graph_shape(), Kv::PerQuery)?;
    match method {
        "exact" | "acdc" => {
            let whole = batch(case, pairs, seed)?;
            let setup = Setup { metric, ..Setup::default() };
            let mut silent = Silent;
            let mut session = Session::new(Study::new(model, whole, setup)?, &mut silent);
            let found = match method {
                "acdc" => by_thresholds(&mut session, &graph),
                _ => by_cutting(&mut session, &graph),
            };
            found.map(|edges| Some(Found::Edges(edges)))
        }
        name => {
            let method = Method::parse(name, 5, Endpoints::Right)?;
            let Some((batch, metric)) = rows(case, method, pairs, seed)? else { return Ok(None) };
            let level = method.only_level().unwrap_or(Level::Edge);
            let learning = method.learns().then(|| learning(model, &batch, metric, method)).transpose()?;
            let setup = Attribution { metric, level, seed, learning, ..Attribution::default() };
            let found = attribute(model, &batch, method, &setup)?;
            let rows = found.scores.rows().iter();
            Ok(Some(match level {
                Level::Edge => Found::Edges(rows.map(|r| (r.id, r.score)).collect()),
                Level::Node => {
                    let node = |id: u32| graph.node(ablate_graph::NodeId(id));
                    let nodes = rows.map(|r| (node(r.id), r.score));
                    Found::Nodes(nodes.filter(|(n, _)| !matches!(n, Node::Input | Node::Logits)).collect())
                }
            }))
        }
    }
}

/// How a mask is learned on these rows: what an open node or edge costs is a fiftieth of all that ablation does, whatever the
/// metric's unit. (The defaults are for logit differences of language models.)
fn learning(model: &Model, batch: &Batch, metric: Metric, method: Method) -> Result<Learning> {
    const PRICE: f64 = 0.02;
    let mut study = Study::new(model, batch.clone(), Setup { metric, ..Setup::default() })?;
    let mean = |x: Vec<f64>| stats::mean(&x).unwrap_or_default();
    let total = (mean(study.base(Side::Clean)?) - mean(study.base(Side::Corrupt)?)).abs();
    let graph = Graph::new(model.graph_shape(), Kv::PerQuery)?;
    let base = Learning::of(method);
    Ok(match method {
        Method::SubnetworkProbing => Learning { penalty: PRICE * total * graph.n_senders() as f64, ..base },
        Method::Ugs => Learning { penalty: PRICE * total, ..base },
        _ => Learning { penalty: base.penalty * total.min(1.0), sparsity: 0.8, ..base },
    })
}

fn by_cutting(session: &mut Session<'_, '_>, graph: &Graph) -> Result<Vec<(u32, f64)>> {
    let edges: Vec<_> = EdgeSet::full(graph.n_edges()).iter().collect();
    let effects =
        exact(session, graph, &edges, Ablation::of(Source::Resample), &ablate_graph::Positions::All)?;
    let mean = |x: &[f64]| stats::mean(x).unwrap_or_default();
    Ok(edges.iter().zip(&effects).map(|(e, f)| (e.0, mean(&f.scores))).collect())
}

fn by_thresholds(session: &mut Session<'_, '_>, graph: &Graph) -> Result<Vec<(u32, f64)>> {
    let mut scores = vec![0.0; graph.n_edges()];
    for threshold in THRESHOLDS {
        let config = AcdcConfig {
            graph: *graph,
            threshold,
            ablation: Ablation::of(Source::Resample),
            positions: ablate_graph::Positions::All,
            candidates: EdgeSet::full(graph.n_edges()),
            speculate: 16,
        };
        for edge in &acdc(session, &config)?.kept {
            scores[edge.index()] = threshold;
        }
    }
    Ok(scores.into_iter().enumerate().map(|(i, s)| (i as u32, s)).collect())
}

/// Pairs of drawn inputs whose outputs differ, every position read.
fn batch(case: &Case, pairs: usize, seed: u64) -> Result<Batch> {
    let limits = case.compiled();
    let data = handover::pairs(case, pairs, seed)?;
    let tokens = |p: &crate::dataset::Prompt| match p {
        crate::dataset::Prompt::Tokens(ids) => ids.clone(),
        crate::dataset::Prompt::Text(_) => Vec::new(),
    };
    let rows = data.pairs.iter().map(|pair| Row {
        clean: tokens(&pair.clean),
        corrupt: pair.corrupt.as_ref().map(tokens),
        reads: pair.reads.iter().map(|&p| p as u32).collect(),
        ..Row::default()
    });
    Ok(Batch::new(rows.collect(), Vec::new(), limits.d_vocab(), limits.n_ctx())?)
}

/// One row for each position whose class changes, with both classes as labels.
fn labels(case: &Case, pairs: usize, seed: u64) -> Result<Batch> {
    let whole = batch(case, pairs, seed)?;
    let side = |of: fn(&Row) -> Vec<u32>| Inputs::of(case, whole.rows().iter().map(of).collect());
    let clean = side(|r| r.clean.clone())?;
    let corrupt = side(|r| r.corrupt.clone().unwrap_or_default())?;
    let class = |inputs: &Inputs, i: usize, p: u32| {
        let at = p as usize * inputs.width;
        argmax(&inputs.outputs[i][at..at + inputs.width]) as u32
    };
    let mut rows = Vec::new();
    for (i, row) in whole.rows().iter().enumerate() {
        for &p in &row.reads {
            let (right, wrong) = (class(&clean, i, p), class(&corrupt, i, p));
            if right != wrong {
                rows.push(Row {
                    answers: vec![right],
                    wrong_answers: vec![wrong],
                    reads: vec![p],
                    ..row.clone()
                });
            }
        }
    }
    // spread over all pairs
    let step = rows.len().div_ceil(LABELLED).max(1);
    let rows: Vec<Row> = rows.into_iter().step_by(step).collect();
    let compiled = case.compiled();
    // labels are classes, of which there may be more than tokens
    Ok(Batch::new(rows, Vec::new(), compiled.d_vocab().max(compiled.d_out()), compiled.n_ctx())?)
}

/// Score and whether the edge is true; `None` where it is, but cannot be shown.
type Merged = BTreeMap<(Node, Node), (f64, Option<bool>)>;

/// The edges with slots merged: the score that is largest in size, and whether any of them is true.
fn merge(graph: &Graph, scores: &[(u32, f64)], truth: &Circuit, shown: &Circuit) -> Merged {
    let mut merged = Merged::new();
    for &(id, score) in scores {
        let edge = graph.edge(ablate_graph::EdgeId(id));
        let to = match edge.reader {
            Reader::Head { layer, head, .. } | Reader::Kv { layer, kv: head, .. } => Node::head(layer, head),
            Reader::Mlp { layer } => Node::mlp(layer),
            Reader::Logits => Node::Logits,
        };
        if edge.sender == Node::Input && to == Node::Logits {
            continue;
        }
        let entry = merged.entry((edge.sender, to)).or_insert((0.0, Some(false)));
        if score.abs() > entry.0.abs() {
            entry.0 = score;
        }
        entry.1 = match (entry.1, truth.contains(id), shown.contains(id)) {
            (Some(true), ..) | (_, _, true) => Some(true),
            (_, true, false) => None,
            (status, false, false) => status,
        };
    }
    merged
}

/// Heads and MLPs: the largest |score| of their edges, and whether they are in the circuit.
fn of_nodes(merged: &Merged, status: &dyn Fn(Node) -> Option<bool>) -> Vec<(f64, bool)> {
    let mut nodes: BTreeMap<Node, f64> = BTreeMap::new();
    for ((from, to), (score, _)) in merged {
        for node in [from, to] {
            if !matches!(node, Node::Input | Node::Logits) {
                let best = nodes.entry(*node).or_default();
                *best = best.max(score.abs());
            }
        }
    }
    nodes.into_iter().filter_map(|(node, score)| Some((score, status(node)?))).collect()
}

/// Which sequences of the program differ between the inputs at some position.
struct Moving {
    names: BTreeSet<String>,
}

impl Moving {
    fn new(case: &Case, pairs: usize, seed: u64) -> Result<Self> {
        let compiled = case.compiled();
        let directions = compiled.residual.directions();
        let mut first: Option<Vec<f64>> = None;
        let mut names = BTreeSet::new();
        for row in batch(case, pairs, seed)?.rows() {
            for ids in [Some(&row.clean), row.corrupt.as_ref()].into_iter().flatten() {
                let ids: Vec<usize> = ids.iter().map(|&t| t as usize).collect();
                let trace =
                    compiled.forward(&ids).map_err(|e| Error::argument(e.to_string(), "report this"))?;
                // a direction is written once, so the last stream has all of them
                let stream = trace.residuals.last().unwrap_or(&trace.embedding).clone();
                let reference = first.get_or_insert_with(|| stream.clone());
                for (i, (x, y)) in stream.iter().zip(reference.iter()).enumerate() {
                    if (x - y).abs() > 1e-6 {
                        names.insert(directions[i % directions.len()].name.clone());
                    }
                }
            }
        }
        Ok(Self { names })
    }

    /// Whether an edge carries something that differs, to a part that writes something that differs.
    fn edge(&self, case: &Case, edge: &ablate_rasp::Edge) -> bool {
        let mut nodes = case.compiled().truth.nodes.iter();
        let written = nodes.find(|(node, _)| *node == edge.to).map(|(_, names)| names);
        // only the logits are no node that writes
        let differs = |names: &Vec<String>| names.iter().any(|name| self.names.contains(name));
        differs(&edge.via) && written.is_none_or(differs)
    }

    /// Nodes of the circuit that write nothing that differs.
    fn fixed_nodes(&self, case: &Case, alignment: &Alignment) -> Vec<Node> {
        let nodes = &case.compiled().truth.nodes;
        let fixed = nodes.iter().filter(|(_, names)| !names.iter().any(|n| self.names.contains(n)));
        let places = fixed.filter_map(|(node, _)| alignment.of(super::node_of(*node)?));
        places.flatten().copied().collect()
    }
}

/// Of the highest rows, as many as are true: the share that is. Rows that tie at the end count by their share.
fn precision(rows: &[(f64, bool)]) -> f64 {
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let n = rows.iter().filter(|r| r.1).count();
    let Some(last) = n.checked_sub(1).map(|i| sorted[i].0) else { return 0.0 };
    let above: Vec<_> = sorted.iter().filter(|r| r.0 > last).collect();
    let tied: Vec<_> = sorted.iter().filter(|r| r.0.total_cmp(&last).is_eq()).collect();
    let right = |rows: &[&(f64, bool)]| rows.iter().filter(|r| r.1).count() as f64;
    let rest = (n - above.len()) as f64;
    (right(&above) + right(&tied) / tied.len().max(1) as f64 * rest) / n as f64
}
