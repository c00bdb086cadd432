//! What must hold whatever the numbers.

use ablate::discover::{Attribution, Endpoints, Method, attribute_with, graph_of};
use ablate::graph::{Kv, Level, Node, Plan, Site, Slot, Source};
use ablate::metric::Metric;
use ablate::model::engine::{Engine, Keep, Sources, TokenLogits};
use ablate::{Ablation, graph::Reader};
use ablate_tensor::Matrix;

use super::random::{batch, kinds, plain};

fn close(a: f64, b: f64, tolerance: f64, what: &str) {
    assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{what}: {a} and {b}");
}

/// Edges out of a sender add up to the node; grouped readers are sums of the query heads'; chunks do not matter.
#[test]
fn edges_add_up_to_nodes() {
    for (i, kind) in kinds().iter().enumerate() {
        let cfg = &kind.cfg;
        let w = plain(kind, 40 + i as u64);
        let data = batch(cfg, &[5, 3, 6, 300]);
        for (metric, source) in [
            (Metric::LogitDiff, Source::Resample),
            (Metric::LogProb, Source::Zero),
            (Metric::ProbDiff, Source::Mean),
        ] {
            let setup = Attribution { metric, ablation: Ablation::of(source), ..Attribution::default() };
            let run = |method, setup: &Attribution| attribute_with(cfg, &w, &data, method, setup).unwrap();
            let nodes = run(Method::Atp, &setup);
            let edges = run(Method::Eap, &setup);
            let graph = edges.scores.graph();
            let mut sums = vec![0.0; graph.n_senders()];
            for id in graph.edge_ids() {
                sums[graph.ends(id).0.index()] += edges.scores.rows()[id.index()].score;
            }
            for (sum, row) in sums.iter().zip(nodes.scores.rows()) {
                close(*sum, row.score, 1e-9, &format!("{} {metric} node {}", cfg.arch, row.id));
            }
            let small = run(Method::Eap, &Attribution { chunk_rows: 4, ..setup.clone() });
            for (a, b) in small.scores.rows().iter().zip(edges.scores.rows()) {
                close(a.score, b.score, 1e-10, "chunks");
                close(a.std_err, b.std_err, 1e-9, "chunks' errors");
            }
            let grouped = run(Method::Eap, &Attribution { kv: Kv::Grouped, ..setup.clone() });
            let coarse = grouped.scores.graph();
            let mut sums = vec![0.0; coarse.n_edges()];
            for id in graph.edge_ids() {
                let mut edge = graph.edge(id);
                if let Reader::Head { layer, head, slot: slot @ (Slot::K | Slot::V) } = edge.reader {
                    edge.reader = Reader::Kv { layer, kv: cfg.kv_of(head), slot };
                }
                sums[coarse.edge_id(edge).unwrap().index()] += edges.scores.rows()[id.index()].score;
            }
            for (sum, row) in sums.iter().zip(grouped.scores.rows()) {
                close(*sum, row.score, 1e-9, "grouped");
            }
        }
    }
}

/// The path from source to clean input is complete: its node score tends to the metric's difference.
#[test]
fn input_path_is_complete() {
    for (i, kind) in kinds().iter().enumerate().take(4) {
        let w = plain(kind, 60 + i as u64);
        let data = batch(&kind.cfg, &[5, 4]);
        let setup = Attribution { level: Level::Node, ..Attribution::default() };
        let method = Method::EapIgInputs { steps: 400, endpoints: Endpoints::Both };
        let got = attribute_with(&kind.cfg, &w, &data, method, &setup).unwrap();
        let corrupt = got.corrupt.unwrap();
        let gap = got.clean.iter().zip(&corrupt).map(|(a, b)| a - b).sum::<f64>() / 2.0;
        close(got.scores.rows()[0].score, gap, 2e-4, &kind.cfg.arch);
    }
}

/// Without norms, MLPs and attention scores the model is linear: the estimate is the effect.
#[test]
fn linear_models_are_exact() {
    let mut kind = kinds().into_iter().find(|k| k.cfg.arch == "no-norm").unwrap();
    kind.cfg.d_mlp = 0;
    let mut w = plain(&kind, 70);
    for layer in &mut w.layers {
        layer.q.w = Matrix::row_major(vec![0.0; 8 * 16], 8, 16);
    }
    let data = batch(&kind.cfg, &[5, 4]);
    let setup = Attribution { ablation: Ablation::of(Source::Zero), ..Attribution::default() };
    let got = attribute_with(&kind.cfg, &w, &data, Method::Atp, &setup).unwrap();
    let edges = attribute_with(&kind.cfg, &w, &data, Method::Eap, &setup).unwrap();
    let engine = Engine::new(&kind.cfg, &w, &data);
    let judge = TokenLogits { tokens: (0..11).collect() };
    let value = |plan: &Plan| {
        let plan = engine.compile(plan).unwrap();
        let run = engine.base(&plan, &Sources::new(), Keep::NONE, false, &judge).unwrap();
        let mean = |x: &[f64], t: &[usize]| t.iter().map(|&t| x[t]).sum::<f64>() / t.len() as f64;
        let rows = run.values.chunks_exact(11);
        rows.map(|x| mean(x, &[1, 4]) - mean(x, &[2, 3, 7])).sum::<f64>() / 2.0
    };
    let graph = graph_of(&kind.cfg, Kv::PerQuery).unwrap();
    let clean = value(&Plan::new());
    for row in got.scores.rows() {
        let node = graph.node(ablate::graph::NodeId(row.id));
        let cut = value(&Plan::new().replace(Site::Node(node), Source::Zero));
        close(row.score, clean - cut, 1e-10, "node");
    }
    assert_eq!(graph.node(ablate::graph::NodeId(0)), Node::Input);
    for id in graph.edge_ids() {
        if let Reader::Head { slot: Slot::Q | Slot::K, .. } = graph.edge(id).reader {
            // queries have no weights, and keys meet only zero queries
            assert_eq!(edges.scores.rows()[id.index()].score, 0.0);
        }
    }
}

/// What cannot be right is refused.
#[test]
fn refusals() {
    let kind = &kinds()[0];
    let w = plain(kind, 1);
    let data = batch(&kind.cfg, &[3]);
    let run = |method, setup: &Attribution| attribute_with(&kind.cfg, &w, &data, method, setup);
    let accuracy = Attribution { metric: Metric::Accuracy, ..Attribution::default() };
    assert!(run(Method::Eap, &accuracy).unwrap_err().to_string().contains("no gradient"));
    let zero = Attribution { ablation: Ablation::of(Source::Zero), ..Attribution::default() };
    assert!(run(Method::CleanCorrupted, &zero).is_err());
    assert!(Method::parse("eap-gi", 5, Endpoints::Right).unwrap_err().hint().unwrap().contains("eap"));
    assert!(Method::parse("eap", 0, Endpoints::Right).is_err());
}
