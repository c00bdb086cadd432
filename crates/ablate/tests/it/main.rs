//! Tests of the library through its public interface.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed test may panic

mod attribution;
mod builtin;
mod case;
mod codec;
mod compress;
mod data_bad;
mod data_files;
mod data_parts;
mod edge_identities;
mod golden_edges;
mod golden_nodes;
mod heads;
mod interactions;
mod page;
mod paths;
mod reads;
mod real;
mod scrub;
mod study;
mod task_properties;
mod task_rows;
