//! Training a model that hides a case: interchange intervention training, strict (IIT and SIIT; InterpBench's
//! `StrictIITModelPair`).
//!
//! Every batch of pairs (base, ablation) makes three steps of Adam, in this order, each with its gradient clipped:
//!
//! | step | run on base with | target |
//! |---|---|---|
//! | IIT | the nodes of a drawn sequence of the program, from the run on ablation | the case, its own node exchanged likewise |
//! | strict | nodes drawn from outside the circuit, from the run on ablation | the case on base |
//! | behaviour | nothing | the case on base |
//!
//! Losses are means over pairs and positions that are read: squared errors of numbers, cross entropies of classes. All
//! draws are keyed by (seed, purpose, epoch, batch): a run that is resumed goes on to the same numbers.

mod checkpoint;
mod loss;
mod parameters;
mod recipe;
mod validate;

use std::sync::Arc;

use ablate_graph::{Node, Plan, Random, Side, Site, Source};
use ablate_model::engine::backward::{self, AtRows, Gradients, Visitor};
use ablate_model::engine::{Acts, AllLogits, Compiled, Engine, Keep, Rules, Sources, Table};
use ablate_model::model::AnyWeights;
use ablate_model::{Batch, Config, DType, Model, Row, Weights};
use ablate_tensor::{Into, View, product};
use rayon::prelude::*;

pub use recipe::{Recipe, Sampling, Schedule};
pub use validate::Validation;

use self::loss::Loss;
use self::parameters::Parameters;
use super::labels::Labels;
use super::{Alignment, Case, Inputs};
use crate::adam::Adam;
use crate::error::{Error, Result};
use crate::run::Passes;

/// Parts of a batch whose gradients are taken side by side. Fixed, so that sums do not depend on the number of threads.
const PARTS: usize = 2;

/// Cases with fewer different inputs are trained on drawn ones, with repetition.
const LEAST_INPUTS: usize = 20_000;

/// What an epoch did.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Mean IIT loss, weighted.
    pub iit_loss: f64,
    /// Mean strict loss, weighted.
    pub strict_loss: f64,
    /// Mean behaviour loss, weighted.
    pub behaviour_loss: f64,
    /// Measured on the test pairs.
    pub validation: Validation,
}

/// What one batch's three steps found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// IIT, strict and behaviour losses, weighted.
    pub losses: [f64; 3],
    /// Norms of their gradients before clipping.
    pub norms: [f64; 3],
}

/// A training run.
#[derive(Debug)]
pub struct Trainer<'c> {
    case: &'c Case,
    recipe: Recipe,
    alignment: Alignment,
    outside: Vec<Node>,
    compiled: Model,
    config: Config,
    parameters: Parameters,
    adam: Adam<f32>,
    inputs: Inputs,
    train: Vec<usize>,
    test: Vec<usize>,
    history: Vec<Epoch>,
}

impl<'c> Trainer<'c> {
    /// A run at its start: weights drawn from a normal distribution with deviation `0.8/√d_model` of the *compiled* model
    /// (as the public code has it), biases 0.
    ///
    /// # Errors
    /// A recipe that makes no sense.
    pub fn new(case: &'c Case, recipe: Recipe) -> Result<Self> {
        recipe::check(&recipe)?;
        let config = case.config();
        let deviation = 0.8 / (case.compiled().d_model() as f64).sqrt();
        let parameters = Parameters::drawn(&config, deviation, Random::new(recipe.seed, "case weights"));
        let inputs = Inputs::draw(case, LEAST_INPUTS, recipe.inputs, recipe.seed)?;
        let mut order: Vec<usize> = (0..inputs.len()).collect();
        Random::new(recipe.seed, "case split").shuffle(0, &mut order);
        let test = order.split_off(inputs.len() * 4 / 5);
        Self::with(case, recipe, config, parameters, inputs, order, test)
    }

