//! Identities of the methods without golden data.

use ablate::Ablation;
use ablate::discover::{
    Attributed, Attribution, Endpoints, Learning, Method, attribute_with, attribution_passes, gim, relp,
};
use ablate::graph::{Level, NodeId, Plan, ReaderId, Source};
use ablate::metric::Metric;
use ablate::model::engine::backward::{KEEP, NormRule};
use ablate::model::engine::{Engine, Rules, Sources};
use ablate::model::{Batch, Weights};
use ablate_tensor::Matrix;

use super::random::{Kind, batch, kinds, plain};

fn run(kind: &Kind, w: &Weights<f64>, data: &Batch, method: Method, setup: &Attribution) -> Attributed {
    attribute_with(&kind.cfg, w, data, method, setup).unwrap()
}

fn same(a: &Attributed, b: &Attributed, what: &str) {
    for (x, y) in a.scores.rows().iter().zip(b.scores.rows()) {
        assert!((x.score - y.score).abs() <= 1e-10 * (1.0 + y.score.abs()), "{what} {}: {x:?} {y:?}", x.id);
    }
}

#[test]
fn neutral_rules_are_eap() {
    for (i, kind) in kinds().iter().enumerate() {
        let w = plain(kind, 200 + i as u64);
        let data = batch(&kind.cfg, &[5, 3]);
        let setup = Attribution::default();
        let eap = run(kind, &w, &data, Method::Eap, &setup);
        let path = run(kind, &w, &data, Method::EapGp { steps: 1 }, &setup);
        same(&path, &eap, "eap-gp of one step");
        let rules = Rules { norm: NormRule::True, gate_share: 1.0, attention_share: 1.0, ..gim::rules(1.0) };
        let neutral = Attribution { rules: Some(rules), ..setup.clone() };
        same(&run(kind, &w, &data, Method::Gim, &neutral), &eap, "gim at temperature 1");
        let frozen = Attribution { freeze_norm: true, ..setup.clone() };
        let reading = Attribution {
            rules: Some(Rules { norm: NormRule::Reading, ..Rules::default() }),
            ..setup.clone()
        };
        same(
            &run(kind, &w, &data, Method::Eap, &frozen),
            &run(kind, &w, &data, Method::Relp, &reading),
            "frozen",
        );
        for method in [Method::Gim, Method::Relp] {
            let changed = run(kind, &w, &data, method, &setup);
            let far =
                |(a, b): (&ablate::graph::ScoreRow, &ablate::graph::ScoreRow)| (a.score - b.score).abs();
            assert!(changed.scores.rows().iter().zip(eap.scores.rows()).map(far).fold(0.0, f64::max) > 1e-3);
        }
    }
}

/// Edges out of a sender add up to the node under every rule, behind post-norms too.
#[test]
fn edges_add_up_under_rules() {
    for (i, kind) in kinds().iter().enumerate() {
        let w = plain(kind, 220 + i as u64);
        let data = batch(&kind.cfg, &[5, 3]);
        for method in [Method::Gim, Method::Relp, Method::EapGp { steps: 3 }] {
            let edges = run(kind, &w, &data, method, &Attribution::default());
            let level = Attribution { level: Level::Node, ..Attribution::default() };
            let nodes = run(kind, &w, &data, method, &level);
            let graph = edges.scores.graph();
            let mut sums = vec![0.0; graph.n_senders()];
            for id in graph.edge_ids() {
                sums[graph.ends(id).0.index()] += edges.scores.rows()[id.index()].score;
            }
            if method == (Method::EapGp { steps: 3 }) && kind.post_norm {
                continue; // what a difference does behind a post-norm depends on the point
            }
            for (sum, row) in sums.iter().zip(nodes.scores.rows()) {
                let gap = (sum - row.score).abs();
                assert!(gap < 1e-9 * (1.0 + sum.abs()), "{} {} {}", kind.cfg.arch, method.name(), row.id);
            }
        }
    }
}

