//! The subject: a transformer language model, its loading, and the one forward pass in which any path can be edited.

pub mod batch;
pub mod config;
pub mod engine;
pub mod error;
pub mod weights;

pub use batch::{Batch, Codec, Row};
pub use config::Config;
pub use error::{Error, Result};
pub use weights::Weights;
