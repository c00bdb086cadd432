//! TOML files that people write: read whole, with the line and key of what is wrong.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Spanned;

use crate::error::{At, Error, Result};

/// The text of a TOML file, for messages that say where in it something is wrong.
#[derive(Clone, Copy, Debug)]
pub struct TomlText<'a> {
    /// The file, for messages.
    pub path: &'a Path,
    /// What stands in it.
    pub text: &'a str,
}

impl TomlText<'_> {
    /// The file's fields as `T`; `hint` says which there are.
    ///
    /// # Errors
    /// What is no TOML, an unknown or a missing field: the line, and what is wrong.
    pub fn parse<T: DeserializeOwned>(&self, hint: &str) -> Result<T> {
        toml::from_str(self.text).map_err(|e| {
            self.wrong(e.span().map_or(0, |s| s.start), None, e.message().to_owned(), Some(hint.into()))
        })
    }

    /// An error about `field` at the byte `at`.
    pub fn wrong(&self, at: usize, field: Option<&str>, message: String, hint: Option<String>) -> Error {
        let line = self.text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1;
        Error::Data {
            path: self.path.into(),
            line: Some(At::Line(line)),
            field: field.map(str::to_owned),
            message,
            hint,
        }
    }

    /// Reads the value of `field`.
    ///
    /// # Errors
    /// That of `read`, with the line and the field.
    pub fn within<T>(
        &self,
        at: &Spanned<String>,
        field: &str,
        read: impl Fn(&str) -> Result<T>,
    ) -> Result<T> {
        read(at.get_ref()).map_err(|e| self.wrong(at.span().start, Some(field), e.to_string(), e.hint()))
    }
}

/// The text of a file.
///
/// # Errors
/// A file that cannot be read, or is no UTF-8.
pub fn read(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.into(), source })?;
    String::from_utf8(bytes).map_err(|e| {
        let message = format!("it is no text in UTF-8 ({e})");
        Error::Data { path: path.into(), line: None, field: None, message, hint: None }
    })
}
