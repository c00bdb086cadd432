//! Node effects, grids, removal curves and pruning against the independent brute-force reference, in f64.

use ablate::curve::{Ranking, rank_curve};
use ablate::dataset::Limits;
use ablate::effects::sweep;
use ablate::graph::{Graph, Kv, Positions, Side};
use ablate::grid::{Axis, Direction, GridSite, patch_grid};
use ablate::model::load::{DType, LoadOptions};
use ablate::model::model::Model;
use ablate::prune::{Order, PruneConfig, prune};
use ablate::{Ablation, Dataset, Metric, Session, Setup, Silent, Study};
use ablate_testkit::{Tolerance, golden, golden_json, numbers};

pub(crate) const ARCHS: [&str; 3] = ["gpt2", "llama", "gpt_neox"];

pub(crate) fn load(arch: &str, dtype: DType) -> Model {
    let folder = golden().join("tiny").join(arch);
    Model::load(folder.to_str().unwrap(), &LoadOptions { dtype, ..LoadOptions::default() }).unwrap()
}

pub(crate) fn batch(arch: &str, model: &Model) -> ablate::model::Batch {
    let path = golden().join("tiny").join(arch).join("data.jsonl");
    let limits = Limits { d_vocab: model.config().d_vocab, n_ctx: model.config().n_ctx };
    Dataset::read(&path).unwrap().batch(None, limits).unwrap()
}

pub(crate) fn close(what: &str, got: &[f64], want: &[f64], tol: Tolerance) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (x, y)) in got.iter().zip(want).enumerate() {
        assert!(tol.holds(*x, *y), "{what}: example {i}: {x} instead of {y}");
    }
}

pub(crate) fn graph(model: &Model) -> Graph {
    Graph::new(model.graph_shape(), Kv::PerQuery).unwrap()
}

#[test]
fn base_metrics() {
    for arch in ARCHS {
        let model = load(arch, DType::F64);
        let want = golden_json(&format!("tiny/{arch}/golden/base.json"));
        for metric in [Metric::LogitDiff, Metric::Kl, Metric::ProbDiff, Metric::LogProb] {
            let setup = Setup { metric, ..Setup::default() };
            let mut study = Study::new(&model, batch(arch, &model), setup).unwrap();
            for (side, name) in [(Side::Clean, "clean"), (Side::Corrupt, "corrupt")] {
                let values = &want[name][metric.name()];
                let values = if values.is_array() { values } else { &values["per_example"] };
                close(
                    &format!("{arch} {metric} {name}"),
                    &study.base(side).unwrap(),
                    &numbers(values),
                    Tolerance::F64,
                );
            }
        }
    }
}

