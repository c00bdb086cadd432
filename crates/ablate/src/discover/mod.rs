//! Which nodes and edges matter: attribution by gradients, one file a method.
//!
//! Most methods are one formula, `score(u→v) = mean over examples of Σ_pos Δz_u · g_v`, with Δz_u = clean − source
//! output of the sender and g_v the metric's gradient at the reader's input (before its norm), averaged over the points
//! that the method names. They differ in those points and in the rules of the backward pass:
//!
//! | method | level | points where the gradient is taken | forward + backward passes | reference |
//! |---|---|---|---|---|
//! | [`atp`] | nodes | the clean run | 2 + 1 | Nanda 2023 |
//! | [`eap`] | nodes, edges | the clean run | 2 + 1 | Syed et al. 2023 |
//! | [`clean_corrupted`] | nodes, edges | the clean and the corrupt run | 2 + 2 | Hanna et al. 2024 |
//! | [`eap_ig_inputs`] | nodes, edges | m inputs between source and clean | 2 + m, m | Hanna et al. 2024 |
//! | [`eap_ig_activations`] | nodes, edges | m mixtures of each of 1 + 2L sites | 2 + ½·m(1+2L), m(1+2L) | Hanna et al. 2024 |
//! | [`eap_gp`] | nodes, edges | m inputs down the slope to the corrupt output | 1 + m, 2m − 1 | Zhang et al. 2025 |
//! | [`relp`] | nodes, edges | the clean run, by relevance rules | 2 + 1 | Jafari et al. 2025 |
//! | [`gim`] | nodes, edges | the clean run, by modified gradients | 2 + 1 | Edin et al. 2025 |
//! | [`hisp`] | nodes | the clean run, absolute values | 2 + 1 | Michel et al. 2019 |
//! | [`information_flow_routes`] | edges | none: shares of the stream | 1 + 0 | Ferrando & Voita 2024 |
//! | [`random`] | nodes, edges | none: the control | 1 + 0 | Mueller et al. 2025 |
//! | [`subnetwork_probing`] | nodes | s steps under drawn masks | 2 + s, s | Cao et al. 2021 |
//! | [`edge_pruning`] | edges | s steps under drawn masks | 2 + s, s | Bhaskar et al. 2024 |
//! | [`ugs`] | edges | s steps under drawn masks | 1 + s, s | Li & Janson 2024 |
//!
//! The gradients are streamed layer by layer and contracted as they come: for each example and layer one product
//! `[readers, positions·d_model] × [positions·d_model, senders]`. Nothing of the size nodes × tokens is stored beyond
//! one chunk of a few hundred tokens.

pub mod acdc;
pub mod atp;
pub mod certify;
pub mod clean_corrupted;
mod contract;
mod cost;
mod delta;
pub mod eap;
pub mod eap_gp;
pub mod eap_ig_activations;
pub mod eap_ig_inputs;
pub mod edge_pruning;
pub mod exact;
pub mod gim;
mod hard_concrete;
pub mod hisp;
pub mod information_flow_routes;
mod learned;
mod moments;
pub mod random;
pub mod relp;
mod run;
pub mod subnetwork_probing;
pub mod ugs;

pub use learned::Learning;

pub use cost::{attribution_bytes, attribution_estimate, attribution_passes};

use ablate_graph::{Graph, GraphShape, Kv, Level, Node, Scores, Side, Source};
use ablate_model::config::Block;
use ablate_model::engine::Rules;
use ablate_model::engine::backward::NormRule;
use ablate_model::model::{AnyWeights, Model};
use ablate_model::{Batch, Config, Weights};
use ablate_tensor::Real;

use crate::ablation::Ablation;
use crate::error::{Error, Result};
use crate::metric::Metric;

