//! The engine against the forward pass of [`naive`](crate::naive) with hooks, and the identities that its shortcuts must
//! keep: on every tiny architecture and on a built-in model, with random plans over all sites, positions and sources.

use std::collections::HashMap;
use std::sync::Arc;

use ablate_graph::rng::Random;
use ablate_graph::{Edit, Node, Plan, Positions, Side, Site, Slot, Source};
use ablate_model::config::Block;
use ablate_model::engine::{AllLogits, Base, Compiled, Engine, Keep, Sources, Table};
use ablate_model::{AnyWeights, Batch, Config, DType, Model, Row, Weights};

use crate::load::{load, options};
use crate::{ARCHS, golden, naive};

/// Every tiny architecture and a built-in model, in `f64`.
pub(crate) fn models() -> Vec<Model> {
    let mut models: Vec<Model> = ARCHS.iter().map(|a| load(&golden(a), &options(DType::F64))).collect();
    models.push(Model::load("builtin:induction", &options(DType::F64)).unwrap());
    models
}

pub(crate) fn weights(model: &Model) -> &Weights<f64> {
    let AnyWeights::F64(w) = model.weights() else { panic!("f64 was asked for") };
    w
}

/// Random rows of different lengths, the shortest of 4 tokens.
pub(crate) fn batch(c: &Config) -> Batch {
    let random = Random::new(7, "engine-rows");
    let row = |i: usize| {
        let len = 4 + [5, 0, 3, 1][i % 4];
        let tokens = |part: u64| -> Vec<u32> {
            (0..len).map(|p| random.fork(part).below(i as u64, p as u64, c.d_vocab) as u32).collect()
        };
        let at = random.fork(2).below(i as u64, 0, len);
        Row {
            clean: tokens(0),
            corrupt: Some(tokens(1)),
            positions: vec![("A".into(), at)],
            ..Row::default()
        }
    };
    Batch::new((0..4).map(row).collect(), vec![], c.d_vocab, c.n_ctx).unwrap()
}

fn judge(c: &Config) -> AllLogits {
    AllLogits { d_vocab_out: c.d_vocab_out }
}

const EVERYTHING: [Keep; 11] = [
    Keep::PRE,
    Keep::Z,
    Keep::MID,
    Keep::MLP,
    Keep::KV,
    Keep::Q,
    Keep::PATTERN,
    Keep::ATTN_OUT,
    Keep::MLP_OUT,
    Keep::NEURONS,
    Keep::SCALES,
];

fn everything() -> Keep {
    EVERYTHING.into_iter().fold(Keep::NONE, |a, b| a | b)
}

/// A model with a batch and the sources clean, resample, and a mean that is the first row's first token.
pub(crate) struct Case<'m> {
    engine: Engine<'m, f64>,
    sources: Sources<f64>,
    judge: AllLogits,
}

impl<'m> Case<'m> {
    pub(crate) fn new(model: &'m Model, batch: &'m Batch, reads: Option<Vec<Vec<u32>>>) -> Self {
        let (c, w) = (model.config(), weights(model));
        let engine = match reads {
            Some(reads) => Engine::reading(c, w, batch, reads),
            None => Engine::new(c, w, batch),
        };
        let mut case = Self { engine, sources: Sources::new(), judge: judge(c) };
        let clean = case.base_keeping(&Plan::new(), everything());
        let corrupt = case.base_keeping(&Plan::on(Side::Corrupt), everything());
        let tokens = batch.rows().iter().map(|r| r.clean.len()).sum();
        let first = Table { acts: clean.acts.clone(), index: Arc::new(vec![(0, 0); tokens]) };
        case.sources.set(Source::Clean, Table::identity(clean.acts));
        case.sources.set(Source::Resample, Table::identity(corrupt.acts));
        case.sources.set(Source::Mean, first);
        case
    }

    fn compile(&self, plan: &Plan) -> Compiled {
        self.engine.compile(plan).unwrap_or_else(|e| panic!("{plan:?}: {e}"))
    }

