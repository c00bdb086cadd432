//! Letters of the alphabet: "A B C D" → " E". See the shared description in `sequence.rs`.

use super::{
    OptionSpec, Task, TaskRequest, Values,
    sequence::{Sequence, sequence_options},
};
use crate::{dataset::Dataset, error::Result};

/// The task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letters;

const SEQUENCE: Sequence = Sequence {
    name: "letters",
    items: &[
        "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N", "O", "P", "Q", "R", "S", "T",
        "U", "V", "W", "X", "Y", "Z",
    ],
    decade: 26,
    leads: &["", "The letters in order: ", "Alphabet: ", "The pupils recite ", "Spell on: "],
};

impl Task for Letters {
    fn name(&self) -> &'static str {
        SEQUENCE.name
    }

    fn about(&self) -> &'static str {
        "the next letter of the alphabet"
    }

    fn options(&self) -> &'static [OptionSpec] {
        sequence_options!("mixed", "no")
    }

    fn generate(&self, request: &TaskRequest) -> Result<Dataset> {
        SEQUENCE.generate(self.options(), request)
    }
}
