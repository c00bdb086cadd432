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
            Self::File { hint, .. } | Self::Row { hint, .. } | Self::Plan { hint, .. } => hint.as_deref(),
            Self::Read { .. } => None,
            Self::NotFinite { .. } => Some(
                "the weights or the input are damaged, or the ablation scale is too large; try --dtype f64",
            ),
        }
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
