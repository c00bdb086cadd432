//! Errors of loading and running a model. Each names what is at fault; [`Error::hint`] says what to do.

use std::path::PathBuf;

/// What went wrong. New variants may be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the entry at fault.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A model cannot be found, or its parts do not fit together.
    #[error("model {name}: {message}")]
    Model {
        /// The model as the user named it.
        name: String,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A text or token ids that the tokenizer cannot handle.
    #[error("tokenizer: {message}")]
    Text {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A row of the data does not fit.
    #[error("row {row}: {message}")]
    Row {
        /// Row number, from 0.
        row: usize,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A plan that this model or data cannot run.
    #[error("{message}")]
    Plan {
        /// What is wrong, with the site at fault.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A value became infinite or NaN.
    #[error("row {row}: the {stage} is not finite")]
    NotFinite {
        /// Row number, from 0.
        row: usize,
        /// Where it was noticed.
        stage: String,
    },
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::File { hint, .. }
            | Self::Model { hint, .. }
            | Self::Text { hint, .. }
            | Self::Row { hint, .. }
            | Self::Plan { hint, .. } => hint.as_deref(),
            Self::Read { .. } => None,
            Self::Write { .. } => {
                Some("check that the folder exists, that you may write to it and that the disk is not full")
            }
            Self::NotFinite { .. } => Some(
                "the weights or the input are damaged, or the ablation scale is too large; try --dtype f64",
            ),
        }
    }

    /// A [`Error::File`] without hint.
    pub fn file(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::File { path: path.into(), message: message.into(), hint: None }
    }

    /// A [`Error::Model`] without hint.
    pub fn model(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Model { name: name.into(), message: message.into(), hint: None }
    }

    /// A [`Error::Text`] without hint.
    pub fn text(message: impl Into<String>) -> Self {
        Self::Text { message: message.into(), hint: None }
    }

    /// The error with this hint, where its kind carries one.
    #[must_use]
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        match &mut self {
            Self::File { hint, .. }
            | Self::Model { hint, .. }
            | Self::Text { hint, .. }
            | Self::Row { hint, .. }
            | Self::Plan { hint, .. } => *hint = Some(text.into()),
            Self::Read { .. } | Self::Write { .. } | Self::NotFinite { .. } => {}
        }
        self
    }

    /// A [`Error::Plan`] without hint.
    pub fn plan(message: impl Into<String>) -> Self {
        Self::Plan { message: message.into(), hint: None }
    }

    /// A [`Error::Row`] without hint.
    pub fn row(row: usize, message: impl Into<String>) -> Self {
        Self::Row { row, message: message.into(), hint: None }
    }
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;
