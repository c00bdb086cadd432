//! Masks learned by gradient descent: the loop that the learned methods share. Each step runs some chunks of rows, every one
//! under its own draw of the mask, as a run with weighed cuts, and takes the metric's derivative by every edge's weight
//! from [`Engine::backward_cuts`].

use std::sync::Arc;

use ablate_graph::rng::Random;
use ablate_graph::{EdgeSet, Graph, Level, Node, NodeId, Plan, ScoreRow, Scores, Source};
use ablate_model::engine::backward::{CutGradients, KEEP};
use ablate_model::engine::{Acts, Compiled, Engine, Keep, Sources, Table};
use ablate_model::{Batch, Config, Weights};
use ablate_tensor::{Real, ops};
use rayon::prelude::*;

use super::run::{Job, shift};
use super::{Attributed, Cost, Method, edge_pruning, subnetwork_probing, ugs};
use crate::adam::Adam;
use crate::error::{Error, Result};
use crate::metric::MetricJudge;

/// How masks are learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learning {
    /// Gradient steps.
    pub steps: usize,
    /// Rows of a step, at least; chunks of rows are whole.
    pub batch: usize,
    /// Tokens of a chunk, about: each chunk of a step has its own draw of the mask, so that fewer tokens make more draws.
    pub chunk: usize,
    /// Step size of Adam.
    pub rate: f64,
    /// Weight of the penalty on what stays (for `edge-pruning`: step size of its multipliers).
    pub penalty: f64,
    /// Share of edges that are to go (`edge-pruning`).
    pub sparsity: f64,
    /// Step size of learned constants, which then are the source (`ugs`); `None` = the source of the ablation.
    pub constants: Option<f64>,
}

impl Learning {
    /// The settings that `method` uses unless told otherwise.
    pub fn of(method: Method) -> Self {
        let base = Self {
            steps: 200,
            batch: 32,
            chunk: 160,
            rate: 0.1,
            penalty: 10.0,
            sparsity: 0.95,
            constants: None,
        };
        match method {
            Method::EdgePruning => Self { steps: 400, penalty: 5.0, ..base },
            Method::Ugs => {
                Self { steps: 1000, chunk: 20, rate: 0.05, penalty: 0.05, constants: Some(0.01), ..base }
            }
            _ => base,
        }
    }

    /// Refuses settings that lead nowhere.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |what: &str, hint: &str| Err(Error::argument(what.to_owned(), hint.to_owned()));
        if self.steps == 0 || self.batch == 0 {
            return wrong("a mask needs at least one step and one row a step", "use 200 steps");
        }
        if !(self.rate > 0.0 && self.rate.is_finite()) {
            return wrong("the step size of a mask must be above 0", "use 0.1");
        }
        if !(self.penalty >= 0.0 && self.penalty.is_finite()) {
            return wrong("the penalty of a mask must be 0 or more", "leave it out for the usual one");
        }
        if !(0.0..=1.0).contains(&self.sparsity) {
            return wrong("a sparsity is a share between 0 and 1", "use 0.95");
        }
        if self.constants.is_some_and(|rate| !(rate > 0.0 && rate.is_finite())) {
            return wrong("the step size of constants must be above 0", "use 0.01");
        }
        Ok(())
    }
}

/// A mask whose distribution is learned: a number in 0..=1 for each node or edge, 1 = live.
pub(super) trait Mask: Sync {
    /// The mask of a draw, a pure function of what was learned so far and these two numbers.
    fn draw(&self, step: u64, draw: u64) -> Vec<f64>;

    /// One step: the derivative of the loss by each number of the mask, for each draw of this step (they add up).
    fn learn(&mut self, step: u64, gradients: &[(u64, Vec<f64>)]);

    /// How much each node or edge stays, 0..=1.
    fn scores(&self) -> Vec<f64>;
}

