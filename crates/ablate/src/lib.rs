//! Find, test and hand over circuits in transformer language models.
//!
//! A transformer is a graph: heads and MLPs write into the residual stream, and read sums of what was written before. Every
//! experiment here is a value, the *plan* of a run: it says which text is run, and which sites or edges read something else
//! (zero, a mean, another prompt's value). Nothing is registered on a model, and a loaded model never changes.
//!
//! The way of the data, which is the order of the modules: [`task`] and [`dataset`] make pairs of prompts, [`run`] evaluates
//! plans on them under a memory budget ([`Study`]) and [`session`] keeps what is finished ([`Session`]); [`metric`] turns
//! logits into a number for each example. On top of that, one file a method: [`effects`], [`curve`], [`grid`], [`mod@path`] and
//! [`prune`] for nodes, [`discover`] for edges and gradients, [`verify`], [`scrub`] and [`interactions`] to test what was
//! found, [`heads`] and [`capture`] to look inside, [`compress`] and [`mod@page`] to hand it over. Results are wire structures
//! ([`report`]), which are also tables ([`table`]). [`case`] has models whose circuit is known.
//!
//! # Example
//!
//! Which heads continue a repeated sequence? The built-in model has one that looks one token back (`a0.h2`) and one that finds
//! what followed before (`a2.h1`), among ten that do nothing.
//!
//! ```
//! use ablate::dataset::Limits;
//! use ablate::effects::sweep;
//! use ablate::graph::{Graph, Kv, Positions};
//! use ablate::model::{LoadOptions, Model};
//! use ablate::task::{self, TaskRequest};
//! use ablate::{Ablation, Session, Setup, Silent, Study};
//!
//! # fn main() -> ablate::Result<()> {
//! let model = Model::load("builtin:induction", &LoadOptions::default())?;
//! let options = task::parse_options(&["corruption=no-repeat"])?;
//! let request = TaskRequest { n: 40, seed: 0, options: &options, codec: model.codec() };
//! let data = task::find("induction")?.generate(&request)?;
//! let limits = Limits { d_vocab: model.config().d_vocab, n_ctx: model.config().n_ctx };
//! let batch = data.batch(model.codec(), limits)?;
//!
//! let heads: Vec<_> = Graph::new(model.graph_shape(), Kv::PerQuery)?.heads().collect();
//! let mut silent = Silent;
//! let mut session = Session::new(Study::new(&model, batch, Setup::default())?, &mut silent);
//! let effects = sweep(&mut session, &heads, Ablation::parse("resample", 0)?, &Positions::All)?;
//!
//! // scores above 0 support the behaviour
//! let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
//! let needed = heads.iter().zip(&effects).filter(|(_, effect)| mean(&effect.scores) > 1.0);
//! let needed: Vec<String> = needed.map(|(head, _)| head.to_string()).collect();
//! assert_eq!(needed, ["a0.h2", "a2.h1"]);
//! # Ok(())
//! # }
//! ```
//!
//! The conventions (signs, norms, biases, positions) are those of `docs/CONVENTIONS.md`, and stand in the manifest of every
//! result file. Errors name what is at fault, and [`Error::hint`] what to do.

pub mod ablation;
mod adam;
pub mod backups;
pub mod capture;
pub mod case;
pub mod compress;
pub mod curve;
pub mod dataset;
pub mod discover;
pub mod effects;
pub mod error;
pub mod files;
mod font;
pub mod grid;
pub mod heads;
pub mod interactions;
pub mod manifest;
pub mod metric;
pub mod page;
pub mod path;
pub mod prune;
pub mod report;
pub mod run;
pub mod scrub;
pub mod session;
pub mod signals;
pub mod table;
pub mod task;
pub mod toml_file;
pub mod verify;

pub use ablate_graph as graph;
pub use ablate_model as model;

pub use ablation::Ablation;
pub use dataset::{Dataset, Pair};
pub use error::{Error, Result};
pub use manifest::Manifest;
pub use metric::Metric;
pub use run::{Setup, Study};
pub use session::{Journal, Observer, Session, Silent};

/// The example of README.md, compiled and run with the other examples of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