    fn with(
        case: &'c Case,
        recipe: Recipe,
        config: Config,
        parameters: Parameters,
        inputs: Inputs,
        train: Vec<usize>,
        test: Vec<usize>,
    ) -> Result<Self> {
        let alignment = case.alignment();
        let outside = super::nodes(&config).into_iter().filter(|n| !alignment.contains(*n)).collect();
        let mut adam = Adam::new(recipe.rate, parameters.len());
        adam.decay = (0.9, 0.9);
        let compiled = case.model(DType::F32)?;
        let history = Vec::new();
        Ok(Self {
            case,
            recipe,
            alignment,
            outside,
            compiled,
            config,
            parameters,
            adam,
            inputs,
            train,
            test,
            history,
        })
    }

    /// A run that starts from the weights of `model`, for comparing its steps with another implementation's.
    ///
    /// # Errors
    /// A model of another shape; one that is not in `f32`.
    pub fn from_model(case: &'c Case, recipe: Recipe, model: &Model) -> Result<Self> {
        let AnyWeights::F32(weights) = model.weights() else {
            return Err(Error::argument("training is done in f32", "load the model in f32"));
        };
        let parameters = Parameters::of(model.config(), weights);
        let none = Inputs {
            ids: Vec::new(),
            outputs: Vec::new(),
            width: case.compiled().d_out(),
            first_read: case.first_read(),
        };
        Self::with(case, recipe, model.config().clone(), parameters, none, Vec::new(), Vec::new())
    }