/// Logistic function.
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// A chunk of rows, ready for any mask.
struct Ready<'b, T> {
    engine: Engine<'b, T>,
    judge: MetricJudge<T>,
    /// Every edge is cut; weights come with the mask.
    plan: Compiled,
    sources: Sources<T>,
    /// First row of the data set, and number of rows.
    first: usize,
    rows: usize,
}

impl<T: Real> Ready<'_, T> {
    /// Metric and gradients under these weights.
    fn run(&self, weights: &Arc<Vec<f64>>, sources: &Sources<T>) -> Result<CutGradients> {
        let mut plan = self.plan.clone();
        for cut in &mut plan.cuts {
            cut.weights = Some(Arc::clone(weights));
        }
        let acts = self.engine.block(&plan, sources, KEEP, false, None);
        let found = acts.and_then(|acts| self.engine.backward_cuts(&plan, sources, &acts, &self.judge));
        found.map_err(|e| shift(e.into(), self.first))
    }
}

/// Which edges a mask's numbers are: one each, or all those out of a node.
#[derive(Clone, Copy, Debug)]
struct Shape {
    graph: Graph,
    level: Level,
}

impl Shape {
    /// Weight of each edge: how much of it is cut.
    fn weights(self, mask: &[f64]) -> Vec<f64> {
        match self.level {
            Level::Edge => mask.iter().map(|m| 1.0 - m).collect(),
            Level::Node => self.graph.edge_ids().map(|e| 1.0 - mask[self.graph.ends(e).0.index()]).collect(),
        }
    }

    /// Derivatives of the loss by the mask, from those of the metric's sum by the weights; `rows` is what the loss divides by.
    fn gradient(self, by_weight: &[f64], rows: usize) -> Vec<f64> {
        // loss = −metric and mask = 1 − weight: the signs cancel
        let scale = 1.0 / rows.max(1) as f64;
        match self.level {
            Level::Edge => by_weight.iter().map(|g| g * scale).collect(),
            Level::Node => {
                let mut out = vec![0.0; self.level.total(&self.graph)];
                for (edge, g) in self.graph.edge_ids().zip(by_weight) {
                    out[self.graph.ends(edge).0.index()] += g * scale;
                }
                out
            }
        }
    }
}