#[test]
fn node_effects() {
    for (dtype, tol) in [(DType::F64, Tolerance::F64), (DType::F32, Tolerance::F32)] {
        for arch in ARCHS {
            let model = load(arch, dtype);
            let graph = graph(&model);
            let want = golden_json(&format!("tiny/{arch}/golden/nodes.json"));
            for metric in [Metric::LogitDiff, Metric::Kl] {
                for ablation in ["zero", "mean", "mean-positional", "resample"] {
                    for positions in ["all", "3"] {
                        let rows: Vec<_> = want["rows"]
                            .as_array()
                            .unwrap()
                            .iter()
                            .filter(|r| {
                                let at = &r["positions"];
                                let at = at.as_str().map_or_else(|| at[0].to_string(), str::to_owned);
                                r["ablation"] == ablation && at == positions
                            })
                            .collect();
                        assert_eq!(rows.len(), 16);
                        let nodes: Vec<_> = rows
                            .iter()
                            .map(|r| graph.parse_node(r["name"].as_str().unwrap()).unwrap())
                            .collect();
                        let setup = Setup { metric, ..Setup::default() };
                        let mut silent = Silent;
                        let mut session = Session::new(
                            Study::new(&model, batch(arch, &model), setup).unwrap(),
                            &mut silent,
                        );
                        let got = sweep(
                            &mut session,
                            &nodes,
                            Ablation::parse(ablation, 0).unwrap(),
                            &Positions::parse(positions).unwrap(),
                        )
                        .unwrap();
                        for (row, effect) in rows.iter().zip(got) {
                            let what = format!("{arch} {} {ablation} {positions} {metric}", row["name"]);
                            close(
                                &what,
                                &effect.metrics,
                                &numbers(&row["metric_per_example"][metric.name()]),
                                tol,
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn grids() {
    for arch in ARCHS {
        let model = load(arch, DType::F64);
        let want = golden_json(&format!("tiny/{arch}/golden/grids.json"));
        let mut silent = Silent;
        let mut session =
            Session::new(Study::new(&model, batch(arch, &model), Setup::default()).unwrap(), &mut silent);
        let mut seen = 0;
        for (name, direction) in [("denoise", Direction::Denoise), ("noise", Direction::Noise)] {
            for site in GridSite::ALL {
                let rows: Vec<_> = want["rows"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|r| r[0] == name && r[1] == site.name())
                    .collect();
                if rows.is_empty() {
                    continue;
                }
                let axis = if site.of_head() {
                    Axis::Head(4)
                } else {
                    Axis::positions(session.study().batch()).unwrap()
                };
                let cells = patch_grid(&mut session, model.config(), site, direction, &axis).unwrap();
                assert_eq!(cells.len(), rows.len());
                for (cell, row) in cells.iter().zip(rows) {
                    assert_eq!(
                        (cell.layer as u64, cell.column as u64),
                        (row[2].as_u64().unwrap(), row[3].as_u64().unwrap())
                    );
                    close(
                        &format!("{arch} {name} {} {} {}", row[1], row[2], row[3]),
                        &cell.metrics,
                        &numbers(&row[5]),
                        Tolerance::F64,
                    );
                    seen += 1;
                }
            }
        }
        assert_eq!(seen, want["rows"].as_array().unwrap().len());
    }
}

#[test]
fn removal_curves() {
    for arch in ARCHS {
        let model = load(arch, DType::F64);
        let graph = graph(&model);
        let heads: Vec<_> = graph.heads().collect();
        let want = golden_json(&format!("tiny/{arch}/golden/rank_curve.json"));
        for (name, ranking) in [("static", Ranking::Once), ("greedy", Ranking::Greedy)] {
            let mut silent = Silent;
            let mut session =
                Session::new(Study::new(&model, batch(arch, &model), Setup::default()).unwrap(), &mut silent);
            let zero = Ablation::parse("zero", 0).unwrap();
            let steps = rank_curve(&mut session, &heads, zero, &Positions::All, ranking).unwrap();
            for (step, row) in steps.iter().zip(want[name].as_array().unwrap()) {
                assert_eq!(step.removed.to_string(), row[0].as_str().unwrap(), "{arch} {name}");
                let mean = step.metrics.iter().sum::<f64>() / step.metrics.len() as f64;
                assert!(
                    Tolerance::F64.holds(mean, row[1].as_f64().unwrap()),
                    "{arch} {name} {}: {mean} {}",
                    row[0],
                    row[1]
                );
            }
            assert_eq!(steps.len(), 12);
        }
    }
}

#[test]
fn pruning() {
    for arch in ARCHS {
        let model = load(arch, DType::F64);
        let graph = graph(&model);
        let want = golden_json(&format!("tiny/{arch}/golden/prune.json"));
        for trace in want["traces"].as_array().unwrap() {
            let config = PruneConfig {
                nodes: graph.heads().collect(),
                ablation: Ablation::parse("mean-positional", 0).unwrap(),
                positions: Positions::All,
                threshold: trace["threshold"].as_f64().unwrap(),
                two_sided: false,
                order: Order::parse(trace["order"].as_str().unwrap(), 0).unwrap(),
            };
            let setup = Setup { mean_side: Side::Corrupt, ..Setup::default() };
            let mut silent = Silent;
            let mut session =
                Session::new(Study::new(&model, batch(arch, &model), setup).unwrap(), &mut silent);
            let got = prune(&mut session, &config).unwrap();
            let what = format!("{arch} {} {}", trace["order"], trace["threshold"]);
            let steps = trace["steps"].as_array().unwrap();
            for (step, row) in got.steps.iter().zip(steps) {
                assert_eq!(step.candidate.to_string(), row[1].as_str().unwrap(), "{what}");
                assert!(
                    Tolerance::F64.holds(step.metric, row[2].as_f64().unwrap()),
                    "{what} {}: {} {}",
                    row[1],
                    step.metric,
                    row[2]
                );
                assert_eq!(step.removed, row[4] == "remove", "{what} {}", row[1]);
            }
            assert_eq!(got.steps.len(), steps.len(), "{what}");
            let kept: Vec<String> = got.kept.iter().map(ToString::to_string).collect();
            let circuit: Vec<&str> =
                trace["circuit"].as_array().unwrap().iter().filter_map(|v| v.as_str()).collect();
            assert_eq!(kept, circuit, "{what}");
            assert!(Tolerance::F64.holds(got.score_percent, trace["score"].as_f64().unwrap()), "{what}");
        }
    }
}
