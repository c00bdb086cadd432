//! Find, test and hand over circuits in transformer language models.

pub mod ablation;
mod adam;
pub mod backups;
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
pub mod task;
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
