//! Identities of studies: what a curve's plans ablate; rows, their order, and memory blocks do not change numbers.

use ablate::curve::{Ranking, rank_curve, step_plan};
use ablate::graph::{Edit, Plan, Positions, Side, Site};
use ablate::model::load::DType;
use ablate::model::{Batch, Model};
use ablate::prune::{Order, PruneConfig, prune};
use ablate::session::Journal;
use ablate::{Ablation, Error, Metric, Observer, Session, Setup, Silent, Study};

use crate::golden_nodes::{ARCHS, batch, graph, load};

/// Step `i` ablates exactly the first `i` heads (counted from 1), each once, and the curve measures these plans.
#[test]
fn steps_of_a_curve_ablate_exactly_the_first_heads() {
    let model = load("gpt2", DType::F64);
    let heads: Vec<_> = graph(&model).heads().collect();
    for (name, ranking) in
        [("zero", Ranking::Once), ("resample", Ranking::Greedy), ("mean-positional", Ranking::Once)]
    {
        let ablation = Ablation::parse(name, 0).unwrap();
        let mut silent = Silent;
        let study = Study::new(&model, batch("gpt2", &model), Setup::default()).unwrap();
        let mut session = Session::new(study, &mut silent);
        let curve = rank_curve(&mut session, &heads, ablation, &Positions::All, ranking).unwrap();
        let order: Vec<_> = curve.iter().map(|step| step.removed).collect();
        assert_eq!(order.len(), heads.len());
        assert!(heads.iter().all(|head| order.contains(head)));
        for (i, step) in curve.iter().enumerate() {
            let plan = step_plan(&order, i, ablation, &Positions::All);
            let edit = |&node| Edit {
                site: Site::Node(node),
                positions: Positions::All,
                source: ablation.source,
                scale: 1.0,
            };
            let edits = order[..=i].iter().map(edit).collect();
            let wanted = Plan { side: Side::Clean, edits, cuts: Vec::new(), freeze_norm: false };
            assert_eq!(plan, wanted, "{name} step {}", i + 1);
            let fresh = Study::new(&model, batch("gpt2", &model), Setup::default()).unwrap();
            let metrics = Session::new(fresh, &mut Silent).evaluate(&[plan]).unwrap().remove(0);
            for (x, y) in step.metrics.iter().zip(&metrics) {
                assert!((x - y).abs() < 1e-12, "{name} step {}: {x} and {y}", i + 1);
            }
        }
    }
}

/// Each head alone, by `name`, and all of layer 1 together.
fn plans(model: &Model, name: &str) -> Vec<Plan> {
    let ablation = Ablation::parse(name, 3).unwrap();
    let edit = |plan: Plan, node| {
        plan.edit(Edit {
            site: Site::Node(node),
            positions: Positions::All,
            source: ablation.source,
            scale: 1.0,
        })
    };
    let heads: Vec<_> = graph(model).heads().collect();
    let layer = heads.iter().copied().filter(|head| head.layer() == Some(1)).fold(Plan::new(), edit);
    heads.iter().map(|&head| edit(Plan::new(), head)).chain([layer]).collect()
}

/// Both base runs and all plans on some rows; means are always those of `whole`.
fn values(model: &Model, rows: Batch, whole: &Batch, metric: Metric, name: &str) -> Vec<Vec<f64>> {
    let setup = Setup { metric, mean_set: Some(whole.clone()), ..Setup::default() };
    measured(&mut Study::new(model, rows, setup).unwrap(), &plans(model, name))
}

fn measured(study: &mut Study<'_>, plans: &[Plan]) -> Vec<Vec<f64>> {
    let mut all = study.evaluate(plans).unwrap();
    all.extend([study.base(Side::Clean).unwrap(), study.base(Side::Corrupt).unwrap()]);
    all
}

/// Whether the numbers agree up to the rounding of products of other sizes.
fn agree(what: &str, dtype: DType, got: &[f64], wanted: &[f64]) {
    let most = if dtype == DType::F64 { 1e-11 } else { 1e-5 };
    assert_eq!(got.len(), wanted.len(), "{what}");
    for (x, y) in got.iter().zip(wanted) {
        assert!((x - y).abs() <= most * (1.0 + y.abs()), "{what}: {x} and {y}");
    }
}

const SOURCES: [&str; 4] = ["zero", "mean", "mean-positional", "resample"];