    /// The epochs so far.
    pub fn history(&self) -> &[Epoch] {
        &self.history
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Batches of an epoch.
    pub fn batches(&self) -> usize {
        self.train.len().div_ceil(self.recipe.batch)
    }

    /// What the epochs that are left would take at most, their validation left out. A pair's behaviour step is a forward and
    /// a backward pass (which counts as two), the other two steps have the ablation input's forward pass beside them.
    ///
    /// # Errors
    /// Weights that are not finite.
    pub fn estimate(&self) -> Result<Passes> {
        const STEPS: usize = 3 + 4 + 4;
        let ids = self.train.iter().map(|&i| self.inputs.ids[i].clone()).collect();
        let batch = Inputs::of(self.case, ids)?.batch(self.config.d_vocab, self.config.n_ctx)?;
        let epochs = self.recipe.epochs.saturating_sub(self.history.len());
        Ok(Passes::plain(&self.model()?, &batch, (STEPS * epochs) as u64, self.config.d_vocab_out))
    }

    /// Whether the goal is reached, or every epoch done.
    pub fn finished(&self) -> bool {
        self.reached() || self.history.len() >= self.recipe.epochs
    }

    /// Whether the goal is reached.
    pub fn reached(&self) -> bool {
        let weights = [self.recipe.behaviour, self.recipe.iit, self.recipe.strict];
        self.history.last().is_some_and(|e| {
            let found = [e.validation.accuracy, e.validation.iia, e.validation.strict_accuracy];
            found.iter().zip(weights).all(|(x, w)| w <= 0.0 || *x >= self.recipe.goal)
        })
    }

    /// The model as it is now.
    ///
    /// # Errors
    /// Weights that are not finite.
    pub fn model(&self) -> Result<Model> {
        let weights = self.parameters.weights(&self.config);
        let name = format!("case {} (trained)", self.case.id());
        Ok(Model::from_parts(&name, self.config.clone(), AnyWeights::F32(weights.into()), None)?)
    }

    /// One epoch and its validation. `each` is called after every batch and says whether to stop; a stopped epoch leaves
    /// the run as it was before it.
    ///
    /// # Errors
    /// Losses that are not finite; stopped.
    pub fn epoch(&mut self, each: &mut dyn FnMut(usize) -> bool) -> Result<Epoch> {
        let number = self.history.len() + 1;
        let random = Random::new(self.recipe.seed, "case training").fork(number as u64);
        let mut order = self.train.clone();
        random.shuffle(0, &mut order);
        let start = (self.parameters.clone(), self.adam.clone());
        self.adam.rate = self.recipe.rate_after(&self.history);
        let mut sums = [0.0; 3];
        let batches: Vec<&[usize]> = order.chunks(self.recipe.batch).collect();
        for (b, rows) in batches.iter().enumerate() {
            let pairs = self.pairs(&self.train, rows);
            let entry = random.below(1, b as u64, self.alignment.entries.len());
            let outside = self.recipe.sampling.draw(&self.outside, random, b as u64);
            let report = self.step(&pairs, entry, &outside)?;
            for (sum, loss) in sums.iter_mut().zip(report.losses) {
                *sum += loss;
            }
            if each(b + 1) {
                (self.parameters, self.adam) = start;
                return Err(Error::Stopped { finished: Some(self.history.len()) });
            }
        }
        let n = batches.len().max(1) as f64;
        let validation = self.validate()?;
        let epoch = Epoch {
            epoch: number,
            iit_loss: sums[0] / n,
            strict_loss: sums[1] / n,
            behaviour_loss: sums[2] / n,
            validation,
        };
        self.history.push(epoch);
        Ok(epoch)
    }

    /// Pairs of these inputs: each has its own base and ablation input, the same in every epoch.
    fn pairs(&self, among: &[usize], rows: &[usize]) -> Pairs {
        let random = Random::new(self.recipe.seed, "case pairs");
        let pick = |row: usize, slot: u64| among[random.below(row as u64, slot, among.len())];
        let rows: Vec<(usize, usize)> = rows.iter().map(|&r| (pick(r, 0), pick(r, 1))).collect();
        let ids = |i: usize| self.inputs.ids[i].clone();
        Pairs {
            base: rows.iter().map(|(b, _)| ids(*b)).collect(),
            ablation: rows.iter().map(|(_, a)| ids(*a)).collect(),
            first_read: self.inputs.first_read,
            targets: Labels::of(self.case, &self.inputs, rows.iter().map(|(b, _)| *b)),
        }
    }

    /// The three steps of one batch: `entry` of the alignment is exchanged in the first, the nodes `outside` in the second.
    ///
    /// # Errors
    /// A loss that is not finite, rows that the model cannot read.
    pub fn step(&mut self, pairs: &Pairs, entry: usize, outside: &[Node]) -> Result<StepReport> {
        let mut report = StepReport { losses: [0.0; 3], norms: [0.0; 3] };
        let parts = pairs.parts(PARTS, self.config.d_vocab, self.config.n_ctx)?;
        let exchanged =
            parts.par_iter().map(|p| self.exchanged(&p.batch, entry)).collect::<Result<Vec<Labels>>>()?;
        let recipe = self.recipe.clone();
        let nodes = self.alignment.entries[entry].trained.clone();
        let steps = [
            (recipe.iit, Some(nodes)),
            (if outside.is_empty() { 0.0 } else { recipe.strict * recipe.strict }, Some(outside.to_vec())),
            (recipe.behaviour, None),
        ];
        for (s, (weight, nodes)) in steps.into_iter().enumerate() {
            if weight <= 0.0 {
                continue;
            }
            let weights = self.parameters.weights(&self.config);
            let positions = pairs.positions();
            let total = pairs.base.len() * positions;
            let found: Vec<(f64, Gradients<f32>)> = parts
                .par_iter()
                .zip(&exchanged)
                .map(|(part, exchanged)| {
                    let targets = if s == 0 { exchanged } else { &part.targets };
                    let loss = Loss { targets, factor: weight / total as f64, positions };
                    gradients(&self.config, &weights, &part.batch, nodes.as_deref(), &loss)
                })
                .collect::<Result<_>>()?;
            let mut sum = 0.0;
            let mut all: Option<Gradients<f32>> = None;
            for (loss, gradient) in found {
                sum += loss;
                match &mut all {
                    Some(all) => all.add(gradient),
                    None => all = Some(gradient),
                }
            }
            let Some(mut all) = all else { continue };
            report.losses[s] = sum * weight / total as f64;
            report.norms[s] = self.parameters.descend(&mut all, &mut self.adam, recipe.clip);
        }
        Ok(report)
    }

    /// What the case says of base with its own node exchanged.
    fn exchanged(&self, batch: &Batch, entry: usize) -> Result<Labels> {
        let AnyWeights::F32(weights) = self.compiled.weights() else {
            return Err(Error::argument("internal: the compiled model is not f32", "report this"));
        };
        let engine = Engine::new(self.compiled.config(), weights, batch);
        let nodes = [self.alignment.entries[entry].compiled];
        let Exchange { plan, sources, .. } = exchange(&engine, &nodes, Keep::NONE)?;
        let acts = engine.block(&plan, &sources, Keep::PRE, false, None)?;
        let all = AllLogits { d_vocab_out: self.compiled.config().d_vocab_out };
        let outputs = engine.judge_block(&plan, &acts, &all)?;
        Ok(Labels::from_outputs(self.case, &outputs))
    }
}

/// Base and ablation inputs with what the case says of base.
#[derive(Clone, Debug)]
pub struct Pairs {
    /// Token ids.
    pub base: Vec<Vec<u32>>,
    /// Token ids, as long.
    pub ablation: Vec<Vec<u32>>,
    first_read: usize,
    targets: Labels,
}

/// Consecutive pairs as a batch.
struct Part {
    batch: Batch,
    targets: Labels,
}

impl Pairs {
    /// Pairs of these inputs.
    ///
    /// # Errors
    /// Inputs that the case cannot read.
    pub fn new(case: &Case, base: Vec<Vec<u32>>, ablation: Vec<Vec<u32>>) -> Result<Self> {
        let inputs = Inputs::of(case, base)?;
        let targets = Labels::of(case, &inputs, 0..inputs.len());
        Ok(Self { first_read: inputs.first_read, base: inputs.ids, ablation, targets })
    }

