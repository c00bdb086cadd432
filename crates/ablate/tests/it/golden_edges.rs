//! Cut edges against the independent brute-force reference: every single edge, and whole circuits.

use ablate::discover::acdc::{AcdcConfig, AcdcResult, acdc, order};
use ablate::graph::{Cut, EdgeSet, Edit, Graph, Plan, Positions, Reader, Side, Site, Source};
use ablate::model::Batch;
use ablate::model::load::DType;
use ablate::path::{After, Route, Through, path_patch};
use ablate::{Ablation, Metric, Session, Setup, Silent, Study};
use ablate_testkit::{Tolerance, golden_json, numbers};

use super::golden_nodes::{ARCHS, batch, close, graph, load};

fn source(name: &str) -> Source {
    match name {
        "resample" => Source::Resample,
        "zero" => Source::Zero,
        _ => Source::MeanPositional,
    }
}

#[test]
fn every_edge_alone() {
    for (dtype, tol) in [(DType::F64, Tolerance::F64), (DType::F32, Tolerance::F32)] {
        for arch in ARCHS {
            let model = load(arch, dtype);
            let graph = graph(&model);
            let want = golden_json(&format!("tiny/{arch}/golden/edges_exact.json"));
            let rows = want["rows"].as_array().unwrap();
            assert_eq!(rows.len(), graph.n_edges());
            let plans: Vec<Plan> = rows
                .iter()
                .map(|r| {
                    let edge = graph.parse_edge(r["name"].as_str().unwrap()).unwrap();
                    Plan::new().replace(Site::Edge(edge), Source::Resample)
                })
                .collect();
            for metric in [Metric::LogitDiff, Metric::Kl] {
                let mut study =
                    Study::new(&model, batch(arch, &model), Setup { metric, ..Setup::default() }).unwrap();
                for (row, got) in rows.iter().zip(study.evaluate(&plans).unwrap()) {
                    let what = format!("{arch} {dtype:?} {metric} {}", row["name"]);
                    close(&what, &got, &numbers(&row["metric_per_example"][metric.name()]), tol);
                }
            }
        }
    }
}

/// The plan that runs a golden circuit: edges outside are cut, or heads outside are replaced.
fn circuit_plan(graph: &Graph, row: &serde_json::Value, source: Source) -> Plan {
    let members = row["members"].as_array().unwrap().iter().map(|m| m.as_str().unwrap());
    if row["level"] == "edge" {
        let ids = members.map(|m| graph.edge_id(graph.parse_edge(m).unwrap()).unwrap());
        return Plan::circuit(graph, &EdgeSet::of(graph.n_edges(), ids), source);
    }
    let kept: Vec<_> = members.map(|m| graph.parse_node(m).unwrap()).collect();
    graph.heads().filter(|h| !kept.contains(h)).fold(Plan::new(), |plan, head| {
        plan.edit(Edit { site: Site::Node(head), positions: Positions::All, source, scale: 1.0 })
    })
}

#[test]
fn circuits() {
    for (dtype, tol) in
        [(DType::F64, Tolerance::F64), (DType::F32, Tolerance { absolute: 2e-3, relative: 1e-3 })]
    {
        for arch in ARCHS {
            let model = load(arch, dtype);
            let graph = graph(&model);
            let want = golden_json(&format!("tiny/{arch}/golden/circuits.json"));
            for row in want["circuits"].as_array().unwrap() {
                for (name, values) in row["eval"].as_object().unwrap() {
                    let plan = circuit_plan(&graph, row, source(name));
                    for metric in [Metric::LogitDiff, Metric::Kl] {
                        let expected = numbers(&values[metric.name()]["per_example"]);
                        let setup = Setup { metric, ..Setup::default() };
                        let mut study = Study::new(&model, batch(arch, &model), setup).unwrap();
                        let what = format!("{arch} {dtype:?} {} {name} {metric}", row["name"]);
                        let got = study.evaluate(std::slice::from_ref(&plan)).unwrap().remove(0);
                        close(&what, &got, &expected, tol);
                        // dead nodes replaced instead of cut: the same run
                        if let [cut] = &plan.cuts[..] {
                            let settled = plan.settled(&graph.dead(&cut.edges));
                            let got = study.evaluate(&[settled]).unwrap().remove(0);
                            close(&format!("{what}, settled"), &got, &expected, tol);
                        }
                        // kept as a base run and started from again
                        let tried = study.trial(&plan).unwrap();
                        close(&format!("{what}, as a base"), &tried, &expected, tol);
                    }
                }
            }
        }
    }
}

