//! Exact edge effects, direct paths to the logits and ACDC on the real model.

use ablate::discover::acdc::{AcdcConfig, AcdcResult, acdc};
use ablate::discover::exact::exact;
use ablate::graph::{EdgeId, EdgeSet, Graph, Kv, Positions, Reader, Source};
use ablate::path::{After, Route, Through, path_patch};
use ablate::{Ablation, Metric, Session, Setup, Silent, Study};
use ablate_testkit::{Tolerance, golden_json, numbers};

use super::{model, rows};

#[test]
fn real_exact_edges() {
    let Some(model) = model() else { return };
    let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
    let golden = golden_json("real/edges_exact.json");
    let wanted = golden["rows"].as_array().unwrap();
    let name = |i: usize| wanted[i]["name"].as_str().unwrap();
    let edges: Vec<_> =
        (0..wanted.len()).map(|i| graph.edge_id(graph.parse_edge(name(i)).unwrap()).unwrap()).collect();
    for metric in [Metric::LogitDiff, Metric::Kl] {
        let mut silent = Silent;
        let setup = Setup { metric, ..Setup::default() };
        let mut session =
            Session::new(Study::new(&model, rows(&model, "ioi", 10), setup).unwrap(), &mut silent);
        let ablation = Ablation::of(Source::Resample);
        let effects = exact(&mut session, &graph, &edges, ablation, &Positions::All).unwrap();
        for (i, effect) in effects.iter().enumerate() {
            for (x, y) in effect.metrics.iter().zip(numbers(&wanted[i]["metric_per_example"][metric.name()]))
            {
                assert!(Tolerance::F32.holds(*x, y), "{metric} {}: {x} and {y}", name(i));
            }
        }
    }
}

#[test]
fn real_paths_to_the_logits() {
    let Some(model) = model() else { return };
    let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
    let heads: Vec<_> = graph.heads().collect();
    for (through, name) in [(Through::None, "none"), (Through::Mlp, "mlp")] {
        let golden = golden_json(&format!("real/paths_logits_{name}.json"));
        let route = Route {
            graph,
            hops: Vec::new(),
            through,
            after: After::Recompute,
            positions: Positions::All,
            ablation: Ablation::of(Source::Resample),
        };
        let mut silent = Silent;
        let study = Study::new(&model, rows(&model, "ioi", 10), Setup::default()).unwrap();
        let mut session = Session::new(study, &mut silent);
        let effects = path_patch(&mut session, &heads, &route).unwrap();
        for row in golden["rows"].as_array().unwrap() {
            let sender = row[0].as_str().unwrap();
            let i = heads.iter().position(|h| h.to_string() == sender).unwrap();
            for (x, y) in effects[i].metrics.iter().zip(numbers(&row[2])) {
                assert!(Tolerance::F32.holds(*x, y), "{name} {sender}: {x} and {y}");
            }
        }
    }
}

/// The edges between the last three layers, and from them to the logits.
fn late_edges(graph: &Graph, layers: usize) -> EdgeSet {
    let late = |layer: Option<usize>| layer.is_none_or(|l| l + 3 >= layers);
    let some = (0..graph.n_edges() as u32).map(EdgeId).filter(|&id| {
        let edge = graph.edge(id);
        let reader = edge.reader == Reader::Logits || late(edge.reader.layer());
        reader && edge.sender.layer().is_some() && late(edge.sender.layer())
    });
    EdgeSet::of(graph.n_edges(), some)
}

#[test]
fn real_acdc_decides_as_without_speculation() {
    let Some(model) = model() else { return };
    let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
    let find = |speculate: usize| -> AcdcResult {
        let mut silent = Silent;
        let setup = Setup { metric: Metric::Kl, ..Setup::default() };
        let mut session =
            Session::new(Study::new(&model, rows(&model, "ioi", 4), setup).unwrap(), &mut silent);
        let config = AcdcConfig {
            graph,
            threshold: 0.003,
            ablation: Ablation::of(Source::Resample),
            positions: Positions::All,
            candidates: late_edges(&graph, model.config().n_layers),
            speculate,
        };
        acdc(&mut session, &config).unwrap()
    };
    let (got, sequential) = (find(16), find(1));
    assert_eq!((sequential.wasted, sequential.batches), (0, sequential.evaluations));
    assert_eq!(got.steps.len(), sequential.steps.len());
    for (a, b) in got.steps.iter().zip(&sequential.steps) {
        let name = graph.edge(a.edge);
        assert_eq!((a.edge, a.removed, a.run), (b.edge, b.removed, b.run), "{name}");
        assert!(Tolerance::F32.holds(a.metric, b.metric), "{name}: {} and {}", a.metric, b.metric);
    }
    assert_eq!((got.kept.len(), got.evaluations), (sequential.kept.len(), sequential.evaluations));
    let (kept, tried) =
        (graph.n_edges() - sequential.steps.iter().filter(|s| s.removed).count(), got.steps.len());
    assert_eq!(got.kept.len(), kept);
    assert!(got.steps.iter().any(|s| !s.removed) && got.steps.iter().any(|s| s.removed));
    eprintln!(
        "ACDC on {tried} edges of the last layers: {} runs, in {} batches and {} useless runs with speculation",
        got.evaluations, got.batches, got.wasted
    );
}
