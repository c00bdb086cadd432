//! `ablate/task`: what making a data set came to.

use std::collections::BTreeMap;

use serde::Serialize;

/// A data set that was made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskReport {
    /// The task.
    pub task: String,
    /// The file written.
    pub file: Option<String>,
    /// Rows made.
    pub rows: usize,
    /// Hash of the rows.
    pub hash: String,
    /// Candidates that were rejected, by reason.
    pub rejects: BTreeMap<String, u64>,
    /// Rows of each group.
    pub groups: BTreeMap<String, u64>,
}
