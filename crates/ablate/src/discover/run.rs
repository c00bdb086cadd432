//! The way of a data set through an attribution method: chunk by chunk, every chunk with its clean run, its differences,
//! and one backward pass for each point of the method.

use std::ops::Range;
use std::sync::Arc;

use ablate_graph::{Graph, Level, Plan, ScoreRow, Scores, Side, Source};
use ablate_model::engine::{
    Acts, AllLogits, Compiled, Engine, Keep, Rules, Sources, Table, Visitor, backward,
};
use ablate_model::{Batch, Config, Weights};
use ablate_tensor::Real;
use rayon::prelude::*;

use super::contract::{EdgeVisitor, NodeVisitor, Scene, Senders};
use super::delta::{Delta, from_input};
use super::moments::Moments;
use super::{Attributed, Attribution, Cost, Method, Point, eap_gp, hisp, information_flow_routes, random};
use crate::error::{Error, Result};
use crate::metric::{MetricJudge, Reference};
use crate::run::means::Means;
use crate::run::other_rows;

/// What senders' differences need of a run.
fn outputs() -> Keep {
    Keep::PRE | Keep::Z | Keep::MLP
}

/// A method on a model and a data set.
#[derive(Debug)]
pub(super) struct Job<'a, T> {
    pub(super) cfg: &'a Config,
    pub(super) weights: &'a Weights<T>,
    pub(super) whole: &'a Batch,
    pub(super) graph: Graph,
    pub(super) level: Level,
    pub(super) method: Method,
    points: Vec<(Point, f64)>,
    pub(super) setup: &'a Attribution,
    rules: Rules,
    means: Option<Means<T>>,
}

/// What a chunk gives.
struct Part {
    moments: Moments,
    examples: Option<Vec<f64>>,
    clean: Vec<f64>,
    corrupt: Option<Vec<f64>>,
    cost: Cost,
}

/// One chunk's runs.
pub(super) struct Chunk<'a, T> {
    pub(super) engine: Engine<'a, T>,
    pub(super) judge: MetricJudge<T>,
    pub(super) plan: Compiled,
    pub(super) clean: Acts<T>,
    /// The corrupt run, where it is needed.
    pub(super) corrupt: Option<(Compiled, Arc<Vec<Acts<T>>>)>,
    delta: Delta<T>,
    /// What stands for ablated outputs, where a mask is learned.
    pub(super) table: Option<Table<T>>,
    pub(super) cost: Cost,
}

impl<'a, T: Real> Job<'a, T> {
    pub(super) fn new(
        cfg: &'a Config,
        weights: &'a Weights<T>,
        whole: &'a Batch,
        graph: Graph,
        level: Level,
        method: Method,
        setup: &'a Attribution,
    ) -> Result<Self> {
        let positional = match setup.ablation.source {
            _ if !method.compares() || learns_constants(method, setup) => None,
            Source::Mean => Some(false),
            Source::MeanPositional => Some(true),
            _ => None,
        };
        let set = setup.mean_set.as_ref().unwrap_or(whole);
        let means = positional
            .map(|p| Means::new(cfg, weights, set, setup.mean_side, p, outputs(), 4 * setup.chunk_rows))
            .transpose()?;
        let (points, rules) = (method.points(cfg), setup.rules_of(method));
        Ok(Self { cfg, weights, whole, graph, level, method, points, setup, rules, means })
    }