/// Without norms, MLPs and attention scores every gradient method is the effect itself.
#[test]
fn linear_models_need_no_rules() {
    let mut kind = kinds().into_iter().find(|k| k.cfg.arch == "no-norm").unwrap();
    kind.cfg.d_mlp = 0;
    let mut w = plain(&kind, 70);
    for layer in &mut w.layers {
        layer.q.w = Matrix::row_major(vec![0.0; 8 * 16], 8, 16);
    }
    let data = batch(&kind.cfg, &[5, 4]);
    let setup = Attribution::default();
    let eap = run(&kind, &w, &data, Method::Eap, &setup);
    same(&run(&kind, &w, &data, Method::Relp, &setup), &eap, "relp");
    same(&run(&kind, &w, &data, Method::EapGp { steps: 4 }, &setup), &eap, "eap-gp");
    let rules = Rules { gate_share: 1.0, ..relp::rules() };
    let setup = Attribution { rules: Some(rules), ..setup };
    same(&run(&kind, &w, &data, Method::Gim, &setup), &eap, "gim by other rules");
}

#[test]
fn importance_is_the_size_of_each_examples_estimate() {
    let kind = &kinds()[0];
    let w = plain(kind, 5);
    let data = batch(&kind.cfg, &[5, 3, 4]);
    for source in [Source::Resample, Source::Zero] {
        let setup = Attribution {
            ablation: Ablation::of(source),
            level: Level::Node,
            per_example: true,
            ..Attribution::default()
        };
        let atp = run(kind, &w, &data, Method::Atp, &setup);
        let total = atp.scores.len();
        let examples = atp.examples.unwrap();
        let hisp = run(kind, &w, &data, Method::Hisp { normalise: false }, &setup);
        for (i, row) in hisp.scores.rows().iter().enumerate() {
            let expected = (0..3).map(|e| examples[e * total + i].abs()).sum::<f64>() / 3.0;
            assert!((row.score - expected).abs() < 1e-12);
        }
        let normal = run(kind, &w, &data, Method::Hisp { normalise: true }, &setup);
        for layer in 0..kind.cfg.n_layers {
            let own =
                |r: &&ablate::graph::ScoreRow| hisp.scores.graph().node(NodeId(r.id)).layer() == Some(layer);
            let square: f64 = normal.scores.rows().iter().filter(own).map(|r| r.score * r.score).sum();
            assert!((square - 1.0).abs() < 1e-12);
        }
    }
}

#[test]
fn contributions_add_up_to_one() {
    for (i, kind) in kinds().iter().enumerate() {
        let w = plain(kind, 240 + i as u64);
        let data = batch(&kind.cfg, &[5, 70]);
        let setup = Attribution { metric: Metric::Accuracy, per_example: true, ..Attribution::default() };
        let got = run(kind, &w, &data, Method::InformationFlowRoutes, &setup);
        assert_eq!((got.cost.forward, got.cost.backward), (2, 0));
        let graph = got.scores.graph();
        for reader in graph.reader_ids() {
            let edges: Vec<f64> =
                graph.in_edges(reader).map(|e| got.scores.rows()[e.index()].score).collect();
            let sum: f64 = edges.iter().sum();
            assert!(edges.iter().all(|x| *x >= 0.0));
            // a position where no sender points along the stream has no shares; what reads the input alone has them all
            let lost = if reader == ReaderId(0) { 1e-9 } else { 0.2 };
            let name = &kind.cfg.arch;
            assert!((1.0 - lost..1.0 + 1e-9).contains(&sum), "{name} {}: {sum}", reader.index());
        }
    }
}

/// The shares of what `logits` reads, computed from the addends of a plain run.
#[test]
fn contributions_by_hand() {
    let kind = kinds().into_iter().find(|k| k.cfg.arch == "grouped").unwrap();
    let w = plain(&kind, 9);
    let data = batch(&kind.cfg, &[6]);
    let got = run(&kind, &w, &data, Method::InformationFlowRoutes, &Attribution::default());
    let engine = Engine::new(&kind.cfg, &w, &data);
    let plan = engine.compile(&Plan::new()).unwrap();
    let acts = engine.block(&plan, &Sources::new(), KEEP, true, None).unwrap();
    let d = kind.cfg.d_model;
    let at = |x: &[f64], width: usize| x[5 * width..6 * width].to_vec();
    let mut addends = vec![at(&acts.layers[0].pre, d)];
    for (layer, w) in acts.layers.iter().zip(&w.layers) {
        let z = at(&layer.z, 16);
        for h in 0..4 {
            let column = |j| (0..4).map(|i| z[h * 4 + i] * w.o.w.get(h * 4 + i, j)).sum::<f64>();
            addends.push((0..d).map(column).collect());
        }
        addends.push(at(&layer.mlp, d));
    }
    let y = at(&acts.last, d);
    let size = |x: &[f64]| x.iter().map(|v| v.abs()).sum::<f64>();
    let near = |x: &Vec<f64>| {
        let rest: Vec<f64> = y.iter().zip(x).map(|(y, x)| y - x).collect();
        (size(&y) - size(&rest)).max(0.0)
    };
    let shares: Vec<f64> = addends.iter().map(near).collect();
    let total: f64 = shares.iter().sum();
    let graph = got.scores.graph();
    let logits = ReaderId(graph.n_readers() as u32 - 1);
    for (edge, share) in graph.in_edges(logits).zip(&shares) {
        assert!((got.scores.rows()[edge.index()].score - share / total).abs() < 1e-12);
    }
}

