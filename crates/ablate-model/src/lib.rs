//! The subject: a transformer language model, its loading, and the one forward pass in which any path can be edited.

pub mod arch;
pub mod batch;
pub mod builtin;
pub mod config;
pub mod engine;
pub mod error;
mod hub;
pub mod interpbench;
pub mod load;
pub mod model;
pub mod pickle;
pub mod save;
pub mod tokenizer;
pub mod torch;
pub mod weights;

pub use batch::{Batch, Codec, Moved, Row};
pub use config::Config;
pub use error::{Error, Result};
pub use load::{DType, LoadOptions, Progress};
pub use model::{AnyWeights, Model};
pub use tokenizer::Tokenizer;
pub use weights::Weights;