    pub(super) fn run(&self) -> Result<Attributed> {
        let total = self.level.total(&self.graph);
        let mut moments = Moments::default();
        let (mut clean, mut corrupt) = (Vec::new(), Some(Vec::new()));
        let mut examples = self.setup.per_example.then(Vec::new);
        let mut cost = Cost::default();
        let chunks = self.chunks(self.setup.chunk_rows);
        // in waves, so that finished parts do not pile up; parts are added in the order of the rows
        for wave in chunks.chunks(4 * rayon::current_num_threads().max(1)) {
            let parts: Vec<Part> =
                wave.par_iter().map(|rows| self.chunk(rows.clone())).collect::<Result<_>>()?;
            for part in parts {
                moments.add(part.moments);
                clean.extend(part.clean);
                match (&mut corrupt, part.corrupt) {
                    (Some(all), Some(values)) => all.extend(values),
                    (all, _) => *all = None,
                }
                if let (Some(all), Some(values)) = (&mut examples, part.examples) {
                    all.extend(values);
                }
                cost.forward += part.cost.forward;
                cost.backward += part.cost.backward;
            }
        }
        let base = clean.iter().sum::<f64>() / clean.len().max(1) as f64;
        let rows = (0..total).map(|i| {
            let (score, std_err) = moments.mean_and_std_err(i);
            let per_example = examples
                .as_ref()
                .filter(|_| self.method.estimates())
                .map(|all| clean.iter().enumerate().map(|(e, c)| c - all[e * total + i]).collect());
            let metric = if self.method.estimates() { base - score } else { base };
            ScoreRow { id: i as u32, score, metric, std_err, n: moments.n(), per_example }
        });
        let mut rows: Vec<ScoreRow> = rows.collect();
        if self.method == (Method::Hisp { normalise: true }) {
            hisp::normalise(&self.graph, &mut rows, examples.as_deref_mut());
        }
        if self.method == Method::Random {
            random::fill(self.level, self.setup.seed, &mut rows);
        }
        let scores = Scores::new(&self.graph, self.level, rows)?;
        Ok(Attributed { scores, clean, corrupt, examples, cost })
    }

    /// Consecutive rows of the data set, about as many tokens each, as many chunks as keep every thread busy.
    pub(super) fn chunks(&self, tokens_each: usize) -> Vec<Range<usize>> {
        let lens: Vec<usize> = self.whole.rows().iter().map(|r| r.clean.len()).collect();
        let total: usize = lens.iter().sum();
        let threads = rayon::current_num_threads().max(1);
        let parts = total.div_ceil(tokens_each.max(1)).next_multiple_of(threads);
        let limit = total.div_ceil(parts.max(1));
        let (mut out, mut from, mut tokens) = (Vec::new(), 0, 0);
        for (i, len) in lens.iter().enumerate() {
            // close a chunk where its tokens come nearest to its share
            if tokens > 0 && tokens + len / 2 > limit {
                out.push(from..i);
                (from, tokens) = (i, 0);
            }
            tokens += len;
        }
        out.push(from..lens.len());
        out
    }

    fn chunk(&self, rows: Range<usize>) -> Result<Part> {
        let indices: Vec<usize> = rows.clone().collect();
        let batch = self.whole.subset(&indices);
        self.prepare(&batch, &indices)
            .and_then(|chunk| self.points(chunk, &batch))
            .map_err(|e| shift(e, rows.start))
    }

