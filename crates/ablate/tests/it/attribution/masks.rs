//! Learned masks: the derivative by every edge's weight against differences, and recovery of a known circuit.

use std::collections::BTreeMap;
use std::sync::Arc;

use ablate::dataset::Limits;
use ablate::discover::{Attribution, Learning, Method, attribute, attribute_with};
use ablate::graph::{Edge, EdgeSet, Graph, Kv, Level, Node, Plan, Side, Source};
use ablate::model::engine::backward::{CutGradients, KEEP};
use ablate::model::engine::{Engine, Keep, Sources, Table};
use ablate::model::{Batch, LoadOptions, Model, Weights, builtin};
use ablate::task::{self, TaskRequest};
use ablate::{Ablation, Metric, Setup, Study};

use super::differences::Curved;
use super::random::{Kind, Numbers, batch, kinds, plain};

/// A run with weighed cuts of every edge.
fn weighed(
    (kind, w, graph): (&Kind, &Weights<f64>, Graph),
    data: &Batch,
    source: &Setting,
    weights: &[f64],
) -> CutGradients {
    let engine = Engine::new(&kind.cfg, w, data);
    let plan = Plan::new().cut(&graph, EdgeSet::full(graph.n_edges()), source.source);
    let mut plan = engine.compile(&plan).unwrap();
    plan.cuts[0].weights = Some(Arc::new(weights.to_vec()));
    plan.cuts[0].scale = source.scale;
    let acts = engine.block(&plan, &source.sources, KEEP, false, None).unwrap();
    engine.backward_cuts(&plan, &source.sources, &acts, &Curved { tokens: None }).unwrap()
}

struct Setting {
    source: Source,
    scale: f64,
    sources: Sources<f64>,
}

fn corrupt(kind: &Kind, w: &Weights<f64>, data: &Batch, scale: f64) -> Setting {
    let engine = Engine::new(&kind.cfg, w, data);
    let plan = engine.compile(&Plan::on(Side::Corrupt)).unwrap();
    let acts = engine.block(&plan, &Sources::new(), Keep::EDGES, true, None).unwrap();
    let mut sources = Sources::new();
    sources.set(Source::Resample, Table::identity(Arc::new(vec![acts])));
    Setting { source: Source::Resample, scale, sources }
}

/// The graphs of a model's edges: a reader for each query head's keys and values, or for each group's.
fn graphs(kind: &Kind) -> impl Iterator<Item = Graph> + use<> {
    let grouped = kind.cfg.n_kv_heads != kind.cfg.n_heads;
    let kvs = if grouped { &[Kv::PerQuery, Kv::Grouped][..] } else { &[Kv::PerQuery] };
    let cfg = kind.cfg.clone();
    kvs.iter().map(move |kv| ablate::discover::graph_of(&cfg, *kv).unwrap())
}

/// Every kind of model that edges have weights in, with its graphs.
fn weighable() -> Vec<(usize, Kind, Graph)> {
    let kinds = kinds().into_iter().enumerate().filter(|(_, k)| !k.post_norm);
    let all: Vec<(usize, Kind, Graph)> = kinds
        .flat_map(|(i, kind)| graphs(&kind).map(move |graph| (i, kind.clone(), graph)).collect::<Vec<_>>())
        .collect();
    assert!(all.iter().any(|(_, _, graph)| graph.kv() == Kv::Grouped));
    all
}

fn sum(g: &CutGradients) -> f64 {
    g.values.iter().sum()
}

#[test]
fn weights_of_edges_have_true_derivatives() {
    for (i, kind, graph) in weighable() {
        let kind = &kind;
        let w = plain(kind, 100 + i as u64);
        let data = batch(&kind.cfg, &[4, 3]);
        let zero = Setting { source: Source::Zero, scale: 1.0, sources: Sources::new() };
        for setting in [corrupt(kind, &w, &data, 1.0), corrupt(kind, &w, &data, 0.6), zero] {
            let mut numbers = Numbers(5);
            let weights: Vec<f64> = (0..graph.n_edges()).map(|_| numbers.next().abs()).collect();
            let got = weighed((kind, &w, graph), &data, &setting, &weights);
            for at in (0..weights.len()).step_by(7) {
                let value = |step: f64| {
                    let mut weights = weights.clone();
                    weights[at] += step;
                    sum(&weighed((kind, &w, graph), &data, &setting, &weights))
                };
                let expected = (value(1e-5) - value(-1e-5)) / 2e-5;
                let gap = (got.weights[at] - expected).abs();
                assert!(
                    gap < 1e-7 * (1.0 + expected.abs()),
                    "{} {:?} edge {at}: {} and {expected}",
                    kind.cfg.arch,
                    setting.source,
                    got.weights[at]
                );
            }
        }
    }
}

