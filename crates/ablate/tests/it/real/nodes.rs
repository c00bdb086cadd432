//! Base metrics of the four data sets, and the effect of every head and MLP under three ablations.

use ablate::effects::sweep;
use ablate::graph::{Graph, Kv, Positions, Side};
use ablate::{Ablation, Metric, Session, Setup, Silent, Study};
use ablate_testkit::{Tolerance, golden_json, numbers};

use super::{model, rows};

#[test]
fn real_base_metrics() {
    let Some(model) = model() else { return };
    let golden = golden_json("real/base.json");
    for set in ["ioi", "greater_than", "gendered_pronoun", "digits"] {
        let batch = rows(&model, set, usize::MAX);
        for (side, name) in [(Side::Clean, "clean"), (Side::Corrupt, "corrupt")] {
            for metric in [Metric::LogitDiff, Metric::Kl, Metric::ProbDiff, Metric::LogProb] {
                let expected = numbers(&golden["sets"][set][name][metric.name()]["per_example"]);
                assert_eq!(expected.len(), batch.len(), "{set} {name} {metric}");
                let mut study =
                    Study::new(&model, batch.clone(), Setup { metric, ..Setup::default() }).unwrap();
                let got = study.base(side).unwrap();
                for (row, (x, y)) in got.iter().zip(&expected).enumerate() {
                    assert!(Tolerance::F32.holds(*x, *y), "{set} {name} {metric} row {row}: {x} and {y}");
                }
            }
        }
    }
}

#[test]
fn real_node_effects() {
    let Some(model) = model() else { return };
    let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
    let nodes: Vec<_> = graph.heads().chain(graph.mlps()).collect();
    let whole = rows(&model, "ioi", usize::MAX);
    for source in ["resample", "zero", "mean-positional"] {
        let golden = golden_json(&format!("real/nodes_{source}.json"));
        for (metric, column) in [(Metric::LogitDiff, 1), (Metric::Kl, 2)] {
            let setup = Setup { metric, mean_set: Some(whole.clone()), ..Setup::default() };
            let mut silent = Silent;
            let study = Study::new(&model, rows(&model, "ioi", 20), setup).unwrap();
            let mut session = Session::new(study, &mut silent);
            let ablation = Ablation::parse(source, 0).unwrap();
            let effects = sweep(&mut session, &nodes, ablation, &Positions::All).unwrap();
            let rows = golden["rows"].as_array().unwrap();
            assert_eq!(rows.len(), nodes.len());
            for row in rows {
                let name = row[0].as_str().unwrap();
                let i = nodes.iter().position(|n| n.to_string() == name).unwrap();
                let score = effects[i].scores.iter().sum::<f64>() / 20.0;
                let expected = row[column].as_f64().unwrap();
                assert!(
                    Tolerance::F32.holds(score, expected),
                    "{source} {metric} {name}: {score} and {expected}"
                );
                if metric == Metric::LogitDiff {
                    for (x, y) in effects[i].metrics.iter().zip(numbers(&row[3])) {
                        assert!(Tolerance::F32.holds(*x, y), "{source} {name}: {x} and {y}");
                    }
                }
            }
        }
    }
}