    /// Clean run, metric and differences.
    pub(super) fn prepare<'b>(&'b self, batch: &'b Batch, rows: &[usize]) -> Result<Chunk<'b, T>> {
        let engine = Engine::new(self.cfg, self.weights, batch);
        let plan = engine.compile(&Plan::new())?;
        let none = Sources::new();
        // contributions are measured at every position, also where nothing reads
        let full = self.method == Method::InformationFlowRoutes;
        let clean = engine.block(&plan, &none, backward::KEEP, full, None)?;
        let reference = if self.setup.metric.compares() {
            let vocab = self.cfg.d_vocab_out;
            let logits = engine.judge_block(&plan, &clean, &AllLogits { d_vocab_out: vocab })?;
            Some(Reference::new(self.setup.metric, batch, &logits, vocab))
        } else {
            None
        };
        let judge = MetricJudge::new(self.setup.metric, batch, reference);
        let mut cost = Cost { forward: batch.len() as u64, backward: 0 };
        let mut corrupt = None;
        let table = match self.setup.ablation.source {
            _ if !self.method.compares() || self.learns_constants() => None,
            Source::Zero => None,
            Source::Mean | Source::MeanPositional => match &self.means {
                Some(means) => Some(means.table(batch)?),
                None => return Err(Error::argument("internal: means are missing", "report this")),
            },
            Source::ResampleOther { seed } => {
                cost.forward += batch.len() as u64;
                Some(self.donors(&other_rows(self.whole, rows, seed)?)?)
            }
            Source::Clean => Some(Table::identity(Arc::new(vec![clean.clone()]))),
            Source::Resample | Source::Given(_) => {
                cost.forward += batch.len() as u64;
                let keep = if self.corrupt_point() { backward::KEEP } else { outputs() };
                let plan = engine.compile(&Plan::on(Side::Corrupt))?;
                let acts = Arc::new(vec![engine.block(&plan, &none, keep, false, None)?]);
                corrupt = Some((plan, Arc::clone(&acts)));
                Some(Table::identity(acts))
            }
        };
        let scale = self.setup.ablation.scale;
        let delta = Delta::new(self.cfg, &clean, table.as_ref(), scale)?;
        let table = table.filter(|_| self.method.learns());
        Ok(Chunk { engine, judge, plan, clean, corrupt, delta, table, cost })
    }

    fn donors(&self, donors: &Batch) -> Result<Table<T>> {
        let engine = Engine::new(self.cfg, self.weights, donors);
        let plan = engine.compile(&Plan::new())?;
        let acts = engine.block(&plan, &Sources::new(), outputs(), false, None)?;
        Ok(Table::identity(Arc::new(vec![acts])))
    }

    /// A backward pass at every point.
    fn points(&self, mut chunk: Chunk<'_, T>, batch: &Batch) -> Result<Part> {
        let total = self.level.total(&self.graph);
        let n = batch.len() as u64;
        let mut scores = vec![0.0; batch.len() * total];
        let clean = chunk.engine.judge_block(&chunk.plan, &chunk.clean, &chunk.judge)?;
        let corrupt = match &chunk.corrupt {
            Some((plan, acts)) => Some(chunk.engine.judge_block(plan, &acts[0], &chunk.judge)?),
            None => None,
        };
        let mut senders = Senders::default();
        match self.method {
            Method::InformationFlowRoutes => {
                let scene = self.scene(&chunk, 1.0);
                information_flow_routes::add(&scene, &chunk.clean, chunk.engine.reads(), &mut scores);
            }
            Method::EapGp { steps } => self.descend(&mut chunk, steps, &mut senders, &mut scores)?,
            _ => self.take_gradients(&mut chunk, n, &mut senders, &mut scores)?,
        }
        if matches!(self.method, Method::Hisp { .. }) {
            for x in &mut scores {
                *x = x.abs();
            }
        }
        let examples = self.setup.per_example.then(|| scores.clone());
        Ok(Part { moments: Moments::of(&scores, total), examples, clean, corrupt, cost: chunk.cost })
    }

    /// Whether learned constants stand for what is ablated.
    pub(super) fn learns_constants(&self) -> bool {
        learns_constants(self.method, self.setup)
    }

    /// Whether a gradient is taken in the corrupt run.
    fn corrupt_point(&self) -> bool {
        self.points.iter().any(|(p, _)| *p == Point::Corrupt)
    }

    /// The fixed points, one after the other.
    fn take_gradients(
        &self,
        chunk: &mut Chunk<'_, T>,
        n: u64,
        senders: &mut Senders<T>,
        scores: &mut [f64],
    ) -> Result<()> {
        if !self.corrupt_point() {
            chunk.corrupt = None;
        }
        for (point, weight) in &self.points {
            let held;
            let (plan, acts) = match (point, &chunk.corrupt) {
                (Point::Clean, _) => (&chunk.plan, &chunk.clean),
                (Point::Corrupt, Some((plan, acts))) => (plan, &acts[0]),
                (Point::Corrupt, None) => {
                    return Err(Error::argument("internal: no corrupt run", "report this"));
                }
                (Point::Mixed { nodes, alpha }, _) => {
                    chunk.cost.forward += n;
                    let base = (&chunk.plan, &chunk.clean);
                    held = chunk.delta.mixed(&chunk.engine, base, nodes, *alpha)?;
                    (&held.0, &held.1)
                }
            };
            self.backward(chunk, plan, acts, *weight, senders, scores)?;
            chunk.cost.backward += n;
        }
        Ok(())
    }