    /// Every position of every row goes through the last layer, so that the run can be a source.
    pub(crate) fn base_keeping(&self, plan: &Plan, keep: Keep) -> Base<f64> {
        let full = keep == everything();
        self.engine.base(&self.compile(plan), &self.sources, keep, full, &self.judge).unwrap()
    }

    fn full(&self, plan: &Plan) -> Vec<f64> {
        self.base_keeping(plan, Keep::NONE).values
    }

    /// What a base must keep for variants `plans`.
    fn keep(&self, base: &Plan, plans: &[Plan]) -> Keep {
        let edits = plans.iter().flat_map(|p| &p.edits).chain(&base.edits);
        edits.fold(Keep::PRE, |keep, e| keep | self.engine.keep_for(e))
    }

    /// Each plan's values, from a run of `base`.
    fn variants(&self, base: &Plan, plans: &[Plan]) -> Vec<Vec<f64>> {
        let run = self.base_keeping(base, self.keep(base, plans));
        self.variants_of(&run, plans)
    }

    /// Operations that one variant of the plain run is said to take, and those of a whole run.
    pub(crate) fn cost(&self, plan: &Plan) -> (f64, f64) {
        let plain = self.compile(&Plan::on(plan.side));
        let variant = self.engine.variants_cost(&plain, &[&self.compile(plan)], 1);
        (variant.flops, self.engine.base_cost(1, false).flops)
    }

    pub(crate) fn variants_of(&self, run: &Base<f64>, plans: &[Plan]) -> Vec<Vec<f64>> {
        let compiled: Vec<Compiled> = plans.iter().map(|p| self.compile(p)).collect();
        let compiled: Vec<&Compiled> = compiled.iter().collect();
        let values = self.engine.variants(run, &compiled, &self.sources, &self.judge).unwrap();
        values.chunks_exact(values.len() / plans.len()).map(<[f64]>::to_vec).collect()
    }
}

pub(crate) fn gap(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs() / (1.0 + y.abs())).fold(0.0, f64::max)
}

// ---------------------------------------------------------------------------------------------- random plans

fn site(c: &Config, random: Random, row: u64) -> Site {
    let pick = |slot: u64, n: usize| random.below(row, slot, n);
    let (layer, head) = (pick(0, c.n_layers), pick(1, c.n_heads));
    match pick(2, 12) {
        0 => Site::Node(Node::Input),
        1 => Site::ResidPre { layer: pick(3, c.n_layers + 1) },
        2 if c.block == Block::Sequential => Site::ResidMid { layer },
        3 => Site::AttnOut { layer },
        4 => Site::MlpOut { layer },
        5 | 2 => Site::Slot { layer, head, slot: Slot::Q },
        6 => Site::Slot { layer, head, slot: Slot::K },
        7 => Site::Slot { layer, head, slot: Slot::V },
        8 => Site::Pattern { layer, head },
        9 => Site::Neuron { layer, neuron: pick(3, c.d_mlp) },
        10 => Site::Node(Node::mlp(layer)),
        _ => Site::Node(Node::head(layer, head)),
    }
}

/// A plan of 1 to 4 edits at different sites.
fn plan(c: &Config, side: Side, seed: u64) -> Plan {
    let random = Random::new(seed, "engine-plans");
    let mut plan = Plan::on(side);
    for e in 0..=random.below(1000, 0, 4) as u64 {
        let site = site(c, random, e);
        if plan.edits.iter().any(|other| other.site == site) {
            continue;
        }
        let positions = match random.below(e, 10, 5) {
            0 => Positions::Last,
            1 => Positions::At(vec![random.below(e, 11, 4)]),
            2 => Positions::At(vec![1, 3]),
            3 => Positions::Named(vec!["A".into()]),
            _ => Positions::All,
        };
        let sources = [Source::Zero, Source::Clean, Source::Resample, Source::Mean];
        let n = if matches!(site, Site::Pattern { .. }) { 3 } else { 4 };
        let source = sources[random.below(e, 12, n)];
        let scale = [1.0, 0.5, -1.5][random.below(e, 13, 3)];
        plan = plan.edit(Edit { site, positions, source, scale });
    }
    plan
}

