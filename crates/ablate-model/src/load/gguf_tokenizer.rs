//! The tokenizer inside a GGUF file.

use std::path::Path;

use super::gguf::Gguf;
use crate::error::Result;
use crate::tokenizer::Tokenizer;

/// The tokenizer of `file`; `None` when it has none.
pub(super) fn read(_path: &Path, _file: &Gguf, _asked: Option<bool>) -> Result<Option<Tokenizer>> {
    Ok(None)
}
