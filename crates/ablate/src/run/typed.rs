//! A study in one number type: the batch in blocks that fit the memory budget, their base runs and sources.

use std::ops::Range;
use std::sync::Arc;

use ablate_graph::{Node, Plan, Side, Source};
use ablate_model::engine::{
    AllLogits, Base, Compiled, Cost, Engine, Judge, Keep, Sources, Table, TokenLogits,
};
use ablate_model::{Batch, Config, Weights};
use ablate_tensor::Real;

use super::attend::{Attended, Watch};
use super::means::{Means, table_rows};
use super::{Estimate, Evaluate, Setup, other_rows};
use crate::error::{Error, Result};
use crate::metric::{Metric, MetricJudge, Reference};
use crate::path::Route;
use crate::session::plans_at_once;

/// Most tokens of the mean set that are run at once: enough for every thread.
const MEAN_TOKENS: usize = 2048;

/// Rows of the batch that are run together.
#[derive(Debug)]
pub(super) struct Block<T> {
    pub(super) batch: Batch,
    /// Index of each row in the whole batch.
    pub(super) rows: Vec<usize>,
    pub(super) state: Option<State<T>>,
    /// Values of the plain runs of the clean and the corrupt text, kept when the state is dropped.
    pub(super) plain: [Option<Vec<f64>>; 2],
}

impl<T> Block<T> {
    /// Nothing computed yet.
    pub(super) fn new(batch: Batch, rows: Vec<usize>) -> Self {
        Self { batch, rows, state: None, plain: [None, None] }
    }
}

/// What has been computed for a block.
#[derive(Debug)]
pub(super) struct State<T> {
    pub(super) judge: MetricJudge<T>,
    pub(super) sources: Sources<T>,
    /// What each donor run kept.
    donors: Vec<(Source, Keep)>,
    pub(super) clean: Option<Base<T>>,
    pub(super) corrupt: Option<Base<T>>,
    /// The run that accepted edits start from, and the last trial.
    pub(super) current: Option<Base<T>>,
    trial: Option<Base<T>>,
    /// A whole run of the clean texts, where counterfactuals of another length keep values of it.
    whole: Option<(Keep, Table<T>)>,
}

impl<T> State<T> {
    /// Drops a source's table.
    pub(super) fn forget(&mut self, source: Source) {
        self.donors.retain(|(s, _)| *s != source);
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Typed<'m, T> {
    pub(super) cfg: &'m Config,
    pub(super) weights: &'m Weights<T>,
    pub(super) setup: Setup,
    pub(super) whole: Batch,
    pub(super) blocks: Vec<Block<T>>,
    /// Blocks' states made: each has its base and donor runs.
    pub(super) states_made: u64,
    means: Vec<Means<T>>,
    /// What every base run and source must keep: grows with the plans seen.
    base_keep: Keep,
    source_keep: Vec<(Source, Keep)>,
    /// Whether plans on the clean and on the corrupt text have been seen: only their base runs are kept.
    seen: [bool; 2],
}

impl<'m, T: Real> Typed<'m, T> {
    pub(super) fn new(cfg: &'m Config, weights: &'m Weights<T>, batch: Batch, setup: Setup) -> Self {
        let rows: Vec<usize> = (0..batch.len()).collect();
        let blocks = vec![Block::new(batch.clone(), rows)];
        Self {
            cfg,
            weights,
            setup,
            whole: batch,
            blocks,
            states_made: 0,
            means: Vec::new(),
            base_keep: Keep::PRE,
            source_keep: Vec::new(),
            seen: [false; 2],
        }
    }

    /// What base runs and each source must keep for `plans` and all plans seen before.
    fn needs(&self, plans: &[Plan]) -> (Keep, Vec<(Source, Keep)>) {
        let probe = self.whole.subset(&[0]);
        let engine = Engine::new(self.cfg, self.weights, &probe);
        let mut keep = self.base_keep;
        let mut needs = self.source_keep.clone();
        let mut need = |source: Source, kept: Keep| {
            if source != Source::Zero {
                match needs.iter_mut().find(|(s, _)| *s == source) {
                    Some((_, k)) => *k = *k | kept,
                    None => needs.push((source, kept)),
                }
            }
        };
        for plan in plans {
            for edit in &plan.edits {
                keep = keep | engine.keep_for(edit);
                need(edit.source, Keep::source_of(edit.site));
            }
            for cut in &plan.cuts {
                keep = keep | engine.keep_for_cut(cut);
                need(cut.source, Keep::EDGES);
            }
            if plan.freeze_norm {
                keep = keep | Keep::SCALES;
            }
        }
        (keep, needs)
    }