/// Learns the mask of the job's method.
pub(super) fn run<T: Real>(job: &Job<'_, T>, learning: Learning) -> Result<Attributed> {
    learning.check()?;
    let ranges = job.chunks(learning.chunk.min(job.setup.chunk_rows));
    let batches: Vec<Batch> =
        ranges.iter().map(|r| job.whole.subset(&r.clone().collect::<Vec<usize>>())).collect();
    let prepared: Vec<(Ready<'_, T>, Run)> = batches
        .par_iter()
        .zip(&ranges)
        .map(|(batch, range)| {
            let rows: Vec<usize> = range.clone().collect();
            ready(job, batch, &rows).map_err(|e| shift(e, range.start))
        })
        .collect::<Result<_>>()?;
    let mut cost = Cost::default();
    let (mut clean, mut corrupt) = (Vec::new(), Some(Vec::new()));
    let mut chunks = Vec::with_capacity(prepared.len());
    for (chunk, run) in prepared {
        cost.forward += run.cost.forward;
        clean.extend(run.clean);
        match (&mut corrupt, run.corrupt) {
            (Some(all), Some(values)) => all.extend(values),
            (all, _) => *all = None,
        }
        chunks.push(chunk);
    }
    let shape = Shape { graph: job.graph, level: job.level };
    let n = job.level.total(&job.graph);
    let seed = job.setup.seed;
    let mut mask = start(job.method, n, learning, seed);
    let rate = learning.constants.filter(|_| job.learns_constants());
    let mut constants = rate.map(|rate| Constants::new(job.cfg, &job.graph, rate));
    let order = Rows { random: Random::new(seed, "mask-rows"), chunks: &chunks, batch: learning.batch };
    for step in 0..learning.steps {
        let picked = order.of(step);
        let rows: usize = picked.iter().map(|&c| chunks[c].rows).sum();
        let table = constants.as_ref().map(|c| c.sources(job.cfg));
        let found: Vec<CutGradients> = picked
            .par_iter()
            .map(|&c| {
                let chunk = &chunks[c];
                let weights = Arc::new(shape.weights(&mask.draw(step as u64, c as u64)));
                match &table {
                    Some(values) => chunk.run(&weights, &values.over(&chunk.engine)),
                    None => chunk.run(&weights, &chunk.sources),
                }
            })
            .collect::<Result<_>>()?;
        let gradients: Vec<(u64, Vec<f64>)> =
            picked.iter().zip(&found).map(|(&c, f)| (c as u64, shape.gradient(&f.weights, rows))).collect();
        mask.learn(step as u64, &gradients);
        if let Some(constants) = &mut constants {
            constants.learn(job.cfg, job.weights, &job.graph, &found, rows);
        }
        cost.forward += rows as u64;
        cost.backward += rows as u64;
    }
    finish(job, mask.as_ref(), (clean, corrupt), cost)
}

/// The mask of a method before the first step.
fn start(method: Method, n: usize, learning: Learning, seed: u64) -> Box<dyn Mask> {
    match method {
        Method::EdgePruning => Box::new(edge_pruning::Pruned::new(n, learning, seed)),
        Method::Ugs => Box::new(ugs::Sampled::new(n, learning, seed)),
        _ => Box::new(subnetwork_probing::Probed::new(n, learning, seed)),
    }
}

/// Scores, as every method gives them.
fn finish<T: Real>(
    job: &Job<'_, T>,
    mask: &dyn Mask,
    (clean, corrupt): (Vec<f64>, Option<Vec<f64>>),
    cost: Cost,
) -> Result<Attributed> {
    let metric = clean.iter().sum::<f64>() / clean.len().max(1) as f64;
    let rows = mask.scores().into_iter().enumerate().map(|(i, score)| ScoreRow {
        id: i as u32,
        score,
        metric,
        std_err: 0.0,
        n: clean.len(),
        per_example: None,
    });
    let scores = Scores::new(&job.graph, job.level, rows.collect())?;
    Ok(Attributed { scores, clean, corrupt, examples: None, cost })
}

/// What the unmasked runs of a chunk gave.
struct Run {
    clean: Vec<f64>,
    corrupt: Option<Vec<f64>>,
    cost: Cost,
}

/// Runs a chunk unmasked, and keeps what masks need.
fn ready<'b, T: Real>(job: &'b Job<'_, T>, batch: &'b Batch, rows: &[usize]) -> Result<(Ready<'b, T>, Run)> {
    let chunk = job.prepare(batch, rows)?;
    let clean = chunk.engine.judge_block(&chunk.plan, &chunk.clean, &chunk.judge)?;
    let corrupt = match &chunk.corrupt {
        Some((plan, acts)) => Some(chunk.engine.judge_block(plan, &acts[0], &chunk.judge)?),
        None => None,
    };
    let source = if job.learns_constants() { Source::Given(0) } else { job.setup.ablation.source };
    let mut plan = Plan::new().cut(&job.graph, EdgeSet::full(job.graph.n_edges()), source);
    for cut in plan.cuts.iter_mut().filter(|_| !job.learns_constants()) {
        cut.scale = job.setup.ablation.scale;
    }
    let mut sources = Sources::new();
    if let Some(table) = chunk.table {
        sources.set(source, table);
    }
    let plan = chunk.engine.compile(&plan)?;
    let run = Run { clean, corrupt, cost: chunk.cost };
    Ok((
        Ready { engine: chunk.engine, judge: chunk.judge, plan, sources, first: rows[0], rows: batch.len() },
        run,
    ))
}

/// Which chunks a step takes: each once before any comes again.
struct Rows<'c, 'b, T> {
    random: Random,
    chunks: &'c [Ready<'b, T>],
    batch: usize,
}

