//! Scrubbing a transformer: draws and cost first, then the runs.

use std::collections::{BTreeMap, BTreeSet};

use ablate_graph::{Graph, Kv, Node, Positions};
use ablate_model::engine::{AllLogits, Engine};
use ablate_model::model::{AnyWeights, Model};
use ablate_model::{Batch, Row, Weights};
use ablate_tensor::Real;
use rayon::prelude::*;

use super::automaton::{Automaton, Program, places};
use super::dag::Dag;
use super::evaluate::{Needs, Rows, Run};
use super::hypothesis::{Hypothesis, Labels, Tree};
use super::path::Where;
use super::sample::{Draw, Draws};
use super::store::{Store, keep_of, node_of, per_token, wants};
use super::universe::{TaskRows, Universe};
use crate::error::{Error, Result};
use crate::metric::{Metric, MetricJudge, Reference};
use crate::session::Observer;

/// Tokens of a chunk.
const CHUNK: usize = 256;

/// What is measured, and with what.
#[derive(Clone, Debug)]
pub struct ScrubSetup {
    /// The metric.
    pub metric: Metric,
    /// Seed of every draw.
    pub seed: u64,
    /// Bytes that activations may take.
    pub budget: usize,
}

impl Default for ScrubSetup {
    fn default() -> Self {
        Self { metric: Metric::default(), seed: 0, budget: 512 << 20 }
    }
}

/// A hypothesis about a model with the rows drawn for it, ready to be evaluated.
#[derive(Debug)]
pub struct Scrub<'m> {
    model: &'m Model,
    batch: Batch,
    setup: ScrubSetup,
    dag: Dag,
    hypothesis: Hypothesis,
    tree: Tree,
    ends: Vec<Vec<u32>>,
    universe: Universe,
    draws: Draws,
    /// Scrubbed, original, baseline.
    programs: Vec<Program>,
    /// Class of every token of every reference row.
    class: Vec<Vec<u32>>,
}

/// What a scrub takes.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct ScrubCost {
    /// Reference rows.
    pub rows: usize,
    /// Rows run plainly, each once a block.
    pub plain_rows: usize,
    /// Floating-point operations of these runs.
    pub plain_flops: f64,
    /// Components that are computed under an assignment of their own, for every row: (component, assignment).
    pub cells: usize,
    /// The most assignments that one component has.
    pub width: usize,
    /// Floating-point operations of the cells.
    pub cell_flops: f64,
    /// Parts that the rows are evaluated in to stay within the budget.
    pub blocks: usize,
    /// Bytes of kept activations at the peak.
    pub bytes: usize,
}

/// The metric of every reference row.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Under the hypothesis.
    pub scrubbed: Vec<f64>,
    /// Of the plain model.
    pub original: Vec<f64>,
    /// Of the baseline.
    pub baseline: Vec<f64>,
}

impl<'m> Scrub<'m> {
    /// Checks a hypothesis against a model and draws its rows from `batch`; `task` makes fresh ones.
    ///
    /// # Errors
    /// An illegal hypothesis, or one that the data cannot be drawn for; the node is named.
    pub fn new(
        model: &'m Model,
        batch: Batch,
        hypothesis: Hypothesis,
        setup: ScrubSetup,
        task: Option<&TaskRows<'_>>,
    ) -> Result<Self> {
        setup.metric.check(&batch)?;
        let graph = Graph::new(model.graph_shape(), Kv::PerQuery)?;
        let dag = Dag::of_graph(&graph);
        let tree = hypothesis.tree()?;
        let places = places(&hypothesis);
        let (class, classes) = classes(&batch, &places)?;
        let automaton = Automaton::new(&dag, &hypothesis, &tree, classes)?;
        let names = names(&places);
        let mut universe = Universe::new(&batch, names, hypothesis.align);
        let draws = Draw::new(&mut universe, setup.seed, task).all(&hypothesis, &tree)?;
        let own: Vec<u32> = draws.claims.iter().map(|d| d.own).collect();
        let plain = vec![draws.reference; own.len()];
        let programs =
            vec![automaton.program(&own)?, automaton.program(&plain)?, automaton.program(&draws.baseline)?];
        let ends = (0..own.len()).map(|c| automaton.ends(c).to_vec()).collect();
        drop(automaton);
        Ok(Self { model, batch, setup, dag, hypothesis, tree, ends, universe, draws, programs, class })
    }

    /// The hypothesis.
    pub fn hypothesis(&self) -> &Hypothesis {
        &self.hypothesis
    }

    /// Its tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// What was drawn.
    pub fn draws(&self) -> &Draws {
        &self.draws
    }

    /// The rows drawn from.
    pub fn universe(&self) -> &Universe {
        &self.universe
    }

