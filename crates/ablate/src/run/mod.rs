//! Running plans on a model and a data set: base runs, ablation sources and blocks under a memory budget are made once
//! and shared by everything that is evaluated.

mod attend;
mod blocks;
pub(crate) mod means;
mod moved;
mod passes;
mod paths;
mod patterns;
mod speed;
mod typed;

use std::ops::Range;

use ablate_graph::{Node, Plan, Random, Side};
use ablate_model::Batch;
use ablate_model::model::{AnyWeights, Model};

pub use self::attend::{Attended, Watch};
pub use self::passes::Passes;
pub use self::speed::product_flops;
use self::typed::Typed;
use crate::error::{Error, Result};
use crate::metric::Metric;
use crate::path::Route;

/// What stays the same for all plans of a study.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What is measured.
    pub metric: Metric,
    /// Rows over which means are taken; `None` = the data itself.
    pub mean_set: Option<Batch>,
    /// Which text of the mean set is averaged.
    pub mean_side: Side,
    /// Bytes that kept activations may take.
    pub budget: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self { metric: Metric::default(), mean_set: None, mean_side: Side::Clean, budget: 512 << 20 }
    }
}

/// What evaluating some plans will cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Number of plans.
    pub plans: usize,
    /// Examples × plans.
    pub passes: u64,
    /// Examples × base and donor runs.
    pub base_passes: u64,
    /// Floating-point operations of all products.
    pub flops: f64,
    /// What whole passes for every plan would take.
    pub full_flops: f64,
    /// Parts that the batch is run in to stay within the budget.
    pub blocks: usize,
    /// Bytes of kept activations at the peak, those of base runs and sources.
    pub activation_bytes: usize,
    /// Bytes more where trials are kept ([`Study::trial`]).
    pub trial_bytes: usize,
    /// Bytes at the peak while means are taken, which is over before plans are run.
    pub mean_bytes: usize,
    /// Bytes of buffers at the peak.
    pub buffer_bytes: usize,
}

/// What a study can do, whatever its number type.
trait Evaluate: Send + std::fmt::Debug {
    fn base_values(&mut self, side: Side) -> Result<Vec<f64>>;
    fn evaluate(&mut self, plans: &[Plan]) -> Result<Vec<Vec<f64>>>;
    fn evaluate_block(&mut self, block: usize, plans: &[Plan]) -> Result<Vec<Vec<f64>>>;
    fn block_rows(&self, block: usize) -> Range<usize>;
    fn states_made(&self) -> u64;
    fn trial(&mut self, plan: &Plan) -> Result<Vec<f64>>;
    fn paths(&mut self, groups: &[Vec<Node>], route: &Route) -> Result<Vec<Vec<f64>>>;
    fn attend(&mut self, groups: &[Vec<Node>], route: &Route, watch: &Watch) -> Result<Attended>;
    fn set_donors(&mut self, batch: &Batch) -> Result<()>;
    fn accept(&mut self);
    fn restart(&mut self);
    fn prepare_for(&mut self, plans: &[Plan]) -> Result<()>;
    fn cost(&mut self, plans: &[Plan]) -> Result<Estimate>;
    fn activation_bytes(&self) -> usize;
    fn blocks(&self) -> usize;
    fn holds(&self) -> bool;
    fn logits(&mut self, plan: &Plan, at: &[Vec<u32>]) -> Result<Vec<Vec<f64>>>;
    fn patterns(&mut self, heads: &[Node]) -> Result<Vec<Vec<Vec<f64>>>>;
}

/// A model, a batch and a metric: evaluates plans.
#[derive(Debug)]
pub struct Study<'m> {
    inner: Box<dyn Evaluate + 'm>,
    batch: Batch,
    setup: Setup,
    forward_rows: u64,
}

