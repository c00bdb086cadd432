//! Developer tasks as functions, so that tests run them too.

pub mod bench;
pub mod tidy;