/// Whether the plan edits keys or values, which a base run cannot.
fn edits_keys(plan: &Plan) -> bool {
    plan.edits.iter().any(|e| matches!(e.site, Site::Slot { slot: Slot::K | Slot::V, .. }))
}

/// As [`plan`], without edits of keys and values.
fn base_plan(c: &Config, side: Side, seed: u64) -> Plan {
    let plain = (0..100).map(|i| plan(c, side, seed + 10_000 * i)).find(|p| !edits_keys(p));
    plain.unwrap_or_default()
}

// ---------------------------------------------------------------------------------------------- the naive reference

type Values = HashMap<(Site, usize), Vec<f64>>;

/// Values of all sites of one row's run.
fn capture(model: &Model, tokens: &[u32]) -> Values {
    let mut values = Values::new();
    naive::hooked(model.config(), weights(model), tokens, &mut |site, p, x| {
        values.insert((site, p), x.to_vec());
    });
    values
}

/// Logits at the last position of every row under `plan`, by the naive forward pass.
fn reference(model: &Model, batch: &Batch, plan: &Plan, captured: &[[Values; 2]]) -> Vec<f64> {
    let mut out = Vec::new();
    for (row, own) in batch.rows().iter().zip(captured) {
        let tokens = if plan.side == Side::Clean { &row.clean } else { row.corrupt.as_ref().unwrap() };
        let last = tokens.len() - 1;
        let mut edit = |site: Site, p: usize, x: &mut [f64]| {
            let Some(edit) = plan.edits.iter().find(|e| e.site == site) else { return };
            let hit = match &edit.positions {
                Positions::All => true,
                Positions::Last => p == last,
                Positions::At(at) => at.contains(&p),
                Positions::Named(_) => p == row.positions[0].1,
            };
            if !hit {
                return;
            }
            let source = match edit.source {
                Source::Clean => &own[0][&(site, p)],
                Source::Resample => &own[1][&(site, p)],
                Source::Mean => &captured[0][0][&(site, 0)],
                _ => return x.fill(0.0),
            };
            x.iter_mut().zip(source).for_each(|(x, s)| *x = edit.scale * s);
        };
        out.extend(naive::hooked(model.config(), weights(model), tokens, &mut edit).swap_remove(last));
    }
    out
}

fn captured(model: &Model, batch: &Batch) -> Vec<[Values; 2]> {
    let row = |r: &Row| [capture(model, &r.clean), capture(model, r.corrupt.as_ref().unwrap())];
    batch.rows().iter().map(row).collect()
}

/// Number of random plans for a model: fewer where the naive pass is slow.
fn n_plans(model: &Model) -> u64 {
    if model.name().starts_with("builtin") { 3 } else { 30 }
}

// ---------------------------------------------------------------------------------------------- tests

#[test]
fn the_plain_forward_pass_is_the_naive_one_at_every_position() {
    for model in models() {
        let batch = batch(model.config());
        let reads = batch.rows().iter().map(|r| (0..r.clean.len() as u32).collect()).collect();
        let case = Case::new(&model, &batch, Some(reads));
        for side in [Side::Clean, Side::Corrupt] {
            let tokens =
                |r: &Row| if side == Side::Clean { r.clean.clone() } else { r.corrupt.clone().unwrap() };
            let rows =
                batch.rows().iter().map(|r| naive::logits(model.config(), weights(&model), &tokens(r)));
            let expected: Vec<f64> = rows.flatten().flatten().collect();
            let gap = gap(&case.full(&Plan::on(side)), &expected);
            assert!(gap < 1e-9, "{} {side:?}: {gap:e}", model.name());
        }
    }
}

