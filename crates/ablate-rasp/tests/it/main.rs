//! Tests of the crate from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::panic)]

mod cases;
mod errors;
mod golden;
mod random;
mod sentences;
mod support;
mod truth;