    /// The components at which a claim's paths begin, by name.
    pub fn ends(&self, claim: usize) -> Vec<&str> {
        self.ends[claim].iter().map(|&n| self.dag.name(n)).collect()
    }

    /// What is computed under the hypothesis.
    pub fn program(&self) -> &Program {
        &self.programs[0]
    }

    /// The metric of every row, scrubbed, original and baseline.
    ///
    /// # Errors
    /// Values that are not finite; [`Error::Stopped`].
    pub fn run(&self, observer: &mut dyn Observer) -> Result<Measured> {
        let mut values = match self.model.weights() {
            AnyWeights::F32(w) => self.typed(w, observer)?,
            AnyWeights::F64(w) => self.typed(w, observer)?,
        };
        let (baseline, original) = (values.pop(), values.pop());
        let all = values.pop().zip(original).zip(baseline);
        let ((scrubbed, original), baseline) =
            all.ok_or_else(|| Error::argument("internal: a program is missing", "report this"))?;
        Ok(Measured { scrubbed, original, baseline })
    }

    /// What [`Scrub::run`] takes; runs nothing.
    ///
    /// # Errors
    /// Rows that no batch can hold.
    pub fn cost(&self) -> Result<ScrubCost> {
        match self.model.weights() {
            AnyWeights::F32(w) => self.cost_of(w),
            AnyWeights::F64(w) => self.cost_of(w),
        }
    }

    fn cost_of<T: Real>(&self, weights: &Weights<T>) -> Result<ScrubCost> {
        let cfg = self.model.config();
        let (wants, sets) = wants(cfg, weights, &self.dag, &self.programs);
        let size = per_token(cfg, &wants) * size_of::<T>();
        let blocks = self.blocks(weights, &sets, size);
        let whole = self.universe.batch(cfg.d_vocab, cfg.n_ctx)?;
        let program = &self.programs[0];
        let mut cost = ScrubCost {
            rows: self.batch.len(),
            cells: program.mixed().count(),
            width: program.width(),
            blocks: blocks.len(),
            ..ScrubCost::default()
        };
        let gated = weights.layers.iter().any(|l| l.mlp.as_ref().is_some_and(|m| m.gate.is_some()));
        for block in &blocks {
            let ids: Vec<usize> = self.drawn(&sets, block).into_iter().map(|id| id as usize).collect();
            let batch = whole.subset(&ids);
            let engine = Engine::new(cfg, weights, &batch);
            let tokens: usize = batch.rows().iter().map(|r| r.clean.len()).sum();
            let run = keep_of(&wants).per_token(cfg, whole.max_len()) * size_of::<T>();
            cost.plain_rows += ids.len();
            cost.plain_flops += engine.base_cost(0, false).flops;
            cost.bytes = cost.bytes.max(tokens * size + (tokens * run).min(self.setup.budget / 4));
            let rows = self.rows(block);
            for program in &self.programs {
                cost.cell_flops += self.flops(program, &rows, gated);
            }
        }
        Ok(cost)
    }

    /// Products of a program's cells for some rows.
    fn flops(&self, program: &Program, rows: &Rows<'_>, gated: bool) -> f64 {
        let cfg = self.model.config();
        let (d, dh, dm) = (cfg.d_model as f64, cfg.d_head as f64, cfg.d_mlp as f64);
        let heads = |n| matches!(node_of(&self.dag, n), Node::Head { .. });
        let needs = Needs::new(program, rows, heads);
        let of = |&c: &usize| {
            let n = needs.cells[c].iter().filter(|n| **n).count() as f64;
            let keys = needs.cells[c].len() as f64;
            match node_of(&self.dag, program.cells[c].node) {
                Node::Head { .. } => {
                    2.0 * d * dh * (2.0 * n + 2.0 * keys) + 4.0 * dh * n * keys / rows.index.len() as f64
                }
                Node::Mlp { .. } => 2.0 * d * dm * n * if gated { 3.0 } else { 2.0 },
                Node::Input | Node::Logits => 0.0,
            }
        };
        needs.order.iter().map(of).sum()
    }

    /// The rows that stand for some reference rows, without repeats.
    fn drawn(&self, sets: &BTreeSet<u32>, block: &[usize]) -> Vec<u32> {
        let all = sets.iter().flat_map(|&s| block.iter().map(move |&i| self.draws.sets.rows(s)[i]));
        all.collect::<BTreeSet<u32>>().into_iter().collect()
    }