impl<'m> Study<'m> {
    /// A study of `model` on `batch`.
    ///
    /// # Errors
    /// A row that lacks what the metric needs.
    pub fn new(model: &'m Model, batch: Batch, setup: Setup) -> Result<Self> {
        setup.metric.check(&batch)?;
        let inner: Box<dyn Evaluate + 'm> = match model.weights() {
            AnyWeights::F32(w) => Box::new(Typed::new(model.config(), w, batch.clone(), setup.clone())),
            AnyWeights::F64(w) => Box::new(Typed::new(model.config(), w, batch.clone(), setup.clone())),
        };
        Ok(Self { inner, batch, setup, forward_rows: 0 })
    }

    /// The batch.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The metric.
    pub fn metric(&self) -> Metric {
        self.setup.metric
    }

    /// The metric of the plain run of `side`, for each example.
    ///
    /// # Errors
    /// Rows without that text; values that are not finite.
    pub fn base(&mut self, side: Side) -> Result<Vec<f64>> {
        self.inner.base_values(side)
    }

    /// The metric of each plan's run, `[plans][examples]`.
    ///
    /// # Errors
    /// Plans that the model or data cannot run; values that are not finite.
    pub fn evaluate(&mut self, plans: &[Plan]) -> Result<Vec<Vec<f64>>> {
        self.forward_rows += (plans.len() * self.batch.len()) as u64;
        if plans.is_empty() {
            return Ok(Vec::new());
        }
        self.inner.evaluate(plans)
    }

    /// The metric of each plan's run on the rows of one block of [`Study::blocks`], `[plans][rows]`. That block's base runs are
    /// kept until another block is run: with several blocks, run all plans on one, then on the next.
    ///
    /// # Errors
    /// As [`Study::evaluate`]; a block that there is not. [`Study::prepare`] must have seen the plans.
    pub fn evaluate_block(&mut self, block: usize, plans: &[Plan]) -> Result<Vec<Vec<f64>>> {
        if block >= self.blocks() {
            return Err(Error::argument(
                format!("there is no block {block}"),
                format!("there are {}", self.blocks()),
            ));
        }
        self.forward_rows += (plans.len() * self.inner.block_rows(block).len()) as u64;
        if plans.is_empty() {
            return Ok(Vec::new());
        }
        self.inner.evaluate_block(block, plans)
    }

    /// The rows of a block.
    pub(crate) fn block_rows(&self, block: usize) -> Range<usize> {
        self.inner.block_rows(block)
    }

    /// How often base runs were made for a block.
    pub fn states_made(&self) -> u64 {
        self.inner.states_made()
    }

    /// The metric of one plan's run, kept so that [`Study::accept`] can make it the start of the runs after it.
    ///
    /// # Errors
    /// As [`Study::evaluate`].
    pub fn trial(&mut self, plan: &Plan) -> Result<Vec<f64>> {
        self.forward_rows += self.batch.len() as u64;
        self.inner.trial(plan)
    }

    /// The metric of each patched path, `[groups][examples]`: the senders of a group are replaced together.
    ///
    /// # Errors
    /// As [`Study::evaluate`]; [`Route::check`].
    pub fn paths(&mut self, groups: &[Vec<Node>], route: &Route) -> Result<Vec<Vec<f64>>> {
        route.check()?;
        self.forward_rows += (groups.len() * self.batch.len()) as u64;
        self.inner.paths(groups, route)
    }

    /// Where the heads of the last hop look, in the clean run and with each group of senders patched along `route`. Only
    /// the inputs that the last hop names are changed, in each of its heads alone.
    ///
    /// # Errors
    /// As [`Study::paths`]; a last hop that is not of heads; a query that is not one position of each row.
    pub fn attend(&mut self, groups: &[Vec<Node>], route: &Route, watch: &Watch) -> Result<Attended> {
        route.check()?;
        self.forward_rows += (groups.len() * self.batch.len()) as u64;
        self.inner.attend(groups, route, watch)
    }

    /// Puts the counterfactuals of `batch` in place of those of the rows; what the clean texts gave is kept.
    ///
    /// # Errors
    /// Other clean texts, or named positions, than the rows'.
    pub fn set_donors(&mut self, batch: &Batch) -> Result<()> {
        self.inner.set_donors(batch)?;
        self.batch = batch.clone();
        Ok(())
    }

    /// Later runs start from the last trial where they agree with it.
    pub fn accept(&mut self) {
        self.inner.accept();
    }

    /// Later runs start from the plain run again.
    pub fn restart(&mut self) {
        self.inner.restart();
    }

    /// Notes what `plans` will need, so that base runs are made once.
    ///
    /// # Errors
    /// Sources that do not exist for a site.
    pub fn prepare(&mut self, plans: &[Plan]) -> Result<()> {
        self.inner.prepare_for(plans)
    }

    /// What evaluating `plans` will cost; runs nothing.
    ///
    /// # Errors
    /// Plans that the model or data cannot run.
    pub fn cost(&mut self, plans: &[Plan]) -> Result<Estimate> {
        self.inner.cost(plans)
    }

    /// Bytes that kept activations of all rows take together.
    pub fn activation_bytes(&self) -> usize {
        self.inner.activation_bytes()
    }

    /// Number of parts that the batch is run in to stay within the budget.
    pub fn blocks(&self) -> usize {
        self.inner.blocks()
    }

    /// Whether all rows and their trials fit the budget at once, so that a trial is kept.
    pub fn holds(&self) -> bool {
        self.inner.holds()
    }

    /// Number of examples run through some part of the model so far, base runs not counted.
    pub fn runs(&self) -> u64 {
        self.forward_rows
    }

    /// All logits of the plain run of `side` at the positions `at` of each row (sorted), one vector a position.
    ///
    /// # Errors
    /// Values that are not finite.
    pub fn logits(&mut self, side: Side, at: &[Vec<u32>]) -> Result<Vec<Vec<f64>>> {
        self.edited_logits(&Plan::on(side), at)
    }

    /// As [`Study::logits`], of a plan's run. Its edits put zeros in place or nothing else is known to the engine.
    ///
    /// # Errors
    /// As [`Study::logits`]; plans with other sources than zero.
    pub fn edited_logits(&mut self, plan: &Plan, at: &[Vec<u32>]) -> Result<Vec<Vec<f64>>> {
        if at.len() != self.batch.len() || at.iter().any(Vec::is_empty) {
            return Err(Error::argument(
                "every row needs at least one position",
                "pass one list of positions a row",
            ));
        }
        self.inner.logits(plan, at)
    }

    /// Attention patterns of `heads` in the plain clean run: `[heads][examples][len × len]`, queries by keys, row after row.
    ///
    /// # Errors
    /// Nodes that are no heads of the model; values that are not finite.
    pub fn patterns(&mut self, heads: &[Node]) -> Result<Vec<Vec<Vec<f64>>>> {
        self.inner.patterns(heads)
    }
}

/// For each of `rows` another row of the same length, drawn by seed from the whole batch.
pub(crate) fn other_rows(whole: &Batch, rows: &[usize], seed: u64) -> Result<Batch> {
    let random = Random::new(seed, "resample-other");
    let all = whole.rows();
    let mut donors = Vec::with_capacity(rows.len());
    for &i in rows {
        let len = all[i].clean.len();
        let fit: Vec<usize> = (0..all.len()).filter(|&j| j != i && all[j].clean.len() == len).collect();
        if fit.is_empty() {
            return Err(Error::Row {
                row: i,
                message: format!("no other row has {len} tokens"),
                hint: Some("resample-other needs rows of equal length: use resample or more rows".into()),
            });
        }
        donors.push(fit[random.below(i as u64, 0, fit.len())]);
    }
    Ok(whole.subset(&donors))
}
