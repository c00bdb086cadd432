//! Tests of the crate as a user sees it, one module for each subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::print_stdout)]

mod circuit;
mod common;
mod compare;
mod format;
mod graph;
mod mib;
mod name;
mod pattern;
mod plan;
mod scores;
mod select;
mod stats;
