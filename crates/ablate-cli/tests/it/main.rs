//! The program as its users meet it: results, messages, exit codes, and what happens when it is stopped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed test may panic

mod bad_input;
mod behaviour;
mod capture;
mod case;
mod compress;
mod edges;
mod experiments;
mod help;
mod memory;
mod report;
mod results;
mod scrub;
mod signals;
mod stop;
mod streams;
mod support;
mod tables;
mod transcripts;
mod view;