    /// The path of [`eap_gp`]: every point's run tells where the next one is.
    fn descend(
        &self,
        chunk: &mut Chunk<'_, T>,
        steps: usize,
        senders: &mut Senders<T>,
        scores: &mut [f64],
    ) -> Result<()> {
        let n = chunk.engine.batch().len() as u64;
        let Some((plan, acts)) = chunk.corrupt.take() else {
            return Err(Error::argument("internal: no corrupt run", "report this"));
        };
        let all = AllLogits { d_vocab_out: self.cfg.d_vocab_out };
        let target = chunk.engine.judge_block(&plan, &acts[0], &all)?;
        let path = eap_gp::Path::new(target, self.cfg.d_vocab_out, &chunk.clean.offsets);
        let weight = 1.0 / steps as f64;
        let mut here: Option<(Compiled, Acts<T>)> = None;
        for step in 0..steps {
            let (plan, acts) = here.as_ref().map_or((&chunk.plan, &chunk.clean), |(p, a)| (p, a));
            self.backward(chunk, plan, acts, weight, senders, scores)?;
            chunk.cost.backward += n;
            if step + 1 < steps {
                let input = path.next(&chunk.engine, plan, acts)?;
                here = Some(from_input(&chunk.engine, &chunk.clean, input)?);
                chunk.cost.forward += n;
                chunk.cost.backward += n;
            }
        }
        Ok(())
    }

    fn scene<'s>(&'s self, chunk: &'s Chunk<'_, T>, weight: f64) -> Scene<'s, T> {
        Scene {
            cfg: self.cfg,
            weights: self.weights,
            graph: self.graph,
            delta: &chunk.delta,
            offsets: &chunk.clean.offsets,
            weight,
            // what a sender is of a norm's output is linear only where the scale is given
            freeze_posts: self.rules.freezes_all() || self.method == Method::InformationFlowRoutes,
        }
    }

    fn backward(
        &self,
        chunk: &Chunk<'_, T>,
        plan: &Compiled,
        acts: &Acts<T>,
        weight: f64,
        senders: &mut Senders<T>,
        out: &mut [f64],
    ) -> Result<()> {
        let scene = self.scene(chunk, weight);
        let go = |visitor: &mut dyn Visitor<T>| {
            chunk.engine.backward(plan, acts, &chunk.judge, &self.rules, visitor, None)
        };
        match self.level {
            Level::Node => {
                go(&mut NodeVisitor { scene, out })?;
            }
            Level::Edge => {
                // behind a post-norm, what a difference does to the stream depends on the run
                if self.weights.layers.iter().any(|w| w.post_attn.is_some() || w.post_mlp.is_some()) {
                    senders.forget();
                }
                go(&mut EdgeVisitor { scene, acts, senders, out })?;
            }
        }
        Ok(())
    }
}

pub(super) fn learns_constants(method: Method, setup: &Attribution) -> bool {
    method == Method::Ugs && setup.learning_of(method).constants.is_some()
}

/// The error with row numbers of the whole data set.
pub(super) fn shift(error: Error, by: usize) -> Error {
    use ablate_model::Error as Inner;
    match error {
        Error::Row { row, message, hint } => Error::Row { row: row + by, message, hint },
        Error::Model(Inner::Row { row, message, hint }) => {
            Error::Model(Inner::Row { row: row + by, message, hint })
        }
        Error::Model(Inner::NotFinite { row, stage }) => {
            Error::Model(Inner::NotFinite { row: row + by, stage })
        }
        other => other,
    }
}