#[test]
fn random_plans_give_what_the_naive_pass_gives_from_any_base_run() {
    for model in models() {
        let (c, batch) = (model.config(), batch(model.config()));
        let case = Case::new(&model, &batch, None);
        let captured = captured(&model, &batch);
        for side in [Side::Clean, Side::Corrupt] {
            let plans: Vec<Plan> = (0..n_plans(&model)).map(|i| plan(c, side, i)).collect();
            let expected: Vec<Vec<f64>> =
                plans.iter().map(|p| reference(&model, &batch, p, &captured)).collect();
            let bases = (0..3).map(|i| base_plan(c, side, 500 + i)).chain([Plan::on(side)]);
            for base in bases {
                let results = case.variants(&base, &plans);
                for ((plan, got), want) in plans.iter().zip(results).zip(&expected) {
                    let gap = gap(&got, want);
                    assert!(gap < 1e-9, "{}: {plan:?} from {base:?}: {gap:e}", model.name());
                }
            }
            for (plan, want) in plans.iter().zip(&expected) {
                let gap = gap(&case.full(plan), want);
                assert!(gap < 1e-9, "{}: {plan:?} as a whole run: {gap:e}", model.name());
            }
        }
    }
}

#[test]
fn rebased_runs_are_whole_runs() {
    for model in models() {
        let (c, batch) = (model.config(), batch(model.config()));
        let case = Case::new(&model, &batch, None);
        for i in 0..n_plans(&model).min(20) {
            let [first, second] = [0, 100].map(|n| base_plan(c, Side::Clean, 900 + n + i));
            let third = plan(c, Side::Clean, 700 + i);
            let keep = case.keep(&first, &[second.clone(), third.clone()]);
            let base = case.base_keeping(&first, keep);
            let rebased =
                case.engine.rebase(&base, &case.compile(&second), &case.sources, &case.judge).unwrap();
            let what = format!("{}: {first:?} -> {second:?} -> {third:?}", model.name());
            assert!(gap(&rebased.values, &case.full(&second)) < 1e-9, "{what}");
            let got = case.variants_of(&rebased, std::slice::from_ref(&third)).remove(0);
            let gap = gap(&got, &case.full(&third));
            assert!(gap < 1e-9, "{what}: {gap:e}");
        }
    }
}

#[test]
fn an_empty_plan_is_the_base_run_bit_for_bit() {
    for model in models() {
        let (c, batch) = (model.config(), batch(model.config()));
        let case = Case::new(&model, &batch, None);
        for base in [Plan::new(), base_plan(c, Side::Clean, 40), Plan::on(Side::Corrupt)] {
            let run = case.base_keeping(&base, Keep::PRE | Keep::SCALES);
            let same = case.variants_of(&run, std::slice::from_ref(&base)).remove(0);
            assert_eq!(same, run.values, "{}", model.name());
            assert_eq!(case.full(&base), run.values, "{}: what is kept changes nothing", model.name());
            let frozen = Plan { freeze_norm: true, ..base };
            assert_eq!(case.variants_of(&run, &[frozen]).remove(0), run.values, "{}: frozen", model.name());
        }
    }
}

#[test]
fn with_frozen_norms_the_last_mlp_acts_linearly_on_logits() {
    for model in models().into_iter().filter(|m| m.config().final_softcap.is_none()) {
        let (c, batch) = (model.config(), batch(model.config()));
        let case = Case::new(&model, &batch, None);
        let site = Site::Node(Node::mlp(c.n_layers - 1));
        let scaled = |scale: f64, freeze_norm: bool| {
            let edit = Edit { site, positions: Positions::All, source: Source::Clean, scale };
            Plan { freeze_norm, ..Plan::new().edit(edit) }
        };
        let run = |freeze: bool| {
            let plans = [0.0, 0.5, 1.0].map(|s| scaled(s, freeze));
            let base = case.base_keeping(&Plan::new(), case.keep(&Plan::new(), &plans) | Keep::SCALES);
            let values = case.variants_of(&base, &plans);
            assert!(gap(&values[2], &base.values) < 1e-12, "{}", model.name());
            let middle: Vec<f64> = values[0].iter().zip(&values[2]).map(|(a, b)| (a + b) / 2.0).collect();
            gap(&values[1], &middle)
        };
        assert!(run(true) < 1e-12, "{}", model.name());
        assert!(run(false) > 1e-9, "{}: norms live again bend it", model.name());
    }
}