    /// Notes what the plans need; drops state that lacks it, and splits the batch into blocks that fit the budget.
    pub(super) fn prepare(&mut self, plans: &[Plan]) -> Result<()> {
        let (keep, needs) = self.needs(plans);
        let fresh = self.blocks.iter().all(|b| b.state.is_none());
        self.prepare_means_for(&needs)?;
        let seen = self.seen_with(plans);
        if keep != self.base_keep || needs != self.source_keep || seen != self.seen || fresh {
            self.base_keep = keep;
            self.source_keep = needs;
            self.seen = seen;
            self.split();
        }
        Ok(())
    }

    /// What [`Typed::prepare`] would note, without running anything.
    fn prepare_quietly(&mut self, plans: &[Plan]) {
        let (keep, needs) = self.needs(plans);
        self.base_keep = keep;
        self.source_keep = needs;
        self.seen = self.seen_with(plans);
    }

    /// On which texts plans have been seen, these ones too.
    fn seen_with(&self, plans: &[Plan]) -> [bool; 2] {
        let has = |side| plans.iter().any(|p| p.side == side);
        [self.seen[0] || has(Side::Clean), self.seen[1] || has(Side::Corrupt)]
    }

    fn prepare_means_for(&mut self, needs: &[(Source, Keep)]) -> Result<()> {
        for &(source, keep) in needs {
            let positional = match source {
                Source::Mean => false,
                Source::MeanPositional => true,
                _ => continue,
            };
            if keep.has(Keep::PATTERN) {
                return Err(Error::argument(
                    "patterns have no mean: rows differ in length",
                    "use zero or resample for patterns",
                ));
            }
            if self.means.iter().any(|m| m.source() == source && m.has(keep)) {
                continue;
            }
            let had = self.means.iter().find(|m| m.source() == source).map_or(Keep::NONE, Means::keep);
            self.means.retain(|m| m.source() != source);
            let tokens = self.mean_tokens(had | keep);
            let set = self.setup.mean_set.as_ref().unwrap_or(&self.whole);
            let side = self.setup.mean_side;
            self.means.push(Means::new(self.cfg, self.weights, set, side, positional, had | keep, tokens)?);
        }
        Ok(())
    }

    /// What base runs keep.
    pub(super) fn keep_of_bases(&self) -> Keep {
        self.base_keep
    }

    /// Tokens of the mean set that are run at once.
    fn mean_tokens(&self, keep: Keep) -> usize {
        let bytes = keep.per_token(self.cfg, self.whole.max_len()).max(1) * size_of::<T>();
        (self.setup.budget / 2 / bytes).clamp(1, MEAN_TOKENS)
    }

    /// Bytes of the tables of means, and bytes at the peak while they are made.
    fn mean_bytes(&self) -> (usize, usize) {
        let set = self.setup.mean_set.as_ref().unwrap_or(&self.whole);
        let len = set.max_len();
        let tokens: usize = set.rows().iter().map(|r| r.clean.len()).sum();
        let (mut tables, mut peak) = (0, 0);
        for &(source, keep) in &self.source_keep {
            let rows = match source {
                Source::Mean => 1,
                Source::MeanPositional => table_rows(set, true).len(),
                _ => continue,
            };
            let width = keep.per_token(self.cfg, len);
            let run = tokens.min(self.mean_tokens(keep).max(len)) * width * size_of::<T>();
            let table = rows * width * size_of::<T>();
            let sums = rows * width * size_of::<f64>();
            peak = peak.max(tables + sums + run.max(table));
            tables += table;
        }
        (tables, peak)
    }

    /// Numbers that one token of the longest row takes in a base run.
    fn per_base_token(&self) -> usize {
        self.base_keep.per_token(self.cfg, self.whole.max_len())
    }