/// At weights of 0 and 1 the run is that of a plan that cuts those edges.
#[test]
fn whole_weights_are_cut_edges() {
    for (i, kind, graph) in weighable() {
        let kind = &kind;
        let w = plain(kind, 120 + i as u64);
        let data = batch(&kind.cfg, &[4, 3]);
        let setting = corrupt(kind, &w, &data, 1.0);
        let mut numbers = Numbers(9);
        let cut: Vec<bool> = (0..graph.n_edges()).map(|_| numbers.next() > 0.2).collect();
        let weights: Vec<f64> = cut.iter().map(|c| f64::from(u8::from(*c))).collect();
        let got = weighed((kind, &w, graph), &data, &setting, &weights);
        let edges = EdgeSet::of(graph.n_edges(), graph.edge_ids().filter(|e| cut[e.index()]));
        let engine = Engine::new(&kind.cfg, &w, &data);
        let plan = engine.compile(&Plan::new().cut(&graph, edges, Source::Resample)).unwrap();
        let judge = Curved { tokens: None };
        let run = engine.base(&plan, &setting.sources, Keep::NONE, false, &judge).unwrap();
        for (a, b) in got.values.iter().zip(&run.values) {
            assert!((a - b).abs() < 1e-10, "{}: {a} and {b}", kind.cfg.arch);
        }
    }
}

/// The derivative by a sender's source, where it is one constant for all rows.
#[test]
fn constants_have_true_derivatives() {
    for (i, kind, graph) in weighable().into_iter().take(3) {
        let kind = &kind;
        let w = plain(kind, 140 + i as u64);
        let data = batch(&kind.cfg, &[4, 3]);
        let mut numbers = Numbers(3);
        let weights: Vec<f64> = (0..graph.n_edges()).map(|_| numbers.next().abs()).collect();
        let rows: usize = data.rows().iter().map(|r| r.clean.len()).sum();
        let run = |nudge: Option<(usize, usize, f64)>| {
            let keep = Keep::PRE | Keep::Z | Keep::MLP;
            let mut acts = ablate::model::engine::Acts::<f64>::new(&kind.cfg, keep, 0, &[1]);
            if let Some((layer, at, step)) = nudge {
                let layer = Arc::make_mut(&mut acts.layers[layer]);
                layer.mlp[at] += step;
            }
            let mut sources = Sources::new();
            let index = Arc::new(vec![(0, 0); rows]);
            sources.set(Source::Given(0), Table { acts: Arc::new(vec![acts]), index });
            let setting = Setting { source: Source::Given(0), scale: 1.0, sources };
            weighed((kind, &w, graph), &data, &setting, &weights)
        };
        let got = run(None);
        for layer in 0..kind.cfg.n_layers {
            let sender = graph.node_id(Node::mlp(layer)).unwrap().index();
            for at in [0, 5] {
                let value = |step| sum(&run(Some((layer, at, step))));
                let expected = (value(1e-5) - value(-1e-5)) / 2e-5;
                let got = got.sources[sender * kind.cfg.d_model + at];
                assert!((got - expected).abs() < 1e-7 * (1.0 + expected.abs()), "{got} and {expected}");
            }
        }
    }
}

#[test]
fn models_with_post_norms_are_refused() {
    let kind = kinds().into_iter().find(|k| k.post_norm).unwrap();
    let w = plain(&kind, 1);
    let data = batch(&kind.cfg, &[3]);
    let setup = Attribution {
        learning: Some(Learning { steps: 1, ..Learning::of(Method::Ugs) }),
        ..Attribution::default()
    };
    let error = attribute_with(&kind.cfg, &w, &data, Method::Ugs, &setup).unwrap_err();
    assert!(error.to_string().contains("norms what heads and MLPs write"), "{error}");
    assert!(error.hint().is_some());
}

fn induction(n: usize) -> (Model, Batch) {
    let options = LoadOptions::default();
    let model = Model::load("builtin:induction", &options).unwrap();
    let options = BTreeMap::from([("corruption".to_owned(), "no-repeat".to_owned())]);
    let request = TaskRequest { n, seed: 3, codec: model.codec(), options: &options };
    let data = task::find("induction").unwrap().generate(&request).unwrap();
    let limits = Limits { d_vocab: model.config().d_vocab, n_ctx: model.config().n_ctx };
    let batch = data.batch(model.codec(), limits).unwrap();
    (model, batch)
}