    /// Positions of an input that are read.
    fn positions(&self) -> usize {
        self.base.first().map_or(1, |ids| ids.len() - self.first_read)
    }

    /// As a batch whose corrupt texts are the ablation inputs.
    fn batch(&self, rows: std::ops::Range<usize>, d_vocab: usize, n_ctx: usize) -> Result<Batch> {
        let rows = rows.map(|i| Row {
            clean: self.base[i].clone(),
            corrupt: Some(self.ablation[i].clone()),
            reads: (self.first_read as u32..self.base[i].len() as u32).collect(),
            ..Row::default()
        });
        Ok(Batch::new(rows.collect(), Vec::new(), d_vocab, n_ctx)?)
    }

    fn parts(&self, n: usize, d_vocab: usize, n_ctx: usize) -> Result<Vec<Part>> {
        let size = self.base.len().div_ceil(n).max(1);
        let positions = self.positions();
        (0..self.base.len())
            .step_by(size)
            .map(|from| {
                let to = (from + size).min(self.base.len());
                let targets = self.targets.range(from * positions..to * positions);
                Ok(Part { batch: self.batch(from..to, d_vocab, n_ctx)?, targets })
            })
            .collect()
    }
}

/// Nodes that have the values of the corrupt run.
struct Exchange {
    plan: Compiled,
    sources: Sources<f32>,
    donor: Arc<Vec<Acts<f32>>>,
}

/// The exchange of `nodes`; MLPs' hidden layers are kept where `keep` says so.
fn exchange(engine: &Engine<'_, f32>, nodes: &[Node], keep: Keep) -> Result<Exchange> {
    let donor = engine.compile(&Plan::on(Side::Corrupt))?;
    let layers = nodes.iter().filter_map(|n| n.layer()).max().map_or(0, |l| l + 1);
    let acts = engine.first_layers(&donor, &Sources::new(), Keep::Z | Keep::MLP | keep, layers)?;
    let donor = Arc::new(vec![acts]);
    let sources = Sources::from_iter([(Source::Resample, Table::identity(Arc::clone(&donor)))]);
    let plan = nodes.iter().fold(Plan::new(), |plan, &n| plan.replace(Site::Node(n), Source::Resample));
    Ok(Exchange { plan: engine.compile(&plan)?, sources, donor })
}

/// The summed loss (not weighted) and the gradient of the weighted mean.
fn gradients(
    cfg: &Config,
    weights: &Weights<f32>,
    batch: &Batch,
    nodes: Option<&[Node]>,
    loss: &Loss<'_>,
) -> Result<(f64, Gradients<f32>)> {
    let engine = Engine::new(cfg, weights, batch);
    let nodes = nodes.unwrap_or_default();
    let has_mlp = nodes.iter().any(|n| matches!(n, Node::Mlp { .. }));
    let keep = if has_mlp { Keep::NEURONS } else { Keep::NONE };
    let exchange = if nodes.is_empty() {
        Exchange { plan: engine.compile(&Plan::new())?, sources: Sources::new(), donor: Arc::default() }
    } else {
        exchange(&engine, nodes, keep)?
    };
    let acts = engine.block(&exchange.plan, &exchange.sources, backward::KEEP, false, None)?;
    let mut gradients = Gradients::zeros(weights);
    let mut down = Down { nodes, donor: exchange.donor.first(), found: Vec::new() };
    let values =
        engine.backward(&exchange.plan, &acts, loss, &Rules::default(), &mut down, Some(&mut gradients))?;
    down.finish(cfg, &mut gradients);
    Ok((values.iter().sum(), gradients))
}

/// The benchmark exchanges a head's output behind `W_O`, and an MLP's hidden layer before `W_out`: of exchanged nodes,
/// `W_O` has no gradient and `W_out` has one. The engine exchanges heads before `W_O` and MLPs behind `W_out`.
struct Down<'a> {
    nodes: &'a [Node],
    donor: Option<&'a Acts<f32>>,
    /// Gradients of `W_out` by layer.
    found: Vec<(usize, Vec<f32>)>,
}

