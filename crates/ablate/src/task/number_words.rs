//! Increasing number words: "one, two, three, four," → " five". See the shared description in `sequence.rs`.

use super::{
    OptionSpec, Task, TaskRequest, Values,
    sequence::{Sequence, sequence_options},
};
use crate::{dataset::Dataset, error::Result};

/// The task.
#[derive(Clone, Copy, Debug)]
pub(super) struct NumberWords;

const SEQUENCE: Sequence = Sequence {
    name: "number-words",
    items: &[
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
    ],
    decade: 10,
    leads: &["", "Counting up: ", "She counted aloud: ", "The numbers in order: ", "Count with me: "],
};

impl Task for NumberWords {
    fn name(&self) -> &'static str {
        SEQUENCE.name
    }

    fn about(&self) -> &'static str {
        "the next of increasing number words"
    }

    fn options(&self) -> &'static [OptionSpec] {
        sequence_options!("commas", "no")
    }

    fn generate(&self, request: &TaskRequest) -> Result<Dataset> {
        SEQUENCE.generate(self.options(), request)
    }
}