#[test]
fn probing_finds_the_true_heads() {
    let (model, data) = induction(16);
    let setup = Attribution {
        level: Level::Node,
        metric: Metric::Kl,
        learning: Some(Learning {
            steps: 80,
            batch: 8,
            rate: 0.2,
            ..Learning::of(Method::SubnetworkProbing)
        }),
        ..Attribution::default()
    };
    let found = attribute(&model, &data, Method::SubnetworkProbing, &setup).unwrap();
    let graph = *found.scores.graph();
    let truth = builtin::truth("induction").unwrap();
    let in_circuit = |id: u32| {
        let node = graph.node(ablate::graph::NodeId(id));
        node == Node::Input || truth.contains(&node)
    };
    let rows = found.scores.rows();
    let worst = rows.iter().filter(|r| in_circuit(r.id)).map(|r| r.score).fold(1.0, f64::min);
    let best = rows.iter().filter(|r| !in_circuit(r.id)).map(|r| r.score).fold(0.0, f64::max);
    assert!(worst > best, "true {worst}, decoys {best}");
    assert!(worst > 0.9 && best < 0.5, "true {worst}, decoys {best}");
    // the same seed gives the same numbers
    let learning = Some(Learning { steps: 3, ..Learning::of(Method::SubnetworkProbing) });
    let short = Attribution { learning, ..setup };
    let once = || attribute(&model, &data, Method::SubnetworkProbing, &short).unwrap().scores;
    assert_eq!(once(), once());
}

/// Scores of edges.
type Scored = Vec<(f64, Edge)>;

/// Learns masks of edges; scores of the edges of the known circuit that have an effect, and of all others.
fn scores(method: Method, learning: Learning, ablation: Source) -> (Scored, Scored) {
    let (model, data) = induction(16);
    let ablation = Ablation::of(ablation);
    let setup =
        Attribution { metric: Metric::Kl, ablation, learning: Some(learning), ..Attribution::default() };
    let found = attribute(&model, &data, method, &setup).unwrap();
    let graph = *found.scores.graph();
    let truth = builtin::token_edges("induction").unwrap();
    let metric = Setup { metric: Metric::Kl, ..Setup::default() };
    let plan = |e: &Edge| {
        let edges = EdgeSet::of(graph.n_edges(), [graph.edge_id(*e).unwrap()]);
        Plan::new().cut(&graph, edges, ablation.source)
    };
    let plans: Vec<Plan> = truth.iter().map(plan).collect();
    let effects = Study::new(&model, data, metric).unwrap().evaluate(&plans).unwrap();
    let matters = |i: usize| effects[i].iter().sum::<f64>() / (effects[i].len() as f64) < -0.3;
    let truth: Vec<Edge> = truth.iter().enumerate().filter(|(i, _)| matters(*i)).map(|(_, e)| *e).collect();
    assert!(truth.len() >= 3, "{truth:?}");
    let all = found.scores.rows().iter().map(|r| (r.score, graph.edge(ablate::graph::EdgeId(r.id))));
    all.partition(|(_, e)| truth.contains(e))
}

/// The share of pairs of a true and another edge in which the true one has the higher score.
fn ordered(inside: &[(f64, Edge)], outside: &[(f64, Edge)]) -> f64 {
    let pairs = inside.iter().flat_map(|a| outside.iter().map(move |b| f64::from(u8::from(a.0 > b.0))));
    pairs.sum::<f64>() / (inside.len() * outside.len()) as f64
}

#[test]
fn edge_pruning_finds_the_true_edges() {
    let learning =
        Learning { steps: 120, batch: 8, rate: 0.2, sparsity: 0.98, ..Learning::of(Method::EdgePruning) };
    let (inside, outside) = scores(Method::EdgePruning, learning, Source::Resample);
    let n = (inside.len() + outside.len()) as f64;
    let open = outside.iter().filter(|x| x.0 > 0.5).count() as f64;
    assert!(inside.iter().all(|x| x.0 > 0.9), "{inside:?}");
    assert!(open <= 0.02 * n + 2.0, "{open} of {n} others stay");
    assert!(ordered(&inside, &outside) > 0.97, "{} {inside:?}", ordered(&inside, &outside));
}

#[test]
fn uniform_gradient_sampling_finds_the_true_edges() {
    let learning = Learning { steps: 200, batch: 16, rate: 0.1, ..Learning::of(Method::Ugs) };
    let (inside, outside) = scores(Method::Ugs, learning, Source::Zero);
    assert!(ordered(&inside, &outside) > 0.95, "{} {inside:?}", ordered(&inside, &outside));
}
