//! The built-in models: the methods find the circuit that was put there.

use std::collections::BTreeMap;

use ablate::dataset::Limits;
use ablate::effects::{ablate_nodes, sweep};
use ablate::graph::{Graph, Kv, Node, Positions, Side};
use ablate::model::builtin;
use ablate::model::load::{DType, LoadOptions};
use ablate::model::model::Model;
use ablate::prune::{Order, PruneConfig, prune};
use ablate::task::{self, TaskRequest};
use ablate::{Ablation, Metric, Session, Setup, Silent, Study};

pub(crate) fn load(name: &str, dtype: DType) -> Model {
    Model::load(&format!("builtin:{name}"), &LoadOptions { dtype, ..LoadOptions::default() }).unwrap()
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// Rows of the induction task, with the model's tokenizer or without one.
pub(crate) fn rows(
    model: &Model,
    n: usize,
    seed: u64,
    corruption: &str,
    codec: bool,
) -> ablate::model::Batch {
    let mut options = BTreeMap::from([("corruption".to_owned(), corruption.to_owned())]);
    if !codec {
        options.insert("vocab".to_owned(), "64".to_owned());
    }
    let codec = if codec { model.codec() } else { None };
    let request = TaskRequest { n, seed, codec, options: &options };
    let data = task::find("induction").unwrap().generate(&request).unwrap();
    let limits = Limits { d_vocab: model.config().d_vocab, n_ctx: model.config().n_ctx };
    data.batch(codec, limits).unwrap()
}

fn nodes(model: &Model) -> Vec<Node> {
    let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
    graph.senders().filter(|n| *n != Node::Input).collect()
}

pub(crate) fn session<'m>(
    model: &'m Model,
    batch: ablate::model::Batch,
    silent: &'m mut Silent,
) -> Session<'m, 'm> {
    Session::new(Study::new(model, batch, Setup::default()).unwrap(), silent)
}

fn ablation(name: &str) -> Ablation {
    Ablation::parse(name, 0).unwrap()
}

#[test]
fn induction_is_solved() {
    for name in ["induction", "induction-backup"] {
        let single = load(name, DType::F32);
        let double = load(name, DType::F64);
        for (model, seed, codec) in
            [(&single, 0, false), (&single, 1, true), (&single, 2, false), (&double, 0, true)]
        {
            let rows = rows(model, 100, seed, "other-answer", codec);
            for (metric, least) in [(Metric::Accuracy, 0.99), (Metric::LogitDiff, 5.0)] {
                let setup = Setup { metric, ..Setup::default() };
                let values = Study::new(model, rows.clone(), setup).unwrap().base(Side::Clean).unwrap();
                assert!(mean(&values) >= least, "{name} {seed} {metric}: {}", mean(&values));
            }
        }
    }
}

#[test]
fn only_the_true_heads_matter() {
    let model = load("induction", DType::F32);
    let truth = builtin::truth("induction").unwrap();
    let all = nodes(&model);
    // with other-answer the previous-token head reads the same in both texts: resampling needs no-repeat
    let batch = rows(&model, 100, 0, "no-repeat", true);
    let mut silent = Silent;
    let mut session = session(&model, batch, &mut silent);
    let base = mean(&session.base(Side::Clean).unwrap());
    for name in ["zero", "mean", "mean-positional", "resample"] {
        let effects = sweep(&mut session, &all, ablation(name), &Positions::All).unwrap();
        for (node, effect) in all.iter().zip(effects) {
            let lost = mean(&effect.scores) / base;
            if truth.contains(node) {
                // a mean over the few rows of a group still holds some of the row's own value
                let least = if name == "mean-positional" { 0.6 } else { 0.85 };
                assert!(lost > least, "{name} {node}: {lost}");
            } else {
                assert!(lost.abs() < 0.05, "{name} {node}: {lost}");
            }
        }
        let both =
            mean(&session.evaluate(&[ablate_nodes(&truth, ablation(name), &Positions::All)]).unwrap()[0]);
        assert!(both / base < 0.25, "{name} both: {both}");
        let decoys: Vec<Node> = all.iter().copied().filter(|n| !truth.contains(n)).collect();
        let rest =
            mean(&session.evaluate(&[ablate_nodes(&decoys, ablation(name), &Positions::All)]).unwrap()[0]);
        assert!((0.9..1.5).contains(&(rest / base)), "{name} all decoys: {rest}");
    }
}

#[test]
fn pruning_finds_exactly_the_true_heads() {
    let model = load("induction", DType::F32);
    let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
    let batch = rows(&model, 44, 1, "no-repeat", false);
    for name in ["mean-positional", "resample"] {
        for order in Order::NAMES {
            let config = PruneConfig {
                nodes: graph.heads().collect(),
                ablation: ablation(name),
                positions: Positions::All,
                threshold: 10.0,
                two_sided: false,
                order: Order::parse(order, 3).unwrap(),
            };
            let mut silent = Silent;
            let pruned = prune(&mut session(&model, batch.clone(), &mut silent), &config).unwrap();
            assert_eq!(pruned.kept, builtin::truth("induction").unwrap(), "{name} {order}");
            assert!(pruned.score_percent >= 90.0, "{name} {order}: {}", pruned.score_percent);
        }
    }
}

#[test]
fn a_backup_hides_both_previous_token_heads_from_single_ablation() {
    let model = load("induction-backup", DType::F32);
    let truth = builtin::truth("induction-backup").unwrap();
    let (previous, induction) = truth.split_at(2);
    let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
    let batch = rows(&model, 44, 2, "no-repeat", true);
    let mut silent = Silent;
    let mut one = session(&model, batch.clone(), &mut silent);
    let base = mean(&one.base(Side::Clean).unwrap());
    for head in sweep(&mut one, previous, ablation("zero"), &Positions::All).unwrap() {
        assert!(mean(&head.scores) / base < 0.05);
    }
    let both = mean(&one.evaluate(&[ablate_nodes(previous, ablation("zero"), &Positions::All)]).unwrap()[0]);
    assert!(both / base < 0.15);
    let config = PruneConfig {
        nodes: graph.heads().collect(),
        ablation: ablation("resample"),
        positions: Positions::All,
        threshold: 10.0,
        two_sided: false,
        order: Order::Backward,
    };
    let mut silent = Silent;
    let pruned = prune(&mut session(&model, batch, &mut silent), &config).unwrap();
    assert_eq!(pruned.kept.len(), 2);
    assert!(previous.contains(&pruned.kept[0]) && induction.contains(&pruned.kept[1]), "{:?}", pruned.kept);
}