/// The receivers of a golden path.
fn hop(graph: &Graph, value: &serde_json::Value) -> Vec<Reader> {
    let names = value.as_str().map_or_else(
        || value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect::<Vec<_>>(),
        |text| text.split(',').map(str::to_owned).collect(),
    );
    names.iter().map(|n| graph.parse_reader(n).unwrap()).collect()
}

#[test]
fn path_patching() {
    for (dtype, tol) in [(DType::F64, Tolerance::F64), (DType::F32, Tolerance::F32)] {
        for arch in ARCHS {
            let model = load(arch, dtype);
            let graph = graph(&model);
            let want = golden_json(&format!("tiny/{arch}/golden/paths.json"));
            let mut silent = Silent;
            let study = Study::new(&model, batch(arch, &model), Setup::default()).unwrap();
            let mut session = Session::new(study, &mut silent);
            for row in want["rows"].as_array().unwrap() {
                let sender = graph.parse_node(row[0].as_str().unwrap()).unwrap();
                let through = if row[2] == "mlp" { Through::Mlp } else { Through::None };
                let after = if row[4] == "frozen" { After::Frozen } else { After::Recompute };
                let positions = if row[3] == "all" { Positions::All } else { Positions::Last };
                let hops = vec![hop(&graph, &row[1])];
                let ablation = Ablation::of(Source::Resample);
                let route = Route { graph, hops, through, after, positions, ablation };
                let got = path_patch(&mut session, &[sender], &route).unwrap().remove(0);
                close(&format!("{arch} {dtype:?} {row}"), &got.metrics, &numbers(&row[6]), tol);
            }
        }
    }
}

#[test]
fn acdc_decides_as_the_reference_and_as_without_speculation() {
    for arch in ARCHS {
        let model = load(arch, DType::F64);
        let graph = graph(&model);
        let want = golden_json(&format!("tiny/{arch}/golden/acdc.json"));
        for run in want["runs"].as_array().unwrap() {
            let find = |speculate: usize| {
                let mut silent = Silent;
                let setup = Setup { metric: Metric::Kl, ..Setup::default() };
                let study = Study::new(&model, batch(arch, &model), setup).unwrap();
                let mut session = Session::new(study, &mut silent);
                let config = AcdcConfig {
                    graph,
                    threshold: run["tau"].as_f64().unwrap(),
                    ablation: Ablation::of(Source::Resample),
                    positions: Positions::All,
                    candidates: EdgeSet::full(graph.n_edges()),
                    speculate,
                };
                acdc(&mut session, &config).unwrap()
            };
            let (got, sequential) = (find(32), find(1));
            let what = format!("{arch} tau {}", run["tau"]);
            assert_eq!(sequential.wasted, 0);
            assert_eq!(sequential.batches, sequential.evaluations, "{what}");
            assert!(got.batches < sequential.batches, "{what}: {} batches", got.batches);
            assert_eq!(got.steps.len(), sequential.steps.len());
            for (a, b) in got.steps.iter().zip(&sequential.steps) {
                assert_eq!((a.edge, a.removed, a.run), (b.edge, b.removed, b.run), "{what}");
                assert!(Tolerance::F64.holds(a.metric, b.metric));
            }
            // the margin of every decision of these runs is far above the tolerance
            assert!(run["closest_decision_margin"].as_f64().unwrap() > 1e-6);
            for (step, row) in got.steps.iter().zip(run["steps"].as_array().unwrap()) {
                assert_eq!(graph.edge(step.edge).to_string(), row[0].as_str().unwrap(), "{what}");
                assert_eq!(step.removed, row[3] == "remove", "{what} {row}");
                assert!(Tolerance::F64.holds(-step.metric, row[1].as_f64().unwrap()), "{what} {row}");
                assert_eq!(!step.run, row[4].as_bool().unwrap(), "{what} {row}");
            }
            assert_eq!(got.kept.len(), run["size"].as_u64().unwrap() as usize, "{what}");
            assert_eq!(got.evaluations, run["evaluations_skipping_dead_nodes"].as_u64().unwrap(), "{what}");
            assert!(Tolerance::F64.holds(-got.metric, run["final_kl"].as_f64().unwrap()), "{what}");
        }
    }
}

