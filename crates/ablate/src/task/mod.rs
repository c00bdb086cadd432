//! Tasks: data sets made from templates, for any tokenizer.
//!
//! Every task is one file of this folder and says what its prompts look like, what is right and wrong, and how the corrupt prompt
//! differs. A row is a pure function of (seed, task, place in the task's space of rows): the first rows of a longer request are
//! the rows of a shorter one, and nothing depends on call order. Candidates that the tokenizer does not allow (a name of two
//! tokens, prompts of different lengths) are rejected and counted in [`crate::dataset::Header::rejects`].

mod build;
mod capitals;
mod days;
mod digits;
mod gendered_pronoun;
mod greater_than;
mod induction;
mod ioi;
mod letters;
mod months;
mod number_words;
mod options;
mod sequence;
mod subject_verb;

use ablate_model::Codec;

pub use options::{OptionSpec, Options, Values, parse_options};

use crate::{
    dataset::Dataset,
    error::{Error, Result},
};

/// What is asked of a task.
#[derive(Clone, Copy)]
pub struct TaskRequest<'a> {
    /// Number of rows.
    pub n: usize,
    /// Seed of every random choice.
    pub seed: u64,
    /// Options as text; see [`Task::options`].
    pub options: &'a Options,
    /// The tokenizer of the model the rows are for.
    pub codec: Option<&'a dyn Codec>,
}

impl std::fmt::Debug for TaskRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let codec = self.codec.map(Codec::vocab_size);
        f.debug_struct("TaskRequest")
            .field("n", &self.n)
            .field("seed", &self.seed)
            .field("options", self.options)
            .field("vocab", &codec)
            .finish()
    }
}

/// A kind of behaviour, and how to make examples of it.
pub trait Task: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// What it is, in one line.
    fn about(&self) -> &'static str;
    /// Its options.
    fn options(&self) -> &'static [OptionSpec];
    /// Whether it needs a tokenizer.
    fn needs_codec(&self) -> bool {
        true
    }
    /// Exactly `n` checked rows, or an error that says how many could be made.
    fn generate(&self, request: &TaskRequest) -> Result<Dataset>;
}

/// All tasks, in the order in which they are listed.
pub fn all() -> &'static [&'static dyn Task] {
    &[
        &ioi::Ioi,
        &digits::Digits,
        &number_words::NumberWords,
        &months::Months,
        &days::Days,
        &letters::Letters,
        &greater_than::GreaterThan,
        &gendered_pronoun::GenderedPronoun,
        &subject_verb::SubjectVerb,
        &capitals::Capitals,
        &induction::Induction,
    ]
}

/// The task of this name; `_` and `-` are the same.
pub fn find(name: &str) -> Result<&'static dyn Task> {
    let wanted = name.trim().to_ascii_lowercase().replace('_', "-");
    let found = all().iter().find(|t| t.name() == wanted);
    found.copied().ok_or_else(|| Error::unknown("task", name, all().iter().map(|t| t.name())))
}
