//! Models that are shipped inside the program.

use crate::error::{Error, Result};
use crate::load::LoadOptions;
use crate::model::Model;

/// Name and one-line description of every built-in model.
pub fn list() -> Vec<(&'static str, &'static str)> {
    Vec::new()
}

/// The built-in model `name`.
pub fn load(name: &str, _options: &LoadOptions) -> Result<Model> {
    let names: Vec<_> = list().into_iter().map(|(name, _)| name).collect();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Err(Error::model(format!("builtin:{name}"), "there is no such built-in model")
        .with_hint(format!("built-in models: {known}")))
}
