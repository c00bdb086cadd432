//! Find, test and hand over circuits in transformer language models.

pub mod dataset;
pub mod error;
pub mod task;

pub use dataset::{Dataset, Pair};
pub use error::{Error, Result};
