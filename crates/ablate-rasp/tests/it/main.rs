//! Tests of the crate from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::print_stdout)]

mod cases;
mod golden;
mod support;