/// An attribution method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// Attribution patching of nodes, see [`atp`].
    Atp,
    /// Edge attribution patching, see [`eap`].
    Eap,
    /// See [`eap_ig_inputs`].
    EapIgInputs {
        /// Number of steps.
        steps: usize,
        /// Which ends of the path are among the points.
        endpoints: Endpoints,
    },
    /// See [`eap_ig_activations`].
    EapIgActivations {
        /// Number of steps.
        steps: usize,
    },
    /// See [`clean_corrupted`].
    CleanCorrupted,
    /// See [`eap_gp`].
    EapGp {
        /// Number of points on the path.
        steps: usize,
    },
    /// See [`relp`].
    Relp,
    /// See [`gim`].
    Gim,
    /// Nodes, see [`hisp`].
    Hisp {
        /// Whether scores are divided by their layer's L2 norm.
        normalise: bool,
    },
    /// Edges, see [`information_flow_routes`].
    InformationFlowRoutes,
    /// See [`random`].
    Random,
    /// Nodes, see [`subnetwork_probing`].
    SubnetworkProbing,
    /// Edges, see [`edge_pruning`].
    EdgePruning,
    /// Edges, see [`ugs`].
    Ugs,
}

/// Which ends of an integrated-gradients path are among its points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Endpoints {
    /// `α = k/m`, `k = 1..m`: the clean end.
    #[default]
    Right,
    /// `k = 0..m−1`: the source end.
    Left,
    /// `k = 0..m`, the ends with half weight (the trapezoid rule).
    Both,
}

impl Endpoints {
    /// The name users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Left => "left",
            Self::Both => "both",
        }
    }

    /// The ends of this name.
    ///
    /// # Errors
    /// An unknown name, with the known ones.
    pub fn parse(name: &str) -> Result<Self> {
        let found = [Self::Right, Self::Left, Self::Both].into_iter().find(|e| e.name() == name);
        found.ok_or_else(|| Error::unknown("end of the path", name, ["right", "left", "both"]))
    }
}

impl Method {
    /// Names of the methods.
    pub const NAMES: [&'static str; 14] = [
        "atp",
        "eap",
        "eap-ig-inputs",
        "eap-ig-activations",
        "clean-corrupted",
        "eap-gp",
        "relp",
        "gim",
        "hisp",
        "information-flow-routes",
        "random",
        "subnetwork-probing",
        "edge-pruning",
        "ugs",
    ];

    /// The method of this name; `steps` and `endpoints` matter to those with a path.
    ///
    /// # Errors
    /// An unknown name, with the known ones; no steps.
    pub fn parse(name: &str, steps: usize, endpoints: Endpoints) -> Result<Self> {
        if steps == 0 {
            return Err(Error::argument("a path needs at least one step", "use --ig-steps 5"));
        }
        match name {
            "atp" => Ok(Self::Atp),
            "eap" => Ok(Self::Eap),
            "eap-ig-inputs" => Ok(Self::EapIgInputs { steps, endpoints }),
            "eap-ig-activations" => Ok(Self::EapIgActivations { steps }),
            "clean-corrupted" => Ok(Self::CleanCorrupted),
            "eap-gp" => Ok(Self::EapGp { steps }),
            "relp" => Ok(Self::Relp),
            "gim" => Ok(Self::Gim),
            "hisp" => Ok(Self::Hisp { normalise: false }),
            "information-flow-routes" => Ok(Self::InformationFlowRoutes),
            "random" => Ok(Self::Random),
            "subnetwork-probing" => Ok(Self::SubnetworkProbing),
            "edge-pruning" => Ok(Self::EdgePruning),
            "ugs" => Ok(Self::Ugs),
            _ => Err(Error::unknown("method", name, Self::NAMES)),
        }
    }