#[test]
fn rows_in_parts_and_in_any_order_give_the_same_numbers() {
    for arch in ARCHS {
        for dtype in [DType::F32, DType::F64] {
            let model = load(arch, dtype);
            let whole = batch(arch, &model);
            let n = whole.len();
            for (name, metric) in SOURCES.into_iter().zip([Metric::LogitDiff, Metric::Kl].into_iter().cycle())
            {
                let wanted = values(&model, whole.clone(), &whole, metric, name);
                let orders = [
                    (0..n).rev().collect::<Vec<_>>(),
                    (0..n).map(|i| (i * 3 + 1) % n).collect(),
                    vec![n - 1],
                    (0..n / 2).collect(),
                    vec![2, 0, 2],
                ];
                for order in orders {
                    let got = values(&model, whole.subset(&order), &whole, metric, name);
                    for (wanted, got) in wanted.iter().zip(&got) {
                        let wanted: Vec<f64> = order.iter().map(|&row| wanted[row]).collect();
                        agree(
                            &format!("{arch} {dtype:?} {name} {metric} rows {order:?}"),
                            dtype,
                            got,
                            &wanted,
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn memory_blocks_give_the_same_numbers_as_one() {
    for arch in ARCHS {
        let model = load(arch, DType::F32);
        let whole = batch(arch, &model);
        for name in SOURCES.into_iter().chain(["resample-other"]) {
            for metric in [Metric::LogitDiff, Metric::Kl] {
                let setup = |budget| Setup { metric, budget, ..Setup::default() };
                let plans = plans(&model, name);
                let mut one = Study::new(&model, whole.clone(), setup(512 << 20)).unwrap();
                let wanted = measured(&mut one, &plans);
                assert_eq!(one.blocks(), 1);
                let third = one.activation_bytes() / 3 + 1;
                for (budget, least) in [(third, 2), (1, whole.len())] {
                    let mut study = Study::new(&model, whole.clone(), setup(budget)).unwrap();
                    let got = measured(&mut study, &plans);
                    for (got, wanted) in got.iter().zip(&wanted) {
                        agree(&format!("{arch} {name} {metric} in {budget} bytes"), DType::F32, got, wanted);
                    }
                    assert!(study.blocks() >= least && !study.holds(), "{} blocks", study.blocks());
                }
            }
        }
    }
}

/// Stops at the `left`-th look.
struct Stopping(std::cell::Cell<usize>);

impl Observer for Stopping {
    fn expect(&mut self, _total: usize) {}
    fn advance(&mut self, _n: usize, _resumed: usize) {}
    fn stopped(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left == 0
    }
}

/// A block's base runs are made once, however many plans and calls there are; a run that is stopped between blocks goes
/// on at the block where it was.
#[test]
fn base_runs_of_a_block_are_made_once() {
    let model = load("llama", DType::F64);
    let whole = batch("llama", &model);
    let plans = plans(&model, "resample");
    let study = || Study::new(&model, whole.clone(), Setup { budget: 1, ..Setup::default() }).unwrap();
    let mut silent = Silent;
    let mut session = Session::new(study(), &mut silent);
    let wanted = session.evaluate(&plans).unwrap();
    let blocks = session.study().blocks();
    assert!(blocks == whole.len() && blocks > 3);
    assert_eq!(session.study().states_made(), blocks as u64);
    assert_eq!(wanted, study().evaluate(&plans).unwrap());

    let folder = tempfile::tempdir().unwrap();
    let open = || Some(Journal::open(&folder.path().join("r.journal"), "a run").unwrap());
    let mut stopping = Stopping(3.into());
    let mut session = Session::new(study(), &mut stopping).with_journal(open());
    let error = session.evaluate(&plans).unwrap_err();
    assert!(matches!(error, Error::Stopped { finished: Some(0) }), "{error}");
    assert_eq!(session.study().states_made(), 3);
    drop(session);
    let mut silent = Silent;
    let mut session = Session::new(study(), &mut silent).with_journal(open());
    assert_eq!(session.evaluate(&plans).unwrap(), wanted);
    assert_eq!(session.study().states_made(), blocks as u64 - 3);
    assert_eq!(session.into_journal().unwrap().len(), plans.len());
}

/// Pruning goes on from the runs that it keeps; where these do not fit, it starts from the base run.
#[test]
fn pruning_does_not_depend_on_what_fits_in_memory() {
    let model = load("llama", DType::F64);
    let nodes: Vec<_> = graph(&model).heads().collect();
    let run = |budget: usize, order: Order| {
        let mut silent = Silent;
        let study = Study::new(&model, batch("llama", &model), Setup { budget, ..Setup::default() }).unwrap();
        let mut session = Session::new(study, &mut silent);
        let ablation = Ablation::parse("mean-positional", 0).unwrap();
        let (nodes, positions) = (nodes.clone(), Positions::All);
        let config = PruneConfig { nodes, ablation, positions, threshold: 20.0, two_sided: false, order };
        let pruning = prune(&mut session, &config).unwrap();
        (pruning, session.study().holds(), session.study().blocks(), session.study().activation_bytes())
    };
    for order in [Order::ForwardBackward, Order::Random { seed: 1 }] {
        let (wanted, holds, blocks, bytes) = run(512 << 20, order);
        assert!(holds && blocks == 1);
        // rows fit, but not their trials; and no two rows fit
        for (budget, one) in [(bytes, true), (1, false)] {
            let (got, holds, blocks, _) = run(budget, order);
            assert!(!holds && (blocks == 1) == one);
            assert_eq!(got.kept, wanted.kept);
            for (x, y) in got.steps.iter().zip(&wanted.steps) {
                assert_eq!((x.candidate, x.removed), (y.candidate, y.removed));
                assert!((x.metric - y.metric).abs() < 1e-12);
            }
        }
    }
}
