//! Models of the Hugging Face hub: the local cache first, then the network.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::load::LoadOptions;

/// Whether `spec` can be the name of a repository: `name` or `organisation/name`.
pub(crate) fn is_repository(spec: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && part.len() <= 96
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    match spec.split_once('/') {
        Some((organisation, name)) => plain(organisation) && plain(name),
        None => plain(spec),
    }
}

/// The folder with the files of the repository `name`.
pub(crate) fn fetch(name: &str, _options: &LoadOptions) -> Result<PathBuf> {
    Err(Error::model(name, "not in the cache"))
}
