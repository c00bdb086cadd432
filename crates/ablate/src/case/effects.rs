//! How much a node matters to a case: how often the model is wrong when the node's value comes from another input, over
//! all pairs of a base and an ablation input (InterpBench: `check_causal_effect`).
//!
//! For base `i` and ablation `j`, a position counts where the case's outputs of `i` and `j` differ. The effect is the
//! share of these positions at which the edited run on `i` is wrong: another class than the case's, or a number further
//! than 0.05 + 1e-5·|y| from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ablate_graph::{Edit, Node, Plan, Positions, Site, Source};
use ablate_model::engine::{Acts, AllLogits, Base, Compiled, Engine, Judge, Keep, Sources, Table};
use ablate_model::model::AnyWeights;
use ablate_model::{Batch, Config, Model, Weights};
use ablate_tensor::Real;

use super::labels::Labels;
use super::subspace::{self, Subspace};
use super::{Case, Inputs};
use crate::error::{Error, Result};

/// What counts at a position where base and ablation differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Measure {
    /// Being wrong.
    #[default]
    Wrong,
    /// The divergence of the run from the case's class, on a scale from the clean run (0) to the run on the ablation
    /// input (1); classes only.
    Kl,
    /// The divergence from the model's own clean output, over that of the run on the ablation input; classes only.
    KlSelf,
}

/// What is measured for every node.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Factors on the value put in place.
    pub scales: Vec<f64>,
    /// Replace only a part of the node's value.
    pub subspace: Option<Subspace>,
    /// What counts.
    pub measure: Measure,
    /// Pairs of a batch: the effect is the mean over batches of consecutive pairs (base-major) of the batch's share, as
    /// the benchmark computes it. `None` = the share of all pairs, which does not depend on an order.
    pub batch: Option<usize>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { scales: vec![1.0], subspace: None, measure: Measure::Wrong, batch: None }
    }
}

/// A node's effects, one a scale.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeEffect {
    /// The node.
    pub node: Node,
    /// In `0..=1` for [`Measure::Wrong`], in the order of [`Setup::scales`].
    pub effects: Vec<f64>,
}

/// Effects of `nodes` (heads and MLPs) of `model`, which does `case`, over all pairs of `inputs`.
///
/// # Errors
/// A model of another vocabulary or length than the case's; fewer than two inputs, or none that differ; a divergence of
/// numbers.
pub fn resample(
    case: &Case,
    model: &Model,
    nodes: &[Node],
    inputs: &Inputs,
    setup: &Setup,
) -> Result<Vec<NodeEffect>> {
    let scene = Scene::new(case, model, inputs, setup.measure)?;
    match model.weights() {
        AnyWeights::F32(w) => scene.resample(model.config(), w, nodes, setup),
        AnyWeights::F64(w) => scene.resample(model.config(), w, nodes, setup),
    }
}

/// What stands in for a node in [`ablate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constant {
    /// Zero.
    Zero,
    /// The mean over inputs, at each position.
    Mean,
}

/// For each of `nodes`: of the positions that the clean run gets right, the share that is wrong with a constant in the
/// node's place (InterpBench: `check_causal_effect_on_ablation`).
///
/// # Errors
/// As [`resample`].
pub fn ablate(
    case: &Case,
    model: &Model,
    nodes: &[Node],
    inputs: &Inputs,
    constant: Constant,
) -> Result<Vec<NodeEffect>> {
    let scene = Scene::new(case, model, inputs, Measure::Wrong)?;
    match model.weights() {
        AnyWeights::F32(w) => scene.constant(model.config(), w, nodes, constant),
        AnyWeights::F64(w) => scene.constant(model.config(), w, nodes, constant),
    }
}

