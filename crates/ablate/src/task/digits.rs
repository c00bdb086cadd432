//! Increasing numbers: "1 2 3 4" → " 5". Tokenizers that split numbers into digits get single digits and a space at the end.
//! See the shared description in `sequence.rs`.

use super::{
    OptionSpec, Task, TaskRequest, Values,
    sequence::{Sequence, sequence_options},
};
use crate::{dataset::Dataset, error::Result};

/// The task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digits;

const SEQUENCE: Sequence = Sequence {
    name: "digits",
    items: &[
        "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18",
        "19", "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31", "32", "33", "34", "35",
        "36", "37", "38", "39", "40", "41", "42", "43", "44", "45", "46", "47", "48", "49", "50", "51", "52",
        "53", "54", "55", "56", "57", "58", "59", "60", "61", "62", "63", "64", "65", "66", "67", "68", "69",
        "70", "71", "72", "73", "74", "75", "76", "77", "78", "79", "80", "81", "82", "83", "84", "85", "86",
        "87", "88", "89", "90", "91", "92", "93", "94", "95", "96", "97", "98", "99", "100", "101", "102",
        "103", "104",
    ],
    decade: 10,
    leads: &["", "Count: ", "Numbers: ", "The numbers are ", "Here they come: "],
};

impl Task for Digits {
    fn name(&self) -> &'static str {
        SEQUENCE.name
    }

    fn about(&self) -> &'static str {
        "the next of increasing numbers"
    }

    fn options(&self) -> &'static [OptionSpec] {
        sequence_options!("mixed", "no")
    }

    fn generate(&self, request: &TaskRequest) -> Result<Dataset> {
        SEQUENCE.generate(self.options(), request)
    }
}