    /// Numbers that one token of the longest row takes in base runs and donor runs.
    pub(super) fn per_token(&self) -> usize {
        let len = self.whole.max_len();
        let runs = |s: &Source| matches!(s, Source::Resample | Source::ResampleOther { .. } | Source::Clean);
        let donors = self.source_keep.iter().filter(|(s, _)| runs(s));
        // counterfactuals of another length stand beside a whole run of the clean texts, which is copied
        let moved = self.whole.rows().iter().any(|r| r.moved.is_some());
        let copies = |s: &Source| if moved && *s == Source::Resample { 3 } else { 1 };
        let donors: usize = donors.map(|(s, k)| copies(s) * k.per_token(self.cfg, len)).sum();
        let sides = self.seen.iter().filter(|seen| **seen).count().max(1);
        sides * self.per_base_token() + donors
    }

    /// Bytes that an accepted run and a trial take beside the base run of all rows.
    fn trial_bytes(&self) -> usize {
        let tokens: usize = self.whole.rows().iter().map(|r| r.clean.len()).sum();
        2 * tokens * self.per_base_token() * size_of::<T>()
    }

    /// Bytes of activations that all rows take together.
    pub(super) fn bytes(&self) -> usize {
        let tokens: usize = self.whole.rows().iter().map(|r| r.clean.len()).sum();
        tokens * self.per_token() * size_of::<T>()
    }

    pub(super) fn new_state(&self, engine: &Engine<'_, T>) -> Result<State<T>> {
        let reference = if self.setup.metric.compares() {
            let all = AllLogits { d_vocab_out: self.cfg.d_vocab_out };
            let plan = Compiled::default();
            let run = engine.base(&plan, &Sources::new(), Keep::NONE, false, &all)?;
            Some(Reference::new(self.setup.metric, engine.batch(), &run.values, self.cfg.d_vocab_out))
        } else {
            None
        };
        Ok(State {
            judge: MetricJudge::new(self.setup.metric, engine.batch(), reference),
            sources: Sources::new(),
            donors: Vec::new(),
            clean: None,
            corrupt: None,
            current: None,
            trial: None,
            whole: None,
        })
    }

    pub(super) fn fill_sources(
        &self,
        engine: &Engine<'_, T>,
        state: &mut State<T>,
        rows: &[usize],
    ) -> Result<()> {
        for &(source, keep) in &self.source_keep {
            if state.donors.iter().any(|(s, k)| *s == source && k.has(keep)) {
                continue;
            }
            let table = match source {
                Source::Zero => continue,
                Source::Mean | Source::MeanPositional => {
                    let means = self.means.iter().find(|m| m.source() == source);
                    means
                        .ok_or_else(|| Error::argument("internal: means are missing", "report this"))?
                        .table(engine.batch())?
                }
                Source::Resample if engine.batch().rows().iter().any(|r| r.moved.is_some()) => {
                    if state.whole.as_ref().is_none_or(|(k, _)| !k.has(keep)) {
                        state.whole = Some((keep, self.donor(engine.batch(), Side::Clean, keep)?));
                    }
                    match &state.whole {
                        Some((_, clean)) => self.moved_table(engine.batch(), clean, keep)?,
                        None => continue,
                    }
                }
                Source::Resample => self.donor(engine.batch(), Side::Corrupt, keep)?,
                Source::Clean => self.donor(engine.batch(), Side::Clean, keep)?,
                Source::ResampleOther { seed } => {
                    self.donor(&other_rows(&self.whole, rows, seed)?, Side::Clean, keep)?
                }
                Source::Given(_) => {
                    return Err(Error::argument(
                        "a given source needs a table",
                        "use the library's run with tables",
                    ));
                }
            };
            state.sources.set(source, table);
            state.donors.retain(|(s, _)| *s != source);
            state.donors.push((source, keep));
        }
        Ok(())
    }

    /// A table whose rows are the activations of `side` of the same rows of `batch`.
    fn donor(&self, batch: &Batch, side: Side, keep: Keep) -> Result<Table<T>> {
        let engine = Engine::new(self.cfg, self.weights, batch);
        let plan = engine.compile(&Plan::on(side))?;
        let run = engine.base(&plan, &Sources::new(), keep, true, &TokenLogits { tokens: vec![] })?;
        Ok(Table::identity(Arc::clone(&run.acts)))
    }