/// Whether the model's outputs are the case's, per input and position after BOS: `[inputs · positions]`.
///
/// # Errors
/// As [`resample`].
pub fn right(case: &Case, model: &Model, inputs: &Inputs) -> Result<Vec<bool>> {
    let scene = Scene::new(case, model, inputs, Measure::Wrong)?;
    let wrong = match model.weights() {
        AnyWeights::F32(w) => scene.plain(model.config(), w)?,
        AnyWeights::F64(w) => scene.plain(model.config(), w)?,
    };
    let wrong = wrong.chunks_exact(scene.positions);
    Ok(scene
        .unique_of
        .iter()
        .flat_map(|&u| wrong.clone().nth(u).unwrap_or_default().iter().map(|w| *w == 0.0))
        .collect())
}

/// Inputs without repetition, and which input is which.
struct Scene {
    batch: Batch,
    unique_of: Vec<usize>,
    labels: Labels,
    /// Positions after BOS.
    positions: usize,
}

/// Judges each position of each different input.
struct CaseJudge<'a> {
    labels: &'a Labels,
    positions: usize,
    measure: Measure,
    /// The model's own clean logits, `[inputs · positions, width]`, for divergences.
    own: &'a [f64],
}

impl<T: Real> Judge<T> for CaseJudge<'_> {
    fn width(&self) -> usize {
        1
    }

    fn tokens(&self, _example: usize) -> Option<&[u32]> {
        None
    }

    fn judge(&self, example: usize, read: usize, logits: &[T], out: &mut [f64]) {
        let at = example * self.positions + read;
        out[0] = match (self.measure, self.labels) {
            (Measure::KlSelf, _) => divergence(&self.own[at * logits.len()..(at + 1) * logits.len()], logits),
            (Measure::Kl, Labels::Classes(y)) => -log_softmax(logits, y[at] as usize),
            // what is not finite is neither right nor wrong: the run is refused
            _ => self.labels.right(at, logits).map_or(f64::NAN, |right| f64::from(u8::from(!right))),
        };
    }
}

fn log_softmax<T: Real>(logits: &[T], at: usize) -> f64 {
    logits[at].f64() - ablate_tensor::ops::log_sum_exp(logits)
}

/// `KL(softmax p ‖ softmax q)`.
fn divergence<T: Real>(p: &[f64], q: &[T]) -> f64 {
    let (lp, lq) = (ablate_tensor::ops::log_sum_exp(p), ablate_tensor::ops::log_sum_exp(q));
    p.iter().zip(q).map(|(p, q)| (p - lp).exp() * (p - lp - (q.f64() - lq))).sum()
}

impl Scene {
    fn new(case: &Case, model: &Model, inputs: &Inputs, measure: Measure) -> Result<Self> {
        super::check_fits(case, model)?;
        if measure != Measure::Wrong && !case.categorical() {
            return Err(Error::argument(
                format!("case {} gives numbers, of which there is no divergence", case.id()),
                "leave --measure out",
            ));
        }
        let mut first: BTreeMap<&[u32], usize> = BTreeMap::new();
        let mut rows = Vec::new();
        let unique_of: Vec<usize> = inputs
            .ids
            .iter()
            .enumerate()
            .map(|(i, ids)| {
                *first.entry(ids).or_insert_with(|| {
                    rows.push(i);
                    rows.len() - 1
                })
            })
            .collect();
        let length = inputs.ids.first().map_or(0, Vec::len);
        let positions = length.saturating_sub(inputs.first_read);
        if positions == 0 || inputs.ids.iter().any(|ids| ids.len() != length) {
            return Err(Error::argument(
                "inputs must be of one length, with tokens after BOS",
                "give full inputs",
            ));
        }
        let labels = Labels::of(case, inputs, rows.iter().copied());
        let ids = rows.iter().map(|&i| inputs.ids[i].clone()).collect();
        let different =
            Inputs { ids, outputs: Vec::new(), width: inputs.width, first_read: inputs.first_read };
        let batch = different.batch(model.config().d_vocab, model.config().n_ctx)?;
        Ok(Self { batch, unique_of, labels, positions })
    }

    /// Number of different inputs.
    fn n(&self) -> usize {
        self.batch.len()
    }