#[test]
fn random_scores_are_those_of_the_seed() {
    let kind = &kinds()[0];
    let w = plain(kind, 1);
    let data = batch(&kind.cfg, &[4, 3]);
    let at = |seed, level| {
        let setup = Attribution { seed, level, ..Attribution::default() };
        run(kind, &w, &data, Method::Random, &setup)
    };
    let first = at(0, Level::Edge);
    assert_eq!(first.scores, at(0, Level::Edge).scores);
    assert_ne!(first.scores, at(1, Level::Edge).scores);
    assert!(first.scores.rows().iter().all(|r| r.score.abs() <= 1.0));
    let mean = first.scores.rows().iter().map(|r| r.score).sum::<f64>() / first.scores.len() as f64;
    assert!(mean.abs() < 0.3 && at(0, Level::Node).scores.level() == Level::Node);
    let other = run(kind, &plain(kind, 2), &data, Method::Random, &Attribution::default());
    let scores = |a: &Attributed| a.scores.rows().iter().map(|r| r.score).collect::<Vec<f64>>();
    assert_eq!(scores(&first), scores(&other));
}

#[test]
fn levels_and_sources_are_checked() {
    let kind = &kinds()[0];
    let w = plain(kind, 1);
    let data = batch(&kind.cfg, &[4]);
    let refused = |method, setup: Attribution, words: &str| {
        let error = attribute_with(&kind.cfg, &w, &data, method, &setup).unwrap_err();
        assert!(error.to_string().contains(words) && error.hint().is_some(), "{error}");
    };
    let (edge, node) = (Attribution::default(), Attribution { level: Level::Node, ..Attribution::default() });
    refused(Method::Hisp { normalise: false }, edge.clone(), "nodes only");
    refused(Method::SubnetworkProbing, edge.clone(), "nodes only");
    refused(Method::InformationFlowRoutes, node.clone(), "edges only");
    refused(Method::EdgePruning, node.clone(), "edges only");
    refused(Method::Ugs, node, "edges only");
    let zero = Attribution { ablation: Ablation::of(Source::Zero), ..edge };
    refused(Method::EapGp { steps: 3 }, zero, "corrupt run");
    for name in Method::NAMES {
        assert_eq!(Method::parse(name, 5, Endpoints::Right).unwrap().name(), name);
    }
}

#[test]
fn passes_are_known_before() {
    let kind = &kinds()[0];
    let w = plain(kind, 7);
    let data = batch(&kind.cfg, &[5, 3, 4]);
    for name in Method::NAMES {
        let method = Method::parse(name, 3, Endpoints::Both).unwrap();
        let level = method.only_level().unwrap_or(Level::Edge);
        for source in [Source::Resample, Source::Zero, Source::Mean, Source::ResampleOther { seed: 1 }] {
            let learning = method.learns().then(|| Learning { steps: 3, batch: 2, ..Learning::of(method) });
            let setup =
                Attribution { ablation: Ablation::of(source), level, learning, ..Attribution::default() };
            // some methods take their points from the corrupt text alone
            let Ok(got) = attribute_with(&kind.cfg, &w, &data, method, &setup) else { continue };
            let said = attribution_passes(&kind.cfg, method, &setup, data.len());
            if method.learns() {
                // a step takes whole parts of the rows, of about as many as asked for
                assert!(said.forward - said.backward == got.cost.forward - got.cost.backward, "{name}");
                assert!((said.backward / 2..=2 * said.backward).contains(&got.cost.backward), "{name}");
            } else {
                assert_eq!(said, got.cost, "{name} {source:?}");
            }
        }
    }
}