#[test]
fn keeping_every_head_is_the_full_model() {
    for model in models() {
        let (c, batch) = (model.config(), batch(model.config()));
        let case = Case::new(&model, &batch, None);
        let heads = (0..c.n_layers).flat_map(|l| (0..c.n_heads).map(move |h| Node::head(l, h)));
        let plan = heads.fold(Plan::new(), |plan, h| plan.replace(Site::Node(h), Source::Clean));
        let got = case.variants(&Plan::new(), std::slice::from_ref(&plan)).remove(0);
        assert!(gap(&got, &case.full(&Plan::new())) < 1e-12, "{}", model.name());
    }
}

#[test]
fn edits_after_the_read_position_change_nothing() {
    for model in models() {
        let (c, batch) = (model.config(), batch(model.config()));
        let case = Case::new(&model, &batch, Some(vec![vec![1]; batch.len()]));
        let plans: Vec<Plan> = (0..40)
            .map(|i| {
                let mut plan = plan(c, Side::Clean, 300 + i);
                plan.edits.iter_mut().for_each(|e| e.positions = Positions::At(vec![2, 3]));
                plan
            })
            .collect();
        let base = case.base_keeping(&Plan::new(), case.keep(&Plan::new(), &plans));
        for (plan, got) in plans.iter().zip(case.variants_of(&base, &plans)) {
            assert_eq!(got, base.values, "{}: {plan:?}", model.name());
            let gap = gap(&case.full(plan), &base.values);
            assert!(gap < 1e-12, "{}: {plan:?} as a whole run: {gap:e}", model.name());
        }
    }
}

#[test]
fn rows_do_not_see_each_other() {
    for model in models() {
        let (c, batch) = (model.config(), batch(model.config()));
        // a source that is the row's own, so that plans mean the same in every part of the batch
        let plans: Vec<Plan> = (0..400)
            .map(|i| plan(c, Side::Clean, i))
            .filter(|p| p.edits.iter().all(|e| e.source != Source::Mean))
            .take(8)
            .collect();
        let whole = Case::new(&model, &batch, None).variants(&Plan::new(), &plans);
        for order in [&[3, 1, 0, 2][..], &[2], &[1, 3]] {
            let part = batch.subset(order);
            let got = Case::new(&model, &part, None).variants(&Plan::new(), &plans);
            for (got, whole) in got.iter().zip(&whole) {
                let rows: Vec<&[f64]> = whole.chunks_exact(c.d_vocab_out).collect();
                let expected: Vec<f64> = order.iter().flat_map(|&i| rows[i].to_vec()).collect();
                assert!(gap(got, &expected) < 1e-11, "{} {order:?}", model.name());
            }
        }
    }
}

#[test]
fn neither_threads_nor_chunks_change_a_run() {
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    let pools = [pool(1), pool(3), pool(16)];
    for model in models() {
        let (c, batch) = (model.config(), batch(model.config()));
        let case = Case::new(&model, &batch, None);
        let plans: Vec<Plan> = (0..24).map(|i| plan(c, Side::Clean, i)).collect();
        let together: Vec<_> =
            pools.iter().map(|p| p.install(|| case.variants(&Plan::new(), &plans))).collect();
        for (i, plan) in plans.iter().enumerate() {
            let alone = case.variants(&Plan::new(), std::slice::from_ref(plan)).remove(0);
            for run in &together {
                assert!(gap(&run[i], &alone) < 1e-11, "{}: {plan:?}", model.name());
            }
        }
    }
}