    pub(super) fn base<'s>(
        engine: &Engine<'_, T>,
        state: &'s mut State<T>,
        side: Side,
        keep: Keep,
    ) -> Result<&'s Base<T>> {
        let slot = match side {
            Side::Clean => &mut state.clean,
            Side::Corrupt => &mut state.corrupt,
        };
        if !slot.as_ref().is_some_and(|b| b.keep().has(keep)) {
            let plan = engine.compile(&Plan::on(side))?;
            *slot = Some(engine.base(&plan, &Sources::new(), keep, false, &state.judge)?);
        }
        slot.as_ref().ok_or_else(|| Error::argument("internal: no base run", "report this"))
    }
}

impl<T: Real> Evaluate for Typed<'_, T> {
    fn base_values(&mut self, side: Side) -> Result<Vec<f64>> {
        self.prepare(&[])?;
        // of a run that no plan starts from only the values are wanted
        let slot = usize::from(side == Side::Corrupt);
        let keep = if self.seen[slot] { self.base_keep } else { Keep::NONE };
        let mut out = Vec::with_capacity(self.whole.len());
        for block in 0..self.blocks.len() {
            if self.blocks[block].plain[slot].is_none() {
                self.one_block(block, |engine, state, _| Self::base(engine, state, side, keep).map(|_| ()))?;
            }
            out.extend(self.blocks[block].plain[slot].iter().flatten());
        }
        Ok(out)
    }

    fn evaluate(&mut self, plans: &[Plan]) -> Result<Vec<Vec<f64>>> {
        self.prepare(plans)?;
        let keep = self.base_keep;
        let blocks = self.each_block(|engine, state, rows| {
            Ok((Self::variants(engine, state, plans, rows.len(), keep)?, rows.to_vec()))
        })?;
        Ok(self.gather(plans.len(), blocks))
    }

    fn evaluate_block(&mut self, block: usize, plans: &[Plan]) -> Result<Vec<Vec<f64>>> {
        let keep = self.base_keep;
        let n = self.blocks[block].rows.len();
        let values = self
            .one_block(block, |engine, state, rows| Self::variants(engine, state, plans, rows.len(), keep))?;
        Ok(values.chunks_exact(n.max(1)).map(<[f64]>::to_vec).collect())
    }

    fn block_rows(&self, block: usize) -> Range<usize> {
        let rows = &self.blocks[block].rows;
        rows.first().map_or(0..0, |&first| first..first + rows.len())
    }

    fn trial(&mut self, plan: &Plan) -> Result<Vec<f64>> {
        self.prepare(std::slice::from_ref(plan))?;
        if !self.holds() {
            return Ok(self.evaluate(std::slice::from_ref(plan))?.remove(0));
        }
        let keep = self.base_keep;
        let blocks = self.each_block(|engine, state, rows| {
            let compiled = engine.compile(plan)?;
            if state.current.is_none() {
                let base = Self::base(engine, state, plan.side, keep)?.clone();
                state.current = Some(base);
            }
            let current = state
                .current
                .as_ref()
                .ok_or_else(|| Error::argument("internal: no base run", "report this"))?;
            state.trial = None;
            let run = engine.rebase(current, &compiled, &state.sources, &state.judge)?;
            let values = run.values.clone();
            state.trial = Some(run);
            Ok((values, rows.to_vec()))
        })?;
        Ok(self.gather(1, blocks).remove(0))
    }

    fn accept(&mut self) {
        for state in self.blocks.iter_mut().filter_map(|b| b.state.as_mut()) {
            if let Some(trial) = state.trial.take() {
                state.current = Some(trial);
            }
        }
    }

    fn restart(&mut self) {
        for state in self.blocks.iter_mut().filter_map(|b| b.state.as_mut()) {
            state.current = None;
            state.trial = None;
        }
    }

    fn paths(&mut self, groups: &[Vec<Node>], route: &Route) -> Result<Vec<Vec<f64>>> {
        self.run_paths(groups, route)
    }

    fn attend(&mut self, groups: &[Vec<Node>], route: &Route, watch: &Watch) -> Result<Attended> {
        self.run_attend(groups, route, watch)
    }

    fn set_donors(&mut self, batch: &Batch) -> Result<()> {
        self.run_with_donors(batch)
    }

    fn prepare_for(&mut self, plans: &[Plan]) -> Result<()> {
        self.prepare(plans)
    }

    fn cost(&mut self, plans: &[Plan]) -> Result<Estimate> {
        self.prepare_quietly(plans);
        let engine = Engine::new(self.cfg, self.weights, &self.whole);
        let labels =
            self.whole.rows().iter().map(|r| r.answers.len() + r.wrong_answers.len()).max().unwrap_or(0);
        let logits = if self.setup.metric == Metric::LogitDiff { labels } else { self.cfg.d_vocab_out };
        let compiled: Vec<Compiled> = plans.iter().map(|p| Ok(engine.compile(p)?)).collect::<Result<_>>()?;
        let mut sides = 0;
        let mut variants = Cost::default();
        for side in [Side::Clean, Side::Corrupt] {
            let refs: Vec<&Compiled> = compiled.iter().filter(|c| c.side == side).collect();
            if !refs.is_empty() {
                sides += 1;
                let base = Compiled { side, ..Compiled::default() };
                variants += engine.variants_cost(&base, &refs, logits);
            }
        }
        let base = engine.base_cost(logits, false);
        let donors = self.source_keep.iter().filter(|(s, _)| *s != Source::Zero).count();
        let runs = sides.max(1) + donors + usize::from(self.setup.metric.compares());
        let held =
            self.bytes().min(self.setup.budget.max(self.whole.max_len() * self.per_token() * size_of::<T>()));
        let reference = if self.setup.metric.compares() {
            self.whole.rows().iter().map(|r| r.read_positions().len()).sum::<usize>()
                * self.cfg.d_vocab_out
                * (2 * size_of::<f64>() + size_of::<T>())
        } else {
            0
        };
        let blocks = self.bytes().div_ceil(self.setup.budget.max(1)).max(1);
        let tokens: usize = self.whole.rows().iter().map(|r| r.clean.len()).sum();
        let tokens = tokens.div_ceil(blocks);
        let at_once = tokens * plans_at_once(tokens).min(plans.len().max(1));
        let (tables, mean_bytes) = self.mean_bytes();
        let averaged: usize = match &self.setup.mean_set {
            Some(set) if mean_bytes > 0 => set.rows().iter().map(|r| r.clean.len()).sum(),
            _ => 0,
        };
        let at_once = at_once.max(averaged.min(MEAN_TOKENS));
        let fits = self.bytes() + self.trial_bytes() <= self.setup.budget;
        Ok(Estimate {
            plans: plans.len(),
            passes: variants.lanes,
            base_passes: (runs * self.whole.len()) as u64,
            flops: variants.flops + base.flops * runs as f64,
            full_flops: base.flops * plans.len() as f64,
            blocks,
            activation_bytes: held + tables + reference,
            trial_bytes: if fits { self.trial_bytes() } else { 0 },
            mean_bytes,
            buffer_bytes: engine.buffer_bytes(at_once),
        })
    }

    fn activation_bytes(&self) -> usize {
        self.bytes()
    }

    fn blocks(&self) -> usize {
        self.blocks.len()
    }

    fn states_made(&self) -> u64 {
        self.states_made
    }

    fn holds(&self) -> bool {
        self.blocks.len() == 1 && self.bytes() + self.trial_bytes() <= self.setup.budget
    }

    fn logits(&mut self, plan: &Plan, at: &[Vec<u32>]) -> Result<Vec<Vec<f64>>> {
        let engine = Engine::reading(self.cfg, self.weights, &self.whole, at.to_vec());
        let plan = engine.compile(plan)?;
        let vocab = self.cfg.d_vocab_out;
        let run = engine.base(
            &plan,
            &Sources::new(),
            Keep::NONE,
            false,
            &AllLogits { d_vocab_out: vocab } as &dyn Judge<T>,
        )?;
        Ok(run.values.chunks_exact(vocab).map(<[f64]>::to_vec).collect())
    }

    fn patterns(&mut self, heads: &[Node]) -> Result<Vec<Vec<Vec<f64>>>> {
        super::patterns::of(self.cfg, self.weights, &self.whole, heads)
    }
}