    /// The name users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Atp => "atp",
            Self::Eap => "eap",
            Self::EapIgInputs { .. } => "eap-ig-inputs",
            Self::EapIgActivations { .. } => "eap-ig-activations",
            Self::CleanCorrupted => "clean-corrupted",
            Self::EapGp { .. } => "eap-gp",
            Self::Relp => "relp",
            Self::Gim => "gim",
            Self::Hisp { .. } => "hisp",
            Self::InformationFlowRoutes => "information-flow-routes",
            Self::Random => "random",
            Self::SubnetworkProbing => "subnetwork-probing",
            Self::EdgePruning => "edge-pruning",
            Self::Ugs => "ugs",
        }
    }

    /// The points where it takes gradients, with their weights.
    fn points(self, cfg: &Config) -> Vec<(Point, f64)> {
        match self {
            Self::Atp => atp::points(),
            Self::Eap => eap::points(),
            Self::EapIgInputs { steps, endpoints } => eap_ig_inputs::points(steps, endpoints),
            Self::EapIgActivations { steps } => eap_ig_activations::points(steps, cfg),
            Self::CleanCorrupted => clean_corrupted::points(),
            Self::Relp => relp::points(),
            Self::Gim => gim::points(),
            Self::Hisp { .. } => hisp::points(),
            // the path makes its own points; the others take no gradient
            Self::EapGp { .. }
            | Self::InformationFlowRoutes
            | Self::Random
            | Self::SubnetworkProbing
            | Self::EdgePruning
            | Self::Ugs => Vec::new(),
        }
    }

    /// Whether it compares outputs with those of a source.
    fn compares(self) -> bool {
        !matches!(self, Self::InformationFlowRoutes | Self::Random)
    }

    /// Whether it differentiates the metric.
    fn differentiates(self) -> bool {
        self.compares()
    }

    /// Whether it learns a mask.
    pub fn learns(self) -> bool {
        matches!(self, Self::SubnetworkProbing | Self::EdgePruning | Self::Ugs)
    }

    /// Whether its scores are estimates of what ablation does to the metric.
    fn estimates(self) -> bool {
        self.compares() && !self.learns() && self != Self::Hisp { normalise: true }
    }

    /// The only level it scores, where there is one.
    pub fn only_level(self) -> Option<Level> {
        match self {
            Self::Atp | Self::Hisp { .. } | Self::SubnetworkProbing => Some(Level::Node),
            Self::InformationFlowRoutes | Self::EdgePruning | Self::Ugs => Some(Level::Edge),
            _ => None,
        }
    }
}

/// Where a gradient is taken: a run of which some outputs are mixtures `α·clean + (1−α)·source`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Point {
    /// The plain clean run.
    Clean,
    /// The plain corrupt run.
    Corrupt,
    /// The clean run with these nodes' outputs mixed.
    Mixed {
        /// The nodes.
        nodes: Vec<Node>,
        /// Share of the clean value.
        alpha: f64,
    },
}

/// What stays the same for all methods.
#[derive(Clone, Debug)]
pub struct Attribution {
    /// What is differentiated.
    pub metric: Metric,
    /// Where Δ leads: the difference is the clean output minus this.
    pub ablation: Ablation,
    /// Rows over which means are taken; `None` = the data itself.
    pub mean_set: Option<Batch>,
    /// Which text of the mean set is averaged.
    pub mean_side: Side,
    /// Nodes or edges.
    pub level: Level,
    /// Readers of keys and values: per query head, or grouped.
    pub kv: Kv,
    /// Whether norm scales are constants of the gradient.
    pub freeze_norm: bool,
    /// What stands in the place of local derivatives; `None` = what the method says (for most, true derivatives).
    pub rules: Option<Rules>,
    /// Of everything random.
    pub seed: u64,
    /// How masks are learned; `None` = [`Learning::of`] the method.
    pub learning: Option<Learning>,
    /// Whether to keep every example's score.
    pub per_example: bool,
    /// Rows of tokens that are worked on at once by a thread.
    pub chunk_rows: usize,
}

impl Default for Attribution {
    fn default() -> Self {
        Self {
            metric: Metric::default(),
            ablation: Ablation::of(Source::Resample),
            mean_set: None,
            mean_side: Side::Clean,
            level: Level::Edge,
            kv: Kv::PerQuery,
            freeze_norm: false,
            rules: None,
            seed: 0,
            learning: None,
            per_example: false,
            chunk_rows: 160,
        }
    }
}

impl Attribution {
    /// How `method` learns its mask.
    fn learning_of(&self, method: Method) -> Learning {
        self.learning.unwrap_or_else(|| Learning::of(method))
    }

    /// The rules of the backward pass under `method`.
    fn rules_of(&self, method: Method) -> Rules {
        let mut rules = self.rules.unwrap_or(match method {
            Method::Relp => relp::rules(),
            Method::Gim => gim::rules(gim::TEMPERATURE),
            _ => Rules::default(),
        });
        if self.freeze_norm && rules.norm == NormRule::True {
            rules.norm = NormRule::Reading;
        }
        rules
    }
}

