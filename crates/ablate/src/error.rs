//! The library's error: one enum whose every variant names the file, row, name or option at fault. [`Error::hint`] says what
//! to do about it.

use std::path::{Path, PathBuf};

/// What went wrong. New variants may be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// From loading or running a model, or from checking a batch.
    #[error(transparent)]
    Model(#[from] ablate_model::Error),
    /// From names, sets, circuits and scores.
    #[error(transparent)]
    Graph(#[from] ablate_graph::Error),
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
    /// A data file is not what it should be.
    #[error("{}: {message}", place(path, line.as_ref(), field.as_ref()))]
    Data {
        /// The file.
        path: PathBuf,
        /// Line of a text file, or entry of a JSON file's list.
        line: Option<At>,
        /// The field at fault.
        field: Option<String>,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A row of a data set cannot be used.
    #[error("row {row}: {message}")]
    Row {
        /// Row number, from 0.
        row: usize,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A name that nothing is known by.
    #[error("unknown {kind} `{name}`")]
    Unknown {
        /// What the name should stand for: `task`, `option of ioi`.
        kind: String,
        /// The name given.
        name: String,
        /// Which names are known, nearest first.
        hint: String,
    },
    /// The run was stopped from outside.
    #[error("stopped{}", finished.map_or(String::new(), |n| format!("; {n} finished variants are kept")))]
    Stopped {
        /// Variants in the journal, where there is one.
        finished: Option<usize>,
    },
    /// An argument that cannot be right.
    #[error("{message}")]
    Argument {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A task could not make as many rows as were asked for.
    #[error("task {task}: {made} of {wanted} rows could be made{}", because(rejects))]
    TooFew {
        /// The task.
        task: &'static str,
        /// Rows asked for.
        wanted: usize,
        /// Rows that could be made.
        made: usize,
        /// Why other candidates were rejected, with their number.
        rejects: Vec<(String, u64)>,
        /// What to do.
        hint: String,
    },
}

/// Where in a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Line of a text file, from 1.
    Line(usize),
    /// Entry of a list, from 0.
    Row(usize),
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let fixed = match self {
            Self::Graph(e) => return e.hint(),
            Self::Model(e) => e.hint(),
            Self::Data { hint, .. } | Self::Row { hint, .. } | Self::Argument { hint, .. } => hint.as_deref(),
            Self::Unknown { hint, .. } | Self::TooFew { hint, .. } => Some(hint.as_str()),
            Self::Stopped { finished } => finished.map(|_| "run the same command again to go on from there"),
            Self::Read { .. } => Some("check the path and that you may read it"),
            Self::Write { .. } => {
                Some("check that the folder exists, that you may write to it and that the disk is not full")
            }
        };
        fixed.map(str::to_owned)
    }

    /// An [`Error::Argument`] with a hint.
    pub fn argument(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Argument { message: message.into(), hint: Some(hint.into()) }
    }

    /// An [`Error::Unknown`] whose hint lists the known names, nearest first.
    pub fn unknown<'a>(
        kind: impl Into<String>,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut known: Vec<&str> = known.into_iter().collect();
        known.sort_by_key(|k| distance(name, k));
        let hint = if known.is_empty() {
            "there are none".into()
        } else {
            format!("known, nearest first: {}", known.join(", "))
        };
        Self::Unknown { kind: kind.into(), name: name.into(), hint }
    }
}

fn place(path: &Path, line: Option<&At>, field: Option<&String>) -> String {
    let line = match line {
        Some(At::Line(n)) => format!(": line {n}"),
        Some(At::Row(n)) => format!(": row {n}"),
        None => String::new(),
    };
    let field = field.map(|f| format!(": field `{f}`")).unwrap_or_default();
    format!("{}{line}{field}", path.display())
}

fn because(rejects: &[(String, u64)]) -> String {
    if rejects.is_empty() {
        return String::new();
    }
    let reasons: Vec<String> = rejects.iter().map(|(reason, n)| format!("{n} × {reason}")).collect();
    format!("; rejected: {}", reasons.join("; "))
}

/// Number of insertions, deletions and replacements that make `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