    /// The reference rows, those that share rows drawn by the hypothesis (directly or through others) one after another: in
    /// parts of them few drawn rows are run more than once. Where all hang together it is their own order.
    fn neighbours<T: Real>(&self, weights: &Weights<T>) -> Vec<usize> {
        let (_, sets) = wants(self.model.config(), weights, &self.dag, &self.programs[..1]);
        let mut above: Vec<usize> = (0..self.universe.len()).collect();
        let drawn = |i: usize| sets.iter().map(move |&s| self.draws.sets.rows(s)[i] as usize);
        for i in 0..self.batch.len() {
            for pair in drawn(i).zip(drawn(i).skip(1)) {
                let (a, b) = (top(&mut above, pair.0), top(&mut above, pair.1));
                above[a.max(b)] = a.min(b);
            }
        }
        let mut order: Vec<usize> = (0..self.batch.len()).collect();
        order.sort_by_cached_key(|&i| (drawn(i).next().map(|row| top(&mut above, row)), i));
        order
    }

    /// Reference rows in parts whose drawn rows fit three quarters of the budget; the rest is for the runs themselves.
    fn blocks<T: Real>(
        &self,
        weights: &Weights<T>,
        sets: &BTreeSet<u32>,
        per_token: usize,
    ) -> Vec<Vec<usize>> {
        let mut blocks: Vec<Vec<usize>> = vec![Vec::new()];
        let mut held: BTreeSet<u32> = BTreeSet::new();
        let mut bytes = 0;
        for i in self.neighbours(weights) {
            let here: BTreeSet<u32> = sets.iter().map(|&s| self.draws.sets.rows(s)[i]).collect();
            let size = |rows: &mut dyn Iterator<Item = &u32>| -> usize {
                rows.map(|&r| self.universe.row(r).clean.len() * per_token).sum()
            };
            let more = size(&mut here.difference(&held));
            let last = blocks.len() - 1;
            if bytes + more > self.setup.budget / 4 * 3 && !blocks[last].is_empty() {
                blocks.push(vec![i]);
                bytes = size(&mut here.iter());
                held = here;
            } else {
                blocks[last].push(i);
                bytes += more;
                held.extend(here);
            }
        }
        blocks
    }

    fn rows<'r>(&self, index: &'r [usize]) -> Rows<'r> {
        let mut offsets = vec![0];
        let (mut class, mut reads) = (Vec::new(), Vec::new());
        for &i in index {
            let row = &self.batch.rows()[i];
            let at = row.read_positions();
            class.extend_from_slice(&self.class[i]);
            reads.extend((0..row.clean.len() as u32).map(|p| at.contains(&p)));
            offsets.push(class.len());
        }
        Rows { index, offsets, class, reads, causal: self.model.config().causal }
    }

    /// Reference rows with the answers that they are judged by.
    fn labelled(&self, index: &[usize]) -> Result<Batch> {
        let cfg = self.model.config();
        let own = self.draws.claims[self.tree.order[0]].own;
        let rows = index.iter().map(|&i| {
            let row = &self.batch.rows()[i];
            let judge = match self.hypothesis.labels {
                Labels::Pinned => row,
                Labels::Resampled => self.universe.row(self.draws.sets.rows(own)[i]),
            };
            let (answers, wrong_answers) = (judge.answers.clone(), judge.wrong_answers.clone());
            Row { answers, wrong_answers, corrupt: None, ..row.clone() }
        });
        Ok(Batch::new(rows.collect(), self.batch.groups().to_vec(), cfg.d_vocab, cfg.n_ctx)?)
    }

    fn typed<T: Real>(&self, weights: &Weights<T>, observer: &mut dyn Observer) -> Result<Vec<Vec<f64>>> {
        let cfg = self.model.config();
        let (wants, sets) = wants(cfg, weights, &self.dag, &self.programs);
        let blocks = self.blocks(weights, &sets, per_token(cfg, &wants) * size_of::<T>());
        let whole = self.universe.batch(cfg.d_vocab, cfg.n_ctx)?;
        let mut values = vec![vec![0.0; self.batch.len()]; self.programs.len()];
        observer.expect(self.batch.len());
        for block in &blocks {
            if observer.stopped() {
                return Err(Error::Stopped { finished: None });
            }
            let ids = self.drawn(&sets, block);
            let store = Store::run(cfg, weights, &whole, &ids, &wants, self.setup.budget / 4)?;
            let parts: Vec<Vec<Vec<f64>>> = self
                .chunks(block)
                .into_par_iter()
                .map(|index| self.chunk(weights, &store, index))
                .collect::<Result<_>>()?;
            // parts of a block are in its order
            for (k, values) in values.iter_mut().enumerate() {
                for (&i, x) in block.iter().zip(parts.iter().flat_map(|part| &part[k])) {
                    values[i] = *x;
                }
            }
            observer.advance(block.len(), 0);
        }
        Ok(values)
    }

    /// Parts of a block of few enough tokens, at least one for each thread.
    fn chunks<'b>(&self, block: &'b [usize]) -> Vec<&'b [usize]> {
        let tokens: usize = block.iter().map(|&i| self.class[i].len()).sum();
        let most = CHUNK.min(tokens.div_ceil(rayon::current_num_threads().max(1))).max(1);
        let (mut out, mut from, mut used) = (Vec::new(), 0, 0);
        for (k, &i) in block.iter().enumerate() {
            if used > 0 && used + self.class[i].len() > most {
                out.push(&block[from..k]);
                (from, used) = (k, 0);
            }
            used += self.class[i].len();
        }
        out.push(&block[from..]);
        out
    }

    /// The metric of some rows under every program.
    fn chunk<T: Real>(
        &self,
        weights: &Weights<T>,
        store: &Store<T>,
        index: &[usize],
    ) -> Result<Vec<Vec<f64>>> {
        let cfg = self.model.config();
        let batch = self.labelled(index)?;
        let engine = Engine::new(cfg, weights, &batch);
        let rows = self.rows(index);
        let streams = self
            .programs
            .iter()
            .map(|p| Run::new(&engine, &self.dag, &self.draws.sets, store, &rows, p).root())
            .collect::<Result<Vec<_>>>()?;
        let metric = self.setup.metric;
        let mut reference = None;
        if metric.compares() {
            let all = AllLogits { d_vocab_out: cfg.d_vocab_out };
            let logits = engine.judge_streams(&streams[1], &all)?;
            reference = Some(Reference::new(metric, &batch, &logits, cfg.d_vocab_out));
        }
        let judge = MetricJudge::new(metric, &batch, reference);
        let mut out = Vec::with_capacity(streams.len());
        for stream in &streams {
            let values = engine.judge_streams(stream, &judge);
            out.push(values.map_err(|e| in_row(index, e))?);
        }
        Ok(out)
    }
}