    /// Runs the clean inputs; the engine's base run for everything else.
    fn base<T: Real>(engine: &Engine<'_, T>, judge: &dyn Judge<T>) -> Result<Base<T>> {
        let keep =
            Keep::PRE | Keep::Z | Keep::MID | Keep::MLP | Keep::ATTN_OUT | Keep::MLP_OUT | Keep::NEURONS;
        Ok(engine.base(&Compiled::default(), &Sources::new(), keep, true, judge)?)
    }

    fn own_logits<T: Real>(engine: &Engine<'_, T>, measure: Measure) -> Result<Vec<f64>> {
        if measure == Measure::Wrong {
            return Ok(Vec::new());
        }
        let all = AllLogits { d_vocab_out: engine.config().d_vocab_out };
        Ok(engine.base(&Compiled::default(), &Sources::new(), Keep::NONE, false, &all)?.values)
    }

    /// For divergences: what the judge says of base `i` of the model's own outputs for ablation input `j`,
    /// `[ablations, bases · positions]`.
    fn swapped(&self, judge: &CaseJudge<'_>) -> Vec<f64> {
        let width = judge.own.len() / (self.n() * self.positions);
        let mut out = Vec::new();
        for j in 0..if width == 0 { 0 } else { self.n() } {
            for i in 0..self.n() {
                for p in 0..self.positions {
                    let at = (j * self.positions + p) * width;
                    let mut value = [0.0];
                    Judge::<f64>::judge(judge, i, p, &judge.own[at..at + width], &mut value);
                    out.push(value[0]);
                }
            }
        }
        out
    }

    fn judge<'a>(&'a self, measure: Measure, own: &'a [f64]) -> CaseJudge<'a> {
        CaseJudge { labels: &self.labels, positions: self.positions, measure, own }
    }

    /// What the judge says of the clean run, `[different inputs · positions]`.
    fn plain<T: Real>(&self, cfg: &Config, weights: &Weights<T>) -> Result<Vec<f64>> {
        let engine = Engine::new(cfg, weights, &self.batch);
        let judge = self.judge(Measure::Wrong, &[]);
        Ok(engine.base(&Compiled::default(), &Sources::new(), Keep::NONE, false, &judge)?.values)
    }

    fn resample<T: Real>(
        &self,
        cfg: &Config,
        weights: &Weights<T>,
        nodes: &[Node],
        setup: &Setup,
    ) -> Result<Vec<NodeEffect>> {
        let engine = Engine::new(cfg, weights, &self.batch);
        let own = Self::own_logits(&engine, setup.measure)?;
        let judge = self.judge(setup.measure, &own);
        let base = Self::base(&engine, &judge)?;
        let shares = Shares::new(self, setup, &base.values, self.swapped(&judge))?;
        let donors: Sources<T> = (0..self.n()).map(|j| (given(j), row_of(&base.acts, j, self.n()))).collect();
        let mut out = Vec::with_capacity(nodes.len());
        for &node in nodes {
            let mut effects = Vec::with_capacity(setup.scales.len());
            let parts = match &setup.subspace {
                Some(s) => Some(subspace::Parts::new(cfg, weights, &base.acts, &self.counts(), node, s)?),
                None => None,
            };
            for &scale in &setup.scales {
                let values = match &parts {
                    None => {
                        let plan = |j| plan(Site::Node(node), given(j), scale);
                        self.run(&engine, &base, &donors, plan, &judge)?
                    }
                    Some(parts) => self.in_subspace(&engine, &base, parts, scale, &judge)?,
                };
                effects.push(shares.of(&values));
            }
            out.push(NodeEffect { node, effects });
        }
        Ok(out)
    }