/// What it took: passes of one example each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Cost {
    /// Forward passes (runs that start in the middle count whole).
    pub forward: u64,
    /// Backward passes.
    pub backward: u64,
}

/// Scores by gradients.
#[derive(Clone, Debug)]
pub struct Attributed {
    /// Score, standard error and number of examples of every node or edge. `metric` is the estimate of the edited run's.
    pub scores: Scores,
    /// The metric of the clean run, for each example.
    pub clean: Vec<f64>,
    /// The metric of the corrupt run, for each example, where it was run.
    pub corrupt: Option<Vec<f64>>,
    /// `[examples, nodes or edges]`, where asked for.
    pub examples: Option<Vec<f64>>,
    /// What it took.
    pub cost: Cost,
}

/// The graph of a model.
///
/// # Errors
/// A shape with more edges than ids.
pub fn graph_of(cfg: &Config, kv: Kv) -> Result<Graph> {
    let shape = GraphShape {
        n_layers: cfg.n_layers,
        n_heads: cfg.n_heads,
        n_kv_heads: cfg.n_kv_heads,
        parallel: cfg.block == Block::Parallel,
        d_model: cfg.d_model,
        has_mlp: cfg.d_mlp > 0,
    };
    Ok(Graph::new(shape, kv)?)
}

/// Scores every node or edge of `model` on `batch`.
///
/// # Errors
/// A metric without gradient; rows that lack what metric or source needs; values that are not finite.
pub fn attribute(model: &Model, batch: &Batch, method: Method, setup: &Attribution) -> Result<Attributed> {
    match model.weights() {
        AnyWeights::F32(w) => attribute_with(model.config(), w, batch, method, setup),
        AnyWeights::F64(w) => attribute_with(model.config(), w, batch, method, setup),
    }
}

/// [`attribute`] for weights of one number type.
///
/// # Errors
/// As [`attribute`].
pub fn attribute_with<T: Real>(
    cfg: &Config,
    weights: &Weights<T>,
    batch: &Batch,
    method: Method,
    setup: &Attribution,
) -> Result<Attributed> {
    check(batch, method, setup)?;
    let level = if method == Method::Atp { Level::Node } else { setup.level };
    let graph = graph_of(cfg, setup.kv)?;
    let job = run::Job::new(cfg, weights, batch, graph, level, method, setup)?;
    if method.learns() { learned::run(&job, setup.learning_of(method)) } else { job.run() }
}

fn check(batch: &Batch, method: Method, setup: &Attribution) -> Result<()> {
    if method.differentiates() && !setup.metric.differentiable() {
        return Err(Error::argument(
            format!("the metric {} has no gradient", setup.metric),
            "use logit-diff, prob-diff, logprob or kl",
        ));
    }
    if batch.is_empty() {
        return Err(Error::argument("the data set has no rows", "add rows"));
    }
    // AtP takes its one level whatever is asked for
    if let Some(level) = method.only_level().filter(|&l| method != Method::Atp && l != setup.level) {
        let (what, flag) = match level {
            Level::Node => ("nodes", "use --level node, or a method for edges such as eap-ig-inputs"),
            Level::Edge => ("edges", "use --level edge, or a method for nodes such as atp"),
        };
        return Err(Error::argument(format!("{} scores {what} only", method.name()), flag));
    }
    if matches!(setup.ablation.source, Source::Given(_)) {
        return Err(Error::argument("attribution needs a source by name", "use resample, zero or mean"));
    }
    if method == Method::CleanCorrupted && setup.ablation != Ablation::of(Source::Resample) {
        return Err(Error::argument(
            "clean-corrupted compares with the corrupt run",
            "use --ablation resample, or eap-ig-inputs with --ig-steps 1 --ig-endpoints both",
        ));
    }
    if matches!(method, Method::EapGp { .. }) && setup.ablation != Ablation::of(Source::Resample) {
        return Err(Error::argument(
            "the path of eap-gp ends at the corrupt run",
            "use --ablation resample, or eap-ig-inputs",
        ));
    }
    setup.metric.check(batch)
}