/// The named positions among some places.
fn names(places: &[Where]) -> Vec<String> {
    let mut names = BTreeSet::new();
    for place in places {
        if let Positions::Named(of) = &place.positions {
            names.extend(of.iter().cloned());
        }
    }
    names.into_iter().collect()
}

/// The class of every token of every row, and for each class whether it lies in each place.
type Classes = (Vec<Vec<u32>>, Vec<Vec<bool>>);

/// The class of every token, and what the classes are: in which places they lie.
fn classes(batch: &Batch, places: &[Where]) -> Result<Classes> {
    let mut known: BTreeMap<Vec<bool>, u32> = BTreeMap::new();
    let mut all = Vec::with_capacity(batch.len());
    for (i, row) in batch.rows().iter().enumerate() {
        let sets = places.iter().map(|w| indices(i, row, w)).collect::<Result<Vec<_>>>()?;
        let of = (0..row.clean.len()).map(|p| {
            let key: Vec<bool> =
                sets.iter().zip(places).map(|(set, w)| set.contains(&p) != w.except).collect();
            let next = known.len() as u32;
            *known.entry(key).or_insert(next)
        });
        all.push(of.collect());
    }
    let mut classes = vec![Vec::new(); known.len()];
    for (key, id) in known {
        classes[id as usize] = key;
    }
    Ok((all, classes))
}

/// The indices of positions in a row.
fn indices(i: usize, row: &Row, place: &Where) -> Result<Vec<usize>> {
    let last = row.clean.len() - 1;
    match &place.positions {
        Positions::All => Ok((0..=last).collect()),
        Positions::Last => Ok(vec![last]),
        Positions::At(indices) => match indices.iter().find(|p| **p > last) {
            Some(p) => Err(Error::Row {
                row: i,
                message: format!("the hypothesis speaks of position {p}, but there are {} tokens", last + 1),
                hint: Some("name positions in the data set, or use rows that are long enough".into()),
            }),
            None => Ok(indices.clone()),
        },
        Positions::Named(names) => names
            .iter()
            .map(|name| {
                let found = row.positions.iter().find(|(n, _)| n == name).map(|(_, p)| *p);
                let found = found.or((name == "end").then_some(last));
                found.ok_or_else(|| Error::Row {
                    row: i,
                    message: format!("the hypothesis speaks of position {name}, which the row does not name"),
                    hint: Some("every row needs the named positions that are asked for".into()),
                })
            })
            .collect(),
    }
}

/// An error about a row of a chunk, as one about the row of the data.
fn in_row(index: &[usize], e: ablate_model::Error) -> Error {
    match e {
        ablate_model::Error::NotFinite { row, stage } => {
            Error::Model(ablate_model::Error::NotFinite { row: index[row], stage })
        }
        other => Error::Model(other),
    }
}

/// The top of the tree in which `at` is; the way to it gets shorter.
fn top(above: &mut [usize], mut at: usize) -> usize {
    while above[at] != at {
        above[at] = above[above[at]];
        at = above[at];
    }
    at
}
