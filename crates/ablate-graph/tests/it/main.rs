//! Tests of the crate as a user sees it, one module for each subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::print_stdout)]

mod circuit;
mod common;
mod graph;
mod name;
mod pattern;
mod scores;
mod stats;
