//! `ablate/run`: the manifest of a run folder, what an experiment came to step by step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where an experiment or a step stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not begun.
    #[default]
    Waiting,
    /// Begun. Of a folder that no program holds: it was killed.
    Running,
    /// Finished.
    Done,
    /// Finished; a check that was asked for failed.
    Failed,
    /// Stopped by a signal.
    Stopped,
    /// Ended by an error.
    Error,
}

impl Status {
    /// The word in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Error => "error",
        }
    }

    /// Whether its results are whole.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

/// A step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Its name.
    pub name: String,
    /// Its command as the experiment says it.
    pub command: String,
    /// Its command line, to be run in the run folder.
    pub args: Vec<String>,
    /// Hash of the command, of what it reads and of the program's version: a step with this key need not be run again.
    pub key: String,
    /// Hashes of what it reads, by the name the experiment has for it.
    pub inputs: BTreeMap<String, String>,
    /// Hashes of the files it wrote, by their name in the run folder.
    pub outputs: BTreeMap<String, String>,
    /// Where it stands.
    pub status: Status,
    /// Its result file.
    pub result: Option<String>,
    /// What it printed.
    pub printed: Option<String>,
    /// Begun, in UTC.
    pub started: String,
    /// Ended, in UTC.
    pub ended: String,
    /// Seconds in between; of a step that was stopped, those of its last part.
    pub seconds: f64,
    /// What went wrong.
    pub error: Option<String>,
    /// What its result points out.
    pub warnings: Vec<String>,
    /// Model, data, seed and conventions of its result.
    pub made_with: Value,
}

/// A file with its hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashed {
    /// How the experiment names it, without folders.
    pub name: String,
    /// Hash of its bytes; of a folder, of all its files; nothing for a built-in model or a repository.
    pub hash: Option<String>,
}

/// A run folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// What it is about.
    pub title: String,
    /// Name and version of the program.
    pub program: String,
    /// The experiment's file.
    pub experiment: Hashed,
    /// The model, where there is one.
    pub model: Option<Hashed>,
    /// Further files that steps read, by the name the experiment has for them.
    pub files: BTreeMap<String, Hashed>,
    /// Flags of every step.
    pub flags: String,
    /// Seed of every random choice that no step chooses otherwise.
    pub seed: u64,
    /// Threads.
    pub threads: usize,
    /// Where it was computed.
    pub device: String,
    /// Where it stands.
    pub status: Status,
    /// When the first step was begun, in UTC.
    pub started: String,
    /// When the last step ended, in UTC.
    pub ended: String,
    /// Seconds of all steps.
    pub seconds: f64,
    /// Its steps, in order.
    pub steps: Vec<StepReport>,
}
