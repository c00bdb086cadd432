//! Ground truth: the benchmark's cases. A case is a RASP program whose compilation says which heads, MLPs and edges
//! compute it; a trained model of the case does the same inside a larger, ordinary transformer, at nodes that are known.
//!
//! The way: program ([`ablate_rasp`]) → [`Case`] → compiled model ([`Case::model`]) and its true circuit
//! ([`Case::circuit`]) → the trained model's shape and where it keeps each node ([`Case::config`], [`Case::alignment`])
//! → inputs ([`inputs`]) → [`effects`].

pub mod alignment;
mod compiled;
pub mod effects;
pub mod figure;
pub mod handover;
pub mod inputs;
mod labels;
pub mod score;
pub mod subspace;
pub mod train;

use ablate_graph::{Circuit, Graph, Kv, Level, Node};
use ablate_model::{Config, DType, Model};
use ablate_rasp::{Compiled, OutputEncoding, Sentences, Source, cases, truth};

pub use alignment::{Aligned, Alignment};
pub use inputs::Inputs;

pub use subspace::Subspace;

use crate::error::{Error, Result};

/// A benchmark case, or a program of the user's, compiled.
#[derive(Clone, Debug)]
pub struct Case {
    id: String,
    source: Source,
    compiled: Compiled,
}

impl Case {
    /// The ids of the benchmark's cases, in order.
    pub fn ids() -> impl Iterator<Item = &'static str> {
        cases::ids()
    }

    /// The benchmark's case `id`, compiled.
    ///
    /// # Errors
    /// An unknown id.
    pub fn find(id: &str) -> Result<Self> {
        let Ok(text) = cases::text(id) else { return Err(Error::unknown("case", id, cases::ids())) };
        Self::parse(id, text)
    }

    /// The case of a program's text.
    ///
    /// # Errors
    /// A program that is wrong or cannot be compiled; the message names line and column.
    pub fn parse(id: &str, text: &str) -> Result<Self> {
        let refuse = |e: ablate_rasp::Error| {
            Error::argument(format!("case {id}: {e}"), "see docs/guide/ground-truth.md")
        };
        let source = ablate_rasp::parse(text).map_err(refuse)?;
        let compiled = source.program.compile().map_err(refuse)?;
        Ok(Self { id: id.to_owned(), source, compiled })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it computes, in a sentence.
    pub fn task(&self) -> &str {
        &self.source.task
    }

    /// Whether the benchmark calls it trivial: not to be used for judging methods.
    pub fn trivial(&self) -> bool {
        self.source.trivial
    }

    /// The program.
    pub fn program(&self) -> &ablate_rasp::Program {
        &self.source.program
    }

    /// The inputs it is asked about, if not all.
    pub fn sentences(&self) -> Option<&Sentences> {
        self.source.sentences.as_ref()
    }

    /// The compilation.
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// The first position of inputs of full length whose output is asked for: 1 (all after BOS), or the last one.
    pub fn first_read(&self) -> usize {
        if self.source.read_last { self.compiled.n_ctx() - 1 } else { 1 }
    }

    /// Whether outputs are classes (else one number).
    pub fn categorical(&self) -> bool {
        matches!(self.compiled.output_encoding, OutputEncoding::Categorical(_))
    }

    /// Whether the answer to an input is one token: one output is asked for, and its classes are the tokens by id.
    pub fn says_token(&self) -> bool {
        let OutputEncoding::Categorical(values) = &self.compiled.output_encoding else { return false };
        self.source.read_last && self.compiled.input_encoding.starts_with(values)
    }

    /// The compiled model: an ordinary model without norms, with ReLU MLPs.
    ///
    /// # Errors
    /// None that a compiled case has; sizes are checked.
    pub fn model(&self, dtype: DType) -> Result<Model> {
        compiled::model(&self.id, &self.compiled, dtype)
    }

    /// The compiled model's graph.
    ///
    /// # Errors
    /// None that a compiled case has.
    pub fn graph(&self) -> Result<Graph> {
        Ok(Graph::new(compiled::config(&self.compiled).graph_shape(), Kv::PerQuery)?)
    }

    /// The true circuit of the compiled model, as the weights connect it: its nodes, or the edges that carry values of the
    /// program (not those that carry constants only).
    ///
    /// # Errors
    /// None that a compiled case has.
    pub fn circuit(&self, level: Level) -> Result<Circuit> {
        let graph = self.graph()?;
        let truth = &self.compiled.truth;
        let names: Vec<String> = match level {
            Level::Node => truth.nodes.iter().map(|(n, _)| n.to_string()).collect(),
            Level::Edge => truth.edges.iter().map(ToString::to_string).collect(),
        };
        Ok(Circuit::of_names(&graph, level, &names)?)
    }

    /// The shape of the model that is trained to hide this case (InterpBench's `make_ll_cfg_for_case`).
    pub fn config(&self) -> Config {
        alignment::config(&self.id, &self.compiled)
    }

    /// Which nodes of the trained model stand for which node of the compiled one.
    pub fn alignment(&self) -> Alignment {
        Alignment::new(&self.id, &self.compiled)
    }
}

/// The heads and MLPs of a model of this shape, in canonical order.
pub fn nodes(config: &Config) -> Vec<Node> {
    let layer = |l: usize| (0..config.n_heads).map(move |h| Node::head(l, h)).chain([Node::mlp(l)]);
    (0..config.n_layers).flat_map(layer).collect()
}

/// A node of the compilation as a node of a graph; `None` for input and logits.
fn node_of(node: truth::Node) -> Option<Node> {
    match node {
        truth::Node::Head { layer, head } => Some(Node::head(layer, head)),
        truth::Node::Mlp { layer } => Some(Node::mlp(layer)),
        truth::Node::Input | truth::Node::Logits => None,
    }
}

/// Whether `model` has the case's vocabulary, outputs, length and direction of attention.
///
/// # Errors
/// The first that differs.
pub(crate) fn check_fits(case: &Case, model: &Model) -> Result<()> {
    let (own, its) = (case.config(), model.config());
    let facts = [
        ("tokens", own.d_vocab, its.d_vocab),
        ("outputs", own.d_vocab_out, its.d_vocab_out),
        ("positions", own.n_ctx, its.n_ctx),
        ("causal attention (1 = yes)", usize::from(own.causal), usize::from(its.causal)),
    ];
    match facts.iter().find(|(_, own, its)| own != its) {
        None => Ok(()),
        Some((what, own, its)) => Err(Error::argument(
            format!("{} is no model of case {}: {its} {what}, not {own}", model.name(), case.id()),
            "give the case the model was made for: --case ID",
        )),
    }
}
