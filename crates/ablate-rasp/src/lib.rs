//! RASP programs and their compilation to transformers with a known circuit.
//!
//! A RASP program computes one value per position from a list of tokens. This crate interprets such programs,
//! compiles them to the weights of a small transformer that computes the same thing, and reads off the
//! compilation which heads and MLPs do it: the true circuit, for testing methods that look for circuits.
//!
//! ```
//! use ablate_rasp::{Comparison, Program, Value, aggregate, indices, map, numerical, select, tokens};
//!
//! // The fraction of "x" up to each position.
//! let is_x = numerical(&map(|t: String| t == "x", &tokens())).named("is_x");
//! let output = aggregate(&select(&indices(), &indices(), Comparison::Leq), &is_x).named("frac_prevs");
//! let program = Program::new(output, ["a", "b", "x"].map(Value::from), 4)?.causal(true);
//!
//! let input = ["x", "a"].map(Value::from);
//! assert_eq!(program.run(&input)?, [Some(Value::Float(1.0)), Some(Value::Float(0.5))]);
//!
//! let model = program.compile()?;
//! let edges: Vec<String> = model.truth.edges.iter().map(ToString::to_string).collect();
//! assert_eq!(edges, ["input->m0", "input->a1.h0<q>", "input->a1.h0<k>", "m0->a1.h0<v>", "a1.h0->logits"]);
//! # Ok::<(), ablate_rasp::Error>(())
//! ```
//!
//! The way of a program: [`sop`] (or [`text`], for programs written without Rust) → [`Program`] →
//! [`Program::run`] (interpreter) and [`Program::compile`] → [`Compiled`] with its [`Truth`].

mod allocate;
mod assemble;
mod basis;
mod blocks;
pub mod cases;
mod error;
mod forward;
mod func;
mod graph;
mod infer;
mod inspect;
mod interpret;
mod model;
mod program;
mod reach;
mod sentences;
pub mod sop;
pub mod text;
pub mod truth;
mod validate;
mod value;

pub use basis::{Direction, Space};
pub use error::{Error, Fault, Place};
pub use forward::Trace;
pub use func::{Answer, Argument, Comparison, Outcome};
pub use inspect::Operation;
pub use interpret::interpret;
pub use model::{Axis, Compiled, Head, Layer, Matrix, OutputEncoding};
pub use program::Program;
pub use sentences::Sentences;
pub use sop::{
    Encoding, Selector, Sop, aggregate, aggregate_or, categorical, full, indices, length,
    linear_sequence_map, map, numerical, select, select_by, selector_width, sequence_map, tokens,
};
pub use text::{Source, parse};
pub use truth::{Edge, Truth};
pub use value::Value;