/// ACDC at `positions` of a tiny model's rows, by threshold 0.03 on KL.
fn acdc_at(arch: &str, batch: Batch, positions: Positions) -> AcdcResult {
    let model = load(arch, DType::F64);
    let graph = graph(&model);
    let mut silent = Silent;
    let setup = Setup { metric: Metric::Kl, ..Setup::default() };
    let mut session = Session::new(Study::new(&model, batch, setup).unwrap(), &mut silent);
    let config = AcdcConfig {
        graph,
        threshold: 0.03,
        ablation: Ablation::of(Source::Resample),
        positions,
        candidates: EdgeSet::full(graph.n_edges()),
        speculate: 8,
    };
    acdc(&mut session, &config).unwrap()
}

/// The same one edge after the other, every run made, nothing guessed or left out.
fn acdc_one_by_one(arch: &str, batch: Batch, positions: &Positions) -> (EdgeSet, Vec<f64>) {
    let model = load(arch, DType::F64);
    let graph = graph(&model);
    let setup = Setup { metric: Metric::Kl, ..Setup::default() };
    let mut study = Study::new(&model, batch, setup).unwrap();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let mut current = mean(&study.base(Side::Clean).unwrap());
    let (mut removed, mut metrics) = (EdgeSet::new(graph.n_edges()), Vec::new());
    for edge in order(&graph, &EdgeSet::full(graph.n_edges())) {
        let mut edges = removed.clone();
        edges.insert(edge);
        let (source, positions) = (Source::Resample, positions.clone());
        let cut = Cut { graph, edges: edges.clone(), positions, source, scale: 1.0 };
        let plan = Plan { cuts: vec![cut], ..Plan::on(Side::Clean) };
        let metric = mean(&study.evaluate(&[plan]).unwrap()[0]);
        metrics.push(metric);
        if current - metric < 0.03 {
            (removed, current) = (edges, metric);
        }
    }
    (removed.complement(), metrics)
}

#[test]
fn acdc_at_some_positions_is_the_sequential_loop() {
    for arch in ARCHS {
        let rows = batch(arch, &load(arch, DType::F64));
        let all = acdc_at(arch, rows.clone(), Positions::All);
        let mut sizes = vec![all.kept.len()];
        for positions in [vec![6], vec![2, 3]] {
            let positions = Positions::At(positions);
            let got = acdc_at(arch, rows.clone(), positions.clone());
            let (kept, metrics) = acdc_one_by_one(arch, rows.clone(), &positions);
            assert_eq!(got.kept, kept, "{arch} {positions}");
            for (step, metric) in got.steps.iter().zip(metrics) {
                assert!(Tolerance::F64.holds(step.metric, metric), "{arch} {positions} {step:?}");
            }
            assert!(got.steps.iter().all(|s| s.run), "no node is known to be dead");
            sizes.push(kept.len());
        }
        assert_eq!(acdc_at(arch, rows.clone(), Positions::At((0..7).collect())).kept, all.kept, "{arch}");
        assert!(sizes[1] < sizes[0] && sizes[1] > 0, "{arch}: {sizes:?}");
    }
}

#[test]
fn acdc_after_the_read_position_finds_nothing() {
    let model = load("gpt2", DType::F64);
    let config = model.config();
    let mut rows = batch("gpt2", &model).rows().to_vec();
    for row in &mut rows {
        row.reads = vec![3];
    }
    let rows = Batch::new(rows, vec![String::new()], config.d_vocab, config.n_ctx).unwrap();
    let got = acdc_at("gpt2", rows.clone(), Positions::At(vec![4, 6]));
    assert!(got.kept.is_empty(), "{:?}", got.kept);
    assert!(got.steps.iter().all(|s| s.fall == 0.0));
    assert!(!acdc_at("gpt2", rows, Positions::At(vec![3])).kept.is_empty());
}