    /// The judge's values with a part of a node's value replaced, `[ablations, bases · positions]`.
    fn in_subspace<T: Real>(
        &self,
        engine: &Engine<'_, T>,
        base: &Base<T>,
        parts: &subspace::Parts<T>,
        scale: f64,
        judge: &CaseJudge<'_>,
    ) -> Result<Vec<f64>> {
        let n = self.n();
        if parts.of_self() {
            // the ablation input plays no part: one run stands for all
            let sources = Sources::from_iter([(given(0), parts.table(engine.config(), scale, 0))]);
            let one = engine.compile(&plan(parts.site(), given(0), 1.0))?;
            let values = engine.variants(base, &[&one], &sources, judge)?;
            return Ok(values.repeat(n));
        }
        let sources: Sources<T> =
            (0..n).map(|j| (given(j), parts.table(engine.config(), scale, j))).collect();
        self.run(engine, base, &sources, |j| plan(parts.site(), given(j), 1.0), judge)
    }

    /// The judge's values for the plan of each ablation input, `[ablations, bases · positions]`.
    fn run<T: Real>(
        &self,
        engine: &Engine<'_, T>,
        base: &Base<T>,
        sources: &Sources<T>,
        plan: impl Fn(usize) -> Plan,
        judge: &CaseJudge<'_>,
    ) -> Result<Vec<f64>> {
        let plans: Vec<Compiled> =
            (0..self.n()).map(|j| Ok(engine.compile(&plan(j))?)).collect::<Result<_>>()?;
        let plans: Vec<&Compiled> = plans.iter().collect();
        Ok(engine.variants(base, &plans, sources, judge)?)
    }

    /// How often each different input stands among the inputs.
    fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.n()];
        for &u in &self.unique_of {
            counts[u] += 1;
        }
        counts
    }

    fn constant<T: Real>(
        &self,
        cfg: &Config,
        weights: &Weights<T>,
        nodes: &[Node],
        constant: Constant,
    ) -> Result<Vec<NodeEffect>> {
        let engine = Engine::new(cfg, weights, &self.batch);
        let judge = self.judge(Measure::Wrong, &[]);
        let base = Self::base(&engine, &judge)?;
        let counts = self.counts();
        let sources = match constant {
            Constant::Zero => Sources::new(),
            Constant::Mean => Sources::from_iter([(given(0), mean_at_positions(cfg, &base.acts, &counts))]),
        };
        let source = if constant == Constant::Zero { Source::Zero } else { given(0) };
        let plans: Vec<Compiled> = nodes
            .iter()
            .map(|&node| Ok(engine.compile(&plan(Site::Node(node), source, 1.0))?))
            .collect::<Result<_>>()?;
        let plans: Vec<&Compiled> = plans.iter().collect();
        let values = engine.variants(&base, &plans, &sources, &judge)?;
        let share = |wrong: &[f64]| {
            let (mut sum, mut total) = (0.0, 0.0);
            for (at, (wrong, clean)) in wrong.iter().zip(&base.values).enumerate() {
                let weight = counts[at / self.positions] as f64 * (1.0 - clean);
                sum += weight * wrong;
                total += weight;
            }
            sum / (total + 1e-6)
        };
        let effects = values.chunks_exact(base.values.len()).map(share);
        Ok(nodes.iter().zip(effects).map(|(&node, e)| NodeEffect { node, effects: vec![e] }).collect())
    }
}

fn given(j: usize) -> Source {
    Source::Given(j as u32)
}

fn plan(site: Site, source: Source, scale: f64) -> Plan {
    Plan::new().edit(Edit { site, positions: Positions::All, source, scale })
}

/// The table in which every row of every input is that of input `j` at the same position; `n` inputs of one length.
fn row_of<T: Real>(acts: &Arc<Vec<Acts<T>>>, j: usize, n: usize) -> Table<T> {
    let places = Table::identity(Arc::clone(acts)).index;
    let len = places.len() / n.max(1);
    let index = (0..places.len()).map(|r| places[j * len + r % len]).collect();
    Table { acts: Arc::clone(acts), index: Arc::new(index) }
}

