//! Exact edge effects and direct paths to the logits on the real model.

use ablate::discover::exact::exact;
use ablate::graph::{Graph, Kv, Positions, Source};
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