impl Visitor<f32> for Down<'_> {
    fn mlp(&mut self, layer: usize, gradient: AtRows<'_, f32>) -> ablate_model::Result<()> {
        let Some(donor) = self.donor.filter(|_| self.nodes.contains(&Node::mlp(layer))) else {
            return Ok(());
        };
        let hidden = &donor.layers[layer].neurons;
        let n = gradient.rows.len();
        let d_mlp = hidden.len() / donor.offsets[donor.len()].max(1);
        let d_model = gradient.values.len() / n.max(1);
        let rows: Vec<f32> =
            gradient.rows.iter().flat_map(|&r| &hidden[r * d_mlp..(r + 1) * d_mlp]).copied().collect();
        let mut out = vec![0.0; d_mlp * d_model];
        let (x, g) = (View::rows(&rows, n, d_mlp, d_mlp), View::rows(gradient.values, n, d_model, d_model));
        product(x.t(), g, 1.0, &mut out, d_model, Into::Replace);
        self.found.push((layer, out));
        Ok(())
    }
}

impl Down<'_> {
    fn finish(self, cfg: &Config, gradients: &mut Gradients<f32>) {
        let rows = cfg.d_head * cfg.d_model;
        for node in self.nodes {
            if let Node::Head { layer, head } = *node {
                gradients.layers[layer].o.w[head * rows..(head + 1) * rows].fill(0.0);
            }
        }
        for (layer, found) in self.found {
            if let Some(mlp) = &mut gradients.layers[layer].mlp {
                mlp.down.w = found;
            }
        }
    }
}