impl<T> Rows<'_, '_, T> {
    fn of(&self, step: usize) -> Vec<usize> {
        let n = self.chunks.len();
        let largest = self.chunks.iter().map(|c| c.rows).max().unwrap_or(1).max(1);
        let each = self.batch.div_ceil(largest).clamp(1, n.max(1));
        let mut picked: Vec<usize> = (step * each..(step + 1) * each)
            .map(|i| {
                let mut order: Vec<usize> = (0..n).collect();
                self.random.shuffle((i / n) as u64, &mut order);
                order[i % n]
            })
            .collect();
        picked.sort_unstable();
        picked.dedup();
        picked
    }
}

/// A learned value of every sender, the same in every row: `z` of heads, the output of MLPs and `input`.
struct Constants {
    values: Vec<Vec<f64>>,
    adam: Vec<Adam<f64>>,
}

/// Constants as one row of activations.
struct Given<T>(Arc<Vec<Acts<T>>>);

impl<T: Real> Given<T> {
    /// The row, standing for every row of a batch.
    fn over(&self, engine: &Engine<'_, T>) -> Sources<T> {
        let rows = engine.offsets().last().copied().unwrap_or(0);
        let mut sources = Sources::new();
        let table = Table { acts: Arc::clone(&self.0), index: Arc::new(vec![(0, 0); rows]) };
        sources.set(Source::Given(0), table);
        sources
    }
}

impl Constants {
    fn new(cfg: &Config, graph: &Graph, rate: f64) -> Self {
        let width = |n: Node| if matches!(n, Node::Head { .. }) { cfg.d_head } else { cfg.d_model };
        let values: Vec<Vec<f64>> = graph.senders().map(|n| vec![0.0; width(n)]).collect();
        let adam = values.iter().map(|v| Adam::new(rate, v.len())).collect();
        Self { values, adam }
    }

    fn sources<T: Real>(&self, cfg: &Config) -> Given<T> {
        let mut acts = Acts::new(cfg, Keep::PRE | Keep::Z | Keep::MLP, 0, &[1]);
        let per_layer = cfg.n_heads + usize::from(cfg.d_mlp > 0);
        let put = |to: &mut [T], from: &[f64]| to.iter_mut().zip(from).for_each(|(t, f)| *t = T::of(*f));
        for (l, layer) in acts.layers.iter_mut().enumerate() {
            let layer = Arc::make_mut(layer);
            if l == 0 {
                put(&mut layer.pre, &self.values[0]);
            }
            let own = &self.values[1 + l * per_layer..][..per_layer];
            for (to, from) in layer.z.chunks_exact_mut(cfg.d_head.max(1)).zip(&own[..cfg.n_heads]) {
                put(to, from);
            }
            if let Some(mlp) = own.get(cfg.n_heads) {
                put(&mut layer.mlp, mlp);
            }
        }
        Given(Arc::new(vec![acts]))
    }

    /// One step up the metric.
    fn learn<T: Real>(
        &mut self,
        cfg: &Config,
        weights: &Weights<T>,
        graph: &Graph,
        found: &[CutGradients],
        rows: usize,
    ) {
        let (d, dh) = (cfg.d_model, cfg.d_head);
        let mut down = vec![0.0; graph.n_senders() * d];
        for g in found {
            down.iter_mut().zip(&g.sources).for_each(|(a, b)| *a -= b / rows.max(1) as f64);
        }
        for (i, g) in down.chunks_exact(d).enumerate() {
            let g = match graph.node(NodeId(i as u32)) {
                Node::Head { layer, head } => {
                    let map = weights.layers[layer].o.w.row_range(head * dh, dh);
                    let g: Vec<T> = g.iter().map(|x| T::of(*x)).collect();
                    let mut row = vec![T::ZERO; d];
                    let by_row = |j: usize| {
                        map.copy_row(j, &mut row);
                        ops::dot(&row, &g).f64()
                    };
                    (0..dh).map(by_row).collect()
                }
                _ => g.to_vec(),
            };
            self.adam[i].step(&mut self.values[i], &g);
        }
    }
}