/// The table of positional means of heads and MLPs, each input as often as `counts` says.
fn mean_at_positions<T: Real>(cfg: &Config, acts: &Arc<Vec<Acts<T>>>, counts: &[usize]) -> Table<T> {
    let places = Table::identity(Arc::clone(acts)).index;
    let len = places.len() / counts.len().max(1);
    let total: usize = counts.iter().sum();
    let mut mean = Acts::new(cfg, Keep::Z | Keep::MLP, 0, &[len]);
    for l in 0..cfg.n_layers {
        let to = Arc::make_mut(&mut mean.layers[l]);
        for (values, of) in [
            (&mut to.z, (|a| &a.z) as fn(&ablate_model::engine::LayerActs<T>) -> &Vec<T>),
            (&mut to.mlp, |a| &a.mlp),
        ] {
            let width = values.len() / len;
            let mut sums = vec![0.0; values.len()];
            for (r, &(block, row)) in places.iter().enumerate() {
                let from = &of(&acts[block as usize].layers[l])[row as usize * width..][..width];
                let weight = counts[r / len] as f64;
                let at = r % len * width;
                for (s, x) in sums[at..at + width].iter_mut().zip(from) {
                    *s += weight * x.f64();
                }
            }
            for (v, s) in values.iter_mut().zip(sums) {
                *v = T::of(s / total as f64);
            }
        }
    }
    let index = (0..places.len()).map(|r| (0, (r % len) as u32)).collect();
    Table { acts: Arc::new(vec![mean]), index: Arc::new(index) }
}

/// Turns values of all pairs into an effect.
struct Shares<'a> {
    scene: &'a Scene,
    measure: Measure,
    batch: Option<usize>,
    /// Of the clean run, `[different inputs · positions]`.
    clean: Vec<f64>,
    /// For divergences: of the run on the ablation input, `[ablations, bases · positions]`.
    corrupt: Vec<f64>,
}

impl<'a> Shares<'a> {
    fn new(scene: &'a Scene, setup: &Setup, clean: &[f64], corrupt: Vec<f64>) -> Result<Self> {
        if !(0..scene.n())
            .any(|i| (0..scene.positions).any(|p| scene.labels.differ(p, i * scene.positions + p)))
        {
            return Err(Error::argument(
                "the case gives the same outputs for all inputs: there is nothing to change",
                "give more inputs, with different outputs",
            ));
        }
        Ok(Self { scene, measure: setup.measure, batch: setup.batch, clean: clean.to_vec(), corrupt })
    }

    /// The effect of values `[ablations, bases · positions]`.
    fn of(&self, values: &[f64]) -> f64 {
        let (scene, positions) = (self.scene, self.scene.positions);
        let n = scene.n();
        // positions that count, and what is measured there, of each pair of different inputs
        let mut counted = vec![0.0; n * n];
        let mut found = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..n {
                for p in 0..positions {
                    if scene.labels.differ(i * positions + p, j * positions + p) {
                        let at = i * positions + p;
                        let value = values[j * n * positions + at];
                        let found_here = if self.measure == Measure::Wrong {
                            value
                        } else {
                            let range = self.corrupt[j * n * positions + at] - self.clean[at];
                            (value - self.clean[at]) / (range + 1e-12)
                        };
                        found[i * n + j] += found_here;
                        counted[i * n + j] += 1.0;
                    }
                }
            }
        }
        let inputs = &scene.unique_of;
        let pair = |k: usize| inputs[k / inputs.len()] * n + inputs[k % inputs.len()];
        let pairs = inputs.len() * inputs.len();
        let size = self.batch.unwrap_or(pairs).max(1);
        let mut sum = 0.0;
        let mut batches = 0.0;
        for from in (0..pairs).step_by(size) {
            let (mut top, mut bottom) = (0.0, 0.0);
            for k in from..(from + size).min(pairs) {
                top += found[pair(k)];
                bottom += counted[pair(k)];
            }
            sum += top / (bottom + 1e-12);
            batches += 1.0;
        }
        sum / batches
    }
}
