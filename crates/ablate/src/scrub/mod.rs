//! Causal scrubbing: is what a hypothesis says about a model enough for its behaviour?
//!
//! - **What it computes**: a hypothesis is a tree. Its root stands for the model's output, every other node for a set of paths to
//!   it ([`Path`]) and a claim of what matters there of the input, as a [`Sampler`]: rows that agree in that feature may stand for
//!   each other. For each reference row every node draws a row given its parent's; the model is run with each path's input from the
//!   node that the path belongs to, everything else from rows of the node above (`others`, unconditional unless said). The metric
//!   is judged by the reference row's labels.
//! - **Formula**: `recovered = (scrubbed − baseline) / (original − baseline)` of mean metrics, the baseline named.
//! - **Cost**: a plain run of every row that is drawn, once, and the components that more than one set of rows reaches
//!   ([`Program`]); nothing is copied, (component, assignment) is hash-consed.
//! - **Differences from the reference**: labels are pinned, never resampled unless said; draws are counter-based, one stream a
//!   node; a child's paths must go on from its parent's part, never from a sibling's.
//! - **Source**: Chan et al. 2022, causal scrubbing (Redwood Research); the reference implementation `rust_circuit`.
//!
//! [`Scrub`] evaluates hypotheses about transformers, [`Functions`] those about graphs of plain functions; matching, drawing and
//! hash-consing are the same.

mod automaton;
mod dag;
mod evaluate;
mod expression;
mod feature;
mod file;
mod functions;
mod hypothesis;
mod model;
mod path;
mod result;
mod sample;
mod store;
mod universe;

pub use automaton::{Automaton, Cell, Program, Reads, Stream, places};
pub use dag::{Dag, Slot};
pub use feature::{Example, Feature, Value};
pub use functions::{Functions, Scrubbed};
pub use hypothesis::{Align, Baseline, Claim, Generator, Hypothesis, Labels, Pool, Sampler, Tree};
pub use model::{Measured, Scrub, ScrubCost, ScrubSetup};
pub use path::{Hop, Path, Through, Where};
pub use result::{Recovered, recovered};
pub use sample::{Draw, Drawn, Draws, Sets};
pub use universe::{TaskRows, Universe};
